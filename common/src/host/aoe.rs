//! ATA over Ethernet: who listens for it on this machine, who answers on a
//! network, and telling that network what is served where.
//!
//! What the kernel knows of a target is a packet socket: of which protocol, on
//! which interface, by the interface's number. A socket has a cookie that is
//! given to no other one while the system is up, so a socket that was seen once
//! is known again by one look at the list, whatever its process and its
//! interface are called by then. Kernels without that list have a file of it,
//! without cookies.

use super::absence::Whole;
use super::announce;
use super::clock::{Deadline, Pace};
use super::link::{self, Link};
use super::netlink::{Attributes, Message, Netlink, errno, u16_at, u32_at};
use super::system::{System, View};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `ETH_P_AOE`.
const PROTOCOL: u16 = 0x88a2;

/// Where a target is found on its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The major number; 65535 is everybody's.
    pub shelf: u16,
    /// The minor number; 255 is everybody's.
    pub slot: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}.{}", self.shelf, self.slot)
    }
}

impl Address {
    /// Reads `e0.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let (shelf, slot) = text.strip_prefix('e')?.split_once('.')?;
        Some(Self { shelf: shelf.parse().ok()?, slot: slot.parse().ok()? })
    }
}

/// A packet socket for this protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What no other socket has while the system is up; 0 where the kernel does
    /// not tell.
    pub cookie: u64,
    /// Its number in the kernel's file system of sockets.
    pub inode: u32,
    /// The interface that it is bound to; none once that is gone.
    pub index: Option<u32>,
    /// Whether frames come in: not since its interface was set down.
    pub is_running: bool,
    /// Whether frames wait for its process.
    pub is_waited_for: bool,
    /// The address that its filter lets through, where it is one as vblade has.
    pub address: Option<Address>,
}

/// How much is asked of each socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What a monitor needs.
    State,
    /// The filters too, which make the list thrice as long.
    Filters,
}

const SHOW_INFO: u32 = 1;
const SHOW_MEMORY: u32 = 0x10;
const SHOW_FILTER: u32 = 0x20;
const INFO: u16 = 0;
const MEMORY: u16 = 6;
const FILTER: u16 = 7;

/// The packet sockets of this network namespace that are for this protocol.
///
/// What is in the list is there. A long list comes in parts, between which
/// others may close theirs, so for what is *not* in it use [`all`].
pub fn sockets(view: &View, detail: Detail) -> Result<Vec<Socket>> {
    let found = picked(view, detail, Some)?;
    view.note(format_args!("AoE sockets = {found:?}"));
    Ok(found)
}

/// Of the same list, what `pick` makes of each socket that it wants. There may
/// be hundreds, of which a monitor needs little more than that they are there.
pub fn picked<T>(
    view: &View,
    detail: Detail,
    mut pick: impl FnMut(Socket) -> Option<T>,
) -> Result<Vec<T>> {
    if view.is_real() {
        match asked(view, detail, &mut pick) {
            // The kernel has no such list, or does not load it.
            Err(err)
                if matches!(
                    errno(&err),
                    Some(Errno::ENOENT | Errno::EINVAL | Errno::EPROTONOSUPPORT)
                ) => {}
            found => return found.context("cannot list the packet sockets"),
        }
    }
    let text = view.read(FILE).context("cannot list the packet sockets")?;
    Ok(listed(&text).into_iter().filter_map(pick).collect())
}

/// All of them, by two looks that agree.
pub fn all(view: &View, detail: Detail) -> Result<Whole<Socket>> {
    let mut pace = Pace::new();
    let mut before = sockets(view, detail)?;
    loop {
        let now = sockets(view, detail)?;
        let same = |sockets: &[Socket]| {
            let mut inodes: Vec<u32> = sockets.iter().map(|socket| socket.inode).collect();
            inodes.sort_unstable();
            inodes
        };
        if same(&before) == same(&now) {
            return Ok(Whole::told("AoE sockets", now));
        }
        if view.deadline().has_passed() {
            bail!("the kernel's list of packet sockets changes faster than it can be read");
        }
        before = now;
        pace.rest(view.deadline());
    }
}

fn asked<T>(
    view: &View,
    detail: Detail,
    mut pick: impl FnMut(Socket) -> Option<T>,
) -> io::Result<Vec<T>> {
    const BY_FAMILY: u16 = 20;
    let more = if detail == Detail::Filters { SHOW_FILTER } else { 0 };
    // A `struct packet_diag_req`.
    let mut header = [0; 20];
    header[0] = libc::AF_PACKET as u8;
    header[8..12].copy_from_slice(&(SHOW_INFO | SHOW_MEMORY | more).to_ne_bytes());
    let question = || Message::new(BY_FAMILY, libc::NLM_F_DUMP, &header);
    Netlink::to(SockProtocol::NetlinkSockDiag, view.deadline())?
        .list(question, |body| read(body).and_then(&mut pick))
}

