//! Bringing a group down: waiting for whoever holds a volume, and naming them
//! when the time is over.

use super::Lvm;
use super::look::{State, Target};
use super::names::disk_name;
use anyhow::{Result, bail};
use common::host::block::Number;
use common::host::clock::Pace;
use common::host::dm::{self, Mapper, Table};
use common::host::holders;
use common::host::lvm::report::why;
use common::host::lvm::{self, Volume};
use common::{Plan, System, View};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Lvm {
    pub(super) fn plan_stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if from.is_active() {
            let target = from.renamed.as_ref().unwrap_or(&self.target);
            plan.step(format!("deactivate {target}"), |system| {
                self.keep_others_off(system)?;
                self.target.deactivate(system)
            });
        }
        if !from.is_active() && from.record.is_none() && !from.is_damaged {
            return Ok(plan);
        }
        let target = from.renamed.as_ref().unwrap_or(&self.target).clone();
        if let Some(words) = self.return_words(&target.group)
            && target.others(view)?.is_empty()
        {
            plan.step(words, move |system| self.give_back(system, &target));
        }
        plan.step("forget what was wanted", |system| self.target.forget(system));
        Ok(plan)
    }
}

/// Of its time, a stop keeps this much to find out who is in the way.
const INQUIRY: Duration = Duration::from_secs(1);

/// A volume that is open, and by how many.
struct Held {
    name: String,
    number: Number,
    count: u32,
}

impl Target {
    /// Takes back what start has noted, once nothing is active any more.
    pub(crate) fn forget(&self, system: &System<'_>) -> Result<()> {
        if self.look(system)?.is_active() {
            return Ok(());
        }
        system.remove_record(&self.record_name())
    }

    /// Deactivates until nothing is active.
    ///
    /// udev and whatever listens to it open a device for a moment after each
    /// change, so one refusal says little. lvm is not called while a volume is
    /// open: it would wait for itself, and refuse.
    pub(crate) fn deactivate(&self, system: &System<'_>) -> Result<()> {
        let left = system.deadline().left();
        let deadline = system.deadline().at_most(left.saturating_sub(INQUIRY.min(left / 4)));
        let mut pace = Pace::new();
        let mut said = None;
        let mut told = false;
        loop {
            let found = self.look(system)?;
            if !found.is_active() {
                return Ok(());
            }
            let held = self.held(system, &found)?;
            if held.is_empty() {
                said = self.deactivate_once(system, &found)?;
                if !self.look(system)?.is_active() {
                    return Ok(());
                }
            } else if !told {
                told = true;
                system.info(format_args!("waiting: {}", self.holders(system, &held)));
            }
            if deadline.has_passed() {
                break;
            }
            pace.rest(deadline);
        }
        let found = self.look(system)?;
        let mut held = self.held(system, &found)?;
        if held.is_empty() {
            held = found.leaned_on(system)?;
        }
        match (held.is_empty(), said) {
            (false, _) => bail!("cannot deactivate {self}: {}", self.holders(system, &held)),
            (true, Some(said)) => bail!("cannot deactivate {self}: {said}"),
            (true, None) => bail!(
                "cannot deactivate {self}: lvm claims to have done so, and it is still active"
            ),
        }
    }

    /// One attempt; what lvm says if it is not content.
    fn deactivate_once(&self, system: &System<'_>, found: &State) -> Result<Option<String>> {
        if found.is_bereft() {
            // lvm would look for the group on disks that are gone.
            return self.remove(system, found).map(|()| None);
        }
        let target = found.renamed.as_ref().unwrap_or(self);
        let command = if target.volume.is_some() { "lvchange" } else { "vgchange" };
        let output = system.change("lvm", &[command, "-an", &target.name()])?;
        Ok((!output.success()).then(|| why(&output)))
    }

    /// Removes the group's devices, those on top first. Nobody has them open,
    /// and the kernel refuses those that somebody has.
    fn remove(&self, system: &System<'_>, found: &State) -> Result<()> {
        let disks: Vec<String> = found.disks().map(|disk| disk_name(system, disk)).collect();
        system.warn(format_args!(
            "{self}: its disks are gone ({}); removing its unused devices",
            disks.join(", ")
        ));
        let mut left: Vec<Number> =
            found.active.iter().flat_map(|volume| volume.devices.iter().copied()).collect();
        loop {
            let before = left.len();
            let mut refused = None;
            left.retain(|number| match dm::remove(system, *number) {
                Ok(()) => false,
                Err(err) => {
                    refused = Some(err);
                    true
                }
            });
            match refused {
                None => return Ok(()),
                Some(err) if left.len() == before => return Err(err),
                Some(_) => {}
            }
        }
    }

    /// Who holds what.
    fn holders(&self, view: &View, held: &[Held]) -> String {
        let clause = |held: &Held| {
            let who = holders::of_device(view, &format!("dm-{}", held.number.minor));
            let who = match who.is_empty() {
                true => format!("opened {} times, by nobody to be seen", held.count),
                false => who.join(", "),
            };
            format!("{}/{} is held: {who}", self.group, held.name)
        };
        let clauses: Vec<String> = held.iter().take(3).map(clause).collect();
        clauses.join("; ")
    }
}

