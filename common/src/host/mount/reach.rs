//! Which mount a path leads to, and unmounting one to which none leads.
//!
//! The table's paths say where a mount was put, not that a path still leads
//! there: another file system may be mounted over a directory above. So paths
//! are followed from mount to mount, as the kernel does it.

use crate::host::child;
use crate::host::clock::Deadline;
use crate::host::mount::unmount::Unmounted;
use crate::host::mount::{Mount, Table};
use crate::host::statx;
use crate::host::system::System;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

impl Table {
    /// The mounts that a path without links leads through, from the root on;
    /// the last is the one it lies on.
    fn steps(&self, path: &Path) -> Vec<&Mount> {
        let mut steps: Vec<&Mount> = Vec::new();
        let mut prefixes: Vec<&Path> = path.ancestors().collect();
        prefixes.reverse();
        // The root's own parent is not in the table, or is itself.
        let is_first = |mount: &Mount| {
            self.iter().all(|other| other.id != mount.parent || other.id == mount.id)
        };
        for prefix in prefixes {
            let here = || self.iter().filter(|mount| mount.directory == prefix);
            loop {
                let next = match steps.last() {
                    Some(last) => {
                        here().rfind(|mount| mount.parent == last.id && mount.id != last.id)
                    }
                    None => here().find(|mount| is_first(mount)),
                };
                let Some(next) = next else { break };
                steps.push(next);
            }
        }
        steps
    }

    /// The mount that a path without links lies on.
    pub fn holding(&self, path: &Path) -> Option<&Mount> {
        self.steps(path).pop()
    }

    /// The mount that the directory is the root of, as paths lead now.
    pub fn uppermost(&self, directory: &Path) -> Option<&Mount> {
        self.holding(directory).filter(|mount| mount.directory == directory)
    }

    /// The mount that keeps paths from leading to this one: it lies on it, or
    /// on a directory above.
    pub fn hiding(&self, mount: &Mount) -> Option<&Mount> {
        let mut line = vec![mount.id];
        let mut at = mount;
        while let Some(parent) =
            self.iter().find(|other| other.id == at.parent && other.id != at.id)
        {
            line.push(parent.id);
            at = parent;
        }
        self.steps(&mount.directory).into_iter().find(|step| !line.contains(&step.id))
    }
}

/// Unmounts a mount that lies below a directory which another mount hides:
/// `umount` cannot name it.
///
/// The hidden directory is looked up where nothing is mounted, on a copy of
/// the mount that it lies on, and opened by its handle. From there the path
/// leads to the mount. Needs a file system with handles.
pub fn unmount(system: &System<'_>, mount: &Mount, deadline: Deadline) -> Result<Unmounted> {
    let words = [mount.directory.as_os_str().to_owned(), mount.id.to_string().into()];
    match child::run(system, "unmount-hidden", &words, deadline) {
        Err(err) if child::errno(&err) == Some(Errno::EBUSY) => Ok(Unmounted::Busy),
        done => done.map(|()| Unmounted::Done),
    }
}

/// In the child.
pub(crate) fn unmount_in_child(words: &[OsString]) -> Result<()> {
    let [directory, id] = child::take(words)?;
    let id: u64 = id.to_str().and_then(|id| id.parse().ok()).context("not a mount's number")?;
    let text = std::fs::read("/proc/self/mountinfo").context("cannot read the mount table")?;
    let table = Table::parse(&String::from_utf8_lossy(&text))?;
    let is_it = |mount: &&Mount| mount.id == id && mount.directory == Path::new(directory);
    let mount = table.iter().find(is_it).context("it is not in the mount table")?;
    let (dir, rest) = beneath(&table, mount)?;
    nix::unistd::fchdir(dir).context("cannot enter the hidden directory")?;
    // Open for the question alone: what is open keeps its mount busy.
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&rest)
        .context("the way to it is gone")?;
    let found = statx::id_of_open(open.as_fd());
    drop(open);
    ensure!(found.is_ok_and(|found| found == id), "something else is mounted upon it");
    umount2(&rest, MntFlags::UMOUNT_NOFOLLOW).context("the kernel refuses")
}

/// A directory that is opened beneath what hides it, and the rest of the path
/// from there to the mount.
fn beneath(table: &Table, mount: &Mount) -> Result<(OwnedFd, PathBuf)> {
    // The first mount above that paths lead to, and the hidden one upon it.
    let mut hidden = mount;
    let above = loop {
        let parent = table.iter().find(|other| other.id == hidden.parent && other.id != hidden.id);
        let parent = parent.context("it hangs on no mount that can be seen")?;
        if table.hiding(parent).is_none() {
            break parent;
        }
        hidden = parent;
    };
    let dir = hidden.directory.parent().context("it is the root")?;
    let inner = dir.strip_prefix(&above.directory).context("its path is no part of the tree")?;
    let rest = mount.directory.strip_prefix(dir)?.to_path_buf();
    let copy = copy_of(&above.directory)?;
    let handle = Handle::of(&copy, inner)?;
    // A handle is opened on a mount that is open for reading.
    let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
    let real = OpenOptions::new().read(true).custom_flags(flags).open(&above.directory)?;
    if statx::id_of_open(real.as_fd())? != above.id {
        bail!("the mounts have changed meanwhile");
    }
    Ok((handle.open(&real)?, rest))
}