/// Reads a `struct packet_diag_msg` and what comes with it.
fn read(body: &[u8]) -> Option<Socket> {
    if u16_at(body, 2)? != PROTOCOL {
        return None;
    }
    let (low, high) = (u32_at(body, 8)?, u32_at(body, 12)?);
    let mut socket = Socket {
        cookie: u64::from(high) << 32 | u64::from(low),
        inode: u32_at(body, 4)?,
        index: None,
        is_running: false,
        is_waited_for: false,
        address: None,
    };
    for (kind, value) in Attributes(body.get(16..)?) {
        match kind {
            INFO => {
                // Of an interface that is gone the kernel makes -1.
                socket.index = bound(u32_at(value, 0)?.cast_signed());
                socket.is_running = u32_at(value, 20)? & 1 != 0;
            }
            MEMORY => socket.is_waited_for = u32_at(value, 0)? > 0,
            FILTER => socket.address = filtered(value),
            _ => {}
        }
    }
    Some(socket)
}

fn bound(index: i32) -> Option<u32> {
    (index > 0).then_some(index.cast_unsigned())
}

/// The address that a filter lets through besides everybody's: what it compares
/// the two bytes at 16 with, and the byte at 18.
fn filtered(filter: &[u8]) -> Option<Address> {
    const HALF: u16 = 0x28;
    const BYTE: u16 = 0x30;
    const IF_EQUAL: u16 = 0x15;
    let code = |bytes: &[u8]| Some((u16_at(bytes, 0)?, u32_at(bytes, 4)?));
    let program: Vec<(u16, u32)> = filter.chunks_exact(8).filter_map(code).collect();
    let compared = |load: (u16, u32)| {
        let at = program.iter().position(|step| *step == load)?;
        program.get(at + 1).filter(|step| step.0 == IF_EQUAL).map(|step| step.1)
    };
    let (shelf, slot) = (compared((HALF, 16))?, compared((BYTE, 18))?);
    Some(Address { shelf: shelf.try_into().ok()?, slot: slot.try_into().ok()? })
}

/// Where the kernel has no list. It tells the interface by its number too.
const FILE: &str = "/proc/net/packet";

fn listed(text: &str) -> Vec<Socket> {
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, protocol, index, running, waiting, .., inode] = fields[..] else {
            return None;
        };
        (u16::from_str_radix(protocol, 16).ok()? == PROTOCOL).then_some(())?;
        Some(Socket {
            cookie: 0,
            inode: inode.parse().ok()?,
            index: bound(index.parse().ok()?),
            is_running: running == "1",
            is_waited_for: waiting != "0",
            address: None,
        })
    };
    text.lines().skip(1).filter_map(read).collect()
}

/// A socket that speaks this protocol on one interface.
#[derive(Debug)]
pub struct Line {
    socket: OwnedFd,
    index: u32,
}

/// A target that is told of.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where it is found.
    pub address: Address,
    /// How many frames it takes at once.
    pub buffers: u16,
    /// The largest packet of its network.
    pub mtu: u32,
    /// Whom to tell, by hardware address; with nobody here, everybody.
    pub to: &'a [[u8; 6]],
}

/// From whom a frame came, and the beginning of what is in it.
struct Frame {
    mac: [u8; 6],
    packet: Vec<u8>,
}

const ANSWER: u8 = 0x08;
const ERROR: u8 = 0x04;
const VERSION: u8 = 0x10;
const CONFIG: u8 = 1;

impl Line {
    /// Opens a line that only speaks.
    pub fn speaking(link: &Link) -> Result<Self> {
        Self::open(link, 0).with_context(|| format!("cannot open a socket on {}", link.name))
    }

    /// Opens a line that hears as well.
    pub fn hearing(link: &Link) -> Result<Self> {
        let line = Self::open(link, PROTOCOL)
            .with_context(|| format!("cannot open a socket on {}", link.name))?;
        // Hundreds of targets may answer at once.
        let _ = setsockopt(&line.socket, sockopt::RcvBufForce, &(4 << 20));
        Ok(line)
    }

