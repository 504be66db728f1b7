//! What is active of a group, and what is wrong with it.

use super::backing::{self, Backing};
use super::names::{disk_name, some};
use super::record::Record;
use super::underlying::{Underlying, Which};
use anyhow::{Result, bail};
use common::host::block::Number;
use common::host::dm::Mapper;
use common::host::lvm::{self, Volume, escaped, label};
use common::host::record::Damaged;
use common::{Absent, Fact, View};
use std::fmt;
use std::time::Duration;

/// So long the disks are asked, of a volume that is missed, whether the group
/// still has it.
const INQUIRY: Duration = Duration::from_secs(5);

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
    /// Proof that nothing is.
    pub(crate) absent: Option<Absent>,
    /// What start has left.
    pub(crate) record: Option<Record>,
    /// Whether it has left what cannot be read.
    pub(crate) is_damaged: bool,
    /// The target under the names that it has now, if these are others.
    pub(crate) renamed: Option<Target>,
    /// Names of volumes that should be active and are not.
    missing: Vec<String>,
    /// That it is active past DRBD, if it is.
    bypass: Option<Backing>,
    /// Why it cannot be told whether it is.
    doubt: Option<String>,
    /// What lies beneath.
    underlying: Underlying,
}

impl State {
    /// Whether anything of the target is active.
    pub(crate) fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Whether this volume is among what is active.
    pub(crate) fn has(&self, volume: &Volume) -> bool {
        self.active.iter().any(|one| one.id == volume.id && one.group == volume.group)
    }

    /// Whether no disk beneath it is left.
    pub(crate) fn is_bereft(&self) -> bool {
        self.underlying.is_bereft()
    }

    /// The disks beneath it.
    pub(crate) fn disks(&self) -> impl Iterator<Item = Number> {
        self.underlying.disks.iter().copied()
    }

    /// Why the target is not what it should be.
    pub(super) fn fault(&self, target: &Target) -> Option<String> {
        if let Some(renamed) = &self.renamed {
            return Some(format!("{target} is active under the name {} now", renamed.name()));
        }
        if let Some(bypass) = &self.bypass {
            return Some(format!("{target} is active on {bypass}"));
        }
        if !self.missing.is_empty() {
            let are = if self.missing.len() == 1 { "is" } else { "are" };
            return Some(format!("{} of {target} {are} not active", some(&self.missing)));
        }
        if let Some((volume, what)) = self.underlying.stuck.first() {
            return Some(format!("{}/{volume} {what}", target.group));
        }
        let bears = target.bears_loss || self.underlying.is_redundant(&self.active);
        self.loss().filter(|_| !bears)
    }

    fn loss(&self) -> Option<String> {
        (!self.underlying.lost.is_empty()).then(|| self.underlying.loss())
    }

    /// What a person should see to.
    pub(super) fn blemish(&self) -> Option<String> {
        let doubt = self.underlying.doubt.as_ref().or(self.doubt.as_ref());
        self.loss().or_else(|| doubt.cloned())
    }
}

impl Target {
    /// A whole group.
    pub(crate) fn whole(group: &str, is_asked_again: bool) -> Self {
        Self { group: group.to_owned(), volume: None, bears_loss: false, is_asked_again }
    }

    /// What the record is called that start leaves.
    pub(crate) fn record_name(&self) -> String {
        let group = escaped(&self.group);
        match &self.volume {
            Some(volume) => format!("LVM-{group}-{}.wanted", escaped(volume)),
            None => format!("LVM-{group}.wanted"),
        }
    }

    /// As it is written for lvm.
    pub(crate) fn name(&self) -> String {
        match &self.volume {
            Some(volume) => format!("{}/{volume}", self.group),
            None => self.group.clone(),
        }
    }

    /// Looks at the device-mapper, and at the disks.
    pub(crate) fn look(&self, view: &View) -> Result<State> {
        let (record, damaged) =
            Damaged::apart(view.record_whole(&self.record_name(), Record::parse));
        let mut state = State { record, is_damaged: damaged.is_some(), ..State::default() };
        let mapper = match Mapper::open(view)? {
            Ok(mapper) => mapper,
            Err(absent) => return Ok(State { absent: Some(absent), ..state }),
        };
        self.look_for_active(&mapper, &mut state)?;
        // Under another name by now, it is known by the record alone.
        if let Some(damaged) = damaged.filter(|_| !state.is_active())
            && let Some((group, _)) = lvm::all_active(&mapper)?.first()
        {
            bail!("{}", damaged.doubt(format_args!("{group} is active and may be {self} renamed")));
        }
        if state.is_active() {
            self.look_for_missing(&mut state);
            let noted: Vec<Number> = state.record.iter().flat_map(Record::disks).collect();
            let which = if self.is_asked_again { Which::Some } else { Which::All };
            state.underlying = Underlying::look(view, &mapper, &state.active, &noted, which)?;
            self.leave_out_removed(view, &mut state);
            // Of those that start has noted, it has asked.
            let new = state.disks().filter(|disk| !noted.contains(disk));
            match backing::find(view, new) {
                Ok(bypass) => state.bypass = bypass,
                Err(err) => state.doubt = Some(format!("{err:#}")),
            }
        }
        Ok(state)
    }

