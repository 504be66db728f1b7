//! Making LIO's objects, and taking them apart again.
//!
//! Taking apart goes by what is there, object by object, and what is gone
//! already is no error: so it is right after whatever was cut short.

use crate::host::configfs;
use crate::host::lio::discovery::{Credentials, login};
use crate::host::lio::{Lio, ROOT, Store, Target};
use crate::host::lock::{self, Lock};
use crate::host::module;
use crate::host::system::System;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// How a store reaches its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As a block device: no cache of this machine's lies in between.
    Block,
    /// As a file, each write of which is on disk before it is acknowledged.
    File,
    /// As a file in this machine's memory, and the initiator is told that there
    /// is a cache. What was not flushed is lost with the machine.
    BufferedFile,
}

/// What a store is to be.
#[derive(Clone, Debug)]
pub struct NewStore {
    /// Its name.
    pub name: String,
    /// How it reaches the disk.
    pub kind: Kind,
    /// The disk: a block device or a file.
    pub path: String,
    /// Whether nothing may be written.
    pub is_read_only: bool,
    /// What initiators know the disk by, on whichever node it is.
    pub serial: String,
    /// What a disk says of its maker and its model. Kernels that cannot be told
    /// say their own.
    pub vendor: &'static str,
    /// The model.
    pub product: &'static str,
    /// Bytes in a block, where that is not the disk's own.
    pub block_size: Option<u32>,
}

impl Kind {
    fn plugin(self) -> &'static str {
        match self {
            Self::Block => "iblock",
            Self::File | Self::BufferedFile => "fileio",
        }
    }
}

/// Loads what an iSCSI target takes.
pub fn load(system: &System<'_>) -> Result<()> {
    module::load(system, "target_core_mod")?;
    configfs::mount(system)?;
    module::load(system, "iscsi_target_mod")?;
    // The directory loads the module where modprobe has not, and without it a
    // target cannot be made.
    configfs::make(system, &format!("{ROOT}/iscsi"))
}

/// The lock under which targetcli, too, chooses a number for an adapter.
fn numbering(system: &System<'_>) -> Result<Lock> {
    lock::take_file(system, &system.path("/run/rtslib_backstore.lock"), "the numbers of LIO")
}

/// Makes a store, which opens the disk.
pub fn store(system: &System<'_>, wanted: &NewStore) -> Result<Store> {
    let plugin = wanted.kind.plugin();
    let module = format!("target_core_{}", if plugin == "fileio" { "file" } else { "iblock" });
    module::load(system, &module)?;
    let lock = numbering(system)?;
    let adapter = free_adapter(system, plugin)?;
    let store = Store { adapter, name: wanted.name.clone() };
    configfs::make_new(system, &format!("{ROOT}/core/{}", store.adapter))?;
    drop(lock);
    let path = store.path();
    configfs::make_new(system, &path)?;
    let set = |name: &str, value: &str| configfs::set(system, &format!("{path}/{name}"), value);
    match wanted.kind {
        Kind::Block => {
            set("control", &format!("udev_path={}", wanted.path))?;
            set("control", if wanted.is_read_only { "readonly=1" } else { "readonly=0" })?;
        }
        Kind::File | Kind::BufferedFile => {
            set("control", &format!("fd_dev_name={}", wanted.path))?;
            let size = std::fs::metadata(system.path(&wanted.path))
                .with_context(|| format!("cannot look at {}", wanted.path))?;
            if size.is_file() {
                set("control", &format!("fd_dev_size={}", size.len()))?;
            }
            if wanted.kind == Kind::BufferedFile {
                set("control", "fd_buffered_io=1")?;
            }
        }
    }
    set("udev_path", &wanted.path)?;
    configfs::set_apart(system, &format!("{path}/enable"), "1")
        .with_context(|| format!("LIO cannot open {}", wanted.path))?;
    if wanted.kind == Kind::BufferedFile {
        set("attrib/emulate_write_cache", "1")?;
    }
    if let Some(size) = wanted.block_size {
        set("attrib/block_size", &size.to_string())?;
    }
    set("wwn/vpd_unit_serial", &wanted.serial)?;
    for (name, value) in [("wwn/vendor_id", wanted.vendor), ("wwn/product_id", wanted.product)] {
        if system.exists(format!("{path}/{name}"))? {
            set(name, value)?;
        }
    }
    Ok(store)
}

/// The first number that no adapter has, of whatever kind: the tools count all
/// kinds together.
fn free_adapter(system: &System<'_>, plugin: &str) -> Result<String> {
    let core = configfs::list(system, &format!("{ROOT}/core"))?.unwrap_or_default();
    let used = |number: usize| {
        let end = format!("_{number}");
        core.iter().any(|name| name.ends_with(&end))
    };
    let number = (0..=core.len()).find(|number| !used(*number)).context("no number is free")?;
    Ok(format!("{plugin}_{number}"))
}

/// Makes a target that nobody can reach yet.
pub fn target(system: &System<'_>, iqn: &str) -> Result<()> {
    configfs::make_new(system, &format!("{ROOT}/iscsi/{iqn}"))?;
    configfs::make_new(system, &Target::group(iqn))
}

