//! Block devices: which one a path means, and what can be asked of it.

use crate::host::system::View;
use crate::host::way::{self, Links};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A device's number, as the kernel compares devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl Number {
    /// Reads `8:1`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

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
    let found = way::look(view, path, Links::Followed).map(|seen| seen.block_device());
    view.note(format_args!("device {} = {found:?}", path.display()));
    found
}

/// The kernel's name of the device: `sda1`, `drbd0`.
pub fn name(view: &View, number: Number) -> Option<String> {
    let link = view.link(format!("/sys/dev/block/{number}")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_leads_to_the_link_that_udev_makes() {
        assert_eq!(Tag::Uuid.link("ab-1"), Path::new("/dev/disk/by-uuid/ab-1"));
        assert_eq!(Tag::Label.link("my data/1"), Path::new(r"/dev/disk/by-label/my\x20data\x2f1"));
        assert_eq!(Tag::PartLabel.link("a"), Path::new("/dev/disk/by-partlabel/a"));
    }

    #[test]
    fn a_number_is_read_as_it_is_written() {
        let number = Number { major: 147, minor: 0 };
        assert_eq!(Number::parse(&number.to_string()), Some(number));
        assert_eq!(Number::parse("147"), None);
    }
}
