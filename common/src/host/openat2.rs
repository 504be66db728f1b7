//! openat2(2), Linux 5.6: opening a path under conditions that the kernel keeps
//! while it walks it.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Opens the path, which begins at `from`, under the conditions of `resolve`
/// (`RESOLVE_...`). What is made is its owner's alone.
#[allow(unsafe_code)]
pub(crate) fn open(from: RawFd, path: &Path, flags: OFlag, resolve: u64) -> Result<OwnedFd, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: all-zero is a valid value of this plain struct; the kernel is
    // told its size, and it and the path outlive the call. The descriptor
    // returned is ours.
    unsafe {
        let mut how: libc::open_how = std::mem::zeroed();
        how.flags = (flags | OFlag::O_CLOEXEC).bits() as u64;
        how.mode = if flags.contains(OFlag::O_CREAT) { 0o600 } else { 0 };
        how.resolve = resolve;
        let size = size_of::<libc::open_how>();
        let fd = libc::syscall(libc::SYS_openat2, from, path.as_ptr(), &raw const how, size);
        Errno::result(fd).map(|fd| OwnedFd::from_raw_fd(fd as i32))
    }
}

/// The path, opened for nothing but to be asked about, where the kernel has all
/// of it in its cache and no file system has to be asked. Linux 5.12.
pub(crate) fn cached(path: &Path) -> Option<OwnedFd> {
    open(libc::AT_FDCWD, path, OFlag::O_PATH, libc::RESOLVE_CACHED).ok()
}

/// The same for a file to be read, whose times are left as they are: to change
/// them, its file system would be asked. That there is none may be known too.
pub(crate) fn cached_to_read(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOATIME | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    open(libc::AT_FDCWD, path, flags, libc::RESOLVE_CACHED)
}
