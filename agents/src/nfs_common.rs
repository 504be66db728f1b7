//! What the init script `nfs-common` was used for in haresources: the daemons
//! that NFS needs besides the server's own.
//!
//! Others may need the same daemons: a node that mounts by NFS itself has a
//! statd. So one that runs already is used and left, and what counts as running
//! here is what a start of ours has taken on. Of several resources the last that
//! needs a daemon ends it.
//!
//! Nothing but the cluster's name for the resource tells one from another. Whoever
//! has none, as heartbeat and a person, means what is there; and what they have
//! started is anybody's.

use crate::nfsserver::service::{Manager, Wanted};
use anyhow::{Result, bail};
use common::host::module;
use common::host::mount::Table;
use common::host::mount::attach::{self, Wanted as Mounting};
use common::host::nfs::conf::Conf;
use common::host::nfs::daemon::{self, Daemon, Running};
use common::host::nfs::tasks;
use common::host::record::Damaged;
use common::host::tasks::Tasks;
use common::{Absent, Agent, Extras, Fact, Plan, Request, Role, Status, System, View};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Value, Words, params};
use std::ffi::OsStr;
use std::path::PathBuf;

params! {
    /// Which daemons.
    pub struct NfsCommonParams {
        /// Whether statd is needed.
        ///
        /// For locks of NFSv3. Unset, it is what NEED_STATD in /etc/default/nfs-common says, or yes.
        [] need_statd: Option<bool>,
        /// Whether idmapd is needed.
        ///
        /// Unset, it is what NEED_IDMAPD says, or yes. Where systemd runs, it comes with the server.
        [] need_idmapd: Option<bool>,
        /// Whether gssd is needed.
        ///
        /// For Kerberos. Unset, it is what NEED_GSSD says, or no.
        [] need_gssd: Option<bool>,
    }
}

static META: Meta = Meta {
    name: "nfs-common",
    shortdesc: "The daemons that NFS needs besides the server's own",
    longdesc: "Starts statd, idmapd and, where it is asked for, gssd, as the init script of this name did in haresources \
        before nfs-kernel-server. Where systemd runs, they are its units; elsewhere they are started directly.\n\n\
        A daemon that runs already is left running by stop, and so is rpcbind, which start brings up where statd \
        needs it. nfsserver starts what it needs by itself and has no need of this agent.",
    params: NfsCommonParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(40),
        STOP.timeout(40),
        MONITOR.timeout(20).every(20),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "daemons ocf:sturdy:nfs-common",
        haresources: "nfs-common nfs-kernel-server",
        by_hand: "start",
    },
    differences: &[
        "A daemon that ran before start is left running by stop; the init script ends it, whoever has started it.",
        "start brings rpcbind up where statd needs it; the init script then does nothing and says that it did.",
        "Where systemd runs, the init script asks for a unit that the distribution has masked, and fails.",
        "A daemon is told by its program, and not by its name or the file with its number.",
    ],
};

/// The administrator's file, of which three words are read.
const DEFAULTS: &str = "/etc/default/nfs-common";

/// How all records are called.
const RECORDS: (&str, &str) = ("nfs-common-", ".state");

/// The daemons, taken on.
pub struct NfsCommon {
    params: NfsCommonParams,
    /// What this instance's record is called, and that of those who have no name
    /// for it.
    record: String,
    nameless: String,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct State {
    /// What a start has taken on; none where there was no start.
    taken: Option<Taken>,
    /// How the records are called that say so, and that are damaged.
    names: Vec<String>,
    /// Why that is not known.
    damaged: Option<Damaged>,
    /// What other resources have taken on.
    others: Taken,
    running: Vec<Running>,
    /// Proof that none of those runs that a start of ours has brought up.
    absent: Option<Absent>,
}

/// What a start has taken on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Taken {
    /// What has to run.
    needed: Vec<Daemon>,
    /// Those that did not run before.
    ours: Vec<Daemon>,
}

impl Taken {
    fn text(&self) -> String {
        let lines = |word: &str, list: &[Daemon]| -> String {
            list.iter().map(|daemon| format!("{word} {daemon}\n")).collect()
        };
        format!("nfs-common 1\n{}{}", lines("needed", &self.needed), lines("ours", &self.ours))
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("nfs-common 1\n")?;
        let list = |word: &str| {
            let names = text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
            names.filter_map(Daemon::named).collect()
        };
        Some(Self { needed: list("needed"), ours: list("ours") })
    }

