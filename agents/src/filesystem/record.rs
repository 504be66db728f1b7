//! What start remembers of the mount it has made. It is held against the
//! kernel at every use: a record without its mount means nothing.
//!
//! Names change under a mount, its number does not. Since Linux 6.8 a mount
//! has one that is never given again; before, the number in the table counts
//! together with the device, for as long as the system and the mount namespace
//! are those in which it was written down.

use super::device::Device;
use anyhow::{Result, bail};
use common::View;
use common::host::block::Number;
use common::host::fuser;
use common::host::mount::{Mount, Table, statmount};
use ocf_meta::Value;
use std::path::{Path, PathBuf};

/// Where and what the mount was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Whether it was made with the parameters that hold now.
    pub(super) is_as_asked: bool,
    asked: String,
    unique: Option<u64>,
    device: Number,
    root: PathBuf,
    directory: PathBuf,
    source: Option<String>,
    /// Whether the file system could be written.
    pub(super) writable: bool,
    /// The number in the table.
    id: Option<u64>,
    /// The boot and the mount namespace in which that was its number.
    life: String,
    namespace: PathBuf,
}

/// Raised when the lines change; a file of another version is no record.
const VERSION: &str = "1";

impl Record {
    pub(super) fn device(&self) -> Number {
        self.device
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.directory.clone()
    }

    /// The device as the parameter named it.
    pub(super) fn device_asked_for(&self) -> Option<Device> {
        Device::parse(self.asked.split('\t').next()?).ok()
    }

    /// The mount as it is now, without a look at the table, if nothing about it
    /// has changed.
    pub(super) fn mount(&self) -> Option<Mount> {
        statmount::by_id(self.unique?).filter(|mount| self.is_of(mount))
    }

    /// The mount wherever it is by now; none if the kernel has it no more.
    pub(super) fn find<'t>(&self, view: &View, table: &'t Table) -> Result<Option<&'t Mount>> {
        let listed =
            |id: u64| table.iter().find(|mount| mount.id == id && mount.device == self.device);
        let here = namespace(view);
        if self.namespace != Path::new("") && self.namespace != here {
            self.is_gone_elsewhere(view)?;
        }
        match self.unique.map(statmount::find) {
            Some(Ok(None)) => return Ok(None),
            Some(Ok(Some(mount))) if mount.device != self.device => return Ok(None),
            Some(Ok(Some(mount))) => {
                return match listed(mount.id) {
                    Some(mount) => Ok(Some(mount)),
                    None => bail!("{} is mounted where no path leads", mount.what()),
                };
            }
            Some(Err(_)) | None => {}
        }
        if self.life != life(view) || self.namespace != here {
            return Ok(None);
        }
        let Some(mount) = self.id.and_then(listed) else { return Ok(None) };
        // Once ours is gone, the next mount is given its number, and for want
        // of a device also its device's.
        let is_same = self.device.major != 0
            || mount.directory == self.directory
            || mount.root == self.root && self.root != Path::new("/");
        if is_same || matches!(view.is_dir(&self.directory), Ok(false)) {
            return Ok(Some(mount));
        }
        bail!(
            "cannot tell whether {} on {} is what was mounted on {}",
            mount.what(),
            mount.directory.display(),
            self.directory.display()
        )
    }

    /// An error if a process still sees it where it was recorded, which is not
    /// where this one lives.
    fn is_gone_elsewhere(&self, view: &View) -> Result<()> {
        for (process, table) in fuser::other_namespaces(view) {
            let link = view.read_link(format!("/proc/{}/ns/mnt", process.pid)).unwrap_or_default();
            let is_it = |mount: &Mount| Some(mount.id) == self.id && mount.device == self.device;
            if link == self.namespace
                && let Some(mount) = table.iter().find(|mount| is_it(mount))
            {
                bail!(
                    "{} is mounted on {} in the mount namespace of {} (pid {})",
                    mount.what(),
                    mount.directory.display(),
                    process.name,
                    process.pid
                );
            }
        }
        Ok(())
    }

    /// Whether it is the mount that was recorded, or one of the same thing in
    /// the same place.
    pub(super) fn is_of(&self, mount: &Mount) -> bool {
        if !self.is_as_asked || self.device != mount.device {
            return false;
        }
        if self.unique.is_some() && self.unique == mount.unique {
            return true;
        }
        let same_source = match (&self.source, &mount.source) {
            (Some(recorded), Some(found)) => recorded == found,
            _ => true,
        };
        // A number that the kernel makes up is given to others later; one of a
        // device stays the device's while the system is up.
        self.device.major != 0
            && self.root == mount.root
            && self.directory == mount.directory
            && same_source
    }

    pub(super) fn parse(text: &str, asked: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == VERSION).then_some(())?;
        let was_asked = lines.next()?;
        Some(Self {
            is_as_asked: was_asked == asked,
            asked: was_asked.to_owned(),
            unique: lines.next()?.parse().ok(),
            device: Number::parse(lines.next()?)?,
            root: PathBuf::from(lines.next()?),
            directory: PathBuf::from(lines.next()?),
            source: Some(lines.next()?).filter(|source| !source.is_empty()).map(str::to_owned),
            writable: lines.next()? == "writable",
            id: lines.next().and_then(|id| id.parse().ok()),
            life: lines.next().unwrap_or_default().to_owned(),
            namespace: PathBuf::from(lines.next().unwrap_or_default()),
        })
    }

    fn text(mount: &Mount, asked: &str, life: &str, namespace: &Path) -> String {
        let unique = mount.unique.map(|unique| unique.to_string()).unwrap_or_default();
        let source = mount.source.as_deref().unwrap_or_default();
        let access = if mount.has_super_option("ro") { "" } else { "writable" };
        let (device, root, id) = (mount.device, mount.root.display(), mount.id);
        let (directory, namespace) = (mount.directory.display(), namespace.display());
        format!(
            "{VERSION}\n{asked}\n{unique}\n{device}\n{root}\n{directory}\n{source}\n{access}\n\
             {id}\n{life}\n{namespace}\n"
        )
    }
}

