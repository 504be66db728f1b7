//! Unmounting and moving.

use crate::host::clock::Deadline;
use crate::host::lookup::{self, Links};
use crate::host::mount::table::unescaped;
use crate::host::system::{System, View};
use crate::host::{beneath, child};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::fchdir;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::path::Path;

/// How hard to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// As long as nobody uses it.
    No,
    /// Also with requests to a server under way, which fail then.
    Yes,
}

/// What has become of it.
#[derive(Debug)]
pub enum Unmounted {
    /// It is gone.
    Done,
    /// Somebody uses it.
    Busy,
}

/// Unmounts what is uppermost on the directory.
pub fn unmount(
    system: &System<'_>,
    directory: &Path,
    force: Force,
    deadline: Deadline,
) -> Result<Unmounted> {
    let forced = if force == Force::Yes { "force" } else { "" };
    let done = if is_recorded(system, directory) {
        through_program(system, directory, force)
    } else {
        child::run(system, "unmount", &[directory.as_os_str(), OsStr::new(forced)], deadline)
    };
    match done {
        Ok(()) => Ok(Unmounted::Done),
        Err(err) => match child::errno(&err) {
            Some(Errno::EBUSY) => Ok(Unmounted::Busy),
            Some(_) => Err(err),
            None => Err(match lookup::look(system, directory, Links::Shown) {
                Err(silence) if lookup::is_silence(&silence) => err.context(silence),
                _ => err,
            }),
        },
    }
}

/// Moves the mount from one directory to another.
pub fn shift(system: &System<'_>, from: &Path, to: &Path) -> Result<()> {
    child::run(system, "move", &[from, to], system.deadline())
}

/// Whether mount(8) keeps a record of the mount: of a helper to be called, or
/// of options that the kernel does not know.
fn is_recorded(view: &View, directory: &Path) -> bool {
    let records = view.read("/run/mount/utab").unwrap_or_default();
    let targets = records.split_whitespace().filter_map(|field| field.strip_prefix("TARGET="));
    targets.map(unescaped).any(|target| target == directory)
}

fn through_program(system: &System<'_>, directory: &Path, force: Force) -> Result<()> {
    let mut args = vec![directory.as_os_str()];
    if force == Force::Yes {
        args.insert(0, OsStr::new("-f"));
    }
    let output = system.change("umount", &args)?;
    match output.reason() {
        _ if output.success() => Ok(()),
        reason if reason.contains("busy") => Err(child::busy(reason)),
        reason => anyhow::bail!("{reason}"),
    }
}

/// In the child.
pub(crate) fn unmount_in_child(words: &[OsString]) -> Result<()> {
    let [directory, force] = child::take(words)?;
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    if force == "force" {
        flags |= MntFlags::MNT_FORCE;
    }
    let directory = Path::new(directory);
    // From where it lies: with the directory itself open it would be busy.
    let (Some(above), Some(name)) = (directory.parent(), directory.file_name()) else {
        bail!("{} is no mount to be unmounted", directory.display());
    };
    fchdir(beneath::exactly(above)?)?;
    umount2(Path::new(name), flags).context("the kernel refuses")
}

/// In the child.
pub(crate) fn shift_in_child(words: &[OsString]) -> Result<()> {
    let [from, to] = child::take(words)?;
    let nothing = None::<&Path>;
    let target = beneath::exactly(Path::new(to))?;
    let target = format!("/proc/self/fd/{}", target.as_raw_fd());
    mount(Some(Path::new(from)), Path::new(&target), nothing, MsFlags::MS_MOVE, nothing)
        .context("the kernel refuses")
}
