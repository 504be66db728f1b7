//! The way down, and what clients still hold.

use super::place::{Made, Place, Record};
use super::start::{BRIEF, directories};
use super::{Exportfs, Seen, State};
use anyhow::Result;
use common::host::clock::Pace;
use common::host::mount::{Mount, Table};
use common::host::nfs::exports::{self, Export, change, rmtab};
use common::host::nfs::{clients, server, unlock};
use common::host::record::Damaged;
use common::{Plan, System, View};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What comes after a wait takes no longer.
const LAST: Duration = Duration::from_secs(3);

impl Exportfs {
    pub(super) fn bring_down<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let entries: Vec<Export> = from.entries().cloned().collect();
        let has_record = from.record.is_some() || from.damaged.is_some();
        if entries.is_empty() && from.outlived.is_empty() && !has_record {
            return Ok(plan);
        }
        self.plan_adoption(&mut plan, from);
        if let Some(damaged) = &from.damaged {
            self.plan_repair(view, from, damaged, &mut plan);
        }
        let paths = self.known(from);
        let made = from.record.iter().flat_map(|record| &record.made);
        let mut gone: Vec<(PathBuf, String)> =
            made.map(|made| (made.path.clone(), made.client.clone())).collect();
        gone.extend(
            from.exports.iter().map(|seen| (seen.path.clone(), seen.asked.client.to_string())),
        );
        let ours: Vec<(PathBuf, String)> =
            gone.iter().cloned().chain(entries.iter().map(key)).collect();
        if !self.params.drain_timeout.is_zero() && !entries.is_empty() {
            let (paths, time) = (paths.clone(), self.params.drain_timeout);
            let what = format!("give clients {} s to let go of their files", time.as_secs());
            let ours = ours.clone();
            plan.step(what, move |system| {
                self.wait_for_clients(system, &alone(system, &paths, &ours)?, time);
                Ok(())
            });
        }
        if let Some(file) = self.backup()
            && !entries.is_empty()
        {
            for path in directories(from) {
                self.plan_keeping(file, path, &mut plan);
            }
        }
        self.plan_removal(entries, gone, &mut plan);
        if self.params.unlock_on_stop {
            for (path, place) in paths.clone() {
                let what = format!("take from clients what they hold of {}", path.display());
                plan.step(what, move |system| unlock_all(system, &path, place.as_ref()));
            }
        }
        if self.params.wait_for_leasetime_on_stop {
            let (paths, ours) = (paths.clone(), ours.clone());
            plan.step("wait until no client holds anything, at most for a lease", move |system| {
                self.wait_for_leases(system, &alone(system, &paths, &ours)?)
            });
        }
        plan.step("see who still holds something", move |system| {
            self.name_holders(system, &paths);
            self.forget_record(system, &ours)
        });
        view.note(format_args!("{} of the exports are in the table", from.entries().count()));
        Ok(plan)
    }

    /// Adds the writing of a damaged record from what is in the table, so that a
    /// stop that is cut short is followed by one that knows what it was about.
    fn plan_repair<'a>(
        &'a self,
        view: &View,
        from: &State,
        damaged: &Damaged,
        plan: &mut Plan<'a>,
    ) {
        view.warn(format_args!("{damaged}; what is asked for is taken for what was started"));
        let Ok(table) = Table::read(view) else { return };
        let made = |seen: &Seen| {
            Some(Made {
                directory: seen.asked.directory.clone(),
                path: seen.path.clone(),
                asked: seen.asked.client.to_string(),
                client: seen.entry.as_ref()?.client.clone(),
                place: Place::of(&table, &seen.path).ok()?,
            })
        };
        let record = Record { made: from.exports.iter().filter_map(made).collect() };
        plan.step("write the record anew", move |system| {
            record.keep(system, &self.request.instance)
        });
    }

    /// The directories, and where they lay when they were exported.
    fn known(&self, from: &State) -> Vec<(PathBuf, Option<Place>)> {
        let made: Vec<&Made> = from.record.iter().flat_map(|record| &record.made).collect();
        let mut paths = directories(from);
        paths.extend(from.others.iter().map(|export| export.path.clone()));
        paths.extend(made.iter().map(|made| made.path.clone()));
        paths.sort_unstable();
        paths.dedup();
        let place = |path: &PathBuf| made.iter().find(|made| made.path == *path);
        let with_place = |path: PathBuf| {
            let place = place(&path).map(|made| made.place.clone());
            (path, place)
        };
        paths.into_iter().map(with_place).collect()
    }

    /// `gone` are those besides that the kernel has to have forgotten.
    pub(super) fn plan_removal<'a>(
        &'a self,
        entries: Vec<Export>,
        mut gone: Vec<(PathBuf, String)>,
        plan: &mut Plan<'a>,
    ) {
        for entry in entries {
            let (path, client) = (entry.path.display(), &entry.client);
            let what = format!("take {path} to {client} out of the table of exports");
            gone.push(key(&entry));
            plan.step(what, move |system| {
                let deadline = system.deadline().sooner(LAST);
                change::take_out(system, std::slice::from_ref(&entry), deadline)
            });
        }
        plan.step("have the kernel forget them", move |system| forget(system, &gone));
    }

    fn wait_for_clients(
        &self,
        system: &System<'_>,
        paths: &[(PathBuf, Option<Place>)],
        time: Duration,
    ) {
        let deadline = system.deadline().sooner(system.deadline().left() / 2).at_most(time);
        let mut pace = Pace::new();
        while !held(system, paths).is_some_and(|held| held.is_empty()) && !deadline.has_passed() {
            pace.rest(deadline);
        }
    }

    /// A lease is a client's, not an export's: one that uses another export goes
    /// on renewing it.
    fn wait_for_leases(
        &self,
        system: &System<'_>,
        paths: &[(PathBuf, Option<Place>)],
    ) -> Result<()> {
        if paths.is_empty() || server::is_idle(system)?.is_some() {
            return Ok(());
        }
        let lease = unlock::lease(system, system.deadline().at_most(BRIEF))?;
        let whole = system.deadline().sooner(LAST);
        let deadline = whole.at_most(lease + Duration::from_secs(2));
        let mut pace = Pace::new();
        loop {
            let held = held(system, paths);
            if held.as_ref().is_some_and(|held| held.is_empty()) {
                return Ok(());
            }
            if !deadline.has_passed() {
                pace.rest(deadline);
                continue;
            }
            if whole.has_passed() {
                system.warn(format_args!(
                    "the stop has no time for a lease of {} s: give it more",
                    lease.as_secs()
                ));
                return Ok(());
            }
            let mut ids: Vec<(String, String)> =
                held.into_iter().flatten().map(|held| (held.id, held.client)).collect();
            ids.dedup();
            for (id, client) in ids {
                system.warn(format_args!(
                    "NFS client {client} has renewed its lease and is expired, with all that it holds"
                ));
                unlock::expire(system, &id, system.deadline().sooner(LAST / 3))?;
            }
            return Ok(());
        }
    }

    /// Of directories that nobody else exports.
    fn name_holders(&self, system: &System<'_>, paths: &[(PathBuf, Option<Place>)]) {
        let directories: Vec<&Path> = paths.iter().map(|(path, _)| &**path).collect();
        let Ok(left) = exports::of(system, &directories) else { return };
        let is_left = |path: &Path| left.iter().any(|export| export.path == path);
        let alone: Vec<_> = paths.iter().filter(|(path, _)| !is_left(path)).cloned().collect();
        let held = held(system, &alone).unwrap_or_default();
        if held.is_empty() {
            return;
        }
        let then = match unlock::revokes(system) {
            true => "",
            false => {
                ": it keeps the file system busy until the server is stopped or the lease is over"
            }
        };
        system.warn(format_args!("{}{then}", clients::told(&held)));
    }

    /// As long as an export is in the table, it is known whose it is.
    fn forget_record(&self, system: &System<'_>, ours: &[(PathBuf, String)]) -> Result<()> {
        let paths: Vec<&Path> = ours.iter().map(|(path, _)| &**path).collect();
        if exports::of(system, &paths)?.iter().any(|export| ours.contains(&key(export))) {
            return Ok(());
        }
        system.remove_record(&self.clients_name())?;
        Record::forget(system, &self.request.instance)
    }

    fn clients_name(&self) -> String {
        format!("exportfs-{}.rmtab", self.request.instance)
    }

    fn plan_keeping<'a>(&'a self, file: &'a str, path: PathBuf, plan: &mut Plan<'a>) {
        let what = format!("write the NFSv3 clients of {0} to {0}/{file}", path.display());
        plan.step(what, move |system| {
            // The file system may be stuck, and that is no business of the export.
            if let Err(err) = rmtab::keep(system, &path, file, system.deadline().at_most(BRIEF)) {
                system.warn(format_args!("{err:#}"));
            }
            Ok(())
        });
    }

    /// What a monitor does about clients that have come or gone.
    pub(super) fn keep_clients<'a>(&'a self, view: &View, state: &State) -> Plan<'a> {
        let mut plan = Plan::new();
        let Some(file) = self.backup() else { return plan };
        let paths = directories(state);
        let Ok(now) = rmtab::entries(view, &paths) else { return plan };
        if now == view.record_text(&self.clients_name()).unwrap_or_default().unwrap_or_default() {
            return plan;
        }
        for path in paths {
            self.plan_keeping(file, path, &mut plan);
        }
        plan.step("remember which they were", move |system| {
            system.write_record(&self.clients_name(), &now)
        });
        plan
    }
}