    #[allow(unsafe_code)]
    fn open(link: &Link, protocol: u16) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
        let here = announce::address(protocol, link.index, &[]);
        // SAFETY: the pointer is to a live slice of the length given.
        let bound = unsafe {
            libc::bind(socket.as_raw_fd(), here.as_ptr().cast(), here.len() as libc::socklen_t)
        };
        Errno::result(bound)?;
        Ok(Self { socket, index: link.index })
    }

    /// Asks whoever serves the address to say so.
    pub fn ask(&self, address: Address) -> io::Result<()> {
        self.send(&packet(VERSION, address, [0; 4], 0x10), &[0xff; 6])
    }

    /// Says what a target would say of itself when it starts.
    pub fn tell(&self, system: &System<'_>, target: &Target<'_>) -> io::Result<()> {
        /// With the headers of an ATA command before them.
        const BEFORE_SECTORS: u32 = 36;
        let sectors = (target.mtu.saturating_sub(BEFORE_SECTORS) / 512).clamp(1, 255);
        let [high, low] = target.buffers.to_be_bytes();
        // The third and fourth byte are the version of a firmware.
        let mut packet = packet(ANSWER | VERSION, target.address, [high, low, 0x40, 0], 0x10);
        packet[14] = sectors as u8;
        let everybody = [[0xff; 6]];
        let to = if target.to.is_empty() { &everybody[..] } else { target.to };
        let told = to.iter().try_for_each(|mac| self.send(&packet, mac));
        system.note(format_args!("told of {} on {} = {told:?}", target.address, self.index));
        told
    }

    /// Waits for what is said of targets, until the deadline: who serves what.
    pub fn answers(&self, deadline: Deadline) -> io::Result<Vec<(Address, [u8; 6])>> {
        let mut heard = Vec::new();
        while !deadline.has_passed() {
            let limit =
                PollTimeout::try_from(deadline.left_ms().max(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], limit) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(err) => return Err(err.into()),
            }
            while let Some(frame) = self.next()? {
                let answer = answered(&frame.packet).map(|address| (address, frame.mac));
                heard.extend(answer.filter(|answer| !heard.contains(answer)));
            }
        }
        Ok(heard)
    }

    /// The next frame, if one is there.
    #[allow(unsafe_code)]
    fn next(&self) -> io::Result<Option<Frame>> {
        let mut packet = [0u8; 64];
        // SAFETY: all-zero is a valid value of this plain struct, and both
        // buffers are given with their sizes.
        let (length, from) = unsafe {
            let mut from: libc::sockaddr_ll = std::mem::zeroed();
            let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            let length = libc::recvfrom(
                self.socket.as_raw_fd(),
                packet.as_mut_ptr().cast(),
                packet.len(),
                MsgFlags::MSG_DONTWAIT.bits(),
                (&raw mut from).cast(),
                &raw mut size,
            );
            (length, from)
        };
        match Errno::result(length) {
            Ok(length) => {
                let mut mac = [0; 6];
                mac.copy_from_slice(&from.sll_addr[..6]);
                let packet = packet[..packet.len().min(length.cast_unsigned())].to_vec();
                Ok(Some(Frame { mac, packet }))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    #[allow(unsafe_code)]
    fn send(&self, packet: &[u8], mac: &[u8; 6]) -> io::Result<()> {
        let to = announce::address(PROTOCOL, self.index, mac);
        // SAFETY: both pointers are to live slices, given with their lengths.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                to.as_ptr().cast(),
                to.len() as libc::socklen_t,
            )
        };
        Ok(Errno::result(sent).map(drop)?)
    }
}

/// A message about configuration, padded to what a frame holds at least.
fn packet(flags: u8, address: Address, config: [u8; 4], command: u8) -> [u8; 46] {
    let mut packet = [0; 46];
    packet[0] = flags;
    packet[2..4].copy_from_slice(&address.shelf.to_be_bytes());
    packet[4] = address.slot;
    packet[5] = CONFIG;
    packet[10..14].copy_from_slice(&config);
    packet[15] = command;
    packet
}

/// Whose configuration a packet tells, without the Ethernet header.
fn answered(packet: &[u8]) -> Option<Address> {
    let is_answer = packet.first()? & (ANSWER | ERROR) == ANSWER && *packet.get(5)? == CONFIG;
    let shelf = u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]);
    is_answer.then_some(Address { shelf, slot: *packet.get(4)? })
}

