//! A daemon's socket: connecting to it and talking over it, in bounded time.

use crate::host::clock::{Deadline, Pace};
use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A daemon that takes no connections any more, since it stands still, lets its
/// callers queue, and then wait: those of a socket that may not wait are told
/// to come again.
pub(super) fn connect(path: &Path, limit: Deadline) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = UnixAddr::new(path)?;
    let mut pace = Pace::new();
    loop {
        match socket::connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::EAGAIN) if !limit.has_passed() => pace.rest(limit),
            Err(Errno::EINTR) => {}
            Err(err) => return Err(err),
        }
    }
}

/// Says it, and returns all that is said until the daemon hangs up. An error to
/// connect is the system's own.
pub(super) fn exchange(path: &Path, mut words: &[u8], limit: Deadline) -> Result<Vec<u8>> {
    let socket = connect(path, limit)?;
    while !words.is_empty() {
        match socket::send(socket.as_raw_fd(), words, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => words = &words[count..],
            Err(Errno::EAGAIN) => wait(socket.as_fd(), PollFlags::POLLOUT, limit)?,
            Err(Errno::EINTR) => {}
            // What it has to say against it is read all the same.
            Err(Errno::EPIPE | Errno::ECONNRESET) => break,
            Err(err) => return Err(err.into()),
        }
    }
    let mut answer = Vec::new();
    let mut room = [0; 16 << 10];
    loop {
        match socket::recv(socket.as_raw_fd(), &mut room, MsgFlags::empty()) {
            Ok(0) | Err(Errno::ECONNRESET) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&room[..count]),
            Err(Errno::EAGAIN) => wait(socket.as_fd(), PollFlags::POLLIN, limit)?,
            Err(Errno::EINTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

/// Waits for one of these.
pub(super) fn wait(line: BorrowedFd<'_>, what: PollFlags, limit: Deadline) -> Result<()> {
    let left = limit.left_ms();
    ensure!(left > 0, "nothing comes before the deadline");
    let mut fds = [PollFd::new(line, what)];
    match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(err) => Err(err.into()),
    }
}
