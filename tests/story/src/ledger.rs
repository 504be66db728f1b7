//! The ledger: numbered records that show whether an acknowledged write
//! outlives a failover.
//!
//! A writer appends records 1, 2, 3, ... and counts one as acknowledged only
//! when it has been synced to disk. Afterwards [`check`] reads the file and
//! holds it against the acknowledgements: each of them must be there, whole,
//! and in its place. The file is plain text, one record per line:
//!
//! ```text
//! 000000000042 client.............. 00000001234567890123 5b1f09ac
//! number       writer               nanoseconds          CRC-32
//! ```
//!
//! [`service`] speaks the same over TCP; [`places`] writes the same into what
//! a client has mounted or attached.

mod format;
pub mod places;
pub mod service;

pub use format::{RECORD, Record};

use crate::timeline::grouped;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A ledger open for appending. One writer at a time.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    last: u64,
}

/// What an append came to; both may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The record is new and now on disk.
    New,
    /// The record was there already: its acknowledgement got lost on the way.
    Known,
}

impl Ledger {
    /// Opens the ledger at `path`, or begins a new one.
    ///
    /// What an interrupted append left behind the last whole record was never
    /// acknowledged and is cut off. Only the end is looked at: a service shall
    /// not need longer to start because it has run for long.
    pub fn open(path: &Path) -> Result<Ledger> {
        let name = path.display();
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)
            .with_context(|| format!("cannot open the ledger {name}"))?;
        let length = file.metadata().with_context(|| format!("cannot size {name}"))?.len();
        let mut ledger = Ledger { path: path.to_path_buf(), file, last: length / RECORD as u64 };
        while ledger.last > 0 && ledger.read(ledger.last).is_err() {
            ledger.last -= 1;
        }
        ledger
            .file
            .set_len(ledger.last * RECORD as u64)
            .and_then(|()| ledger.file.sync_all())
            .with_context(|| format!("cannot cut off the torn end of {name}"))?;
        // The name of a new file is on disk only once its directory is.
        let directory = path.parent().unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .with_context(|| format!("cannot sync {}", directory.display()))?;
        Ok(ledger)
    }

    /// Appends one record and syncs it to disk. Only after this has returned
    /// may the record be acknowledged.
    pub fn append(&mut self, record: &Record) -> Result<Appended> {
        if record.number <= self.last {
            let known = self.read(record.number)?;
            ensure!(known == *record, "record {} is on disk with another content", record.number);
            return Ok(Appended::Known);
        }
        ensure!(
            record.number == self.last + 1,
            "record {} does not follow {}, the last on disk",
            record.number,
            self.last
        );
        let name = self.path.display();
        self.file
            .write_all(&record.encode())
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("cannot put record {} into {name}", record.number))?;
        self.last = record.number;
        Ok(Appended::New)
    }

    /// The number of the last record on disk; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.last
    }

    fn read(&self, number: u64) -> Result<Record> {
        let mut bytes = [0; RECORD];
        self.file
            .read_exact_at(&mut bytes, (number - 1) * RECORD as u64)
            .with_context(|| format!("cannot read record {number}"))?;
        let record = Record::decode(&bytes)
            .map_err(|damage| anyhow::anyhow!("in the place of record {number}: {damage}"))?;
        ensure!(record.number == number, "record {} has the place of {number}", record.number);
        Ok(record)
    }
}

/// An acknowledgement as its receiver saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The record that is acknowledged.
    pub number: u64,
    /// When, by the receiver's clock (see [`crate::timeline::now`]).
    pub at: Duration,
}

/// What a ledger holds, held against the acknowledgements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Distinct records that were acknowledged.
    pub acknowledged: u64,
    /// Whole records on disk, each in its place.
    pub on_disk: u64,
    /// Acknowledged and not on disk: what must never be.
    pub missing: Vec<u64>,
    /// Places, counted from 1, that hold no whole record of that number, with
    /// what is wrong.
    pub damaged: Vec<(u64, String)>,
    /// On disk and never acknowledged: the connection broke in between.
    pub unacknowledged: u64,
    /// Bytes of an interrupted append at the end of the file.
    pub torn: usize,
}

impl Verdict {
    /// Whether there was anything to lose and nothing of it is lost.
    pub fn holds(&self) -> bool {
        self.acknowledged > 0 && self.missing.is_empty() && self.damaged.is_empty()
    }

    /// The verdict in one sentence.
    pub fn sentence(&self) -> String {
        if self.acknowledged == 0 {
            return "no record was acknowledged, so nothing is shown".into();
        }
        let extra = match self.unacknowledged {
            0 => String::new(),
            1 => ", and 1 more whose acknowledgement never arrived".into(),
            more => format!(", and {} more whose acknowledgements never arrived", grouped(more)),
        };
        let count = grouped(self.acknowledged);
        if self.holds() {
            return format!("all {count} acknowledged records are on disk{extra}");
        }
        let name =
            |list: &mut dyn Iterator<Item = String>| list.take(5).collect::<Vec<_>>().join(", ");
        let missing = name(&mut self.missing.iter().map(u64::to_string));
        let damaged = name(&mut self.damaged.iter().map(|(at, why)| format!("{at}: {why}")));
        format!(
            "of {count} acknowledged records {} are lost [{missing}]; {} places are damaged [{damaged}]",
            self.missing.len(),
            self.damaged.len()
        )
    }
}

/// Reads the ledger at `path` and holds it against `acks`.
pub fn check(path: &Path, acks: &[Ack]) -> Result<Verdict> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read the ledger {}", path.display()))?;
    Ok(check_bytes(&bytes, acks))
}

/// Holds what was read, from the first record on, against `acks`.
pub fn check_bytes(bytes: &[u8], acks: &[Ack]) -> Verdict {
    let mut acked: Vec<u64> = acks.iter().map(|ack| ack.number).collect();
    acked.sort_unstable();
    acked.dedup();
    let mut verdict = Verdict {
        acknowledged: acked.len() as u64,
        torn: bytes.len() % RECORD,
        ..Verdict::default()
    };
    let mut present = Vec::new();
    for (chunk, place) in bytes.chunks_exact(RECORD).zip(1..) {
        match Record::decode(chunk) {
            Ok(record) if record.number == place => present.push(place),
            Ok(record) => verdict.damaged.push((place, format!("record {} here", record.number))),
            Err(damage) => verdict.damaged.push((place, damage.to_string())),
        }
    }
    verdict.on_disk = present.len() as u64;
    verdict.missing =
        acked.iter().copied().filter(|number| present.binary_search(number).is_err()).collect();
    verdict.unacknowledged =
        present.iter().filter(|number| acked.binary_search(number).is_err()).count() as u64;
    verdict
}

/// The longest time between two acknowledgements that follow one another
/// within `from..=to`: begin and end.
pub fn longest_silence(acks: &[Ack], from: Duration, to: Duration) -> Option<(Duration, Duration)> {
    let within: Vec<Duration> =
        acks.iter().map(|ack| ack.at).filter(|at| (from..=to).contains(at)).collect();
    within.windows(2).map(|pair| (pair[0], pair[1])).max_by_key(|(begin, end)| *end - *begin)
}

/// How long nothing was acknowledged around a moment: from the last
/// acknowledgement before it to the first one after it, if there is one.
pub fn silence_around(acks: &[Ack], moment: Duration) -> Option<(Duration, Option<Duration>)> {
    let times = || acks.iter().map(|ack| ack.at);
    let last = times().filter(|at| *at <= moment).max()?;
    Some((last, times().filter(|at| *at > moment).min()))
}

#[cfg(test)]
mod tests;
