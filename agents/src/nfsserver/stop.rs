//! The way down: threads, exports, daemons, state directory.
//!
//! The threads go first. As long as the service's address is up, a client that
//! asked for a file would otherwise hear that there is no such file.

use super::exports;
use super::record::Record;
use super::service::{self, Manager};
use super::start::mount_nfsd;
use super::{Nfsserver, Seen, State, notify, refuse_unknown_directory};
use anyhow::{Result, bail};
use common::host::fuser::{self, Targets};
use common::host::mount::Table;
use common::host::nfs::control;
use common::host::nfs::daemon::{self, Daemon, Running};
use common::host::nfs::server::{self, Found};
use common::host::nfs::state_dir::{self, DIRECTORY, Origin};
use common::{Plan, System, View};

impl Nfsserver {
    pub(super) fn bring_down<'a>(&'a self, view: &View, from: &State) -> Plan<'a> {
        let mut plan = Plan::new();
        self.plan_adoption(&mut plan, from);
        let is_foreign = self.is_foreign(&from.server, from.record.as_ref()).is_some();
        match &from.server {
            Seen::Up(_) | Seen::Same if !is_foreign => {
                if !self.params.drain_timeout.is_zero() {
                    let time = self.params.drain_timeout;
                    let what =
                        format!("let clients finish, for {} s at the longest", time.as_secs());
                    plan.step(what, move |system| {
                        drain(system, time);
                        Ok(())
                    });
                }
                plan.step("end the server's threads", end_threads);
            }
            // A start that was killed may have left sockets without threads.
            Seen::Down(_) if from.record.is_some() && has_server(view) => {
                plan.step("end what a start has left of the server", end_threads);
            }
            _ => {}
        }
        if let Some(record) = &from.record {
            self.plan_exports(&mut plan, record);
        }
        let bound = from.bound.as_ref().filter(|bound| bound.absent.is_none());
        let origin = bound.map(|bound| bound.origin.clone());
        let holds = !is_foreign && self.is_holding(view, from);
        if from.record.is_some() || holds || origin.is_some() {
            let record = from.record.as_ref().filter(|_| !is_foreign);
            let doomed = Doomed {
                brought_up: record.map(|record| record.ours.clone()).unwrap_or_default(),
                by: (!is_foreign).then_some(self.name),
                holds,
                using: origin.clone(),
            };
            plan.step("end the daemons", move |system| doomed.end(system));
        }
        if let Some(origin) = origin {
            plan.step(format!("take {} off {DIRECTORY}", self.infodir()), move |system| {
                state_dir::unbind(system, &origin)
            });
        }
        if holds {
            plan.step("give the units back", service::release);
        }
        if let Some(record) = &from.record {
            let again = record.again.clone();
            if !again.is_empty() {
                plan.step("bring up what ran before", move |system| run_again(system, &again));
            }
            plan.step("forget what was started", |system| self.forget(system));
        } else if from.is_damaged {
            plan.step("remove the damaged record", |system| self.forget(system));
        }
        plan
    }

    fn plan_exports(&self, plan: &mut Plan<'_>, record: &Record) {
        let made = record.exports.clone();
        if made.is_empty() {
            return;
        }
        // A table that goes with the state directory is written anew at the next
        // start, and nobody serves by it until then.
        let goes = record.origin.is_some();
        let shown: Vec<String> = made.iter().map(ToString::to_string).collect();
        plan.step(format!("unexport {}", shown.join(", ")), move |system| match exports::unexport(
            system, &made,
        ) {
            Err(err) if goes => {
                system.warn(format_args!("{err:#}"));
                Ok(())
            }
            done => done,
        });
    }

    /// What is not gone is still to be known.
    fn forget(&self, system: &System<'_>) -> Result<()> {
        let record = match Record::of(system, &self.record) {
            Ok(None) => return Ok(()),
            Ok(Some(record)) => record,
            Err(damaged) => {
                if let Found::Up(_) = server::find(system)? {
                    bail!("{}", damaged.doubt("a server runs and may be in it"));
                }
                refuse_unknown_directory(system, &damaged)?;
                return system.remove_record(&self.record);
            }
        };
        if let Found::Up(_) = server::find(system)?
            && self.is_foreign(&Seen::Same, Some(&record)).is_none()
            && record.cookie.is_some_and(|cookie| server::still_has(system, cookie))
        {
            bail!("the server still runs");
        }
        let table = Table::read(system)?;
        if record.origin.as_ref().is_some_and(|origin| origin.bound(&table).is_some()) {
            bail!("{} is still on {DIRECTORY}", self.infodir());
        }
        for name in notify::copies(system)? {
            state_dir::drop_copy(system, &name)?;
        }
        system.remove_record(&self.record)
    }

    /// Whether the units are held for this server: where the start of another one
    /// is noted, and none of this one, they are that one's.
    fn is_holding(&self, view: &View, from: &State) -> bool {
        let is_noted = |kind| view.records(kind, ".state").is_ok_and(|names| !names.is_empty());
        let is_others = || ["nfsserver-", "nfs-kernel-server-"].into_iter().any(is_noted);
        service::is_holding(view) && (from.record.is_some() || from.is_damaged || !is_others())
    }
}

