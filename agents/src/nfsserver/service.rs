//! The daemons, brought up and taken down by whoever does so on this machine:
//! systemd by the distribution's units, or we ourselves.
//!
//! The unit `nfs-server` starts the threads without a scope, and drops what
//! others export, both at start and at stop. So as long as the resource runs,
//! it does nothing but bring the daemons along.

use anyhow::{Result, bail};
use common::host::nfs::daemon::{self, Daemon, Running};
use common::host::systemd::{self, DropIn, Unit};
use common::{System, View};
use std::fmt::Write;

/// The unit that all others are bound to.
const SERVER: &str = "nfs-server.service";
const RPCBIND: &str = "rpcbind.socket";

/// The name of what is said of units besides their own files.
const NAME: &str = "50-sturdy";

const HOLDER: &str = "\
# The cluster starts and stops the server's threads and exports directories one by one;
# as long as it does, this unit brings the daemons up and down.
[Service]
ExecStartPre=
ExecStart=
ExecStart=/bin/true
ExecReload=
ExecStop=
ExecStopPost=
";

/// Conditions are looked at without anything else of the unit being touched.
const SKIPPED: &str = "\
# The cluster does this itself, or does without it.
[Unit]
ConditionPathExists=!/
";

/// Who starts daemons here.
#[derive(Clone, Debug)]
pub(crate) enum Manager {
    /// systemd, with what it knows of the units.
    Systemd(Vec<Unit>),
    /// Nobody but us.
    Us,
}

/// A daemon to be started, and the words for it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) daemon: Daemon,
    pub(crate) words: Vec<String>,
}

impl Wanted {
    pub(crate) fn plain(daemon: Daemon) -> Self {
        Self { daemon, words: Vec::new() }
    }
}

impl Manager {
    pub(crate) fn of(view: &View) -> Result<Self> {
        if !systemd::is_running(view) {
            return Ok(Self::Us);
        }
        let mut names: Vec<&str> = Daemon::ALL.iter().map(|daemon| daemon.unit()).collect();
        names.extend([SERVER, RPCBIND]);
        let units = systemd::units(view, &names)?;
        let is_server = |unit: &Unit| unit.name == SERVER && unit.is_there;
        Ok(if units.iter().any(is_server) { Self::Systemd(units) } else { Self::Us })
    }

    /// Whether the daemon can be had here.
    pub(crate) fn has(&self, view: &View, daemon: Daemon) -> bool {
        match self {
            Self::Systemd(units) => {
                units.iter().any(|unit| unit.name == daemon.unit() && unit.is_there)
            }
            Self::Us => view.program(daemon.program()).is_ok(),
        }
    }

    pub(crate) fn is_active(&self, daemon: Daemon) -> bool {
        match self {
            Self::Systemd(units) => {
                units.iter().any(|unit| unit.name == daemon.unit() && unit.is_active)
            }
            Self::Us => false,
        }
    }

    /// Brings these up, with the server's unit where there are units.
    pub(super) fn start_server(&self, system: &System<'_>, wanted: &[Wanted]) -> Result<()> {
        let Self::Systemd(units) = self else { return start_ourselves(system, wanted) };
        let has = |daemon| wanted.iter().any(|one| one.daemon == daemon);
        let put = |unit: &str, text: &str| DropIn { unit, name: NAME }.put(system, text);
        put(SERVER, HOLDER)?;
        // It is told when and from which address to call.
        put(Daemon::Notify.unit(), SKIPPED)?;
        if !has(Daemon::Statd) {
            put(Daemon::Statd.unit(), SKIPPED)?;
            if units.iter().any(|unit| unit.name == RPCBIND && !unit.is_active) {
                put(RPCBIND, SKIPPED)?;
            }
        }
        for one in wanted.iter().filter(|one| !one.words.is_empty()) {
            put(one.daemon.unit(), &with_words(system, one)?)?;
        }
        systemd::reload(system)?;
        let mut names = vec![SERVER];
        names.extend(wanted.iter().map(|one| one.daemon.unit()));
        systemd::start(system, &names)?;
        wanted.iter().try_for_each(|one| daemon::await_one(system, one.daemon))
    }

    /// Brings these up, and nothing else.
    pub(crate) fn start(&self, system: &System<'_>, wanted: &[Wanted]) -> Result<()> {
        match self {
            Self::Us => start_ourselves(system, wanted),
            Self::Systemd(_) => {
                let names: Vec<&str> = wanted.iter().map(|one| one.daemon.unit()).collect();
                systemd::start(system, &names)?;
                wanted.iter().try_for_each(|one| daemon::await_one(system, one.daemon))
            }
        }
    }

    /// Takes these down, by their units first.
    pub(crate) fn stop(&self, system: &System<'_>, doomed: &[Daemon]) -> Result<()> {
        if let Self::Systemd(_) = self {
            let names: Vec<&str> = doomed.iter().map(|daemon| daemon.unit()).collect();
            stop_units(system, &names);
        }
        let running = daemon::running(system)?;
        let meant: Vec<Running> =
            running.iter().filter(|one| doomed.contains(&one.daemon)).cloned().collect();
        daemon::end(system, &meant)
    }
}

/// What was said of the units, and whether the server's is there for us.
pub(super) fn is_holding(view: &View) -> bool {
    DropIn { unit: SERVER, name: NAME }.is_there(view)
}

/// Has the server's unit take its daemons down.
pub(super) fn stop_holding(system: &System<'_>) {
    stop_units(system, &[SERVER]);
}

/// A unit that cannot be stopped is one thing; whether its daemon has ended is
/// seen afterwards.
fn stop_units(system: &System<'_>, names: &[&str]) {
    if let Err(err) = systemd::stop(system, names) {
        system.warn(format_args!("{err:#}"));
    }
}

/// Takes back what was said of the units.
pub(super) fn release(system: &System<'_>) -> Result<()> {
    let mut changed = false;
    let units = Daemon::ALL.iter().map(|daemon| daemon.unit()).chain([SERVER, RPCBIND]);
    for unit in units {
        changed |= DropIn { unit, name: NAME }.remove(system)?;
    }
    if changed {
        systemd::reload_soon(system)?;
    }
    Ok(())
}

/// Those that do not run yet.
fn start_ourselves(system: &System<'_>, wanted: &[Wanted]) -> Result<()> {
    for Wanted { daemon, words } in wanted {
        let running = daemon::running(system)?;
        if running.iter().any(|one| one.daemon == *daemon) {
            continue;
        }
        if *daemon == Daemon::Statd {
            start_rpcbind(system)?;
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        daemon::start(system, *daemon, &words)?;
    }
    Ok(())
}

/// NFSv3 is found by it. Nobody ever stops it: others are found by it, too.
pub(crate) fn start_rpcbind(system: &System<'_>) -> Result<()> {
    if daemon::has_rpcbind(system) {
        return Ok(());
    }
    let done = system.change("rpcbind", &["-w"])?;
    if !done.success() {
        bail!("rpcbind: {}", done.reason());
    }
    system.until("rpcbind to answer", || {
        Ok(daemon::has_rpcbind(system).then_some(()).ok_or_else(|| "nobody".to_owned()))
    })
}

fn with_words(view: &View, one: &Wanted) -> Result<String> {
    let program = view.program(one.daemon.program())?;
    let mut text = format!("[Service]\nExecStart=\nExecStart={}", program.display());
    for word in &one.words {
        // Writing to a string does not fail.
        let _ = write!(text, " {word}");
    }
    Ok(text + "\n")
}
