//! Making LIO's objects, and taking them apart again.
//!
//! Taking apart goes by what is there, object by object, and what is gone
//! already is no error: so it is right after whatever was cut short.

use crate::host::block;
use crate::host::configfs;
use crate::host::credentials::Credentials;
use crate::host::lio::discovery::login;
use crate::host::lio::{Lio, MODULE, ROOT, Store, Target};
use crate::host::lock::{self, Lock};
use crate::host::lookup::{self, Links};
use crate::host::module;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// What the names of LUNs begin with, in a target and below its initiators.
const LUNS: &str = "lun_";

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
    /// Not at all: what initiators send goes to the SCSI disk as it is.
    Passthrough,
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
    /// What a disk says of its maker, where that is not LIO's own. Kernels that
    /// cannot be told say their own.
    pub vendor: Option<String>,
    /// What it says of its model.
    pub model: Model,
    /// Bytes in a block, where that is not the disk's own.
    pub block_size: Option<u32>,
    /// What else is set.
    pub attributes: Vec<Attribute>,
    /// Who makes it: a text that is left in it.
    pub maker: Option<String>,
}

/// What a disk says of its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// This, where the kernel can be told.
    Named(String),
    /// The first 15 letters of the store's name, as targetcli has it.
    Store,
}

/// A setting of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its file's name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether a disk that cannot do it is served all the same.
    pub is_optional: bool,
}

impl Kind {
    fn plugin(self) -> &'static str {
        match self {
            Self::Block => "iblock",
            Self::File | Self::BufferedFile => "fileio",
            Self::Passthrough => "pscsi",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Self::Block => "target_core_iblock",
            Self::File | Self::BufferedFile => "target_core_file",
            Self::Passthrough => "target_core_pscsi",
        }
    }
}

