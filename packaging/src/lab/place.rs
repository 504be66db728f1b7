//! Where the lab keeps its files: everything below `target/lab`, and the
//! sockets in a directory of `/run` named after this checkout.

use crate::host;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

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

/// FNV-1a: names things by their content, and guards against nothing.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
