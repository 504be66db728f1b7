//! The mount table, as /proc/self/mountinfo shows it.

use super::option_words::attribute;
use crate::host::absence::{Absent, Whole};
use crate::host::device_number::Number;
use crate::host::system::View;
use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The number that /proc/PID/fdinfo shows. It is given to another mount
    /// once this one is gone.
    pub id: u64,
    /// The number that is never given again, where the kernel has told it.
    pub unique: Option<u64>,
    /// The mount that it is mounted on.
    pub parent: u64,
    /// The device, or a number of its own for what has none.
    pub device: Number,
    /// Which directory of the file system it shows.
    pub root: PathBuf,
    /// Where.
    pub directory: PathBuf,
    /// What this mount alone refuses: `MOUNT_ATTR_RDONLY` and others of these.
    pub attributes: u64,
    /// With the subtype: `ext4`, `fuse.sshfs`.
    pub fstype: String,
    /// What was named as the device, where the kernel has told it.
    pub source: Option<String>,
    /// The file system's own options, which all its mounts share.
    pub super_options: String,
    /// The group of mounts that hear of what happens to this one.
    pub peers: Option<u64>,
    /// The group that this one hears of.
    pub master: Option<u64>,
}

impl Mount {
    /// Whether this mount alone refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.attributes & libc::MOUNT_ATTR_RDONLY != 0
    }

    /// Whether the file system's own options hold this word.
    pub fn has_super_option(&self, wanted: &str) -> bool {
        self.super_options.split(',').any(|option| option == wanted)
    }

    /// What is mounted: `/dev/drbd0 (147:0)`.
    pub fn what(&self) -> String {
        let source = self.source.as_deref().unwrap_or(&self.fstype);
        format!("{source} ({})", self.device)
    }
}

/// Every mount of a namespace, in the kernel's order.
#[derive(Clone, Debug)]
pub struct Table {
    mounts: Whole<Mount>,
    /// Whether it is that of the namespace this process lives in.
    own: bool,
}