/// The mount on the directory, alone and nowhere mounted.
fn copy_of(directory: &Path) -> Result<OwnedFd> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path ends with a NUL and outlives the call, which returns a
    // descriptor that is ours, or an error.
    #[allow(unsafe_code)]
    unsafe {
        match libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) {
            fd @ 0.. => Ok(OwnedFd::from_raw_fd(i32::try_from(fd)?)),
            _ => match io::Error::last_os_error() {
                err if err.raw_os_error() == Some(libc::ENOSYS) => copy_in_a_namespace(directory),
                err => Err(err),
            }
            .context("no copy of the mount above it"),
        }
    }
}

/// The same before Linux 5.2: mounted, but where nobody sees it. This process
/// has one thread, and comes back.
fn copy_in_a_namespace(directory: &Path) -> io::Result<OwnedFd> {
    let nothing = None::<&str>;
    let here = File::open("/proc/self/ns/mnt")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    mount(Some(directory), directory, nothing, MsFlags::MS_BIND, nothing)?;
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let copy = OpenOptions::new().read(true).custom_flags(flags).open(directory)?;
    setns(here, CloneFlags::CLONE_NEWNS)?;
    Ok(copy.into())
}

/// Room for the longest handle: `MAX_HANDLE_SZ`.
const LONGEST: u32 = 128;

/// What the kernel knows a file by on its file system: `struct file_handle`.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    handle: [u8; LONGEST as usize],
}

#[allow(unsafe_code)]
impl Handle {
    fn of(dir: &OwnedFd, path: &Path) -> Result<Self> {
        let mut handle = Self { bytes: LONGEST, kind: 0, handle: [0; LONGEST as usize] };
        let (name, mut mount) = (CString::new(path.as_os_str().as_bytes())?, 0i32);
        // SAFETY: the name ends with a NUL, the handle has the room that it
        // says, and all of them outlive the call.
        let done = unsafe {
            let (to, id) = (&raw mut handle, &raw mut mount);
            let flags = libc::AT_EMPTY_PATH;
            libc::syscall(
                libc::SYS_name_to_handle_at,
                dir.as_raw_fd(),
                name.as_ptr(),
                to,
                id,
                flags,
            )
        };
        ensure!(done == 0, "no handle of the hidden directory: {}", io::Error::last_os_error());
        Ok(handle)
    }

    fn open(&self, mount: &File) -> Result<OwnedFd> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the kernel reads the handle, which outlives the call, and
        // returns a descriptor that is ours, or an error.
        unsafe {
            let from = &raw const *self;
            match libc::syscall(libc::SYS_open_by_handle_at, mount.as_raw_fd(), from, flags) {
                fd @ 0.. => Ok(OwnedFd::from_raw_fd(i32::try_from(fd)?)),
                _ => {
                    Err(io::Error::last_os_error()).context("the hidden directory cannot be opened")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
1 1 0:2 / / rw - rootfs rootfs rw
21 1 8:1 / / rw - ext4 /dev/sda1 rw
30 21 147:0 / /srv/app/data rw - ext4 /dev/drbd0 rw
31 30 0:44 / /srv/app/data/tmp rw - tmpfs none rw
40 21 0:51 / /srv/app rw - tmpfs cover rw
41 40 0:52 / /srv/app/data rw - tmpfs other rw
";

    fn leads_to(table: &Table, path: &str) -> Option<u64> {
        table.holding(Path::new(path)).map(|mount| mount.id)
    }

    #[test]
    fn a_path_leads_through_mounts_and_not_by_their_text() {
        let table = Table::parse(TEXT).unwrap();
        assert_eq!(leads_to(&table, "/srv"), Some(21));
        assert_eq!(leads_to(&table, "/srv/app/x"), Some(40));
        assert_eq!(leads_to(&table, "/srv/app/data/tmp/x"), Some(41));
        let table = Table::parse(TEXT.split_once("\n40").unwrap().0).unwrap();
        assert_eq!(leads_to(&table, "/srv/app/data/tmp/x"), Some(31));
    }

    #[test]
    fn what_hides_a_mount_is_found_above_it() {
        let table = Table::parse(TEXT).unwrap();
        let hiding = |id: u64| {
            let mount = table.iter().find(|mount| mount.id == id).unwrap();
            table.hiding(mount).map(|hiding| hiding.id)
        };
        assert_eq!((hiding(21), hiding(40), hiding(41)), (None, None, None));
        assert_eq!((hiding(30), hiding(31)), (Some(40), Some(40)));
        assert_eq!(hiding(1), Some(21));
    }
}
