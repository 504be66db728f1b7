//! The way up: state directory, kernel, exports, daemons, threads.

use super::exports;
use super::record::Record;
use super::service::Manager;
use super::{Nfsserver, Seen, State, refuse_foreign, wanted};
use anyhow::{Context, Result, bail};
use common::host::module;
use common::host::mount::Table;
use common::host::mount::attach::{self, Wanted as Mounting};
use common::host::nfs::conf::Conf;
use common::host::nfs::control::{self, DIRECTORY as NFSD};
use common::host::nfs::daemon::{self, Daemon, Running};
use common::host::nfs::server::{self, Found};
use common::host::nfs::state_dir::{self, DIRECTORY, Origin};
use common::host::nfs::wanted::Wanted;
use common::host::sockets;
use common::{Plan, System, View};
use std::ffi::OsStr;
use std::path::Path;

/// Where the kernel's pipes are mounted where nobody says anything.
const PIPES: &str = "/var/lib/nfs/rpc_pipefs";

/// Daemons that keep open what lies in /var/lib/nfs, besides mountd.
const KEEPERS: [Daemon; 5] =
    [Daemon::Nfsdcld, Daemon::Statd, Daemon::Notify, Daemon::Idmapd, Daemon::Fsidd];

impl Nfsserver {
    pub(super) fn bring_up<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        refuse_foreign(self, from)?;
        let server = wanted::server(view, &self.params)?;
        let manager = Manager::of(view)?;
        if !manager.has(view, Daemon::Mountd) {
            view.program(Daemon::Mountd.program())?;
        }
        let daemons = wanted::daemons(view, &manager, &server, &self.params);
        let mut plan = Plan::new();
        self.plan_adoption(&mut plan, from);
        if !matches!(from.server, Seen::Down(_)) {
            if from.bound.as_ref().is_some_and(|bound| bound.absent.is_some()) {
                bail!("the server runs without {} on {DIRECTORY}: stop it first", self.infodir());
            }
            plan.step("bring up the daemons that have died", move |system| {
                manager.start(system, &daemons)
            });
            plan.step("note what runs", |system| self.note_running(system));
            return Ok(plan);
        }
        let entries = exports::entries(view)?;
        let running = daemon::running(view)?;
        let record = self.beginning(view, from, &manager, &running, &server)?;
        let moved: Vec<Daemon> = record.again.clone();
        let text = record.text();
        plan.step("note what is about to be started", move |system| {
            system.write_record(&self.record, &text)
        });
        if let Some(directory) = &self.params.nfs_shared_infodir {
            self.plan_directory(&mut plan, directory, &manager, moved, from);
        }
        plan.step("have the kernel's NFS server and its file systems there", |system| {
            self.prepare_kernel(system)
        });
        for entry in entries {
            plan.step(format!("export {entry}"), move |system| match self.export(system, &entry) {
                Err(err) if !self.is_for_exports() => {
                    system.warn(format_args!("{err:#}"));
                    Ok(())
                }
                done => done,
            });
        }
        let names: Vec<&str> = daemons.iter().map(|one| one.daemon.program()).collect();
        plan.step(format!("bring up {}", names.join(", ")), move |system| {
            self.set_lock_ports(system)?;
            manager.start_server(system, &daemons)
        });
        let scope = server.scope.as_ref().map(|scope| format!(" under the scope {scope}"));
        let scope = scope.unwrap_or_default();
        let has_three = server.versions.iter().any(|(version, on)| version == "3" && *on);
        let what = format!("start {} threads of the server{scope}", server.threads);
        plan.step(what, move |system| start_threads(system, &server));
        plan.step("note what runs", |system| self.note_running(system));
        if has_three && !self.params.nfs_no_notify {
            plan.step("tell clients of NFSv3 of the restart", |system| self.notify(system));
        }
        Ok(plan)
    }

    /// What is remembered before anything is changed.
    fn beginning(
        &self,
        view: &View,
        from: &State,
        manager: &Manager,
        running: &[Running],
        server: &Wanted,
    ) -> Result<Record> {
        let old = from.record.clone().unwrap_or_default();
        let mut record =
            Record { scope: server.scope.clone(), exports: old.exports, ..Record::default() };
        let runs = |daemon: &Daemon| running.iter().any(|one| one.daemon == *daemon);
        // What an earlier start has brought up is not somebody else's.
        let was_ours = |daemon: &Daemon| {
            old.ours.contains(daemon)
                || running.iter().any(|one| one.daemon == *daemon && one.is_of(view, self.name))
        };
        let strange =
            |daemon: &Daemon| (runs(daemon) || manager.is_active(*daemon)) && !was_ours(daemon);
        record.ours = Daemon::ALL.into_iter().filter(|daemon| !strange(daemon)).collect();
        if let Some(directory) = &self.params.nfs_shared_infodir {
            record.origin = match &from.bound {
                Some(bound) => Some(bound.origin.clone()),
                None => Some(Origin::of(view, &Table::read(view)?, directory)?),
            };
            let keeps = |daemon: &Daemon| KEEPERS.contains(daemon) || *daemon == Daemon::Mountd;
            record.again = Daemon::ALL.into_iter().filter(strange).filter(keeps).collect();
            record.again.extend(
                old.again
                    .iter()
                    .filter(|daemon| !record.again.contains(daemon))
                    .copied()
                    .collect::<Vec<_>>(),
            );
        }
        Ok(record)
    }

    fn plan_directory<'a>(
        &'a self,
        plan: &mut Plan<'a>,
        directory: &'a Path,
        manager: &Manager,
        moved: Vec<Daemon>,
        from: &State,
    ) {
        if from.bound.as_ref().is_some_and(|bound| bound.absent.is_none()) {
            return;
        }
        if !moved.is_empty() {
            let names: Vec<&str> = moved.iter().map(|daemon| daemon.program()).collect();
            let manager = manager.clone();
            let what =
                format!("stop {}, to run again on {}", names.join(", "), directory.display());
            plan.step(what, move |system| manager.stop(system, &moved));
        }
        let shown = directory.display();
        plan.step(format!("prepare {shown}"), move |system| state_dir::prepare(system, directory));
        plan.step(format!("put {shown} in the place of {DIRECTORY}"), move |system| {
            // The directory may have been made a moment ago.
            let origin = Origin::of(system, &Table::read(system)?, directory)?;
            let mut record = Record::of(system, &self.record)?.unwrap_or_default();
            record.origin = Some(origin);
            system.write_record(&self.record, &record.text())?;
            state_dir::bind(system, directory)
        });
    }

    /// The module, and the two file systems by which daemons reach it.
    fn prepare_kernel(&self, system: &System<'_>) -> Result<()> {
        if server::no_module(system)?.is_some() {
            module::load(system, "nfsd")?;
        }
        mount_nfsd(system)?;
        let table = Table::read(system)?;
        let conf = Conf::read(system)?;
        let wanted: std::path::PathBuf = match &self.params.rpcpipefs_dir {
            Some(directory) => directory.clone(),
            None => conf.get("general", "pipefs-directory").unwrap_or(PIPES).into(),
        };
        let is_pipes = |directory: &Path| {
            table.uppermost(directory).is_some_and(|mount| mount.fstype == "rpc_pipefs")
        };
        if !is_pipes(&wanted) {
            system.make_dir(&wanted)?;
            mount_own(system, "rpc_pipefs", "sunrpc", &wanted)?;
        }
        Ok(())
    }

    fn set_lock_ports(&self, system: &System<'_>) -> Result<()> {
        let ports = [
            ("nlm_udpport", self.params.lockd_udp_port),
            ("nlm_tcpport", self.params.lockd_tcp_port),
        ];
        for (name, port) in ports {
            if let Some(port) = port {
                system
                    .write(format!("/proc/sys/fs/nfs/{name}"), &format!("{port}\n"))
                    .context("cannot set a port of the lock manager")?;
            }
        }
        Ok(())
    }

    /// Once the server is up: what it is known by, and which daemons it has.
    pub(super) fn note_running(&self, system: &System<'_>) -> Result<()> {
        let mut record = Record::of(system, &self.record)?.unwrap_or_default();
        daemon::await_connections(system)?;
        let running = daemon::running(system)?;
        let counts = |one: &&Running| {
            matches!(one.daemon, Daemon::Mountd | Daemon::Nfsdcld | Daemon::Statd)
                && one.is_connected(system)
        };
        let seen = |one: &Running| one.clone().seen_at_channel(system);
        record.daemons = running.iter().filter(counts).map(seen).collect();
        // Of what is seen to be mounted there, and not of the node's own directory.
        let table = Table::read(system)?;
        let is_shown = |origin: &Origin| {
            table.uppermost(Path::new(DIRECTORY)).is_some_and(|mount| origin.is_shown_by(mount))
        };
        record.inode = match record.origin.as_ref().is_some_and(is_shown) {
            true => state_dir::directory_in_place(system).map(|(_, inode)| inode),
            false => None,
        };
        let ports: Vec<u16> = wanted::server(system, &self.params)?
            .listeners
            .iter()
            .filter(|one| one.transport == "tcp")
            .map(|one| one.at.port())
            .collect();
        let listening = sockets::listeners().unwrap_or_default();
        let own = listening.iter().find(|one| ports.contains(&one.address.port()));
        record.cookie = own.map(|one| one.cookie);
        system.write_record(&self.record, &record.text())
    }
}

/// Where the kernel is told what to do, before Linux 6.10; nfs-utils wants it
/// in any case.
pub(super) fn mount_nfsd(system: &System<'_>) -> Result<()> {
    let table = Table::read(system)?;
    if table.uppermost(Path::new(NFSD)).is_some_and(|mount| mount.fstype == "nfsd") {
        return Ok(());
    }
    mount_own(system, "nfsd", "nfsd", Path::new(NFSD))
}

fn mount_own(system: &System<'_>, fstype: &str, source: &str, directory: &Path) -> Result<()> {
    let wanted =
        Mounting { source: OsStr::new(source), directory, fstype: Some(fstype), options: "" };
    attach::mount(system, wanted)
        .with_context(|| format!("cannot mount {fstype} on {}", directory.display()))
}

fn start_threads(system: &System<'_>, wanted: &Wanted) -> Result<()> {
    control::start(system, wanted)?;
    system.until("the server to have threads", || {
        Ok(match server::find(system)? {
            Found::Up(_) => Ok(()),
            Found::Down(absent) => Err(absent.to_string()),
        })
    })
}
