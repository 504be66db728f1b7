//! One change at a time for each instance.

use crate::host::clock::{Deadline, Pace};
use crate::host::file;
use crate::host::system::View;
use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Held while an action changes the machine; the kernel lets go of it however
/// the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Rc<Flock<File>>,
}

fn path(view: &View, agent: &str, instance: &str) -> PathBuf {
    view.run_dir().join(format!("{agent}-{instance}.lock"))
}

impl Lock {
    /// Waits for the lock until `deadline`.
    pub(crate) fn take(
        view: &View,
        agent: &str,
        instance: &str,
        deadline: Deadline,
    ) -> Result<Self> {
        file::trusted_dir(view.run_dir())?;
        let path = path(view, agent, instance);
        let mut file = file::open_lock(&path)?;
        let mut pace = Pace::new();
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => {
                    let held = Rc::new(held);
                    view.share_lock(&held);
                    return Ok(Self { _held: held });
                }
                Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
                Err((_, err)) => bail!("cannot lock {}: {}", path.display(), err.desc()),
            };
            if deadline.has_passed() {
                bail!(
                    "another action on {instance} is still under way ({} is held)",
                    path.display()
                );
            }
            pace.rest(deadline);
        }
    }
}

/// Lets a change that is under way finish before a look, within reason.
///
/// The lock is not kept: a look that hangs must never be in the way of a stop.
pub(crate) fn let_finish(view: &View, agent: &str, instance: &str) {
    /// A monitor that came in the middle of a change waits this long.
    const PATIENCE: Duration = Duration::from_secs(2);
    let path = path(view, agent, instance);
    if !path.exists() {
        return;
    }
    let Ok(mut file) = file::open_lock(&path) else { return };
    let deadline = view.deadline().at_most(PATIENCE.min(view.deadline().left() / 4));
    let mut pace = Pace::new();
    while !deadline.has_passed() {
        file = match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => return,
            Err((file, _)) => file,
        };
        pace.rest(deadline);
    }
}
