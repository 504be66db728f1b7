//! Files below a directory that others can write to. Root that walks a path
//! there by its name can be led anywhere: by a link in the place of a
//! directory, by a second name of somebody else's file, by a mount.
//!
//! So each name is opened below the one before it, on the same mount and never
//! by way of a link, by `openat2` or, before Linux 5.6, by looking at what was
//! opened; and a file is looked at before it is opened for more than that.

use crate::host::{openat2, statx};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

/// A file below the directory, by the directories that lead to it.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// The trusted one first; one for each name.
    directories: Vec<OwnedFd>,
    names: Vec<&'a OsStr>,
}

/// Whether directories that are not there are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Made,
    Refused,
}

impl<'a> Place<'a> {
    /// Walks from a directory that only root has a say in, to the file.
    pub(crate) fn walk(root: &Path, below: &'a Path, missing: Missing) -> Result<Self> {
        let name = |part: Component<'a>| match part {
            Component::Normal(name) => Ok(name),
            _ => bail!("{} leads out of {}", below.display(), root.display()),
        };
        let names: Vec<&OsStr> = below.components().map(name).collect::<Result<_>>()?;
        let (_, above) = names.split_last().context("no name of a file")?;
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let trusted = OpenOptions::new().read(true).custom_flags(flags).open(root)?;
        let mut directories = vec![OwnedFd::from(trusted)];
        for name in above {
            let last = directories.last().context("no directory")?;
            let step = || open(last, name, OFlag::O_PATH | OFlag::O_DIRECTORY);
            let opened = match step() {
                Err(Errno::ENOENT) if missing == Missing::Made => {
                    match mkdirat(last, *name, Mode::from_bits_truncate(0o755)) {
                        Ok(()) | Err(Errno::EEXIST) => step(),
                        Err(err) => Err(err),
                    }
                }
                opened => opened,
            };
            let why = obstacle(&opened);
            directories.push(opened.with_context(|| format!("{} {why}", name.display()))?);
        }
        Ok(Self { directories, names })
    }

    /// The file, opened for reading and writing past the cache where that is
    /// possible, and emptied; made if it is not there.
    pub(crate) fn emptied(&self) -> Result<File> {
        let found = match self.look() {
            Err(Errno::ENOENT) => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
                open(self.last(), self.name(), flags)?;
                self.look()?
            }
            found => found?,
        };
        self.check(&fstat(&found)?)?;
        // What was looked at, and nothing that has taken its name since.
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        let reopen =
            |flags| OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
        let file = match reopen(libc::O_DIRECT) {
            Err(err) if err.raw_os_error() == Some(libc::EINVAL) => reopen(0)?,
            opened => opened?,
        };
        file.set_len(0)?;
        Ok(file)
    }

    /// The file, opened for writing and emptied; made if it is not there.
    pub(crate) fn overwritten(&self) -> Result<File> {
        match self.look() {
            Err(Errno::ENOENT) => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
                Ok(open(self.last(), self.name(), flags)?.into())
            }
            found => {
                let found = found?;
                self.check(&fstat(&found)?)?;
                // What was looked at, and nothing that has taken its name since.
                let path = format!("/proc/self/fd/{}", found.as_raw_fd());
                Ok(OpenOptions::new().write(true).truncate(true).open(path)?)
            }
        }
    }

    /// The file, opened for reading; none if it is not there.
    pub(crate) fn opened(&self) -> Result<Option<File>> {
        match self.look() {
            Err(Errno::ENOENT) => Ok(None),
            found => {
                let found = found?;
                self.check(&fstat(&found)?)?;
                let path = format!("/proc/self/fd/{}", found.as_raw_fd());
                Ok(Some(OpenOptions::new().read(true).open(path)?))
            }
        }
    }

    /// Removes the file, and the directory it lies in if nothing else is there.
    pub(crate) fn remove(&self) -> Result<()> {
        match self.look() {
            Err(Errno::ENOENT) => {}
            found => {
                self.check(&fstat(found?)?)?;
                unlinkat(self.last(), self.name(), UnlinkatFlags::NoRemoveDir)?;
            }
        }
        if let [.., above, _] = self.directories.as_slice()
            && let [.., directory, _] = self.names.as_slice()
        {
            // Other resources may have their files there.
            let _ = unlinkat(above, *directory, UnlinkatFlags::RemoveDir);
        }
        Ok(())
    }

    fn look(&self) -> nix::Result<OwnedFd> {
        open(self.last(), self.name(), OFlag::O_PATH)
    }

    fn check(&self, found: &FileStat) -> Result<()> {
        let name = self.name().display();
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        ensure!(kind == SFlag::S_IFREG, "{name} is no regular file; somebody has put it there");
        ensure!(found.st_nlink == 1, "{name} is one of several names of a file");
        Ok(())
    }

    fn last(&self) -> &OwnedFd {
        &self.directories[self.directories.len() - 1]
    }

    fn name(&self) -> &OsStr {
        self.names[self.names.len() - 1]
    }
}