    /// Finds what is active of the target: that which start has noted, by its
    /// identity, whatever it is called by now; or else what has its name.
    fn look_for_active(&self, mapper: &Mapper<'_>, state: &mut State) -> Result<()> {
        let record = state.record.as_ref().filter(|record| !record.group().is_empty());
        let expected = record.map_or(0, Record::count_at_most);
        let identified =
            |record: &Record| lvm::identified(mapper, record.group(), &self.group, expected);
        let named = || -> Result<(Vec<Volume>, Option<Absent>)> {
            // Of a volume, its parts as well; the kernel leaves the others out.
            let beginning = self.volume.as_deref().unwrap_or_default();
            let found = lvm::active(mapper, &self.group, beginning, expected)?;
            let absent = found.lacks(|volume| self.includes(&volume.name));
            let mut active = found.into_items();
            active.retain(|volume| self.includes(&volume.name));
            Ok((active, absent))
        };
        match (record, &self.volume) {
            (None, _) => (state.active, state.absent) = named()?,
            (Some(record), None) => {
                let found = identified(record)?;
                match found.volumes.lacks(|_| true) {
                    None => {
                        state.renamed = found.renamed.map(|group| Self { group, ..self.clone() });
                        state.active = found.volumes.into_items();
                    }
                    Some(gone) => {
                        let (active, absent) = named()?;
                        (state.active, state.absent) = (active, absent.map(|one| one.and(gone)));
                    }
                }
            }
            (Some(record), Some(_)) => {
                let is_noted = |one: &Volume| record.volumes().any(|(id, _)| one.id.is(id));
                let (active, absent) = named()?;
                (state.active, state.absent) = (active, absent);
                if state.active.iter().any(is_noted) {
                    return Ok(());
                }
                let found = identified(record)?;
                let Some(noted) = found.volumes.iter().find(|one| is_noted(one)) else {
                    let gone = found.volumes.lacks(is_noted);
                    state.absent = state.absent.take().zip(gone).map(|(one, two)| one.and(two));
                    return Ok(());
                };
                let group = found.renamed.clone().unwrap_or_else(|| self.group.clone());
                let renamed = Self { group, volume: Some(noted.name.clone()), ..self.clone() };
                state.absent = None;
                state.active = found.volumes.into_items();
                state.active.retain(|volume| renamed.includes(&volume.name));
                state.renamed = Some(renamed);
            }
        }
        Ok(())
    }

    /// Names of the group's volumes that are active and not the target's.
    pub(crate) fn others(&self, view: &View) -> Result<Vec<String>> {
        let mapper = self.volume.as_ref().map(|_| Mapper::open(view)).transpose()?;
        let Some(Ok(mapper)) = mapper else { return Ok(Vec::new()) };
        let names =
            lvm::active(&mapper, &self.group, "", 0)?.into_items().into_iter().map(|one| one.name);
        Ok(names.filter(|name| !self.includes(name)).collect())
    }

    fn includes(&self, name: &str) -> bool {
        let Some(wanted) = &self.volume else { return true };
        name == wanted || lvm::is_part(name, wanted)
    }

    /// Leaves out of what is missing the volumes that the group has no more, by
    /// its metadata on its disks: they were removed since start, and nobody
    /// misses them. Where no disk can be read, they stay missed.
    fn leave_out_removed(&self, view: &View, state: &mut State) {
        let (Some(record), false) = (&state.record, state.missing.is_empty()) else { return };
        let group = &state.renamed.as_ref().unwrap_or(self).group;
        let share = INQUIRY.min(view.deadline().left() / 4);
        let deadline = view.deadline().at_most(share);
        let metadata = state.underlying.carriers.iter().find_map(|disk| {
            let path = view.path(disk_name(view, *disk));
            let read = label::metadata(view, &path, group, deadline);
            read.map_err(|err| view.note(format_args!("{err:#}"))).ok()
        });
        let Some(metadata) = metadata.filter(|found| found.id == record.group()) else { return };
        let is_there = |id: &str| metadata.volumes.iter().any(|volume| volume.id == id);
        let removed =
            |name: &String| record.volumes().any(|(id, noted)| noted == name && !is_there(id));
        state.missing.retain(|name| !removed(name));
    }

    fn look_for_missing(&self, state: &mut State) {
        let Some(group) = state.active.first().map(|volume| volume.group) else { return };
        let record = state.record.as_ref().filter(|record| group.is(record.group()));
        // Of hundreds, the one by one below takes longer than all else in a monitor.
        if record.is_some_and(|record| record.finds_all_among(&state.active)) {
            return;
        }
        let is_active = |id: &str| state.active.iter().any(|volume| volume.id.is(id));
        let missing = match (record, &self.volume) {
            (Some(record), _) => {
                let absent = record.volumes().filter(|(id, _)| !is_active(id));
                absent.map(|(_, name)| name.to_owned()).collect()
            }
            (None, Some(wanted)) if !state.active.iter().any(|volume| volume.name == *wanted) => {
                vec![wanted.clone()]
            }
            // What has been started by somebody else is as much as they wanted.
            (None, _) => Vec::new(),
        };
        state.missing = missing;
    }
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
        let lost = &state.underlying.lost;
        let shown = |disk: Number| match lost.contains_key(&disk) {
            true => format!("{disk} (gone)"),
            false => disk.to_string(),
        };
        let disks: Vec<String> = state.disks().map(shown).collect();
        if !disks.is_empty() {
            facts.push(Fact::new("disks", some(&disks)));
        }
        facts
    }
}
