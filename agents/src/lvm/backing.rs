//! Disks that belong to DRBD. A group on DRBD can be seen on the disk beneath
//! it as well, byte for byte, and lvm takes what it sees: where DRBD is down
//! or not promoted, it would activate the group from the disk, and what is
//! then written there, DRBD does not know of.

use super::names::disk_name;
use anyhow::{Context, Result};
use common::View;
use common::host::block::{self, Number};
use common::host::drbd::{self, config};
use common::host::lvm::metadata;
use std::path::{Path, PathBuf};

/// The major number of DRBD's devices.
pub(crate) const DRBD: u32 = 147;

/// A disk that DRBD is configured to lie on.
#[derive(Debug)]
pub(super) struct Backing {
    resource: String,
    disk: String,
}

impl std::fmt::Display for Backing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, the disk beneath DRBD's resource {}", self.disk, self.resource)
    }
}

/// The first of the disks that is DRBD's by its configuration. An error means
/// that it cannot be told: a configuration that cannot be read may name them.
pub(super) fn find(view: &View, disks: impl Iterator<Item = Number>) -> Result<Option<Backing>> {
    let disks: Vec<Number> = disks.collect();
    if disks.is_empty() {
        return Ok(None);
    }
    let unknown = || format!("cannot tell whether {} lies beneath DRBD", disk_name(view, disks[0]));
    if !view.exists("/etc/drbd.conf").with_context(unknown)? {
        return Ok(None);
    }
    let node = drbd::node(view).with_context(unknown)?;
    let configuration = config::read(view, None).with_context(unknown)?;
    Ok(configuration.resources().find_map(|name| {
        let paths = configuration.here(name, &node)?.disks();
        let ours = |path: &&std::path::PathBuf| {
            let number = block::number(view, Path::new(path)).ok().flatten();
            number.is_some_and(|number| disks.contains(&number))
        };
        let disk = paths.iter().find(ours)?;
        Some(Backing { resource: name.to_owned(), disk: disk.display().to_string() })
    }))
}

/// The disks beneath DRBD's device, as far as the kernel tells.
pub(crate) fn beneath(view: &View, device: Number) -> Vec<PathBuf> {
    let resources = drbd::known(view);
    let volumes = resources.into_iter().flat_map(|resource| resource.volumes);
    let ours = volumes.filter(|volume| volume.minor == Some(device.minor));
    ours.filter_map(|volume| volume.backing.map(PathBuf::from)).collect()
}

/// Why a group may not be to be seen: a clause to follow what lvm says.
pub(super) fn absence(view: &View, group: &str) -> String {
    let Some(copy) = metadata::copy(view, group) else { return String::new() };
    for path in copy.disks {
        match block::number(view, &path) {
            Ok(Some(disk)) if disk.major == DRBD && is_read_only(view, disk) => {
                return format!("; it was last on {}, which is not promoted here", path.display());
            }
            Err(_) | Ok(None) => {
                return format!("; it was last on {}, which is not there", path.display());
            }
            Ok(Some(_)) => {}
        }
    }
    String::new()
}

/// DRBD's secondaries are, and can be asked without opening them.
fn is_read_only(view: &View, disk: Number) -> bool {
    view.read(Path::new("/sys/dev/block").join(disk.to_string()).join("ro"))
        .is_ok_and(|ro| ro.trim() == "1")
}
