//! Mounts: what is mounted where, and how that is changed.
//!
//! | file           | what is in it                                          |
//! |----------------|--------------------------------------------------------|
//! | `table.rs`     | the whole mount table, as /proc shows it               |
//! | `statmount.rs` | one mount, asked for by itself (Linux 6.8)             |
//! | `options.rs`   | the words after `-o`, and who understands them         |
//! | `attach.rs`    | mounting, by the kernel or through mount(8)            |
//! | `unmount.rs`   | unmounting and moving                                  |
//! | `reach.rs`     | which mount a path leads to; unmounting where none does |

pub mod attach;
pub mod options;
pub mod reach;
pub mod statmount;
pub mod table;
pub mod unmount;

use crate::host::block::Number;
use crate::host::system::View;
use anyhow::Result;
use std::path::{Path, PathBuf};

pub use table::Table;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The number that /proc/PID/fdinfo shows. It is given to another mount
    /// once this one is gone.
    pub id: u64,
    /// The number that is never given again, where the kernel has told it.
    pub unique: Option<u64>,
    /// The mount that it is mounted on.
    pub parent: u64,
    /// The device, or a number of its own for what has none.
    pub device: Number,
    /// Which directory of the file system it shows.
    pub root: PathBuf,
    /// Where.
    pub directory: PathBuf,
    /// Whether this mount alone refuses writes.
    pub read_only: bool,
    /// With the subtype: `ext4`, `fuse.sshfs`.
    pub fstype: String,
    /// What was named as the device, where the kernel has told it.
    pub source: Option<String>,
    /// The file system's own options, which all its mounts share.
    pub super_options: String,
    /// The group of mounts that hear of what happens to this one.
    pub peers: Option<u64>,
    /// The group that this one hears of.
    pub master: Option<u64>,
}

impl Mount {
    /// Whether the file system's own options hold this word.
    pub fn has_super_option(&self, wanted: &str) -> bool {
        self.super_options.split(',').any(|option| option == wanted)
    }

    /// What is mounted: `/dev/drbd0 (147:0)`.
    pub fn what(&self) -> String {
        let source = self.source.as_deref().unwrap_or(&self.fstype);
        format!("{source} ({})", self.device)
    }
}

/// The mount that is uppermost on the directory, without reading the whole
/// table where the kernel allows it.
pub fn at(view: &View, directory: &Path) -> Result<Option<Mount>> {
    if let Some(mount) = statmount::at(view, directory) {
        return Ok(Some(mount));
    }
    // A directory that is no mount as the path goes may be one underneath
    // another mount; and the kernel may be too old to be asked.
    let table = Table::read(view)?;
    Ok(table.uppermost(&table.resolve(view, directory)?).cloned())
}
