//! `Xen`: a guest of Xen. Its state is read from xenstore and from the xl that
//! has stayed with it; the hypervisor is asked, by xl, where the two do not agree.
//!
//! The shell agent runs `xl list NAME` for each monitor, for which a guest that
//! has crashed is running, and looks five more times where the guest is not there,
//! since one that reboots is not there for a moment.

#![allow(non_snake_case, reason = "a parameter of the shell agent's has a name of that kind")]

mod memory;

use crate::domains::{self, Ending, Entry, Found, Life, Record};
use anyhow::{Context, Result, bail};
use common::host::record::Damaged;
use common::host::xen::{self, Guest};
use common::{Agent, Extras, Fact, Plan, Request, Role, Status, System, View, configured};
use ocf_meta::action::{META_DATA, MIGRATE_FROM, MIGRATE_TO, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words, params};
use std::path::PathBuf;
use std::time::Duration;

params! {
    /// What the agent is given.
    pub struct XenParams {
        /// File of the guest, as xl reads it.
        ///
        /// An absolute path. Only a start needs it: what runs is told without.
        [required, names, unique, position = 1] xmfile: PathBuf,
        /// Name of the guest.
        ///
        /// By default the one in xmfile, and where that is not there the resource's own.
        [names] name: Option<String>,
        /// Seconds for which a stop waits for the guest to shut down before it is destroyed.
        ///
        /// 0 destroys it at once. By default two thirds of the stop's time.
        [] shutdown_timeout: Option<Duration>,
        /// Whether a stop presses the guest's power button.
        ///
        /// For HVM guests without drivers of Xen's. It is asked in Xen's way besides.
        [] shutdown_acpi: bool = "false",
        /// Programs that say whether what runs in the guest is well.
        ///
        /// Absolute paths with blanks between them. Each is called by a monitor, and says so with 0.
        [] monitor_scripts: Option<String>,
        /// Attribute of a node that has its address for migrations.
        ///
        /// By default a guest is moved to the node's name.
        [] node_ip_attribute: Option<String>,
        /// Whether the machine's memory is shared out evenly among all guests.
        ///
        /// At a start, a stop and a migration, of others as well. What xmfile says of memory does not count then.
        [] allow_mem_management: bool = "false",
        /// MiB of memory that are kept from that for the first domain.
        [] reserved_Dom0_memory: u64 = "512",
        /// Whether the utilization attribute cpu is set to the number of processors.
        [] autoset_utilization_cpu: bool = "false",
        /// Whether the utilization attribute hv_memory is set to the guest's memory in MiB.
        [] autoset_utilization_hv_memory: bool = "false",
    }
}

static META: Meta = Meta {
    name: "Xen",
    shortdesc: "A guest of Xen",
    longdesc: "Keeps a guest of Xen: start has xl create it of its file, a monitor sees that its domain is in xenstore \
        and the xl that keeps it lives, stop asks it to shut down and destroys it when its time is over.\n\n\
        A guest that crashed and is still there has failed, and so has one that is paused where no xl keeps it. One \
        that reboots is waited for, 10 s at most. What is on its way by a migration, or was left behind by one, is \
        never stopped and never running.\n\n\
        With the meta attribute allow-migrate the guest is moved live, by xl migrate, which needs ssh from node to node.",
    params: XenParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(60),
        STOP.timeout(40),
        MONITOR.timeout(30).every(10),
        MIGRATE_TO.timeout(120),
        MIGRATE_FROM.timeout(120),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "web ocf:sturdy:Xen params xmfile=/etc/xen/web.cfg meta allow-migrate=true",
        haresources: "Xen::/etc/xen/web.cfg",
        by_hand: "/etc/xen/web.cfg start",
    },
    differences: &[
        "A monitor asks xenstore and spawns nothing; xl is asked only where a guest has no xl that keeps it.",
        "A guest that has crashed, has shut down or is dying, and is still there, is not running.",
        "A guest is known by the UUID that its start has given it, whatever its name is by now.",
        "xmfile is checked before anything is made: Python, which xl does not read, is named by file and line.",
        "stop ends with 0 only when neither a domain nor an xl of the guest is left. It asks the guest through \
         xenstore, and needs xl only to destroy it.",
        "A domain called NAME--incoming or NAME--migratedaway is the guest on its way, or what is left of it.",
        "With allow_mem_management xmfile is not edited: the guest is created with its share, whatever is written \
         there. A guest that cannot be given its share is told of, and is no reason to fail.",
        "Utilization is written where it has changed, and never by a probe.",
        "xm is not called: Xen has xl since 4.1, and nothing else since 4.5.",
    ],
};

/// One guest.
pub struct Xen {
    params: XenParams,
    request: Request,
    record: String,
}