/// Why a directory of this name is none to go on from.
fn obstacle<T>(opened: &nix::Result<T>) -> &'static str {
    match opened {
        Err(Errno::ENOTDIR | Errno::ELOOP) => "is a link or a file, wanted a directory",
        Err(Errno::EXDEV) => "is another mount",
        _ => "cannot be entered",
    }
}

/// Opens what has this name in the directory, on the same mount; a link itself.
fn open(directory: &OwnedFd, name: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match open_beneath(directory, name, flags) {
        Err(Errno::ENOSYS | Errno::EPERM) => open_and_compare(directory, name, flags),
        opened => opened,
    }
}

fn open_beneath(directory: &OwnedFd, name: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_XDEV;
    openat2::open(directory.as_raw_fd(), Path::new(name), flags, resolve)
}

/// The same before Linux 5.6. A single name leads nowhere but into the
/// directory, or onto what is mounted there.
fn open_and_compare(directory: &OwnedFd, name: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
    let opened = nix::fcntl::openat(directory, name, flags, Mode::from_bits_truncate(0o600))?;
    let mount = |fd: &OwnedFd| statx::id_of_open(fd.as_fd()).map_err(|_| Errno::EXDEV);
    if mount(&opened)? == mount(directory)? { Ok(opened) } else { Err(Errno::EXDEV) }
}

/// The directory that has this path, of which no part is a link: whoever can
/// write above it may have put one there since the path was found.
pub(crate) fn exactly(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let found = OwnedFd::from(OpenOptions::new().read(true).custom_flags(flags).open(path)?);
    let led_to = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    if led_to != path {
        let text = format!("{} leads to {}", path.display(), led_to.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn opened(root: &Path, name: &str) -> [nix::Result<OwnedFd>; 2] {
        let root = OwnedFd::from(File::open(root).unwrap());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let name = OsStr::new(name);
        [open_beneath(&root, name, flags), open_and_compare(&root, name, flags)]
    }

    #[test]
    fn older_kernels_refuse_the_same() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("dir")).unwrap();
        symlink("dir", root.path().join("link")).unwrap();
        assert!(opened(root.path(), "dir").iter().all(Result::is_ok));
        for refused in opened(root.path(), "link") {
            assert_eq!(refused.unwrap_err(), Errno::ENOTDIR);
        }
        for refused in opened(Path::new("/"), "proc") {
            assert_eq!(refused.unwrap_err(), Errno::EXDEV);
        }
    }

    #[test]
    fn what_has_a_second_name_is_not_touched() {
        let root = tempfile::tempdir().unwrap();
        let (ours, other) = (root.path().join("dir/status"), root.path().join("other"));
        let place = || Place::walk(root.path(), Path::new("dir/status"), Missing::Made).unwrap();
        place().emptied().unwrap();
        assert!(ours.exists());
        place().remove().unwrap();
        assert!(!root.path().join("dir").exists());
        std::fs::write(&other, "precious").unwrap();
        std::fs::create_dir(root.path().join("dir")).unwrap();
        std::fs::hard_link(&other, &ours).unwrap();
        assert!(place().emptied().is_err() && place().remove().is_err());
        std::fs::remove_file(&ours).unwrap();
        symlink(&other, &ours).unwrap();
        assert!(place().emptied().is_err() && place().remove().is_err());
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
    }

    #[test]
    fn no_name_leads_out() {
        let root = tempfile::tempdir().unwrap();
        for below in ["../x", "/x", ""] {
            assert!(Place::walk(root.path(), Path::new(below), Missing::Made).is_err(), "{below}");
        }
    }

    #[test]
    fn a_directory_is_known_by_its_own_path() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a", root.join("c")).unwrap();
        assert!(exactly(&root.join("a/b")).is_ok());
        assert!(exactly(&root.join("c/b")).is_err() && exactly(&root.join("c")).is_err());
    }
}
