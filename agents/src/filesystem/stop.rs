//! The way down.

use super::eviction::Victim;
use super::record::Record;
use super::{Backing, Filesystem, State};
use anyhow::{Context, Result, bail};
use common::host::block::Number;
use common::host::clock::Pace;
use common::host::mount::{Mount, Table, detach};
use common::host::{block, holders, trial};
use common::{Plan, System, View};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A trial, or its end, must not use up the time that unmounting needs.
const BRIEF: Duration = Duration::from_secs(3);

/// Another look takes no longer: with less time left, it is not begun.
const LAST_LOOK: Duration = Duration::from_millis(700);

/// Where a mount is moved to, out of reach of those who would come anew.
pub(super) fn parking(directory: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(directory.file_name()?);
    Some(directory.with_file_name(name))
}

impl Filesystem {
    pub(super) fn bring_down<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        match from {
            State::HeldElsewhere(who) => bail!("{who}"),
            State::Mounted(mount) | State::Failed(mount, _) => {
                self.plan_way_down(view, mount, &mut plan)?;
                self.plan_end(mount.device, mount.directory.clone(), &mut plan);
            }
            State::Unmounted(_) | State::Foreign(..) => {
                // A stop that was killed may have been through with the mount,
                // and not with what comes after.
                if let Some(record) = Record::of(self, view) {
                    self.plan_end(record.device(), record.directory(), &mut plan);
                } else if view.hint(&self.record_name()).is_some() {
                    plan.step("forget a mount of other parameters", |system| {
                        system.drop_hint(&self.record_name())
                    });
                }
            }
        }
        Ok(plan)
    }

    fn plan_way_down<'a>(&'a self, view: &View, mount: &Mount, plan: &mut Plan<'a>) -> Result<()> {
        let table = Table::read(view)?;
        if let Some(file) = view.hint(&self.status_record()) {
            let file = PathBuf::from(file.trim_end());
            let directory = mount.directory.clone();
            plan.step(format!("remove the status file {}", file.display()), move |system| {
                let below = file.strip_prefix(&directory).unwrap_or(&file);
                trial::remove(system, &directory, below, system.deadline().at_most(BRIEF))?;
                system.drop_hint(&self.status_record())
            });
        }
        let away = parking(&mount.directory).filter(|_| self.params.force_unmount.moves);
        if let Some(away) = away {
            let from = mount.directory.clone();
            let what = format!("move {} to {}", from.display(), away.display());
            plan.step(what, move |system| self.park(system, &from, &away));
        }
        let victims = self.victims(view, &table, mount);
        let count = victims.len();
        for (place, victim) in victims.into_iter().enumerate() {
            let ending =
                if self.params.force_unmount.ends_users { ", ending its users" } else { "" };
            let what = format!("unmount {}{ending}", victim.directory.display());
            plan.step(what, move |system| self.take_down(system, &victim, count - place));
        }
        Ok(())
    }

    /// All that has to go, in order: other mounts of the device, what is
    /// mounted below, the mount itself.
    fn victims(&self, view: &View, table: &Table, mount: &Mount) -> Vec<Victim> {
        let same = |other: &&Mount| other.device == mount.device && other.id != mount.id;
        let mut others: Vec<&Mount> = table.iter().filter(same).collect();
        if !matches!(self.kind.backing, Backing::Device | Backing::Image) {
            others.clear();
        }
        // A device that the system itself runs from is not the resource's
        // alone, as with one of several subvolumes.
        if others.iter().any(|other| other.directory == Path::new("/")) {
            view.warn(format_args!("{} is also the root; left mounted elsewhere", mount.what()));
            others.clear();
        }
        let mut victims: Vec<&Mount> = Vec::new();
        for doomed in others.into_iter().rev().chain([mount]) {
            for member in table.upon(doomed).into_iter().chain([doomed]) {
                // The mount itself goes last, with whatever is upon it.
                if victims.iter().all(|known| known.id != member.id) {
                    victims.push(member);
                }
            }
        }
        victims.retain(|victim| victim.id != mount.id);
        let own = table.iter().find(|listed| listed.id == mount.id).unwrap_or(mount);
        victims.into_iter().chain([own]).map(Victim::of).collect()
    }

    /// Where the mount above hears of what its peers do, the kernel does not
    /// move what is on it. Unmounting works all the same.
    fn park(&self, system: &System<'_>, from: &Path, away: &Path) -> Result<()> {
        if Table::read(system)?.uppermost(away).is_some() {
            return Ok(());
        }
        system.make_dir(away)?;
        if let Err(err) = detach::shift(system, from, away) {
            system
                .warn(format_args!("cannot move {}: {err:#}; unmounting it there", from.display()));
            system.remove_dir(away)?;
        }
        Ok(())
    }

    fn plan_end<'a>(&'a self, device: Number, directory: PathBuf, plan: &mut Plan<'a>) {
        let what = format!("see that nobody else has {} mounted", self.device);
        plan.step(what, move |system| self.end(system, device, &directory));
    }

    /// Once the mount is gone: nobody else may have the device, and nothing
    /// may remind of it.
    fn end(&self, system: &System<'_>, device: Number, directory: &Path) -> Result<()> {
        let record = Record::of(self, system);
        if let State::Mounted(_) | State::Failed(..) = self.thorough(system, record.as_ref())? {
            return Ok(());
        }
        if self.kind.backing == Backing::Device {
            self.await_release(system, device, directory)?;
        }
        if let Some(parking) = parking(&self.params.directory)
            && self.params.force_unmount.moves
            && system.exists(&parking).unwrap_or(false)
        {
            system.remove_dir(&parking)?;
        }
        system.drop_hint(&self.status_record())?;
        system.drop_hint(&self.record_name())
    }

    fn await_release(&self, system: &System<'_>, device: Number, directory: &Path) -> Result<()> {
        let Some(found) = self.device.find(system).unwrap_or(None) else { return Ok(()) };
        let mut pace = Pace::new();
        loop {
            let released = trial::is_released(system, &found.path, system.deadline());
            if released.with_context(|| format!("cannot ask who holds {}", self.device))? {
                return Ok(());
            }
            let table = Table::read(system)?;
            let who = holders::of_file_system(system, &table, device, directory);
            if who.is_empty() {
                let name = block::name(system, found.number).unwrap_or_default();
                let who = holders::of_device(system, &name).join(", ");
                system.warn(format_args!("{} is unmounted and still in use: {who}", self.device));
                return Ok(());
            }
            if system.deadline().left() < LAST_LOOK {
                let who = format!("{} is unmounted here, but {}", self.device, who.join(", "));
                *self.held.borrow_mut() = Some(who.clone());
                bail!("{who}");
            }
            pace.rest(system.deadline().sooner(LAST_LOOK));
        }
    }

    /// The kernel's name of a device without a node of its own.
    pub(super) fn node(&self, view: &View, mount: &Mount) -> Option<PathBuf> {
        let found = self.device.find(view).unwrap_or(None).map(|found| found.path);
        found.or_else(|| Some(Path::new("/dev").join(block::name(view, mount.device)?)))
    }
}
