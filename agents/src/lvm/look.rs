//! What is active of a group, and what is wrong with it.

use super::backing::{self, Backing};
use super::record::Record;
use anyhow::Result;
use common::host::block::{self, Number};
use common::host::clock::Pace;
use common::host::dm::{Mapper, Table};
use common::host::lvm::metadata::{self, Metadata};
use common::host::lvm::{self, Volume, escaped};
use common::{Fact, View};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// As many devices are looked at in each monitor, one by one. Of a larger
/// group it is these many at a time, in turns; its list, and the disks that
/// start found beneath it, are looked at in every one.
const SAMPLE: usize = 32;

/// LVM suspends a volume while it changes it, for a moment.
const MOMENT: Duration = Duration::from_secs(3);

/// A group, or a volume in it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The group's name.
    pub(crate) group: String,
    /// The volume's; none for all of them.
    pub(crate) volume: Option<String>,
    /// Whether a lost disk is no reason to fail.
    pub(crate) bears_loss: bool,
    /// Whether this is one of many monitors.
    pub(crate) is_asked_again: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.volume {
            Some(volume) => write!(f, "logical volume {}/{volume}", self.group),
            None => write!(f, "volume group {}", self.group),
        }
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub struct State {
    /// What is active of the target, parts of volumes included.
    pub(crate) active: Vec<Volume>,
    /// Names of the group's volumes that are active and not the target's.
    pub(crate) others: Vec<String>,
    /// What start has left.
    pub(crate) record: Option<Record>,
    /// Names of volumes that should be active and are not.
    missing: Vec<String>,
    /// Volumes that are held back, or that lead nowhere.
    stuck: Vec<(String, &'static str)>,
    /// Disks that are gone, and the volumes on them.
    pub(crate) lost: BTreeMap<Number, BTreeSet<String>>,
    /// That it is active past DRBD, if it is.
    bypass: Option<Backing>,
    /// Disks that were seen beneath.
    pub(crate) disks: BTreeSet<Number>,
}

impl State {
    /// Whether anything of the target is active.
    pub(crate) fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Whether no disk beneath it is left.
    pub(crate) fn is_bereft(&self) -> bool {
        !self.disks.is_empty() && self.disks.iter().all(|disk| self.lost.contains_key(disk))
    }

    /// Why the target is not what it should be.
    pub(super) fn fault(&self, target: &Target) -> Option<String> {
        if let Some(bypass) = &self.bypass {
            return Some(format!("{target} is active on {bypass}"));
        }
        if !self.missing.is_empty() {
            let are = if self.missing.len() == 1 { "is" } else { "are" };
            return Some(format!("{} of {target} {are} not active", some(&self.missing)));
        }
        if let Some((volume, what)) = self.stuck.first() {
            return Some(format!("{}/{volume} {what}", target.group));
        }
        if target.bears_loss || self.lost.is_empty() || self.is_redundant() {
            return None;
        }
        Some(self.loss())
    }

    /// What a person should see to.
    pub(super) fn blemish(&self, _: &Target) -> Option<String> {
        (!self.lost.is_empty()).then(|| self.loss())
    }

    /// Whether each volume that has lost something has lost one image of a
    /// mirror or of a RAID, which can do without.
    fn is_redundant(&self) -> bool {
        let mut images: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for volume in self.lost.values().flatten() {
            let Some((owner, image)) = image(volume) else { return false };
            images.entry(owner).or_default().insert(image);
        }
        images.values().all(|images| images.len() == 1)
    }

    fn loss(&self) -> String {
        let disks: Vec<String> = self.lost.keys().map(ToString::to_string).collect();
        let volumes: BTreeSet<&str> = self.lost.values().flatten().map(String::as_str).collect();
        let volumes: Vec<String> = volumes.into_iter().map(str::to_owned).collect();
        format!("disk {} beneath {} is gone or offline", some(&disks), some(&volumes))
    }
}

/// `raid_rimage_0` as the image 0 of `raid`.
fn image(volume: &str) -> Option<(&str, &str)> {
    ["_rimage_", "_rmeta_", "_mimage_"].iter().find_map(|part| volume.split_once(part))
}

/// A few of many.
pub(crate) fn some(names: &[String]) -> String {
    const FEW: usize = 5;
    match names.len() {
        0..=FEW => names.join(", "),
        many => format!("{} and {} more", names[..FEW].join(", "), many - FEW),
    }
}

impl Target {
    /// A whole group.
    pub(crate) fn whole(group: &str, is_asked_again: bool) -> Self {
        Self { group: group.to_owned(), volume: None, bears_loss: false, is_asked_again }
    }

    /// What the hint is called that start leaves.
    pub(crate) fn hint(&self) -> String {
        let group = escaped(&self.group);
        match &self.volume {
            Some(volume) => format!("LVM-{group}-{}.wanted", escaped(volume)),
            None => format!("LVM-{group}.wanted"),
        }
    }

    /// Looks at the device-mapper, and at the disks.
    pub(crate) fn look(&self, view: &View) -> Result<State> {
        let record = view.hint(&self.hint()).as_deref().and_then(Record::parse);
        let mut state = State { record, ..State::default() };
        let Some(mapper) = Mapper::open(view)? else { return Ok(state) };
        for volume in lvm::active(&mapper, &self.group)? {
            match self.includes(&volume.name) {
                true => state.active.push(volume),
                false => state.others.push(volume.name),
            }
        }
        if state.is_active() {
            self.look_for_missing(view, &mut state);
            self.look_beneath(view, &mapper, &mut state)?;
            // Start has asked of those that it has noted.
            let noted =
                state.record.as_ref().map(|record| record.disks.as_slice()).unwrap_or_default();
            state.bypass = backing::find(
                view,
                state.disks.iter().filter(|disk| !noted.contains(disk)).copied(),
            );
        }
        Ok(state)
    }

    fn includes(&self, name: &str) -> bool {
        let Some(wanted) = &self.volume else { return true };
        let rest = name.strip_prefix(wanted.as_str());
        rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('_') && lvm::is_hidden(name)))
    }

    fn look_for_missing(&self, view: &View, state: &mut State) {
        let group = state.active.first().map(|volume| volume.group.clone()).unwrap_or_default();
        let is_active = |id: &str| state.active.iter().any(|volume| volume.id == id);
        let copy = || metadata::copy(view, &self.group).filter(|copy| copy.id == group);
        let record = state.record.as_ref().filter(|record| record.group == group);
        let missing = match (record, &self.volume) {
            (Some(record), _) => {
                let absent = record.volumes.iter().filter(|(id, _)| !is_active(id));
                let mut absent: Vec<_> = absent.cloned().collect();
                if !absent.is_empty()
                    && let Some(copy) = copy()
                {
                    // Removed since, with lvm's knowledge: nobody misses it.
                    absent.retain(|(id, _)| copy.volumes.iter().any(|volume| volume.id == *id));
                }
                absent.into_iter().map(|(_, name)| name).collect()
            }
            (None, Some(wanted)) if !state.active.iter().any(|volume| volume.name == *wanted) => {
                vec![wanted.clone()]
            }
            (None, Some(_)) => Vec::new(),
            (None, None) => copy().map(|copy| unseen(&copy, is_active)).unwrap_or_default(),
        };
        state.missing = missing;
    }

    fn look_beneath(&self, view: &View, mapper: &Mapper<'_>, state: &mut State) -> Result<()> {
        let noted = state.record.iter().flat_map(|record| record.disks.iter().copied());
        let mut there: BTreeMap<Number, bool> =
            noted.map(|disk| (disk, is_there(view, disk))).collect();
        let in_doubt = there.values().any(|there| !there);
        let devices: Vec<(String, Number)> = state
            .active
            .iter()
            .flat_map(|volume| {
                volume.devices.iter().map(|device| (volume.name.clone(), device.number))
            })
            .collect();
        // With reason for doubt, every one of them.
        let all = in_doubt || devices.len() <= SAMPLE || !self.is_asked_again;
        let looked_at: Vec<_> = match all {
            true => devices.iter().collect(),
            false => turn(&devices).collect(),
        };
        for (volume, number) in looked_at {
            let Some(table) = settled(view, mapper, *number)? else { continue };
            if table.suspended {
                state.stuck.push((volume.clone(), "is suspended: whatever writes to it waits"));
            } else if !table.live {
                state.stuck.push((volume.clone(), "has no table: its activation was cut off"));
            }
            for disk in table.beneath.into_iter().filter(|disk| disk.major != number.major) {
                state.disks.insert(disk);
                if !*there.entry(disk).or_insert_with(|| is_there(view, disk)) {
                    state.lost.entry(disk).or_default().insert(volume.clone());
                }
            }
        }
        Ok(())
    }
}

