//! `nvmet-subsystem`: a subsystem of the kernel's NVMe target, without its disks
//! and its addresses.
//!
//! A subsystem is known by its name, which nobody can change. It runs when it
//! admits whom it was to admit, and says of itself what it was to say. Clients'
//! names are shared by all subsystems: one is removed by whoever of us was last
//! to use it, and only if one of us has made it.
//!
//! The shell agent takes a directory of that name for a subsystem that runs,
//! admits one client at most, and calls a stop done that has removed nothing.

use crate::covered;
use crate::nvmet::{Label, Nqn, Nqns};
use anyhow::{Result, bail};
use common::host::nvmet::{self, Nvmet, Subsystem, build};
use common::host::{configfs, tasks::Tasks};
use common::{Absent, Agent, Extras, Fact, Plan, Request, Role, Status, View};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words, params};

params! {
    /// What the agent is given.
    pub struct NvmetSubsystemParams {
        /// Name of the subsystem.
        ///
        /// Its NVMe Qualified Name, by which clients connect: nqn.YEAR-MONTH.DOMAIN:NAME.
        [required, names, unique, position = 1] nqn: Nqn,
        /// Clients that may connect.
        ///
        /// Their NQNs (/etc/nvme/hostnqn of each), with blanks between them. Unset, every client may.
        [] allowed_initiators: Option<Nqns>,
        /// Serial number.
        ///
        /// Up to 20 characters, the same on each node. Unset, the kernel makes one up at each start, and after a takeover clients find another device.
        [position = 2] serial: Option<Label<20>>,
        /// Model.
        ///
        /// Up to 40 characters, the same on each node. Unset, it is Linux.
        [] model: Option<Label<40>>,
    }
}

static META: Meta = Meta {
    name: "nvmet-subsystem",
    shortdesc: "A subsystem of the kernel's NVMe target",
    longdesc: "Makes a subsystem of the kernel's NVMe over Fabrics target, to which clients connect. Its disks are resources of the agent nvmet-namespace, the addresses that it is reached at are of nvmet-port.\n\n\
        In a group the order is: the disk (drbd, LVM), the address, nvmet-subsystem, nvmet-namespace, nvmet-port. The port comes last, since whoever connects before finds no disk; and it needs its address. To have clients wait instead of being refused while the group moves, let portblock close the port before all of them, and open it after the last.\n\n\
        A stop takes with it what is still in the subsystem: links of ports to it, which ends its connections, and namespaces. It names each.\n\n\
        Clients reconnect for their ctrl_loss_tmo, 600 s by default, and then give the disk up: nvme connect -l -1 has them wait for ever.",
    params: NvmetSubsystemParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(20),
        STOP.timeout(20),
        MONITOR.timeout(20).every(10),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "p_subsystem ocf:sturdy:nvmet-subsystem params nqn=nqn.2014-08.com.example:storage serial=8f2a1c",
        haresources: "nvmet-subsystem::nqn.2014-08.com.example:storage::8f2a1c",
        by_hand: "nqn.2014-08.com.example:storage start",
    },
    differences: &[
        "Running means that the subsystem admits the clients that it was to admit, with serial and model as they were set. The shell agent looks for a directory.",
        "allowed_initiators takes several clients; the shell agent makes one name of all of them.",
        "A stop removes what is in the way, and succeeds when the subsystem is gone. The shell agent's succeeds whether it is gone or not.",
        "A client's name below hosts is removed with its last use, if it was made by a start; the shell agent leaves it.",
        "The module is loaded by a start, and configfs mounted. Without the module a probe answers 7 and a stop 0; the shell agent answers 5 to each action.",
        "model is new. There is no action reload.",
    ],
};

/// One subsystem.
pub struct NvmetSubsystem {
    params: NvmetSubsystemParams,
}

/// What was seen.
#[derive(Debug)]
pub enum State {
    /// It is not there, by a look that has proven it.
    Gone(Absent),
    /// It is there.
    There(Subsystem),
}

impl Agent for NvmetSubsystem {
    const META: &'static Meta = &META;
    type Params = NvmetSubsystemParams;
    type State = State;

    fn new(params: NvmetSubsystemParams, _request: &Request) -> Result<Self> {
        Ok(Self { params })
    }

    fn observe(&self, view: &View) -> Result<State> {
        let nvmet = match Nvmet::open(view)? {
            Ok(nvmet) => nvmet,
            Err(absent) => return Ok(State::Gone(absent)),
        };
        let nqn = self.nqn();
        if let Some(found) = nvmet.subsystem(nqn)? {
            return Ok(State::There(found));
        }
        match nvmet.subsystems()?.lacks(|name| name == nqn) {
            Some(absent) => Ok(State::Gone(absent)),
            // Made between the two looks.
            None => bail!("subsystem {nqn} is there, and the kernel does not tell of it"),
        }
    }