impl Target {
    /// The volumes that somebody outside the group has open, and those of the
    /// group that lie on the target: lvm takes a snapshot down with its origin.
    fn held(&self, view: &View, found: &State) -> Result<Vec<Held>> {
        let Ok(mapper) = Mapper::open(view)? else { return Ok(Vec::new()) };
        let Some(group) = found.active.first().map(|volume| volume.group) else {
            return Ok(Vec::new());
        };
        let all = match self.volume {
            Some(_) => lvm::identified(&mapper, group.as_str(), "", 0)?.volumes.into_items(),
            None => found.active.clone(),
        };
        Ok(Devices::look(&mapper, &all)?.held(&found.active))
    }
}

impl State {
    /// Those of the target's devices that others in its group lie on.
    fn leaned_on(&self, view: &View) -> Result<Vec<Held>> {
        let Ok(mapper) = Mapper::open(view)? else { return Ok(Vec::new()) };
        Ok(Devices::look(&mapper, &self.active)?.held(&self.active))
    }
}

/// A device of a group, and how often somebody outside has it open.
struct Device<'v> {
    volume: &'v Volume,
    number: Number,
    outside: u32,
    beneath: Vec<Number>,
}

impl Device<'_> {
    fn held(&self) -> Held {
        Held { name: self.volume.name.clone(), number: self.number, count: self.outside }
    }
}

/// The devices of these volumes, among which they are counted as inside.
struct Devices<'v>(Vec<Device<'v>>);

impl<'v> Devices<'v> {
    fn look(mapper: &Mapper<'_>, volumes: &'v [Volume]) -> Result<Self> {
        let mut tables = Vec::new();
        for volume in volumes {
            for number in volume.devices.iter() {
                tables.extend(mapper.table(*number)?.map(|table| (volume, *number, table)));
            }
        }
        Ok(Self::of(tables))
    }

    fn of(tables: Vec<(&'v Volume, Number, Table)>) -> Self {
        let mut inside: BTreeMap<Number, u32> = BTreeMap::new();
        for beneath in tables.iter().flat_map(|(_, _, table)| &table.beneath) {
            *inside.entry(*beneath).or_default() += 1;
        }
        let device = |(volume, number, table): (&'v Volume, Number, Table)| {
            let inside = inside.get(&number).copied().unwrap_or(0);
            let outside = table.open.unwrap_or(0).saturating_sub(inside);
            Device { volume, number, outside, beneath: table.beneath }
        };
        Self(tables.into_iter().map(device).collect())
    }

    /// Those that somebody outside has open, of the target and of what lies
    /// on it.
    fn held(&self, target: &[Volume]) -> Vec<Held> {
        let upon = self.upon(target);
        let is_held = |device: &&Device<'_>| upon.contains(&device.number) && device.outside > 0;
        self.0.iter().filter(is_held).map(Device::held).collect()
    }

    /// The devices of the target, and those that lie on them.
    fn upon(&self, target: &[Volume]) -> BTreeSet<Number> {
        let mut upon: BTreeSet<Number> =
            target.iter().flat_map(|volume| volume.devices.iter().copied()).collect();
        loop {
            let before = upon.len();
            for device in &self.0 {
                if device.beneath.iter().any(|beneath| upon.contains(beneath)) {
                    upon.insert(device.number);
                }
            }
            if upon.len() == before {
                return upon;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::host::lvm::testing::volume;

    fn number(minor: u32) -> Number {
        Number { major: 254, minor }
    }

    fn table(open: u32, beneath: &[u32]) -> Table {
        let beneath = beneath.iter().map(|minor| number(*minor)).collect();
        Table { open: Some(open), live: true, beneath, ..Table::default() }
    }

    /// As lvm has them: plain and snap both lie on what plain was before.
    fn held(plain: u32, snap: u32, target: &str) -> Vec<String> {
        let volumes =
            [volume("plain", &[number(14), number(13)]), volume("snap", &[number(16), number(15)])];
        let devices = Devices::of(vec![
            (&volumes[0], number(14), table(plain, &[13])),
            (&volumes[0], number(13), table(2, &[])),
            (&volumes[1], number(16), table(snap, &[15, 13])),
            (&volumes[1], number(15), table(1, &[])),
        ]);
        let target: Vec<Volume> =
            volumes.iter().filter(|volume| volume.name == target).cloned().collect();
        devices.held(&target).into_iter().map(|held| held.name).collect()
    }

    #[test]
    fn an_origin_is_not_held_by_its_idle_snapshot() {
        assert!(held(0, 0, "plain").is_empty());
        assert!(held(0, 0, "snap").is_empty());
    }

    #[test]
    fn an_origin_is_held_by_whoever_holds_its_snapshot() {
        assert_eq!(held(0, 1, "plain"), ["snap"]);
        assert_eq!(held(1, 0, "plain"), ["plain"]);
        assert!(held(1, 0, "snap").is_empty(), "the origin is not on its snapshot");
    }
}
