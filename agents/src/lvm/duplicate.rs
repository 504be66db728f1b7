//! Disks that LVM sees twice: on DRBD, and on what lies beneath it. lvm uses
//! one of the two and refuses to activate or change the group. Which of them
//! is the right one can be told here: the kernel's DRBD says what its disk is.

use super::backing::{self, DRBD};
use super::names::{disk_name, some};
use anyhow::{Result, bail};
use common::View;
use common::host::block::{self, Number};
use common::host::lvm::report::{self, Disk, Group};
use common::host::lvm::scope::Scope;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A DRBD device, and the disk beneath it where LVM sees the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Duplicate {
    device: PathBuf,
    number: Number,
    id: String,
    beneath: Vec<PathBuf>,
}

/// A group as lvm sees it where it is shown what is right.
pub(crate) struct Reported {
    pub(crate) group: Group,
    /// What lvm has to be shown.
    pub(crate) scope: Scope,
    /// What it would see besides.
    pub(crate) duplicates: Vec<Duplicate>,
}

/// Has lvm look for the group, past the disks beneath DRBD; or what it says
/// where there is none.
pub(super) fn ask(view: &View, name: &str) -> Result<Result<Reported, String>> {
    let group = match report::group(view, &Scope::Configured, name)? {
        Ok(group) => group,
        Err(why) => return Ok(Err(why)),
    };
    let duplicates = find(view, &group)?;
    if duplicates.is_empty() {
        return Ok(Ok(Reported { group, scope: Scope::Configured, duplicates }));
    }
    let once =
        group.disks.iter().filter(|disk| !duplicates.iter().any(|duplicate| duplicate.is(disk)));
    let once = once.filter(|disk| disk.number.is_some()).map(|disk| disk.path.clone());
    let shown = once.chain(duplicates.iter().map(|duplicate| duplicate.device.clone())).collect();
    let scope = Scope::only(view, shown)?;
    // What was read may have come from the disk beneath, which need not be up
    // to date.
    let group = report::group(view, &scope, name)?;
    Ok(group.map(|group| Reported { group, scope, duplicates }))
}

impl Duplicate {
    fn is(&self, disk: &Disk) -> bool {
        self.id == disk.id
    }

    /// That it is there, and what to do about it.
    pub(crate) fn warning(&self, group: &str) -> String {
        let device = self.device.display();
        let beneath: Vec<String> = self.beneath.iter().map(|p| p.display().to_string()).collect();
        format!(
            "LVM sees {group} also on {}, the disk beneath {device}; it is shown {device} alone by this agent, and by \
             nobody else: set global_filter = [ \"a|^/dev/drbd|\", \"r|.*|\" ] in lvm.conf, or reject the disk",
            some(&beneath)
        )
    }
}

/// Where the group's disks are, if all that are seen twice are so on DRBD and
/// beneath it: the DRBD device for each of these.
pub(crate) fn places(view: &View, group: &Group) -> Result<Vec<Option<Number>>> {
    let duplicates = find(view, group)?;
    let disks = group.disks.iter().filter(|disk| !disk.duplicate);
    let place = |disk: &Disk| {
        let duplicate = duplicates.iter().find(|duplicate| duplicate.is(disk));
        duplicate.map(|duplicate| duplicate.number).or(disk.number)
    };
    Ok(disks.map(place).collect())
}

/// The group's disks that are seen on DRBD and beneath it. One that is seen
/// twice in any other way is an error.
pub(crate) fn find(view: &View, group: &Group) -> Result<Vec<Duplicate>> {
    let mut duplicates: Vec<Duplicate> = Vec::new();
    for again in group.disks.iter().filter(|disk| disk.duplicate) {
        if duplicates.iter().any(|duplicate| duplicate.is(again)) {
            continue;
        }
        let places: Vec<&Disk> = group.disks.iter().filter(|disk| disk.id == again.id).collect();
        match places.iter().find_map(|disk| duplicate(view, disk, &places)) {
            Some(duplicate) => duplicates.push(duplicate),
            None => {
                let others: Vec<String> = places
                    .iter()
                    .filter(|disk| disk.duplicate)
                    .map(|disk| disk.path.display().to_string())
                    .collect();
                bail!(
                    "volume group {} is seen twice, also on {}, and these are not a DRBD device and its disk: reject \
                     the wrong one by global_filter in lvm.conf",
                    group.name,
                    some(&others)
                )
            }
        }
    }
    Ok(duplicates)
}

/// The disk as a duplicate, if it is the DRBD device that all the others lie
/// beneath.
fn duplicate(view: &View, disk: &Disk, places: &[&Disk]) -> Option<Duplicate> {
    let number = disk.number.filter(|number| number.major == DRBD)?;
    let beneath = Below::look(view, number);
    let others: Vec<&Disk> =
        places.iter().copied().filter(|place| place.path != disk.path).collect();
    others.iter().all(|other| beneath.has(other)).then(|| Duplicate {
        device: disk_name(view, number).into(),
        number,
        id: disk.id.clone(),
        beneath: others.iter().map(|other| other.path.clone()).collect(),
    })
}

/// What lies beneath a DRBD device: the disk that the kernel's DRBD has, and
/// what that is made of in turn.
#[derive(Default)]
struct Below {
    paths: Vec<PathBuf>,
    numbers: BTreeSet<Number>,
}

impl Below {
    fn look(view: &View, device: Number) -> Self {
        let mut found = Self::default();
        let mut left = vec![device];
        while let Some(device) = left.pop() {
            let number = |path: &PathBuf| block::number(view, path).ok().flatten();
            let below: Vec<Number> = match device.major {
                DRBD => {
                    let paths = backing::beneath(view, device);
                    let numbers = paths.iter().filter_map(number).collect();
                    found.paths.extend(paths);
                    numbers
                }
                _ => block::below(view, device),
            };
            left.extend(below.into_iter().filter(|number| found.numbers.insert(*number)));
        }
        found
    }

    fn has(&self, disk: &Disk) -> bool {
        let by_number = disk.number.is_some_and(|number| self.numbers.contains(&number));
        by_number || self.paths.contains(&disk.path)
    }
}
