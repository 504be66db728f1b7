//! What the init script `nfs-common` was used for in haresources: the daemons
//! that NFS needs besides the server's own.
//!
//! Others may need the same daemons: a node that mounts by NFS itself has a
//! statd. So one that runs already is used and left, and what counts as running
//! here is what a start of ours has taken on.

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

/// The daemons, taken on.
pub struct NfsCommon {
    params: NfsCommonParams,
    record: String,
}

/// What was seen.
#[derive(Debug)]
pub struct State {
    /// What a start has taken on; none where there was no start.
    taken: Option<Taken>,
    /// Why that is not known.
    damaged: Option<Damaged>,
    running: Vec<Running>,
    /// Proof that none of those runs that a start of ours has brought up.
    absent: Option<Absent>,
}

/// What a start has taken on.
#[derive(Debug, Default, PartialEq, Eq)]
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
}

impl Agent for NfsCommon {
    const META: &'static Meta = &META;
    type Params = NfsCommonParams;
    type State = State;

    fn new(params: NfsCommonParams, request: &Request) -> Result<Self> {
        Ok(Self { params, record: format!("nfs-common-{}.state", request.instance) })
    }

    fn observe(&self, view: &View) -> Result<State> {
        let (taken, damaged) = Damaged::apart(view.record(&self.record, Taken::parse));
        let ours = taken.as_ref().map(|taken| taken.ours.clone()).unwrap_or_default();
        let running = daemon::running(view)?;
        // Each may be ours where it is not known which are.
        let is_ours =
            |one: &Running| damaged.is_some() || ours.contains(&one.daemon) || one.is_ours(view);
        let absent = running.lacks(is_ours);
        Ok(State { taken, damaged, running: running.into_items(), absent })
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
            let was_ours = from.taken.as_ref().is_some_and(|taken| taken.ours.contains(daemon));
            let mut running = from.running.iter().filter(|one| one.daemon == *daemon);
            !was_ours && running.any(|one| !one.is_ours(view))
        };
        let ours = needed.iter().copied().filter(|daemon| !is_strange(daemon)).collect();
        let taken = Taken { needed: needed.clone(), ours }.text();
        let names: Vec<&str> = needed.iter().map(|daemon| daemon.program()).collect();
        let mut plan = Plan::new();
        plan.step(format!("note that {} are taken on", names.join(", ")), move |system| {
            system.write_record(&self.record, &taken)
        });
        plan.step(format!("bring up {}", names.join(", ")), move |system| {
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
        let ours = from.taken.as_ref().map(|taken| taken.ours.clone()).unwrap_or_default();
        let is_ours = |one: &&Running| ours.contains(&one.daemon) || one.is_ours(view);
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
        if from.taken.is_some() || from.damaged.is_some() {
            plan.step("forget what was taken on", |system| match self.observe(system)?.absent {
                Some(_) => system.remove_record(&self.record),
                None => bail!("not all of it has ended"),
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

impl NfsCommon {
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
