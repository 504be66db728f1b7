//! `nvmet-namespace`: a disk of a subsystem of the kernel's NVMe target.
//!
//! A namespace is known by its subsystem and its number. nvmet tells of the disk
//! that it has open only the path that it was given; so it is given a path that
//! is the disk's number, and a name that leads elsewhere by now deceives nobody.
//! Clients know the disk by its UUID, which the kernel tells as well.
//!
//! One that is open is never closed to set it right: clients drop a disk that
//! goes for a moment, and their file systems go read-only.
//!
//! The shell agent takes a directory for a namespace that serves, whether it is
//! enabled or not, and whatever became of the path, the UUID and the opening.

use crate::covered;
use crate::nvmet::{Identity, NamespaceId, Nqn};
use anyhow::{Context, Result, bail};
use common::host::block::{self, Number};
use common::host::nvmet::build::{self, NewNamespace};
use common::host::nvmet::{self, Id, Namespace, Nvmet};
use common::host::{configfs, tasks::Tasks};
use common::{
    Absent, Agent, Extras, Fact, Plan, Request, Role, Status, View, configured, installed,
};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words, params};
use std::path::PathBuf;

params! {
    /// What the agent is given.
    pub struct NvmetNamespaceParams {
        /// Name of the subsystem that the disk belongs to.
        [required, names, position = 1] nqn: Nqn,
        /// Number of the disk in the subsystem.
        [names] namespace_id: NamespaceId = "1",
        /// Block device or file to serve.
        [required, position = 2] backing_path: Option<PathBuf>,
        /// UUID by which clients know the disk.
        ///
        /// Made once with uuidgen, and the same on each node: after a takeover a client takes the disk for the one that it had by this.
        [required, unique, position = 3] uuid: Option<Identity>,
        /// The same in the NGUID, an older field.
        ///
        /// VMware ESXi goes by it. It may be the UUID.
        [unique] nguid: Option<Identity>,
    }
}

static META: Meta = Meta {
    name: "nvmet-namespace",
    shortdesc: "A disk of a subsystem of the kernel's NVMe target",
    longdesc: "Serves a block device or a file as a disk (a namespace) of an NVMe over Fabrics subsystem. The subsystem is a resource of the agent nvmet-subsystem, whose manual says how they are grouped.\n\n\
        device_path in configfs is the number of the block device, as /dev/block/147:1: the kernel has no other record of what it has open, and names can change. explain shows the device by its number.\n\n\
        A disk that is open is never closed by a start. Where it is another one than was asked for, a start says so, and a stop comes first.\n\n\
        A stop waits for what is under way on this disk, and needs neither its device nor its subsystem's other disks. Where the device does not answer, as DRBD without quorum, it fails in time and names the file that hangs; end that first, or let DRBD give errors (on-no-quorum io-error). Debian 12's kernel then opens and closes no other namespace until that has ended; those that are open are served.\n\n\
        After the device has grown, write 1 to revalidate_size in the namespace's directory: clients then see it.",
    params: NvmetNamespaceParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(20),
        STOP.timeout(20),
        MONITOR.timeout(20).every(10),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "p_disk ocf:sturdy:nvmet-namespace params nqn=nqn.2014-08.com.example:storage namespace_id=1 backing_path=/dev/drbd1 uuid=8b0c6a5e-0e1a-4c57-9d1a-5b7a3a2f4e10",
        haresources: "nvmet-namespace::nqn.2014-08.com.example:storage::/dev/drbd1::UUID",
        by_hand: "nqn.2014-08.com.example:storage explain",
    },
    differences: &[
        "Running means that the namespace is enabled, with the UUID, the NGUID and the disk that were asked for. The shell agent looks for a directory, so a disk that could not be opened is running to it.",
        "A start that cannot open the disk fails, and leaves nothing.",
        "device_path is the device's number, /dev/block/147:1, and not backing_path.",
        "A stop waits until the disk is closed, and succeeds only then.",
        "The module is loaded by a start of nvmet-subsystem. Without it a probe answers 7 and a stop 0; the shell agent answers 5 to each action.",
        "Two namespaces of a subsystem with one UUID are refused: clients would take them for one disk.",
    ],
};

