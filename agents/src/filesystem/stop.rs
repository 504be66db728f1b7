//! The way down.

use super::device::Found;
use super::record::Record;
use super::unmount::{DetachedUsers, MountKey};
use super::{Backing, Filesystem, State};
use anyhow::{Context, Result, bail};
use common::host::block::Number;
use common::host::clock::Pace;
use common::host::mount::{Mount, Table, unmount};
use common::host::{block, holders, io_test};
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
        let record = self.known(view);
        match from {
            State::HeldElsewhere(who) => bail!("{who}"),
            State::Mounted(mount) | State::Failed(mount, _) => {
                self.plan_repair(mount, &mut plan);
                self.plan_way_down(view, mount, record.as_ref(), &mut plan)?;
                self.plan_end(mount.directory.clone(), &mut plan);
            }
            State::Unmounted(_) | State::Lingering(_) | State::Foreign(..) => {
                // A stop that was killed may have been through with the mount,
                // and not with what comes after; and what others have done to
                // the mount need not be all that became of the file system.
                let directory = record.as_ref().map(Record::directory);
                let has_device = !self.nodes(view, record.as_ref()).is_empty();
                if has_device || !matches!(self.record(view), Ok(None)) {
                    let directory = directory.unwrap_or_else(|| self.params.directory.clone());
                    self.plan_end(directory, &mut plan);
                }
            }
        }
        Ok(plan)
    }

    fn plan_way_down<'a>(
        &'a self,
        view: &View,
        mount: &Mount,
        record: Option<&Record>,
        plan: &mut Plan<'a>,
    ) -> Result<()> {
        let table = Table::read(view)?;
        let is_led_to = table.hiding(mount).is_none();
        let status_file = view.record_text(&self.status_record()).unwrap_or_else(|damaged| {
            view.warn(format_args!("{damaged}: its file may stay on the file system"));
            None
        });
        if let Some(file) = status_file.filter(|_| is_led_to) {
            let file = PathBuf::from(file.trim_end());
            let directory = mount.directory.clone();
            plan.step(format!("remove the status file {}", file.display()), move |system| {
                let below = file.strip_prefix(&directory).unwrap_or(&file);
                io_test::remove(system, &directory, below, system.deadline().at_most(BRIEF))?;
                system.remove_record(&self.status_record())
            });
        }
        let survey = self.survey(view, &table, record)?;
        for (mount, whose) in &survey.left {
            let (what, place) = (mount.what(), mount.directory.display());
            view.warn(format_args!("{what} on {place} is left to {whose}"));
        }
        let doomed = doomed(&table, mount, &survey.ours());
        self.spare_others(view, &table, &survey, &doomed)?;
        let away = parking(&mount.directory).filter(|_| self.params.force_unmount.moves);
        if let Some(away) = away.filter(|_| is_led_to && mount.directory == survey.directory) {
            let from = mount.directory.clone();
            let what = format!("move {} to {}", from.display(), away.display());
            plan.step(what, move |system| self.park(system, &from, &away));
        }
        let count = doomed.len();
        for (place, victim) in doomed.into_iter().map(MountKey::of).enumerate() {
            let ending =
                if self.params.force_unmount.ends_users { ", ending its users" } else { "" };
            let what = format!("unmount {}{ending}", victim.directory.display());
            plan.step(what, move |system| self.take_down(system, &victim, count - place));
        }
        Ok(())
    }

    /// Where the mount above hears of what its peers do, the kernel does not
    /// move what is on it. Unmounting works all the same.
    fn park(&self, system: &System<'_>, from: &Path, away: &Path) -> Result<()> {
        if Table::read(system)?.uppermost(away).is_some() {
            return Ok(());
        }
        system.make_dir(away)?;
        if let Err(err) = unmount::shift(system, from, away) {
            system
                .warn(format_args!("cannot move {}: {err:#}; unmounting it there", from.display()));
            system.remove_dir(away)?;
        }
        Ok(())
    }

    fn plan_end<'a>(&'a self, directory: PathBuf, plan: &mut Plan<'a>) {
        let what = format!("see that nobody else has {} mounted", self.device());
        plan.step(what, move |system| self.end(system, &directory));
    }

    /// Once the mount is gone: nobody else may have the device, and nothing
    /// may remind of it.
    fn end(&self, system: &System<'_>, directory: &Path) -> Result<()> {
        let record = self.known(system);
        if let State::Mounted(_) | State::Failed(..) = self.thorough(system, record.as_ref())? {
            return Ok(());
        }
        for node in self.nodes(system, record.as_ref()) {
            self.await_release(system, &node, directory)?;
        }
        if let Some(parking) = parking(&self.params.directory)
            && self.params.force_unmount.moves
            && system.exists(&parking).unwrap_or(false)
        {
            system.remove_dir(&parking)?;
        }
        system.remove_record(&self.status_record())?;
        system.remove_record(&self.record_name())
    }

    /// The device, or those that show the image, under a name that is there.
    fn nodes(&self, view: &View, record: Option<&Record>) -> Vec<Found> {
        let named = |number| {
            let path = Path::new("/dev").join(block::name(view, number)?);
            Some(Found { path, number })
        };
        match self.kind.backing {
            Backing::Device => {
                let found = self.device().find(view).unwrap_or(None);
                found.or_else(|| named(self.number(view, record)?)).into_iter().collect()
            }
            Backing::Image => {
                let recorded = record.filter(|record| record.is_as_asked).map(Record::device);
                let shows = |number: &Number| match self.shows_image(view, *number) {
                    Some(same) => same,
                    None => recorded == Some(*number) && self.has_name_of_image(view, *number),
                };
                block::loops(view).into_iter().filter(shows).filter_map(named).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Waits until the kernel has no file system on the device any more; whoever
    /// uses one that was detached is ended, as with one that is mounted.
    fn await_release(&self, system: &System<'_>, node: &Found, directory: &Path) -> Result<()> {
        let name = block::name(system, node.number).unwrap_or_default();
        let mut chase = DetachedUsers::new(system);
        let mut pace = Pace::new();
        loop {
            let released = io_test::is_released(system, &node.path, system.deadline());
            if released.with_context(|| format!("cannot ask who holds {}", self.device()))? {
                return Ok(());
            }
            let table = Table::read(system)?;
            let survey = self.survey(system, &table, self.known(system).as_ref())?;
            let mut who = self.remaining(system, &table, node.number, directory);
            if who.is_empty() {
                let claims = holders::claims(system, &name).join(", ");
                if !claims.is_empty() {
                    system
                        .warn(format_args!("{} is unmounted, and used by {claims}", self.device()));
                    return Ok(());
                }
                who = holders::of_device(system, &name);
            }
            let is_left = |clause: &String| {
                let whose =
                    |mount: &Mount| format!("it is mounted on {}", mount.directory.display());
                survey.left.iter().any(|(mount, _)| whose(mount) == *clause)
            };
            if !survey.left.is_empty() && who.iter().all(is_left) {
                return Ok(());
            }
            self.chase(system, node.number, &mut chase)?;
            if system.deadline().left() < LAST_LOOK {
                if who.is_empty() {
                    let fstype = block::file_system(system, &name);
                    let what = fstype.map(|fstype| format!("the kernel still has its {fstype}"));
                    who.push(
                        what.unwrap_or_else(|| "something that cannot be found holds it".into()),
                    );
                }
                let who = format!("{} is unmounted here, but {}", self.device(), who.join(", "));
                *self.held.borrow_mut() = Some(who.clone());
                bail!("{who}");
            }
            pace.rest(system.deadline().sooner(LAST_LOOK));
        }
    }

    /// The kernel's name of a device without a node of its own.
    pub(super) fn node(&self, view: &View, mount: &Mount) -> Option<PathBuf> {
        let found = self.device().find(view).unwrap_or(None).map(|found| found.path);
        found.or_else(|| Some(Path::new("/dev").join(block::name(view, mount.device)?)))
    }
}

/// All that has to go, in order: each of ours after what is mounted upon it,
/// the one that the state is about last.
fn doomed<'t>(table: &'t Table, mount: &Mount, ours: &[&'t Mount]) -> Vec<&'t Mount> {
    let is_it = |own: &&&Mount| own.id == mount.id;
    let others = ours.iter().filter(|own| !is_it(own));
    let mut doomed: Vec<&Mount> = Vec::new();
    for own in others.chain(ours.iter().filter(is_it)) {
        for member in table.upon(own).into_iter().chain([*own]) {
            if doomed.iter().all(|known| known.id != member.id) {
                doomed.push(member);
            }
        }
    }
    doomed
}
