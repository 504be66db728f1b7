//! Bringing a group down: waiting for whoever holds a volume, and naming them
//! when the time is over.

use super::Lvm;
use super::look::{State, Target, disk_name};
use anyhow::{Result, bail};
use common::host::block::Number;
use common::host::clock::Pace;
use common::host::dm::{self, Mapper};
use common::host::holders;
use common::host::lvm::Volume;
use common::host::lvm::report::why;
use common::{Plan, System, View};
use std::collections::BTreeMap;
use std::time::Duration;

impl Lvm {
    pub(super) fn plan_stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if from.is_active() {
            plan.step(format!("deactivate {}", self.target), |system| {
                self.keep_others_off(system)?;
                self.target.deactivate(system)
            });
        }
        if !from.is_active() && from.record.is_none() {
            return Ok(plan);
        }
        if let Some(words) = self.return_words()
            && self.target.others(view)?.is_empty()
        {
            plan.step(words, |system| self.give_back(system));
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
        system.drop_hint(&self.hint())
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
            let held = held(system, &found)?;
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
        let held = held(system, &self.look(system)?)?;
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
        let one = self.volume.as_ref().map(|name| format!("{}/{name}", self.group));
        let command = if one.is_some() { "lvchange" } else { "vgchange" };
        let output =
            system.change("lvm", &[command, "-an", one.as_deref().unwrap_or(&self.group)])?;
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

/// The volumes that somebody outside the group has open.
fn held(view: &View, found: &State) -> Result<Vec<Held>> {
    let Ok(mapper) = Mapper::open(view)? else { return Ok(Vec::new()) };
    let mut opened = Vec::new();
    let mut inside: BTreeMap<Number, u32> = BTreeMap::new();
    for volume in &found.active {
        for number in volume.devices.iter() {
            let Some(table) = mapper.table(*number)? else { continue };
            for beneath in table.beneath {
                *inside.entry(beneath).or_default() += 1;
            }
            opened.push((volume, *number, table.open.unwrap_or(0)));
        }
    }
    let outside = |(volume, number, count): (&Volume, Number, u32)| {
        let count = count.saturating_sub(inside.get(&number).copied().unwrap_or(0));
        (count > 0).then(|| Held { name: volume.name.clone(), number, count })
    };
    Ok(opened.into_iter().filter_map(outside).collect())
}
