//! The kernel's NFS server, with the daemons that it needs and the state that
//! its clients rely on.
//!
//! There is one server for each network namespace, and it is there as long as
//! it has threads: the kernel counts them, and knows the server by its scope
//! and by the sockets that it listens on. Of the daemons those count without
//! which clients hang or lose what they had: mountd, nfsdcld, and statd for
//! NFSv3.
//!
//! | file         | what is in it                                           |
//! |--------------|---------------------------------------------------------|
//! | `params.rs`  | what the agent is given                                 |
//! | `wanted.rs`  | what the server is to be, and which daemons it needs    |
//! | `service.rs` | daemons, brought up by systemd or by us                 |
//! | `record.rs`  | what a start leaves for later                           |
//! | `exports.rs` | the entries of /etc/exports, each for itself            |
//! | `notify.rs`  | clients of NFSv3 are told of a restart                  |
//! | `start.rs`   | the way up                                              |
//! | `stop.rs`    | the way down                                            |
//!
//! The shell agent asks programs: `ps`, `rpcinfo`, `systemctl`. It takes a
//! server whose mountd has died for running, and one whose threads hang for
//! stopping, without end.

mod exports;
mod notify;
mod params;
mod record;
pub(crate) mod service;
mod start;
mod stop;
mod wanted;

pub use params::NfsserverParams;

use anyhow::{Result, bail};
use common::host::mount::{self, Table};
use common::host::nfs::daemon::{self, Daemon};
use common::host::nfs::exports::{self as table, Export};
use common::host::nfs::server::{self, Found, Server};
use common::host::nfs::state_dir::{DIRECTORY, Origin};
use common::host::nfs::tasks;
use common::host::record::Damaged;
use common::host::tasks::Tasks;
use common::{Absent, Agent, Extras, Fact, Plan, Request, Role, Status, View, configured};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Action, Examples, Meta, Params, Words};
use record::Record;
use std::path::Path;

/// What start, stop and monitor may take.
pub(crate) const ACTIONS: &[Action] = &[
    START.timeout(60),
    STOP.timeout(60),
    MONITOR.timeout(20).every(10),
    VALIDATE_ALL.timeout(30),
    META_DATA,
];

/// One server.
#[derive(Debug)]
pub struct Nfsserver {
    params: NfsserverParams,
    request: Request,
    /// The agent that it is called as.
    name: &'static str,
    /// The name of what a start leaves.
    record: String,
}

/// What was seen.
#[derive(Debug)]
pub struct State {
    server: Seen,
    /// What the directory is that is meant to be in the place of /var/lib/nfs,
    /// and the proof that it is not there.
    bound: Option<Bound>,
    /// The daemons without which it does not serve, that do not run.
    dead: Vec<Daemon>,
    /// Of what a start has brought up besides a server that is down: proof that
    /// nothing is left, or what is, as a clause.
    rest: Option<Result<Absent, String>>,
    record: Option<Record>,
    /// What the record is called, if another instance has left it.
    noted_as: Option<String>,
    /// Whether there is one that cannot be read.
    is_damaged: bool,
}

/// What is seen of the server.
#[derive(Debug)]
enum Seen {
    /// It has no threads.
    Down(Absent),
    /// It has threads.
    Up(Server),
    /// It has threads, and the socket that the start has seen.
    Same,
}

/// Whether the state directory is in its place.
#[derive(Debug)]
struct Bound {
    origin: Origin,
    absent: Option<Absent>,
}

static META: Meta = Meta {
    name: "nfsserver",
    shortdesc: "The kernel's NFS server",
    longdesc: "Starts the kernel's NFS server and the daemons that it needs, and watches both. The state that clients \
        rely on can be kept in a directory that moves with the data, so that they take their locks back on the other \
        node.\n\n\
        Where systemd runs, the daemons are brought up by the distribution's units; elsewhere they are started \
        directly. The server's threads are started and ended by the kernel's own calls in any case. What /etc/exports \
        has is exported as by the distribution's service, entry by entry; what other resources export is left alone.\n\n\
        rpcbind is started where NFSv3 needs it, and never stopped.",
    params: NfsserverParams::TABLE,
    words: Words::Positions,
    actions: ACTIONS,
    examples: Examples {
        pacemaker: "server ocf:sturdy:nfsserver params nfs_shared_infodir=/srv/data/nfs nfs_server_scope=10.0.0.9 \
            nfs_ip=10.0.0.9",
        haresources: "nfsserver",
        by_hand: "--nfsv4_only yes start",
    },
    differences: &[
        "The state is the kernel's: threads, scope, and the daemons' processes. A monitor starts no program.",
        "A mountd or nfsdcld that has died fails the monitor, with NFSv4 alone too.",
        "A server that runs under another scope is not taken for this one; start refuses to touch it.",
        "start has nfs-server.service bring up the daemons alone, and sets versions, times, scope and threads itself. \
         exportfs -r and exportfs -au, which drop what others export, are not run.",
        "stop ends the threads first, while directories are still exported, and all that uses the state directory \
         after them; it ends in time and says which thread hangs.",
        "Daemons that ran before start run again after stop.",
        "The state of statd is not overwritten with random numbers: what clients are told stays odd and grows.",
        "nfsv4_only switches NFSv3 off in the kernel.",
        "The table of exports is not taken over from the other node.",
        "nfs_init_script is taken, and not run.",
    ],
};

