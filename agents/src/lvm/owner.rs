//! Whose a group is, and how it becomes this node's.

use super::duplicate::{self, Reported};
use super::look::Target;
use super::{Access, Lvm};
use anyhow::{Result, bail};
use common::host::drbd;
use common::host::lock::Lock;
use common::host::lvm::label;
use common::host::lvm::report::{self, Group, why};
use common::host::lvm::scope::Scope;
use common::host::lvm::settings::Settings;
use common::{System, View, not_here};
use std::time::Duration;

/// What start finds out about the owner, and does about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours, or nobody's business.
    Ours,
    /// Put the tag on it.
    Tag(String),
    /// Become the owner, in the place of another one or of none.
    Own { mine: String, theirs: String },
    /// Start the lock space.
    Lock,
}

/// What has lvm change the owner of a group that misses disks.
const MAJORITY: &str = "--majoritypvs";

/// Where lvmlockd listens.
const LVMLOCKD: &str = "/run/lvm/lvmlockd.socket";

/// So long a disk is asked who the owner has become.
const INQUIRY: Duration = Duration::from_secs(5);

impl Lvm {
    /// Whether this node's lvm.conf goes with the access mode.
    pub(super) fn suits_settings(&self, settings: &Settings, tags: &[String]) -> Result<()> {
        let (group, tag) = (&self.params.vgname.as_str(), self.params.tag.as_str());
        match self.access {
            Access::Tagging => {
                let Some(list) = settings.list("volume_list") else {
                    return Err(not_here(
                        "tagging needs a volume_list in lvm.conf, or every node could activate the group at any time",
                    ));
                };
                let own = format!("@{tag}");
                if list.contains(&own) || !settings.shuts_out(group, &[]) {
                    return Err(not_here(format!(
                        "volume_list in lvm.conf lets {group} be activated without the cluster: take out {group} and {own}"
                    )));
                }
            }
            Access::Lvmlockd(_) if !settings.is_on("use_lvmlockd") => {
                return Err(not_here("use_lvmlockd is not set in lvm.conf"));
            }
            Access::SystemId if matches!(settings.word("system_id_source"), "" | "none") => {
                return Err(not_here(
                    "system_id_source is not set in lvm.conf, so this node has no system ID",
                ));
            }
            _ => {}
        }
        if self.access != Access::Tagging && settings.shuts_out(group, tags) {
            return Err(not_here(format!(
                "volume_list in lvm.conf keeps {group} from being activated"
            )));
        }
        Ok(())
    }

    /// What it takes for the group to be ours, or why it cannot be.
    pub(super) fn claim(&self, view: &View, settings: &Settings, group: &Group) -> Result<Claim> {
        self.fits_metadata(group)?;
        let name = &group.name;
        match self.access {
            Access::Lvmlockd(_) => {
                if !view.exists(LVMLOCKD)? {
                    bail!("lvmlockd is not running: there is no {LVMLOCKD}");
                }
                Ok(Claim::Lock)
            }
            Access::Tagging => self.claim_by_tag(group),
            Access::SystemId => {
                let mine = system_id(view, settings)?;
                if mine.is_empty() {
                    return Err(not_here(
                        "this node has no system ID: see system_id_source in lvm.conf",
                    ));
                }
                match &group.owner {
                    owner if *owner == mine => Ok(Claim::Ours),
                    owner if !is_system_id(owner) => {
                        bail!("{name} has a system ID that LVM cannot have given: `{owner}`")
                    }
                    owner => Ok(Claim::Own { mine, theirs: owner.clone() }),
                }
            }
            Access::None if group.owner.is_empty() => Ok(Claim::Ours),
            Access::None => match system_id(view, settings)? {
                mine if mine == group.owner => Ok(Claim::Ours),
                _ => bail!(
                    "volume group {name} belongs to the machine with the system ID {}",
                    group.owner
                ),
            },
        }
    }

    fn claim_by_tag(&self, group: &Group) -> Result<Claim> {
        let (name, tag) = (&group.name, self.params.tag.as_str());
        let harmless = self.params.other_tags.as_deref().unwrap_or_default();
        let harmless: Vec<&str> = harmless.split(',').map(str::trim).collect();
        let is_foreign = |found: &&String| *found != tag && !harmless.contains(&found.as_str());
        if let Some(foreign) = group.tags.iter().find(is_foreign) {
            bail!(
                "volume group {name} carries the tag {foreign}, which is not ours: if it marks no owner, name it in \
                 other_tags; if its owner is gone for good, lvm vgchange --deltag {foreign} {name}"
            );
        }
        match group.tags.iter().any(|found| found == tag) {
            true => Ok(Claim::Ours),
            false => Ok(Claim::Tag(tag.to_owned())),
        }
    }

