//! Why a mount was refused, as far as the device itself tells: the kernel has
//! one number for most of it, and says the rest to its log alone.

use super::{Backing, Filesystem};
use common::View;
use common::host::block::{self, Number};
use common::host::mount::Table;
use std::path::Path;
use std::time::Duration;

/// Nothing is decided by this, and it may come at the end of the time.
const PATIENCE: Duration = Duration::from_secs(2);

/// What blkid knows of a device.
#[derive(Debug, Default)]
struct Content {
    fstype: String,
    uuid: String,
}

impl Content {
    fn of(view: &View, device: &Path) -> Option<Self> {
        let args = ["-p", "-o", "export", "--"].map(std::ffi::OsStr::new);
        let args = [&args[..], &[device.as_os_str()]].concat();
        let output = view.query_within(PATIENCE, "blkid", &args).ok()?;
        // 2: nothing that it knows.
        (output.success() || output.code == 2).then(|| Self::read(&output.stdout))
    }

    fn read(text: &str) -> Self {
        let value = |key: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
        };
        let kind = Some(value("TYPE")).filter(|kind| !kind.is_empty());
        let table = || Some(value("PTTYPE")).filter(|kind| !kind.is_empty());
        let table = || table().map(|kind| format!("partition table ({kind})"));
        let fstype = kind.map(str::to_owned).or_else(table).unwrap_or_default();
        Self { fstype, uuid: value("UUID").to_owned() }
    }
}

impl Filesystem {
    /// What may be the cause that the mount was refused, a clause for each.
    pub(super) fn refusal(&self, view: &View, source: &Path) -> Vec<String> {
        if !matches!(self.kind.backing, Backing::Device | Backing::Image) {
            return Vec::new();
        }
        let mut why = Vec::new();
        let number = block::number(view, source).ok().flatten();
        let name = number.and_then(|number| block::name(view, number));
        if name.is_some_and(|name| block::is_protected(view, &name))
            && !self.options.wants_read_only()
        {
            why.push("the disk is write-protected; options=ro mounts it".to_owned());
        }
        let Some(content) = Content::of(view, source) else { return why };
        match self.kind.name.as_deref() {
            _ if content.fstype.is_empty() => {
                why.push(format!("{} carries nothing that blkid knows", self.device()));
            }
            Some(wanted) if !is_of_type(wanted, &content.fstype) => {
                why.push(format!("{} carries {}, not {wanted}", self.device(), content.fstype));
            }
            _ => why.extend(number.and_then(|number| twin(view, number, &content))),
        }
        why
    }
}

/// Whether what blkid calls the one is mounted by the name of the other.
fn is_of_type(wanted: &str, found: &str) -> bool {
    let ext = |name: &str| matches!(name, "ext2" | "ext3" | "ext4" | "ext4dev");
    wanted == found
        || ext(wanted) && ext(found)
        || matches!((wanted, found), ("fat" | "msdos", "vfat") | ("ntfs3" | "ntfs-3g", "ntfs"))
}

/// Another device with the same UUID, whose file system is mounted: the kernel
/// takes the two for one, and refuses the second.
fn twin(view: &View, number: Number, content: &Content) -> Option<String> {
    let table = Table::read(view).ok()?;
    let is_like = |fstype: &str| fstype == content.fstype && !content.uuid.is_empty();
    let mounts = table.iter().filter(|mount| is_like(&mount.fstype) && mount.device != number);
    mounts.take(8).find_map(|mount| {
        let device = Path::new(mount.source.as_deref()?);
        let other = device.starts_with("/dev").then(|| Content::of(view, device)).flatten()?;
        let is_twin = other.uuid == content.uuid
            && block::number(view, device).ok().flatten() != Some(number);
        is_twin.then(|| {
            let (place, nouuid) = (
                mount.directory.display(),
                match content.fstype.as_str() {
                    "xfs" => "; of a copy, options=nouuid",
                    _ => "",
                },
            );
            format!("{} on {place} has the same UUID, {}{nouuid}", device.display(), content.uuid)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_blkid_knows_is_read() {
        let content = Content::read("DEVNAME=/dev/sda1\nUUID=ab-1\nTYPE=xfs\nUSAGE=filesystem\n");
        assert_eq!((content.fstype.as_str(), content.uuid.as_str()), ("xfs", "ab-1"));
        let table = Content::read("DEVNAME=/dev/sda\nPTTYPE=gpt\n");
        assert_eq!(table.fstype, "partition table (gpt)");
        assert_eq!(Content::read("").fstype, "");
    }

    #[test]
    fn a_type_may_have_several_names() {
        assert!(is_of_type("ext3", "ext4") && is_of_type("ntfs-3g", "ntfs"));
        assert!(!is_of_type("ext4", "xfs") && !is_of_type("vfat", "LVM2_member"));
    }
}
