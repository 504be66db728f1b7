//! statx(2): which mount and which device a path lies on, without a question to
//! the file system unless one is wanted.

use crate::host::device_number::Number;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The number, as the table has it, of the mount that the path lies on. Links
/// are followed, also those of /proc that lead to what a process holds open.
pub fn id_of(path: &Path) -> io::Result<u64> {
    match statx_at(libc::AT_FDCWD, path, 0, libc::STATX_MNT_ID) {
        Ok(found) if found.stx_mask & libc::STATX_MNT_ID != 0 => return Ok(found.stx_mnt_id),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    // Before Linux 5.8 the kernel tells it of what is open alone.
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    id_of_open(file.as_fd())
}

/// The same for something that is open.
pub(crate) fn id_of_open(file: BorrowedFd<'_>) -> io::Result<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// The device that what is open, or the directory that is worked in, lies on,
/// and its mount, by a link of /proc. The file system is not asked.
pub fn device_of(link: &Path) -> io::Result<Number> {
    let found = statx_at(libc::AT_FDCWD, link, 0, libc::STATX_TYPE)?;
    Ok(Number { major: found.stx_dev_major, minor: found.stx_dev_minor })
}

/// Has the file system's root directory looked up where it is kept, and not
/// where it is remembered. May take for ever.
pub(crate) fn ask_for_real(path: &Path) -> io::Result<()> {
    let flags = libc::AT_STATX_FORCE_SYNC | libc::AT_NO_AUTOMOUNT;
    statx(libc::AT_FDCWD, path, flags, libc::STATX_BASIC_STATS).map(drop)
}

/// What the file system remembers of the path, which begins at `from`.
pub(crate) fn statx_at(
    from: i32,
    path: &Path,
    flags: i32,
    mask: libc::c_uint,
) -> io::Result<libc::statx> {
    statx(from, path, flags | libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT, mask)
}

#[allow(unsafe_code)]
fn statx(from: i32, path: &Path, flags: i32, mask: libc::c_uint) -> io::Result<libc::statx> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with a NUL, the buffer is plain data of the size
    // that the kernel writes, and both outlive the call.
    unsafe {
        let mut found: libc::statx = std::mem::zeroed();
        match libc::statx(from, path.as_ptr(), flags, mask, &raw mut found) {
            0 => Ok(found),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_mount_is_told_of_a_path_as_of_a_file() {
        let open = std::fs::File::open("/proc/self/stat").unwrap();
        let number = id_of_open(open.as_fd()).unwrap();
        assert_eq!(id_of(Path::new("/proc/self/stat")).unwrap(), number);
        assert_eq!(id_of(Path::new("/proc")).unwrap(), number);
    }
}
