//! The addresses of the machine's interfaces.

use super::absence::Whole;
use super::netlink::{Attributes, Message, Netlink, errno, family, ip, octets, text, u32_at};
use super::system::{System, View};
use anyhow::{Context, Result};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const FLAGS: u16 = libc::IFA_FLAGS;
const PRIORITY: u16 = 9;
const ADDRESS_LABEL: u16 = 2;
const ADDRESS: u16 = libc::IFA_ADDRESS;
const LOCAL: u16 = libc::IFA_LOCAL;
const FOREVER: u32 = u32::MAX;

/// IPv6: the address is used without asking who else has it.
pub const NO_DETECTION: u32 = libc::IFA_F_NODAD;
/// The address brings no route to its network.
pub const NO_ROUTE: u32 = libc::IFA_F_NOPREFIXROUTE;
/// The flags that are given with an address; the kernel decides on the others.
const GIVEN: u32 = NO_DETECTION | NO_ROUTE;

/// For how many seconds an address lives on; none is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// As the source of new connections.
    pub preferred: Option<u32>,
    /// At all: the kernel removes it then.
    pub valid: Option<u32>,
}

impl Lifetimes {
    /// Reads a `struct ifa_cacheinfo`.
    fn read(value: &[u8]) -> Option<Self> {
        let seconds = |at| u32_at(value, at).map(|n| (n != FOREVER).then_some(n));
        Some(Self { preferred: seconds(0)?, valid: seconds(4)? })
    }

    /// A `struct ifa_cacheinfo`: both, and two times of change.
    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (to, seconds) in bytes.chunks_mut(4).zip([self.preferred, self.valid]) {
            to.copy_from_slice(&seconds.unwrap_or(FOREVER).to_ne_bytes());
        }
        bytes
    }
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address itself.
    pub ip: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// The number of the interface.
    pub index: u32,
    /// IPv4: the interface's name, or that name with `:` and more.
    pub label: Option<String>,
    /// IPv4: the address of everybody on its network.
    pub broadcast: Option<Ipv4Addr>,
    /// `IFA_F_*`.
    pub flags: u32,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// How long it lives.
    pub lifetimes: Lifetimes,
    /// The metric of the route to its network; 0 is the kernel's own.
    pub metric: u32,
}

/// How far duplicate address detection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uniqueness {
    /// The address can be used.
    Settled,
    /// The kernel still asks around.
    Tentative,
    /// Somebody else has it.
    Duplicate,
}

impl Address {
    /// An address on the interface of this number, for ever, without anything
    /// besides.
    pub fn new(ip: IpAddr, prefix: u8, index: u32) -> Self {
        let (label, broadcast, flags, scope, metric) = (None, None, 0, 0, 0);
        let lifetimes = Lifetimes::default();
        Self { ip, prefix, index, label, broadcast, flags, scope, lifetimes, metric }
    }

    /// Whether the address can be used.
    pub fn uniqueness(&self) -> Uniqueness {
        let has = |flag: u32| self.flags & flag != 0;
        if has(libc::IFA_F_DADFAILED) {
            Uniqueness::Duplicate
        } else if has(libc::IFA_F_TENTATIVE) && !has(libc::IFA_F_OPTIMISTIC) {
            Uniqueness::Tentative
        } else {
            Uniqueness::Settled
        }
    }

    /// Whether it lives and dies with another address of its network, unless
    /// the kernel is told otherwise.
    pub fn is_secondary(&self) -> bool {
        self.ip.is_ipv4() && self.flags & libc::IFA_F_SECONDARY != 0
    }

    /// Whether both are of the same network on the same interface.
    pub fn is_sibling(&self, other: &Self) -> bool {
        self.index == other.index
            && self.prefix == other.prefix
            && self.ip != other.ip
            && in_network(self.ip, other.ip, self.prefix)
    }
}

/// The network's address, as bits.
fn network(ip: IpAddr, prefix: u8) -> u128 {
    let (bits, width) = match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    bits.checked_shr(width - u32::from(prefix).min(width)).unwrap_or(0)
}

/// Whether `ip` is of the network that `prefix` bits of `of` name.
pub fn in_network(ip: IpAddr, of: IpAddr, prefix: u8) -> bool {
    ip.is_ipv4() == of.is_ipv4() && network(ip, prefix) == network(of, prefix)
}

