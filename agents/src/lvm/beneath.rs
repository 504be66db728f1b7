//! What lies beneath the volumes that are active: whether it is there, and
//! what becomes of them if it is not.

use super::look::some;
use anyhow::Result;
use common::View;
use common::host::block::Number;
use common::host::clock::Pace;
use common::host::dm::{Mapper, Table};
use common::host::lvm::Volume;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// As many devices are looked at in each monitor, one by one. Of a larger
/// group it is these many at a time, in turns; its list, and the disks that
/// start found beneath it, are looked at in every one.
const SAMPLE: usize = 16;

/// LVM suspends a volume while it changes it, for a moment.
const MOMENT: Duration = Duration::from_secs(3);

/// What was seen beneath.
#[derive(Debug, Default)]
pub(super) struct Beneath {
    /// The disks, and whether they are there.
    there: BTreeMap<Number, bool>,
    /// Those of them that a volume leads to.
    pub(super) disks: BTreeSet<Number>,
    /// Disks that are gone, and the volumes on them.
    pub(super) lost: BTreeMap<Number, BTreeSet<String>>,
    /// Volumes that are held back or lead nowhere, and what that means.
    pub(super) stuck: Vec<(String, &'static str)>,
    /// Parts of volumes with a disk that is there.
    sound: BTreeSet<String>,
}

/// Which of the devices are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Some, in turns; all if there is reason for doubt.
    Some,
}

impl Beneath {
    /// Looks beneath the volumes. `noted` are disks that were found there
    /// before.
    pub(super) fn look(
        view: &View,
        mapper: &Mapper<'_>,
        volumes: &[Volume],
        noted: &[Number],
        which: Which,
    ) -> Result<Self> {
        let mut beneath = Self::default();
        beneath.there.extend(noted.iter().map(|disk| (*disk, is_there(view, *disk))));
        let devices: Vec<(&str, Number)> = volumes
            .iter()
            .flat_map(|volume| volume.devices.iter().map(|number| (volume.name.as_str(), *number)))
            .collect();
        let in_doubt = beneath.there.values().any(|there| !there);
        if which == Which::All || in_doubt || devices.len() <= SAMPLE {
            beneath.look_at(view, mapper, devices.iter())?;
            return Ok(beneath);
        }
        beneath.look_at(view, mapper, turn(&devices))?;
        if !beneath.lost.is_empty() {
            beneath.look_at(view, mapper, devices.iter())?;
        }
        Ok(beneath)
    }

    fn look_at<'d>(
        &mut self,
        view: &View,
        mapper: &Mapper<'_>,
        devices: impl Iterator<Item = &'d (&'d str, Number)>,
    ) -> Result<()> {
        for (volume, number) in devices {
            let Some(table) = settled(view, mapper, *number)? else { continue };
            if table.suspended {
                let what = "is suspended: whatever writes to it waits";
                self.stuck.push(((*volume).to_owned(), what));
            } else if !table.live {
                let what = "has no table: its activation was cut off";
                self.stuck.push(((*volume).to_owned(), what));
            }
            for disk in table.beneath.into_iter().filter(|disk| disk.major != number.major) {
                self.disks.insert(disk);
                let there = *self.there.entry(disk).or_insert_with(|| is_there(view, disk));
                if !there {
                    self.lost.entry(disk).or_default().insert((*volume).to_owned());
                } else if image(volume).is_some() {
                    self.sound.insert((*volume).to_owned());
                }
            }
        }
        Ok(())
    }

    /// Whether no disk is left.
    pub(super) fn is_bereft(&self) -> bool {
        !self.disks.is_empty() && self.disks.iter().all(|disk| self.lost.contains_key(disk))
    }

    /// Whether each of the volumes that have lost something is a mirror or a
    /// RAID that lacks one image, and has another.
    pub(super) fn is_redundant(&self, volumes: &[Volume]) -> bool {
        self.lost.values().flatten().all(|volume| {
            let Some(owner) = image(volume) else { return false };
            let is_image = |name: &str| image(name) == Some(owner) && !name.contains("_rmeta_");
            let names = volumes.iter().map(|volume| volume.name.as_str());
            let images: Vec<&str> = names.filter(|name| is_image(name)).collect();
            let sound = images.iter().filter(|image| self.sound.contains(**image)).count();
            sound > 0 && images.len() - sound <= 1
        })
    }

    /// What is lost, and to whom.
    pub(super) fn loss(&self) -> String {
        let disks: Vec<String> = self.lost.keys().map(ToString::to_string).collect();
        let volumes: BTreeSet<&String> = self.lost.values().flatten().collect();
        let volumes: Vec<String> = volumes.into_iter().cloned().collect();
        format!("disk {} beneath {} is gone or offline", some(&disks), some(&volumes))
    }
}

/// The volume that one of this name is an image of, as `raid` for
/// `raid_rimage_0`.
fn image(volume: &str) -> Option<&str> {
    ["_rimage_", "_rmeta_", "_mimage_"]
        .iter()
        .find_map(|part| volume.split_once(part))
        .map(|(owner, _)| owner)
}

/// The share of a large group that has its turn now.
fn turn<'d>(devices: &'d [(&'d str, Number)]) -> impl Iterator<Item = &'d (&'d str, Number)> {
    let turns = devices.len().div_ceil(SAMPLE);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_millis() as usize);
    devices.iter().skip(now % turns).step_by(turns)
}

/// The table, after a moment if the device was just being changed.
fn settled(view: &View, mapper: &Mapper<'_>, number: Number) -> Result<Option<Table>> {
    let is_settled =
        |table: &Option<Table>| table.as_ref().is_none_or(|table| table.live && !table.suspended);
    let mut table = mapper.table(number)?;
    if is_settled(&table) {
        return Ok(table);
    }
    let deadline = view.deadline().at_most(MOMENT.min(view.deadline().left() / 4));
    let mut pace = Pace::new();
    while !is_settled(&table) && !deadline.has_passed() {
        pace.rest(deadline);
        table = mapper.table(number)?;
    }
    Ok(table)
}

/// Whether the kernel still has the disk and does not hold it to be dead.
fn is_there(view: &View, disk: Number) -> bool {
    let home = format!("/sys/dev/block/{disk}");
    if matches!(view.exists(&home), Ok(false)) {
        return false;
    }
    // Of a partition, the disk has the state.
    let state = ["device/state", "../device/state"]
        .iter()
        .find_map(|path| view.read(format!("{home}/{path}")).ok())
        .unwrap_or_default();
    let dead = ["offline", "transport-offline", "deleted", "cancel", "dead", "deleting"];
    !dead.contains(&state.trim())
}