    fn add(&mut self, other: Self) {
        for (list, more) in [(&mut self.needed, other.needed), (&mut self.ours, other.ours)] {
            list.extend(more);
            list.sort_unstable();
            list.dedup();
        }
    }
}

impl Agent for NfsCommon {
    const META: &'static Meta = &META;
    type Params = NfsCommonParams;
    type State = State;

    fn new(params: NfsCommonParams, request: &Request) -> Result<Self> {
        let name = |instance| format!("{}{instance}{}", RECORDS.0, RECORDS.1);
        let nameless = name(Request::NAMELESS);
        Ok(Self { params, record: name(&request.instance), nameless })
    }

    fn observe(&self, view: &View) -> Result<State> {
        let mut state = self.noted(view)?;
        let running = daemon::running(view)?;
        state.absent = running.lacks(|one| state.is_ours(view, one));
        state.running = running.into_items();
        Ok(state)
    }

    fn status(&self, state: &State) -> Status {
        if let (Some(damaged), None) = (&state.damaged, &state.absent) {
            let daemon = state.running.first().map_or("one of them", |one| one.daemon.program());
            let doubt = damaged.doubt(format_args!("{daemon} runs and may be in it"));
            return Status::Failed(Role::Started, doubt);
        }
        let runs = |daemon: &Daemon| state.running.iter().any(|one| one.daemon == *daemon);
        match (&state.taken, &state.absent) {
            (None, Some(absent)) => Status::Stopped(absent.clone()),
            (None, None) => Status::Failed(Role::Started, "a start has not come to its end".into()),
            (Some(taken), _) => match taken.needed.iter().find(|daemon| !runs(daemon)) {
                Some(dead) => Status::Failed(Role::Started, format!("{dead} does not run")),
                None => Status::Running(Role::Started),
            },
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        state.running.iter().map(|one| Fact::new("daemon", one.to_string())).collect()
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let manager = Manager::of(view)?;
        let needed = self.needed(view, &manager);
        if needed.is_empty() {
            bail!("there is neither statd nor idmapd here: is nfs-common installed?");
        }
        let is_strange = |daemon: &Daemon| {
            // What another resource has brought up goes with the last that needs it.
            let all = from.taken.iter().chain([&from.others]);
            let was_ours = all.into_iter().any(|taken| taken.ours.contains(daemon));
            let mut running = from.running.iter().filter(|one| one.daemon == *daemon);
            !was_ours && running.any(|one| !one.is_of(view, META.name))
        };
        let ours = needed.iter().copied().filter(|daemon| !is_strange(daemon)).collect();
        let taken = Taken { needed: needed.clone(), ours }.text();
        let programs: Vec<&str> = needed.iter().map(|daemon| daemon.program()).collect();
        let names: Vec<String> =
            from.names.iter().filter(|name| **name != self.record).cloned().collect();
        let mut plan = Plan::new();
        plan.step(format!("note that {} are taken on", programs.join(", ")), move |system| {
            system.write_record(&self.record, &taken)?;
            self.forget(system, &names)
        });
        plan.step(format!("bring up {}", programs.join(", ")), move |system| {
            if matches!(manager, Manager::Us) {
                mount_pipes(system)?;
            }
            let words = |daemon| match (daemon, &manager) {
                (Daemon::Statd, Manager::Us) => vec!["--no-notify".to_owned()],
                _ => Vec::new(),
            };
            let wanted: Vec<Wanted> = needed
                .iter()
                .map(|daemon| Wanted { daemon: *daemon, words: words(*daemon) })
                .collect();
            manager.start(system, &wanted)
        });
        Ok(plan)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let is_ours = |one: &&Running| from.is_known_as_ours(view, one);
        let mut doomed: Vec<Daemon> =
            from.running.iter().filter(is_ours).map(|one| one.daemon).collect();
        doomed.sort_unstable();
        doomed.dedup();
        if !doomed.is_empty() {
            let names: Vec<&str> = doomed.iter().map(|daemon| daemon.program()).collect();
            plan.step(format!("end {}", names.join(", ")), move |system| {
                Manager::of(system)?.stop(system, &doomed)
            });
        }
        if !from.names.is_empty() {
            let names = from.names.clone();
            plan.step("forget what was taken on", move |system| {
                match self.observe(system)?.absent {
                    Some(_) => self.forget(system, &names),
                    None => bail!("not all of it has ended"),
                }
            });
        }
        Ok(plan)
    }
}

impl Extras for NfsCommon {
    const TASKS: Tasks = tasks::carry_out;

