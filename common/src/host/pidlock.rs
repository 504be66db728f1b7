//! A lock whose holder the kernel tells, in the place of a pid file: it is let
//! go however the holder ends, so that the process number is never stale.

use super::clock::{Deadline, Pace};
use super::file;
use super::pidfd::PidFd;
use super::system::{System, View};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use std::fs::File;
use std::path::PathBuf;

/// Held until it is dropped or the process ends.
#[derive(Debug)]
pub struct PidLock {
    _file: File,
}

fn path(view: &View, name: &str) -> PathBuf {
    view.run_dir().join(name)
}

/// The process that holds the name, if any does.
pub fn holder(view: &View, name: &str) -> Option<i32> {
    let path = path(view, name);
    if !path.exists() {
        return None;
    }
    holder_of(&file::open_lock(&path).ok()?)
}

fn holder_of(file: &File) -> Option<i32> {
    held(file).ok()?.map(|found| found.l_pid).filter(|pid| *pid > 0)
}

/// The lock that is in the way of ours.
fn held(file: &File) -> nix::Result<Option<libc::flock>> {
    let mut found = whole(libc::F_WRLCK);
    fcntl(file, FcntlArg::F_GETLK(&mut found))?;
    Ok((i32::from(found.l_type) != libc::F_UNLCK).then_some(found))
}

/// Whether anybody holds a lock of this kind on the file. Its process may be one
/// whose number means nothing here.
pub(super) fn is_held(file: &File) -> Result<bool> {
    Ok(held(file)?.is_some())
}

/// Takes the name, unless another process holds it.
pub fn take(system: &System<'_>, name: &str) -> Result<Option<PidLock>> {
    file::trusted_dir(system.run_dir())?;
    let file = file::open_lock(&path(system, name))?;
    let taken = try_lock(&file)?;
    system.note(format_args!("lock {name} = {taken}"));
    Ok(taken.then_some(PidLock { _file: file }))
}

/// Takes the name from whoever holds it, who is killed if it is a background
/// part of ours. Once this returns, the holder runs no instruction any more.
pub fn take_over(system: &System<'_>, name: &str, deadline: Deadline) -> Result<PidLock> {
    file::trusted_dir(system.run_dir())?;
    let file = file::open_lock(&path(system, name))?;
    let mut pace = Pace::new();
    loop {
        if try_lock(&file)? {
            return Ok(PidLock { _file: file });
        }
        let holder = holder_of(&file);
        if let Some(pid) = holder {
            end(system, &file, pid)?;
        }
        if deadline.has_passed() {
            bail!("process {} does not let go of {name}", holder.unwrap_or(0));
        }
        pace.rest(deadline);
    }
}

/// Kills the process if it is the holder and a background part of ours.
fn end(system: &System<'_>, file: &File, pid: i32) -> Result<()> {
    let process = match PidFd::open(pid) {
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        opened => opened.with_context(|| format!("cannot open process {pid}"))?,
    };
    let command = system.read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_background = command.split('\0').nth(1) == Some("--background");
    // Looked up again now that the number cannot pass to another process.
    if is_background && holder_of(file) == Some(pid) {
        process.signal(Signal::SIGKILL).with_context(|| format!("cannot end process {pid}"))?;
        system.note(format_args!("killed process {pid}"));
    }
    Ok(())
}

fn try_lock(file: &File) -> Result<bool> {
    match fcntl(file, FcntlArg::F_SETLK(&whole(libc::F_WRLCK))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(err) => Err(err.into()),
    }
}

/// A lock of this kind on all of a file.
pub(super) fn whole(kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn nobody_holds_a_name_that_nobody_took() {
        let dir = tempfile::tempdir().unwrap();
        let view = View::below(dir.path(), Deadline::after(Duration::from_secs(1)));
        assert_eq!(holder(&view, "name"), None);
        let taken = view.with_write_access(|system| take(system, "name")).unwrap();
        assert!(taken.is_some());
        // The kernel does not count our own lock against us.
        assert_eq!(holder(&view, "name"), None);
    }

    #[test]
    fn who_is_no_background_part_is_waited_for_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let view = View::below(dir.path(), Deadline::after(Duration::from_secs(1)));
        file::trusted_dir(view.run_dir()).unwrap();
        let stranger = file::open_lock(&path(&view, "name")).unwrap();
        // Not of a process, and so in the way of ours as well.
        fcntl(&stranger, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))).unwrap();
        let take_over = |limit| {
            let deadline = Deadline::after(Duration::from_millis(limit));
            view.with_write_access(|system| take_over(system, "name", deadline))
        };
        assert!(take_over(20).unwrap_err().to_string().contains("does not let go"));
        drop(stranger);
        assert!(take_over(1000).is_ok());
    }
}