/// The length of a whole address of the family.
pub fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// Wherever the machine has this address, on any interface.
pub fn holding(view: &View, wanted: IpAddr) -> Result<Whole<Address>> {
    let bytes = octets(&wanted);
    let found = list(family(&wanted), 0, |body| {
        let mut named = Attributes(body.get(8..)?);
        named
            .any(|(kind, value)| matches!(kind, LOCAL | ADDRESS) && value == bytes)
            .then_some(())?;
        read(body).filter(|address| address.ip == wanted)
    });
    view.note(format_args!("addresses {wanted} = {found:?}"));
    let found = found.context("cannot list the addresses")?;
    Ok(Whole::told("places of the address", found))
}

/// All IPv4 addresses of one interface.
pub fn all_v4(view: &View, index: u32) -> Result<Vec<Address>> {
    let found = list(libc::AF_INET as u8, index, read);
    let count = found.as_ref().map(Vec::len);
    view.note(format_args!("addresses of link {index} = {count:?} of them"));
    found.context("cannot list the addresses")
}

/// The other addresses of this interface, or any for 0, whose network `ip` is
/// in, the smallest network first. They name it where no route does: the link
/// is down, its routes are in a table of their own, or it has none.
pub fn covering(view: &View, ip: IpAddr, index: u32) -> Result<Vec<Address>> {
    let of_network = |body: &[u8]| {
        read(body).filter(|other| {
            other.ip != ip && other.prefix < width(ip) && in_network(ip, other.ip, other.prefix)
        })
    };
    let found = list(family(&ip), index, of_network).map(|mut found| {
        found.sort_by_key(|other| (u8::MAX - other.prefix, other.index));
        found
    });
    view.note(format_args!("addresses of the network of {ip} on link {index} = {found:?}"));
    found.context("cannot list the addresses")
}

fn list(
    family: u8,
    index: u32,
    read: impl Fn(&[u8]) -> Option<Address>,
) -> std::io::Result<Vec<Address>> {
    let header = header(family, 0, 0, index);
    let of_link = |body: &[u8]| {
        let wanted = index == 0 || u32_at(body, 4) == Some(index);
        if wanted { read(body) } else { None }
    };
    Netlink::open()?.list(|| Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &header), of_link)
}

/// The IPv6 address, if an interface has it: this one, or any for 0. Much
/// quicker than a list where there are many.
pub fn one_v6(view: &View, wanted: Ipv6Addr, index: u32) -> Result<Option<Address>> {
    let header = header(libc::AF_INET6 as u8, 0, 0, index);
    let question = Message::new(libc::RTM_GETADDR, 0, &header).with(ADDRESS, &wanted.octets());
    let found = match Netlink::open().and_then(|line| line.ask(question, read)) {
        Ok(address) => Ok(Some(address)),
        Err(err) if matches!(errno(&err), Some(Errno::EADDRNOTAVAIL | Errno::ENODEV)) => Ok(None),
        Err(err) => Err(err),
    };
    view.note(format_args!("address {wanted} on link {index} = {found:?}"));
    found.with_context(|| format!("cannot look for the address {wanted}"))
}

/// Adds the address. One that is there already, just like this, is no error.
pub fn add(system: &System<'_>, new: &Address) -> Result<()> {
    let how = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let done = match Netlink::open().and_then(|line| line.tell(order(new, how))) {
        // IPv6 also says so of the same address with another prefix.
        Err(err) if errno(&err) == Some(Errno::EEXIST) => {
            let same = |held: &Address| (held.index, held.prefix) == (new.index, new.prefix);
            if holding(system, new.ip)?.iter().any(same) { Ok(()) } else { Err(err) }
        }
        done => done,
    };
    system.note(format_args!("add {new:?} = {done:?}"));
    done.with_context(|| format!("cannot add {}/{}", new.ip, new.prefix))
}

/// Gives an address that is there the lifetimes, and keeps it otherwise.
pub fn renew(system: &System<'_>, held: &Address, lifetimes: Lifetimes) -> Result<()> {
    let new = Address { lifetimes, ..held.clone() };
    let done = Netlink::open().and_then(|line| line.tell(order(&new, libc::NLM_F_REPLACE)));
    system.note(format_args!("renew {new:?} = {done:?}"));
    done.with_context(|| format!("cannot set the lifetimes of {}/{}", new.ip, new.prefix))
}