/// Shows a store as a LUN of the target; the mark tells whose it is.
pub fn lun(system: &System<'_>, iqn: &str, number: u64, store: &Store, mark: &str) -> Result<()> {
    let lun = format!("{}/lun/lun_{number}", Target::group(iqn));
    configfs::make(system, &lun)?;
    configfs::link(system, &store.path(), &format!("{lun}/{mark}"))
}

/// Lets every initiator in that knows the credentials, or every one where there
/// are none.
pub fn admit(
    system: &System<'_>,
    iqn: &str,
    incoming: Option<&Credentials>,
    outgoing: Option<&Credentials>,
) -> Result<()> {
    let group = Target::group(iqn);
    let set = |name: &str, value| configfs::set(system, &format!("{group}/attrib/{name}"), value);
    // First, since what is asked of initiators is settled by it when the target
    // is opened.
    set("authentication", if incoming.is_some() { "1" } else { "0" })?;
    if let Some(incoming) = incoming {
        login(system, &format!("{group}/auth"), incoming, outgoing)?;
    }
    set("demo_mode_write_protect", "0")?;
    set("prod_mode_write_protect", "0")?;
    set("cache_dynamic_acls", "1")?;
    set("generate_node_acls", "1")
}

/// Sets a key of the login.
pub fn parameter(system: &System<'_>, iqn: &str, name: &str, value: &str) -> Result<()> {
    configfs::set(system, &format!("{}/param/{name}", Target::group(iqn)), value)
}

/// Listens at an address. Until the target is opened, whoever comes is told to
/// try again.
pub fn portal(system: &System<'_>, iqn: &str, address: &str) -> Result<()> {
    configfs::make(system, &format!("{}/np/{address}", Target::group(iqn)))
}

/// Opens the target, or closes it, which ends its sessions.
pub fn open(system: &System<'_>, iqn: &str, is_open: bool) -> Result<()> {
    let path = format!("{}/enable", Target::group(iqn));
    let value = if is_open { "1" } else { "0" };
    // The value that it has already is refused.
    match system.exists(&path)? && configfs::get(system, &path)? != value {
        true => configfs::set_apart(system, &path, value),
        false => Ok(()),
    }
}

/// Waits until nobody is logged in any more.
pub fn until_alone(system: &System<'_>, iqn: &str) -> Result<()> {
    let Ok(lio) = Lio::open(system)? else { return Ok(()) };
    system.until(&format!("the sessions of {iqn} to end"), || {
        Ok(match lio.sessions(iqn)? {
            names if names.is_empty() => Ok(()),
            names => Err(format!("{} logged in", names.join(", "))),
        })
    })
}

/// Removes the addresses that a target listens at.
pub fn remove_portals(system: &System<'_>, iqn: &str) -> Result<()> {
    let place = format!("{}/np", Target::group(iqn));
    for name in configfs::list(system, &place)?.unwrap_or_default() {
        configfs::remove(system, &format!("{place}/{name}"))?;
    }
    Ok(())
}

/// Removes a target that nobody is logged in to.
pub fn remove_target(system: &System<'_>, iqn: &str) -> Result<()> {
    let group = Target::group(iqn);
    let acls = format!("{group}/acls");
    for acl in configfs::list(system, &acls)?.unwrap_or_default() {
        let acl = format!("{acls}/{acl}");
        for lun in configfs::list(system, &acl)?.unwrap_or_default() {
            if lun.starts_with("lun_") {
                remove_lun(system, &format!("{acl}/{lun}"))?;
            }
        }
        configfs::remove(system, &acl)?;
    }
    let luns = format!("{group}/lun");
    for lun in configfs::list(system, &luns)?.unwrap_or_default() {
        remove_lun(system, &format!("{luns}/{lun}"))?;
    }
    remove_portals(system, iqn)?;
    configfs::remove(system, &group)?;
    configfs::remove(system, &format!("{ROOT}/iscsi/{iqn}"))
}

fn remove_lun(system: &System<'_>, lun: &str) -> Result<()> {
    for name in configfs::list(system, lun)?.unwrap_or_default() {
        let path = format!("{lun}/{name}");
        if system.read_link(&path).is_ok() {
            configfs::unlink(system, &path)?;
        }
    }
    configfs::remove(system, lun)
}

/// Closes a store's disk. Its adapter goes with it, unless it has others.
pub fn remove_store(system: &System<'_>, store: &Store) -> Result<()> {
    configfs::remove(system, &store.path())?;
    let adapter = format!("{ROOT}/core/{}", store.adapter);
    let others = configfs::list(system, &adapter)?.unwrap_or_default();
    let is_alone = others.iter().all(|name| matches!(name.as_str(), "hba_info" | "hba_mode"));
    match is_alone {
        true => configfs::remove(system, &adapter),
        false => Ok(()),
    }
}

/// Whether the path is a block device, a file, or neither.
pub fn kind_of(path: &Path) -> Result<Kind> {
    use std::os::unix::fs::FileTypeExt;
    let found = std::fs::metadata(path)
        .with_context(|| format!("cannot look at {}", path.display()))?
        .file_type();
    match () {
        () if found.is_block_device() => Ok(Kind::Block),
        () if found.is_file() => Ok(Kind::File),
        () => bail!("{} is neither a block device nor a file", path.display()),
    }
}
