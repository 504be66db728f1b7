//! Netlink: questions to the kernel, and orders to change something.
//!
//! All answers come through here. One that is not whole is an error or asked
//! for again, never a shorter list: what an agent does not find in a list is
//! taken for absent. rtnetlink's messages belong to `link`, `address` and
//! `route`, those of generic netlink to `genl` and whoever uses that.

mod answer;
mod message;

pub(crate) use answer::errno;
pub(crate) use message::{Attributes, Message, family, ip, octets, text, u16_at, u32_at};

use crate::host::clock::{Deadline, Pace};
use answer::{Answer, Heard, garbled};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};
use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The most that the kernel puts into one part of a dump, unless a single
/// message is larger.
const PART: usize = 32 << 10;

/// No message is larger than this.
const LARGEST: usize = 4 << 20;

/// What the kernel answers at once cannot take longer, unless it is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// An answer that was cut or disturbed is asked for again this often.
const TRIES: usize = 20;

/// A line to the kernel, for one question at a time.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    protocol: SockProtocol,
    deadline: Deadline,
    port: u32,
    asked: Cell<u32>,
}

impl Netlink {
    /// A line to rtnetlink.
    pub(crate) fn open() -> io::Result<Self> {
        Self::to(SockProtocol::NetlinkRoute, Deadline::after(PATIENCE))
    }