    fn status(&self, state: &State) -> Status {
        let found = match state {
            State::Gone(absent) => return Status::Stopped(absent.clone()),
            State::There(found) => found,
        };
        match (self.fault(found), self.stranger(found)) {
            (Some(reason), _) => Status::Failed(Role::Started, reason),
            (None, Some(reason)) => Status::Degraded(Role::Started, reason),
            (None, None) => Status::Running(Role::Started),
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let State::There(found) = state else { return Vec::new() };
        let whom = match (found.admits_all, found.hosts.as_slice()) {
            (true, _) => "everyone".to_owned(),
            (false, []) => "nobody".to_owned(),
            (false, hosts) => hosts.join(", "),
        };
        let serial = &found.serial;
        vec![Fact::new("subsystem", format!("{}: serial {serial}, for {whom}", self.nqn()))]
    }

    fn start<'a>(&'a self, _: &View, _: &State) -> Result<Plan<'a>> {
        let nqn = self.nqn();
        let mut plan = Plan::new();
        plan.step("load the kernel's NVMe target", build::load);
        plan.step(format!("make subsystem {nqn}"), move |system| build::subsystem(system, nqn));
        for (name, value) in self.labels() {
            plan.step(format!("set its {name} to {value}"), move |system| {
                build::describe(system, nqn, name, value)
            });
        }
        let whom = match self.initiators() {
            [] => "everyone".to_owned(),
            some => some.join(", "),
        };
        plan.step(format!("admit {whom}"), move |system| {
            build::admit(system, nqn, self.initiators())
        });
        Ok(plan)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let nqn = self.nqn();
        if let State::There(_) = from {
            self.empty(view, &mut plan)?;
            plan.step(format!("remove subsystem {nqn}"), move |system| {
                build::admit_nobody(system, nqn)?;
                build::remove_subsystem(system, nqn)
            });
        }
        // Those that a start which was cut short has left, too.
        if matches!(from, State::There(_)) || !build::loose_hosts(view)?.is_empty() {
            plan.step(
                "remove the names of clients that we have made and that nobody uses",
                build::remove_loose_hosts,
            );
        }
        Ok(plan)
    }
}

impl Extras for NvmetSubsystem {
    const TASKS: Tasks = configfs::carry_out;

    fn uncover<'a>(&'a self, view: &View) -> Plan<'a> {
        covered::mount(view, nvmet::MODULE)
    }
}

impl NvmetSubsystem {
    fn nqn(&self) -> &str {
        &self.params.nqn.0
    }

    fn initiators(&self) -> &[String] {
        self.params.allowed_initiators.as_ref().map_or(&[], |list| &list.0)
    }

    /// What it was to say of itself.
    fn labels(&self) -> Vec<(&'static str, &str)> {
        let serial = self.params.serial.as_ref().map(|label| ("serial", label.0.as_str()));
        let model = self.params.model.as_ref().map(|label| ("model", label.0.as_str()));
        serial.into_iter().chain(model).collect()
    }

    /// The steps that take out of it what is not its own.
    fn empty<'a>(&'a self, view: &View, plan: &mut Plan<'a>) -> Result<()> {
        let nqn = self.nqn();
        let Ok(nvmet) = Nvmet::open(view)? else { return Ok(()) };
        for port in nvmet.ports()?.iter() {
            if nvmet.shows(port.id, nqn)? {
                let id = port.id;
                plan.step(format!("show it no longer at {}", port.address), move |system| {
                    system.warn(format_args!("{nqn} is stopped while port {id} still shows it"));
                    build::hide(system, id, nqn)
                });
            }
        }
        let Ok(namespaces) = nvmet.namespaces(nqn)? else { return Ok(()) };
        for id in namespaces.into_items() {
            plan.step(format!("close and remove namespace {id}"), move |system| {
                let path = nvmet::namespace(nqn, id);
                system.warn(format_args!("{nqn} is stopped with {path} still in it"));
                build::disable(system, nqn, id)?;
                build::remove_namespace(system, nqn, id)
            });
        }
        Ok(())
    }

    /// What is not as a start has left it.
    fn fault(&self, found: &Subsystem) -> Option<String> {
        let nqn = self.nqn();
        let wanted = self.initiators();
        if found.admits_all && !wanted.is_empty() {
            return Some(format!("{nqn} admits everyone, though allowed_initiators is set"));
        }
        if !found.admits_all && wanted.is_empty() {
            return Some(format!(
                "{nqn} does not admit everyone, though allowed_initiators is unset"
            ));
        }
        if let Some(missing) = wanted.iter().find(|host| !found.hosts.contains(host)) {
            return Some(format!("{nqn} does not admit {missing}"));
        }
        let told = [("serial", Some(&found.serial)), ("model", found.model.as_ref())];
        self.labels().into_iter().find_map(|(name, value)| {
            let (_, seen) = told.iter().find(|(known, _)| *known == name)?;
            let seen = (*seen)?;
            (seen != value).then(|| format!("{nqn} has {name} {seen}, and not {value}"))
        })
    }

    /// A client that nobody has asked for.
    fn stranger(&self, found: &Subsystem) -> Option<String> {
        let stranger = found.hosts.iter().find(|host| !self.initiators().contains(host))?;
        Some(format!("{} admits {stranger} besides those in allowed_initiators", self.nqn()))
    }
}

#[cfg(test)]
mod tests;
