//! Generic netlink: questions to a family of the kernel's, and its answers.
//!
//! Only what is asked for here is done; a family that is not there is not
//! loaded by asking, as long as the caller knows that its module is.

use crate::host::clock::Deadline;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;

/// The family that knows the others, and its words.
const CTRL: u16 = 16;
const CTRL_GETFAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;
const CTRL_VERSION: u16 = 3;

/// nlmsghdr and genlmsghdr.
const HEADERS: usize = 16 + 4;
/// A message of a dump fits: the kernel makes none larger than 8 KiB unless a
/// larger one was once asked for.
const ROOM: usize = 16 << 10;

/// A family, as the kernel has it registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    id: u16,
    /// The version of its interface.
    pub version: u8,
}

/// A socket to the kernel's generic netlink families.
#[derive(Debug)]
pub struct Genl {
    socket: OwnedFd,
    sequence: u32,
    deadline: Deadline,
}

impl Genl {
    /// A socket whose answers are waited for until `deadline`.
    pub fn open(deadline: Deadline) -> Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkGeneric,
        )
        .context("cannot open a generic netlink socket")?;
        Ok(Self { socket, sequence: 0, deadline })
    }

    /// The family of this name, if the kernel has it for this network
    /// namespace.
    pub fn family(&mut self, name: &str) -> Result<Option<Family>> {
        let mut question = Attributes::new();
        question.text(CTRL_FAMILY_NAME, name);
        let control = Family { id: CTRL, version: 1 };
        let mut found = None;
        let asked = self.ask(control, CTRL_GETFAMILY, 0, question.bytes(), |answer| {
            let id = find(answer, CTRL_FAMILY_ID).and_then(u16_of);
            let version = find(answer, CTRL_VERSION).and_then(u32_of).unwrap_or(0);
            found = id.map(|id| Family { id, version: u8::try_from(version).unwrap_or(u8::MAX) });
            Ok(ControlFlow::Break(()))
        });
        match asked {
            Ok(()) => Ok(found),
            Err(err) if errno(&err) == Some(libc::ENOENT) => Ok(None),
            Err(err) => Err(err.context(format!("cannot ask for the netlink family {name}"))),
        }
    }

    /// Asks for all there is, and hands each message's payload, from the
    /// family's own header on, to `each`. Whoever breaks off asks nothing more
    /// of this socket: the kernel has not ended its answer.
    pub fn dump(
        &mut self,
        family: Family,
        command: u8,
        payload: &[u8],
        each: impl FnMut(&[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.ask(family, command, NLM_F_DUMP, payload, each)
    }

    /// Sends one question and takes the answers until the kernel says that it
    /// is done, or `each` that it has heard enough.
    fn ask(
        &mut self,
        family: Family,
        command: u8,
        flags: u16,
        payload: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.sequence += 1;
        let message = request(family, command, flags, self.sequence, payload);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty()).map_err(io::Error::from)?;
        let mut room = vec![0; ROOM];
        loop {
            ensure!(!self.deadline.has_passed(), "the kernel's answer has no end");
            let length = self.receive(&mut room)?;
            for message in messages(&room[..length]) {
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => return Ok(verdict(message.body)?),
                    kind if kind != family.id => {}
                    _ if each(message.body.get(4..).unwrap_or_default())?.is_break() => {
                        return Ok(());
                    }
                    _ => {}
                }
            }
        }
    }

    fn receive(&self, room: &mut [u8]) -> Result<usize> {
        loop {
            // With this flag the true length is returned also where it does not fit.
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            match recv(self.socket.as_raw_fd(), room, flags) {
                Ok(length) if length > room.len() => {
                    bail!("the kernel's answer of {length} bytes is too large")
                }
                Ok(length) => return Ok(length),
                Err(Errno::EAGAIN) => self.wait()?,
                Err(Errno::EINTR) => {}
                Err(err) => return Err(io::Error::from(err).into()),
            }
        }
    }

    fn wait(&self) -> Result<()> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(self.deadline.left_ms()).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, limit) {
            Ok(0) => bail!("no answer of the kernel's before the deadline"),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(err) => Err(io::Error::from(err).into()),
        }
    }
}

