//! Reading a file that may lie on a file system whose disk or server is gone.
//!
//! The kernel is first asked for what it has in memory, which is where a file
//! that is in use nearly always is: then nobody is waited for, no process is
//! started, and the mount table, of which a machine may have thousands of lines,
//! is not read. What lies in memory or on the root's file system is read there
//! or the machine is gone; all else is read by a child, until a deadline.

use crate::host::statx::statx_at;
use crate::host::system::View;
use crate::host::{child, io_test, lookup, openat2};
use anyhow::{Context, Result};
use nix::errno::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// Has `take` read the file from its begin; none where there is no such file.
/// Where the kernel has only a part of it in memory, `take` begins again.
pub(crate) fn read<T>(
    view: &View,
    path: &Path,
    take: impl Fn(&mut dyn Read) -> Result<T>,
) -> Result<Option<T>> {
    let failed = || format!("cannot read {}", path.display());
    if view.is_real() {
        match Cached::open(path) {
            Err(Errno::ENOENT) => return Ok(None),
            Err(_) => {}
            Ok(mut cached) => match take(&mut cached) {
                Err(err) if is_elsewhere(&err) => {
                    if lookup::is_at_hand(cached.file.as_fd()) {
                        return take(&mut cached.file).map(Some);
                    }
                }
                taken => return taken.map(Some),
            },
        }
        if lookup::may_be_silent(view, path).with_context(failed)? {
            return match io_test::text(view, path, view.patience()) {
                Err(err) if child::errno(&err) == Some(Errno::ENOENT) => Ok(None),
                text => take(&mut text.with_context(failed)?.as_bytes()).map(Some),
            };
        }
    }
    match File::open(view.path(path)) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => take(&mut opened.with_context(failed)?).map(Some),
    }
}

/// The text of the file, whole; none where there is no such file.
pub fn text(view: &View, path: &Path) -> Result<Option<String>> {
    read(view, path, |file| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// The names in a directory, sorted, but for `.` and `..`.
pub fn names(view: &View, directory: &Path) -> Result<Vec<String>> {
    let failed = || format!("cannot list {}", directory.display());
    if !view.is_real() || !lookup::may_be_silent(view, directory).with_context(failed)? {
        return view.list(directory).with_context(failed);
    }
    let told = child::ask(view, "names", &[directory], view.patience()).with_context(failed)?;
    let mut names: Vec<String> = told.split_terminator(SEPARATOR).map(str::to_owned).collect();
    names.sort_unstable();
    Ok(names)
}

/// What no name has in it.
const SEPARATOR: char = '/';

/// In the child.
pub(crate) fn names_in_child(words: &[OsString]) -> Result<()> {
    let [directory] = child::take(words)?;
    let mut told = String::new();
    for entry in std::fs::read_dir(directory)? {
        told += &entry?.file_name().to_string_lossy();
        told.push(SEPARATOR);
    }
    io::stdout().write_all(told.as_bytes()).context("nobody takes it")
}

/// A file as far as the kernel has it in memory.
struct Cached {
    file: File,
    at: u64,
}

impl Cached {
    /// EAGAIN where somebody has to be asked for the file, and EINVAL where it is
    /// none.
    fn open(path: &Path) -> nix::Result<Self> {
        let file = File::from(openat2::cached_to_read(path)?);
        let found =
            statx_at(file.as_raw_fd(), Path::new(""), libc::AT_EMPTY_PATH, libc::STATX_TYPE);
        let is_file =
            found.is_ok_and(|found| found.stx_mode as u32 & libc::S_IFMT == libc::S_IFREG);
        is_file.then_some(Self { file, at: 0 }).ok_or(Errno::EINVAL)
    }
}

impl Read for Cached {
    #[allow(unsafe_code)]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let at = i64::try_from(self.at).map_err(io::Error::other)?;
        // SAFETY: the one piece is as long as is told, and outlives the call.
        let read = unsafe {
            libc::preadv2(self.file.as_raw_fd(), &raw const piece, 1, at, libc::RWF_NOWAIT)
        };
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Whether an error says that not all of a file is in memory, or that its file
/// system cannot tell.
fn is_elsewhere(err: &anyhow::Error) -> bool {
    let code = err.chain().find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    matches!(code, Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(mut file: impl Read) -> Result<String> {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn what_the_kernel_has_in_memory_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let written = "x".repeat(100_000);
        std::fs::write(&path, &written).unwrap();
        if let Ok(cached) = Cached::open(&path) {
            match text(cached) {
                Ok(found) => assert_eq!(found, written),
                Err(err) => assert!(is_elsewhere(&err), "{err:#}"),
            }
        }
        assert!(Cached::open(dir.path()).is_err(), "a directory is no file");
    }

    #[test]
    fn a_file_is_read_or_is_not_there() {
        let machine = crate::testing::Files::new();
        machine.file("/etc/file", "one\n");
        let read = |path: &str| read(&machine.view(), Path::new(path), |file| text(file)).unwrap();
        assert_eq!(read("/etc/file").as_deref(), Some("one\n"));
        assert_eq!(read("/etc/none"), None);
    }
}
