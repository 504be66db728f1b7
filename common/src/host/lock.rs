//! Locks on what several instances share: a volume group, a table of rules.

use crate::host::clock::Pace;
use crate::host::file;
use crate::host::system::View;
use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;

/// Held as long as this value; the kernel lets go of it however the process
/// ends.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

/// Waits until nobody else of us holds what `name` stands for, at the longest
/// until the deadline. `name` is a file name.
pub(super) fn take(view: &View, name: &str) -> Result<Lock> {
    file::trusted_dir(view.run_dir())?;
    let path = view.run_dir().join(format!("{name}.shared"));
    let mut file = file::open_lock(&path)?;
    let mut pace = Pace::new();
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(Lock { _held: held }),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, err)) => bail!("cannot lock {}: {}", path.display(), err.desc()),
        };
        if view.deadline().has_passed() {
            bail!("another action is still at work on {name} ({} is held)", path.display());
        }
        pace.rest(view.deadline());
    }
}
