//! The messages of the device-mapper's control device: one header for all, and
//! what follows it. Pure text and numbers; the asking is done elsewhere.

use super::table::{Device, Table};
use crate::host::block::Number;
use std::borrow::Cow;
use std::ffi::CStr;
use std::io;

/// struct dm_ioctl, with the room that it keeps for names.
pub(super) const HEADER: usize = 312;
const NAME: usize = 48;
const NAME_ROOM: usize = 128;
const UUID: usize = NAME + NAME_ROOM;
const UUID_ROOM: usize = 129;

/// struct dm_target_spec, which stands before what each segment says.
const TARGET: usize = 40;

const SUSPENDED: u32 = 1 << 1;
const LIVE: u32 = 1 << 5;
const FULL: u32 = 1 << 8;

/// Asks for tables, not for the state of what they lead to: that could wait.
pub(super) const TABLE: u32 = 1 << 4;

/// Asks for the state without writing out first what waits to be written.
pub(super) const STILL: u32 = 1 << 11;

/// What the identity of each of multipath's maps begins with.
const MULTIPATH: &[u8] = b"mpath-";

/// Asks for identities in a list.
pub(super) const UUIDS: u32 = 1 << 14;

/// From this version on the list can carry identities, and can be told which
/// names are wanted. Linux 5.13.
const WITH_UUIDS: u32 = 45;
const HAS_UUID: u32 = 1;
const HAS_NONE: u32 = 2;

