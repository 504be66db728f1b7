//! The record as it lies on disk and travels on the wire.

use std::fmt;

/// The length of an encoded record in bytes, its line feed included.
pub const RECORD: usize = NUMBER + 1 + WRITER + 1 + STAMP + 1 + CHECKSUM + 1;

const NUMBER: usize = 12;
const WRITER: usize = 20;
const STAMP: usize = 20;
const CHECKSUM: usize = 8;
/// What a short name is filled up with, here and in the format string.
const FILL: char = '.';

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number: 1 is the first, and none is left out.
    pub number: u64,
    /// Who wrote it: up to 20 letters, digits, `-` and `_`.
    pub writer: String,
    /// When it was first sent, in nanoseconds of the writer's clock.
    pub stamp: u64,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Not as long as a record, or not of its form.
    Form,
    /// All zero, as a hole in a file reads.
    Zeros,
    /// Of the right form, but the checksum belongs to something else.
    Checksum,
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Damage::Form => "not a record",
            Damage::Zeros => "zeros",
            Damage::Checksum => "wrong checksum",
        })
    }
}

impl Record {
    /// A record of `writer`, whose name is cut and cleaned to what fits.
    pub fn new(number: u64, writer: &str, stamp: u64) -> Record {
        let fits = |letter: &char| letter.is_ascii_alphanumeric() || "-_".contains(*letter);
        let writer = writer.chars().filter(fits).take(WRITER).collect();
        Record { number, writer, stamp }
    }

    /// The record as a line of [`RECORD`] bytes.
    pub fn encode(&self) -> [u8; RECORD] {
        let Record { number, writer, stamp } = self;
        let body = format!("{number:0NUMBER$} {writer:.<WRITER$} {stamp:0STAMP$}");
        let line = format!("{body} {:08x}\n", crc32(body.as_bytes()));
        let mut bytes = [0; RECORD];
        bytes.copy_from_slice(line.as_bytes());
        bytes
    }

    /// Reads back what [`Record::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Record, Damage> {
        if !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) {
            return Err(Damage::Zeros);
        }
        let line = std::str::from_utf8(bytes).map_err(|_| Damage::Form)?;
        let line = line.strip_suffix('\n').ok_or(Damage::Form)?;
        let (body, checksum) = line.rsplit_once(' ').ok_or(Damage::Form)?;
        let fields: Vec<&str> = body.split(' ').collect();
        let &[number, writer, stamp] = &fields[..] else {
            return Err(Damage::Form);
        };
        if checksum != format!("{:08x}", crc32(body.as_bytes())) {
            return Err(Damage::Checksum);
        }
        let record = Record {
            number: number.parse().map_err(|_| Damage::Form)?,
            writer: writer.trim_end_matches(FILL).into(),
            stamp: stamp.parse().map_err(|_| Damage::Form)?,
        };
        if record.encode() == bytes { Ok(record) } else { Err(Damage::Form) }
    }
}

/// CRC-32 as in Ethernet and gzip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_record_is_64_bytes_and_reads_back() {
        let record = Record::new(42, "client 1\n", 1_234_567_890_123);
        let bytes = record.encode();
        assert_eq!(RECORD, 64);
        assert_eq!(record.writer, "client1");
        assert_eq!(Record::decode(&bytes), Ok(record));
        assert_eq!(
            String::from_utf8_lossy(&bytes[..55]),
            "000000000042 client1............. 00000001234567890123 "
        );
    }

    #[test]
    fn every_single_changed_byte_is_found() {
        let bytes = Record::new(7, "client", 99).encode();
        for place in 0..RECORD {
            let mut changed = bytes;
            changed[place] ^= 1;
            assert!(Record::decode(&changed).is_err(), "byte {place}");
        }
        assert_eq!(Record::decode(&[0; RECORD]), Err(Damage::Zeros));
        assert_eq!(Record::decode(&bytes[1..]), Err(Damage::Checksum));
        assert_eq!(Record::decode(b""), Err(Damage::Form));
    }
}
