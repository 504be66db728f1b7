//! What the node needs for itself: its root, its swap, and what lies beneath.

use anyhow::{Context, Result};
use common::View;
use common::host::block::{self, Number};
use common::host::dm::Mapper;
use common::host::lvm::Volume;
use std::collections::BTreeSet;

/// Without what is mounted here a node does not run, or does not boot.
const PLACES: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/boot/efi",
    "/efi",
    "/etc",
    "/lib",
    "/root",
    "/sbin",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/tmp",
];

/// Which of the group's volumes the node needs, if it needs one.
pub(super) fn of(view: &View, mapper: &Mapper<'_>, volumes: &[Volume]) -> Result<Option<String>> {
    let needed = needed(view, mapper)?;
    let found =
        volumes.iter().find(|volume| volume.devices.iter().any(|number| needed.contains(number)));
    Ok(found.map(|volume| volume.name.clone()))
}

/// The devices that hold the node up, and those beneath them.
fn needed(view: &View, mapper: &Mapper<'_>) -> Result<BTreeSet<Number>> {
    let mounts = view.read("/proc/self/mountinfo").context("cannot read the mount table")?;
    let mut left: Vec<Number> = mounts.lines().flat_map(|line| mounted(view, line)).collect();
    let swaps = view.read("/proc/swaps").context("cannot read /proc/swaps")?;
    let paths = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    left.extend(paths.filter_map(|path| block::number(view, path).ok().flatten()));
    let mut needed = BTreeSet::new();
    while let Some(device) = left.pop() {
        if needed.insert(device) {
            left.extend(mapper.table(device)?.into_iter().flat_map(|table| table.beneath));
        }
    }
    Ok(needed)
}

/// The devices of a mount, if it is at one of the places. btrfs gives itself a
/// number that is no device's, so the source is asked as well.
fn mounted(view: &View, line: &str) -> Vec<Number> {
    let fields: Vec<&str> = line.split(' ').collect();
    let (Some(number), Some(place)) = (fields.get(2), fields.get(4)) else { return Vec::new() };
    if !PLACES.contains(place) {
        return Vec::new();
    }
    let source = fields.iter().position(|field| *field == "-").and_then(|at| fields.get(at + 2));
    let by_source = source.filter(|source| source.starts_with("/dev/"));
    let by_source = by_source.and_then(|source| block::number(view, source).ok().flatten());
    Number::parse(number).into_iter().chain(by_source).collect()
}
