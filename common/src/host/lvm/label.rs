//! LVM's metadata where they are: on the disks of the group. Each read is made
//! by a child, since a disk may not answer.

use super::metadata::{self, Metadata};
use crate::host::clock::Deadline;
use crate::host::io_test;
use crate::host::system::View;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// What is read at a time.
const BLOCK: u64 = 4096;
const SECTOR: usize = 512;
/// The label is in one of the first sectors.
const LABELS: usize = 4;
/// No text is larger than a group of a thousand volumes has it.
const LARGEST: u64 = 1 << 20;
/// What the header of an area with metadata takes, before the text.
const HEADER: u64 = 512;

/// What the group is made of by the metadata on this disk of it.
pub fn metadata(view: &View, disk: &Path, group: &str, deadline: Deadline) -> Result<Metadata> {
    let read = |at: u64| io_test::block(view, disk, at, deadline);
    let text =
        text(&read).with_context(|| format!("cannot read LVM's label on {}", disk.display()))?;
    metadata::parse(&text, group)
        .with_context(|| format!("the metadata on {} are not of {group}", disk.display()))
}

/// The text in the first area that the label names.
fn text(read: &dyn Fn(u64) -> Result<Vec<u8>>) -> Result<String> {
    let first = read(0)?;
    let area = area(&first).context("there is none")?;
    let header = bytes(read, area, HEADER)?;
    ensure!(header[4..20] == *b" LVM2 x[5A%r0N*>", "its header makes no sense");
    let (begin, size) = (long(&header, 24)?, long(&header, 32)?);
    let (at, length, sum) = (long(&header, 40)?, long(&header, 48)?, word(&header, 56)?);
    ensure!(at >= HEADER && at < size && length <= LARGEST.min(size), "it leads nowhere");
    // The area is a ring.
    let whole = length.min(size - at);
    let mut found = bytes(read, begin + at, whole)?;
    found.extend(bytes(read, begin + HEADER, length - whole)?);
    ensure!(checksum(&found) == sum, "the text has another checksum");
    let text = String::from_utf8(found).context("it is no text")?;
    Ok(text.trim_end_matches('\0').to_owned())
}

/// Where the first area with metadata begins.
fn area(first: &[u8]) -> Option<u64> {
    let label = (0..LABELS).map(|sector| sector * SECTOR).find(|at| {
        first.get(*at..*at + 8) == Some(b"LABELONE")
            && first.get(*at + 24..*at + 32) == Some(b"LVM2 001")
    })?;
    // Identity and size, then two lists of areas that end with a zero.
    let mut at = label + word(first, label + 20).ok()? as usize + 40;
    while long(first, at).ok()? != 0 {
        at += 16;
    }
    Some(long(first, at + 16).ok()?).filter(|area| *area != 0)
}

fn bytes(read: &dyn Fn(u64) -> Result<Vec<u8>>, at: u64, length: u64) -> Result<Vec<u8>> {
    if length == 0 {
        return Ok(Vec::new());
    }
    let begin = at / BLOCK * BLOCK;
    let mut found = Vec::new();
    let mut block = begin;
    while block < at + length {
        found.extend(read(block)?);
        block += BLOCK;
    }
    let from = (at - begin) as usize;
    match found.get(from..from + length as usize) {
        Some(found) => Ok(found.to_vec()),
        None => bail!("it ends too early"),
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let found = bytes.get(at..at + 4).context("it ends too early")?;
    Ok(u32::from_le_bytes(found.try_into()?))
}

fn long(bytes: &[u8], at: usize) -> Result<u64> {
    let found = bytes.get(at..at + 8).context("it ends too early")?;
    Ok(u64::from_le_bytes(found.try_into()?))
}

/// The usual one, begun and ended otherwise.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |sum, byte| {
        let step = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        (0..8).fold(sum ^ u32::from(*byte), step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The begin of a disk as lvm 2.03.16 has made it: a group with two
    /// volumes, of which one has been removed again.
    const DISK: &[u8] = include_bytes!("../../../../tests/data/lvm/pv");

    fn read(disk: &[u8], at: u64) -> Result<Vec<u8>> {
        let at = at as usize;
        disk.get(at..at + BLOCK as usize).map(<[u8]>::to_vec).context("there is no more")
    }

    #[test]
    fn a_disk_tells_what_its_group_has_now() {
        let text = text(&|at| read(DISK, at)).unwrap();
        let found = metadata::parse(&text, "vgp").unwrap();
        let names: Vec<&str> = found.volumes.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["web"]);
        assert_eq!(found.id.len(), 32);
    }

    #[test]
    fn what_is_damaged_tells_nothing() {
        let of = |disk: &[u8]| text(&|at| read(disk, at));
        assert!(of(&[0; 8192]).is_err());
        assert!(of(&DISK[..4096]).is_err());
        let spoiled: Vec<u8> = {
            let at = DISK.windows(4).rposition(|found| found == b"web ").unwrap();
            let mut disk = DISK.to_vec();
            disk[at] = b'W';
            disk
        };
        assert!(of(&spoiled).unwrap_err().to_string().contains("checksum"));
    }
}