impl Agent for Nfsserver {
    const META: &'static Meta = &META;
    type Params = NfsserverParams;
    type State = State;

    fn new(params: NfsserverParams, request: &Request) -> Result<Self> {
        Ok(Self::called(META.name, params, request))
    }

    fn observe(&self, view: &View) -> Result<State> {
        let (noted, damaged) = Damaged::apart(self.noted(view));
        let (noted_as, record) = noted.unzip();
        let noted_as = noted_as.filter(|name| *name != self.record);
        let server = match record.as_ref().and_then(|record| record.cookie) {
            Some(cookie) if server::still_has(view, cookie) => Seen::Same,
            _ => match server::find(view)? {
                Found::Down(absent) => Seen::Down(absent),
                Found::Up(server) => Seen::Up(server),
            },
        };
        let dead = match &server {
            Seen::Down(_) => Vec::new(),
            server if self.is_foreign(server, record.as_ref()).is_some() => Vec::new(),
            _ => dead(view, record.as_ref())?,
        };
        let bound = self.bound(view, record.as_ref())?;
        if let (Seen::Down(_), None, Some(damaged)) = (&server, &bound, &damaged) {
            refuse_unknown_directory(view, damaged)?;
        }
        let rest = match (&server, &record) {
            (Seen::Down(_), Some(record)) => Some(self.rest(view, record)?),
            _ => None,
        };
        let is_damaged = damaged.is_some();
        Ok(State { server, bound, dead, rest, record, noted_as, is_damaged })
    }

    fn status(&self, state: &State) -> Status {
        let started = Role::Started;
        let bound = state.bound.as_ref();
        let is_bound = bound.is_some_and(|bound| bound.absent.is_none());
        let proof = |absent: &Absent| match bound.and_then(|bound| bound.absent.clone()) {
            Some(unbound) => absent.clone().and(unbound),
            None => absent.clone(),
        };
        if let Seen::Down(absent) = &state.server {
            return match &state.rest {
                _ if is_bound => Status::Failed(
                    started,
                    format!("there is no server, and {} is on {DIRECTORY}", self.infodir()),
                ),
                Some(Err(left)) => {
                    Status::Failed(started, format!("there is no server, and {left}"))
                }
                Some(Ok(none)) => Status::Stopped(proof(absent).and(none.clone())),
                None => Status::Stopped(proof(absent)),
            };
        }
        if let Some((scope, other)) = self.is_foreign(&state.server, state.record.as_ref()) {
            return match self.request.probe && !is_bound {
                true => Status::Stopped(proof(&other)),
                false => Status::Failed(started, foreign(&scope)),
            };
        }
        if bound.is_some() && !is_bound {
            let why = format!("the server runs, and {} is not on {DIRECTORY}", self.infodir());
            return Status::Failed(started, why);
        }
        match state.dead.as_slice() {
            [] => Status::Running(started),
            dead => {
                let names: Vec<&str> = dead.iter().map(|daemon| daemon.program()).collect();
                let verb = if names.len() == 1 { "does" } else { "do" };
                Status::Failed(started, format!("{} {verb} not run", names.join(" and ")))
            }
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let mut facts = Vec::new();
        facts.push(match &state.server {
            Seen::Down(absent) => Fact::new("server", format!("none: {absent}")),
            Seen::Same => Fact::new("server", "the one that was started"),
            Seen::Up(server) => Fact::new("server", format!("{} threads", server.threads)),
        });
        if let Seen::Up(Server { scope: Some(scope), .. }) = &state.server {
            facts.push(Fact::new("scope", scope.clone()));
        }
        if let Some(bound) = &state.bound {
            let is = if bound.absent.is_none() { "on" } else { "not on" };
            facts.push(Fact::new("state", format!("{} {is} {DIRECTORY}", self.infodir())));
        }
        let running = state.record.iter().flat_map(|record| &record.daemons);
        let running = running.filter(|one| !state.dead.contains(&one.daemon));
        facts.extend(running.map(|one| Fact::new("daemon", one.to_string())));
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.bring_up(view, from)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        Ok(self.bring_down(view, from))
    }
}

impl Extras for Nfsserver {
    const TASKS: Tasks = tasks::carry_out;

