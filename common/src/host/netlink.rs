//! rtnetlink: questions to the kernel about links, addresses and routes, and
//! orders to change them. The messages themselves belong to `link`, `address`
//! and `route`.

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The most that the kernel puts into one part of a dump.
const PART: usize = 32 << 10;

/// How much of a list is looked at where only a short one is of interest. The
/// kernel fills as much as was asked for last, read or not.
const SHORT_PART: usize = 4 << 10;

/// What the kernel answers at once cannot take longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(5);

/// A dump that other changes have disturbed is asked for again this often.
const TRIES: usize = 20;

const DONE: u16 = libc::NLMSG_DONE as u16;
const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DISTURBED: u16 = libc::NLM_F_DUMP_INTR as u16;

/// A request under construction.
#[derive(Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A message of this kind with its fixed header.
    pub(crate) fn new(kind: u16, flags: i32, header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        let flags = flags as u16 | libc::NLM_F_REQUEST as u16;
        bytes.extend_from_slice(&flags.to_ne_bytes());
        // A sequence number and a port; one question at a time needs neither.
        bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(header);
        Self(bytes).padded()
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = value.len() as u16 + 4;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.padded()
    }

    /// Adds an attribute if there is a value for it.
    pub(crate) fn with_some(self, kind: u16, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.with(kind, value),
            None => self,
        }
    }

    fn padded(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finished(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// The attributes behind a message's fixed header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & libc::NLA_TYPE_MASK as u16;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A number of the kernel's, in its own byte order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A number of the kernel's, in its own byte order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A text of the kernel's, without the zero at its end.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// An address of either family.
pub(crate) fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

/// The bytes of an address, as the kernel takes them.
pub(crate) fn octets(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The kernel's number for the address's family.
pub(crate) fn family(ip: &IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// A line to the kernel, for one question at a time.
#[derive(Debug)]
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkRoute;
        let line = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        let limit = nix::sys::time::TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
        socket::setsockopt(&line, socket::sockopt::ReceiveTimeout, &limit)?;
        // Kernels before 4.20 do not filter dumps; what is not wanted is then
        // dropped here. Those before 4.12 do not explain their errors.
        let _ = switch_on(line.as_fd(), libc::NETLINK_GET_STRICT_CHK);
        let _ = switch_on(line.as_fd(), libc::NETLINK_EXT_ACK);
        Ok(Self(line))
    }

    /// Asks for one object.
    pub(crate) fn ask<T>(
        &self,
        question: Message,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> io::Result<T> {
        self.send(question)?;
        let mut part = vec![0; PART];
        let length = socket::recv(self.0.as_raw_fd(), &mut part, MsgFlags::empty())?;
        let (kind, _, body, _) = next(&part[..length]).ok_or_else(garbled)?;
        if kind == ERROR {
            return Err(refusal(body).unwrap_or_else(garbled));
        }
        read(body).ok_or_else(garbled)
    }

    /// Has something done.
    pub(crate) fn tell(&self, order: Message) -> io::Result<()> {
        self.send(order)?;
        let mut part = vec![0; PART];
        let length = socket::recv(self.0.as_raw_fd(), &mut part, MsgFlags::empty())?;
        match next(&part[..length]) {
            Some((ERROR, _, body, _)) => refusal(body).map_or(Ok(()), Err),
            _ => Err(garbled()),
        }
    }

    /// Asks for all objects of a kind; `read` picks those that are wanted. The
    /// list is whole: one that other changes have disturbed is asked for again.
    pub(crate) fn list<T>(
        &self,
        question: impl Fn() -> Message,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..TRIES {
            if let Some(list) = self.list_once(question(), &mut read)? {
                return Ok(list);
            }
        }
        Err(io::Error::other("the kernel's list changes faster than it can be read"))
    }

    /// Asks for all objects of a kind, and gives up if they do not fit into the
    /// first part of the kernel's answer: to look at a few costs little, and
    /// to learn that there are many costs no more.
    pub(crate) fn short_list<T>(
        &self,
        question: Message,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        self.send(question)?;
        let (mut found, mut part) = (Vec::new(), [0; SHORT_PART]);
        // The end may come in a part of its own.
        for number in 0..2 {
            let length = socket::recv(self.0.as_raw_fd(), &mut part, MsgFlags::empty())?;
            let mut rest = &part[..length];
            while let Some((kind, flags, body, following)) = next(rest) {
                rest = following;
                match kind {
                    _ if flags & DISTURBED != 0 => return Ok(None),
                    DONE => return Ok(Some(found)),
                    ERROR => return Err(refusal(body).unwrap_or_else(garbled)),
                    _ if number > 0 => return Ok(None),
                    _ => found.extend(read(body)),
                }
            }
        }
        Ok(None)
    }

    fn list_once<T>(
        &self,
        question: Message,
        read: &mut impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        self.send(question)?;
        let (mut found, mut disturbed) = (Vec::new(), false);
        let mut part = vec![0; PART];
        loop {
            let length = match socket::recv(self.0.as_raw_fd(), &mut part, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                received => received?,
            };
            let mut rest = &part[..length];
            while let Some((kind, flags, body, following)) = next(rest) {
                rest = following;
                disturbed |= flags & DISTURBED != 0;
                match kind {
                    DONE => return Ok((!disturbed).then_some(found)),
                    ERROR => return Err(refusal(body).unwrap_or_else(garbled)),
                    _ => found.extend(read(body)),
                }
            }
        }
    }

    fn send(&self, message: Message) -> io::Result<()> {
        let bytes = message.finished();
        let sent = socket::send(self.0.as_raw_fd(), &bytes, MsgFlags::empty())?;
        if sent == bytes.len() { Ok(()) } else { Err(garbled()) }
    }
}

#[allow(unsafe_code)]
fn switch_on(line: BorrowedFd<'_>, option: i32) -> io::Result<()> {
    let on: i32 = 1;
    // SAFETY: the pointer is to a local integer, and its size is given.
    let done = unsafe {
        let size = size_of::<i32>() as libc::socklen_t;
        libc::setsockopt(line.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), size)
    };
    Ok(Errno::result(done).map(drop)?)
}

type Part<'a> = (u16, u16, &'a [u8], &'a [u8]);

/// The first message of a part: its kind, its flags, its body, and what
/// follows it.
fn next(part: &[u8]) -> Option<Part<'_>> {
    let length = u32_at(part, 0)? as usize;
    let body = part.get(16..length)?;
    let rest = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16_at(part, 4)?, u16_at(part, 6)?, body, rest))
}