/// One namespace.
pub struct NvmetNamespace {
    params: NvmetNamespaceParams,
}

/// What was seen.
#[derive(Debug)]
pub enum State {
    /// It is not there, by a look that has proven it.
    Gone(Absent),
    /// It is there.
    There {
        /// As the kernel has it.
        found: Namespace,
        /// The disk that it serves, as far as that can be told.
        disk: Option<Number>,
        /// Whether the kernel still has that disk.
        is_alive: bool,
        /// The one that the path leads to now, where it leads to one.
        wanted: Option<Number>,
    },
}

impl Agent for NvmetNamespace {
    const META: &'static Meta = &META;
    type Params = NvmetNamespaceParams;
    type State = State;

    fn new(params: NvmetNamespaceParams, _request: &Request) -> Result<Self> {
        Ok(Self { params })
    }

    fn observe(&self, view: &View) -> Result<State> {
        let nvmet = match Nvmet::open(view)? {
            Ok(nvmet) => nvmet,
            Err(absent) => return Ok(State::Gone(absent)),
        };
        let (nqn, id) = (self.nqn(), self.id());
        if let Some(found) = nvmet.namespace(nqn, id)? {
            let disk = nvmet.disk(&found);
            let is_alive = disk.is_none_or(|(_, is_alive)| is_alive);
            let wanted = self.wanted(view, &found);
            return Ok(State::There {
                found,
                disk: disk.map(|(number, _)| number),
                is_alive,
                wanted,
            });
        }
        let all = match nvmet.namespaces(nqn)? {
            Ok(all) => all,
            Err(absent) => return Ok(State::Gone(absent)),
        };
        match all.lacks(|number| *number == id) {
            Some(absent) => Ok(State::Gone(absent)),
            None => bail!("{} is there, and the kernel does not tell of it", self.name()),
        }
    }

    fn status(&self, state: &State) -> Status {
        match state {
            State::Gone(absent) => Status::Stopped(absent.clone()),
            State::There { found, disk, is_alive, wanted } => {
                let fault = self.fault(found, *disk, *wanted).or_else(|| {
                    let gone = disk.filter(|_| !is_alive)?;
                    Some(format!("{} serves {gone}, a disk that is gone", self.name()))
                });
                match fault {
                    Some(reason) => Status::Failed(Role::Started, reason),
                    None => Status::Running(Role::Started),
                }
            }
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let State::There { found, disk, .. } = state else { return Vec::new() };
        let switch = if found.is_enabled { "open" } else { "closed" };
        let path = found.path.as_deref().unwrap_or("nothing");
        let disk = disk.map(|number| format!(" ({number})")).unwrap_or_default();
        let uuid = found.uuid.map(|uuid| format!(", UUID {uuid}")).unwrap_or_default();
        vec![Fact::new("namespace", format!("{}: {switch}, {path}{disk}{uuid}", self.name()))]
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let (path, wanted) = self.asked()?;
        if let State::There { found, .. } = from
            && found.is_enabled
            && let Status::Failed(_, reason) = self.status(from)
        {
            bail!("{reason}; it is open, and clients would lose it: stop it first");
        }
        check(view, &path)?;
        self.check_identity(view, wanted.uuid)?;
        let (nqn, id) = (self.nqn(), self.id());
        let mut plan = Plan::new();
        plan.step(format!("make {} with UUID {}", self.name(), wanted.uuid), move |system| {
            build::namespace(system, nqn, id, &wanted)
        });
        plan.step(format!("open {path}"), move |system| build::enable(system, nqn, id, &path));
        Ok(plan)
    }

    fn stop<'a>(&'a self, _: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let State::There { found, .. } = from else { return Ok(plan) };
        let (nqn, id) = (self.nqn(), self.id());
        if found.is_enabled {
            let path = found.path.as_deref().unwrap_or_default();
            plan.step(format!("close {path} once it is idle"), move |system| {
                build::disable(system, nqn, id)
            });
        }
        plan.step(format!("remove {}", self.name()), move |system| {
            // Its removal would wait for the disk with the list of all namespaces
            // held.
            build::disable(system, nqn, id)?;
            build::remove_namespace(system, nqn, id)
        });
        Ok(plan)
    }
}

