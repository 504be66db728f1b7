//! What lies beneath the volumes that are active: whether it is there, and
//! what becomes of them if it is not.

use super::names::some;
use anyhow::Result;
use common::View;
use common::host::block::{self, Number};
use common::host::clock::Pace;
use common::host::dm::{Mapper, Table};
use common::host::lvm::Volume;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// As many devices are looked at in each monitor, one by one. Of a larger
/// group it is about as many at a time, in turns; its list, and the disks that
/// start found beneath it, are looked at in every one.
const SAMPLE: usize = 16;

/// LVM suspends a volume while it changes it, for a moment.
const MOMENT: Duration = Duration::from_secs(3);

/// What was seen beneath.
#[derive(Debug, Default)]
pub(super) struct Underlying {
    /// The disks, and whether they are there. A map of multipath's counts as
    /// a disk, which is there as long as one of its paths is.
    there: BTreeMap<Number, bool>,
    /// Those of them that a volume leads to.
    pub(super) disks: BTreeSet<Number>,
    /// What the volumes lie on directly: the group's disks as LVM sees them.
    pub(super) carriers: BTreeSet<Number>,
    /// Disks that are gone, and the volumes on them.
    pub(super) lost: BTreeMap<Number, BTreeSet<String>>,
    /// Volumes that are held back or lead nowhere, and what that means.
    pub(super) stuck: Vec<(String, &'static str)>,
    /// Why it cannot be told of a disk whether it is there.
    pub(super) doubt: Option<String>,
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

impl Underlying {
    /// Looks beneath the volumes. `noted` are disks that were found there
    /// before.
    pub(super) fn look(
        view: &View,
        mapper: &Mapper<'_>,
        volumes: &[Volume],
        noted: &[Number],
        which: Which,
    ) -> Result<Self> {
        let mut look =
            Look { view, mapper, volumes, layers: BTreeMap::new(), seen: Self::default() };
        for disk in noted {
            look.ask_for(*disk)?;
        }
        let devices: usize = volumes.iter().map(|volume| volume.devices.len()).sum();
        let in_doubt = look.seen.there.values().any(|there| !there);
        if which == Which::All || in_doubt || devices <= SAMPLE {
            look.at(volumes.iter())?;
            return Ok(look.seen);
        }
        look.at(turn(volumes, devices.div_ceil(SAMPLE)))?;
        if !look.seen.lost.is_empty() {
            look.at(volumes.iter())?;
        }
        Ok(look.seen)
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

/// A look in the making.
struct Look<'l> {
    view: &'l View,
    mapper: &'l Mapper<'l>,
    volumes: &'l [Volume],
    /// The disks to which layers lead that are no volumes of the target:
    /// encryption, partitions, pools.
    layers: BTreeMap<Number, Vec<Number>>,
    seen: Underlying,
}

impl Look<'_> {
    fn at<'v>(&mut self, volumes: impl Iterator<Item = &'v Volume>) -> Result<()> {
        for volume in volumes {
            for device in volume.devices.iter() {
                self.at_device(&volume.name, *device)?;
            }
        }
        Ok(())
    }

    fn at_device(&mut self, volume: &str, device: Number) -> Result<()> {
        let Some(table) = settled(self.view, self.mapper, device)? else { return Ok(()) };
        self.note_stuck(volume, &table);
        for beneath in table.beneath {
            for disk in self.disks(volume, beneath)? {
                self.seen.carriers.insert(beneath);
                self.note_disk(volume, disk);
            }
        }
        Ok(())
    }

    fn note_stuck(&mut self, volume: &str, table: &Table) {
        if table.suspended {
            let what = "is suspended: whatever writes to it waits";
            self.seen.stuck.push((volume.to_owned(), what));
        } else if !table.live {
            let what = "has no table: its activation was cut off";
            self.seen.stuck.push((volume.to_owned(), what));
        }
    }

    fn note_disk(&mut self, volume: &str, disk: Number) {
        let seen = &mut self.seen;
        seen.disks.insert(disk);
        if seen.there.get(&disk) == Some(&false) {
            seen.lost.entry(disk).or_default().insert(volume.to_owned());
        } else if image(volume).is_some() {
            seen.sound.insert(volume.to_owned());
        }
    }

    /// Whether the number is one of the device-mapper's.
    fn is_mapped(&self, device: Number) -> bool {
        let mapped = self.volumes.first().and_then(|volume| volume.devices.first());
        mapped.is_some_and(|mapped| mapped.major == device.major)
    }

    /// The disks that a device beneath a volume leads to. Another volume of the
    /// target is looked at for itself.
    fn disks(&mut self, volume: &str, device: Number) -> Result<Vec<Number>> {
        if !self.is_mapped(device) {
            self.ask_for(device)?;
            return Ok(vec![device]);
        }
        if self.volumes.iter().any(|volume| volume.devices.contains(&device)) {
            return Ok(Vec::new());
        }
        if let Some(known) = self.layers.get(&device) {
            return Ok(known.clone());
        }
        let mut disks = Vec::new();
        match settled(self.view, self.mapper, device)? {
            Some(table) if !table.multipath => {
                self.note_stuck(volume, &table);
                for beneath in table.beneath {
                    disks.extend(self.disks(volume, beneath)?);
                }
            }
            Some(_) | None => {
                self.ask_for(device)?;
                disks.push(device);
            }
        }
        self.layers.insert(device, disks.clone());
        Ok(disks)
    }

    /// Finds out whether the disk is there.
    fn ask_for(&mut self, disk: Number) -> Result<()> {
        if self.seen.there.contains_key(&disk) {
            return Ok(());
        }
        let there = if self.is_mapped(disk) { self.has_path(disk)? } else { self.is_there(disk) };
        self.seen.there.insert(disk, there);
        Ok(())
    }

    /// Whether a map of multipath's has a way to its disk.
    fn has_path(&mut self, map: Number) -> Result<bool> {
        if self.mapper.table(map)?.is_none() {
            return Ok(false);
        }
        let paths = self.mapper.paths(map)?;
        Ok(paths.into_iter().any(|(path, works)| works && self.is_there(path)))
    }

    /// Whether the kernel has the disk. Where it does not say, the disk is not
    /// held to be gone, and the doubt is told.
    fn is_there(&mut self, disk: Number) -> bool {
        match block::is_there(self.view, disk) {
            Ok(there) => there,
            Err(err) => {
                let doubt = format!("cannot tell whether disk {disk} is there: {err}");
                self.seen.doubt.get_or_insert(doubt);
                true
            }
        }
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

/// The share of a large group that has its turn now, of so many shares.
fn turn(volumes: &[Volume], turns: usize) -> impl Iterator<Item = &Volume> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_millis() as usize);
    volumes.iter().skip(now % turns.min(volumes.len())).step_by(turns)
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
