//! What was seen of the address: where it is assigned, and in which state.

use common::host::address::{Address, Uniqueness};
use common::host::link::Link;
use common::host::netns::Namespace;
use common::{Absent, Role, Status};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

/// The address as it is assigned to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
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

impl Assignment {
    /// The address where it was found.
    pub(super) fn new(address: &Address, link: &Link) -> Self {
        Self { carries: link.carries(), ..Self::carried(address, &link.name) }
    }

    /// The address on an interface that is known to carry.
    pub(super) fn carried(address: &Address, nic: &str) -> Self {
        Self {
            nic: nic.to_owned(),
            index: address.index,
            ip: address.ip,
            prefix: address.prefix,
            label: address.label.clone(),
            carries: true,
            uniqueness: address.uniqueness(),
        }
    }

    /// The address as the kernel is asked to remove it.
    pub(super) fn address(&self) -> Address {
        let label = self.label.clone();
        Address { label, ..Address::new(self.ip, self.prefix, self.index) }
    }

    pub(super) fn address_text(&self) -> String {
        format!("{}/{}", self.ip, self.prefix)
    }
}

impl fmt::Display for Assignment {
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

/// What a start has put where it is not looked for any more.
#[derive(Clone, Debug)]
pub struct Stray {
    pub held: Assignment,
    /// What its interface was called then.
    pub was: String,
    /// The network namespace, if it is not the one that is looked at.
    pub within: Option<Rc<Namespace>>,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.held.fmt(f)?;
        if self.was != self.held.nic {
            write!(f, ", which was {}", self.was)?;
        }
        match &self.within {
            Some(within) => write!(f, ", in the network namespace of {}", within.holder()),
            None => Ok(()),
        }
    }
}

/// What this node has of the shared address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShareState {
    /// Why nothing is known.
    pub(super) unknown: Option<String>,
    /// The handle of our part's rule.
    pub(super) ours: Option<u32>,
    /// How many other parts this node answers for.
    pub(super) others: usize,
    /// Whether what is nobody's here is dropped.
    pub(super) rest: bool,
    /// Whether there is a table at all.
    pub(super) table: bool,
    /// Proof that the table has no rule for our part.
    pub(super) absent: Option<Absent>,
}

impl ShareState {
    /// Whether this node answers for our part, and for no more than its parts.
    pub(super) fn is_whole(&self) -> bool {
        self.unknown.is_none() && self.ours.is_some() && self.rest
    }

    /// What it means that the address is here, but not our part of it.
    pub(super) fn status(&self, place: &str) -> Status {
        let failed = |what: &str| Status::Failed(Role::Started, format!("{place}, but {what}"));
        match (&self.unknown, self.ours, self.rest) {
            (Some(unknown), _, _) => failed(unknown),
            (None, Some(_), _) => failed("takes the other nodes' clients as well"),
            (None, None, false) => failed("nothing shares out the clients"),
            // Another instance's part brings the address here as well.
            (None, None, true) => match &self.absent {
                Some(absent) => Status::Stopped(absent.clone()),
                None => failed("nft's list of who is answered may be cut short"),
            },
        }
    }
}

impl fmt::Display for ShareState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unknown {
            Some(unknown) => f.write_str(unknown),
            None if self.is_whole() => write!(f, "ours, and {} other parts", self.others),
            None if self.table => write!(f, "not ours, but {} other parts", self.others),
            None => f.write_str("none"),
        }
    }
}

/// What was seen of the address.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Where it is as it was asked for, apart from label and link.
    pub found: Option<Assignment>,
    /// Where it is as well, in the same way.
    pub again: Vec<Assignment>,
    /// Where a start has put it, though it is asked for elsewhere now.
    pub strays: Vec<Stray>,
    /// Where it is besides: on other interfaces, or with other prefixes.
    pub others: Vec<Assignment>,
    /// Where it is on the loopback, and serves nobody.
    pub local: Vec<Assignment>,
    /// Why there is nowhere it could be as it was asked for.
    pub gone: Option<String>,
    /// Proof that it is nowhere that counts.
    pub absent: Option<Absent>,
    /// Whether it was dear to ask for it, as where an interface has thousands.
    pub dear: bool,
    /// Whether it is known what start has added.
    pub recorded: bool,
    /// What this node has of an address that several nodes share.
    pub share: Option<ShareState>,
}

impl State {
    pub(super) fn at(found: Assignment) -> Self {
        Self { found: Some(found), ..Self::default() }
    }
}
