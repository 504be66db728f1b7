//! Connecting to a daemon's socket, in bounded time.

use crate::host::clock::{Deadline, Pace};
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use std::os::fd::{AsRawFd, OwnedFd};
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