impl Table {
    /// The mounts that this process sees.
    pub fn read(view: &View) -> Result<Self> {
        let path = view.path("/proc/self/mountinfo");
        let text = settled(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mounts = Self::parse(&text)?.mounts;
        view.note(format_args!("read {} = {} mounts", path.display(), mounts.len()));
        Ok(Self { mounts, own: true })
    }

    /// The mounts that another process sees.
    pub fn of_process(view: &View, pid: i32) -> Result<Self> {
        Self::parse(&view.read(format!("/proc/{pid}/mountinfo"))?)
    }

    /// Reads the text of a mountinfo file.
    pub fn parse(text: &str) -> Result<Self> {
        let line = |line: &str| match mount(line) {
            Some(mount) => Ok(mount),
            None => bail!("cannot make sense of the mount table's line `{line}`"),
        };
        let mounts = text.lines().map(line).collect::<Result<_>>()?;
        Ok(Self { mounts: Whole::told("mounts", mounts), own: false })
    }

    /// Proof that no mount that this process sees is meant. A text, or another
    /// process's mounts, prove nothing.
    pub fn lacks(&self, is_meant: impl FnMut(&Mount) -> bool) -> Option<Absent> {
        self.mounts.lacks(is_meant).filter(|_| self.own)
    }

    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Mount> {
        self.mounts.iter()
    }

    /// Whatever is mounted on this mount, on those, and so on; what has to go
    /// first comes first.
    pub fn upon(&self, mount: &Mount) -> Vec<&Mount> {
        let mut found: Vec<&Mount> = Vec::new();
        let mut parents = vec![mount.id];
        while let Some(parent) = parents.pop() {
            for child in self.iter().filter(|child| child.parent == parent && child.id != parent) {
                if found.iter().all(|known| known.id != child.id) {
                    found.push(child);
                    parents.push(child.id);
                }
            }
        }
        found.reverse();
        found
    }
}

/// Reads the file until nothing has changed in the meantime.
fn settled(path: &Path) -> io::Result<String> {
    /// Where mounts come and go all the time, the last reading has to do:
    /// since Linux 5.8 it lacks nothing that was there all along.
    const TRIES: usize = 8;
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(16 << 10);
    for _ in 0..TRIES {
        bytes.clear();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        let mut changed = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
        if poll(&mut changed, PollTimeout::ZERO)? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A line: number, parent, device, root, directory, options, tags, `-`, type,
/// source, the file system's options.
fn mount(line: &str) -> Option<Mount> {
    let (own, shared) = line.split_once(" - ")?;
    let mut own = own.split(' ');
    let mut next = || own.next();
    let (id, parent) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let device = Number::parse(next()?)?;
    let (root, directory) = (unescaped(next()?), unescaped(next()?));
    let attributes = next()?.split(',').filter_map(attribute).filter(|(_, is_set)| *is_set);
    let attributes = attributes.fold(0, |all, (one, _)| all | one);
    let (mut peers, mut master) = (None, None);
    for tag in own {
        match tag.split_once(':') {
            Some(("shared", group)) => peers = group.parse().ok(),
            Some(("master", group)) => master = group.parse().ok(),
            _ => {}
        }
    }
    let mut shared = shared.splitn(3, ' ');
    Some(Mount {
        id,
        unique: None,
        parent,
        device,
        root,
        directory,
        attributes,
        fstype: shared.next()?.to_owned(),
        source: Some(unescaped(shared.next()?).to_string_lossy().into_owned()),
        super_options: shared.next().unwrap_or_default().to_owned(),
        peers,
        master,
    })
}

/// A path as fields are written: blanks, backslashes and what is not ASCII as
/// three octal digits each.
pub fn escaped(path: &Path) -> String {
    let written = |byte: &u8| match byte {
        b'\\' => "\\134".into(),
        byte if byte.is_ascii_graphic() => char::from(*byte).to_string(),
        byte => format!("\\{byte:03o}"),
    };
    path.as_os_str().as_bytes().iter().map(written).collect()
}

/// A path as it is: the kernel writes blanks, tabs, line breaks, `#` and
/// backslashes as three octal digits.
pub fn unescaped(field: &(impl AsRef<[u8]> + ?Sized)) -> PathBuf {
    let bytes = field.as_ref();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes[at..]
            .strip_prefix(b"\\")
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsStr::from_bytes(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::time::Duration;

    const TEXT: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 21 147:0 / /srv/my\\040data rw,noatime shared:7 master:2 - ext4 /dev/drbd0 rw
31 30 147:0 /sub /srv/my\\040data/bind ro - ext4 /dev/drbd0 rw
32 31 0:44 / /srv/my\\040data/bind/deep rw - tmpfs none rw
40 21 0:50 / /mnt rw - nfs4 10.0.0.1:/x rw,vers=4.2
41 40 0:51 / /mnt rw - tmpfs cover ro
";

    fn directories(mounts: Vec<&Mount>) -> Vec<&str> {
        mounts.into_iter().map(|mount| mount.directory.to_str().unwrap()).collect()
    }

    #[test]
    fn a_line_is_read_whole() {
        let table = Table::parse(TEXT).unwrap();
        let data = table.uppermost(Path::new("/srv/my data")).unwrap();
        assert_eq!((data.id, data.parent, data.peers, data.master), (30, 21, Some(7), Some(2)));
        assert_eq!(data.what(), "/dev/drbd0 (147:0)");
        let bind = table.uppermost(Path::new("/srv/my data/bind")).unwrap();
        assert!(bind.is_read_only() && !bind.has_super_option("ro"));
        assert_eq!(bind.root, Path::new("/sub"));
    }

    #[test]
    fn what_covers_a_mount_is_uppermost() {
        let table = Table::parse(TEXT).unwrap();
        assert_eq!(table.uppermost(Path::new("/mnt")).unwrap().id, 41);
        assert_eq!(table.holding(Path::new("/mnt/x")).unwrap().id, 41);
        assert_eq!(table.holding(Path::new("/srv/my database")).unwrap().id, 21);
    }

    #[test]
    fn what_is_upon_a_mount_comes_deepest_first() {
        let table = Table::parse(TEXT).unwrap();
        let data = table.uppermost(Path::new("/srv/my data")).unwrap();
        let upon = directories(table.upon(data));
        assert_eq!(upon, ["/srv/my data/bind/deep", "/srv/my data/bind"]);
    }

    #[test]
    fn a_table_that_makes_no_sense_is_no_empty_table() {
        assert!(Table::parse("21 1 8:1 / /").is_err());
    }

    #[test]
    fn links_are_resolved_but_not_beyond_a_mount() {
        let root = tempfile::tempdir().unwrap();
        let view = View::below(root.path(), Deadline::after(Duration::from_secs(1)));
        std::fs::create_dir_all(root.path().join("srv/real")).unwrap();
        std::os::unix::fs::symlink("../srv/real", root.path().join("srv/link")).unwrap();
        std::os::unix::fs::symlink("/nowhere", root.path().join("mnt")).unwrap();
        let table = Table::parse(TEXT).unwrap();
        let resolved = |path| table.resolve(&view, Path::new(path)).unwrap();
        assert_eq!(resolved("/srv/link/x"), Path::new("/srv/real/x"));
        assert_eq!(resolved("/mnt"), Path::new("/mnt"), "a mount is no link");
    }
}