fn has_server(view: &View) -> bool {
    matches!(server::no_module(view), Ok(None))
}

fn end_threads(system: &System<'_>) -> Result<()> {
    mount_nfsd(system)?;
    control::stop(system).map_err(|err| match server::stuck(system).as_str() {
        "" => err,
        stuck => err.context(format!("clients' calls do not end{stuck}")),
    })
}

/// Waits until no client of NFSv4 holds anything, or the time is over.
fn drain(system: &System<'_>, time: std::time::Duration) {
    // What is left afterwards is for the stop itself.
    let deadline = system.deadline().at_most(time).at_most(system.deadline().left() / 2);
    while !deadline.has_passed() && holds_anything(system) {
        system.pause(deadline.left().min(std::time::Duration::from_millis(200)));
    }
}

fn holds_anything(view: &View) -> bool {
    const CLIENTS: &str = "/proc/fs/nfsd/clients";
    let clients = view.list(CLIENTS).unwrap_or_default();
    clients.iter().any(|client| {
        let states = view.read(format!("{CLIENTS}/{client}/states")).unwrap_or_default();
        states.lines().any(|line| !line.trim().is_empty())
    })
}

/// The daemons that are to end.
struct Doomed {
    /// Those that were started for the server.
    brought_up: Vec<Daemon>,
    /// Those that actions of this agent have started; the daemons are another's as
    /// long as the server is.
    by: Option<&'static str>,
    /// Whether the units bring them up and down.
    holds: bool,
    /// Those that keep this directory in use in the place of /var/lib/nfs, whoever
    /// has started them.
    using: Option<Origin>,
}

impl Doomed {
    fn end(&self, system: &System<'_>) -> Result<()> {
        let manager = Manager::of(system).unwrap_or_else(|err| {
            system.warn(format_args!("{err:#}"));
            Manager::Us
        });
        if self.holds {
            service::stop_holding(system);
        }
        let by_units: Vec<Daemon> =
            self.brought_up.iter().copied().filter(|daemon| manager.is_active(*daemon)).collect();
        if !by_units.is_empty() {
            manager.stop(system, &by_units)?;
        }
        let table = Table::read(system)?;
        let bound = self.using.as_ref().and_then(|origin| origin.bound(&table));
        let users: Vec<i32> = match bound {
            None => Vec::new(),
            Some(mount) => {
                let found = fuser::search(system, &Targets::of(system, &[mount], false));
                found.users.iter().map(|user| user.process.pid).collect()
            }
        };
        let running = daemon::running(system)?;
        let is_ours = |one: &Running| self.by.is_some_and(|agent| one.is_of(system, agent));
        let is_meant = |one: &&Running| is_ours(one) || users.contains(&one.process.pid);
        let doomed: Vec<Running> = running.iter().filter(is_meant).cloned().collect();
        let units: Vec<Daemon> = doomed
            .iter()
            .map(|one| one.daemon)
            .filter(|daemon| manager.is_active(*daemon))
            .collect();
        if !units.is_empty() {
            manager.stop(system, &units)?;
        }
        daemon::end(system, &doomed)
    }
}

fn run_again(system: &System<'_>, again: &[Daemon]) -> Result<()> {
    let wanted: Vec<service::Wanted> = again.iter().copied().map(service::Wanted::plain).collect();
    if let Err(err) = Manager::of(system).and_then(|manager| manager.start(system, &wanted)) {
        system.warn(format_args!("what ran before does not run again: {err:#}"));
    }
    Ok(())
}
