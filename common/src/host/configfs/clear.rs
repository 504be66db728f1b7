//! Taking many objects apart at once.
//!
//! Before the kernel lets go of a link it waits until nobody can be looking at
//! what it led to, and for what is under way there. That is a few hundredths of
//! a second for a disk that is idle, which for hundreds of them in a row is
//! longer than a stop may take, and for one that does not answer it has no end.
//! So each is taken apart by a process of its own, many at a time, and one that
//! hangs does not keep the others.

use super::{act, patiently};
use crate::host::clock::{Deadline, Pace};
use crate::host::system::System;
use crate::host::{child, process};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// So many are under way at a time.
const AT_ONCE: usize = 32;

/// Removes the objects below this one whose names begin so, with the links in
/// them.
pub fn clear(system: &System<'_>, place: &str, beginning: &str) -> Result<()> {
    let names = super::list(system, place)?.unwrap_or_default();
    if !names.iter().any(|name| name.starts_with(beginning)) {
        return Ok(());
    }
    if !system.is_real() {
        let ours = names.iter().filter(|name| name.starts_with(beginning));
        let mut objects = ours.map(|name| system.path(format!("{place}/{name}")));
        return objects.try_for_each(|object| Ok(take_apart(&object)?));
    }
    patiently(system, &format!("remove {place}/{beginning}*"), || {
        // The rest is for what the child has to say.
        let millis = (system.deadline().left() * 7 / 8).as_millis().to_string();
        act(system, &["clear", place, beginning, &millis])
    })
}

/// In the child. It ends before whoever waits for it does, so that it can say
/// which of them are not gone; the processes that are at them go on, as long as
/// the kernel holds them, and are known by the lock and the mark that they have
/// from here.
pub(super) fn all(words: &[OsString]) -> Result<()> {
    let [place, beginning, millis] = child::take(words)?;
    let (place, beginning) = (Path::new(place), beginning.to_string_lossy());
    let millis = millis.to_str().and_then(|text| text.parse().ok()).context("how long?")?;
    let end = Deadline::after(Duration::from_millis(millis));
    let mut names = Vec::new();
    for entry in fs::read_dir(place)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(&*beginning) {
            names.push(name);
        }
    }
    let (mut at_work, mut failed) = (Vec::new(), None);
    let mut pace = Pace::new();
    while !(names.is_empty() && at_work.is_empty()) {
        while at_work.len() < AT_ONCE
            && let Some(name) = names.pop()
        {
            at_work.push((begin(&place.join(&name))?, name));
        }
        let before = at_work.len();
        at_work.retain(|(pid, name)| match waitpid(*pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => true,
            Ok(WaitStatus::Exited(_, 0)) => false,
            Ok(WaitStatus::Exited(_, code)) => {
                failed = Some((name.clone(), Errno::from_raw(code)));
                false
            }
            other => {
                failed = Some((format!("{name}: {other:?}"), Errno::EINTR));
                false
            }
        });
        if end.has_passed() && !at_work.is_empty() {
            bail!("{}", unfinished(&at_work, names.len()));
        }
        if at_work.len() < before {
            pace = Pace::new();
        } else {
            pace.rest(end);
        }
    }
    match failed {
        Some((name, errno)) => Err(io::Error::from(errno)).context(name),
        None => Ok(()),
    }
}

/// What is not gone when the time is over.
fn unfinished(at_work: &[(Pid, String)], rest: usize) -> String {
    const SHOWN: usize = 4;
    let one = |(pid, name): &(Pid, String)| match process::stuck_at(pid.as_raw()) {
        Some(place) => format!("{name} (pid {pid}, stuck in {place})"),
        None => format!("{name} (pid {pid})"),
    };
    let shown: Vec<String> = at_work.iter().take(SHOWN).map(one).collect();
    let more = at_work.len() + rest - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("not gone in time: {}{more}", shown.join(", "))
}

/// Has a process of its own take the object apart.
#[allow(unsafe_code)]
fn begin(object: &Path) -> Result<Pid> {
    // SAFETY: this process has one thread, so the other finds nothing locked.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let errno = take_apart(object).err().map(|err| err.raw_os_error());
            let code = errno.map_or(0, |errno| errno.unwrap_or(libc::EIO));
            // SAFETY: nothing is left to be done that belongs to the parent.
            unsafe { libc::_exit(code) }
        }
    }
}

fn take_apart(object: &Path) -> io::Result<()> {
    let unless_gone = |done: io::Result<()>| match done {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    };
    let entries = match fs::read_dir(object) {
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            unless_gone(fs::remove_file(entry.path()))?;
        }
    }
    unless_gone(fs::remove_dir(object))
}