/// Which boot this is.
fn life(view: &View) -> String {
    view.read("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_end().to_owned()
}

/// Which mount namespace this is.
fn namespace(view: &View) -> PathBuf {
    view.read_link("/proc/self/ns/mnt").unwrap_or_default()
}

/// The record of the mount as it is now, for the parameters that were asked for.
pub(super) fn text(view: &View, mount: &Mount, asked: &str) -> String {
    let mut mount = mount.clone();
    mount.unique = mount.unique.or_else(|| statmount::unique(&mount.directory));
    Record::text(&mount, asked, &life(view), &namespace(view))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::host::mount::Table;

    const LINE: &str = "40 21 0:50 /sub /mnt rw - nfs4 10.0.0.1:/x rw,vers=4.2\n";

    fn mount() -> Mount {
        let mut mount = Table::parse(LINE).unwrap().iter().next().unwrap().clone();
        mount.unique = Some(77);
        mount
    }

    fn record(asked: &str) -> Record {
        let text = Record::text(&mount(), "a\tb\tc", "boot", Path::new("mnt:[1]"));
        Record::parse(&text, asked).unwrap()
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let record = record("a\tb\tc");
        assert!(record.is_of(&mount()) && record.writable && record.is_as_asked);
        assert_eq!((record.unique, record.id), (Some(77), Some(40)));
        assert_eq!(record.device_asked_for(), Some(Device::Name("a".into())));
        assert_eq!(record.life, "boot");
        assert_eq!(record.namespace, Path::new("mnt:[1]"));
    }

    #[test]
    fn a_record_of_before_there_were_more_lines_is_one() {
        let text = Record::text(&mount(), "a\tb\tc", "", Path::new(""));
        let short: String = text.lines().take(8).map(|line| format!("{line}\n")).collect();
        let record = Record::parse(&short, "a\tb\tc").unwrap();
        assert!(record.is_of(&mount()) && record.id.is_none());
    }

    #[test]
    fn a_record_of_other_parameters_proves_nothing_of_these() {
        let other = record("a\tb\td");
        assert!(!other.is_as_asked && !other.is_of(&mount()));
        assert_eq!(Record::parse("", "a\tb\tc"), None);
    }

    #[test]
    fn an_equal_number_is_it_whatever_it_is_called_by_now() {
        let mut later = mount();
        later.root = PathBuf::from("/renamed");
        later.directory = PathBuf::from("/moved");
        assert!(record("a\tb\tc").is_of(&later));
    }

    #[test]
    fn a_number_that_the_kernel_gives_again_proves_nothing() {
        let mut later = mount();
        later.unique = Some(78);
        assert!(!record("a\tb\tc").is_of(&later));
    }
}