/// The system's error number that an error stands for.
pub fn errno(err: &anyhow::Error) -> Option<i32> {
    err.downcast_ref::<io::Error>()?.raw_os_error()
}

fn request(family: Family, command: u8, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADERS + payload.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADERS + payload.len());
    message.extend(length.to_ne_bytes());
    message.extend(family.id.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend([command, family.version, 0, 0]);
    message.extend(payload);
    message
}

/// What the last message says: nothing, or the negated error number.
fn verdict(body: &[u8]) -> io::Result<()> {
    match body.get(..4).map(i32_of) {
        Some(Some(code)) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        _ => Ok(()),
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The netlink messages in one datagram; what is cut short is left out.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_of(bytes.get(..4)?)?).ok()?;
        let message = bytes.get(..length.max(16))?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Message {
            kind: u16_of(&message[4..6])?,
            sequence: u32_of(&message[8..12])?,
            body: message.get(16..length)?,
        })
    })
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// The attributes in a message, as kind and value; what is cut short is left
/// out. Flags in the kind are dropped.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_of(bytes.get(..2)?)?);
        let kind = u16_of(bytes.get(2..4)?)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of this kind.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

fn u16_of(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(u16::from_ne_bytes)
}

/// An attribute's value as a number.
pub fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// An attribute's value as a signed number.
pub fn i32_of(value: &[u8]) -> Option<i32> {
    value.try_into().ok().map(i32::from_ne_bytes)
}

/// An attribute's value as text, without the zero at its end.
pub fn text_of(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// Attributes being put together.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. Values are short: names, numbers, and lists of these.
    pub fn bytes_of(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(4 + value.len()).expect("names and numbers are short");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(aligned(self.0.len()), 0);
        self
    }

    /// Adds a text, with the zero at its end.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.bytes_of(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Adds a number.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes_of(kind, &value.to_ne_bytes())
    }

    /// Adds attributes as the value of one, marked as such: since 5.2 the kernel
    /// insists on it.
    pub fn nest(&mut self, kind: u16, inside: &Attributes) -> &mut Self {
        const NESTED: u16 = 0x8000;
        self.bytes_of(kind | NESTED, &inside.0)
    }

    /// As they are sent.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_kernel_knows_its_own_families() {
        let mut genl = Genl::open(Deadline::after(Duration::from_secs(5))).unwrap();
        let control = genl.family("nlctrl").unwrap();
        assert_eq!(control, Some(Family { id: CTRL, version: 2 }));
        assert_eq!(genl.family("no-such-family").unwrap(), None);
    }

    #[test]
    fn all_messages_of_a_dump_arrive() {
        let mut genl = Genl::open(Deadline::after(Duration::from_secs(5))).unwrap();
        let mut names = Vec::new();
        let control = Family { id: CTRL, version: 1 };
        genl.dump(control, CTRL_GETFAMILY, &[], |message| {
            names.push(text_of(find(message, CTRL_FAMILY_NAME).unwrap()));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert!(names.iter().any(|name| name == "nlctrl"), "{names:?}");
    }

    #[test]
    fn attributes_read_as_they_were_written() {
        let mut inside = Attributes::new();
        inside.text(2, "r1").number(1, 7);
        let mut outside = Attributes::new();
        outside.number(9, 1).nest(2, &inside);
        let nested = find(outside.bytes(), 2).unwrap();
        assert_eq!(text_of(find(nested, 2).unwrap()), "r1");
        assert_eq!(find(nested, 1).and_then(u32_of), Some(7));
    }

    #[test]
    fn what_is_cut_short_is_left_out() {
        let mut whole = Attributes::new();
        whole.number(1, 1).text(2, "a long enough name");
        for length in 0..whole.bytes().len() - 4 {
            assert!(attributes(&whole.bytes()[..length]).count() < 2, "{length}");
            assert_eq!(messages(&whole.bytes()[..length]).count(), 0);
        }
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
        assert_eq!(messages(&[0; 64]).count(), 0);
    }

    #[test]
    fn a_refusal_at_the_end_of_a_dump_is_an_error() {
        let refused = verdict(&(-libc::ENODEV).to_ne_bytes()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENODEV));
        assert!(verdict(&0i32.to_ne_bytes()).is_ok());
    }
}
