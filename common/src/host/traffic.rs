//! What a rule of a firewall speaks of: one protocol's ports, at one end of it.

use super::address::in_network;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A protocol that has ports, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Protocol {
    /// The protocol of this number.
    pub fn of(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp].into_iter().find(|protocol| *protocol as u8 == number)
    }

    /// As people and programs write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last, which may be the first.
    pub last: u16,
}

impl Ports {
    /// Whether the port is one of them.
    pub fn have(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}:{}", self.first, self.last),
        }
    }
}

/// Several, in the order of their numbers, as iptables writes them: `80,8000:8010`.
pub fn ports_of(text: &str) -> Result<Vec<Ports>, String> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err("no list of ports from 1 to 65535, with commas and colons".to_owned()),
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        let ports = Ports { first: port(first)?, last: port(last)? };
        if ports.first > ports.last {
            return Err("a range of ports that ends before it begins".to_owned());
        }
        all.push(ports);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// How [`ports_of`] reads them.
pub fn ports_text(ports: &[Ports]) -> String {
    ports.iter().map(Ports::to_string).collect::<Vec<_>>().join(",")
}

/// An address, or all of a network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The lowest of its addresses.
    pub ip: IpAddr,
    /// The length of the prefix that they have in common.
    pub prefix: u8,
}

impl Network {
    /// The network that this address is of.
    pub fn of(ip: IpAddr, prefix: u8) -> Option<Self> {
        let (bits, lowest): (u8, IpAddr) = match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
                (32, std::net::Ipv4Addr::from(u32::from(ip) & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
                (128, std::net::Ipv6Addr::from(u128::from(ip) & mask).into())
            }
        };
        (prefix <= bits).then_some(Self { ip: lowest, prefix })
    }

    /// The one address that it is, if it is one.
    pub fn address(self) -> Option<IpAddr> {
        (self.prefix == self.bits()).then_some(self.ip)
    }

    /// How many bits an address of its family has.
    pub fn bits(self) -> u8 {
        if self.ip.is_ipv4() { 32 } else { 128 }
    }

    /// Whether the address is one of its.
    pub fn has(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.ip.is_ipv4() && in_network(ip, self.ip, self.prefix)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(ip) => write!(f, "{ip}"),
            None => write!(f, "{}/{}", self.ip, self.prefix),
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse().map_err(drop)?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(drop)?;
        Self::of(ip, prefix.unwrap_or(if ip.is_ipv4() { 32 } else { 128 })).ok_or(())
    }
}

/// Which end of the traffic is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

/// What a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Its protocol.
    pub protocol: Protocol,
    /// The end that network and ports are of.
    pub end: End,
    /// Whose it is.
    pub network: Network,
    /// Which ports.
    pub ports: Ports,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_of_ports_are_one_however_they_are_written() {
        let text = |text: &str| ports_of(text).map(|ports| ports_text(&ports));
        assert_eq!(text("443,80,443").as_deref(), Ok("80,443"));
        assert_eq!(text("8000:8010,22").as_deref(), Ok("22,8000:8010"));
        assert_eq!(text("0080").as_deref(), Ok("80"));
        for bad in ["", "0", "80,", "80 ,81", "1:2:3", "9:8", "65536", "+80", "http", "-1", ":80"] {
            assert!(ports_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_has_the_addresses_with_its_prefix_and_no_others() {
        let network = |text: &str| text.parse::<Network>();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network("10.0.0.9").unwrap().to_string(), "10.0.0.9");
        assert_eq!(network("10.0.0.9/24").unwrap().to_string(), "10.0.0.0/24");
        assert_eq!(network("fd00::9/128").unwrap().address(), Some(ip("fd00::9")));
        assert!(network("10.0.0.0/24").unwrap().has(ip("10.0.0.200")));
        assert!(!network("10.0.0.0/24").unwrap().has(ip("10.0.1.0")));
        assert!(network("0.0.0.0/0").unwrap().has(ip("192.168.1.1")));
        assert!(!network("0.0.0.0/0").unwrap().has(ip("fd00::1")));
        assert!(!network("::/0").unwrap().has(ip("10.0.0.1")));
        for bad in ["", "10.0.0.9/33", "10.0.0.9/", "host", "fd00::/129", "10.0.0/8", "010.0.0.1"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
