//! Network namespaces by the names that `ip netns` gives them.

use super::absence::Absent;
use super::system::View;
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

/// Where the names lie.
const NAMES: &str = "/run/netns";

/// Whether this process looks from within a namespace now.
#[derive(Clone, Debug)]
pub enum Entered {
    /// It does.
    Inside,
    /// There is none of this name.
    Absent(Absent),
}

/// Moves this thread, and what it starts from now on, into the namespace, if
/// there is one of this name.
///
/// Nothing on the machine changes by it, only where this process looks.
pub fn enter(view: &View, name: &str) -> Result<Entered> {
    let nowhere = || Entered::Absent(Absent::seen(format!("no network namespace {name}")));
    let path = view.path(NAMES).join(name);
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(&path);
    let file = match opened {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            view.note(format_args!("network namespace {name} is not there"));
            return Ok(nowhere());
        }
        opened => opened.with_context(|| format!("cannot open {}", path.display()))?,
    };
    let entered = setns(file, CloneFlags::CLONE_NEWNET);
    view.note(format_args!("enter network namespace {name} = {entered:?}"));
    match entered {
        // A file that something has left behind where a namespace was mounted.
        Err(nix::errno::Errno::EINVAL) => Ok(nowhere()),
        entered => entered
            .map(|()| Entered::Inside)
            .with_context(|| format!("cannot enter the network namespace {name}")),
    }
}