/// A message to be sent, and the answer in the same place.
#[derive(Debug)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A question with `room` bytes for the answer.
    pub(super) fn new(room: usize) -> Self {
        let mut bytes = vec![0; HEADER.max(room)];
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let header = HEADER as u32;
        for (at, value) in [(0, 4), (12, size), (16, header)] {
            put(&mut bytes, at, value);
        }
        Self(bytes)
    }

    /// About this device.
    pub(super) fn about(mut self, device: Number) -> Self {
        self.0[40..48].copy_from_slice(&huge(device).to_ne_bytes());
        self
    }

    /// About names and identities that begin so.
    pub(super) fn named(mut self, name: &str, uuid: &str) -> Self {
        let room = name.len().min(NAME_ROOM - 1);
        self.0[NAME..NAME + room].copy_from_slice(&name.as_bytes()[..room]);
        let room = uuid.len().min(UUID_ROOM - 1);
        self.0[UUID..UUID + room].copy_from_slice(&uuid.as_bytes()[..room]);
        self
    }

    /// With this flag.
    pub(super) fn flag(mut self, flag: u32) -> Self {
        let flags = self.word(28).unwrap_or(0) | flag;
        put(&mut self.0, 28, flags);
        self
    }

    /// For the kernel to read and to write.
    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Whether the answer did not fit.
    pub(super) fn is_cut(&self) -> bool {
        self.word(28).is_ok_and(|flags| flags & FULL != 0)
    }

    /// How large a message is needed, roughly: the kernel does not say.
    pub(super) fn room(&self) -> usize {
        self.0.len()
    }

    fn word(&self, at: usize) -> io::Result<u32> {
        let bytes = self.0.get(at..at + 4).ok_or_else(short)?;
        Ok(u32::from_ne_bytes(bytes.try_into().map_err(|_| short())?))
    }

    fn long(&self, at: usize) -> io::Result<u64> {
        let bytes = self.0.get(at..at + 8).ok_or_else(short)?;
        Ok(u64::from_ne_bytes(bytes.try_into().map_err(|_| short())?))
    }

    /// The bytes up to the zero.
    fn bytes(&self, at: usize) -> io::Result<&[u8]> {
        let rest = self.0.get(at..).ok_or_else(short)?;
        // The library looks for the zero by words, we would by bytes.
        Ok(CStr::from_bytes_until_nul(rest).map_err(|_| short())?.to_bytes())
    }

    fn text(&self, at: usize) -> io::Result<Cow<'_, str>> {
        self.bytes(at).map(readable)
    }

    /// Where the answer begins and where it ends.
    fn answer(&self) -> io::Result<(usize, usize)> {
        let (size, start) = (self.word(12)? as usize, self.word(16)? as usize);
        if start < HEADER || size > self.0.len() {
            return Err(short());
        }
        Ok((start, size))
    }

    /// The device that the answer is about.
    pub(super) fn device(&self) -> io::Result<Device> {
        let number = number(self.long(40)?);
        let (name, uuid) = (self.text(NAME)?.into_owned(), self.text(UUID)?.into_owned());
        Ok(Device { number, name, uuid })
    }

    /// The answer to the question what there is: numbers, names, identities.
    /// An identity of `None` was not told: an older kernel. Nothing is copied,
    /// since there may be hundreds and each monitor asks.
    pub(super) fn list(
        &self,
        mut each: impl FnMut(Number, &str, Option<&str>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut at, end) = self.answer()?;
        let knows_uuids = self.word(4)? >= WITH_UUIDS;
        // An empty list is one entry with a number of zero, or no entry.
        if at == end || self.long(at)? == 0 {
            return Ok(());
        }
        loop {
            if at + 12 >= end {
                return Err(short());
            }
            let name = self.bytes(at + 12)?;
            let after = (at + 12 + name.len() + 1).next_multiple_of(8);
            let flags = if knows_uuids { self.word(after + 4)? } else { 0 };
            let uuid = match flags {
                HAS_UUID => Some(self.text(after + 8)?),
                HAS_NONE => Some(Cow::Borrowed("")),
                _ => None,
            };
            each(number(self.long(at)?), &readable(name), uuid.as_deref())?;
            match self.word(at + 8)? as usize {
                0 => return Ok(()),
                next => at += next,
            }
        }
    }

    /// The answer to the question what lies beneath.
    pub(super) fn table(&self) -> io::Result<Table> {
        let flags = self.word(28)?;
        let live = flags & LIVE != 0;
        let mut beneath = Vec::new();
        let (start, end) = self.answer()?;
        if live && start + 8 <= end {
            for place in 0..self.word(start)? as usize {
                beneath.push(number(self.long(start + 8 + 8 * place)?));
            }
        }
        let open = u32::try_from(self.word(24)?.cast_signed()).ok();
        let multipath = self.bytes(UUID)?.starts_with(MULTIPATH);
        Ok(Table { open, suspended: flags & SUSPENDED != 0, live, multipath, beneath })
    }

    /// The paths in the state of a map of multipath's: each is a device's
    /// number with `A` behind it, or `F` if it has failed.
    pub(super) fn paths(&self) -> io::Result<Vec<(Number, bool)>> {
        let (start, end) = self.answer()?;
        let mut paths = Vec::new();
        if start + TARGET < end {
            let state = self.text(start + TARGET)?;
            let words: Vec<&str> = state.split(' ').collect();
            for pair in words.windows(2) {
                if let (Some(path), "A" | "F") = (Number::parse(pair[0]), pair[1]) {
                    paths.push((path, pair[1] == "A"));
                }
            }
        }
        Ok(paths)
    }

    /// The kinds of segments in the answer, each once.
    pub(super) fn kinds(&self) -> io::Result<Vec<String>> {
        let (start, _) = self.answer()?;
        let mut at = start;
        let mut kinds = Vec::new();
        for _ in 0..self.word(20)? {
            let kind = self.text(at + 24)?.into_owned();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
            // Counted from the first, not from this one.
            match self.word(at + 20)? as usize {
                0 => break,
                next => at = start + next,
            }
        }
        Ok(kinds)
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

/// Text as it is nearly always: LVM's names are plain.
fn readable(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the device-mapper's answer makes no sense")
}

/// A number as the kernel writes it in 64 bits.
fn huge(number: Number) -> u64 {
    let (major, minor) = (u64::from(number.major), u64::from(number.minor));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

fn number(huge: u64) -> Number {
    let major = (huge & 0xf_ff00) >> 8;
    let minor = (huge & 0xff) | ((huge >> 12) & 0xffff_ff00);
    Number { major: major as u32, minor: minor as u32 }
}

#[cfg(test)]
impl Message {
    /// An answer as it was captured.
    pub(super) fn captured(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The same answer, said to end here.
    pub(super) fn ended(&self, end: usize) -> Self {
        let mut bytes = self.0.clone();
        put(&mut bytes, 12, end as u32);
        Self(bytes)
    }

    /// The first bytes of the answer.
    pub(super) fn shortened(&self, length: usize) -> Self {
        Self(self.0[..length].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_the_kernels_way_to_write_it() {
        for (major, minor) in [(0, 0), (8, 17), (253, 255), (253, 256), (147, 0xf_ffff)] {
            let device = Number { major, minor };
            assert_eq!(number(huge(device)), device);
        }
    }
}
