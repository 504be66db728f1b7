//! The ledger where a client has no service to talk to, only something
//! mounted: each record has a place of its own and is acknowledged by the sync
//! of the file.
//!
//! Nothing is read before a write and none touches another record's place, so a
//! record may be written as often as it takes until its sync comes back.

use super::{RECORD, Record};
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug)]
pub struct Places {
    path: PathBuf,
    open: Option<File>,
}

impl Places {
    /// The places in a file, which is made if it is not there.
    pub fn file(path: &Path) -> Places {
        Places { path: path.to_path_buf(), open: None }
    }

    /// Writes one record and returns once it is on disk, as far as that can
    /// be known here. After an error nobody knows whether it is; the same
    /// record may be written again.
    pub fn put(&mut self, record: &Record) -> Result<()> {
        let written = self.attempt(record);
        if written.is_err() {
            // An error of a sync is told to a descriptor once.
            self.open = None;
        }
        written.with_context(|| format!("record {} into {}", record.number, self.path.display()))
    }

    /// Has nothing open until the next record.
    pub fn close(&mut self) {
        self.open = None;
    }

    fn attempt(&mut self, record: &Record) -> Result<()> {
        let file = match self.open.take() {
            Some(file) => file,
            None => {
                let mut options = File::options();
                options.write(true).create(true).truncate(false);
                options.open(&self.path).context("cannot open")?
            }
        };
        let at = (record.number - 1) * RECORD as u64;
        file.write_all_at(&record.encode(), at).context("cannot write")?;
        file.sync_data().context("cannot sync")?;
        self.open = Some(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ack, check_bytes};
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
        assert!(check_bytes(&bytes, &acks(1..=3)).holds());
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
        assert!(check_bytes(&std::fs::read(&path).unwrap(), &acks(1..=1)).holds());
    }
}
