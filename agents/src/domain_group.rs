//! `DomainGroup`: the guests whose files lie in a directory, of Xen or of
//! libvirt's, as one resource; and [`xenHA`](crate::xen_ha), which is the same for
//! haresources.
//!
//! What belongs to the group is what a start has noted: the directory may lie on a
//! file system that is not mounted any more.

mod of_libvirt;
mod of_xen;
mod values;

use crate::domains::Ending;
use anyhow::{Context, Result};
use common::host::reading;
use common::host::record::Damaged;
use common::{
    Absent, Agent, Extras, Fact, Plan, Request, Role, Status, System, View, configured, installed,
};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Action, Examples, Meta, Params, Words, params};
use std::path::{Path, PathBuf};
use std::time::Duration;
pub(crate) use values::Foreign;
use values::{FileNames, Host};

params! {
    /// What the agent is given.
    pub struct DomainGroupParams {
        /// Directory with the guests' files, as xl reads them, or in libvirt's XML.
        ///
        /// Each file is one guest, but for hidden ones and those that end with a tilde. Only a start needs it.
        [names, position = 1] directory: PathBuf = "/etc/xen/ha.d",
        /// Whose guests they are.
        ///
        /// xen, or qemu:///system for guests of libvirt's.
        [names, position = 2] hypervisor: Host = "xen",
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
        /// For HVM guests without drivers of Xen's, which are asked in Xen's way besides. libvirt chooses the way itself.
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
    shortdesc: "All guests whose files lie in a directory",
    longdesc: "Keeps the guests whose files lie in a directory as one resource: start creates them one after the \
        other, a monitor sees that each of them runs, stop asks all of them to shut down at once, waits for them \
        together, and destroys side by side what is left. The guests are Xen's, or libvirt's with \
        hypervisor=qemu:///system.\n\n\
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
    request: Request,
    record: String,
}

/// What was seen.
#[derive(Debug)]
pub enum State {
    /// Of guests of Xen.
    Xen(of_xen::State),
    /// Of guests of libvirt's.
    Libvirt(of_libvirt::State),
}

/// A guest of the group by its name, and what it does.
struct Part<'a> {
    name: &'a str,
    status: Status,
}

impl Agent for DomainGroup {
    const META: &'static Meta = &META;
    type Params = DomainGroupParams;
    type State = State;

    fn new(params: DomainGroupParams, request: &Request) -> Result<Self> {
        Ok(Self::called(META.name, Foreign::Leave, params, request))
    }

    fn observe(&self, view: &View) -> Result<State> {
        match &self.params.hypervisor {
            Host::Xen => self.look_xen(view).map(State::Xen),
            Host::Libvirt(_) => self.look_libvirt(view).map(State::Libvirt),
        }
    }

    fn status(&self, state: &State) -> Status {
        match state {
            State::Xen(state) => {
                whole(&state.parts(), state.empty.as_ref(), state.damaged.as_ref())
            }
            State::Libvirt(state) => {
                whole(&state.parts(), state.empty.as_ref(), state.damaged.as_ref())
            }
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        match state {
            State::Xen(state) => state.facts(),
            State::Libvirt(state) => state.facts(),
        }
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        match from {
            State::Xen(state) => self.start_xen(view, state, view.patiently(|| self.wanted(view))?),
            State::Libvirt(state) => {
                self.start_libvirt(view, state, view.patiently(|| self.defined(view))?)
            }
        }
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        match from {
            State::Xen(state) => self.stop_xen(view, state),
            State::Libvirt(state) => self.stop_libvirt(view, state),
        }
    }
}

impl Extras for DomainGroup {
    fn suits(&self, view: &View) -> Result<()> {
        let tool = match &self.params.hypervisor {
            Host::Xen => self.wanted(view).map(|_| "xl")?,
            Host::Libvirt(_) => self.defined(view).map(|_| "virsh")?,
        };
        view.program(tool)?;
        Ok(())
    }

