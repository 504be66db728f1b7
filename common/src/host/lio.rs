//! LIO, the SCSI target in the kernel, as its configfs shows it.
//!
//! | object | directory |
//! |---|---|
//! | a store, which has a disk open | `core/iblock_0/NAME`, `core/fileio_3/NAME` |
//! | an iSCSI target | `iscsi/IQN/tpgt_1` |
//! | a LUN of it | `iscsi/IQN/tpgt_1/lun/lun_0`, with a link to its store |
//! | an address it listens at | `iscsi/IQN/tpgt_1/np/10.0.0.1:3260` |
//!
//! Nothing of it can be renamed. The name of a LUN's link is free, so whoever
//! makes a LUN leaves a mark in it.

pub mod acl;
pub mod build;
pub mod discovery;
pub mod name;
pub mod portal;
pub mod reservation;

use crate::host::absence::{Absent, Whole};
use crate::host::block::Number;
use crate::host::configfs;
use crate::host::system::View;
use anyhow::{Context, Result};

/// The module without which there is none.
pub const MODULE: &str = "target_core_mod";

/// Where LIO's configfs is.
pub const ROOT: &str = "/sys/kernel/config/target";
/// The group of a target's portals and LUNs. IET had one for each target.
const GROUP: &str = "tpgt_1";

/// The kernel's target, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Lio<'v> {
    view: &'v View,
}

/// A store: what has a disk or a file open, and shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Store {
    /// The adapter it hangs on: `iblock_0`.
    pub adapter: String,
    /// Its name there.
    pub name: String,
}

/// A LUN of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lun {
    /// Its number.
    pub number: u64,
    /// The mark that whoever made it has left, and the store; nothing between
    /// the making of the one and the other.
    pub store: Option<(String, Store)>,
}

/// What there is of a target besides its disks, which may be many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Whether it serves.
    pub is_enabled: bool,
    /// The addresses it listens at, as whoever made them has written them.
    pub portals: Vec<String>,
    /// Whether initiators have to prove who they are.
    pub asks_for_secret: bool,
    /// Whether every initiator may log in, and not only those that are listed.
    pub admits_all: bool,
}

/// An iSCSI target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub iqn: String,
    /// Whether it serves.
    pub is_enabled: bool,
    /// Its disks, by number.
    pub luns: Vec<Lun>,
    /// The addresses it listens at: `10.0.0.1:3260`, `[::]:3260`.
    pub portals: Vec<String>,
}

impl Store {
    /// Its directory.
    pub fn path(&self) -> String {
        format!("{ROOT}/core/{}/{}", self.adapter, self.name)
    }

    /// The store that a LUN's link leads to.
    fn linked(to: &str) -> Option<Self> {
        let mut parts = to.rsplit('/');
        let (name, adapter) = (parts.next()?, parts.next()?);
        Some(Self { adapter: adapter.to_owned(), name: name.to_owned() })
    }
}

impl Target {
    /// The directory of its one group.
    pub fn group(iqn: &str) -> String {
        format!("{ROOT}/iscsi/{iqn}/{GROUP}")
    }

    /// The directory of one of its disks.
    pub fn lun(iqn: &str, number: u64) -> String {
        format!("{}/lun/lun_{number}", Self::group(iqn))
    }
}

impl<'v> Lio<'v> {
    /// The kernel's target, or the proof that it has none. It is not loaded by
    /// asking.
    pub fn open(view: &'v View) -> Result<Result<Self, Absent>> {
        let absent = configfs::absent(view, MODULE, "LIO", ROOT, "core")?;
        Ok(absent.map_or(Ok(Self { view }), Err))
    }

    /// The names of all iSCSI targets.
    pub fn targets(&self) -> Result<Whole<String>> {
        let mut names = configfs::list(self.view, &format!("{ROOT}/iscsi"))?.unwrap_or_default();
        // Besides them: discovery_auth, lio_version, cpus_allowed_list.
        names.retain(|name| ["iqn.", "eui.", "naa."].iter().any(|kind| name.starts_with(kind)));
        Ok(Whole::told("iSCSI targets", names))
    }

