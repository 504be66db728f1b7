//! What a process has open, as far as it can be told without asking a file
//! system: by numbers that stay what they are when a path comes to mean
//! something else.

use crate::host::block::{self, Number};
use crate::host::statx::statx_at;
use crate::host::system::View;
use anyhow::{Context, Result};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// A block device or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A device, by its number.
    Device(Number),
    /// A file, by its file system's number and its own.
    File(Number, u64),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(number) => write!(f, "device {number}"),
            Self::File(number, inode) => write!(f, "file {inode} on {number}"),
        }
    }
}

impl Thing {
    /// Reads what [`fmt::Display`] has written.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(number) = text.strip_prefix("device ") {
            return Number::parse(number).map(Self::Device);
        }
        let (inode, number) = text.strip_prefix("file ")?.split_once(" on ")?;
        Some(Self::File(Number::parse(number)?, inode.parse().ok()?))
    }

    /// What a path means now, links followed.
    pub fn at(view: &View, path: &Path) -> io::Result<Self> {
        match block::number(view, path)? {
            Some(number) => Ok(Self::Device(number)),
            None => block::inode(view, path).map(|(number, inode)| Self::File(number, inode)),
        }
    }
}

/// What one process has open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Sockets, by their numbers in the kernel's file system of sockets.
    pub sockets: Vec<u32>,
    /// Devices and files, but for the three streams.
    pub things: Vec<Thing>,
}

/// Everything that the process has open; nothing of one that has ended.
pub fn of(view: &View, pid: i32) -> Result<Open> {
    let mut open = Open::default();
    for (number, target) in links(pid)? {
        if let Some(inode) = socket(&target) {
            open.sockets.push(inode);
        } else if number > 2 {
            open.things.extend(thing(pid, number));
        }
    }
    view.note(format_args!("open in process {pid} = {open:?}"));
    Ok(open)
}

/// The sockets that the process has open; nothing of one that has ended.
pub fn sockets(pid: i32) -> Result<Vec<u32>> {
    Ok(links(pid)?.iter().filter_map(|(_, target)| socket(target)).collect())
}

/// The numbers of all processes.
pub fn processes() -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list the processes")? {
        let entry = entry.context("cannot list the processes")?;
        found.extend(entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(found)
}

fn links(pid: i32) -> Result<Vec<(i32, String)>> {
    let directory = format!("/proc/{pid}/fd");
    let what = || format!("cannot tell what process {pid} has open");
    let mut found = Vec::new();
    let Some(entries) = unless_gone(fs::read_dir(&directory)).with_context(what)? else {
        return Ok(found);
    };
    for entry in entries {
        let Some(entry) = unless_gone(entry).with_context(what)? else { break };
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // The link alone is read: to follow it would be to ask a file system.
        let target = unless_gone(fs::read_link(entry.path())).with_context(what)?;
        if let (Some(number), Some(target)) = (number, target) {
            found.push((number, target.to_string_lossy().into_owned()));
        }
    }
    Ok(found)
}

/// `socket:[4711]`.
fn socket(target: &str) -> Option<u32> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// What the kernel has in its own memory about an open file.
fn thing(pid: i32, number: i32) -> Option<Thing> {
    let mask = libc::STATX_TYPE | libc::STATX_INO;
    let path = format!("/proc/{pid}/fd/{number}");
    let found = statx_at(libc::AT_FDCWD, Path::new(&path), 0, mask).ok()?;
    let device = Number { major: found.stx_rdev_major, minor: found.stx_rdev_minor };
    let home = Number { major: found.stx_dev_major, minor: found.stx_dev_minor };
    match u32::from(found.stx_mode) & libc::S_IFMT {
        libc::S_IFBLK => Some(Thing::Device(device)),
        libc::S_IFREG => Some(Thing::File(home, found.stx_ino)),
        _ => None,
    }
}

/// Nothing where the process is gone, or the descriptor.
fn unless_gone<T>(asked: io::Result<T>) -> io::Result<Option<T>> {
    match asked {
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        asked => asked.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    #[test]
    fn what_this_process_has_open_is_found_by_its_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let view = View::below(dir.path(), Deadline::after(Duration::from_secs(5)));
        let path = dir.path().join("file");
        let file = fs::File::create(&path).unwrap();
        // Another name is no other file.
        fs::rename(&path, dir.path().join("renamed")).unwrap();
        let line = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let line = line.try_clone().unwrap();
        let open = of(&view, std::process::id().cast_signed()).unwrap();
        let inode = file.metadata().unwrap().ino();
        assert!(open.things.iter().any(|t| matches!(t, Thing::File(_, i) if *i == inode)));
        assert!(!open.sockets.is_empty());
        drop(line);
        assert_eq!(of(&view, i32::MAX).unwrap(), Open::default());
    }

    #[test]
    fn a_thing_is_read_as_it_was_written() {
        let number = Number { major: 147, minor: 1 };
        for thing in [Thing::Device(number), Thing::File(number, 12)] {
            assert_eq!(Thing::parse(&thing.to_string()), Some(thing));
        }
        for none in ["", "device", "device x", "file 1", "file x on 1:1"] {
            assert_eq!(Thing::parse(none), None, "{none}");
        }
    }
}
