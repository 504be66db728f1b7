//! How tgtd is asked: a connection for each request, of a head of fixed size
//! and a text, and an answer of the same form. The daemon takes it from its own
//! user alone.
//!
//! Source: `usr/tgtadm.h` and `usr/mgmt.c` of tgt 1.0.85.

use super::SOCKET;
use crate::host::system::View;
use crate::host::unix_socket;
use anyhow::{Result, bail, ensure};

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    System = 0,
    Target = 1,
    Device = 2,
    Connection = 6,
    Account = 7,
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    New = 0,
    Delete = 1,
    Show = 2,
    Bind = 3,
    Unbind = 4,
    Update = 5,
}

/// The kind of target that is meant: tgtd has others than iSCSI.
const DRIVER: &[u8] = b"iscsi";
const DRIVER_ROOM: usize = 64;

/// The head of a request, as laid out for processors of 64 bits.
const HEAD: usize = 120;

/// The longest text that tgtd takes.
const LONGEST: usize = 8 << 10;

/// The head of an answer.
const ANSWER_HEAD: usize = 8;

/// What a refusal means, by its number.
const REFUSALS: &[&str] = &[
    "",
    "for no reason that it tells",
    "it has no memory",
    "it has no driver for iSCSI",
    "there is no such target",
    "there is no such LUN",
    "there is no such session",
    "there is no such connection",
    "there is no such binding",
    "there is such a target already",
    "there is such a LUN already",
    "there is such a binding already",
    "the initiator is admitted already",
    "the initiator is not admitted",
    "there is such a user already",
    "there is no such user",
    "there are too many users",
    "the request is not valid",
    "there is an outgoing user already",
    "the target is in use",
    "the LUN is in use",
    "the driver is in use",
    "it cannot do that",
    "it has no such parameter",
    "the medium may not be removed",
];

/// Why tgtd has not done what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(u32);

impl Refusal {
    pub(super) const NO_TARGET: Self = Self(4);
    pub(super) const NO_LUN: Self = Self(5);
    pub(super) const NO_SESSION: Self = Self(6);
    pub(super) const NO_CONNECTION: Self = Self(7);
    pub(super) const ADMITTED: Self = Self(12);
    pub(super) const NOT_ADMITTED: Self = Self(13);
    pub(super) const NO_USER: Self = Self(15);
    pub(super) const INVALID: Self = Self(17);
    pub(super) const TARGET_IN_USE: Self = Self(19);
    pub(super) const LUN_IN_USE: Self = Self(20);
    pub(super) const NO_PARAMETER: Self = Self(23);
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match REFUSALS.get(self.0 as usize) {
            Some(why) => write!(f, "tgtd refuses: {why}"),
            None => write!(f, "tgtd refuses, with error {}", self.0),
        }
    }
}

impl std::error::Error for Refusal {}

/// One request.
#[derive(Clone)]
pub(super) struct Request {
    mode: Mode,
    operation: Operation,
    tid: u32,
    session: u64,
    lun: u64,
    connection: u32,
    device_type: u32,
    is_outgoing: bool,
    text: String,
}

impl Request {
    pub(super) fn of(mode: Mode, operation: Operation) -> Self {
        Self {
            mode,
            operation,
            // All of them, where a list is asked for.
            tid: u32::MAX,
            session: 0,
            lun: 0,
            connection: 0,
            device_type: 0,
            is_outgoing: false,
            text: String::new(),
        }
    }

    pub(super) fn target(self, tid: u32) -> Self {
        Self { tid, ..self }
    }

    pub(super) fn lun(self, lun: u64) -> Self {
        Self { lun, ..self }
    }

    pub(super) fn connection(self, session: u64, connection: u32) -> Self {
        Self { session, connection, ..self }
    }

    pub(super) fn device_type(self, device_type: u32) -> Self {
        Self { device_type, ..self }
    }

    pub(super) fn outgoing(self, is_outgoing: bool) -> Self {
        Self { is_outgoing, ..self }
    }