impl Extras for NvmetNamespace {
    const TASKS: Tasks = configfs::carry_out;

    fn uncover<'a>(&'a self, view: &View) -> Plan<'a> {
        covered::mount(view, nvmet::MODULE)
    }

    fn suits(&self, view: &View) -> Result<()> {
        check(view, &self.asked()?.0)
    }
}

/// Whether there is something to serve at the path.
fn check(view: &View, path: &str) -> Result<()> {
    let is_there = view.exists(path).with_context(|| format!("cannot look at {path}"))?;
    let disk = block::number(view, path);
    match (is_there, disk) {
        (false, _) => Err(installed(format!("there is no {path}: is its disk started?"))),
        (true, Err(err)) if err.kind() == std::io::ErrorKind::NotFound => {
            Err(installed(format!("{path} leads nowhere: is its disk started?")))
        }
        (true, Err(err)) => Err(err).with_context(|| format!("cannot look at {path}")),
        (true, Ok(None)) if view.is_dir(path)? => {
            Err(configured(format!("{path} is a directory, neither a block device nor a file")))
        }
        (true, Ok(_)) => Ok(()),
    }
}

impl NvmetNamespace {
    fn nqn(&self) -> &str {
        &self.params.nqn.0
    }

    fn id(&self) -> u32 {
        self.params.namespace_id.0
    }

    fn name(&self) -> String {
        format!("namespace {} of {}", self.id(), self.nqn())
    }

    /// What a start is asked for.
    fn asked(&self) -> Result<(String, NewNamespace)> {
        let missing = |name| configured(format!("parameter {name} is required and not set"));
        let path = self.params.backing_path.as_ref().ok_or_else(|| missing("backing_path"))?;
        let path = path.to_str().ok_or_else(|| configured("backing_path is not UTF-8"))?.to_owned();
        let Identity(uuid) = self.params.uuid.ok_or_else(|| missing("uuid"))?;
        let nguid = self.params.nguid.map(|Identity(nguid)| nguid);
        Ok((path.clone(), NewNamespace { path, uuid, nguid }))
    }

    /// The disk that the path leads to now. Of a file that is served by this very
    /// path it need not be asked.
    fn wanted(&self, view: &View, found: &Namespace) -> Option<Number> {
        let path = self.params.backing_path.as_ref()?;
        match found.path.as_deref() == path.to_str() {
            true => None,
            false => block::number(view, path).ok().flatten(),
        }
    }

    /// A UUID that another namespace of the subsystem has.
    fn check_identity(&self, view: &View, uuid: Id) -> Result<()> {
        let Ok(nvmet) = Nvmet::open(view)? else {
            bail!("nvmet is not loaded: start {}, an nvmet-subsystem, first", self.nqn());
        };
        let Ok(all) = nvmet.namespaces(self.nqn())? else {
            bail!("there is no subsystem {}: start its nvmet-subsystem first", self.nqn());
        };
        for other in all.iter().filter(|other| **other != self.id()) {
            let found = nvmet.namespace(self.nqn(), *other)?;
            if found.is_some_and(|found| found.uuid == Some(uuid)) {
                return Err(configured(format!(
                    "namespace {other} of {} has UUID {uuid} already: clients would take both for one disk",
                    self.nqn()
                )));
            }
        }
        Ok(())
    }

    /// What is not as a start has left it.
    fn fault(
        &self,
        found: &Namespace,
        disk: Option<Number>,
        wanted: Option<Number>,
    ) -> Option<String> {
        let name = self.name();
        if !found.is_enabled {
            return Some(format!("{name} is closed"));
        }
        let ids =
            [("UUID", found.uuid, self.params.uuid), ("NGUID", found.nguid, self.params.nguid)];
        for (which, seen, asked) in ids {
            let Some(Identity(asked)) = asked else { continue };
            if seen != Some(asked) {
                let seen = seen.map_or_else(|| "no".into(), |seen| seen.to_string());
                return Some(format!("{name} has {which} {seen}, and not {asked}"));
            }
        }
        let path = self.params.backing_path.as_ref()?.display();
        match (disk, wanted) {
            (Some(disk), Some(wanted)) if disk != wanted => {
                Some(format!("{name} serves {disk}, and {path} is {wanted}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
