//! What the kernel says to one question, datagram by datagram: whether that
//! was all of it, and whether all of it is true.

use super::message::{Attributes, HEADER, text, u16_at, u32_at};
use nix::errno::Errno;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};

const NOTHING: u16 = libc::NLMSG_NOOP as u16;
const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DONE: u16 = libc::NLMSG_DONE as u16;
const OVERRUN: u16 = libc::NLMSG_OVERRUN as u16;

const DISTURBED: u16 = libc::NLM_F_DUMP_INTR as u16;
/// Of the question that is refused, only the header is repeated.
const CAPPED: u16 = 0x100;
/// Attributes follow, which explain the error.
const EXPLAINED: u16 = 0x200;
const EXPLANATION: u16 = 1;

/// What a datagram brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A part of the answer, not the last.
    Part,
    /// The end of the answer; nothing of it is missing.
    End,
    /// Whoever takes the messages wants no more of them.
    Enough,
    /// What is listed has changed meanwhile: entries may be missing.
    Disturbed,
    /// More than there was room for, this many bytes.
    Cut(usize),
}

impl Heard {
    /// Whether the question has to be asked again.
    pub(super) fn is_to_be_repeated(self) -> bool {
        matches!(self, Self::Disturbed | Self::Cut(_))
    }
}

/// The answer to one question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// The number of the question.
    pub(super) sequence: u32,
    /// The port it was asked from.
    pub(super) port: u32,
}

impl Answer {
    /// Takes in a datagram of this `length`, of which `room` has as much as it
    /// could, and hands what was asked for to `each`.
    pub(super) fn take(
        self,
        room: &[u8],
        length: usize,
        mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<Heard> {
        let Some(mut rest) = room.get(..length) else { return Ok(Heard::Cut(length)) };
        while !rest.is_empty() {
            let message = Received::first(rest).ok_or_else(garbled)?;
            rest = message.rest;
            if (message.sequence, message.port) != (self.sequence, self.port) {
                continue;
            }
            if message.flags & DISTURBED != 0 {
                return Ok(Heard::Disturbed);
            }
            match message.kind {
                NOTHING => {}
                OVERRUN => return Err(garbled()),
                ERROR | DONE => return message.verdict().map(|()| Heard::End),
                _ if each(message.body).is_break() => return Ok(Heard::Enough),
                _ => {}
            }
        }
        Ok(Heard::Part)
    }
}

/// How many of the orders with these numbers a datagram says were carried out;
/// one that was refused is an error.
pub(super) fn verdicts(
    mut bytes: &[u8],
    port: u32,
    numbers: &RangeInclusive<u32>,
) -> io::Result<usize> {
    let mut confirmed = 0;
    while !bytes.is_empty() {
        let message = Received::first(bytes).ok_or_else(garbled)?;
        bytes = message.rest;
        if message.kind == ERROR && message.port == port && numbers.contains(&message.sequence) {
            message.verdict()?;
            confirmed += 1;
        }
    }
    Ok(confirmed)
}

/// The first message of some, and what follows it.
struct Received<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    body: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Received<'a> {
    /// Nothing if it is cut short.
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let length = u32_at(bytes, 0)? as usize;
        Some(Self {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            port: u32_at(bytes, 12)?,
            body: bytes.get(HEADER..length)?,
            rest: bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
        })
    }

    /// The last message of an answer has an error number, which is 0 if all
    /// went well.
    fn verdict(&self) -> io::Result<()> {
        let code = u32_at(self.body, 0).ok_or_else(garbled)?.cast_signed();
        if code == 0 {
            return Ok(());
        }
        let words = self.explanation();
        Err(Refused { errno: Errno::from_raw(code.saturating_neg()), words }.into())
    }

    fn explanation(&self) -> Option<String> {
        // An error repeats the question, or its header, and says which of the two.
        let repeated = match self.kind {
            ERROR if self.flags & CAPPED != 0 => HEADER,
            ERROR => u32_at(self.body, 4)? as usize,
            _ => 0,
        };
        let explained = self.flags & EXPLAINED != 0;
        let attributes = self.body.get(4 + repeated.next_multiple_of(4)..).filter(|_| explained)?;
        let (_, words) = Attributes(attributes).find(|(kind, _)| *kind == EXPLANATION)?;
        Some(text(words))
    }
}

/// What the kernel does not do, and why, where it says so.
#[derive(Debug)]
struct Refused {
    errno: Errno,
    words: Option<String>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.errno.desc())?;
        match &self.words {
            Some(words) => write!(f, " ({})", words.trim_end_matches('.')),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused.words {
            Some(_) => Self::new(Self::from(refused.errno).kind(), refused),
            None => refused.errno.into(),
        }
    }
}

/// The kernel's error number, however the error is wrapped.
pub(crate) fn errno(err: &io::Error) -> Option<Errno> {
    let refused = err.get_ref().and_then(|inner| inner.downcast_ref::<Refused>());
    refused.map(|refused| refused.errno).or_else(|| err.raw_os_error().map(Errno::from_raw))
}

