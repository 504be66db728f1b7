//! Bringing a group up: what is wanted, whose it is, what became active.

use super::Access;
use super::backing;
use super::duplicate::{Duplicate, Reported};
use super::look::{State, Target};
use super::names::some;
use super::owner::Claim;
use super::record::Record;
use super::{ActivationMode, Lvm};
use anyhow::{Result, bail};
use common::host::block;
use common::host::lvm::report::{Group, Volume, why};
use common::host::lvm::scope::Scope;
use common::host::lvm::settings::Settings;
use common::host::systemd;
use common::{Plan, System, View, not_here};
use std::time::Duration;

/// The name that LVM-activate has given its order of units. On its way down
/// the machine stops the cluster before it tears down its disks.
const UNIT: &str = "99-LVM-activate";

/// udev names a volume in /dev within moments. This long it may take.
const NAMING: Duration = Duration::from_secs(5);

/// There as long as udev runs.
const UDEV: &str = "/run/udev/control";

/// What start would do.
pub(crate) struct Prospect {
    /// The group, as lvm has reported it once for all of the start.
    seen: Reported,
    record: Record,
    /// The volumes that are wanted.
    pub(crate) names: Vec<String>,
    /// Those of them that have a name in /dev.
    named: Vec<String>,
    claim: Claim,
    /// Whether autoactivation is to be switched off.
    is_to_be_quiet: bool,
}

impl Lvm {
    pub(super) fn plan_start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        if let Some(renamed) = &from.renamed {
            bail!(
                "{} is active under the name {} now: give it its name back, or the cluster the new one",
                self.target,
                renamed.name()
            );
        }
        let prospect = self.prepare(view)?;
        let Prospect { record, names, named, claim, seen, is_to_be_quiet } = prospect;
        let Reported { scope, duplicates, .. } = &seen;
        let (scope, duplicates) = (scope.clone(), duplicates.clone());
        let mut plan = Plan::new();
        let (noted, group) = (record.text().to_owned(), &self.target.group);
        plan.step(format!("note that {} of {group} are wanted", some(&names)), move |system| {
            system.write_record(&self.target.record_name(), &noted)
        });
        if let Some(words) = self.claim_words(&claim) {
            plan.step(words, move |system| self.take(system, &seen, &claim));
        }
        if is_to_be_quiet {
            let scope = scope.clone();
            let what = format!("switch off LVM's own activation of volume group {group}");
            plan.step(what, move |system| {
                self.quiet(system, &scope);
                Ok(())
            });
        }
        let already = if from.is_active() { ", of which some is active" } else { "" };
        plan.step(format!("activate {}{already}", self.target), move |system| {
            self.warn_of(system, &duplicates);
            self.activate(system, &scope, record)
        });
        plan.step(format!("see that udev has named them in /dev/{group}"), move |system| {
            name(system, &self.target, &named)
        });
        Ok(plan)
    }

    /// Finds out what is to be activated, and whether it may be.
    pub(crate) fn prepare(&self, view: &View) -> Result<Prospect> {
        let settings = Settings::of_access(view)?;
        let seen = self.reported(view)?;
        let group = &seen.group;
        self.suits_settings(&settings, &group.tags)?;
        self.is_whole(view, group)?;
        let claim = self.claim(view, &settings, group)?;
        self.can_claim(view, group, &claim)?;
        let wanted = self.wanted(group)?;
        let name = |volume: &&Volume| volume.name.clone();
        let names = wanted.iter().map(name).collect();
        let named = wanted.iter().filter(|volume| volume.is_named).map(name).collect();
        let volumes = wanted.iter().map(|volume| (volume.id.clone(), volume.name.clone()));
        let record = Record::new(&group.id, &volumes.collect::<Vec<_>>());
        let is_to_be_quiet = self.is_to_be_quiet(group);
        Ok(Prospect { record, names, named, claim, is_to_be_quiet, seen })
    }

    /// Does all that [`prepare`](Self::prepare) has found to be done.
    pub(crate) fn bring_up(&self, system: &System<'_>, prospect: Prospect) -> Result<()> {
        let Prospect { seen, record, named, claim, .. } = prospect;
        system.write_record(&self.target.record_name(), record.text())?;
        if claim != Claim::Ours {
            self.take(system, &seen, &claim)?;
        }
        self.warn_of(system, &seen.duplicates);
        self.activate(system, &seen.scope, record)?;
        name(system, &self.target, &named)
    }

    fn warn_of(&self, system: &System<'_>, duplicates: &[Duplicate]) {
        for duplicate in duplicates {
            system.warn(format_args!("{}", duplicate.warning(&self.target.group)));
        }
    }

    /// Whether enough of the group is there.
    fn is_whole(&self, view: &View, group: &Group) -> Result<()> {
        let (name, params) = (&group.name, &self.params);
        if group.exported {
            bail!("volume group {name} is exported: lvm vgimport {name}");
        }
        let disks = group.disks.iter().filter_map(|disk| disk.number);
        if let Some(backing) = backing::find(view, disks)? {
            bail!(
                "volume group {name} is seen on {backing}: promote DRBD, and reject the disk by global_filter in \
                 lvm.conf"
            );
        }
        let bears = params.partial_activation || params.degraded_activation || params.majority_pvs;
        if bears {
            return Ok(());
        }
        if let Some(back) = group.missing().find(|disk| disk.number.is_some()) {
            let path = back.path.display();
            bail!(
                "disk {} of {name} is back at {path} and still flagged missing: if its data are good, lvm vgextend \
                 --restoremissing {name} {path}",
                back.id
            );
        }
        let missing = group.missing().count();
        if missing > 0 {
            bail!(
                "volume group {name} misses {missing} of its {} disks: partial_activation or degraded_activation \
                 would do without",
                group.disks.len()
            );
        }
        Ok(())
    }

    /// The volumes that start is to make active.
    fn wanted<'g>(&self, group: &'g Group) -> Result<Vec<&'g Volume>> {
        let name = &group.name;
        let is_wanted = |volume: &&Volume| match &self.target.volume {
            Some(name) => volume.name == *name,
            None => volume.is_wanted,
        };
        let volumes: Vec<&Volume> = group.volumes.iter().filter(is_wanted).collect();
        match (&self.target.volume, volumes.is_empty()) {
            (_, false) => Ok(volumes),
            (Some(volume), true) => {
                Err(not_here(format!("there is no logical volume {volume} in {name}")))
            }
            (None, true) => {
                Err(not_here(format!("volume group {name} has no logical volume to activate")))
            }
        }
    }

    fn activate(&self, system: &System<'_>, scope: &Scope, record: Record) -> Result<()> {
        let said = self.lvm_activate(system, scope)?;
        let found = Target { is_asked_again: false, ..self.target.clone() }.look(system)?;
        let is_active = |id: &str| found.active.iter().any(|volume| volume.id.is(id));
        let missing: Vec<String> = record
            .volumes()
            .filter(|(id, _)| !is_active(id))
            .map(|(_, name)| name.to_owned())
            .collect();
        match (missing.is_empty(), said) {
            (true, None) => {}
            (true, Some(said)) => {
                system.warn(format_args!("{} is active, but lvm says: {said}", self.target))
            }
            (false, None) => bail!(
                "lvm claims to have activated {}, but {} is not active",
                self.target,
                some(&missing)
            ),
            (false, Some(said)) => {
                bail!("cannot activate {} of {}: {said}", some(&missing), record_of(&self.target))
            }
        }
        if systemd::is_running(system)
            && let Err(err) = systemd::stop_cluster_before(system, UNIT, "blk-availability.service")
        {
            system.warn(format_args!("{err:#}"));
        }
        let record = record.with_disks(found.disks());
        system.write_record(&self.target.record_name(), record.text())
    }

    /// Has lvm activate it; what lvm says if it is not content.
    fn lvm_activate(&self, system: &System<'_>, scope: &Scope) -> Result<Option<String>> {
        let (group, tag) = (self.params.vgname.as_str(), self.params.tag.as_str());
        let admits_tag = format!("activation{{volume_list=[\"@{tag}\"]}}");
        let one = self.target.volume.as_ref().map(|name| format!("{group}/{name}"));
        let mut words = match &one {
            Some(_) => vec!["lvchange"],
            None => vec!["vgchange"],
        };
        words.push(match self.access {
            Access::Lvmlockd(ActivationMode::Exclusive) => "-aey",
            Access::Lvmlockd(ActivationMode::Shared) => "-asy",
            _ => "-ay",
        });
        if self.params.degraded_activation {
            words.extend(["--activationmode", "degraded"]);
        } else if self.params.partial_activation {
            words.push("--partial");
        }
        let setting = (self.access == Access::Tagging).then_some(admits_tag.as_str());
        let shown = scope.words(setting);
        words.extend(shown.iter().map(String::as_str));
        words.push(one.as_deref().unwrap_or(group));
        let output = system.change("lvm", &words)?;
        if output.success() {
            return Ok(None);
        }
        let why = why(&output);
        // A daemon that was killed leaves its locks behind.
        let orphan = match matches!(self.access, Access::Lvmlockd(_)) && why.contains("locked") {
            true => "; if no node has it active, the lock is an orphan: see lvmlockctl --info",
            false => "",
        };
        Ok(Some(format!("{why}{orphan}")))
    }
}