    /// A guest whose file has come since is started as well. A directory that is
    /// not there says nothing about what runs.
    fn started<'a>(&'a self, view: &View, state: &State) -> Result<Plan<'a>> {
        let told = match state {
            State::Xen(state) => self.wanted(view).map(|all| self.start_xen(view, state, all)),
            State::Libvirt(state) => {
                self.defined(view).map(|all| self.start_libvirt(view, state, all))
            }
        };
        told.unwrap_or_else(|err| {
            view.warn(format_args!("{err:#}; what runs already goes on"));
            Ok(Plan::new())
        })
    }

    fn upkeep<'a>(&'a self, _view: &View, state: &State, _level: u32) -> Result<Plan<'a>> {
        let news = match state {
            State::Xen(state) => state.has_news(),
            State::Libvirt(state) => state.has_news(),
        };
        let mut plan = Plan::new();
        if news {
            plan.step("note the guests that run", |system| {
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
        let record = format!("{name}-{}.state", request.instance);
        Self { params, foreign, request: request.clone(), record }
    }

    fn ending(&self) -> Ending {
        Ending { patience: self.params.shutdown_timeout, acpi: self.params.shutdown_acpi }
    }

    /// The guests' files, in the order in which they are started.
    fn files(&self, view: &View) -> Result<Vec<PathBuf>> {
        let directory = &self.params.directory;
        let shown = directory.display();
        if !view.is_dir(directory).with_context(|| format!("cannot look for {shown}"))? {
            return Err(installed(format!("there is no directory {shown}")));
        }
        let mut names = reading::names(view, directory)?;
        names.retain(|name| !name.starts_with('.') && !name.ends_with('~'));
        let first = self.params.order.as_ref().map(|order| order.0.as_slice()).unwrap_or_default();
        if let Some(missing) = first.iter().find(|name| !names.contains(name)) {
            return Err(configured(format!("parameter order: there is no {missing} in {shown}")));
        }
        // Those that are not named come behind, and keep their order.
        names.sort_by_key(|name| first.iter().position(|one| one == name).unwrap_or(first.len()));
        let mut files = Vec::new();
        for name in names {
            let file = directory.join(&name);
            if !view.is_dir(&file).with_context(|| format!("cannot look for {}", file.display()))? {
                files.push(file);
            }
        }
        Ok(files)
    }

    /// Adds the end of the guests of these names: all are asked at once, where there
    /// is somebody to ask, and what is left of them is destroyed.
    fn plan_end<'a>(
        &'a self,
        view: &View,
        plan: &mut Plan<'a>,
        names: &str,
        ask: impl FnOnce(&System<'_>, Ending) -> Result<()> + 'a,
        destroy: impl FnOnce(&System<'_>) -> Result<()> + 'a,
    ) {
        let ending = self.ending();
        if !ending.is_at_once() && !names.is_empty() {
            let patience = ending.patience(view).as_secs();
            let what = format!("ask {names} to shut down, and wait {patience} s for all");
            plan.step(what, move |system| ask(system, ending));
        }
        plan.step(format!("destroy what is left of {names}"), destroy);
    }

    /// How long to wait before a guest is started, the first being number 0.
    fn pause_before(&self, place: usize) -> Duration {
        if place == 0 { Duration::ZERO } else { self.params.spacing }
    }

    fn no_files(&self) -> anyhow::Error {
        installed(format!("there is no guest's file in {}", self.params.directory.display()))
    }

    /// Notes the guests as they are now.
    fn note(&self, system: &System<'_>) -> Result<()> {
        match self.observe(system)? {
            State::Xen(state) => self.note_xen(system, &state),
            State::Libvirt(state) => self.note_libvirt(system, &state),
        }
    }
}

/// Two files of one guest.
fn twice(name: &str, first: &Path, second: &Path) -> anyhow::Error {
    configured(format!("{} and {} both are called {name}", first.display(), second.display()))
}

/// What the guests mean together. `empty` is the proof of a group that has none.
fn whole(parts: &[Part<'_>], empty: Option<&Absent>, damaged: Option<&Damaged>) -> Status {
    let named = |is_meant: fn(&Status) -> bool| -> Vec<&str> {
        parts.iter().filter(|one| is_meant(&one.status)).map(|one| one.name).collect()
    };
    let (up, all) = (named(Status::is_active).len(), parts.len());
    let told =
        |wanted: fn(&Status) -> Option<&str>| parts.iter().find_map(|one| wanted(&one.status));
    if let Some(why) = told(|status| match status {
        Status::Failed(_, why) => Some(why),
        _ => None,
    }) {
        return Status::Failed(Role::Started, format!("{why}; {up} of {all} guests are up"));
    }
    if up > 0 && up == all {
        let degraded = told(|status| match status {
            Status::Degraded(_, why) => Some(why),
            _ => None,
        });
        return match degraded {
            Some(why) => Status::Degraded(Role::Started, why.to_owned()),
            None => Status::Running(Role::Started),
        };
    }
    if up > 0 {
        let down = named(Status::is_stopped);
        let reason = format!("{up} of {all} guests are up; down: {}", shortened(&down));
        return Status::Failed(Role::Started, reason);
    }
    let absent = parts.iter().filter_map(|one| match &one.status {
        Status::Stopped(absent) => Some(absent.clone()),
        _ => None,
    });
    match (absent.reduce(Absent::and).or_else(|| empty.cloned()), damaged) {
        (Some(absent), None) => Status::Stopped(absent),
        (_, damaged) => {
            let doubt = "guests of the group may run whose files are not there";
            let doubt = damaged.map_or(doubt.into(), |damaged| damaged.doubt(doubt));
            Status::Failed(Role::Started, doubt)
        }
    }
}

/// The first of them, and how many more.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}
