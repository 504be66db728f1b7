//! What start remembers of the mount it has made. It is held against the
//! kernel at every use: a record without its mount means nothing.

use super::Filesystem;
use anyhow::Result;
use common::host::block::Number;
use common::host::mount::{Mount, statmount};
use common::{System, View};
use std::path::PathBuf;

/// Where and what the mount was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    unique: Option<u64>,
    device: Number,
    root: PathBuf,
    directory: PathBuf,
    source: Option<String>,
    /// Whether the file system could be written.
    pub(super) writable: bool,
}

/// Raised when the lines change; a file of another version is no record.
const VERSION: &str = "1";

impl Record {
    /// The record of the mount of these parameters.
    pub(super) fn of(agent: &Filesystem, view: &View) -> Option<Self> {
        Self::parse(&view.hint(&agent.record_name())?, &agent.asked_for())
    }

    pub(super) fn device(&self) -> Number {
        self.device
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.directory.clone()
    }

    /// The mount as it is now, if it still is the one that was recorded.
    pub(super) fn mount(&self) -> Option<Mount> {
        statmount::by_id(self.unique?).filter(|mount| self.is_of(mount))
    }

    /// Whether it is the mount that was recorded, or one of the same thing in
    /// the same place.
    pub(super) fn is_of(&self, mount: &Mount) -> bool {
        let same_source = match (&self.source, &mount.source) {
            (Some(recorded), Some(found)) => recorded == found,
            _ => true,
        };
        // A number that the kernel makes up is given to others later; one of a
        // device stays the device's while the system is up.
        let stays = self.device.major != 0 || self.unique.is_some() && self.unique == mount.unique;
        stays
            && self.device == mount.device
            && self.root == mount.root
            && self.directory == mount.directory
            && same_source
    }

    fn parse(text: &str, asked: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == VERSION && lines.next()? == asked).then_some(())?;
        Some(Self {
            unique: lines.next()?.parse().ok(),
            device: Number::parse(lines.next()?)?,
            root: PathBuf::from(lines.next()?),
            directory: PathBuf::from(lines.next()?),
            source: Some(lines.next()?).filter(|source| !source.is_empty()).map(str::to_owned),
            writable: lines.next()? == "writable",
        })
    }

    fn text(mount: &Mount, asked: &str) -> String {
        let unique = mount.unique.map(|unique| unique.to_string()).unwrap_or_default();
        let source = mount.source.as_deref().unwrap_or_default();
        let access = if mount.has_super_option("ro") { "" } else { "writable" };
        let (device, root) = (mount.device, mount.root.display());
        let directory = mount.directory.display();
        format!("{VERSION}\n{asked}\n{unique}\n{device}\n{root}\n{directory}\n{source}\n{access}\n")
    }
}

impl Filesystem {
    pub(super) fn record_name(&self) -> String {
        format!("Filesystem-{}.state", self.request.instance)
    }

    /// Where a check program is tried out.
    pub(super) fn scratch_name(&self) -> String {
        format!("Filesystem-{}.scratch", self.request.instance)
    }

    /// The parameters that make the mount what it is.
    fn asked_for(&self) -> String {
        let fstype = self.kind.name.as_deref().unwrap_or_default();
        format!("{}\t{}\t{fstype}", self.params.device, self.params.directory.display())
    }

    /// Remembers the mount; a start without it is a start all the same.
    pub(super) fn remember(&self, system: &System<'_>, mount: &Mount) -> Result<()> {
        let mut mount = mount.clone();
        mount.unique = mount.unique.or_else(|| statmount::unique(&mount.directory));
        system.keep_hint(&self.record_name(), &Record::text(&mount, &self.asked_for()))
    }
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

    #[test]
    fn a_record_reads_as_it_was_written() {
        let record = Record::parse(&Record::text(&mount(), "a\tb\tc"), "a\tb\tc").unwrap();
        assert!(record.is_of(&mount()) && record.writable);
        assert_eq!(record.unique, Some(77));
    }

    #[test]
    fn a_record_of_other_parameters_is_none() {
        assert_eq!(Record::parse(&Record::text(&mount(), "a\tb\tc"), "a\tb\td"), None);
        assert_eq!(Record::parse("", "a\tb\tc"), None);
    }

    #[test]
    fn a_number_that_the_kernel_gives_again_proves_nothing() {
        let record = Record::parse(&Record::text(&mount(), ""), "").unwrap();
        let mut later = mount();
        later.unique = Some(78);
        assert!(!record.is_of(&later));
    }
}
