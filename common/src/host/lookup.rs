//! Looking up a path: what lies there, by a look that comes to an end whatever
//! file systems the path leads through.
//!
//! The kernel walks a path name by name and asks the file system that each of
//! them lies on. One whose server is gone, FUSE or NFS, holds the caller there
//! for ever. So the kernel is first asked for what it has in its cache, where
//! every mount point on a local file system is. Otherwise the mount table tells
//! who would be asked. What lies in memory or on the root's file system answers
//! or the machine is gone; all others are asked by a child, until a deadline.

use crate::host::child;
use crate::host::device_number::Number;
use crate::host::mount::{Mount, Table, statmount};
use crate::host::openat2;
use crate::host::statx::statx_at;
use crate::host::system::{System, View, outcome};
use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// To what it leads to.
    Followed,
    /// No: it is what is looked at.
    Shown,
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    mode: libc::mode_t,
    device: Number,
    target: Option<PathBuf>,
}

impl Seen {
    pub(crate) fn is_dir(&self) -> bool {
        self.is(libc::S_IFDIR)
    }

    pub(crate) fn is_file(&self) -> bool {
        self.is(libc::S_IFREG)
    }

    /// The number of the block device that it is.
    pub(crate) fn block_device(&self) -> Option<Number> {
        self.is(libc::S_IFBLK).then_some(self.device)
    }

    /// Where the link leads that it is, as it is written.
    pub(crate) fn into_target(self) -> Option<PathBuf> {
        self.target
    }

    fn is(&self, kind: libc::mode_t) -> bool {
        self.mode & libc::S_IFMT == kind
    }
}

/// Looks at what lies at a path of this machine.
pub(crate) fn look(view: &View, path: &Path, links: Links) -> io::Result<Seen> {
    if !view.is_real() || is_kernels_own(path, links) {
        return plain(&view.path(path), links);
    }
    if let Some(known) = from_cache(path, links) {
        return known;
    }
    if let Some(seen) = below_dev(path, links) {
        return seen;
    }
    let table = Table::read(view).map_err(io::Error::other)?;
    let place = match (links, path.parent(), path.file_name()) {
        (Links::Shown, Some(parent), Some(name)) => table.resolve(view, parent)?.join(name),
        _ => table.resolve(view, path)?,
    };
    step(view, &table, &place)
}

/// The same for a path of which only the last name can be a link.
pub(crate) fn step(view: &View, table: &Table, place: &Path) -> io::Result<Seen> {
    if !view.is_real() {
        return plain(&view.path(place), Links::Shown);
    }
    if let Some(known) = from_cache(place, Links::Shown) {
        return known;
    }
    match asked(table, place).as_slice() {
        [] => plain(place, Links::Shown),
        asked => look_by_child(view, asked, place),
    }
}

impl View {
    /// Whether there is something of this name, a dangling link included. An
    /// error means that it cannot be told.
    pub fn exists(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        let path = path.as_ref();
        let found = match look(self, path, Links::Shown) {
            Ok(_) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(err),
        };
        self.note(format_args!("exists {} = {found:?}", path.display()));
        found
    }

    /// Whether there is a directory, links followed. An error means that it
    /// cannot be told.
    pub fn is_dir(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        use io::ErrorKind::{NotADirectory, NotFound};
        let path = path.as_ref();
        let found = match look(self, path, Links::Followed) {
            Ok(seen) => Ok(seen.is_dir()),
            Err(err) if matches!(err.kind(), NotFound | NotADirectory) => Ok(false),
            Err(err) => Err(err),
        };
        self.note(format_args!("is a directory {} = {found:?}", path.display()));
        found
    }
}

impl System<'_> {
    /// Makes a directory and those above it; one that is there is made already.
    pub fn make_dir(&self, path: impl AsRef<Path>) -> anyhow::Result<()> {
        let path = path.as_ref();
        let made = make_dir(self, path);
        self.note(format_args!("mkdir {} = {}", path.display(), outcome(&made)));
        made.with_context(|| format!("cannot make {}", path.display()))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> anyhow::Result<()> {
        let path = path.as_ref();
        let removed = remove_dir(self, path);
        self.note(format_args!("rmdir {} = {}", path.display(), outcome(&removed)));
        removed.with_context(|| format!("cannot remove {}", path.display()))
    }
}

impl Table {
    /// Fails if the mount, which is in this table, cannot be reached because
    /// somebody on the way to it does not answer.
    pub fn is_reached(&self, view: &View, mount: &Mount) -> io::Result<()> {
        match step(view, self, &mount.directory) {
            Err(err) if is_silence(&err) => Err(err),
            _ => Ok(()),
        }
    }