fn key(export: &Export) -> (PathBuf, String) {
    (export.path.clone(), export.client.clone())
}

/// Has the kernel forget the exports, and sees that it has.
fn forget(system: &System<'_>, gone: &[(PathBuf, String)]) -> Result<()> {
    change::flush(system, system.deadline().sooner(LAST / 3))?;
    let gone: Vec<(&Path, &str)> =
        gone.iter().map(|(path, client)| (&**path, client.as_str())).collect();
    system.until("the kernel to forget the exports", || {
        let Err(outlived) = exports::forgotten(system, &gone)? else { return Ok(Ok(())) };
        // mountd may have answered by the table as it was.
        change::flush(system, system.deadline())?;
        let told = |(path, client): &(PathBuf, String)| format!("{} to {client}", path.display());
        Ok(Err(outlived.iter().map(told).collect::<Vec<_>>().join(", ")))
    })
}

/// Takes away what clients hold by an export that is gone, as far as no other
/// resource exports the same.
fn unlock_all(system: &System<'_>, path: &Path, place: Option<&Place>) -> Result<()> {
    let shown = path.display();
    if server::is_idle(system)?.is_some() {
        return Ok(());
    }
    let left = exports::all(system)?;
    if let Some(other) = left.iter().find(|export| export.path == path) {
        system.info(format_args!(
            "{shown} is exported to {} as well: clients keep what they hold",
            other.client
        ));
        return Ok(());
    }
    let table = Table::read(system)?;
    let Some(mount) = meant(system, &table, path, place) else { return Ok(()) };
    if unlock::revokes_by_export(system) {
        let what = unlock::What::Export;
        unlock::release(system, path, mount.id, what, system.deadline().sooner(LAST / 3))?;
    }
    let roots: Vec<&Path> = table
        .iter()
        .filter(|other| other.device == mount.device)
        .map(|other| &*other.directory)
        .collect();
    let lies_there = |export: &&Export| {
        roots.iter().any(|root| export.path.starts_with(root))
            && table.holding(&export.path).is_some_and(|found| found.device == mount.device)
    };
    if let Some(other) = left.iter().find(lies_there) {
        system.info(format_args!(
            "{} is exported from the same file system as {shown}: its locks stay",
            other.path.display()
        ));
        return Ok(());
    }
    let what = unlock::What::FileSystem;
    unlock::release(system, path, mount.id, what, system.deadline().sooner(LAST / 3))
}

