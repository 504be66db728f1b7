//! `DomainGroup`: the guests of Xen whose files lie in a directory, as one
//! resource; and [`xenHA`](crate::xen_ha), which is the same for haresources.
//!
//! What belongs to the group is what a start has noted. Without that it is told
//! by the files, and by the words that the guests' own xl were called with, since
//! the directory may lie on a file system that is not mounted any more.

mod values;

use crate::domains::{self, Ending, Entry, Found, Record};
use anyhow::{Context, Result, bail};
use common::host::record::Damaged;
use common::host::xen::{self, Guest};
use common::{
    Absent, Agent, Extras, Fact, Plan, Request, Role, Status, System, View, configured, installed,
};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Action, Examples, Meta, Params, Words, params};
use std::path::PathBuf;
use std::time::Duration;
use values::FileNames;
pub(crate) use values::Foreign;

params! {
    /// What the agent is given.
    pub struct DomainGroupParams {
        /// Directory with the guests' files, as xl reads them.
        ///
        /// Each file is one guest, but for hidden ones and those that end with a tilde. Only a start needs it.
        [names, position = 1] directory: PathBuf = "/etc/xen/ha.d",
        /// Which guests come first.
        ///
        /// Names of files with commas between them. The others follow by their names.
        [] order: Option<FileNames>,
        /// Seconds between the start of a guest and that of the next.
        [] spacing: Duration = "0",
        /// What becomes of guests that run here and are none of the group's.
        ///
        /// leave, or stop: a start shuts them down before it starts the group, and a stop of the group takes all guests down. By default leave, and as xenHA stop.
        [] foreign: Option<Foreign>,
        /// Seconds for which a stop waits for the guests to shut down, all at once, before the rest is destroyed.
        ///
        /// 0 destroys them at once. By default two thirds of the action's time.
        [] shutdown_timeout: Option<Duration>,
        /// Whether a stop presses the guests' power buttons.
        ///
        /// For HVM guests without drivers of Xen's. They are asked in Xen's way besides.
        [] shutdown_acpi: bool = "false",
    }
}

pub(crate) const ACTIONS: &[Action] = &[
    START.timeout(300),
    STOP.timeout(300),
    MONITOR.timeout(30).every(10),
    VALIDATE_ALL,
    META_DATA,
];

static META: Meta = Meta {
    name: "DomainGroup",
    shortdesc: "All guests of Xen whose files lie in a directory",
    longdesc: "Keeps the guests whose files lie in a directory as one resource: start creates them one after the \
        other, a monitor sees that each of them runs, stop asks all of them to shut down at once, waits for them \
        together, and destroys side by side what is left.\n\n\
        Guests of the group that run already are left running and taken on. What a start has taken on is noted: \
        monitor and stop need neither the directory nor the files in it, which may lie on a file system that is not \
        mounted any more. Saved images are never restored.",
    params: DomainGroupParams::TABLE,
    words: Words::Positions,
    actions: ACTIONS,
    examples: Examples {
        pacemaker: "guests ocf:sturdy:DomainGroup params directory=/etc/xen/ha.d spacing=5",
        haresources: "DomainGroup::/etc/xen/ha.d",
        by_hand: "/etc/xen/ha.d start",
    },
    differences: &[],
};

/// A group.
pub struct DomainGroup {
    params: DomainGroupParams,
    foreign: Foreign,
    record: String,
}

/// What was seen.
#[derive(Debug)]
pub struct State {
    found: Vec<Found>,
    /// Proof that no domain is one of a group that has none.
    empty: Option<Absent>,
    noted: Option<Record>,
    damaged: Option<Damaged>,
}

impl State {
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
struct Wanted {
    guest: Guest,
    file: PathBuf,
}

impl Agent for DomainGroup {
    const META: &'static Meta = &META;
    type Params = DomainGroupParams;
    type State = State;

    fn new(params: DomainGroupParams, request: &Request) -> Result<Self> {
        Ok(Self::called(META.name, Foreign::Leave, params, request))
    }

    fn observe(&self, view: &View) -> Result<State> {
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

    fn status(&self, state: &State) -> Status {
        let names = |is_meant: fn(&Found) -> bool| -> Vec<&str> {
            let meant = state.found.iter().filter(|one| is_meant(one));
            meant.map(|one| one.guest.name.as_str()).collect()
        };
        let (up, all) = (names(Found::runs).len(), state.found.len());
        if let Some(fault) = state.found.iter().find_map(Found::fault) {
            let reason = format!("{}; {up} of {all} guests are up", fault.why);
            return Status::Failed(Role::Started, reason);
        }
        if up > 0 && up == all {
            return Status::Running(Role::Started);
        }
        if up > 0 {
            let down = names(|one| !one.runs());
            let reason = format!("{up} of {all} guests are up; down: {}", shortened(&down));
            return Status::Failed(Role::Started, reason);
        }
        let absent = state.found.iter().filter_map(Found::absent).cloned().reduce(Absent::and);
        match (absent.or_else(|| state.empty.clone()), &state.damaged) {
            (Some(absent), None) => Status::Stopped(absent),
            (_, damaged) => {
                let doubt = "guests of the group may run whose files are not there";
                let doubt = damaged.as_ref().map_or(doubt.into(), |damaged| damaged.doubt(doubt));
                Status::Failed(Role::Started, doubt)
            }
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        state.found.iter().map(Found::fact).collect()
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let wanted = self.wanted(view)?;
        if wanted.is_empty() {
            return Err(installed(format!(
                "there is no guest's file in {}",
                self.params.directory.display()
            )));
        }
        self.plan_start(view, from, wanted)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if from.is_there() {
            let mut guests = from.guests();
            if self.foreign == Foreign::Stop {
                guests.extend(foreign(view, &guests)?);
            }
            self.plan_end(view, &mut plan, guests);
        }
        if from.noted.is_some() || from.damaged.is_some() {
            plan.step("forget what was taken on", move |system| {
                match self.observe(system)?.is_there() {
                    true => Ok(()),
                    false => system.remove_record(&self.record),
                }
            });
        }
        Ok(plan)
    }
}

impl Extras for DomainGroup {
    fn suits(&self, view: &View) -> Result<()> {
        view.program("xl")?;
        self.wanted(view).map(drop)
    }

    /// A guest whose file has come since is started as well. A directory that is
    /// not there says nothing about what runs.
    fn started<'a>(&'a self, view: &View, state: &State) -> Result<Plan<'a>> {
        match self.wanted(view) {
            Ok(wanted) => self.plan_start(view, state, wanted),
            Err(err) => {
                view.warn(format_args!("{err:#}; what runs already goes on"));
                Ok(Plan::new())
            }
        }
    }