    /// The path with its links resolved. Nobody is asked about what is a mount
    /// point; an error means that somebody who had to be does not answer.
    pub fn resolve(&self, view: &View, path: &Path) -> io::Result<PathBuf> {
        /// As many links as the kernel follows.
        const LINKS: usize = 40;
        let mut links = 0;
        let mut rest: Vec<_> =
            path.components().rev().map(|part| part.as_os_str().into()).collect();
        let mut done = PathBuf::new();
        while let Some(part) = rest.pop() {
            let part: Cow<'_, OsStr> = part;
            if part.as_bytes() == b".." {
                done.pop();
                continue;
            }
            done.push(&part);
            if done == Path::new("/") || self.uppermost(&done).is_some() {
                continue;
            }
            let target = match step(view, self, &done) {
                Err(err) if is_silence(&err) => return Err(err),
                seen => seen.ok().and_then(Seen::into_target),
            };
            let Some(target) = target else { continue };
            links += 1;
            if links > LINKS {
                return Ok(path.to_path_buf());
            }
            done.pop();
            let target = target.components().rev().map(|part| part.as_os_str().to_owned().into());
            rest.extend(target.collect::<Vec<_>>());
        }
        Ok(done)
    }
}

/// The file systems that the kernel asks on its way to a path without links,
/// and that may owe the answer.
pub(crate) fn asked<'t>(table: &'t Table, place: &Path) -> Vec<&'t Mount> {
    let root = table.uppermost(Path::new("/")).map(|root| root.device);
    let crossed = place.ancestors().skip(1).filter_map(|above| table.uppermost(above));
    let is_ours =
        |mount: &&Mount| Some(mount.device) == root || IN_MEMORY.contains(&mount.fstype.as_str());
    let mut asked: Vec<&Mount> = crossed.filter(|mount| !is_ours(mount)).collect();
    asked.reverse();
    asked
}

/// What the kernel has no need to ask anybody for.
const IN_MEMORY: &[&str] =
    &["cgroup", "cgroup2", "devpts", "devtmpfs", "proc", "ramfs", "rootfs", "sysfs", "tmpfs"];

/// What is mounted there since the machine is up, with nothing below it that
/// is of another kind.
fn is_kernels_own(path: &Path, links: Links) -> bool {
    let own = ["/proc", "/sys"].iter().any(|own| path.starts_with(own));
    own || links == Links::Shown && path.starts_with("/dev")
}

