//! What the parameters' values may be, and what they become.

use common::configured;
use ocf_meta::{Kind, Value};
use std::net::IpAddr;
use std::net::Ipv4Addr;

/// A prefix length, given in bits or as a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The number of bits.
    pub bits: u8,
    /// Whether it was a mask, which only IPv4 has.
    pub is_mask: bool,
}

impl Value for Prefix {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(bits) = text.parse::<u8>()
            && bits <= 128
            && !text.starts_with('+')
        {
            return Ok(Self { bits, is_mask: false });
        }
        let mask = text.parse::<Ipv4Addr>().map(u32::from).ok();
        match mask.filter(|mask| mask.leading_ones() + mask.trailing_zeros() == 32) {
            Some(mask) => Ok(Self { bits: mask.leading_ones() as u8, is_mask: true }),
            None => Err("neither a number of bits nor a netmask".into()),
        }
    }
}

/// A broadcast address, or how to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// All bits of the host's part set.
    Highest,
    /// None of them set.
    Lowest,
    /// This one.
    Is(Ipv4Addr),
}

impl Value for Broadcast {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "+" => Ok(Self::Highest),
            "-" => Ok(Self::Lowest),
            _ => text.parse().map(Self::Is).map_err(|_| "not an IPv4 address, + or -".into()),
        }
    }
}

impl Broadcast {
    /// The address, for a host and its network's prefix. Networks too small
    /// for one have none.
    pub fn of(wanted: Option<Self>, ip: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
        let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        match wanted.unwrap_or(Self::Highest) {
            Self::Is(ip) => Some(ip),
            _ if prefix >= 31 => None,
            Self::Highest => Some(Ipv4Addr::from(u32::from(ip) | host)),
            Self::Lowest => Some(Ipv4Addr::from(u32::from(ip) & !host)),
        }
    }
}

/// Who has made a route, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(pub u8);

impl Value for Origin {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        const NAMED: &[(&str, u8)] = &[
            ("redirect", 1),
            ("kernel", 2),
            ("boot", 3),
            ("static", 4),
            ("gated", 8),
            ("ra", 9),
            ("zebra", 11),
            ("bird", 12),
            ("dhcp", 16),
            ("keepalived", 18),
            ("babel", 42),
            ("bgp", 186),
            ("isis", 187),
            ("ospf", 188),
            ("rip", 189),
            ("eigrp", 192),
        ];
        let named = NAMED.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        let number = named.or_else(|| text.parse().ok());
        number.map(Self).ok_or_else(|| "not an origin of routes".into())
    }
}

/// A number that may be hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u32);

impl Value for Seed {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let read = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        read.map(Self).map_err(|_| "not a number of 32 bits, decimal or 0x".into())
    }
}

/// A hardware address of Ethernet; `auto` leaves the choice to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub Option<[u8; 6]>);

impl Value for Mac {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        let bytes: Option<Vec<u8>> = text
            .split([':', '-'])
            .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
            .collect();
        match bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) {
            Some(bytes) if bytes[0] & 1 == 1 => Ok(Self(Some(bytes))),
            _ => Err("not a group's hardware address".into()),
        }
    }
}

/// For how long an address is preferred; none is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(pub Option<u32>);

impl Value for Lifetime {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self(None));
        }
        let seconds = text.trim_end_matches("sec").trim_end_matches('s').parse();
        seconds.map(|s| Self(Some(s))).map_err(|_| "neither a number of seconds nor forever".into())
    }
}

ocf_meta::choices! {
    /// In which form IPv4 addresses are announced.
    pub enum AnnounceForm { Both = "both", Request = "request", Reply = "reply" }
}

ocf_meta::choices! {
    /// What filters packets.
    pub enum Firewall { Auto = "auto", Nft = "nft", Iptables = "iptables" }
}

/// An address that no interface can have.
pub(super) fn unusable(ip: IpAddr) -> Option<anyhow::Error> {
    let what = match ip {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "names no host",
        IpAddr::V4(v4) if v4.is_broadcast() => "is everybody's",
        _ if ip.is_multicast() => "is a group's",
        _ if ip.is_unspecified() => "names no host",
        _ => return None,
    };
    Some(configured(format!("parameter ip {what}: `{ip}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_bits_or_a_mask_without_holes() {
        assert_eq!(Prefix::parse("24"), Ok(Prefix { bits: 24, is_mask: false }));
        assert_eq!(Prefix::parse("255.255.252.0"), Ok(Prefix { bits: 22, is_mask: true }));
        assert_eq!(Prefix::parse("0.0.0.0"), Ok(Prefix { bits: 0, is_mask: true }));
        for bad in ["129", "255.0.255.0", "10.0.0.9", "x", "-1", "+24", "24 "] {
            assert!(Prefix::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_broadcast_is_the_networks_highest_address() {
        let ip = Ipv4Addr::new(10, 10, 1, 250);
        let broadcast = |wanted, prefix| Broadcast::of(wanted, ip, prefix).map(|ip| ip.to_string());
        assert_eq!(broadcast(None, 24).as_deref(), Some("10.10.1.255"));
        assert_eq!(broadcast(None, 16).as_deref(), Some("10.10.255.255"));
        assert_eq!(broadcast(Some(Broadcast::Lowest), 16).as_deref(), Some("10.10.0.0"));
        assert_eq!(broadcast(None, 0).as_deref(), Some("255.255.255.255"));
        assert_eq!(broadcast(None, 31), None);
        assert_eq!(broadcast(None, 32), None);
    }

    #[test]
    fn a_shared_hardware_address_is_a_groups() {
        assert_eq!(Mac::parse("01:00:5E:00:00:fe"), Ok(Mac(Some([1, 0, 0x5e, 0, 0, 0xfe]))));
        assert_eq!(Mac::parse("auto"), Ok(Mac(None)));
        assert!(Mac::parse("02:00:5e:00:00:fe").is_err());
        assert!(Mac::parse("01:00:5e:00:00").is_err());
    }
}
