//! Mounts: what is mounted where, and how that is changed.
//!
//! | file           | what is in it                                          |
//! |----------------|--------------------------------------------------------|
//! | `table.rs`     | a mount, and the whole table as /proc shows it         |
//! | `statmount.rs` | one mount, asked for by itself (Linux 6.8)             |
//! | `options.rs`   | the words after `-o`, and who understands them         |
//! | `option_words.rs` | which of them are not a file system's own            |
//! | `attach.rs`    | mounting, by the kernel or through mount(8)            |
//! | `unmount.rs`   | unmounting and moving                                  |
//! | `reach.rs`     | which mount a path leads to; unmounting where none does |

pub mod attach;
pub(crate) mod option_words;
pub mod options;
pub mod quota;
pub mod reach;
pub mod statmount;
pub mod table;
pub mod unmount;

use crate::host::system::View;
use anyhow::Result;
use std::path::Path;

pub use table::{Mount, Table};

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
