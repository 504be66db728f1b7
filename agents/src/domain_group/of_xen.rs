//! A group of Xen's guests.
//!
//! Without what was noted it is told by the files, and by the words that the
//! guests' own xl were called with.

use super::{DomainGroup, Foreign, Part, shortened, twice};
use crate::domains::{self, Entry, Found, Life, Record};
use anyhow::{Result, bail};
use common::host::record::Damaged;
use common::host::xen::{self, Guest};
use common::{Absent, Fact, Plan, Role, Status, System, View};
use std::path::{Path, PathBuf};

/// What was seen.
#[derive(Debug)]
pub struct State {
    found: Vec<Found>,
    /// Proof that no domain is one of a group that has none.
    pub(super) empty: Option<Absent>,
    noted: Option<Record>,
    pub(super) damaged: Option<Damaged>,
}

impl State {
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        let part = |one: &'_ Found| -> Status {
            match &one.life {
                Life::Gone(absent) => Status::Stopped(absent.clone()),
                Life::AsNoted | Life::Running { .. } => Status::Running(Role::Started),
                Life::Faulty(fault) => Status::Failed(Role::Started, fault.why.clone()),
            }
        };
        self.found.iter().map(|one| Part { name: &one.guest.name, status: part(one) }).collect()
    }

    pub(super) fn facts(&self) -> Vec<Fact> {
        self.found.iter().map(Found::fact).collect()
    }

    /// Whether something else is noted of the guests than was seen.
    pub(super) fn has_news(&self) -> bool {
        self.noted().with(&self.found) != self.noted()
    }

    fn noted(&self) -> Record {
        self.noted.clone().unwrap_or_default()
    }

    fn guests(&self) -> Vec<Guest> {
        self.found.iter().map(|one| one.guest.clone()).collect()
    }

    fn is_there(&self) -> bool {
        self.found.iter().any(|one| one.absent().is_none())
    }
}

/// A guest and its file.
pub(super) struct Wanted {
    guest: Guest,
    file: PathBuf,
}

impl DomainGroup {
    pub(super) fn look_xen(&self, view: &View) -> Result<State> {
        let (noted, damaged) = Damaged::apart(Record::read(view, &self.record));
        let guests = match &noted {
            Some(record) => record.guests().cloned().collect(),
            None => self.told_by_files(view)?,
        };
        let found = domains::look(view, &guests, noted.as_ref().unwrap_or(&Record::default()))?;
        let empty = match found.is_empty() {
            true => xen::domains(view)?.lacks(|_| false),
            false => None,
        };
        Ok(State { found, empty, noted, damaged })
    }