    pub(super) fn text(self, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..self }
    }

    /// Asks, at the longest until the view's deadline. What cannot be reached is
    /// the outer error, with the system's number for it where it has one; what is
    /// refused the inner.
    ///
    /// The trace has neither text, in which there may be a password.
    pub(super) fn ask(&self, view: &View) -> Result<Result<String, Refusal>> {
        let asked = self.exchange(view);
        let outcome = asked.as_ref().map(|answer| answer.as_ref().map(String::len));
        view.note(format_args!(
            "tgtd {:?} {:?} target {} LUN {} = {outcome:?}",
            self.operation,
            self.mode,
            self.tid.cast_signed(),
            self.lun
        ));
        asked
    }

    fn exchange(&self, view: &View) -> Result<Result<String, Refusal>> {
        let request = self.bytes()?;
        let answer = unix_socket::exchange(&view.path(SOCKET), &request, view.deadline())?;
        read(&answer)
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        // tgtd ends the text with what it finds behind it.
        let length = match self.text.len() {
            0 => 0,
            length => length + 1,
        };
        ensure!(length <= LONGEST, "tgtd takes no request of more than {LONGEST} bytes");
        ensure!(!self.text.contains('\0'), "tgtd takes no NUL");
        let mut bytes = Vec::with_capacity(HEAD + length);
        bytes.extend((self.mode as u32).to_ne_bytes());
        bytes.extend((self.operation as u32).to_ne_bytes());
        bytes.extend(DRIVER);
        bytes.resize(8 + DRIVER_ROOM, 0);
        bytes.extend(((HEAD + length) as u32).to_ne_bytes());
        bytes.extend(self.tid.to_ne_bytes());
        bytes.extend(self.session.to_ne_bytes());
        bytes.extend(self.lun.to_ne_bytes());
        // The two without a name here are a host's number and a format.
        let rest = [self.connection, 0, self.device_type, u32::from(self.is_outgoing), 0, 0];
        rest.iter().for_each(|number| bytes.extend(number.to_ne_bytes()));
        debug_assert_eq!(bytes.len(), HEAD);
        bytes.extend(self.text.as_bytes());
        bytes.resize(HEAD + length, 0);
        Ok(bytes)
    }
}

/// The text of an answer that has come whole.
fn read(answer: &[u8]) -> Result<Result<String, Refusal>> {
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    let (Some(error), Some(length)) = (number(0), number(4)) else {
        bail!(
            "tgtd has ended the connection without an answer: it takes requests of its own user alone"
        );
    };
    if error != 0 {
        return Ok(Err(Refusal(error)));
    }
    ensure!(
        answer.len() == length as usize && answer.len() >= ANSWER_HEAD,
        "tgtd has said {} of {length} bytes",
        answer.len()
    );
    let text = String::from_utf8_lossy(&answer[ANSWER_HEAD..]);
    Ok(Ok(text.trim_end_matches('\0').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_tgtd_reads_it() {
        let request = Request::of(Mode::Account, Operation::Bind)
            .target(3)
            .lun(9)
            .connection(7, 5)
            .device_type(0xff)
            .outgoing(true)
            .text("user=x");
        let bytes = request.bytes().unwrap();
        let at = |place: usize| u32::from_ne_bytes(bytes[place..place + 4].try_into().unwrap());
        assert_eq!((at(0), at(4), at(72), at(76)), (7, 3, 127, 3));
        assert_eq!(&bytes[8..14], b"iscsi\0");
        let long = |place: usize| u64::from_ne_bytes(bytes[place..place + 8].try_into().unwrap());
        assert_eq!((long(80), long(88)), (7, 9));
        assert_eq!((at(96), at(104), at(108)), (5, 0xff, 1));
        assert_eq!(&bytes[120..], b"user=x\0");
        assert_eq!(Request::of(Mode::Target, Operation::Show).bytes().unwrap().len(), 120);
        let long = Request::of(Mode::Target, Operation::Show).text("x".repeat(LONGEST));
        assert!(long.bytes().is_err());
    }

    #[test]
    fn an_answer_that_was_cut_short_is_none() {
        let answer = |error: u32, length: u32, text: &str| {
            let head = [error.to_ne_bytes(), length.to_ne_bytes()].concat();
            read(&[&head[..], text.as_bytes()].concat())
        };
        assert_eq!(answer(0, 12, "abc\0").unwrap().unwrap(), "abc");
        assert_eq!(answer(0, 8, "").unwrap().unwrap(), "");
        assert_eq!(answer(4, 8, "").unwrap().unwrap_err(), Refusal::NO_TARGET);
        for (length, text) in [(12, "ab"), (8, "ab"), (0, "")] {
            assert!(answer(0, length, text).is_err(), "{length} {text:?}");
        }
        assert!(read(b"").is_err() && read(&[0; 5]).is_err());
    }

    #[test]
    fn a_refusal_is_told_in_words() {
        assert_eq!(Refusal::LUN_IN_USE.to_string(), "tgtd refuses: the LUN is in use");
        assert_eq!(Refusal(99).to_string(), "tgtd refuses, with error 99");
    }
}
