//! Network namespaces: by the names that `ip netns` gives them, and by the
//! numbers the kernel gives them, which stay when a name goes.
//!
//! A name is a file that the namespace is mounted on. Without it the namespace
//! lives on, with its interfaces and their addresses, for as long as a process
//! is in it, holds it open, or has it mounted somewhere else.

#![allow(unsafe_code, reason = "getsockopt has no safe wrapper for the cookie")]

use super::absence::Absent;
use super::mount::table::unescaped;
use super::system::View;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the names lie.
const NAMES: &str = "/run/netns";

/// Whether this process looks from within a namespace now.
#[derive(Clone, Debug)]
pub enum Entered {
    /// It does.
    Inside,
    /// There is none of this name.
    Absent(Absent),
}

/// Moves this thread, and what it starts from now on, into the namespace, if
/// there is one of this name.
///
/// Nothing on the machine changes by it, only where this process looks.
pub fn enter(view: &View, name: &str) -> Result<Entered> {
    let nowhere = || Entered::Absent(Absent::seen(format!("no network namespace {name}")));
    let path = view.path(NAMES).join(name);
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(&path);
    let file = match opened {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            view.note(format_args!("network namespace {name} is not there"));
            return Ok(nowhere());
        }
        opened => opened.with_context(|| format!("cannot open {}", path.display()))?,
    };
    let entered = setns(file, CloneFlags::CLONE_NEWNET);
    view.note(format_args!("enter network namespace {name} = {entered:?}"));
    match entered {
        // A file that something has left behind where a namespace was mounted.
        Err(Errno::EINVAL) => Ok(nowhere()),
        entered => entered
            .map(|()| Entered::Inside)
            .with_context(|| format!("cannot enter the network namespace {name}")),
    }
}

/// What tells one namespace from all others.
///
/// The kernel gives the number of one that is gone to the next one that is
/// made, but never its cookie, which Linux 5.14 and later tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    /// 0 where the kernel does not tell.
    cookie: u64,
}

impl Identity {
    /// Whether both are of one namespace. Where the kernel tells no cookie, the
    /// number has to do.
    pub fn is(&self, other: &Self) -> bool {
        let is_told = self.cookie != 0 && other.cookie != 0;
        self.number() == other.number() && (!is_told || self.cookie == other.cookie)
    }

    fn number(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.device, self.inode, self.cookie)
    }
}

impl FromStr for Identity {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut numbers = text.split(':').map(str::parse);
        let mut next = || numbers.next().context("a number is missing").and_then(|n| Ok(n?));
        Ok(Self { device: next()?, inode: next()?, cookie: next()? })
    }
}

/// The namespace that this process looks from.
pub fn current(view: &View) -> Result<Identity> {
    let path = view.path(OWN);
    let found = std::fs::metadata(&path)
        .with_context(|| format!("cannot tell this network namespace by {}", path.display()))?;
    let identity = Identity { device: found.dev(), inode: found.ino(), cookie: cookie() };
    view.note(format_args!("network namespace = {identity}"));
    Ok(identity)
}

const OWN: &str = "/proc/thread-self/ns/net";

/// The cookie of the namespace that this process looks from.
fn cookie() -> u64 {
    const SO_NETNS_COOKIE: i32 = 71;
    let flags = SockFlag::SOCK_CLOEXEC;
    let Ok(line) = socket(AddressFamily::Unix, SockType::Datagram, flags, None) else { return 0 };
    let mut cookie = 0u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the pointers are to a local number and to its size.
    let told = unsafe {
        libc::getsockopt(
            line.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if told == 0 { cookie } else { 0 }
}

/// A namespace that was found by its number.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    holder: String,
}

impl Namespace {
    /// Who keeps it alive: `process 4711`.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Does something from within it, and comes back.
    pub fn inside<T>(&self, view: &View, what: impl FnOnce() -> T) -> Result<T> {
        let own = File::open(view.path(OWN)).context("cannot open this network namespace")?;
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the network namespace of {}", self.holder))?;
        view.note(format_args!("inside the network namespace of {}", self.holder));
        let done = what();
        setns(&own, CloneFlags::CLONE_NEWNET).context("cannot leave the network namespace")?;
        Ok(done)
    }
}

/// The namespace, wherever it is kept alive: by a process or one of its
/// threads, by a mount in any mount namespace, by an open file. Nobody who
/// does is the proof that the kernel has destroyed it, with all its
/// interfaces.
pub fn find(view: &View, wanted: &Identity) -> Result<Result<Namespace, Absent>> {
    let found = search(view, wanted);
    let seen = found.as_ref().map(|found| found.as_ref().map(Namespace::holder));
    view.note(format_args!("network namespace {wanted} = {seen:?}"));
    let Some(namespace) = found
        .with_context(|| format!("cannot tell whether the network namespace {wanted} lives on"))?
    else {
        let gone = format!("nobody has the network namespace {}", wanted.inode);
        return Ok(Err(Absent::seen(gone)));
    };
    let cookie = namespace.inside(view, cookie)?;
    if !wanted.is(&Identity { cookie, ..*wanted }) {
        let other = format!("network namespace {} is another one now", wanted.inode);
        return Ok(Err(Absent::seen(other)));
    }
    Ok(Ok(namespace))
}

fn search(view: &View, wanted: &Identity) -> Result<Option<Namespace>> {
    let processes = processes(view)?;
    let search = Search { wanted, processes: &processes };
    // The cheapest first. All of them are asked before the answer is no.
    let found = match search.among_threads()? {
        None => search.among_mounts()?,
        found => found,
    };
    match found {
        None => search.among_open_files(),
        found => Ok(found),
    }
}

/// The directories of all processes, by their numbers.
fn processes(view: &View) -> Result<Vec<(String, PathBuf)>> {
    let proc = view.path("/proc");
    let names = view.list("/proc").context("cannot list the processes")?;
    let numbers = names.into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    Ok(numbers.map(|number| (number.clone(), proc.join(number))).collect())
}

/// What is looked for, and where.
struct Search<'a> {
    wanted: &'a Identity,
    processes: &'a [(String, PathBuf)],
}

