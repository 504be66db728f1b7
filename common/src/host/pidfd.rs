//! A process that cannot be mistaken for a later one with the same number.

use crate::host::clock::Deadline;
use crate::host::process::Process;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// How often to look where the kernel cannot be asked to tell.
const GLANCE: Duration = Duration::from_millis(10);

/// Refers to one process, also after it has ended.
#[derive(Debug)]
pub struct PidFd {
    pid: Pid,
    handle: Handle,
}

#[derive(Debug)]
enum Handle {
    /// Readable once the process has ended.
    Own(OwnedFd),
    /// Its directory in /proc, which stays empty once the process is gone,
    /// whoever has its number then: all there is before Linux 5.3.
    Directory(OwnedFd),
    /// One of our children before Linux 5.3. Nobody else is given its number
    /// before we have waited for it.
    Child,
}

impl PidFd {
    /// The process that has this number now; ESRCH if none has.
    pub fn open(pid: i32) -> io::Result<Self> {
        let handle = match own(pid) {
            Err(err) if err.raw_os_error() == Some(libc::ENOSYS) => directory(pid)?,
            opened => Handle::Own(opened?),
        };
        Ok(Self { pid: Pid::from_raw(pid), handle })
    }

    /// A child that has not been waited for yet.
    pub(crate) fn of_child(pid: i32) -> io::Result<Self> {
        let handle = match own(pid) {
            Err(err) if err.raw_os_error() == Some(libc::ENOSYS) => Handle::Child,
            opened => Handle::Own(opened?),
        };
        Ok(Self { pid: Pid::from_raw(pid), handle })
    }

    /// Sends the signal; a process that has ended already is no error.
    #[allow(unsafe_code)]
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let fd = match &self.handle {
            Handle::Own(fd) | Handle::Directory(fd) => fd,
            Handle::Child => return Ok(kill(self.pid, signal)?),
        };
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: without an info block the call touches no memory of ours.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal as i32, no_info, 0)
        };
        let sent = if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        let sent = match sent {
            // Before Linux 5.1 there are only numbers. This one is still that
            // of the process a moment before it is used.
            Err(err) if err.raw_os_error() == Some(libc::ENOSYS) => match self.has_ended() {
                true => Ok(()),
                false => kill(self.pid, signal).map_err(io::Error::from),
            },
            sent => sent,
        };
        match sent {
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => sent,
        }
    }

    /// Whether the process has ended, though its parent may not have looked.
    pub fn has_ended(&self) -> bool {
        match &self.handle {
            Handle::Own(fd) => {
                let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::ZERO) == Ok(1)
            }
            Handle::Directory(fd) => process(fd).is_none_or(|process| process.is_zombie),
            Handle::Child => {
                let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
                !matches!(waitid(Id::Pid(self.pid), flags), Ok(WaitStatus::StillAlive))
            }
        }
    }

    /// What becomes readable when the process ends, if the kernel has such a
    /// thing.
    pub(crate) fn signals_end(&self) -> Option<BorrowedFd<'_>> {
        match &self.handle {
            Handle::Own(fd) => Some(fd.as_fd()),
            Handle::Directory(_) | Handle::Child => None,
        }
    }

    /// How long to wait for something else before the next look whether it has
    /// ended, if at all.
    pub(crate) fn patience(&self, deadline: Deadline) -> PollTimeout {
        let left = match &self.handle {
            Handle::Own(_) => deadline.left(),
            Handle::Directory(_) | Handle::Child => deadline.left().min(GLANCE),
        };
        // Zero would be no wait at all, as long as something is left.
        let left = if left.is_zero() { left } else { left.max(Duration::from_millis(1)) };
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }
}

/// Waits until all of them have ended or the time is over.
pub fn await_end(processes: &[PidFd], deadline: Deadline) {
    loop {
        let left: Vec<&PidFd> = processes.iter().filter(|process| !process.has_ended()).collect();
        let Some(first) = left.first() else { return };
        if deadline.has_passed() {
            return;
        }
        let ends = left.iter().filter_map(|process| process.signals_end());
        let mut fds: Vec<PollFd<'_>> =
            ends.map(|end| PollFd::new(end, PollFlags::POLLIN)).collect();
        let _ = poll(&mut fds, first.patience(deadline));
    }
}

/// The same of processes that were found.
pub fn await_processes<'p>(processes: impl Iterator<Item = &'p Process>, deadline: Deadline) {
    let handles = processes.filter_map(|process| PidFd::open(process.pid).ok());
    await_end(&handles.collect::<Vec<_>>(), deadline);
}

#[allow(unsafe_code)]
fn own(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn directory(pid: i32) -> io::Result<Handle> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match open(format!("/proc/{pid}").as_str(), flags, Mode::empty()) {
        Err(nix::errno::Errno::ENOENT) => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        opened => Ok(Handle::Directory(opened?)),
    }
}

/// The process of this directory; none once it is gone.
fn process(directory: &OwnedFd) -> Option<Process> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let stat = nix::fcntl::openat(directory, "stat", flags, Mode::empty()).ok()?;
    let mut text = Vec::new();
    File::from(stat).read_to_end(&mut text).ok()?;
    Process::parse(&String::from_utf8_lossy(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::time::Instant;

    fn sleeping() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    fn handles(pid: u32) -> [PidFd; 3] {
        let number = Pid::from_raw(pid.cast_signed());
        let old = |handle| PidFd { pid: number, handle };
        let directory = directory(pid.cast_signed()).unwrap();
        [PidFd::open(pid.cast_signed()).unwrap(), old(directory), old(Handle::Child)]
    }

    #[test]
    fn the_end_of_a_process_is_seen_with_and_without_its_own_descriptor() {
        for place in 0..3 {
            let mut child = sleeping();
            let handle = handles(child.id()).into_iter().nth(place).unwrap();
            assert!(!handle.has_ended());
            handle.signal(Signal::SIGKILL).unwrap();
            let begun = Instant::now();
            await_end(&[handle], Deadline::after(Duration::from_secs(20)));
            assert!(begun.elapsed() < Duration::from_secs(10));
            child.wait().unwrap();
        }
    }

    #[test]
    fn one_that_is_gone_is_signalled_without_an_error() {
        let mut child = sleeping();
        let handles = handles(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        // A child is asked for until it has been waited for, and not after.
        for handle in handles.into_iter().take(2) {
            assert!(handle.has_ended());
            handle.signal(Signal::SIGTERM).unwrap();
        }
    }

    #[test]
    fn a_number_that_nobody_has_is_no_process() {
        let gone = |result: io::Result<Handle>| result.err().and_then(|err| err.raw_os_error());
        assert_eq!(gone(directory(i32::MAX)), Some(libc::ESRCH));
    }
}