    /// Whether the group is of the kind that the access mode is for, as far as
    /// this node can see: another may see another group of the name.
    fn fits_metadata(&self, group: &Group) -> Result<()> {
        let (name, kind) = (&group.name, &group.lock_type);
        let locked = !kind.is_empty();
        match self.access {
            Access::Lvmlockd(_) if !locked => Err(not_here(format!(
                "vg_access_mode=lvmlockd, but volume group {name} has no lock type: lvm vgchange --locktype dlm {name}"
            ))),
            Access::Lvmlockd(_) => Ok(()),
            _ if locked => Err(not_here(format!(
                "volume group {name} has the lock type {kind}: vg_access_mode has to be lvmlockd"
            ))),
            Access::Tagging if !group.owner.is_empty() => Err(not_here(format!(
                "volume group {name} has an owner by system ID, {}: vg_access_mode has to be system_id",
                group.owner
            ))),
            _ => Ok(()),
        }
    }

    /// The claim in words, for the plan.
    pub(super) fn claim_words(&self, claim: &Claim) -> Option<String> {
        let group = self.params.vgname.as_str();
        Some(match claim {
            Claim::Ours => return None,
            Claim::Tag(tag) => format!("put the tag {tag} on volume group {group}"),
            Claim::Lock => format!("start the lock space of volume group {group}"),
            Claim::Own { mine, theirs } if theirs.is_empty() => {
                format!("make {mine} the owner of volume group {group}, which has none")
            }
            Claim::Own { mine, theirs } => {
                format!("make {mine} the owner of volume group {group} in the place of {theirs}")
            }
        })
    }

    /// Makes the group ours, as it was seen for the plan. Where another
    /// instance was at work on it since, it is looked at again: it may have found
    /// another owner.
    pub(super) fn take(&self, system: &System<'_>, seen: &Reported, claim: &Claim) -> Result<()> {
        if !self.keep_others_off(system)? {
            return self.take_as_seen(system, seen, claim);
        }
        let seen = self.reported(system)?;
        let claim = self.claim(system, &Settings::of_access(system)?, &seen.group)?;
        self.take_as_seen(system, &seen, &claim)
    }

    fn take_as_seen(&self, system: &System<'_>, seen: &Reported, claim: &Claim) -> Result<()> {
        let name = seen.group.name.as_str();
        match claim {
            Claim::Ours => Ok(()),
            Claim::Tag(tag) => {
                self.change(system, &seen.scope, None, &["vgchange", "--addtag", tag, name])
            }
            Claim::Own { mine, theirs } => self.own(system, seen, mine, theirs),
            Claim::Lock => self.start_locks(system, name),
        }
    }

    /// Becomes the owner. lvm looks again under its own lock, and refuses a
    /// group whose owner is neither of the two by then.
    fn own(&self, system: &System<'_>, found: &Reported, mine: &str, theirs: &str) -> Result<()> {
        let name = found.group.name.as_str();
        let as_them =
            (!theirs.is_empty()).then(|| format!("local/extra_system_ids=[\"{theirs}\"]"));
        let mut words = vec!["vgchange", "-y"];
        words.extend(self.needs_majority(&found.group).then_some(MAJORITY));
        words.extend(["--systemid", mine, name]);
        self.change(system, &found.scope, as_them.as_deref(), &words)?;
        let now = self.owner(system, found)?;
        if now != mine {
            bail!("lvm has made {mine} the owner of {name}, and yet the owner is `{now}`");
        }
        system.info(format_args!("volume group {name}: the owner was `{theirs}` and is {mine}"));
        Ok(())
    }

    /// The owner by now: by the metadata on one of the disks, which takes no
    /// lvm that reads them all, or else as lvm says.
    fn owner(&self, view: &View, seen: &Reported) -> Result<String> {
        let group = &seen.group;
        let deadline = view.deadline().at_most(INQUIRY.min(view.deadline().left() / 4));
        let disks = group.disks.iter().filter(|disk| disk.number.is_some() && !disk.missing);
        let told = disks.filter(|_| seen.duplicates.is_empty()).find_map(|disk| {
            let path = view.path(&disk.path);
            let read = label::metadata(view, &path, &group.name, deadline);
            read.map_err(|err| view.note(format_args!("{err:#}"))).ok()
        });
        match told.filter(|metadata| metadata.id == group.id) {
            Some(metadata) => Ok(metadata.owner),
            None => Ok(self.reported(view)?.group.owner),
        }
    }

    /// Whether lvm has to be told that the majority of the disks is enough.
    fn needs_majority(&self, group: &Group) -> bool {
        self.params.majority_pvs && group.missing().next().is_some()
    }

    /// Whether this lvm can do all that the claim takes.
    pub(super) fn can_claim(&self, view: &View, group: &Group, claim: &Claim) -> Result<()> {
        if !matches!(claim, Claim::Own { .. }) || !self.needs_majority(group) {
            return Ok(());
        }
        let help = view.query("lvm", &["vgchange", "--help"])?;
        if [&help.stdout, &help.stderr].iter().any(|text| text.contains(MAJORITY)) {
            return Ok(());
        }
        bail!(
            "the lvm of this node does not know {MAJORITY}, and without it nobody becomes the owner of volume group \
             {}, which misses {} of its {} disks",
            group.name,
            group.missing().count(),
            group.disks.len()
        )
    }