fn order(address: &Address, how: i32) -> Message {
    let bytes = octets(&address.ip);
    let broadcast = address.broadcast.map(|ip| ip.octets());
    let label = address.label.as_ref().map(|label| [label.as_bytes(), &[0]].concat());
    let flags = Some(address.flags & GIVEN).filter(|flags| *flags != 0).map(u32::to_ne_bytes);
    let metric = Some(address.metric).filter(|metric| *metric > 0).map(u32::to_ne_bytes);
    let header = header(family(&address.ip), address.prefix, address.scope, address.index);
    Message::new(libc::RTM_NEWADDR, libc::NLM_F_ACK | how, &header)
        .with(LOCAL, &bytes)
        .with(ADDRESS, &bytes)
        .with_some(libc::IFA_BROADCAST, broadcast.as_ref().map(<[u8; 4]>::as_slice))
        .with_some(libc::IFA_LABEL, label.as_deref())
        .with_some(FLAGS, flags.as_ref().map(<[u8; 4]>::as_slice))
        .with(libc::IFA_CACHEINFO, &address.lifetimes.bytes())
        .with_some(PRIORITY, metric.as_ref().map(<[u8; 4]>::as_slice))
}

/// Removes the address; one that is not there, or whose interface is gone, is
/// removed already.
pub fn remove(system: &System<'_>, old: &Address) -> Result<()> {
    let bytes = octets(&old.ip);
    let header = header(family(&old.ip), old.prefix, 0, old.index);
    let order = Message::new(libc::RTM_DELADDR, libc::NLM_F_ACK, &header)
        .with(LOCAL, &bytes)
        .with(ADDRESS, &bytes);
    let done = match Netlink::open().and_then(|line| line.tell(order)) {
        Err(err) if matches!(errno(&err), Some(Errno::EADDRNOTAVAIL | Errno::ENODEV)) => Ok(()),
        done => done,
    };
    system
        .note(format_args!("remove {}/{} from link {} = {done:?}", old.ip, old.prefix, old.index));
    done.with_context(|| format!("cannot remove {}/{}", old.ip, old.prefix))
}

/// Gives an IPv6 address a label of its own in the rules of RFC 6724, so that
/// it is chosen as a source only for itself.
pub fn set_source_label(system: &System<'_>, ip: Ipv6Addr, label: u32) -> Result<()> {
    let how = libc::NLM_F_ACK | libc::NLM_F_CREATE;
    source_label(system, libc::RTM_NEWADDRLABEL, how, ip, label, Errno::EEXIST)
        .with_context(|| format!("cannot label {ip} for source address selection"))
}

/// Whether the address has this label of its own.
pub fn has_source_label(view: &View, ip: Ipv6Addr, label: u32) -> Result<bool> {
    const WHOLE: u8 = 128;
    let question =
        Message::new(libc::RTM_GETADDRLABEL, 0, &source_label_header()).with(ADDRESS, &ip.octets());
    let own = |body: &[u8]| {
        let found = Attributes(body.get(12..)?).find(|(kind, _)| *kind == ADDRESS_LABEL);
        let label_found = found.and_then(|(_, value)| u32_at(value, 0));
        Some(body[2] == WHOLE && label_found == Some(label))
    };
    let found = match Netlink::open().and_then(|line| line.ask(question, own)) {
        Err(err) if matches!(errno(&err), Some(Errno::ESRCH | Errno::EOPNOTSUPP)) => Ok(false),
        found => found,
    };
    view.note(format_args!("source label {label} of {ip} = {found:?}"));
    found.with_context(|| format!("cannot look for the label of {ip}"))
}

/// Takes that label away; one that is not there is no error.
pub fn drop_source_label(system: &System<'_>, ip: Ipv6Addr, label: u32) -> Result<()> {
    source_label(system, libc::RTM_DELADDRLABEL, libc::NLM_F_ACK, ip, label, Errno::ESRCH)
        .with_context(|| format!("cannot remove the label of {ip} for source address selection"))
}