    fn validate(&self) -> Result<()> {
        let params = &self.params;
        for (name, time) in
            [("nfs_gracetime", params.nfs_gracetime), ("nfs_leasetime", params.nfs_leasetime)]
        {
            if time.is_some_and(|time| !(10..=3600).contains(&time)) {
                return Err(configured(format!("parameter {name} is not from 10 to 3600")));
            }
        }
        if self.request.clone.is_some() && params.nfs_shared_infodir.is_some() {
            return Err(configured("a clone cannot share the directory nfs_shared_infodir"));
        }
        if params
            .nfs_shared_infodir
            .as_deref()
            .is_some_and(|dir| Path::new(DIRECTORY).starts_with(dir) || dir.starts_with(DIRECTORY))
        {
            return Err(configured(format!(
                "parameter nfs_shared_infodir is on {DIRECTORY} itself"
            )));
        }
        wanted::Words::parse(params.nfsd_args.as_deref().unwrap_or_default()).map(drop)
    }

    fn suits(&self, view: &View) -> Result<()> {
        for program in ["rpc.mountd", "exportfs"] {
            view.program(program)?;
        }
        Ok(())
    }

    fn advice(&self, _view: &View, _state: &State) -> Vec<Fact> {
        let mut advice = Vec::new();
        if self.params.nfs_server_scope.is_none() && self.params.nfs_shared_infodir.is_some() {
            let why = "without nfs_server_scope, clients of NFSv4 do not take their locks back on another node";
            advice.push(Fact::new("advice", why));
        }
        advice
    }

    fn started<'a>(&'a self, _view: &View, state: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        // A start that was killed after the threads were there.
        if state.record.as_ref().is_some_and(|record| record.cookie.is_none()) {
            self.plan_adoption(&mut plan, state);
            plan.step("note what runs", |system| self.note_running(system));
        }
        Ok(plan)
    }
}

impl Nfsserver {
    /// As the agent or as one that starts the server for /etc/exports.
    pub(crate) fn called(name: &'static str, params: NfsserverParams, request: &Request) -> Self {
        let record = format!("{name}-{}.state", request.instance);
        Self { params, request: request.clone(), name, record }
    }

    /// Whether it is started for what /etc/exports has.
    fn is_for_exports(&self) -> bool {
        self.name != META.name
    }

    /// What a start has left, and under which name: this instance's, or another's
    /// whose server is the same. There is one for each network namespace, and the
    /// scope alone tells it from others; Pacemaker, heartbeat and a person have
    /// different names for it.
    fn noted(&self, view: &View) -> Result<Option<(String, Record)>, Damaged> {
        if let Some(record) = Record::of(view, &self.record)? {
            return Ok(Some((self.record.clone(), record)));
        }
        let wanted = self.params.nfs_server_scope.as_ref().map(|scope| &scope.0);
        let is_same =
            |record: &Record| wanted.is_none_or(|wanted| record.scope.as_ref() == Some(wanted));
        let mut damaged = None;
        let kind = (&*format!("{}-", self.name), ".state");
        for (name, record) in view.records_beside(&self.record, kind, Record::parse)? {
            match record {
                Ok(record) if is_same(&record) => return Ok(Some((name, record))),
                Ok(_) => {}
                Err(found) => damaged = Some(found),
            }
        }
        damaged.map_or(Ok(None), Err)
    }

