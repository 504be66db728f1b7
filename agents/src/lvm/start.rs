//! Bringing a group up: what is wanted, whose it is, what became active.

use super::backing;
use super::look::{State, Target, some};
use super::owner::{Access, Claim};
use super::record::Record;
use super::{ActivationMode, Lvm};
use anyhow::{Result, bail};
use common::host::block;
use common::host::lvm::report::{self, Group, Volume, why};
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
    record: Record,
    /// The volumes that are wanted.
    pub(crate) names: Vec<String>,
    claim: Claim,
}

impl Lvm {
    pub(super) fn plan_start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let Prospect { record, names, claim } = self.prepare(view)?;
        let mut plan = Plan::new();
        let (noted, group) = (record.text().to_owned(), &self.target.group);
        plan.step(format!("note that {} of {group} are wanted", some(&names)), move |system| {
            system.keep_hint(&self.target.hint(), &noted)
        });
        if let Some(words) = self.claim_words(&claim) {
            plan.step(words, |system| self.take(system));
        }
        let already = if from.is_active() { ", of which some is active" } else { "" };
        plan.step(format!("activate {}{already}", self.target), move |system| {
            self.activate(system, record)
        });
        plan.step(format!("see that udev has named them in /dev/{group}"), move |system| {
            name(system, &self.target, &names)
        });
        Ok(plan)
    }

    /// Finds out what is to be activated, and whether it may be.
    pub(crate) fn prepare(&self, view: &View) -> Result<Prospect> {
        let group = self.group(view)?;
        self.suits_settings(&self.settings(view)?, &group.tags)?;
        self.is_whole(view, &group)?;
        let claim = self.claim(view, &group)?;
        let wanted = self.wanted(view)?;
        let names = wanted.iter().map(|volume| volume.name.clone()).collect();
        let volumes: Vec<_> = wanted.into_iter().map(|volume| (volume.id, volume.name)).collect();
        let record = Record::new(&group.id, &volumes);
        Ok(Prospect { record, names, claim })
    }

    /// Does all that [`prepare`](Self::prepare) has found to be done.
    pub(crate) fn bring_up(&self, system: &System<'_>, prospect: Prospect) -> Result<()> {
        system.keep_hint(&self.target.hint(), prospect.record.text())?;
        if prospect.claim != Claim::Ours {
            self.take(system)?;
        }
        self.activate(system, prospect.record)?;
        name(system, &self.target, &prospect.names)
    }

    /// Whether enough of the group is there.
    fn is_whole(&self, view: &View, group: &Group) -> Result<()> {
        let (name, params) = (&group.name, &self.params);
        if group.exported {
            bail!("volume group {name} is exported: lvm vgimport {name}");
        }
        let disks = group.disks.iter().filter(|disk| !disk.duplicate);
        let disks = disks.filter_map(|disk| block::number(view, &disk.path).ok().flatten());
        if let Some(backing) = backing::find(view, disks) {
            bail!(
                "volume group {name} is seen on {backing}: promote DRBD, and reject the disk by global_filter in \
                 lvm.conf"
            );
        }
        let twice: Vec<String> = group
            .disks
            .iter()
            .filter(|disk| disk.duplicate)
            .map(|disk| disk.path.display().to_string())
            .collect();
        if !twice.is_empty() {
            bail!(
                "volume group {name} is seen twice, also on {}: reject it by global_filter in lvm.conf",
                some(&twice)
            );
        }
        let bears = params.partial_activation || params.degraded_activation || params.majority_pvs;
        if group.missing > 0 && !bears {
            bail!(
                "volume group {name} misses {} of its {} disks: partial_activation or degraded_activation would do \
                 without",
                group.missing,
                group.disks.len()
            );
        }
        Ok(())
    }

    /// The volumes that start is to make active.
    fn wanted(&self, view: &View) -> Result<Vec<Volume>> {
        let group = self.params.vgname.as_str();
        let mut volumes = report::volumes(view, group)?;
        match &self.target.volume {
            Some(name) => volumes.retain(|volume| volume.name == *name),
            None => volumes.retain(|volume| volume.is_wanted),
        }
        match (&self.target.volume, volumes.is_empty()) {
            (_, false) => Ok(volumes),
            (Some(name), true) => {
                Err(not_here(format!("there is no logical volume {name} in {group}")))
            }
            (None, true) => {
                Err(not_here(format!("volume group {group} has no logical volume to activate")))
            }
        }
    }

    fn activate(&self, system: &System<'_>, record: Record) -> Result<()> {
        let said = self.lvm_activate(system)?;
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
        system.keep_hint(&self.target.hint(), record.text())
    }

    /// Has lvm activate it; what lvm says if it is not content.
    fn lvm_activate(&self, system: &System<'_>) -> Result<Option<String>> {
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
        if self.access == Access::Tagging {
            words.extend(["--config", &admits_tag]);
        }
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