    /// Whether LVM would activate a group that is ours by itself: a node that
    /// comes back would do so before the cluster has a say.
    pub(super) fn is_to_be_quiet(&self, group: &Group) -> bool {
        self.access == Access::SystemId && group.autoactivation == Some(true)
    }

    /// Switches autoactivation off. The group can be used where that fails.
    pub(super) fn quiet(&self, system: &System<'_>, scope: &Scope) {
        let name = self.params.vgname.as_str();
        let words = ["vgchange", "--setautoactivation", "n", name];
        if let Err(err) = self.change(system, scope, None, &words) {
            system.warn(format_args!("autoactivation of {name} stays on: {err:#}"));
        }
    }

    fn start_locks(&self, system: &System<'_>, group: &str) -> Result<()> {
        system.until(&format!("the lock space of {group}"), || {
            let output = system.change("lvm", &["vgchange", "--lockstart", group])?;
            if output.success() {
                return Ok(Ok(()));
            }
            let why = why(&output);
            // Another instance or another node is at it.
            let passing =
                ["in progress", "try again", "starting"].iter().any(|word| why.contains(word));
            if passing {
                Ok(Err(why))
            } else {
                bail!("cannot start the lock space of {group}: {why}")
            }
        })
    }

    /// Gives back what was taken, once nothing of the group is active. The
    /// target is ours under its present names.
    pub(super) fn give_back(&self, system: &System<'_>, target: &Target) -> Result<()> {
        self.keep_others_off(system)?;
        let (group, tag) = (target.group.as_str(), self.params.tag.as_str());
        if self.target.look(system)?.is_active() || !target.others(system)?.is_empty() {
            system.note(format_args!("volume group {group} is still in use here"));
            return Ok(());
        }
        match self.access {
            Access::Tagging => {
                // Only ours; another one is not there for us to take off.
                let words = ["vgchange", "--deltag", tag, group];
                let Err(refused) = self.change(system, &Scope::Configured, None, &words) else {
                    return Ok(());
                };
                // It changes no group of which it sees a disk twice.
                let found = self.reported_of(system, group)?;
                match found.group.tags.iter().any(|found| found == tag) {
                    true if found.scope == Scope::Configured => Err(refused),
                    true => self.change(system, &found.scope, None, &words),
                    false => Ok(()),
                }
            }
            Access::Lvmlockd(_) => {
                self.change(system, &Scope::Configured, None, &["vgchange", "--lockstop", group])
            }
            // The owner stays the owner until another one takes its place.
            Access::SystemId | Access::None => Ok(()),
        }
    }

    /// What stop gives back, in words; none if nothing is ever taken.
    pub(super) fn return_words(&self, group: &str) -> Option<String> {
        match self.access {
            Access::Tagging => {
                Some(format!("take the tag {} off volume group {group}", self.params.tag.as_str()))
            }
            Access::Lvmlockd(_) => Some(format!("stop the lock space of volume group {group}")),
            Access::SystemId | Access::None => None,
        }
    }

    /// Waits until no other instance is at work on the group, and keeps it so
    /// until the action ends. Whether one was.
    pub(super) fn keep_others_off(&self, system: &System<'_>) -> Result<bool> {
        let mut lock = self.lock.borrow_mut();
        if self.access != Access::None && lock.is_none() {
            *lock = Some(system.hold(&format!("LVM-{}", self.params.vgname.as_str()))?);
        }
        Ok(lock.as_ref().is_some_and(Lock::is_handed_over))
    }

    /// The group, as lvm sees it now.
    pub(super) fn reported(&self, view: &View) -> Result<Reported> {
        self.reported_of(view, self.params.vgname.as_str())
    }

    fn reported_of(&self, view: &View, group: &str) -> Result<Reported> {
        match duplicate::ask(view, group)? {
            Ok(reported) => Ok(reported),
            Err(why) => bail!(
                "volume group {group} is not to be seen: {why}{}",
                super::backing::absence(view, group)
            ),
        }
    }

    /// Has lvm change something, with a setting of its own if it needs one.
    pub(super) fn change(
        &self,
        system: &System<'_>,
        scope: &Scope,
        setting: Option<&str>,
        words: &[&str],
    ) -> Result<()> {
        let shown = scope.words(setting);
        let words: Vec<&str> =
            words.iter().copied().chain(shown.iter().map(String::as_str)).collect();
        let output = system.change("lvm", &words)?;
        if !output.success() {
            bail!("lvm {} failed: {}", words.join(" "), why(&output));
        }
        Ok(())
    }
}

/// This machine's system ID.
fn system_id(view: &View, settings: &Settings) -> Result<String> {
    let name = drbd::node(view).ok();
    match name.and_then(|name| settings.system_id(&name)) {
        Some(id) => Ok(id),
        None => report::system_id(view),
    }
}

/// Whether LVM would take this as a system ID; nothing else goes into a
/// setting on its command line.
fn is_system_id(id: &str) -> bool {
    id.len() < 128 && id.chars().all(|c| c.is_ascii_alphanumeric() || "+_.-/=!:&#".contains(c))
}