/// The mount that the directory lies on, if it is the one that was exported.
fn meant<'t>(
    view: &View,
    table: &'t Table,
    path: &Path,
    place: Option<&Place>,
) -> Option<&'t Mount> {
    let mount = table.holding(path)?;
    let (shown, on) = (path.display(), mount.directory.display());
    let is_meant = match place {
        Some(place) => place.is_same(mount),
        // Nobody knows what was exported; it was not the root file system.
        None => mount.directory != Path::new("/") || path == Path::new("/"),
    };
    if !is_meant {
        view.warn(format_args!(
            "{shown} lies on {} on {on}, which is not what was exported: no locks are taken there",
            mount.what()
        ));
    }
    is_meant.then_some(mount)
}

/// The directories of whose file systems nobody else exports any: what clients
/// hold of the others is not this resource's alone, and theirs to keep.
fn alone(
    view: &View,
    paths: &[(PathBuf, Option<Place>)],
    ours: &[(PathBuf, String)],
) -> Result<Vec<(PathBuf, Option<Place>)>> {
    let mut others = exports::all(view)?.into_items();
    others.retain(|export| !ours.contains(&key(export)));
    if others.is_empty() {
        return Ok(paths.to_vec());
    }
    let table = Table::read(view)?;
    let lies_there = |export: &Export, (path, place): &(PathBuf, Option<Place>)| {
        let device = place.as_ref().map(|place| place.device);
        let on = || table.holding(&export.path).map(|mount| mount.device);
        export.path == *path || device.is_some() && on() == device
    };
    let is_alone = |pair: &&(PathBuf, Option<Place>)| {
        let other = others.iter().find(|export| lies_there(export, pair));
        if let Some(other) = other {
            view.info(format_args!(
                "{} is exported to {} from the same file system: its clients are not waited for",
                other.path.display(),
                other.client
            ));
        }
        other.is_none()
    };
    Ok(paths.iter().filter(is_alone).cloned().collect())
}

/// What NFSv4 clients hold of the directories' file systems; none where the kernel
/// does not tell.
fn held(view: &View, paths: &[(PathBuf, Option<Place>)]) -> Option<Vec<clients::Held>> {
    let mut devices: Vec<_> =
        paths.iter().filter_map(|(_, place)| Some(place.as_ref()?.device)).collect();
    devices.sort_unstable();
    devices.dedup();
    let mut held = clients::all(view)?;
    held.retain(|held| devices.contains(&held.device) && !held.is_revoked);
    Some(held)
}