impl Search<'_> {
    fn among_threads(&self) -> Result<Option<Namespace>> {
        for (number, directory) in self.processes {
            for thread in entries(&directory.join("task"))? {
                let holder = || format!("process {number}");
                if let Some(found) = self.open_if(&thread.join("ns/net"), holder)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Each mount namespace is read once, through any process that is in it.
    fn among_mounts(&self) -> Result<Option<Namespace>> {
        let root = format!("net:[{}]", self.wanted.inode);
        let mut seen = BTreeSet::new();
        for (number, directory) in self.processes {
            let Some(tree) = unless_gone(std::fs::metadata(directory.join("ns/mnt")))? else {
                continue;
            };
            if !seen.insert(tree.ino()) {
                continue;
            }
            let Some(table) = unless_gone(std::fs::read(directory.join("mountinfo")))? else {
                // Another process of the same mount namespace may still tell.
                seen.remove(&tree.ino());
                continue;
            };
            for target in mounted(&table, root.as_bytes()) {
                let path = directory.join("root").join(target.strip_prefix("/").unwrap_or(&target));
                let holder = || format!("{} (seen by process {number})", target.display());
                if let Some(found) = self.open_if(&path, holder)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn among_open_files(&self) -> Result<Option<Namespace>> {
        for (number, directory) in self.processes {
            for file in entries(&directory.join("fd"))? {
                if !self.may_be(directory, &file)? {
                    continue;
                }
                let holder = || format!("process {number}, which has it open");
                if let Some(found) = self.open_if(&file, holder)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Whether an open file can be the namespace, by what the kernel says of it
    /// without asking its file system, which may not answer: its number since
    /// Linux 5.14, or a name that is made of the number. A file that was
    /// opened where the namespace was mounted has no such name.
    fn may_be(&self, directory: &Path, file: &Path) -> Result<bool> {
        let inode = self.wanted.inode;
        let name = file.file_name().unwrap_or_default();
        let told = unless_gone(std::fs::read_to_string(directory.join("fdinfo").join(name)))?;
        let number =
            told.iter().flat_map(|told| told.lines()).find_map(|line| line.strip_prefix("ino:"));
        if let Some(number) = number {
            return Ok(number.trim().parse() == Ok(inode));
        }
        let link = unless_gone(std::fs::read_link(file))?;
        Ok(link.is_some_and(|link| link == Path::new(&format!("net:[{inode}]"))))
    }

    /// The namespace behind this path, if it is the one.
    fn open_if(&self, path: &Path, holder: impl FnOnce() -> String) -> Result<Option<Namespace>> {
        let named = |err| format!("{}: {err}", path.display());
        let is_wanted =
            |found: std::fs::Metadata| (found.dev(), found.ino()) == self.wanted.number();
        let found =
            unless_gone(std::fs::metadata(path)).map_err(named).map_err(io::Error::other)?;
        if !found.is_some_and(is_wanted) {
            return Ok(None);
        }
        let opened = unless_gone(File::open(path)).map_err(named).map_err(io::Error::other)?;
        // What has gone in between may have been replaced.
        let same = |file: &File| file.metadata().is_ok_and(is_wanted);
        Ok(opened.filter(same).map(|file| Namespace { file, holder: holder() }))
    }
}

/// What is in a directory of a process; nothing once the process has ended.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let listed =
        unless_gone(listed).with_context(|| format!("cannot list {}", directory.display()));
    Ok(listed?.unwrap_or_default())
}

/// Nothing where the process, or the file, is gone.
fn unless_gone<T>(asked: io::Result<T>) -> io::Result<Option<T>> {
    match asked {
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        asked => asked.map(Some),
    }
}

/// Where a mount table has mounts of the kernel's own file system of
/// namespaces whose root is this.
fn mounted(table: &[u8], root: &[u8]) -> Vec<PathBuf> {
    let read = |line: &[u8]| {
        let mut words = line.split(|byte| *byte == b' ').skip(3);
        (words.next()? == root).then(|| unescaped(words.next().unwrap_or_default()))
    };
    table.split(|byte| *byte == b'\n').filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let identity = Identity { device: 4, inode: 4_026_532_008, cookie: 17 };
        assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        for torn in ["", "4", "4:x:1", "4:5"] {
            assert!(torn.parse::<Identity>().is_err(), "{torn}");
        }
    }

    #[test]
    fn a_mount_of_a_namespace_is_told_from_others() {
        let table = b"\
510 26 0:4 net:[4026532008] /run/netns/a\\040b rw shared:1 - nsfs nsfs rw\n\
511 26 0:4 net:[4026532009] /run/netns/c rw - nsfs nsfs rw\n\
25 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        assert_eq!(mounted(table, b"net:[4026532008]"), [PathBuf::from("/run/netns/a b")]);
        assert!(mounted(table, b"net:[1]").is_empty());
    }
}
