//! Network interfaces: which there are, and whether they carry anything.

use super::netlink::{Attributes, Message, Netlink, errno, text, u16_at, u32_at};
use super::system::{System, View};
use anyhow::{Context, Result};
use nix::errno::Errno;

/// `ARPHRD_INFINIBAND`.
pub const INFINIBAND: u16 = 32;

const SKIP_STATISTICS: u32 = 1 << 3;
const IFLA_EXT_MASK: u16 = libc::IFLA_EXT_MASK;
const IFLA_ALT_IFNAME: u16 = libc::IFLA_ALT_IFNAME;
const BOND_MODE: u16 = 1;
const BALANCE_RR: u8 = 0;

/// The longest name of an interface itself; only alternative ones are longer.
pub const LONGEST_NAME: usize = libc::IFNAMSIZ - 1;

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its own name, whatever name it was asked for by.
    pub name: String,
    /// `ARPHRD_*`.
    pub kind: u16,
    /// `IFF_*`.
    pub flags: u32,
    /// `IF_OPER_*` of RFC 2863.
    pub operstate: u8,
    /// Its hardware address.
    pub address: Vec<u8>,
    /// The hardware address of everybody on its network.
    pub broadcast: Vec<u8>,
    /// The largest packet it takes.
    pub mtu: u32,
    /// Of a bond that sends through its members in turn.
    pub takes_turns: bool,
}

impl Link {
    /// Whether an administrator has set it up.
    pub fn is_up(&self) -> bool {
        has(self.flags, libc::IFF_UP)
    }

    /// Whether it can carry anything now.
    ///
    /// A driver that does not tell its state is taken for one that works, and
    /// so is a link that waits for a login to the network. The loss of a
    /// carrier shows in the flags at once, in the state within a second.
    pub fn carries(&self) -> bool {
        const DOWN_BELOW: u8 = 3;
        const DOWN: u8 = 2;
        const NOT_PRESENT: u8 = 1;
        let has_carrier = has(self.flags, libc::IFF_LOWER_UP);
        self.is_up() && has_carrier && !matches!(self.operstate, NOT_PRESENT | DOWN | DOWN_BELOW)
    }

    /// Whether it leads nowhere but back.
    pub fn is_loopback(&self) -> bool {
        has(self.flags, libc::IFF_LOOPBACK)
    }

    /// Whether neighbours on it find each other by asking.
    pub fn has_neighbours(&self) -> bool {
        !self.is_loopback() && !has(self.flags, libc::IFF_NOARP) && !self.address.is_empty()
    }

    /// Its state in words, to follow "which is".
    pub fn state(&self) -> &'static str {
        match (self.is_up(), self.carries()) {
            (false, _) => "set down",
            (true, false) => "without a carrier",
            (true, true) => "up",
        }
    }
}

fn has(flags: u32, flag: i32) -> bool {
    flags & flag.cast_unsigned() != 0
}

