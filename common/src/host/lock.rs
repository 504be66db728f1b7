//! Locks on what several instances share: a volume group, a table of rules.

use crate::host::clock::Pace;
use crate::host::file;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Held as long as this value; the kernel lets go of it however the process
/// ends.
#[derive(Debug)]
pub struct Lock {
    _held: File,
    is_handed_over: bool,
}

impl Lock {
    /// Whether somebody else had it when it was asked for, and may have changed
    /// what was seen before.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over
    }
}

impl System<'_> {
    /// Keeps the other instances away from what they share with this one, for
    /// as long as the lock is kept.
    pub fn hold(&self, name: &str) -> Result<Lock> {
        self.note(format_args!("hold {name}"));
        take(self, name)
    }
}

/// Waits until nobody else of us holds what `name` stands for, at the longest
/// until the deadline. `name` is a file name.
fn take(view: &View, name: &str) -> Result<Lock> {
    file::trusted_dir(view.run_dir())?;
    take_file(view, &view.run_dir().join(format!("{name}.shared")), name)
}

/// The same with a file of the system's, under which other programs do what
/// `name` stands for.
pub(super) fn take_file(view: &View, path: &Path, name: &str) -> Result<Lock> {
    let file = file::open_lock(path)?;
    let mut pace = Pace::new();
    let mut is_handed_over = false;
    while !try_exclusive(&file).with_context(|| format!("cannot lock {}", path.display()))? {
        if view.deadline().has_passed() {
            bail!("another action is still at work on {name} ({} is held)", path.display());
        }
        is_handed_over = true;
        pace.rest(view.deadline());
    }
    Ok(Lock { _held: file, is_handed_over })
}

/// Locks the file, unless somebody else has: whether it did. Only the last
/// close of the open file undoes it.
pub(crate) fn try_exclusive(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(err)) if err.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(TryLockError::Error(err)) => Err(err),
    }
}
