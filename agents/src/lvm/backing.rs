//! Disks that belong to DRBD. A group on DRBD can be seen on the disk beneath
//! it as well, byte for byte, and lvm takes what it sees: where DRBD is down
//! or not promoted, it would activate the group from the disk, and what is
//! then written there, DRBD does not know of.

use super::look::disk_name;
use anyhow::{Context, Result};
use common::View;
use common::host::block::{self, Number};
use common::host::drbd::{self, config};
use std::path::Path;

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