/// A hardware address as people write it.
pub fn shown(address: &[u8]) -> String {
    address.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// The interface of this name or alternative name.
pub fn by_name(view: &View, name: &str) -> Result<Option<Link>> {
    let kind = if name.len() > LONGEST_NAME { IFLA_ALT_IFNAME } else { libc::IFLA_IFNAME };
    let terminated = [name.as_bytes(), &[0]].concat();
    let found = ask(question(0).with(kind, &terminated));
    view.note(format_args!("link {name} = {found:?}"));
    found.with_context(|| format!("cannot look for the interface {name}"))
}

/// The interface with this number.
pub fn by_index(view: &View, index: u32) -> Result<Option<Link>> {
    let found = ask(question(index));
    view.note(format_args!("link {index} = {found:?}"));
    found.with_context(|| format!("cannot look for interface number {index}"))
}

fn question(index: u32) -> Message {
    Message::new(libc::RTM_GETLINK, 0, &header(index, 0, 0))
        .with(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes())
}

fn ask(question: Message) -> std::io::Result<Option<Link>> {
    match Netlink::open()?.ask(question, read) {
        Ok(link) => Ok(Some(link)),
        Err(err) if errno(&err) == Some(Errno::ENODEV) => Ok(None),
        Err(err) => Err(err),
    }
}

/// How many interfaces the bond or bridge of this number has as members.
pub fn members(view: &View, index: u32) -> Result<usize> {
    let dump = libc::NLM_F_DUMP;
    let question = || {
        Message::new(libc::RTM_GETLINK, dump, &header(0, 0, 0))
            .with(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes())
    };
    let of = |body: &[u8]| {
        Attributes(body.get(16..)?)
            .any(|(kind, value)| kind == libc::IFLA_MASTER && u32_at(value, 0) == Some(index))
            .then_some(())
    };
    let found = Netlink::open().and_then(|line| line.list(question, of));
    view.note(format_args!("members of link {index} = {found:?}"));
    Ok(found.context("cannot list the interfaces")?.len())
}

/// Sets the interface up, as an administrator would.
pub fn set_up(system: &System<'_>, link: &Link) -> Result<()> {
    let up = libc::IFF_UP.cast_unsigned();
    let order = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header(link.index, up, up));
    let done = Netlink::open().and_then(|line| line.tell(order));
    system.note(format_args!("link {} up = {done:?}", link.name));
    done.with_context(|| format!("cannot set {} up", link.name))
}

/// A `struct ifinfomsg`.
fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

fn read(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        kind: u16_at(body, 2)?,
        index: u32_at(body, 4)?,
        flags: u32_at(body, 8)?,
        ..Link::default()
    };
    for (kind, value) in Attributes(body.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_ADDRESS => link.address = value.to_vec(),
            libc::IFLA_BROADCAST => link.broadcast = value.to_vec(),
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_OPERSTATE => link.operstate = *value.first()?,
            libc::IFLA_LINKINFO => link.takes_turns = takes_turns(value),
            _ => {}
        }
    }
    Some(link)
}

/// Whether this is what the kernel says of a bond of mode balance-rr.
fn takes_turns(info: &[u8]) -> bool {
    let find = |inside: &'_ [u8], wanted| {
        Attributes(inside).find(|(kind, _)| *kind == wanted).map(|(_, value)| value.to_vec())
    };
    let is_bond = find(info, libc::IFLA_INFO_KIND).is_some_and(|kind| text(&kind) == "bond");
    let mode = find(info, libc::IFLA_INFO_DATA).and_then(|data| find(&data, BOND_MODE));
    is_bond && mode.is_some_and(|mode| mode.first() == Some(&BALANCE_RR))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(flags: i32, operstate: u8) -> Link {
        Link { flags: flags.cast_unsigned(), operstate, address: vec![2; 6], ..Link::default() }
    }

    #[test]
    fn a_driver_that_tells_nothing_is_believed() {
        let wired = libc::IFF_UP | libc::IFF_LOWER_UP;
        assert!(link(wired, 0).carries());
        assert!(link(wired, 6).carries());
        assert!(!link(wired, 2).carries());
        assert!(!link(wired, 3).carries());
        assert!(!link(libc::IFF_UP, 6).carries());
        assert!(!link(0, 6).carries());
    }

    #[test]
    fn only_where_neighbours_ask_is_there_something_to_announce() {
        assert!(link(libc::IFF_UP, 6).has_neighbours());
        assert!(!link(libc::IFF_UP | libc::IFF_NOARP, 6).has_neighbours());
        assert!(!link(libc::IFF_UP | libc::IFF_LOOPBACK, 0).has_neighbours());
    }

    #[test]
    fn a_round_robin_bond_is_told_from_other_bonds() {
        let attribute = |kind: u16, value: &[u8]| {
            let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let info = |kind: &[u8], mode: u8| {
            let data = attribute(libc::IFLA_INFO_DATA, &attribute(BOND_MODE, &[mode]));
            [attribute(libc::IFLA_INFO_KIND, kind), data].concat()
        };
        assert!(takes_turns(&info(b"bond\0", 0)));
        assert!(!takes_turns(&info(b"bond\0", 1)));
        assert!(!takes_turns(&info(b"vlan\0", 0)));
    }
}
