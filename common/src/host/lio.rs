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

pub mod build;
pub mod discovery;

use crate::host::absence::{Absent, Whole};
use crate::host::block::Number;
use crate::host::system::View;
use crate::host::{configfs, module};
use anyhow::{Context, Result, bail};

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
}

impl<'v> Lio<'v> {
    /// The kernel's target, or the proof that it has none. It is not loaded by
    /// asking.
    pub fn open(view: &'v View) -> Result<Result<Self, Absent>> {
        if let Some(absent) = module::absent(view, "target_core_mod", "LIO", ROOT)? {
            return Ok(Err(absent));
        }
        // Its objects outlive the mount.
        let found = configfs::list(view, ROOT)?.unwrap_or_default();
        if !found.iter().any(|name| name == "core") {
            bail!(
                "LIO is loaded, and what it serves cannot be seen: mount -t configfs configfs {}",
                configfs::ROOT
            );
        }
        Ok(Ok(Self { view }))
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

    /// What there is of a target; nothing of one that has gone meanwhile.
    pub fn target(&self, iqn: &str) -> Result<Option<Target>> {
        let group = Target::group(iqn);
        if configfs::list(self.view, &format!("{ROOT}/iscsi/{iqn}"))?.is_none() {
            return Ok(None);
        }
        let mut target =
            Target { iqn: iqn.to_owned(), is_enabled: false, luns: vec![], portals: vec![] };
        if configfs::list(self.view, &group)?.is_none() {
            // Between the making of the one and the other.
            return Ok(Some(target));
        }
        target.is_enabled = configfs::get(self.view, &format!("{group}/enable"))? == "1";
        target.portals = configfs::list(self.view, &format!("{group}/np"))?.unwrap_or_default();
        for name in configfs::list(self.view, &format!("{group}/lun"))?.unwrap_or_default() {
            let number = name.strip_prefix("lun_").and_then(|number| number.parse().ok());
            let number = number.with_context(|| format!("odd name of a LUN: {name}"))?;
            let store = self.store_of(&format!("{group}/lun/{name}"))?;
            target.luns.push(Lun { number, store });
        }
        target.luns.sort_by_key(|lun| lun.number);
        Ok(Some(target))
    }

    /// The one link in a LUN's directory, and where it leads.
    fn store_of(&self, lun: &str) -> Result<Option<(String, Store)>> {
        for name in configfs::list(self.view, lun)?.unwrap_or_default() {
            // Everything else there is a directory or a file.
            let Ok(to) = self.view.read_link(format!("{lun}/{name}")) else { continue };
            return Ok(Store::linked(&to.to_string_lossy()).map(|store| (name, store)));
        }
        Ok(None)
    }

    /// The disk that a store has open, as the kernel tells it.
    pub fn device(&self, store: &Store) -> Result<Option<Number>> {
        Ok(device(&configfs::get(self.view, &format!("{}/info", store.path()))?))
    }

    /// The initiators that are logged in.
    pub fn sessions(&self, iqn: &str) -> Result<Vec<String>> {
        let group = Target::group(iqn);
        let mut names = Vec::new();
        match self.view.read(format!("{group}/dynamic_sessions")) {
            // Names with NUL or line feed behind each.
            Ok(text) => names.extend(text.split(['\0', '\n']).map(str::to_owned)),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => return Err(err).with_context(|| format!("cannot read {group}")),
        }
        names.retain(|name| !name.trim().is_empty());
        for acl in configfs::list(self.view, &format!("{group}/acls"))?.unwrap_or_default() {
            let info = configfs::get(self.view, &format!("{group}/acls/{acl}/info"))?;
            if !info.starts_with("No active") {
                names.push(acl);
            }
        }
        Ok(names)
    }
}

/// From a store's `info`: `Major: 147 Minor: 1  CLAIMED: IBLOCK`.
fn device(info: &str) -> Option<Number> {
    let words: Vec<&str> = info.split_whitespace().collect();
    let after = |name| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    Some(Number { major: after("Major:")?, minor: after("Minor:")? })
}

#[cfg(test)]
mod tests;