    /// Adds that what another instance has left is this one's from now on.
    fn plan_adoption<'a>(&'a self, plan: &mut Plan<'a>, state: &State) {
        if let Some(name) = state.noted_as.clone() {
            plan.step(format!("take over what was noted as {name}"), move |system| {
                system.rename_record(&name, &self.record)
            });
        }
    }

    fn infodir(&self) -> String {
        match &self.params.nfs_shared_infodir {
            Some(directory) => directory.display().to_string(),
            None => "a state directory".into(),
        }
    }

    /// Whether the server is known to be another than is meant: its scope, and
    /// the proof that ours is not there.
    fn is_foreign(&self, server: &Seen, record: Option<&Record>) -> Option<(String, Absent)> {
        let Seen::Up(server) = server else { return None };
        let wanted = self.params.nfs_server_scope.as_ref().map(|scope| scope.0.as_str());
        let started = record.and_then(|record| record.scope.as_deref());
        if started.is_some() && server.scope.as_deref() == started {
            return None;
        }
        Some((server.scope.clone()?, server.is_not(wanted?)?))
    }

    /// What is left of a start whose server is down: proof that there is nothing,
    /// or a clause. Daemons and exports keep file systems in use without a server,
    /// too.
    fn rest(&self, view: &View, record: &Record) -> Result<Result<Absent, String>> {
        let running = daemon::running(view)?;
        let is_ours =
            |one: &daemon::Running| one.is_of(view, self.name) || record.ours.contains(&one.daemon);
        let Some(no_daemon) = running.lacks(is_ours) else {
            let left: Vec<String> =
                running.iter().filter(|one| is_ours(one)).map(ToString::to_string).collect();
            return Ok(Err(format!(
                "of what its start has brought up there is {}",
                left.join(", ")
            )));
        };
        if record.exports.is_empty() {
            return Ok(Ok(no_daemon));
        }
        let paths: Vec<&Path> = record.exports.iter().map(|made| &*made.path).collect();
        let listed = table::of(view, &paths)?;
        let is_made = |entry: &Export| record.exports.iter().any(|made| made.is(entry));
        Ok(match listed.lacks(is_made) {
            Some(no_export) => Ok(no_daemon.and(no_export)),
            None => Err("what its start has exported is still in the table".into()),
        })
    }

    fn bound(&self, view: &View, record: Option<&Record>) -> Result<Option<Bound>> {
        let recorded = record.and_then(|record| record.origin.clone());
        let inode = record.and_then(|record| record.inode);
        let Some(directory) = &self.params.nfs_shared_infodir else {
            return recorded.map(|origin| bound(view, origin, inode)).transpose();
        };
        let origin = match recorded {
            Some(origin) => origin,
            None => Origin::of(view, &Table::read(view)?, directory)?,
        };
        bound(view, origin, inode).map(Some)
    }
}

/// Whether the state directory is still in its place is told by the record where
/// no parameter names it.
fn refuse_unknown_directory(view: &View, damaged: &Damaged) -> Result<()> {
    if let Some(mount) = Table::read(view)?.uppermost(Path::new(DIRECTORY)) {
        let what = format!("{} on {DIRECTORY} may be in it", mount.what());
        bail!("{}", damaged.doubt(what));
    }
    Ok(())
}

fn foreign(scope: &str) -> String {
    format!("the NFS server that runs here has the scope {scope}, and is another one's")
}

fn bound(view: &View, origin: Origin, inode: Option<u64>) -> Result<Bound> {
    // Without a reading of the whole table, where it is as it should be.
    if inode.is_some_and(|inode| origin.is_in_place(view, inode)) {
        return Ok(Bound { origin, absent: None });
    }
    if let Some(mount) = mount::statmount::at(view, Path::new(DIRECTORY))
        && origin.is_shown_by(&mount)
    {
        return Ok(Bound { origin, absent: None });
    }
    let absent = origin.is_unbound(&Table::read(view)?);
    Ok(Bound { origin, absent })
}

/// Those of the daemons that the server worked with that are gone. Where nobody
/// knows which these were, it is mountd that none can do without.
fn dead(view: &View, record: Option<&Record>) -> Result<Vec<Daemon>> {
    let known = record.map(|record| record.daemons.as_slice()).unwrap_or_default();
    let fine = |one: &daemon::Running| one.is_alive(view) && one.is_connected(view);
    if !known.is_empty() && known.iter().all(fine) {
        return Ok(Vec::new());
    }
    let mut needed: Vec<Daemon> = known.iter().map(|one| one.daemon).collect();
    if needed.is_empty() {
        needed.push(Daemon::Mountd);
    }
    let running = daemon::running(view)?;
    let runs =
        |daemon: &Daemon| running.iter().any(|one| one.daemon == *daemon && one.is_connected(view));
    Ok(needed.into_iter().filter(|daemon| !runs(daemon)).collect())
}

/// Fails where somebody else's server is in the way.
fn refuse_foreign(agent: &Nfsserver, state: &State) -> Result<()> {
    if let Some((scope, _)) = agent.is_foreign(&state.server, state.record.as_ref()) {
        bail!("{}", foreign(&scope));
    }
    Ok(())
}