/// The error that a message of kind ERROR carries; none if it is the
/// confirmation.
fn refusal(body: &[u8]) -> Option<io::Error> {
    const EXPLANATION: u16 = 1;
    let code = u32_at(body, 0)?.cast_signed();
    if code == 0 {
        return None;
    }
    let errno = Errno::from_raw(-code);
    // The request's own header follows, and after that the explanation.
    let explained = Attributes(body.get(20..).unwrap_or_default());
    let explanation = explained.into_iter().find(|(kind, _)| *kind == EXPLANATION);
    Some(match explanation {
        Some((_, words)) => Refused { errno, words: text(words) }.into(),
        None => io::Error::from_raw_os_error(-code),
    })
}

/// A refusal with the kernel's own words.
#[derive(Debug)]
struct Refused {
    errno: Errno,
    words: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.errno.desc(), self.words.trim_end_matches('.'))
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::new(Self::from(refused.errno).kind(), refused)
    }
}

/// The kernel's error number, however the error is wrapped.
pub(crate) fn errno(err: &io::Error) -> Option<Errno> {
    let refused = err.get_ref().and_then(|inner| inner.downcast_ref::<Refused>());
    refused.map(|refused| refused.errno).or_else(|| err.raw_os_error().map(Errno::from_raw))
}

fn garbled() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer makes no sense")
}

/// Hears of changes from the moment it is made.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Hears of links that change.
    pub fn links() -> io::Result<Self> {
        Self::open(libc::RTNLGRP_LINK)
    }

    /// Hears of IPv6 addresses that change.
    pub fn addresses_v6() -> io::Result<Self> {
        Self::open(libc::RTNLGRP_IPV6_IFADDR)
    }

    fn open(group: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let line = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        socket::bind(line.as_raw_fd(), &NetlinkAddr::new(0, 1 << (group - 1)))?;
        Ok(Self(line))
    }

    /// Waits until something has changed, or the deadline has passed. What it
    /// was has to be looked up: events can be lost, facts cannot.
    pub fn wait(&self, deadline: super::clock::Deadline) -> io::Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let limit = PollTimeout::try_from(deadline.left_ms()).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(err) => return Err(err.into()),
        }
        let mut part = [0; 4096];
        while socket::recv(self.0.as_raw_fd(), &mut part, MsgFlags::empty()).is_ok() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let bytes = Message::new(1, 0, &[7; 5]).with(3, b"lo\0").with(9, &[1, 2, 3, 4]).finished();
        assert_eq!(u32_at(&bytes, 0), Some(bytes.len() as u32));
        let read: Vec<_> = Attributes(&bytes[24..]).collect();
        assert_eq!(read, [(3, &b"lo\0"[..]), (9, &[1, 2, 3, 4][..])]);
        assert_eq!(text(read[0].1), "lo");
    }

    #[test]
    fn a_torn_message_ends_the_reading() {
        let bytes = Message::new(1, 0, &[0; 4]).with(3, &[1; 8]).finished();
        for end in 0..bytes.len() {
            assert!(next(&bytes[..end]).is_none());
            let _ = Attributes(&bytes[20.min(end)..end]).count();
        }
    }
}
