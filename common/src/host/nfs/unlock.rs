//! Taking from clients what they hold of a file system, so that it can be
//! unmounted.
//!
//! | by                  | what goes                                         | since    |
//! |---------------------|---------------------------------------------------|----------|
//! | `unlock_filesystem` | the locks of NFSv3                                | always   |
//! | the same            | what NFSv4 clients hold of the file system        | 6.9      |
//! | `UNLOCK_EXPORT`     | what NFSv4 clients hold by exports of a directory | 7.2      |
//! | `expire`            | all that one NFSv4 client holds, and its record   | 5.3      |
//!
//! The kernel takes a path, and acts on whatever file system is there: on the
//! root's, where the one that was meant is not mounted. So the directory is
//! opened, held against the mount that is meant, and handed on as what is open.

use crate::host::child;
use crate::host::clock::Deadline;
use crate::host::genl::{Attributes, Genl};
use crate::host::statx;
use crate::host::system::{System, View};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// The server's netlink family, and its word for one directory.
const FAMILY: &str = "nfsd";
const UNLOCK_EXPORT: u8 = 18;
const PATH: u16 = 1;

/// The kernel in which that word means this; in one on its way there the number
/// was another's.
const UNLOCK_EXPORT_SINCE: (u32, u32) = (7, 2);

/// The kernel since which unlocking a file system is for NFSv4 as well.
const REVOKES_SINCE: (u32, u32) = (6, 9);

/// What is to be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What is held by exports of the directory: nobody exports it any more.
    Export,
    /// What is held of the file system that it lies on: nobody exports any of
    /// it any more.
    FileSystem,
}

/// Takes it away. `mount` is the number of the mount that is meant; if the
/// directory lies on another one, nothing is done.
pub fn release(
    system: &System<'_>,
    directory: &Path,
    mount: u64,
    what: What,
    deadline: Deadline,
) -> Result<()> {
    let words = [directory.as_os_str().to_owned(), mount.to_string().into()];
    let task = match what {
        What::Export => "unlock-export",
        What::FileSystem => "unlock-file-system",
    };
    child::run(system, task, &words, deadline)
}

/// Ends a client: all that it holds goes, of every file system, and it cannot
/// claim it again.
pub fn expire(system: &System<'_>, id: &str, deadline: Deadline) -> Result<()> {
    child::run(system, "expire-client", &[id], deadline)
}

/// How long a client may be silent and keeps what it holds. The server is
/// asked, which may be busy.
pub fn lease(view: &View, deadline: Deadline) -> Result<Duration> {
    let text = child::ask::<&str>(view, "lease", &[], deadline)?;
    let seconds = text.trim().parse().context("the lease is no number")?;
    Ok(Duration::from_secs(seconds))
}

/// In the child.
pub(crate) fn lease_in_child() -> Result<()> {
    let text = std::fs::read("/proc/fs/nfsd/nfsv4leasetime").context("no lease is told")?;
    std::io::stdout().write_all(&text).context("nobody takes it")
}

/// Whether the kernel takes from NFSv4 clients what they hold of a file system.
pub fn revokes(view: &View) -> bool {
    release_of(view).is_some_and(|release| release >= REVOKES_SINCE)
}

/// Whether it can do so for the exports of one directory.
pub fn revokes_by_export(view: &View) -> bool {
    release_of(view).is_some_and(|release| release >= UNLOCK_EXPORT_SINCE)
}

fn release_of(view: &View) -> Option<(u32, u32)> {
    let text = view.read("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// In the child.
pub(crate) fn release_in_child(words: &[OsString], what: What) -> Result<()> {
    let [directory, mount] = child::take(words)?;
    let wanted: u64 = mount.to_str().and_then(|text| text.parse().ok()).context("no number")?;
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let shown = Path::new(directory).display();
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(directory)
        .with_context(|| format!("cannot open {shown}"))?;
    let found = statx::id_of_open(open.as_fd())?;
    ensure!(found == wanted, "{shown} lies on another mount than the one that was exported");
    // The dot has the kernel follow the link, which it does not at the end.
    let path = format!("/proc/self/fd/{}/.", open.as_raw_fd());
    match what {
        What::Export => tell(&path),
        What::FileSystem => put("/proc/fs/nfsd/unlock_filesystem", &path),
    }
}

fn tell(path: &str) -> Result<()> {
    let mut genl = Genl::open(Deadline::after(Duration::from_secs(60)))?;
    let family = genl.family(FAMILY)?.context("the kernel has no netlink family nfsd")?;
    let known = genl.commands(FAMILY)?.contains(&u32::from(UNLOCK_EXPORT));
    ensure!(known, "the kernel's NFS server does not know the command");
    let mut words = Attributes::new();
    words.text(PATH, path);
    genl.tell(family, UNLOCK_EXPORT, words.bytes()).context("the kernel refuses")
}

/// In the child.
pub(crate) fn expire_in_child(words: &[OsString]) -> Result<()> {
    let [id] = child::take(words)?;
    let id: u64 = id.to_str().and_then(|id| id.parse().ok()).context("no number of a client")?;
    put(&format!("/proc/fs/nfsd/clients/{id}/ctl"), "expire")
}

/// Writes to a file of the server's; it wants a line.
fn put(path: &str, text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()))
        .with_context(|| format!("cannot write to {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_can_do_is_told_by_its_release() {
        let of = |text: &str| {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("proc/sys/kernel");
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("osrelease"), text).unwrap();
            let view = View::below(root.path(), Deadline::after(Duration::from_secs(1)));
            (revokes(&view), revokes_by_export(&view))
        };
        assert_eq!(of("6.1.0-56-amd64\n"), (false, false));
        assert_eq!(of("6.12.9\n"), (true, false));
        assert_eq!(of("7.2.0-rc1\n"), (true, true));
        assert_eq!(of("x"), (false, false));
    }

    #[test]
    fn a_directory_on_another_mount_is_left_alone() {
        let words = ["/proc".into(), "1".into()];
        let refused = release_in_child(&words, What::FileSystem).unwrap_err().to_string();
        assert!(refused.contains("/proc lies on another mount"), "{refused}");
    }
}
