//! The ledger where a client has no service to talk to, only something
//! mounted or attached: each record has a place of its own and is
//! acknowledged by the sync of whatever it was written to.
//!
//! In a file the records follow one another. On a block device each has the
//! begin of a sector to itself, which a disk writes whole or not at all; when
//! the last is used, the first is used again. Nothing is read before a write
//! and none touches another record's place, so a record may be written as
//! often as it takes until its sync comes back.

use super::{RECORD, Record};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a block device writes whole.
const SECTOR: usize = 512;

/// The sectors kept free at the end: the writer may be ahead of what its
/// reader has heard of, and must not overwrite what is about to be checked.
const AHEAD: u64 = 1024;

/// Memory a device can read from and write to directly.
#[repr(C, align(4096))]
struct Sectors<const BYTES: usize>([u8; BYTES]);

/// How many sectors are read at once.
const BATCH: u64 = 64;

/// See the module.
#[derive(Debug)]
pub struct Places {
    path: PathBuf,
    kind: Kind,
    open: Option<File>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Device,
}

impl Places {
    /// The places in a file, which is made if it is not there.
    pub fn file(path: &Path) -> Places {
        Places { path: path.to_path_buf(), kind: Kind::File, open: None }
    }

    /// The places on a block device.
    pub fn device(path: &Path) -> Places {
        Places { path: path.to_path_buf(), kind: Kind::Device, open: None }
    }

    /// Writes one record and returns once it is on disk, as far as that can
    /// be known here. After an error nobody knows whether it is; the same
    /// record may be written again.
    pub fn put(&mut self, record: &Record) -> Result<()> {
        let written = self.attempt(record);
        if written.is_err() {
            // An error of a sync is told to a descriptor once; and a device
            // may have come back as another.
            self.open = None;
        }
        written.with_context(|| format!("record {} into {}", record.number, self.path.display()))
    }

    fn attempt(&mut self, record: &Record) -> Result<()> {
        let file = match self.open.take() {
            Some(file) => file,
            None => self.connect()?,
        };
        match self.kind {
            Kind::File => {
                let at = (record.number - 1) * RECORD as u64;
                file.write_all_at(&record.encode(), at).context("cannot write")?;
            }
            Kind::Device => {
                let mut sector = Sectors([0; SECTOR]);
                sector.0[..RECORD].copy_from_slice(&record.encode());
                let at = place(record.number, sectors(&file)?);
                file.write_all_at(&sector.0, at).context("cannot write")?;
            }
        }
        file.sync_data().context("cannot sync")?;
        self.open = Some(file);
        Ok(())
    }

    fn connect(&self) -> Result<File> {
        let mut options = File::options();
        options.write(true);
        match self.kind {
            Kind::File => options.create(true),
            // Not through this machine's memory, which is not under test.
            Kind::Device => options.custom_flags(nix::libc::O_DIRECT),
        };
        options.open(&self.path).context("cannot open")
    }
}

/// Where a record lies on a device of so many sectors.
fn place(number: u64, sectors: u64) -> u64 {
    (number - 1) % sectors * SECTOR as u64
}

/// How many sectors a device has.
fn sectors(device: &File) -> Result<u64> {
    use std::io::{Seek, SeekFrom};
    let mut device = device;
    let sectors = device.seek(SeekFrom::End(0)).context("cannot size it")? / SECTOR as u64;
    ensure!(sectors > AHEAD, "the device is too small");
    Ok(sectors)
}

/// Reads from a device what a file would have: the records up to `last`, one
/// after the other, and the number of the first one. Earlier ones have been
/// overwritten, or may be at any moment.
pub fn collect(device: &Path, last: u64) -> Result<(u64, Vec<u8>)> {
    let name = device.display();
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECT)
        .open(device)
        .with_context(|| format!("cannot open {name}"))?;
    let sectors = sectors(&file).with_context(|| name.to_string())?;
    let first = last.saturating_sub(sectors - AHEAD) + 1;
    let (mut bytes, mut number) = (Vec::new(), first);
    let mut batch = Sectors([0; BATCH as usize * SECTOR]);
    while number <= last {
        let to_end = sectors - (number - 1) % sectors;
        let count = BATCH.min(to_end).min(last - number + 1);
        let read = &mut batch.0[..count as usize * SECTOR];
        file.read_exact_at(read, place(number, sectors))
            .with_context(|| format!("cannot read the place of record {number} on {name}"))?;
        for sector in read.chunks_exact(SECTOR) {
            bytes.extend(&sector[..RECORD]);
        }
        number += count;
    }
    Ok((first, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ack, check_from};
    use std::time::Duration;

    fn acks(numbers: std::ops::RangeInclusive<u64>) -> Vec<Ack> {
        numbers.map(|number| Ack { number, at: Duration::ZERO }).collect()
    }

    fn record(number: u64) -> Record {
        Record::new(number, "client", number)
    }

    #[test]
    fn a_file_reads_as_one_that_was_appended_to_and_a_record_may_be_put_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let mut places = Places::file(&path);
        for number in [1, 2, 2, 3, 2] {
            places.put(&record(number)).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 * RECORD);
        assert!(check_from(1, &bytes, &acks(1..=3)).holds());
    }

    #[test]
    fn a_device_that_is_full_begins_anew_and_a_loss_is_still_found() {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = directory.path().join("device");
        let sectors = AHEAD + 50;
        std::fs::write(&path, vec![0; sectors as usize * SECTOR]).unwrap();
        let mut places = Places::device(&path);
        for number in 1..=sectors + 10 {
            places.put(&record(number)).unwrap();
        }
        let last = sectors + 10;
        let (first, bytes) = collect(&path, last).unwrap();
        assert_eq!((first, bytes.len()), (last - 49, 50 * RECORD));
        assert!(check_from(first, &bytes, &acks(1..=last)).holds());
        // A write that was acknowledged and is not there: the place holds
        // what was in it one round before.
        let (first, bytes) = collect(&path, last + 1).unwrap();
        let verdict = check_from(first, &bytes, &acks(1..=last + 1));
        assert_eq!(verdict.missing, [last + 1]);
    }

    #[test]
    fn what_cannot_be_written_is_not_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("not/there");
        let mut places = Places::file(&path);
        let why = format!("{:#}", places.put(&record(1)).unwrap_err());
        assert!(why.contains("cannot open"), "{why}");
        std::fs::create_dir(directory.path().join("not")).unwrap();
        places.put(&record(1)).unwrap();
        assert!(check_from(1, &std::fs::read(&path).unwrap(), &acks(1..=1)).holds());
    }
}