    /// All stores.
    pub fn stores(&self) -> Result<Whole<Store>> {
        let mut stores = Vec::new();
        let core = configfs::list(self.view, &format!("{ROOT}/core"))?.unwrap_or_default();
        for adapter in core.into_iter().filter(|name| name != "alua") {
            let below = configfs::list(self.view, &format!("{ROOT}/core/{adapter}"))?;
            let names = below.unwrap_or_default().into_iter();
            let names = names.filter(|name| !matches!(name.as_str(), "hba_info" | "hba_mode"));
            stores.extend(names.map(|name| Store { adapter: adapter.clone(), name }));
        }
        Ok(Whole::told("stores", stores))
    }

    /// The target's name as the kernel has it, or the proof that there is none:
    /// somebody may have spelled it with capitals.
    pub fn spelled(&self, iqn: &str) -> Result<Result<String, Absent>> {
        if configfs::exists(self.view, &format!("{ROOT}/iscsi/{iqn}"))? {
            return Ok(Ok(iqn.to_owned()));
        }
        let names = self.targets()?;
        let is_it = |name: &String| name.eq_ignore_ascii_case(iqn);
        match names.lacks(is_it) {
            Some(absent) => Ok(Err(absent)),
            None => Ok(Ok(names.into_items().into_iter().find(is_it).unwrap_or_default())),
        }
    }

    /// What there is of a target; nothing of one that has gone meanwhile. Most of
    /// its LUNs have this mark.
    pub fn target(&self, iqn: &str, mark: &str) -> Result<Option<Target>> {
        let Some(group) = self.group(iqn)? else { return Ok(None) };
        let Group { is_enabled, portals, .. } = group.unwrap_or_default();
        let luns = self.luns(iqn, mark)?;
        Ok(Some(Target { iqn: iqn.to_owned(), is_enabled, portals, luns }))
    }

    /// The same without its disks: nothing where it is not there, and nothing
    /// within where it has been begun and has no group yet.
    pub fn group(&self, iqn: &str) -> Result<Option<Option<Group>>> {
        let group = Target::group(iqn);
        let get = |name: &str| configfs::find(self.view, &format!("{group}/{name}"));
        let Some(enabled) = get("enable")? else {
            // Between the making of the one and the other.
            let begun = configfs::exists(self.view, &format!("{ROOT}/iscsi/{iqn}"))?;
            return Ok(begun.then_some(None));
        };
        Ok(Some(Some(Group {
            is_enabled: enabled == "1",
            portals: configfs::list(self.view, &format!("{group}/np"))?.unwrap_or_default(),
            asks_for_secret: get("attrib/authentication")?.as_deref() == Some("1"),
            admits_all: get("attrib/generate_node_acls")?.as_deref() == Some("1"),
        })))
    }

    /// The disks of a target, by number. Most of them have this mark.
    pub fn luns(&self, iqn: &str, mark: &str) -> Result<Vec<Lun>> {
        let mut luns = Vec::new();
        for number in self.numbers(iqn)? {
            luns.extend(self.lun(iqn, number, mark)?);
        }
        Ok(luns)
    }

