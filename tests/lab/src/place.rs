//! Where the lab keeps its files: everything below `target/lab`, and the
//! sockets in a directory of `/run` named after this checkout.

use super::hash::hash;
use anyhow::{Context, Result, bail};
use packaging::host;
use std::fs::{self, File, TryLockError};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long a keeper that was told to end may take for it.
const PARTING: Duration = Duration::from_secs(5);

/// The lab's directories.
#[derive(Clone, Debug)]
pub struct Place {
    /// Images, tools, machines and logs.
    pub files: PathBuf,
    /// Unix sockets, whose paths may not be long.
    pub sockets: PathBuf,
}

impl Place {
    /// The place that belongs to this checkout.
    pub fn of_workspace() -> Self {
        let root = host::workspace();
        let name = format!("sturdy-lab-{:08x}", hash(root.to_string_lossy().as_bytes()) as u32);
        Self { files: root.join("target/lab"), sockets: PathBuf::from("/run").join(name) }
    }

    /// Makes the directories.
    pub fn make(&self) -> Result<()> {
        for dir in [&self.files, &self.machines(), &self.sockets] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(())
    }

    /// Claims the place: two keepers would take each other's sockets and disks.
    /// The claim lasts as long as the file is open, in whatever process.
    pub fn claim(&self) -> Result<File> {
        let path = self.files.join("lock");
        let lock =
            File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let begun = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if begun.elapsed() < PARTING => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    bail!("another lab runs in {}, or is being started there", self.files.display())
                }
                Err(TryLockError::Error(err)) => {
                    return Err(err).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
    }

    /// The disks and consoles of the machines that run now.
    pub fn machines(&self) -> PathBuf {
        self.files.join("machines")
    }

    /// What the keeper and the last run wrote down.
    pub fn keeper_log(&self) -> PathBuf {
        self.files.join("keeper.log")
    }

    /// Where the keeper listens.
    pub fn control(&self) -> PathBuf {
        self.sockets.join("control")
    }

    /// A socket of one machine or network.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.sockets.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_had_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { files: dir.path().into(), sockets: dir.path().join("sockets") };
        let first = place.claim().unwrap();
        let other = File::open(dir.path().join("lock")).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        thread::scope(|scope| {
            let second = scope.spawn(|| place.claim().map(drop));
            thread::sleep(Duration::from_millis(50));
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap().unwrap();
        });
    }
}