pub(super) fn garbled() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer makes no sense")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: u16 = 20;
    const MULTI: u16 = 2;
    const OURS: Answer = Answer { sequence: 7, port: 4711 };

    /// A message of the kernel's to us.
    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        from(OURS, kind, flags, body)
    }

    fn from(answer: Answer, kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(answer.sequence.to_ne_bytes());
        bytes.extend(answer.port.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let head = [((value.len() + 4) as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        let mut bytes = [&head, value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// What a datagram brings, and the messages in it.
    fn hear(datagram: &[u8]) -> (io::Result<Heard>, Vec<Vec<u8>>) {
        let mut bodies = Vec::new();
        let heard = OURS.take(datagram, datagram.len(), |body| {
            bodies.push(body.to_vec());
            ControlFlow::Continue(())
        });
        (heard, bodies)
    }

    fn refusal(datagram: &[u8]) -> io::Error {
        hear(datagram).0.unwrap_err()
    }

    #[test]
    fn a_list_is_whole_only_when_the_kernel_says_so() {
        let (part, end) = (message(KIND, MULTI, b"one."), message(DONE, MULTI, &[0; 4]));
        let (heard, bodies) = hear(&[part.clone(), part.clone()].concat());
        assert_eq!((heard.unwrap(), bodies.len()), (Heard::Part, 2));
        let (heard, bodies) = hear(&[part, end].concat());
        assert_eq!((heard.unwrap(), bodies.len()), (Heard::End, 1));
    }

    #[test]
    fn an_error_at_the_end_of_a_list_is_an_error() {
        let code = (-libc::EMSGSIZE).to_ne_bytes();
        let err = refusal(&message(DONE, MULTI, &code));
        assert_eq!(errno(&err), Some(Errno::EMSGSIZE));
        let words = attribute(EXPLANATION, b"too many\0");
        let err = refusal(&message(DONE, MULTI | EXPLAINED, &[&code[..], &words].concat()));
        assert_eq!(
            (errno(&err), err.to_string().contains("(too many)")),
            (Some(Errno::EMSGSIZE), true)
        );
    }

    #[test]
    fn a_list_that_has_changed_is_not_whole() {
        let (part, end) = (message(KIND, MULTI, b"one."), message(DONE, MULTI, &[0; 4]));
        let changed = message(KIND, MULTI | DISTURBED, b"two.");
        assert_eq!(hear(&[part.clone(), changed, end].concat()).0.unwrap(), Heard::Disturbed);
        let changed = message(DONE, MULTI | DISTURBED, &[0; 4]);
        assert_eq!(hear(&[part, changed].concat()).0.unwrap(), Heard::Disturbed);
    }

    #[test]
    fn a_datagram_without_room_is_no_end() {
        let whole = [message(KIND, MULTI, &[1; 40]), message(DONE, MULTI, &[0; 4])].concat();
        for room in 0..whole.len() {
            let heard = OURS.take(&whole[..room], whole.len(), |_| panic!("of {room} bytes"));
            assert_eq!(heard.unwrap(), Heard::Cut(whole.len()));
        }
    }

    #[test]
    fn a_torn_message_is_an_error_and_no_end() {
        let torn = message(KIND, MULTI, &[1; 40]);
        for end in 1..torn.len() {
            assert!(hear(&torn[..end]).0.is_err(), "{end}");
        }
        assert!(hear(&[0; 64]).0.is_err());
        assert!(hear(&message(DONE, MULTI, &[])).0.is_err());
    }

    #[test]
    fn the_answer_to_another_question_is_passed_over() {
        let late = from(Answer { sequence: 6, ..OURS }, DONE, MULTI, &[0; 4]);
        let stray = from(Answer { port: 0, ..OURS }, KIND, 0, b"new.");
        let (heard, bodies) = hear(&[late, stray].concat());
        assert_eq!((heard.unwrap(), bodies.len()), (Heard::Part, 0));
    }

    #[test]
    fn who_has_heard_enough_hears_no_more() {
        let two = [message(KIND, 0, b"one."), message(KIND, 0, b"two.")].concat();
        let heard = OURS.take(&two, two.len(), |body| {
            assert_eq!(body, b"one.");
            ControlFlow::Break(())
        });
        assert_eq!(heard.unwrap(), Heard::Enough);
    }

    #[test]
    fn the_kernels_explanation_is_in_the_error() {
        let code = (-libc::EINVAL).to_ne_bytes();
        let question = message(24, 5, &[9; 21]);
        let words = attribute(EXPLANATION, b"Nexthop has invalid gateway.\0");
        let offset = attribute(2, &[0; 4]);
        let capped = [&code[..], &question[..HEADER], &offset, &words].concat();
        let whole = [&code[..], &question, &offset, &words].concat();
        for (flags, body) in [(EXPLAINED | CAPPED, capped), (EXPLAINED, whole)] {
            let err = refusal(&message(ERROR, flags, &body));
            let wanted = "Invalid argument (Nexthop has invalid gateway)";
            assert_eq!((err.to_string().as_str(), errno(&err)), (wanted, Some(Errno::EINVAL)));
        }
    }

    #[test]
    fn an_error_without_an_explanation_is_no_explanation() {
        let code = (-libc::EEXIST).to_ne_bytes();
        // The question has the look of an explanation.
        let question = message(24, 5, &attribute(EXPLANATION, b"not so\0"));
        let err = refusal(&message(ERROR, 0, &[&code[..], &question].concat()));
        assert_eq!((errno(&err), err.raw_os_error()), (Some(Errno::EEXIST), Some(libc::EEXIST)));
    }

    #[test]
    fn a_confirmation_is_the_end() {
        let body = [&[0; 4][..], &message(24, 5, &[])].concat();
        assert_eq!(hear(&message(ERROR, CAPPED, &body)).0.unwrap(), Heard::End);
    }
}
