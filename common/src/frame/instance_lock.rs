//! One change at a time for each instance.
//!
//! The lock is an flock, and nobody ever unlocks it: it belongs to the open
//! file, which children that change the machine keep, and the kernel lets go
//! of it when the last of them has ended. An action that ends at its deadline
//! while its child is stuck in the kernel so leaves the instance locked.

use crate::host::clock::{Deadline, Pace};
use crate::host::stuck;
use crate::host::system::View;
use crate::host::{file, lock};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Held while an action changes the machine.
#[derive(Debug)]
pub(crate) struct InstanceLock {
    _held: Rc<File>,
}

/// The name of an instance's files, and of whom programs work for.
pub(crate) fn owner(agent: &str, instance: &str) -> String {
    format!("{agent}-{instance}")
}

fn path(view: &View, owner: &str) -> PathBuf {
    view.run_dir().join(format!("{owner}.lock"))
}

impl InstanceLock {
    /// Waits for the lock until `deadline`.
    pub(crate) fn take(view: &View, owner: &str, deadline: Deadline) -> Result<Self> {
        file::trusted_dir(view.run_dir())?;
        let path = path(view, owner);
        let file = Rc::new(file::open_lock(&path)?);
        let mut pace = Pace::new();
        while !lock::try_exclusive(&file)
            .with_context(|| format!("cannot lock {}", path.display()))?
        {
            if deadline.has_passed() {
                bail!("{}", held(view, owner));
            }
            pace.rest(deadline);
        }
        view.share_lock(&file);
        Ok(Self { _held: file })
    }
}

/// That another action is under way, and which process is at it.
fn held(view: &View, owner: &str) -> String {
    let path = path(view, owner);
    let keepers = stuck::keepers(view, &path);
    let who = match keepers.is_empty() {
        true => format!("{} is held", path.display()),
        false => stuck::shown(view, &keepers),
    };
    format!("another action on it is still under way: {who}")
}

/// Lets a change that is under way finish before a look, within reason. What
/// is returned is why it has not.
///
/// The lock is not kept: a look that hangs must never be in the way of a stop.
pub(crate) fn let_finish(view: &View, owner: &str) -> Option<String> {
    /// A monitor that came in the middle of a change waits this long.
    const PATIENCE: Duration = Duration::from_secs(2);
    let path = path(view, owner);
    if !path.exists() {
        return None;
    }
    let file = match file::open_lock(&path) {
        Ok(file) => file,
        Err(err) => return Some(format!("{err:#}")),
    };
    let deadline = view.deadline().at_most(PATIENCE.min(view.deadline().left() / 4));
    let mut pace = Pace::new();
    loop {
        match file.try_lock_shared() {
            Ok(()) => return None,
            Err(std::fs::TryLockError::Error(err)) => {
                return Some(format!("cannot lock {}: {err}", path.display()));
            }
            Err(std::fs::TryLockError::WouldBlock) if deadline.has_passed() => {
                return Some(held(view, owner));
            }
            Err(std::fs::TryLockError::WouldBlock) => pace.rest(deadline),
        }
    }
}