/// Loads what an iSCSI target takes.
pub fn load(system: &System<'_>) -> Result<()> {
    module::load(system, MODULE)?;
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

/// Makes a store, which opens the disk. `note` hears of the adapter before that
/// is made: an empty one has nothing to tell whose it is.
pub fn store(
    system: &System<'_>,
    wanted: &NewStore,
    note: impl FnOnce(&str) -> Result<()>,
) -> Result<Store> {
    module::load(system, wanted.kind.module())?;
    let lock = numbering(system)?;
    let adapter = free_adapter(system, wanted.kind.plugin())?;
    note(&adapter)?;
    let store = Store { adapter, name: wanted.name.clone() };
    let path = store.path();
    configfs::make_new(system, &format!("{ROOT}/core/{}", store.adapter))?;
    configfs::make_new(system, &path)?;
    drop(lock);
    let set = |name: &str, value: &str| configfs::set(system, &format!("{path}/{name}"), value);
    if let Some(maker) = &wanted.maker {
        set("alias", maker)?;
    }
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
        Kind::Passthrough => set("control", &scsi_address(system, &wanted.path)?)?,
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
    if wanted.kind != Kind::Passthrough {
        identify(system, &path, wanted)?;
    }
    for Attribute { name, value, is_optional } in &wanted.attributes {
        if !configfs::exists(system, &format!("{path}/attrib/{name}"))? {
            system.warn(format_args!("LIO has no setting {name}; ignored"));
        } else if let Err(err) = set(&format!("attrib/{name}"), value) {
            match is_optional {
                true => system.warn(format_args!("{} cannot do {name}: {err:#}", wanted.path)),
                false => return Err(err),
            }
        }
    }
    Ok(store)
}

/// What initiators know the disk by. It cannot be changed once it is shown.
fn identify(system: &System<'_>, path: &str, wanted: &NewStore) -> Result<()> {
    let set = |name: &str, value: &str| configfs::set(system, &format!("{path}/{name}"), value);
    set("wwn/vpd_unit_serial", &wanted.serial)?;
    let mut texts = vec![("wwn/vendor_id", wanted.vendor.as_deref())];
    match &wanted.model {
        Model::Named(model) => texts.push(("wwn/product_id", Some(model))),
        Model::Store => texts.push(("attrib/emulate_model_alias", Some("1"))),
    }
    for (name, text) in texts {
        if let Some(text) = text
            && configfs::exists(system, &format!("{path}/{name}"))?
        {
            set(name, text)?;
        }
    }
    Ok(())
}

/// By which numbers the SCSI layer knows the disk.
fn scsi_address(system: &System<'_>, path: &str) -> Result<String> {
    let number = block::number(system, path)?;
    let number = number.with_context(|| format!("{path} is no block device"))?;
    let link = system
        .read_link(format!("/sys/dev/block/{number}/device"))
        .with_context(|| format!("{path} is no SCSI disk"))?;
    let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parts: Vec<&str> = name.split(':').collect();
    match parts[..] {
        [host, channel, target, lun] => Ok(format!(
            "scsi_host_id={host},scsi_channel_id={channel},scsi_target_id={target},scsi_lun_id={lun}"
        )),
        _ => bail!("{path} is no SCSI disk"),
    }
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

/// Makes what is missing of a target.
pub fn complete_target(system: &System<'_>, iqn: &str) -> Result<()> {
    configfs::make(system, &format!("{ROOT}/iscsi/{iqn}"))?;
    configfs::make(system, &Target::group(iqn))
}

/// Shows a store as a LUN of the target; the mark tells whose it is.
pub fn lun(system: &System<'_>, iqn: &str, number: u64, store: &Store, mark: &str) -> Result<()> {
    let lun = Target::lun(iqn, number);
    configfs::make(system, &lun)?;
    configfs::link(system, &store.path(), &format!("{lun}/{mark}"))
}

/// What the target asks of initiators. First of all, since it is settled when
/// the target is opened: credentials that nobody asks for keep nobody out.
pub fn ask(
    system: &System<'_>,
    iqn: &str,
    incoming: Option<&Credentials>,
    outgoing: Option<&Credentials>,
) -> Result<()> {
    let group = Target::group(iqn);
    let value = if incoming.is_some() { "1" } else { "0" };
    configfs::set(system, &format!("{group}/attrib/authentication"), value)?;
    match incoming {
        Some(incoming) => login(system, &format!("{group}/auth"), incoming, outgoing),
        None => Ok(()),
    }
}

/// Lets every initiator in that can answer what is asked, or those alone that
/// are listed.
pub fn admit_all(system: &System<'_>, iqn: &str, all: bool) -> Result<()> {
    let group = Target::group(iqn);
    let set = |name: &str, value| configfs::set(system, &format!("{group}/attrib/{name}"), value);
    set("demo_mode_write_protect", "0")?;
    set("prod_mode_write_protect", "0")?;
    set("cache_dynamic_acls", if all { "1" } else { "0" })?;
    set("generate_node_acls", if all { "1" } else { "0" })
}

/// Sets a key of the login.
pub fn parameter(system: &System<'_>, iqn: &str, name: &str, value: &str) -> Result<()> {
    configfs::set(system, &format!("{}/param/{name}", Target::group(iqn)), value)
}

/// Sets a key of the login or another setting of the target's, whichever has
/// this name. Whether there is one.
pub fn setting(system: &System<'_>, iqn: &str, name: &str, value: &str) -> Result<bool> {
    for place in ["param", "attrib"] {
        let path = format!("{}/{place}/{name}", Target::group(iqn));
        if configfs::exists(system, &path)? {
            configfs::set(system, &path, value)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Listens at an address. Until the target is opened, whoever comes is told to
/// try again.
pub fn portal(system: &System<'_>, iqn: &str, address: &str) -> Result<()> {
    configfs::make(system, &format!("{}/np/{address}", Target::group(iqn)))
}

/// Lets the address take iSER besides.
pub fn iser(system: &System<'_>, iqn: &str, address: &str) -> Result<()> {
    module::load(system, "ib_isert")?;
    configfs::set_apart(system, &format!("{}/np/{address}/iser", Target::group(iqn)), "1")
}

/// Opens the target, or closes it, which ends its sessions.
pub fn open(system: &System<'_>, iqn: &str, is_open: bool) -> Result<()> {
    let path = format!("{}/enable", Target::group(iqn));
    let value = if is_open { "1" } else { "0" };
    // The value that it has already is refused.
    match configfs::find(system, &path)?.is_some_and(|found| found != value) {
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

/// Removes a target that nobody is logged in to. What its LUNs show stays.
pub fn remove_target(system: &System<'_>, iqn: &str) -> Result<()> {
    let group = Target::group(iqn);
    let acls = format!("{group}/acls");
    for acl in configfs::list(system, &acls)?.unwrap_or_default() {
        let acl = format!("{acls}/{acl}");
        configfs::clear(system, &acl, LUNS)?;
        configfs::remove(system, &acl)?;
    }
    configfs::clear(system, &format!("{group}/lun"), LUNS)?;
    remove_portals(system, iqn)?;
    configfs::remove(system, &group)?;
    configfs::remove(system, &format!("{ROOT}/iscsi/{iqn}"))
}

/// Hides a store again. What is under way comes to its end first.
pub fn remove_lun(system: &System<'_>, iqn: &str, number: u64) -> Result<()> {
    let lun = &Target::lun(iqn, number);
    for name in configfs::list(system, lun)?.unwrap_or_default() {
        let path = format!("{lun}/{name}");
        if configfs::linked(system, &path)?.is_some() {
            configfs::unlink(system, &path)?;
        }
    }
    configfs::remove(system, lun)
}

/// Closes a store's disk. Its adapter goes with it, unless it has others.
pub fn remove_store(system: &System<'_>, store: &Store) -> Result<()> {
    configfs::remove(system, &store.path())?;
    match is_bare(system, &store.adapter)? {
        true => remove_adapter(system, &store.adapter),
        false => Ok(()),
    }
}

/// Removes an adapter that has no store.
pub fn remove_adapter(system: &System<'_>, adapter: &str) -> Result<()> {
    configfs::remove(system, &format!("{ROOT}/core/{adapter}"))
}

/// Whether there is such an adapter, without a store.
pub fn is_bare(view: &View, adapter: &str) -> Result<bool> {
    let is_own = |name: &String| matches!(name.as_str(), "hba_info" | "hba_mode");
    let names = configfs::list(view, &format!("{ROOT}/core/{adapter}"))?;
    Ok(names.is_some_and(|names| names.iter().all(is_own)))
}

/// Whether the path is a block device, a file, or neither.
pub fn kind_of(view: &View, path: &Path) -> Result<Kind> {
    let found = lookup::look(view, path, Links::Followed)
        .with_context(|| format!("cannot look at {}", path.display()))?;
    match () {
        () if found.block_device().is_some() => Ok(Kind::Block),
        () if found.is_file() => Ok(Kind::File),
        () => bail!("{} is neither a block device nor a file", path.display()),
    }
}