    fn upkeep<'a>(&'a self, _view: &View, state: &State, _level: u32) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if state.noted().with(&state.found) != state.noted() {
            plan.step("note the guests' domains", |system| {
                // Without it the next look takes longer, and that is all.
                if let Err(err) = self.note(system) {
                    system.warn(format_args!("{err:#}"));
                }
                Ok(())
            });
        }
        Ok(plan)
    }
}

impl DomainGroup {
    /// The same under another name, which has another default.
    pub(crate) fn called(
        name: &str,
        default: Foreign,
        params: DomainGroupParams,
        request: &Request,
    ) -> Self {
        let foreign = params.foreign.unwrap_or(default);
        Self { params, foreign, record: format!("{name}-{}.state", request.instance) }
    }

    /// The guests of the files, in the order in which they are started.
    fn wanted(&self, view: &View) -> Result<Vec<Wanted>> {
        let directory = &self.params.directory;
        let shown = directory.display();
        if !view.is_dir(directory).with_context(|| format!("cannot look for {shown}"))? {
            return Err(installed(format!("there is no directory {shown}")));
        }
        let mut names = view.list(directory).with_context(|| format!("cannot list {shown}"))?;
        names.retain(|name| !name.starts_with('.') && !name.ends_with('~'));
        let first = self.params.order.as_ref().map(|order| order.0.as_slice()).unwrap_or_default();
        if let Some(missing) = first.iter().find(|name| !names.contains(name)) {
            return Err(configured(format!("parameter order: there is no {missing} in {shown}")));
        }
        // Those that are not named come behind, and keep their order.
        names.sort_by_key(|name| first.iter().position(|one| one == name).unwrap_or(first.len()));
        let mut wanted: Vec<Wanted> = Vec::new();
        for name in names {
            let file = directory.join(&name);
            if view.is_dir(&file).with_context(|| format!("cannot look for {}", file.display()))? {
                continue;
            }
            let guest = domains::guest_of(view, &file, None)?;
            if let Some(other) = wanted.iter().find(|other| other.guest.name == guest.name) {
                let (first, second) = (other.file.display(), file.display());
                return Err(configured(format!("{first} and {second} both are called {guest}")));
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
            std::path::Path::new(word)
                .parent()
                .is_some_and(|parent| parent == self.params.directory)
        };
        for keeper in xen::keepers(view)?.iter().filter(|one| one.words.iter().any(is_below)) {
            if guests.iter().all(|known| known.name != keeper.guest) {
                guests.push(Guest { name: keeper.guest.clone(), uuid: None });
            }
        }
        Ok(guests)
    }

    fn plan_start<'a>(
        &'a self,
        view: &View,
        from: &State,
        wanted: Vec<Wanted>,
    ) -> Result<Plan<'a>> {
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
                self.plan_end(view, &mut plan, others);
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
            let pause = if place == 0 { Duration::ZERO } else { self.params.spacing };
            let what = format!("create {} of {}", one.guest, one.file.display());
            plan.step(what, move |system| {
                system.pause(pause);
                domains::create(system, &one.file, &one.guest, |guest| {
                    self.note_begun(system, guest)
                })
            });
        }
        plan.step("note the guests' domains", |system| self.note(system));
        Ok(plan)
    }

    /// Ends these guests: all are asked at once, and what is left is destroyed.
    fn plan_end<'a>(&'a self, view: &View, plan: &mut Plan<'a>, guests: Vec<Guest>) {
        let ending =
            Ending { patience: self.params.shutdown_timeout, acpi: self.params.shutdown_acpi };
        let (names, asked) = (shown(&guests), guests.clone());
        if !ending.is_at_once() {
            let patience = ending.patience(view).as_secs();
            let what = format!("ask {names} to shut down, and wait {patience} s for all");
            plan.step(what, move |system| domains::shut_down(system, &asked, ending));
        }
        plan.step(format!("destroy what is left of {names}"), move |system| {
            domains::destroy(system, &guests)
        });
    }

    fn note_begun(&self, system: &System<'_>, guest: &Guest) -> Result<()> {
        let mut record = Record::read(system, &self.record)?.unwrap_or_default();
        record.put(Entry::begun(guest.clone()));
        record.write(system, &self.record)
    }

    /// Notes the domains that the guests have now.
    fn note(&self, system: &System<'_>) -> Result<()> {
        let state = self.observe(system)?;
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

/// The first of them, and how many more.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}
