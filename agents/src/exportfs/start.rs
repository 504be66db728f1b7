//! The way up, and the proof that the file system is there.

use super::place::{Made, Place, Record};
use super::{Asked, Exportfs, Seen, State};
use crate::advice::haresources;
use anyhow::{Context, Result, bail};
use common::host::mount::Table;
use common::host::mount::table::unescaped;
use common::host::nfs::exports::{change, rmtab};
use common::{Plan, System, View, installed};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The list of clients is on nobody's way up or down.
pub(super) const BRIEF: Duration = Duration::from_secs(3);

impl Exportfs {
    pub(super) fn bring_up<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        if let Some(unknown) = &from.unknown {
            bail!("it cannot be told what is to be exported: {unknown}");
        }
        if let Some(moved) = &from.moved {
            bail!("{moved}; stop it first");
        }
        let program = view.program("exportfs")?;
        view.note(format_args!("exports are made by {}", program.display()));
        let table = Table::read(view)?;
        let mut made: Vec<Made> = Vec::new();
        for seen in &from.exports {
            let known = made.iter().find(|made| made.path == seen.path);
            let place = match known {
                Some(known) => known.place.clone(),
                None => self.proven(view, &table, &seen.path)?,
            };
            made.push(Made {
                directory: seen.asked.directory.clone(),
                path: seen.path.clone(),
                asked: seen.asked.client.to_string(),
                client: client_of(seen),
                place,
            });
        }
        let mut plan = Plan::new();
        self.plan_adoption(&mut plan, from);
        let record = Record { made };
        plan.step("write down where the directories lie", move |system| {
            record.keep(system, &self.request.instance)
        });
        let is_leftover = from.absent.is_some();
        for seen in from.exports.iter().filter(|seen| seen.entry.is_none() || is_leftover) {
            let (asked, path) = (seen.asked.clone(), seen.path.clone());
            let what = format!("export {} to {}", path.display(), asked.client);
            plan.step(what, move |system| self.export(system, &asked, &path));
        }
        plan.step("see that no other export has the same fsid", |system| {
            for warning in self.warnings(system, &self.look(system)?) {
                system.warn(format_args!("{warning}"));
            }
            Ok(())
        });
        self.plan_clients(from, &mut plan);
        Ok(plan)
    }

    /// Of exports that are there already: where the directories lie is written
    /// down, and what is not asked for any more is taken away.
    pub(super) fn complete<'a>(&'a self, view: &View, state: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        self.plan_adoption(&mut plan, state);
        let is_known = |seen: &Seen| {
            let mut made = state.record.iter().flat_map(|record| &record.made);
            made.any(|made| made.path == seen.path && made.asked == seen.asked.client.to_string())
        };
        if !state.exports.iter().all(is_known) {
            let table = Table::read(view)?;
            let mut made = Vec::new();
            for seen in &state.exports {
                made.push(Made {
                    directory: seen.asked.directory.clone(),
                    path: seen.path.clone(),
                    asked: seen.asked.client.to_string(),
                    client: client_of(seen),
                    place: self.proven(view, &table, &seen.path)?,
                });
            }
            let record = Record { made };
            plan.step("write down where the directories lie", move |system| {
                record.keep(system, &self.request.instance)
            });
        }
        if !state.others.is_empty() {
            self.plan_removal(state.others.clone(), Vec::new(), &mut plan);
        }
        Ok(plan)
    }

    /// Adds that what another instance has recorded is this one's from now on.
    pub(super) fn plan_adoption<'a>(&'a self, plan: &mut Plan<'a>, state: &State) {
        if let Some(name) = state.noted_as.clone() {
            plan.step(format!("take over what was recorded as {name}"), move |system| {
                Record::adopt(system, &name, &self.request.instance)
            });
        }
    }

    /// Where the directory lies; an error if it is not the one that is meant.
    fn proven(&self, view: &View, table: &Table, path: &Path) -> Result<Place> {
        let shown = path.display();
        if let Some(mount) = unmounted(view, table, path) {
            bail!(
                "{shown} is to lie on {}, which /etc/fstab has and nobody has mounted",
                mount.display()
            );
        }
        if let Some(directory) = haresources::missing_mount(view, path)? {
            bail!(
                "{shown} is to lie on {directory}, where nothing is mounted and haresources has a \
                 file system"
            );
        }
        if let Some(before) = Record::place_before(view, &self.request.instance, path)
            && before.mount != Path::new("/")
            && table.uppermost(&before.mount).is_none()
        {
            bail!(
                "nothing is mounted on {}, where {shown} lay on {} when it was exported last",
                before.mount.display(),
                before.device
            );
        }
        if !view.is_dir(path)? {
            return Err(installed(match view.exists(path)? {
                true => format!("{shown} is no directory to be exported"),
                false => format!("the directory {shown} is not there"),
            }));
        }
        let place = Place::of(table, path)?;
        let is_root = table.holding(Path::new("/")).is_some_and(|root| root.id == place.id);
        if is_root && path != Path::new("/") && view.list(path).is_ok_and(|names| names.is_empty())
        {
            bail!(
                "{shown} is an empty directory of the root file system: mount there what is to be \
                 exported, or put a file into it"
            );
        }
        Ok(place)
    }

    /// Makes one export, and no other.
    fn export(&self, system: &System<'_>, asked: &Asked, path: &Path) -> Result<()> {
        let options = self.options.text(asked.fsid.as_ref());
        let entry = change::put_in(system, path, &asked.client, options.as_deref())?;
        if asked.client.is_listed_as(&entry.client) {
            return Ok(());
        }
        let mut record =
            Record::of(system, &self.request.instance)?.context("what was written down is gone")?;
        for made in &mut record.made {
            if made.path == path && made.asked == asked.client.to_string() {
                made.client.clone_from(&entry.client);
            }
        }
        record.keep(system, &self.request.instance)
    }

    fn plan_clients<'a>(&'a self, from: &State, plan: &mut Plan<'a>) {
        let Some(file) = self.backup() else { return };
        for path in directories(from) {
            let what = format!("add to rmtab what {} has", path.join(file).display());
            plan.step(what, move |system| {
                let deadline = system.deadline().at_most(BRIEF);
                if let Err(err) = rmtab::restore(system, &path, file, deadline) {
                    system.warn(format_args!("{err:#}"));
                }
                Ok(())
            });
        }
    }
}

/// Each directory once, without links.
pub(super) fn directories(state: &State) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = state.exports.iter().map(|seen| seen.path.clone()).collect();
    paths.dedup();
    paths
}

/// The client as the table has it, or as it was asked for.
fn client_of(seen: &Seen) -> String {
    match &seen.entry {
        Some(entry) => entry.client.clone(),
        None => seen.asked.client.to_string(),
    }
}

/// The deepest mount point of fstab that the path lies on, if nothing is mounted
/// there.
fn unmounted(view: &View, table: &Table, path: &Path) -> Option<PathBuf> {
    let fstab = view.read("/etc/fstab").unwrap_or_default();
    let lines = fstab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let points = lines.filter_map(|line| line.split_whitespace().nth(1)).map(unescaped);
    let above = points.filter(|point| point.starts_with("/") && path.starts_with(point));
    let deepest = above.max_by_key(|point| point.components().count())?;
    table.uppermost(&deepest).is_none().then_some(deepest)
}