/// What was seen.
#[derive(Debug)]
pub struct State {
    /// The guest that is meant, and another that an earlier start has made.
    found: Vec<Found>,
    /// What a start has noted.
    noted: Option<Record>,
    /// Why that is not known.
    damaged: Option<Damaged>,
}

impl State {
    fn guests(&self) -> Vec<Guest> {
        self.found.iter().map(|one| one.guest.clone()).collect()
    }

    fn noted(&self) -> Record {
        self.noted.clone().unwrap_or_default()
    }
}

impl Agent for Xen {
    const META: &'static Meta = &META;
    type Params = XenParams;
    type State = State;

    fn new(params: XenParams, request: &Request) -> Result<Self> {
        let record = format!("Xen-{}.state", request.instance);
        Ok(Self { params, request: request.clone(), record })
    }

    fn observe(&self, view: &View) -> Result<State> {
        let (noted, damaged) = Damaged::apart(Record::read(view, &self.record));
        let guests = self.meant(view, noted.as_ref());
        let found = domains::look(view, &guests, &noted.clone().unwrap_or_default())?;
        Ok(State { found, noted, damaged })
    }

    fn status(&self, state: &State) -> Status {
        if let Some(fault) = state.found.iter().find_map(Found::fault) {
            return Status::Failed(Role::Started, fault.why.clone());
        }
        if state.found.iter().any(Found::runs) {
            return Status::Running(Role::Started);
        }
        let absent = state.found.iter().filter_map(Found::absent).cloned();
        match (absent.reduce(common::Absent::and), &state.damaged) {
            (Some(absent), None) => Status::Stopped(absent),
            // The name is known without it, and so is what it stands for.
            (Some(absent), Some(_)) if self.params.name.is_some() => Status::Stopped(absent),
            (_, Some(damaged)) => {
                let doubt = damaged.doubt("a guest of another name may have been started");
                Status::Failed(Role::Started, doubt)
            }
            (None, None) => Status::Failed(Role::Started, "nothing was looked for".into()),
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        state.found.iter().map(Found::fact).collect()
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let (file, name) = (&self.params.xmfile, self.params.name.as_deref());
        let guest = view.patiently(|| domains::guest_of(view, file, name))?;
        view.program("xl")?;
        // Where the file could not be read before, another was looked for.
        let is_known = from.found.iter().any(|one| one.guest.name == guest.name);
        let anew = if is_known { None } else { Some(self.observe(view)?) };
        let from = anew.as_ref().unwrap_or(from);
        if anew.is_some() && self.status(from).is_active() {
            return Ok(self.plan_note(from));
        }
        if let Some(other) = from.found.iter().find(|one| one.guest.name != guest.name)
            && other.absent().is_none()
        {
            bail!(
                "{} is there, which an earlier start has made of this file: stop it first",
                other.guest
            );
        }
        let mut plan = Plan::new();
        if let Some(fault) = from.found.iter().find_map(Found::fault) {
            if !fault.is_dead() {
                bail!("{}", fault.why);
            }
            let dead = from.guests();
            plan.step(format!("destroy what is left of {guest}"), move |system| {
                domains::destroy(system, &dead)
            });
        }
        plan.step(format!("create {guest} of {}", self.params.xmfile.display()), move |system| {
            let memory = self.share(system, Some(&guest))?;
            domains::create(system, &self.params.xmfile, &guest, memory, |guest| {
                let mut record = Record::default();
                record.put(Entry::begun(guest.clone()));
                record.write(system, &self.record)
            })
        });
        plan.step("note its domain", |system| self.note(system));
        Ok(plan)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let ending =
            Ending { patience: self.params.shutdown_timeout, acpi: self.params.shutdown_acpi };
        let mut plan = Plan::new();
        if from.found.iter().any(|one| one.absent().is_none()) {
            let (asked, left) = (from.guests(), from.guests());
            let name = &from.found[0].guest;
            if from.found.iter().any(Found::runs) && !ending.is_at_once() {
                let patience = ending.patience(view).as_secs();
                plan.step(
                    format!("ask {name} to shut down, and wait {patience} s"),
                    move |system| domains::shut_down(system, &asked, ending),
                );
            }
            plan.step(format!("destroy what is left of {name}"), move |system| {
                domains::destroy(system, &left)
            });
            self.plan_sharing(&mut plan);
        }
        if from.noted.is_some() || from.damaged.is_some() {
            let guests = from.guests();
            plan.step("forget what was started", move |system| {
                let found = domains::look_closely(system, &guests)?;
                match found.iter().all(|one| one.absent().is_some()) {
                    true => system.remove_record(&self.record),
                    false => Ok(()),
                }
            });
        }
        Ok(plan)
    }
}

impl Extras for Xen {
    fn validate(&self) -> Result<()> {
        let name = self.params.name.as_deref();
        name.map_or(Ok(()), domains::check_name)
            .map_err(|why| configured(format!("parameter name: {why}")))?;
        match self.scripts().find(|path| !path.starts_with("/")) {
            Some(path) => Err(configured(format!(
                "parameter monitor_scripts has a path that is not absolute: {}",
                path.display()
            ))),
            None => Ok(()),
        }
    }