    /// A line to this part of the kernel. Its answers are waited for until
    /// `deadline`.
    pub(super) fn to(protocol: SockProtocol, deadline: Deadline) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // What is connected to the kernel hears nobody else.
        let kernel = NetlinkAddr::new(0, 0);
        socket::connect(socket.as_raw_fd(), &kernel)?;
        let port = socket::getsockname::<NetlinkAddr>(socket.as_raw_fd())?.pid();
        // Kernels before 4.20 do not filter dumps; what is not wanted is then
        // dropped here.
        for option in [libc::NETLINK_GET_STRICT_CHK, libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            let _ = switch_on(socket.as_fd(), option);
        }
        Ok(Self { socket, protocol, deadline, port, asked: Cell::new(0) })
    }

    /// Asks for one object.
    pub(crate) fn ask<T>(
        &self,
        question: Message,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<T> {
        let found = self.insist(
            || question.clone(),
            |found, body| {
                *found = read(body);
                ControlFlow::Break(())
            },
        )?;
        found.ok_or_else(garbled)
    }

    /// Has something done.
    pub(crate) fn tell(&self, order: Message) -> io::Result<()> {
        // The confirmation repeats the order, or its header.
        let mut room = Vec::with_capacity(PART);
        match self.hear(order, &mut room, |_, _| ControlFlow::Break(()))? {
            Heard::End => Ok(()),
            _ => Err(garbled()),
        }
    }

    /// Has several things done together or not at all, in one datagram, as
    /// nf_tables does between a beginning and an end. Each of the orders asks for
    /// its confirmation.
    pub(crate) fn tell_all(
        &self,
        begin: Message,
        orders: Vec<Message>,
        end: Message,
    ) -> io::Result<()> {
        let (first, wanted) = (self.asked.get() + 1, orders.len());
        let mut bytes = Vec::new();
        for order in [vec![begin], orders, vec![end]].concat() {
            self.asked.set(self.asked.get() + 1);
            bytes.extend(order.finished(self.asked.get()));
        }
        let numbers = first..=self.asked.get();
        let sent = socket::send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        if sent != bytes.len() {
            return Err(garbled());
        }
        let (mut room, mut confirmed) = (Vec::with_capacity(PART), 0);
        while confirmed < wanted {
            let length = self.receive(&mut room)?;
            let part = room.get(..length).ok_or_else(garbled)?;
            confirmed += answer::verdicts(part, self.port, &numbers)?;
        }
        Ok(())
    }

    /// Asks for all objects of a kind; `read` picks those that are wanted. The
    /// list is whole.
    pub(crate) fn list<T>(
        &self,
        question: impl Fn() -> Message,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        self.insist(question, |found: &mut Vec<T>, body| {
            found.extend(read(body));
            ControlFlow::Continue(())
        })
    }

    /// Asks until an answer was whole, or `take` had enough of it. What was
    /// taken of an answer that was not is forgotten.
    pub(super) fn insist<T: Default>(
        &self,
        question: impl Fn() -> Message,
        mut take: impl FnMut(&mut T, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<T> {
        let mut fresh = None;
        until_whole(self.deadline, |size| {
            let (line, mut taken) = (fresh.as_ref().unwrap_or(self), T::default());
            let mut room = Vec::with_capacity(size);
            let heard = line.hear(question(), &mut room, |_, body| take(&mut taken, body))?;
            if heard.is_to_be_repeated() {
                // The rest of that answer is not waited for.
                fresh = Some(Self::to(self.protocol, self.deadline)?);
            }
            Ok((heard, taken))
        })
    }

    /// Asks, and hands the messages of the answer to `each`, with the number of
    /// the datagram that they came in. Never ends with a part.
    fn hear(
        &self,
        question: Message,
        room: &mut Vec<u8>,
        mut each: impl FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<Heard> {
        self.asked.set(self.asked.get() + 1);
        let answer = Answer { sequence: self.asked.get(), port: self.port };
        let bytes = question.finished(answer.sequence);
        let sent = socket::send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        if sent != bytes.len() {
            return Err(garbled());
        }
        for part in 0.. {
            if part > 0 && self.deadline.has_passed() {
                break;
            }
            let length = self.receive(room)?;
            match answer.take(room, length, |body| each(part, body))? {
                Heard::Part => {}
                heard => return Ok(heard),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel's answer has no end"))
    }

    /// The length of the next datagram, also where there is no room for it. It
    /// is all that is written: room that is made ready first is memory that the
    /// kernel has to find, for answers that are mostly short.
    #[allow(unsafe_code)]
    fn receive(&self, room: &mut Vec<u8>) -> io::Result<usize> {
        room.clear();
        loop {
            // SAFETY: the pointer is to as many bytes as are given, and those that
            // the kernel says it has written are made part of the vector.
            let received = unsafe {
                let (into, size) = (room.as_mut_ptr().cast(), room.capacity());
                let length = libc::recv(self.socket.as_raw_fd(), into, size, libc::MSG_TRUNC);
                room.set_len(usize::try_from(length).unwrap_or(0).min(size));
                length
            };
            match Errno::result(received) {
                Ok(length) => return Ok(length.cast_unsigned()),
                Err(Errno::EAGAIN) => self.wait()?,
                Err(Errno::EINTR) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(self.deadline.left_ms()).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, limit) {
            Ok(0) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer in time"))
            }
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }
}

/// Repeats an attempt, which is told how much room to have for a datagram, until
/// what it has heard is whole.
fn until_whole<T>(
    deadline: Deadline,
    mut attempt: impl FnMut(usize) -> io::Result<(Heard, T)>,
) -> io::Result<T> {
    let (mut size, mut pace) = (PART, Pace::new());
    for _ in 0..TRIES {
        match attempt(size)? {
            (Heard::Cut(length), _) if length > LARGEST => return Err(garbled()),
            (Heard::Cut(length), _) => size = length.next_power_of_two(),
            (Heard::Disturbed, _) => pace.rest(deadline),
            (_, taken) => return Ok(taken),
        }
    }
    Err(io::Error::other("the kernel's list changes faster than it can be read"))
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

    fn links() -> Message {
        Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; 16])
    }

    fn name(body: &[u8]) -> Option<String> {
        let named = |(kind, _): &(u16, &[u8])| *kind == libc::IFLA_IFNAME;
        Attributes(body.get(16..)?).find(named).map(|(_, name)| text(name))
    }

    /// What is made of these in turn, with the room that each was given.
    fn insisting(heard: &[Heard]) -> (io::Result<usize>, Vec<usize>) {
        let (mut all, mut rooms) = (heard.iter(), Vec::new());
        let deadline = Deadline::after(Duration::from_millis(100));
        let made = until_whole(deadline, |size| {
            rooms.push(size);
            Ok((*all.next().unwrap_or(&Heard::Disturbed), rooms.len()))
        });
        (made, rooms)
    }

    #[test]
    fn a_list_that_was_disturbed_is_asked_for_again() {
        let (made, _) = insisting(&[Heard::Disturbed, Heard::Disturbed, Heard::End]);
        assert_eq!(made.unwrap(), 3);
    }

    #[test]
    fn a_list_that_is_disturbed_all_the_time_is_an_error() {
        let (made, rooms) = insisting(&[]);
        assert!(made.unwrap_err().to_string().contains("changes faster"));
        assert_eq!(rooms.len(), TRIES);
    }

    #[test]
    fn what_was_cut_is_asked_for_again_with_more_room() {
        let (made, rooms) = insisting(&[Heard::Cut(PART + 1), Heard::End]);
        assert_eq!((made.unwrap(), rooms), (2, vec![PART, 2 * PART]));
        assert!(insisting(&[Heard::Cut(usize::MAX)]).0.is_err());
    }

    #[test]
    fn the_kernel_cuts_what_there_is_no_room_for() {
        let line = Netlink::open().unwrap();
        let mut room = Vec::with_capacity(64);
        let heard = line.hear(links(), &mut room, |_, _| panic!("64 bytes are not enough"));
        assert!(matches!(heard.unwrap(), Heard::Cut(length) if length > 64));
        assert!(Netlink::open().unwrap().list(links, name).unwrap().contains(&"lo".to_owned()));
    }

    #[test]
    fn one_line_takes_many_questions() {
        let line = Netlink::open().unwrap();
        let first = line.list(links, name).unwrap();
        let question =
            Message::new(libc::RTM_GETLINK, 0, &header(1)).with(libc::IFLA_IFNAME, b"lo\0");
        for _ in 0..3 {
            assert_eq!(line.ask(question.clone(), name).unwrap(), "lo");
            assert_eq!(line.list(links, name).unwrap(), first);
        }
    }

    /// A `struct ifinfomsg` of this interface.
    fn header(index: u32) -> [u8; 16] {
        let mut header = [0; 16];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        header
    }

    #[test]
    fn a_refusal_is_explained() {
        // A dump of links that are selected by what no link has.
        let question = || links().with(libc::IFLA_ADDRESS, &[1; 6]);
        let err = Netlink::open().unwrap().list(question, name).unwrap_err();
        assert_eq!(errno(&err), Some(Errno::EINVAL));
        assert!(err.to_string().starts_with("Invalid argument ("), "{err}");
    }
}
