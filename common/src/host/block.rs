//! Block devices: which one a path means, and what can be asked of it.

use crate::host::lookup::{self, Links};
use crate::host::system::View;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use crate::host::device_number::Number;

/// By which of its marks a device is looked up: a directory of /dev/disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The file system's UUID.
    Uuid,
    /// The file system's label.
    Label,
    /// The partition's UUID.
    PartUuid,
    /// The partition's label.
    PartLabel,
}

impl Tag {
    /// The word in front of the equals sign.
    pub fn word(self) -> &'static str {
        match self {
            Self::Uuid => "UUID",
            Self::Label => "LABEL",
            Self::PartUuid => "PARTUUID",
            Self::PartLabel => "PARTLABEL",
        }
    }

    /// Where udev links the device that carries the value.
    pub fn link(self, value: &str) -> PathBuf {
        let dir = format!("by-{}", self.word().to_ascii_lowercase());
        Path::new("/dev/disk").join(dir).join(encoded(value))
    }
}

/// A label as udev writes it in a file name: all but a few bytes as `\xNN`.
fn encoded(value: &str) -> String {
    let mut name = String::new();
    for c in value.chars() {
        match c {
            '#' | '+' | '-' | '.' | ':' | '=' | '@' | '_' => name.push(c),
            c if c.is_ascii_alphanumeric() || !c.is_ascii() => name.push(c),
            c => name.push_str(&format!("\\x{:02x}", c as u32)),
        }
    }
    name
}

/// The number of the block device at the path, links followed; none if there
/// is something else.
pub fn number(view: &View, path: impl AsRef<Path>) -> io::Result<Option<Number>> {
    let path = path.as_ref();
    let found = lookup::look(view, path, Links::Followed).map(|seen| seen.block_device());
    view.note(format_args!("device {} = {found:?}", path.display()));
    found
}

/// The kernel's name of the device: `sda1`, `drbd0`.
pub fn name(view: &View, number: Number) -> Option<String> {
    let link = view.read_link(format!("/sys/dev/block/{number}")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// The devices that a mapping, an array or the like is made of; none of a disk.
pub fn below(view: &View, device: Number) -> Vec<Number> {
    let slaves = format!("/sys/dev/block/{device}/slaves");
    let number = |name: String| Number::parse(&view.read(format!("{slaves}/{name}/dev")).ok()?);
    view.list(&slaves).unwrap_or_default().into_iter().filter_map(number).collect()
}

/// Whether the kernel has the disk and does not hold it to be dead. An error
/// where sysfs does not tell of disks at all.
pub fn is_there(view: &View, disk: Number) -> io::Result<bool> {
    const DISKS: &str = "/sys/dev/block";
    let home = format!("{DISKS}/{disk}");
    if !view.exists(&home)? {
        return match view.exists(DISKS)? {
            true => Ok(false),
            false => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no {DISKS}"))),
        };
    }
    // Of a partition, the disk has the state.
    let state = ["device/state", "../device/state"]
        .iter()
        .find_map(|path| view.read(format!("{home}/{path}")).ok())
        .unwrap_or_default();
    let dead = ["offline", "transport-offline", "deleted", "cancel", "dead", "deleting"];
    Ok(!dead.contains(&state.trim()))
}

/// The type of the file system that the kernel has on the device of this name,
/// mounted or not. Of some types the kernel does not tell.
pub fn file_system(view: &View, name: &str) -> Option<String> {
    const ALL: &str = "/sys/fs";
    let has = |path: String| view.exists(path).unwrap_or(false);
    let members = |fstype: &str| {
        let sets = view.list(format!("{ALL}/{fstype}")).unwrap_or_default();
        sets.into_iter().any(|set| has(format!("{ALL}/{fstype}/{set}/devices/{name}")))
    };
    // Of others it has what is no file system on a device, with names of its own.
    const TYPES: &[&str] =
        &["bcachefs", "btrfs", "erofs", "ext4", "f2fs", "nilfs2", "ntfs3", "xfs"];
    let is_on_it = |fstype: &&str| match *fstype {
        "btrfs" => members("btrfs"),
        fstype => has(format!("{ALL}/{fstype}/{name}")),
    };
    TYPES.iter().copied().find(|fstype| is_on_it(fstype)).map(str::to_owned)
}

/// Whether the disk refuses to be written.
pub fn is_protected(view: &View, name: &str) -> bool {
    view.read(format!("/sys/class/block/{name}/ro")).is_ok_and(|text| text.trim() == "1")
}

/// The loop devices that show something.
pub fn loops(view: &View) -> Vec<Number> {
    let names = view.list("/sys/block").unwrap_or_default();
    let names = names.into_iter().filter(|name| name.starts_with("loop"));
    let in_use =
        names.filter(|name| view.exists(format!("/sys/block/{name}/loop")).unwrap_or(true));
    let number = |name: String| Number::parse(&view.read(format!("/sys/block/{name}/dev")).ok()?);
    in_use.filter_map(number).collect()
}

/// The device and the inode of the file that a loop device shows.
pub fn shown_by_loop(view: &View, number: Number) -> Option<(Number, u64)> {
    let node = Path::new("/dev").join(name(view, number)?);
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(view.path(node));
    let shown = file.ok().and_then(|file| loop_status(&file));
    view.note(format_args!("loop device {number} shows {shown:?}"));
    shown
}

/// The device and the inode of a file, links followed.
pub fn inode(view: &View, path: &Path) -> io::Result<(Number, u64)> {
    // Ends where somebody on the way does not answer.
    view.exists(path)?;
    let found = std::fs::metadata(view.path(path))?;
    let dev = found.dev();
    Ok((Number { major: libc::major(dev), minor: libc::minor(dev) }, found.ino()))
}

/// `LOOP_GET_STATUS64`: of `struct loop_info64` the first two of 29 numbers.
#[allow(unsafe_code)]
fn loop_status(file: &std::fs::File) -> Option<(Number, u64)> {
    const GET_STATUS64: libc::c_ulong = 0x4C05;
    let mut answer = [0u64; 29];
    // SAFETY: the kernel writes a `struct loop_info64`, 232 bytes, which is as
    // much room as there is in a local that outlives the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), GET_STATUS64 as _, answer.as_mut_ptr()) };
    let [dev, inode, ..] = answer;
    (done == 0).then_some((Number { major: libc::major(dev), minor: libc::minor(dev) }, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_leads_to_the_link_that_udev_makes() {
        assert_eq!(Tag::Uuid.link("ab-1"), Path::new("/dev/disk/by-uuid/ab-1"));
        assert_eq!(Tag::Label.link("my data/1"), Path::new(r"/dev/disk/by-label/my\x20data\x2f1"));
        assert_eq!(Tag::PartLabel.link("a"), Path::new("/dev/disk/by-partlabel/a"));
    }
}
