//! The language of the lab's command channel, spoken by the guest agent, the
//! keeper of the machines and the task that uses them.
//!
//! A frame is `length id kind body`: two little-endian words and one byte,
//! then `length` bytes. Many requests may be under way at once; everything
//! that belongs to one carries its id.

use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// What a frame means. The comment says who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Guest: the agent is up. The body is the boot's random id.
    Hello = 1,
    /// Host: run a command; the body is an [`Exec`].
    Exec,
    /// Host: bytes for the command's standard input; none closes it.
    Stdin,
    /// Host: write a file durably; the body is a [`Put`], a NUL, the content.
    Put,
    /// Host: read a file; the body is its path. Answered as a command that
    /// prints it would be.
    Read,
    /// Guest: what the command printed.
    Stdout,
    /// Guest: what the command complained of.
    Stderr,
    /// Guest: the request is over; the body is a [`Done`].
    Done,
    /// Guest: something happened unasked; the body is text.
    Event,
    /// Task to keeper: this connection is for the node named in the body.
    Select,
    /// Task to keeper: a verb about the machines; answered by `Done`.
    Control,
    /// Guest: the power of another machine is asked for; the body is an
    /// [`Ask`], and the id is the guest's own.
    Ask,
    /// Host: what became of it, with the same id; the body is a [`Done`].
    Answer,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::{
            Answer, Ask, Control, Done, Event, Exec, Hello, Put, Read, Select, Stderr, Stdin,
            Stdout,
        };
        let control = [Select, Control, Ask, Answer];
        [Hello, Exec, Stdin, Put, Read, Stdout, Stderr, Done, Event]
            .into_iter()
            .chain(control)
            .find(|kind| *kind as u8 == byte)
    }
}

/// One message.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Which request it belongs to; 0 for none.
    pub id: u32,
    /// What it means.
    pub kind: Kind,
    /// Its content.
    pub body: Vec<u8>,
}

/// A command to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Added to the guest agent's small environment.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Its process group is killed after this many milliseconds; 0: never.
    pub timeout_ms: u64,
}

/// A file to write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Put {
    /// Where; missing directories are made.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
}

/// What a machine may ask of the host: to be its fencing device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Whose power.
    pub machine: String,
    /// What about it.
    pub power: Power,
}

/// What is asked about a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// Switch it on.
    On,
    /// Switch it off; answered when it is off.
    Off,
    /// Off and on again.
    Reset,
    /// Answered by [`IS_ON`] or [`IS_OFF`].
    Look,
}

/// The machine has power.
pub const IS_ON: i32 = 0;
/// The machine has none.
pub const IS_OFF: i32 = 2;

/// How a request ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// The exit code, or 128 and the signal's number, or 255 for a request
    /// that could not be carried out.
    pub code: i32,
    /// Why it was not carried out, or why it was ended.
    #[serde(default)]
    pub why: Option<String>,
}

/// No frame is longer: larger content is sent in pieces.
pub const LONGEST: usize = 64 << 20;

impl Frame {
    /// A frame of raw bytes.
    pub fn new(id: u32, kind: Kind, body: impl Into<Vec<u8>>) -> Self {
        Self { id, kind, body: body.into() }
    }

    /// A frame whose body is a value.
    pub fn of<T: Serialize>(id: u32, kind: Kind, value: &T) -> io::Result<Self> {
        Ok(Self::new(id, kind, serde_json::to_vec(value)?))
    }

    /// The value in the body.
    pub fn value<T: for<'de> Deserialize<'de>>(&self) -> io::Result<T> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Writes the frame in one piece.
    pub fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(9 + self.body.len());
        bytes.extend((self.body.len() as u32).to_le_bytes());
        bytes.extend(self.id.to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.extend(&self.body);
        to.write_all(&bytes)?;
        to.flush()
    }

    /// Reads one frame; the end of the stream is an error.
    pub fn receive(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let id = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let kind = Kind::from_byte(head[8]).filter(|_| length <= LONGEST).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the channel lost its step")
        })?;
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Ok(Self { id, kind, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_sent() {
        let mut bytes = Vec::new();
        let exec = Exec { argv: vec!["true".into()], env: Vec::new(), timeout_ms: 5 };
        Frame::of(7, Kind::Exec, &exec).unwrap().send(&mut bytes).unwrap();
        Frame::new(7, Kind::Stdin, []).send(&mut bytes).unwrap();
        let mut from = &bytes[..];
        let first = Frame::receive(&mut from).unwrap();
        assert_eq!((first.id, first.kind), (7, Kind::Exec));
        assert_eq!(first.value::<Exec>().unwrap().argv, ["true"]);
        assert!(Frame::receive(&mut from).unwrap().body.is_empty());
        assert!(Frame::receive(&mut from).is_err(), "the end of the stream");
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_is_read() {
        let mut huge = (LONGEST as u32 + 1).to_le_bytes().to_vec();
        huge.extend([0, 0, 0, 0, Kind::Stdout as u8]);
        assert!(Frame::receive(&mut &huge[..]).is_err());
        assert!(Frame::receive(&mut &[0, 0, 0, 0, 0, 0, 0, 0, 99][..]).is_err());
    }
}