    /// The guests of the files, in the order in which they are started.
    pub(super) fn wanted(&self, view: &View) -> Result<Vec<Wanted>> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for file in self.files(view)? {
            let guest = domains::guest_of(view, &file, None)?;
            if let Some(other) = wanted.iter().find(|other| other.guest.name == guest.name) {
                return Err(twice(&guest.name, &other.file, &file));
            }
            wanted.push(Wanted { guest, file });
        }
        Ok(wanted)
    }

    /// The guests of a group of which nothing is noted.
    fn told_by_files(&self, view: &View) -> Result<Vec<Guest>> {
        let mut guests: Vec<Guest> = match self.wanted(view) {
            Ok(wanted) => wanted.into_iter().map(|one| one.guest).collect(),
            Err(err) => {
                view.note(format_args!("{err:#}; looking for what was made of files there"));
                Vec::new()
            }
        };
        let is_below = |word: &String| {
            Path::new(word).parent().is_some_and(|parent| parent == self.params.directory)
        };
        for keeper in xen::keepers(view)?.iter().filter(|one| one.words.iter().any(is_below)) {
            if guests.iter().all(|known| known.name != keeper.guest) {
                guests.push(Guest { name: keeper.guest.clone(), uuid: None });
            }
        }
        Ok(guests)
    }

    pub(super) fn start_xen<'a>(
        &'a self,
        view: &View,
        from: &State,
        wanted: Vec<Wanted>,
    ) -> Result<Plan<'a>> {
        if wanted.is_empty() {
            return Err(self.no_files());
        }
        let guests: Vec<Guest> = wanted.iter().map(|one| one.guest.clone()).collect();
        let found = domains::look(view, &guests, &from.noted())?;
        let mut plan = Plan::new();
        if found.iter().all(Found::runs) && from.noted.is_some() {
            return Ok(plan);
        }
        view.program("xl")?;
        let mut dead = Vec::new();
        for one in &found {
            match one.fault() {
                Some(fault) if fault.is_dead() => dead.push(one.guest.clone()),
                Some(fault) => bail!("{}", fault.why),
                None => {}
            }
        }
        let mut record = from.noted();
        for guest in &guests {
            if record.guests().all(|known| known.name != guest.name) {
                record.put(Entry::begun(guest.clone()));
            }
        }
        let record = record.with(&found);
        plan.step(
            format!("note that {} guests are taken on", record.entries.len()),
            move |system| record.write(system, &self.record),
        );
        if self.foreign == Foreign::Stop {
            let own: Vec<Guest> = guests.iter().chain(&from.guests()).cloned().collect();
            let others = foreign(view, &own)?;
            if !others.is_empty() {
                self.end_xen(view, &mut plan, others);
            }
        }
        if !dead.is_empty() {
            plan.step(format!("destroy what is left of {}", shown(&dead)), move |system| {
                domains::destroy(system, &dead)
            });
        }
        let missing: Vec<Wanted> = wanted
            .into_iter()
            .zip(&found)
            .filter(|(_, found)| !found.runs())
            .map(|(one, _)| one)
            .collect();
        for (place, one) in missing.into_iter().enumerate() {
            let pause = self.pause_before(place);
            let what = format!("create {} of {}", one.guest, one.file.display());
            plan.step(what, move |system| {
                system.pause(pause);
                domains::create(system, &one.file, &one.guest, None, |guest| {
                    self.note_begun(system, guest)
                })
            });
        }
        plan.step("note the guests that run", |system| self.note(system));
        Ok(plan)
    }

    pub(super) fn stop_xen<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if from.is_there() {
            let mut guests = from.guests();
            if self.foreign == Foreign::Stop {
                guests.extend(foreign(view, &guests)?);
            }
            self.end_xen(view, &mut plan, guests);
        }
        if from.noted.is_some() || from.damaged.is_some() {
            plan.step("forget what was taken on", move |system| {
                match self.look_xen(system)?.is_there() {
                    true => Ok(()),
                    false => system.remove_record(&self.record),
                }
            });
        }
        Ok(plan)
    }

    /// Ends these guests: all are asked at once, and what is left is destroyed.
    fn end_xen<'a>(&'a self, view: &View, plan: &mut Plan<'a>, guests: Vec<Guest>) {
        let (names, asked) = (shown(&guests), guests.clone());
        self.plan_end(
            view,
            plan,
            &names,
            move |system, ending| domains::shut_down(system, &asked, ending),
            move |system| domains::destroy(system, &guests),
        );
    }

    fn note_begun(&self, system: &System<'_>, guest: &Guest) -> Result<()> {
        let mut record = Record::read(system, &self.record)?.unwrap_or_default();
        record.put(Entry::begun(guest.clone()));
        record.write(system, &self.record)
    }

    pub(super) fn note_xen(&self, system: &System<'_>, state: &State) -> Result<()> {
        state.noted().with(&state.found).write(system, &self.record)
    }
}

/// The guests that run here besides.
fn foreign(view: &View, own: &[Guest]) -> Result<Vec<Guest>> {
    let domains = xen::domains(view)?;
    let others = domains.iter().filter(|domain| !own.iter().any(|guest| domain.may_be(guest)));
    Ok(others.filter_map(xen::Domain::guest).collect())
}

fn shown(guests: &[Guest]) -> String {
    let names: Vec<&str> = guests.iter().map(|guest| guest.name.as_str()).collect();
    shortened(&names)
}