    fn suits(&self, view: &View) -> Result<()> {
        view.program(Daemon::Statd.program()).map(drop).map_err(Into::into)
    }
}

impl State {
    /// Whether the daemon is one that this resource is to end.
    fn is_known_as_ours(&self, view: &View, one: &Running) -> bool {
        let is_noted = self.taken.as_ref().is_some_and(|taken| taken.ours.contains(&one.daemon));
        !self.others.needed.contains(&one.daemon) && (is_noted || one.is_of(view, META.name))
    }

    /// The same, or one that may be: each where it is not known which are.
    fn is_ours(&self, view: &View, one: &Running) -> bool {
        self.damaged.is_some() || self.is_known_as_ours(view, one)
    }
}

impl NfsCommon {
    /// What is noted of this resource, and of others.
    fn noted(&self, view: &View) -> Result<State> {
        let own = view.record(&self.record, Taken::parse);
        let is_there = !matches!(own, Ok(None));
        let beside = view.records_beside(&self.record, RECORDS, Taken::parse)?;
        let is_meant =
            |name: &String| !is_there && (self.record == self.nameless || *name == self.nameless);
        let mut state = State::default();
        let own = own.transpose().map(|own| (self.record.clone(), own));
        for (name, taken) in own.into_iter().chain(beside) {
            let is_ours = name == self.record || is_meant(&name);
            match taken {
                Ok(taken) if is_ours => state.taken.get_or_insert_default().add(taken),
                Ok(taken) => state.others.add(taken),
                Err(damaged) if is_ours => state.damaged = Some(damaged),
                Err(damaged) => view.note(format_args!("{damaged}")),
            }
            if is_ours {
                state.names.push(name);
            }
        }
        Ok(state)
    }

    fn forget(&self, system: &System<'_>, names: &[String]) -> Result<()> {
        names.iter().try_for_each(|name| system.remove_record(name))
    }

    fn needed(&self, view: &View, manager: &Manager) -> Vec<Daemon> {
        let defaults = view.read(DEFAULTS).unwrap_or_default();
        let said = |word: &str| {
            let value = defaults.lines().rev().find_map(|line| line.trim().strip_prefix(word))?;
            bool::parse(value.strip_prefix('=')?.trim_matches(['"', '\''])).ok()
        };
        let params = &self.params;
        // Its unit brings the server up.
        let with_server = matches!(manager, Manager::Systemd(_));
        let wanted = [
            (Daemon::Statd, params.need_statd.or_else(|| said("NEED_STATD")).unwrap_or(true)),
            (
                Daemon::Idmapd,
                !with_server && params.need_idmapd.or_else(|| said("NEED_IDMAPD")).unwrap_or(true),
            ),
            (Daemon::Gssd, params.need_gssd.or_else(|| said("NEED_GSSD")).unwrap_or(false)),
        ];
        let is_had = |(daemon, wanted): &(Daemon, bool)| *wanted && manager.has(view, *daemon);
        wanted.into_iter().filter(is_had).map(|(daemon, _)| daemon).collect()
    }
}

/// Where idmapd and gssd hear of the kernel.
fn mount_pipes(system: &System<'_>) -> Result<()> {
    let conf = Conf::read(system)?;
    let place = conf.get("general", "pipefs-directory").unwrap_or("/var/lib/nfs/rpc_pipefs");
    let directory = PathBuf::from(place);
    let table = Table::read(system)?;
    if table.uppermost(&directory).is_some_and(|mount| mount.fstype == "rpc_pipefs") {
        return Ok(());
    }
    if !system.exists("/proc/net/rpc")? {
        module::load(system, "sunrpc")?;
    }
    system.make_dir(&directory)?;
    let wanted = Mounting {
        source: OsStr::new("sunrpc"),
        directory: &directory,
        fstype: Some("rpc_pipefs"),
        options: "",
    };
    attach::mount(system, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_on_is_read_as_it_was_written() {
        let taken =
            Taken { needed: vec![Daemon::Statd, Daemon::Idmapd], ours: vec![Daemon::Idmapd] };
        assert_eq!(Taken::parse(&taken.text()), Some(taken));
        assert_eq!(Taken::parse("nfs-common 2\n"), None);
    }
}