/// What the kernel tells without asking any file system; nothing if it cannot,
/// or does not know what that is.
fn from_cache(path: &Path, links: Links) -> Option<io::Result<Seen>> {
    match open(libc::AT_FDCWD, path, links, libc::RESOLVE_CACHED) {
        Ok(found) => {
            let seen = seen(found.as_fd());
            // To read a link is to ask.
            let is_told = !seen.as_ref().is_ok_and(|seen| seen.is(libc::S_IFLNK));
            is_told.then_some(seen)
        }
        Err(Errno::EAGAIN | Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => None,
        Err(errno) => Some(Err(errno.into())),
    }
}

/// What lies below /dev, as long as no link leads out of it. Names that are
/// not there are in no cache.
fn below_dev(path: &Path, links: Links) -> Option<io::Result<Seen>> {
    let name = path.strip_prefix("/dev").ok()?;
    let beneath = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_XDEV;
    let found = open(libc::AT_FDCWD, Path::new("/dev"), Links::Followed, 0)
        .and_then(|dev| open(dev.as_raw_fd(), name, links, beneath));
    match found {
        Ok(found) => Some(seen(found.as_fd())),
        Err(Errno::EXDEV) => None,
        // Before Linux 5.6.
        Err(Errno::ENOSYS | Errno::EPERM) => Some(plain(path, links)),
        Err(errno) => Some(Err(errno.into())),
    }
}

/// The path itself, opened for nothing but to be asked about.
fn open(from: RawFd, path: &Path, links: Links, resolve: u64) -> Result<OwnedFd, Errno> {
    let follow = if links == Links::Shown { OFlag::O_NOFOLLOW } else { OFlag::empty() };
    openat2::open(from, path, OFlag::O_PATH | follow, resolve)
}

/// What was opened, as the kernel remembers it. Not where a link leads.
fn seen(found: BorrowedFd<'_>) -> io::Result<Seen> {
    Ok(read(statx_at(found.as_raw_fd(), Path::new(""), libc::AT_EMPTY_PATH, KIND)?))
}

const KIND: libc::c_uint = libc::STATX_TYPE | libc::STATX_MODE;

fn read(found: libc::statx) -> Seen {
    let device = Number { major: found.stx_rdev_major, minor: found.stx_rdev_minor };
    Seen { mode: found.stx_mode.into(), device, target: None }
}

/// What lies there, whoever has to be asked.
fn plain(path: &Path, links: Links) -> io::Result<Seen> {
    let follow = if links == Links::Shown { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let mut seen = read(statx_at(libc::AT_FDCWD, path, follow, KIND)?);
    if seen.is(libc::S_IFLNK) {
        seen.target = Some(std::fs::read_link(path)?);
    }
    Ok(seen)
}

/// Makes a directory and those above it.
fn make_dir(system: &System<'_>, path: &Path) -> io::Result<()> {
    change(system, "mkdir", path, |path| std::fs::create_dir_all(path))
}

/// Removes an empty directory.
fn remove_dir(system: &System<'_>, path: &Path) -> io::Result<()> {
    change(system, "rmdir", path, |path| std::fs::remove_dir(path))
}

/// Does it here, or by a child where somebody has to be asked who may not
/// answer.
fn change(
    system: &System<'_>,
    task: &str,
    path: &Path,
    act: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    if !system.is_real() {
        return act(&system.path(path));
    }
    let table = Table::read(system).map_err(io::Error::other)?;
    if asked(&table, &table.resolve(system, path)?).is_empty() {
        return act(path);
    }
    child::run(system, task, &[path], system.deadline()).map_err(|err| match child::errno(&err) {
        Some(errno) => errno.into(),
        None => io::Error::new(io::ErrorKind::TimedOut, format!("{err:#}")),
    })
}

/// In the child.
pub(crate) fn change_in_child(task: &str, words: &[OsString]) -> anyhow::Result<()> {
    let [path] = child::take(words)?;
    match task {
        "mkdir" => std::fs::create_dir_all(path)?,
        _ => std::fs::remove_dir(path)?,
    }
    Ok(())
}

fn look_by_child(view: &View, asked: &[&Mount], place: &Path) -> io::Result<Seen> {
    let whom = asked
        .iter()
        .map(|mount| format!("{} on {}", mount.what(), mount.directory.display()))
        .collect::<Vec<_>>()
        .join(" or ");
    let silence = || io::Error::new(io::ErrorKind::TimedOut, format!("{whom} does not answer"));
    if view.is_silent(&whom) {
        return Err(silence());
    }
    match child::ask(view, "look", &[place], view.patience()) {
        Ok(text) => Seen::parse(&text)
            .ok_or_else(|| io::Error::other("cannot make sense of what a child has seen")),
        Err(err) => match child::errno(&err) {
            Some(errno) => Err(errno.into()),
            None => {
                view.remember_silent(whom.clone());
                Err(silence())
            }
        },
    }
}

/// Whether what is open lies in memory or on the root's file system. What lies
/// elsewhere may do so as well, where the kernel does not tell.
pub(crate) fn is_at_hand(open: BorrowedFd<'_>) -> bool {
    let seen = |fd: BorrowedFd<'_>| {
        let mask = libc::STATX_MNT_ID_UNIQUE;
        statx_at(fd.as_raw_fd(), Path::new(""), libc::AT_EMPTY_PATH, mask).ok()
    };
    let root = openat2::cached(Path::new("/")).and_then(|root| seen(root.as_fd()));
    let (Some(found), Some(root)) = (seen(open), root) else { return false };
    let device = |found: &libc::statx| (found.stx_dev_major, found.stx_dev_minor);
    if device(&found) == device(&root) {
        return true;
    }
    let mount = |found: &libc::statx| {
        let is_told = found.stx_mask & libc::STATX_MNT_ID_UNIQUE != 0;
        is_told.then(|| statmount::by_id(found.stx_mnt_id)).flatten()
    };
    // A file of an overlay has another device than its mount.
    let is_roots = |of: &Mount| mount(&root).is_some_and(|root| root.device == of.device);
    mount(&found).is_some_and(|of| IN_MEMORY.contains(&of.fstype.as_str()) || is_roots(&of))
}

/// Whether somebody has to be asked on the way to a path, or for what lies
/// there, who may owe the answer.
pub(crate) fn may_be_silent(view: &View, path: &Path) -> anyhow::Result<bool> {
    let table = Table::read(view)?;
    let place = table.resolve(view, path)?;
    Ok(!asked(&table, &place).is_empty())
}

/// Whether an error says that somebody has not answered.
pub fn is_silence(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::TimedOut
}

/// The same of an error that comes from such a one, or from a child that has not ended
/// in time.
pub fn comes_of_silence(err: &anyhow::Error) -> bool {
    let of_child = |failure: &child::Failure| failure.errno.is_none();
    err.chain().any(|cause| {
        cause.downcast_ref().is_some_and(is_silence) || cause.downcast_ref().is_some_and(of_child)
    })
}

/// In the child.
pub(crate) fn look_in_child(words: &[OsString]) -> anyhow::Result<()> {
    let [path] = child::take(words)?;
    let seen = plain(Path::new(path), Links::Shown)?;
    let mut text = format!("{} {}\n", seen.mode, seen.device).into_bytes();
    if let Some(target) = seen.target {
        text.extend(target.as_os_str().as_bytes());
    }
    io::stdout().write_all(&text).context("nobody takes it")
}

impl Seen {
    fn parse(text: &str) -> Option<Self> {
        let (kind, target) = text.split_once('\n')?;
        let (mode, device) = kind.split_once(' ')?;
        let target = (!target.is_empty()).then(|| PathBuf::from(target));
        Some(Self { mode: mode.parse().ok()?, device: Number::parse(device)?, target })
    }
}
