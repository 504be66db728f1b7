//! Generic netlink: questions to a family of the kernel's, and its answers.
//!
//! Only what is asked for here is done; a family that is not there is not
//! loaded by asking, as long as the caller knows that its module is.

use crate::host::clock::Deadline;
use crate::host::netlink::{self, Message, Netlink};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use std::io;
use std::ops::ControlFlow;

/// The family that knows the others, and its words.
const CTRL: u16 = 16;
const CTRL_GETFAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;
const CTRL_VERSION: u16 = 3;
const CTRL_OPERATIONS: u16 = 6;
const CTRL_OPERATION_ID: u16 = 1;

/// A `struct genlmsghdr`.
const HEADER: usize = 4;

/// A family, as the kernel has it registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    id: u16,
    /// The version of its interface.
    pub version: u8,
}

/// A line to the kernel's generic netlink families.
#[derive(Debug)]
pub struct Genl {
    line: Netlink,
    deadline: Deadline,
}

impl Genl {
    /// A line on which answers are waited for until `deadline`.
    pub fn open(deadline: Deadline) -> Result<Self> {
        Ok(Self { line: line(deadline)?, deadline })
    }

    /// The family of this name, if the kernel has it for this network
    /// namespace.
    pub fn family(&mut self, name: &str) -> Result<Option<Family>> {
        let mut question = Attributes::new();
        question.text(CTRL_FAMILY_NAME, name);
        let control = Family { id: CTRL, version: 1 };
        let question = request(control, CTRL_GETFAMILY, 0, question.bytes());
        let found = self.line.ask(question, |answer| {
            let answer = answer.get(HEADER..)?;
            let version = find(answer, CTRL_VERSION).and_then(u32_of).unwrap_or(0);
            Some(Family {
                id: find(answer, CTRL_FAMILY_ID).and_then(|id| netlink::u16_at(id, 0))?,
                version: u8::try_from(version).unwrap_or(u8::MAX),
            })
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(err) if netlink::errno(&err) == Some(Errno::ENOENT) => Ok(None),
            Err(err) => {
                Err(err).with_context(|| format!("cannot ask for the netlink family {name}"))
            }
        }
    }

    /// The commands that the family of this name knows; none of one that is not
    /// there.
    pub fn commands(&mut self, name: &str) -> Result<Vec<u32>> {
        let mut question = Attributes::new();
        question.text(CTRL_FAMILY_NAME, name);
        let control = Family { id: CTRL, version: 1 };
        let question = request(control, CTRL_GETFAMILY, 0, question.bytes());
        let known = self.line.ask(question, |answer| {
            let listed = find(answer.get(HEADER..)?, CTRL_OPERATIONS).unwrap_or_default();
            let number = |(_, value)| find(value, CTRL_OPERATION_ID).and_then(u32_of);
            Some(netlink::Attributes(listed).filter_map(number).collect())
        });
        match known {
            Err(err) if netlink::errno(&err) == Some(Errno::ENOENT) => Ok(Vec::new()),
            known => known.with_context(|| format!("cannot ask for the commands of {name}")),
        }
    }

    /// Has something done.
    pub fn tell(&mut self, family: Family, command: u8, payload: &[u8]) -> io::Result<()> {
        self.line.tell(request(family, command, libc::NLM_F_ACK, payload))
    }

    /// Asks for all there is: the payload of each message, from the family's own
    /// header on. A message that is the `last` ends the answer, also where the
    /// kernel would go on.
    pub fn dump(
        &mut self,
        family: Family,
        command: u8,
        payload: &[u8],
        last: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>> {
        let question = || request(family, command, libc::NLM_F_DUMP, payload);
        let mut is_broken_off = false;
        let told = self.line.insist(question, |told: &mut Vec<Vec<u8>>, body| {
            let payload = body.get(HEADER..).unwrap_or_default();
            told.push(payload.to_vec());
            is_broken_off = last(payload);
            if is_broken_off { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if is_broken_off {
            // On the old line the kernel has not ended its answer.
            self.line = line(self.deadline)?;
        }
        Ok(told)
    }

    /// Asks for one thing: the payload of the answer, from the family's own
    /// header on.
    pub fn ask(&mut self, family: Family, command: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.line.ask(request(family, command, 0, payload), |answer| {
            answer.get(HEADER..).map(<[u8]>::to_vec)
        })
    }
}

fn line(deadline: Deadline) -> Result<Netlink> {
    Netlink::to(SockProtocol::NetlinkGeneric, deadline)
        .context("cannot open a generic netlink socket")
}

/// The system's error number that an error stands for.
pub fn errno(err: &anyhow::Error) -> Option<i32> {
    netlink::errno(err.downcast_ref::<io::Error>()?).map(|errno| errno as i32)
}

fn request(family: Family, command: u8, flags: i32, payload: &[u8]) -> Message {
    Message::new(family.id, flags, &[&[command, family.version, 0, 0], payload].concat())
}

/// The first attribute of this kind.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    netlink::Attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// All attributes of this kind.
pub fn find_all(bytes: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    netlink::Attributes(bytes).filter(move |(found, _)| *found == kind).map(|(_, value)| value)
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
    netlink::text(value)
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
        self.0.resize(self.0.len().next_multiple_of(4), 0);
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
        let commands = genl.commands("nlctrl").unwrap();
        assert!(commands.contains(&CTRL_GETFAMILY.into()), "{commands:?}");
        assert_eq!(genl.commands("no-such-family").unwrap(), [0; 0]);
    }

    #[test]
    fn all_messages_of_a_dump_arrive_and_no_more_than_are_wanted() {
        let mut genl = Genl::open(Deadline::after(Duration::from_secs(5))).unwrap();
        let control = Family { id: CTRL, version: 1 };
        let name = |message: &Vec<u8>| text_of(find(message, CTRL_FAMILY_NAME).unwrap());
        for _ in 0..2 {
            let all = genl.dump(control, CTRL_GETFAMILY, &[], |_| false).unwrap();
            assert!(all.iter().any(|message| name(message) == "nlctrl"), "{all:?}");
            let first = genl.dump(control, CTRL_GETFAMILY, &[], |_| true).unwrap();
            assert_eq!(first, all[..1]);
        }
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
}