fn record_of(target: &Target) -> String {
    format!("volume group {}", target.group)
}

/// Waits for udev, and asks lvm to make the names where udev does not.
pub(crate) fn name(system: &System<'_>, target: &Target, names: &[String]) -> Result<()> {
    let unnamed = || {
        let path = |name: &&String| format!("/dev/{}/{name}", target.group);
        // What is asked for is what the name leads to: a link may be left of an
        // earlier activation whose device is gone.
        let leads = |name: &&String| match block::number(system, path(name)) {
            Err(err) => err.kind() != std::io::ErrorKind::NotFound,
            Ok(_) => true,
        };
        names.iter().filter(|name| !leads(name)).cloned().collect::<Vec<_>>()
    };
    // Where nobody is there to name them, nobody is waited for.
    let naming = if system.exists(UDEV).unwrap_or(true) { NAMING } else { Duration::ZERO };
    let deadline = system.deadline().at_most(naming.min(system.deadline().left() / 4));
    let mut pace = common::host::clock::Pace::new();
    while !unnamed().is_empty() && !deadline.has_passed() {
        pace.rest(deadline);
    }
    if unnamed().is_empty() {
        return Ok(());
    }
    let output = system.change("lvm", &["vgmknodes", &target.group])?;
    let still = unnamed();
    if !still.is_empty() {
        let said = if output.success() { String::new() } else { format!(": {}", why(&output)) };
        bail!("{} of {} active, but not to be found in /dev{said}", some(&still), target.group);
    }
    Ok(())
}
