//! The form of libvirt's messages: numbers of four bytes, the first first;
//! texts with their length in front, filled up to four bytes.

use anyhow::{Context, Result, bail, ensure};

/// The program of all calls that are made here.
const PROGRAM: u32 = 0x2000_8086;
const VERSION: u32 = 1;

/// No message is longer.
pub(super) const LONGEST: usize = 16 << 20;

/// What comes before a message's content, its length included.
pub(super) const HEAD: usize = 28;

const CALL: u32 = 0;
const REPLY: u32 = 1;

/// What is written.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.number(text.len() as u32).bytes(text.as_bytes())
    }

    /// Bytes whose number both sides know.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// The message of a call.
    pub(super) fn call(self, procedure: u32, serial: u32) -> Vec<u8> {
        let length = (HEAD + self.0.len()) as u32;
        let head = [length, PROGRAM, VERSION, procedure, CALL, serial, 0];
        head.into_iter().flat_map(u32::to_be_bytes).chain(self.0).collect()
    }
}

/// What is read.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn number(&mut self) -> Result<u32> {
        let (number, rest) = self.0.split_first_chunk().context("it is cut short")?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    pub(super) fn signed(&mut self) -> Result<i32> {
        self.number().map(u32::cast_signed)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().context("it is cut short")?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let length = self.number()? as usize;
        let whole = length.next_multiple_of(4);
        ensure!(whole <= self.0.len(), "it is cut short");
        let (text, rest) = self.0.split_at(whole);
        self.0 = rest;
        Ok(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    /// A text that may be left out.
    pub(super) fn maybe_text(&mut self) -> Result<Option<String>> {
        match self.number()? {
            0 => Ok(None),
            _ => self.text().map(Some),
        }
    }

    /// As many of them as are told.
    pub(super) fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.number()?;
        // Each takes some bytes: a wrong number is no reason to make room.
        ensure!(count as usize <= self.0.len(), "it is cut short");
        (0..count).map(|_| one(self)).collect()
    }

    /// That nothing is left over.
    pub(super) fn end(self) -> Result<()> {
        ensure!(self.0.is_empty(), "{} bytes are left over", self.0.len());
        Ok(())
    }
}

/// What libvirt has against a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number of its kind.
    pub code: u32,
    /// Its words.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "libvirt: {}", self.message)
    }
}

impl std::error::Error for Refusal {}

/// The content of an answer, or libvirt's refusal.
pub(super) type Answer = Result<Vec<u8>, Refusal>;

/// The length of a message, from its first four bytes.
pub(super) fn length(first: [u8; 4]) -> Result<usize> {
    let length = u32::from_be_bytes(first) as usize;
    ensure!((HEAD..=LONGEST).contains(&length), "a message of {length} bytes");
    Ok(length)
}

/// The serial of the call that the message answers, and the answer; nothing of
/// a message that is none.
pub(super) fn answer(message: &[u8]) -> Result<Option<(u32, Answer)>> {
    let mut reader = Reader(message);
    reader.number()?;
    let [program, version, _procedure, kind, serial, status] = {
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = reader.number()?;
        }
        numbers
    };
    if program != PROGRAM || kind != REPLY {
        return Ok(None);
    }
    ensure!(version == VERSION, "version {version} of the protocol");
    match status {
        0 => Ok(Some((serial, Ok(reader.0.to_vec())))),
        1 => {
            let code = reader.number()?;
            let _domain = reader.number()?;
            let message = reader.maybe_text()?.unwrap_or_else(|| format!("error {code}"));
            Ok(Some((serial, Err(Refusal { code, message }))))
        }
        other => bail!("an answer of status {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let call = Writer::default().number(7).text("web").bytes(&[1; 16]).call(24, 3);
        assert_eq!(length(*call.first_chunk().unwrap()).unwrap(), call.len());
        let mut reader = Reader::new(&call[HEAD..]);
        assert_eq!(reader.number().unwrap(), 7);
        assert_eq!(reader.text().unwrap(), "web");
        assert_eq!(reader.fixed::<16>().unwrap(), [1; 16]);
        reader.end().unwrap();
    }

    /// A call, turned into what the other side would answer.
    fn answered(content: Writer, kind: u8, status: u8) -> Vec<u8> {
        let mut message = content.call(24, 3);
        (message[19], message[27]) = (kind, status);
        message
    }

    #[test]
    fn an_answer_is_whole_or_an_error() {
        let good = answered(Writer::default().number(5), 1, 0);
        assert_eq!(answer(&good).unwrap(), Some((3, Ok(vec![0, 0, 0, 5]))));
        let refused = Writer::default().number(42).number(10).number(1).text("no such guest");
        let (serial, refusal) = answer(&answered(refused, 1, 1)).unwrap().unwrap();
        assert_eq!(
            (serial, refusal.unwrap_err().to_string()),
            (3, "libvirt: no such guest".into())
        );
        // An event, which nobody has asked for.
        assert_eq!(answer(&answered(Writer::default(), 2, 0)).unwrap(), None);
        assert!(answer(&answered(Writer::default(), 1, 2)).is_err());
        assert!(answer(&answered(Writer::default().number(42), 1, 1)).is_err());
        assert!(answer(&good[..20]).is_err());
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let whole = Writer::default().number(2).text("a").text("bcde").0;
        let read = |bytes: &[u8]| Reader::new(bytes).list(Reader::text);
        assert_eq!(read(&whole).unwrap(), ["a", "bcde"]);
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(read(&u32::MAX.to_be_bytes()).is_err());
        for wrong in [0, 27, 16 << 20 | 1] {
            assert!(length(u32::to_be_bytes(wrong)).is_err(), "{wrong}");
        }
    }
}