    /// Whether one of a target's disks has this mark.
    pub fn is_marked(&self, iqn: &str, mark: &str) -> Result<bool> {
        for number in self.numbers(iqn)? {
            if self.marked(&Target::lun(iqn, number), mark)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The numbers of a target's disks, in order.
    fn numbers(&self, iqn: &str) -> Result<Vec<u64>> {
        let names = configfs::list(self.view, &format!("{}/lun", Target::group(iqn)))?;
        let number = |name: String| {
            let number = name.strip_prefix("lun_").and_then(|number| number.parse().ok());
            number.with_context(|| format!("odd name of a LUN: {name}"))
        };
        let mut numbers =
            names.unwrap_or_default().into_iter().map(number).collect::<Result<Vec<u64>>>()?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// One of them. The mark is asked for first: the kernel has no more than one
    /// link in each, and a question for it costs a tenth of a list.
    pub fn lun(&self, iqn: &str, number: u64, mark: &str) -> Result<Option<Lun>> {
        let path = Target::lun(iqn, number);
        if let Some(store) = self.marked(&path, mark)? {
            return Ok(Some(Lun { number, store: Some((mark.to_owned(), store)) }));
        }
        let Some(names) = configfs::list(self.view, &path)? else { return Ok(None) };
        for name in names {
            // Everything else there is a directory or a file.
            if let Some(store) = self.marked(&path, &name)? {
                return Ok(Some(Lun { number, store: Some((name, store)) }));
            }
        }
        Ok(Some(Lun { number, store: None }))
    }

    /// The store to which the link of this name leads.
    fn marked(&self, lun: &str, mark: &str) -> Result<Option<Store>> {
        let link = format!("{lun}/{mark}");
        let to = configfs::linked(self.view, &link);
        let to = to.with_context(|| format!("cannot look at {link}"))?;
        Ok(to.and_then(|to| Store::linked(&to.to_string_lossy())))
    }

    /// The disk that a store has open, as the kernel tells it.
    pub fn device(&self, store: &Store) -> Result<Option<Number>> {
        Ok(self.backing(store)?.device)
    }

    /// What a store has open, as the kernel tells it.
    pub fn backing(&self, store: &Store) -> Result<Backing> {
        Ok(Backing::parse(&configfs::get(self.view, &format!("{}/info", store.path()))?))
    }

    /// The serial number that initiators know a store's disk by.
    pub fn serial(&self, store: &Store) -> Result<String> {
        let text = configfs::get(self.view, &format!("{}/wwn/vpd_unit_serial", store.path()))?;
        // `T10 VPD Unit Serial Number: 5ba72d17`
        Ok(text.split_once(':').map_or("", |(_, serial)| serial).trim().to_owned())
    }

    /// Who has made a store, where that was written down in it.
    pub fn maker(&self, store: &Store) -> Result<String> {
        Ok(configfs::find(self.view, &format!("{}/alias", store.path()))?.unwrap_or_default())
    }

    /// What a store was told to open, which is only a text: nothing where it was
    /// not told yet.
    pub fn told(&self, store: &Store) -> Result<String> {
        Ok(configfs::find(self.view, &format!("{}/udev_path", store.path()))?.unwrap_or_default())
    }

    /// The initiators that are logged in.
    pub fn sessions(&self, iqn: &str) -> Result<Vec<String>> {
        let group = Target::group(iqn);
        let mut names = Vec::new();
        let told = configfs::find(self.view, &format!("{group}/dynamic_sessions"))?;
        // Names with NUL or line feed behind each.
        names.extend(told.iter().flat_map(|text| text.split(['\0', '\n'])).map(str::to_owned));
        names.retain(|name| !name.trim().is_empty());
        for acl in configfs::list(self.view, &format!("{group}/acls"))?.unwrap_or_default() {
            if self.is_logged_in(iqn, &acl)? {
                names.push(acl);
            }
        }
        Ok(names)
    }
}

impl Default for Group {
    /// One that has just been made.
    fn default() -> Self {
        Self { is_enabled: false, portals: Vec::new(), asks_for_secret: true, admits_all: false }
    }
}

/// What a store has open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backing {
    /// Whether it can be used.
    pub is_ready: bool,
    /// The disk, where it is one.
    pub device: Option<Number>,
}

impl Backing {
    /// From a store's `info`: `Status: ACTIVATED ...`, `Major: 147 Minor: 1
    /// CLAIMED: IBLOCK`.
    fn parse(info: &str) -> Self {
        let words: Vec<&str> = info.split_whitespace().collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1).copied()
        };
        let number = |name| after(name)?.parse().ok();
        let device = number("Major:").zip(number("Minor:"));
        Self {
            is_ready: after("Status:") == Some("ACTIVATED"),
            device: device.map(|(major, minor)| Number { major, minor }),
        }
    }
}

#[cfg(test)]
mod tests;