/// Waits until the link carries something.
pub fn until_carrying(view: &View, index: u32) -> Result<Link> {
    let name = link::by_index(view, index)?.map_or_else(|| index.to_string(), |link| link.name);
    view.until(&format!("{name} to carry"), || {
        Ok(match link::by_index(view, index)? {
            Some(link) if link.carries() => Ok(link),
            Some(link) => Err(format!("it {}", link.state())),
            None => bail!("{name} has gone away"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes
    }

    /// The filter of vblade 25 for e7.3, as `ss -0be` shows it.
    fn filter() -> Vec<u8> {
        let steps: [(u16, u8, u8, u32); 13] = [
            (0x28, 0, 0, 12),
            (0x15, 0, 10, 34978),
            (0x30, 0, 0, 14),
            (0x54, 0, 0, 8),
            (0x15, 0, 7, 0),
            (0x28, 0, 0, 16),
            (0x15, 1, 0, 7),
            (0x15, 0, 4, 65535),
            (0x30, 0, 0, 18),
            (0x15, 1, 0, 3),
            (0x15, 0, 1, 255),
            (0x06, 0, 0, u32::MAX),
            (0x06, 0, 0, 0),
        ];
        steps
            .iter()
            .flat_map(|(code, yes, no, value)| {
                [&code.to_ne_bytes()[..], &[*yes, *no], &value.to_ne_bytes()].concat()
            })
            .collect()
    }

    fn told(protocol: u16, index: u32, flags: u32, waiting: u32) -> Vec<u8> {
        let mut body = vec![libc::AF_PACKET as u8, 3];
        body.extend(protocol.to_ne_bytes());
        body.extend(77u32.to_ne_bytes());
        body.extend([1u32.to_ne_bytes(), 2u32.to_ne_bytes()].concat());
        let info: Vec<u8> =
            [index, 0, 0, 0, 0, flags].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let memory: Vec<u8> = [waiting, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        body.extend(attribute(INFO, &info));
        body.extend(attribute(MEMORY, &memory));
        body.extend(attribute(FILTER, &filter()));
        body
    }

    #[test]
    fn a_socket_is_read_with_its_interface_and_its_address() {
        let socket = read(&told(PROTOCOL, 3, 1, 0)).unwrap();
        assert_eq!((socket.cookie, socket.inode), (0x2_0000_0001, 77));
        assert_eq!((socket.index, socket.is_running, socket.is_waited_for), (Some(3), true, false));
        assert_eq!(socket.address, Some(Address { shelf: 7, slot: 3 }));
        assert!(read(&told(PROTOCOL, 3, 1, 9)).unwrap().is_waited_for);
        assert!(!read(&told(PROTOCOL, 3, 0, 0)).unwrap().is_running);
    }

    #[test]
    fn another_protocol_is_none_and_an_interface_that_is_gone_has_no_number() {
        assert_eq!(read(&told(0x0806, 3, 1, 0)), None);
        assert_eq!(read(&told(PROTOCOL, u32::MAX, 0, 0)).unwrap().index, None);
        let whole = told(PROTOCOL, 3, 1, 0);
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
    }

    #[test]
    fn the_file_is_read_where_there_is_no_list() {
        let text = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
             00000000e1184db0 3      3    88a2   3     1 0      0      7583031\n\
             00000000e1184db1 3      3    88a2   -1    0 768    0      7583032\n\
             00000000e1184db2 3      3    0003   3     1 0      0      7583033\n";
        let found = listed(text);
        let [first, second] = &found[..] else { panic!("{found:?}") };
        assert_eq!((first.inode, first.index, first.is_running), (7_583_031, Some(3), true));
        assert_eq!((second.inode, second.index, second.is_running), (7_583_032, None, false));
        assert!(second.is_waited_for && !first.is_waited_for);
    }

    #[test]
    fn an_answer_is_told_from_a_question_and_from_an_error() {
        let address = Address { shelf: 0x1234, slot: 5 };
        assert_eq!(answered(&packet(ANSWER | VERSION, address, [0; 4], 0x10)), Some(address));
        assert_eq!(answered(&packet(VERSION, address, [0; 4], 0x10)), None);
        assert_eq!(answered(&packet(ANSWER | ERROR, address, [0; 4], 0x10)), None);
        assert_eq!(answered(&[ANSWER]), None);
        assert_eq!(Address::parse("e4660.5"), Some(address));
        assert_eq!(Address::parse("e70000.5"), None);
    }

    #[test]
    fn the_kernel_lists_a_socket_of_ours() {
        let view = View::new(super::super::system::ViewOptions {
            deadline: Deadline::after(Duration::from_secs(10)),
            journal: super::super::journal::Journal::default(),
            run_dir: "/nowhere".into(),
            owner: String::new(),
            without_programs: false,
        });
        let lo = link::by_name(&view, "lo").unwrap().unwrap();
        // Without root there is no such socket, and nothing to be listed.
        let Ok(line) = Line::hearing(&lo) else { return };
        let by_list = asked(&view, Detail::Filters, Some).unwrap();
        let by_file = listed(&view.read(FILE).unwrap());
        for found in [by_list, by_file, all(&view, Detail::State).unwrap().into_items()] {
            assert!(found.iter().any(|one| one.index == Some(lo.index)), "{found:?}");
        }
        drop(line);
    }
}