fn unseen(copy: &Metadata, is_active: impl Fn(&str) -> bool) -> Vec<String> {
    let wanted = copy.volumes.iter().filter(|volume| volume.is_wanted);
    wanted.filter(|volume| !is_active(&volume.id)).map(|volume| volume.name.clone()).collect()
}

/// The share of a large group that has its turn now.
fn turn(devices: &[(String, Number)]) -> impl Iterator<Item = &(String, Number)> {
    let turns = devices.len().div_ceil(SAMPLE);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_millis() as usize);
    devices.iter().skip(now % turns).step_by(turns)
}

/// The table, after a moment if the device was just being changed.
fn settled(view: &View, mapper: &Mapper<'_>, number: Number) -> Result<Option<Table>> {
    let deadline = view.deadline().at_most(MOMENT.min(view.deadline().left() / 4));
    let mut pace = Pace::new();
    loop {
        let table = mapper.table(number)?;
        let unsettled = table.as_ref().is_some_and(|table| table.suspended || !table.live);
        if !unsettled || deadline.has_passed() {
            return Ok(table);
        }
        pace.rest(deadline);
    }
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
    !matches!(
        state.trim(),
        "offline" | "transport-offline" | "deleted" | "cancel" | "dead" | "deleting"
    )
}

impl Target {
    pub(crate) fn facts(&self, state: &State) -> Vec<Fact> {
        let mut facts = Vec::new();
        let visible: Vec<String> =
            state.active.iter().filter(|v| !v.is_hidden()).map(|v| v.name.clone()).collect();
        if !visible.is_empty() {
            facts.push(Fact::new("active", some(&visible)));
        }
        if !state.missing.is_empty() {
            facts.push(Fact::new("missing", some(&state.missing)));
        }
        if !state.disks.is_empty() {
            facts.push(Fact::new(
                "disks",
                state.disks.iter().map(shown(&state.lost)).collect::<Vec<_>>().join(", "),
            ));
        }
        if !state.others.is_empty() {
            facts.push(Fact::new("besides", some(&state.others)));
        }
        facts
    }
}

fn shown(lost: &BTreeMap<Number, BTreeSet<String>>) -> impl Fn(&Number) -> String + '_ {
    |disk| if lost.contains_key(disk) { format!("{disk} (gone)") } else { disk.to_string() }
}

/// The disk's name for people: `/dev/drbd0`, or its number.
pub(crate) fn disk_name(view: &View, disk: Number) -> String {
    block::name(view, disk).map_or_else(|| disk.to_string(), |name| format!("/dev/{name}"))
}