    fn suits(&self, view: &View) -> Result<()> {
        view.program("xl")?;
        domains::guest_of(view, &self.params.xmfile, self.params.name.as_deref()).map(drop)
    }

    fn started<'a>(&'a self, _view: &View, state: &State) -> Result<Plan<'a>> {
        Ok(self.plan_note(state))
    }

    fn upkeep<'a>(&'a self, view: &View, state: &State, _level: u32) -> Result<Plan<'a>> {
        let mut plan = self.plan_note(state);
        if !self.request.probe {
            for script in self.scripts() {
                plan.step(format!("ask {}", script.display()), move |system| {
                    let done = system.script(&script)?;
                    match done.success() {
                        true => Ok(()),
                        false => {
                            bail!("{} says {}: {}", script.display(), done.code, done.reason())
                        }
                    }
                });
            }
            self.plan_figures(view, &mut plan, state);
        }
        Ok(plan)
    }

    fn migrate_to<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let node = self.request.meta("migrate_target");
        let host = self.address(view, node.context("the cluster does not say where to")?)?;
        let guests = from.guests();
        let mut plan = Plan::new();
        plan.step(format!("move it to {host}, live"), move |system| {
            let found = domains::look_closely(system, &guests)?;
            let running = found.iter().find_map(|one| match &one.life {
                Life::Running { domain, .. } => Some(domain.id),
                _ => None,
            });
            xen::migrate(system, running.context("it does not run any more")?, &host)
        });
        plan.step("forget what was started", |system| system.remove_record(&self.record));
        self.plan_sharing(&mut plan);
        Ok(plan)
    }

    fn migrate_from<'a>(&'a self, _view: &View, from: &State) -> Result<Plan<'a>> {
        let guests = from.guests();
        let mut plan = Plan::new();
        plan.step("wait until it has arrived", move |system| {
            system.until("the guest to arrive", || {
                let found = domains::look_closely(system, &guests)?;
                let why = |one: &Found| one.fault().map(|fault| fault.why.clone());
                Ok(match found.iter().any(Found::runs) {
                    true => Ok(()),
                    false => {
                        Err(found.iter().find_map(why).unwrap_or_else(|| "nothing of it".into()))
                    }
                })
            })
        });
        plan.step("note its domain", |system| self.note(system));
        self.plan_sharing(&mut plan);
        Ok(plan)
    }
}

impl Xen {
    /// The guest that is meant: by what a start has noted, and by its name, which
    /// may be another by now.
    fn meant(&self, view: &View, noted: Option<&Record>) -> Vec<Guest> {
        let mut guests: Vec<Guest> =
            noted.map(|record| record.guests().cloned().collect()).unwrap_or_default();
        let named = match &self.params.name {
            Some(name) => Some(name.clone()),
            // What was noted is enough to know it by, and its file may lie on what is
            // not there any more.
            None if !guests.is_empty() => None,
            None => match domains::guest_of(view, &self.params.xmfile, None) {
                Ok(guest) => Some(guest.name),
                Err(err) => {
                    view.note(format_args!("{err:#}; looking for a guest called as the resource"));
                    Some(self.request.resource.clone())
                }
            },
        };
        if let Some(name) = named.filter(|name| guests.iter().all(|known| known.name != *name)) {
            guests.insert(0, Guest { name, uuid: None });
        }
        guests
    }

    fn plan_note(&self, state: &State) -> Plan<'_> {
        let mut plan = Plan::new();
        if state.noted().with(&state.found) != state.noted() {
            plan.step("note its domain", |system| {
                // Without it the next look takes longer, and that is all.
                if let Err(err) = self.note(system) {
                    system.warn(format_args!("{err:#}"));
                }
                Ok(())
            });
        }
        plan
    }

    /// Notes the domain that the guest has now.
    fn note(&self, system: &System<'_>) -> Result<()> {
        let state = self.observe(system)?;
        state.noted().with(&state.found).write(system, &self.record)
    }

    fn scripts(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.params
            .monitor_scripts
            .as_deref()
            .unwrap_or_default()
            .split_whitespace()
            .map(PathBuf::from)
    }

    /// Where the node receives guests.
    fn address(&self, view: &View, node: &str) -> Result<String> {
        let Some(attribute) = &self.params.node_ip_attribute else { return Ok(node.to_owned()) };
        let words = ["--type", "nodes", "--node", node, "--name", attribute, "--query", "--quiet"];
        let told = view.query("crm_attribute", &words)?;
        let address = told.stdout.trim();
        if !told.success() || address.is_empty() {
            bail!("node {node} has no attribute {attribute}: {}", told.reason());
        }
        Ok(address.to_owned())
    }
}