fn source_label(
    system: &System<'_>,
    kind: u16,
    how: i32,
    ip: Ipv6Addr,
    label: u32,
    harmless: Errno,
) -> std::io::Result<()> {
    let order = Message::new(kind, how, &source_label_header())
        .with(ADDRESS, &ip.octets())
        .with(ADDRESS_LABEL, &label.to_ne_bytes());
    let done = match Netlink::open().and_then(|line| line.tell(order)) {
        Err(err) if errno(&err) == Some(harmless) => Ok(()),
        done => done,
    };
    system.note(format_args!("source label {label} of {ip}, order {kind} = {done:?}"));
    done
}

/// A `struct ifaddrlblmsg` for one whole address.
fn source_label_header() -> [u8; 12] {
    [libc::AF_INET6 as u8, 0, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// A `struct ifaddrmsg`.
fn header(family: u8, prefix: u8, scope: u8, index: u32) -> [u8; 8] {
    let [a, b, c, d] = index.to_ne_bytes();
    [family, prefix, 0, scope, a, b, c, d]
}

fn read(body: &[u8]) -> Option<Address> {
    let &[_, prefix, flags, scope, ..] = body else { return None };
    let (mut local, mut address) = (None, None);
    let (mut label, mut broadcast, mut flags) = (None, None, u32::from(flags));
    let (mut lifetimes, mut metric) = (Lifetimes::default(), 0);
    for (kind, value) in Attributes(body.get(8..)?) {
        match kind {
            LOCAL => local = ip(value),
            // For a point-to-point link this is the other end.
            ADDRESS => address = ip(value),
            libc::IFA_LABEL => label = Some(text(value)),
            libc::IFA_BROADCAST => broadcast = ip(value),
            FLAGS => flags = u32_at(value, 0)?,
            libc::IFA_CACHEINFO => lifetimes = Lifetimes::read(value)?,
            PRIORITY => metric = u32_at(value, 0)?,
            _ => {}
        }
    }
    let broadcast = match broadcast {
        Some(IpAddr::V4(ip)) => Some(ip),
        _ => None,
    };
    let (ip, index) = (local.or(address)?, u32_at(body, 4)?);
    Some(Address { ip, prefix, index, label, broadcast, flags, scope, lifetimes, metric })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ip: &str, prefix: u8, flags: u32) -> Address {
        Address { flags, ..Address::new(ip.parse().unwrap(), prefix, 2) }
    }

    #[test]
    fn networks_are_compared_by_their_bits() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(in_network(ip("10.0.0.9"), ip("10.0.0.200"), 24));
        assert!(!in_network(ip("10.0.0.9"), ip("10.0.0.200"), 25));
        assert!(in_network(ip("10.0.0.9"), ip("192.168.0.1"), 0));
        assert!(in_network(ip("fd00::1"), ip("fd00::2"), 64));
        assert!(in_network(ip("fd00::1"), ip("fe80::2"), 0));
        assert!(!in_network(ip("fd00::1"), ip("fd00::2"), 128));
        assert!(!in_network(ip("10.0.0.9"), ip("fd00::2"), 0));
    }

    #[test]
    fn lifetimes_are_read_as_they_were_written() {
        for (preferred, valid) in [(None, None), (Some(0), None), (Some(30), Some(60))] {
            let lifetimes = Lifetimes { preferred, valid };
            assert_eq!(Lifetimes::read(&lifetimes.bytes()), Some(lifetimes));
        }
        assert_eq!(Lifetimes::read(&[0; 7]), None);
    }

    #[test]
    fn a_sibling_is_another_address_of_the_same_network() {
        let ours = address("10.0.0.9", 24, 0);
        assert!(ours.is_sibling(&address("10.0.0.10", 24, 0)));
        assert!(!ours.is_sibling(&address("10.0.0.9", 24, 0)));
        assert!(!ours.is_sibling(&address("10.0.0.10", 25, 0)));
        assert!(!ours.is_sibling(&address("10.0.1.10", 24, 0)));
    }

    #[test]
    fn a_duplicate_is_not_merely_tentative() {
        let both = libc::IFA_F_DADFAILED | libc::IFA_F_TENTATIVE;
        assert_eq!(address("fd00::9", 64, both).uniqueness(), Uniqueness::Duplicate);
        let tentative = address("fd00::9", 64, libc::IFA_F_TENTATIVE);
        assert_eq!(tentative.uniqueness(), Uniqueness::Tentative);
        assert_eq!(address("fd00::9", 64, 0).uniqueness(), Uniqueness::Settled);
    }
}
