//! The addresses that a target listens at, in the spellings that people and
//! tools have for them, and in the one that LIO has.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What iSCSI listens at unless it is said.
pub const PORT: u16 = 3260;

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portal(SocketAddr);

/// As LIO has it: an address of IPv6 in brackets, since LIO ends the address at
/// the first colon without.
impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Portal {
    /// All addresses of IPv6, and with most hosts those of IPv4 as well.
    pub const ALL_V6: Self = Self(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT));
    /// All addresses of IPv4.
    pub const ALL_V4: Self = Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT));

    /// Reads `10.0.0.1`, `10.0.0.1:3260`, `[fd00::1]`, `[fd00::1]:3260`,
    /// `fd00::1` and `fd00::1:3260`. Of an address of IPv6 without brackets, what
    /// is behind the last colon is the port where that leaves an address.
    pub fn parse(text: &str) -> Option<Self> {
        let of = |ip: IpAddr, port| Some(Self(SocketAddr::new(ip, port)));
        if let Some(bracketed) = text.strip_prefix('[') {
            let (ip, rest) = bracketed.split_once(']')?;
            let ip = IpAddr::V6(ip.parse().ok()?);
            return match rest.strip_prefix(':') {
                Some(port) => of(ip, number(port)?),
                None if rest.is_empty() => of(ip, PORT),
                None => None,
            };
        }
        if let Some((ip, port)) = text.rsplit_once(':')
            && let (Ok(ip), Some(port)) = (ip.parse(), number(port))
        {
            return of(ip, port);
        }
        of(text.parse().ok()?, PORT)
    }

    /// The address.
    pub fn ip(&self) -> IpAddr {
        self.0.ip()
    }

    /// Whether both cannot be listened at, since one has the other in it.
    pub fn is_in_the_way_of(&self, other: &Self) -> bool {
        let is_all = |portal: &Self| portal.ip().is_unspecified();
        self != other && self.0.port() == other.0.port() && (is_all(self) || is_all(other))
    }
}

fn number(port: &str) -> Option<u16> {
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| port.parse().ok().filter(|port| *port != 0))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        Portal::parse(text).map(|portal| portal.to_string())
    }

    #[test]
    fn every_spelling_of_an_address_becomes_that_of_lio() {
        for (text, wanted) in [
            ("10.0.0.1", "10.0.0.1:3260"),
            ("10.0.0.1:3261", "10.0.0.1:3261"),
            ("[fd00::1]", "[fd00::1]:3260"),
            ("[fd00::1]:3261", "[fd00::1]:3261"),
            ("fd00::1", "[fd00::1]:3260"),
            // As linstor-gateway writes it.
            ("fd00::1:3260", "[fd00::1]:3260"),
            ("2001:db8:0:0:0:0:0:1", "[2001:db8::1]:3260"),
            ("2001:db8:0:0:0:0:0:1:3261", "[2001:db8::1]:3261"),
            ("::", "[::]:3260"),
            ("[::0]:3260", "[::]:3260"),
            ("0.0.0.0:3260", "0.0.0.0:3260"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in [
            "",
            ":3260",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:+1",
            "host",
            "host:3260",
            "[fd00::1",
            "[fd00::1]x",
            "[10.0.0.1]:3260",
            "10.0.0.256",
            "010.0.0.1",
            "fe80::1%eth0",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn all_addresses_are_in_the_way_of_each() {
        let portal = |text| Portal::parse(text).unwrap();
        assert!(portal("0.0.0.0").is_in_the_way_of(&portal("10.0.0.1")));
        assert!(portal("10.0.0.1").is_in_the_way_of(&portal("[::]:3260")));
        assert!(!portal("10.0.0.1").is_in_the_way_of(&portal("10.0.0.1")));
        assert!(!portal("0.0.0.0").is_in_the_way_of(&portal("10.0.0.1:3261")));
    }
}
