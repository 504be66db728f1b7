//! Where the address was found, and in which state.

use super::cluster;
use common::Absent;
use common::host::address::{Address, Uniqueness};
use std::fmt;
use std::net::IpAddr;

/// The address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The interface's own name.
    pub nic: String,
    /// The interface's number.
    pub index: u32,
    pub ip: IpAddr,
    pub prefix: u8,
    /// IPv4: the label, which is the interface's name if it has none.
    pub label: Option<String>,
    /// Whether the interface can carry anything now.
    pub carries: bool,
    pub uniqueness: Uniqueness,
}

impl Holding {
    pub(super) fn new(address: &Address, nic: &str, carries: bool) -> Self {
        Self {
            nic: nic.to_owned(),
            index: address.index,
            ip: address.ip,
            prefix: address.prefix,
            label: address.label.clone(),
            carries,
            uniqueness: address.uniqueness(),
        }
    }

    /// The address as the kernel is asked to remove it.
    pub(super) fn address(&self) -> Address {
        Address {
            ip: self.ip,
            prefix: self.prefix,
            index: self.index,
            label: self.label.clone(),
            broadcast: None,
            flags: 0,
            scope: 0,
        }
    }

    /// The line by which [`Holding::recall`] knows it again.
    pub(super) fn remembered(&self) -> String {
        let label = self.label.as_deref().unwrap_or(&self.nic);
        format!("1 {} {} {} {} {label}\n", self.ip, self.prefix, self.index, self.nic)
    }

    /// What was remembered of this address.
    pub(super) fn recall(ip: IpAddr, line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["1", remembered, prefix, index, nic, label] = *words else { return None };
        Some(Self {
            nic: nic.to_owned(),
            index: index.parse().ok()?,
            ip: remembered.parse().ok().filter(|remembered| *remembered == ip)?,
            prefix: prefix.parse().ok()?,
            label: Some(label.to_owned()),
            carries: true,
            uniqueness: Uniqueness::Settled,
        })
    }

    pub(super) fn address_text(&self) -> String {
        format!("{}/{}", self.ip, self.prefix)
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address_text(), self.nic)?;
        if let Some(label) = self.label.as_ref().filter(|label| **label != self.nic) {
            write!(f, " as {label}")?;
        }
        if !self.carries {
            f.write_str(", whose link is down")?;
        }
        match self.uniqueness {
            Uniqueness::Settled => Ok(()),
            Uniqueness::Tentative => f.write_str(", tentative"),
            Uniqueness::Duplicate => f.write_str(", a duplicate"),
        }
    }
}

/// What was seen of the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Where it is as it was asked for, apart from label and link.
    pub found: Option<Holding>,
    /// Where it is as well, in the same way.
    pub again: Vec<Holding>,
    /// Where it is besides: on other interfaces, or with other prefixes.
    pub others: Vec<Holding>,
    /// Why there is nowhere it could be.
    pub gone: Option<String>,
    /// Proof that it is nowhere that counts.
    pub absent: Option<Absent>,
    /// Whether everything was looked at, not only what was needed for a yes.
    pub thorough: bool,
    /// What this node has of an address that several nodes share.
    pub share: Option<cluster::Standing>,
}

impl State {
    /// There is no place for the address.
    pub(super) fn nowhere(why: impl Into<String>, absent: Option<Absent>) -> Self {
        Self { gone: Some(why.into()), absent, ..Self::default() }
    }

    pub(super) fn at(found: Holding) -> Self {
        Self { found: Some(found), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_address_is_recalled() {
        let held = Holding {
            nic: "eth0".into(),
            index: 3,
            ip: "10.0.0.9".parse().unwrap(),
            prefix: 24,
            label: Some("eth0:web".into()),
            carries: true,
            uniqueness: Uniqueness::Settled,
        };
        let line = held.remembered();
        assert_eq!(Holding::recall(held.ip, &line), Some(held));
        assert_eq!(Holding::recall("10.0.0.8".parse().unwrap(), &line), None);
        for torn in ["", "1 10.0.0.9 24 3", "2 10.0.0.9 24 3 eth0 eth0"] {
            assert_eq!(Holding::recall("10.0.0.9".parse().unwrap(), torn), None);
        }
    }
}
