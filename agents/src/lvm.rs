//! A volume group of LVM, or one of its logical volumes.
//!
//! What is active is what the kernel's device-mapper says is active; whether
//! its disks are there, sysfs says. Neither runs a program nor reads a disk,
//! so a monitor ends also when every path to the disks is dead. lvm itself is
//! called to change things, and by start, to learn what there is to activate
//! and who it belongs to.
//!
//! The shell agents call a group active as soon as any of its volumes is, and
//! take lvm's exit code for what became of an activation. Here start notes
//! which volumes it has made active, and the group runs while all of them are.

mod advice;
pub(crate) mod backing;
mod check_level;
mod deactivate;
mod duplicate;
mod look;
mod names;
mod owner;
mod record;
mod start;
mod underlying;

use crate::lvm::look::State;
use crate::lvm::names::{TagName, VolumeName};
use anyhow::Result;
use common::host::lock::Lock;
use common::host::lvm::settings::Settings;
use common::{Agent, Extras, Fact, Plan, Request, Role, Status, View, configured};
use ocf_meta::{Examples, Given, Meta, Params, Reading, Words, action, choices, params};
use std::cell::RefCell;

pub(crate) use look::{State as Seen, Target};
pub(crate) use names::{GroupName, some};

pub(crate) use duplicate::places;

choices! {
    /// How it is made sure that one node alone uses a group.
    pub enum AccessMode {
        /// lvmlockd and a lock manager do.
        Lvmlockd = "lvmlockd",
        /// The metadata says whose it is.
        SystemId = "system_id",
        /// A tag says that the cluster has it.
        Tagging = "tagging",
        /// Something else does: DRBD, or the cluster alone.
        None = "none",
    }
}

choices! {
    /// Who may have the volumes active besides this node.
    pub enum ActivationMode {
        /// Nobody.
        Exclusive = "exclusive",
        /// Other nodes, for a cluster file system.
        Shared = "shared",
    }
}

params! {
    /// A volume group and how it may be activated.
    pub struct LvmParams {
        /// Volume group.
        ///
        /// The group, or the group that the logical volume is in.
        [required, names, position = 1, alias = "volgrpname"] vgname: GroupName,
        /// Logical volume.
        ///
        /// Only this one is activated and deactivated. Without it, all of the group's are, but for those marked
        /// to be skipped on activation.
        [names, position = 2] lvname: Option<VolumeName>,
        /// How one node alone is made to use the group.
        ///
        /// none: by something else, such as DRBD beneath it, or the cluster alone. tagging: a tag is put on the
        /// group while it is in use, and lvm.conf's volume_list keeps all without it from being activated.
        /// system_id: the group's metadata names the owner, and start makes this node the owner. lvmlockd: a lock
        /// manager. Unset it is none, or tagging if exclusive is set.
        [] vg_access_mode: Option<AccessMode>,
        /// Activation for this node alone or for several.
        ///
        /// With lvmlockd only: shared is for cluster file systems.
        [] activation_mode: ActivationMode = "exclusive",
        /// Whether the group is for one node alone.
        ///
        /// The older way to ask for vg_access_mode=tagging.
        [] exclusive: bool = "false",
        /// Tag of a group that is in use.
        ///
        /// With tagging only.
        [] tag: TagName = "pacemaker",
        /// Tags that say nothing of who uses the group.
        ///
        /// With tagging, start refuses a group that carries any tag but its own and these, for it may be the mark
        /// of another owner. A list with commas.
        [] other_tags: Option<String>,
        /// Whether to activate what misses a disk.
        ///
        /// Logical volumes are then activated as far as their disks are there. What is missing reads as an error.
        [] partial_activation: bool = "false",
        /// Whether to activate RAID volumes that miss a disk.
        ///
        /// Only those that can do without it. It wins over partial_activation.
        [] degraded_activation: bool = "false",
        /// Whether the majority of the disks is enough to become the owner.
        ///
        /// With system_id only, and where disks are missing. lvm has to know --majoritypvs.
        [] majority_pvs: bool = "false",
    }
}

static META: Meta = Meta {
    name: "LVM",
    shortdesc: "Activates an LVM volume group or a logical volume",
    longdesc: "Activates all logical volumes of a volume group, or one of them, and deactivates them again.\n\n\
        It takes the place of ocf:heartbeat:LVM and ocf:heartbeat:LVM-activate, with the parameters of both. Before \
        it becomes the owner of a group, by tag or by system ID, it looks whose the group is; after activation it \
        looks what has really become active. A stop waits for users of the volumes to let go until its time is \
        over, and then names them.\n\n\
        On DRBD the order is: DRBD promoted, then this, then the file system; and the other way round to stop. LVM \
        should not see the disk beneath DRBD: see global_filter in lvm.conf(5). Where it does, it is shown the DRBD \
        device alone, which holds for this agent only.",
    params: LvmParams::TABLE,
    words: Words::Positions,
    actions: &[
        action::START.timeout(90),
        action::STOP.timeout(90),
        action::MONITOR.timeout(90).every(30),
        action::VALIDATE_ALL.timeout(20),
        action::META_DATA.timeout(10),
    ],
    examples: Examples {
        pacemaker: "vg ocf:sturdy:LVM vgname=vg vg_access_mode=system_id",
        haresources: "drbddisk::r1 LVM::vg Filesystem::/dev/vg/web::/srv/web",
        by_hand: "vg start",
    },
    differences: &[
        "A group runs when every volume that start made active still is; ocf:heartbeat:LVM and LVM-activate are \
         content with any one. One that is not active is missed unless the group has it no more, by the metadata on \
         its disks.",
        "A group or a volume is known by its identity: where it has been renamed while active, the monitor fails and \
         says so, and stop deactivates it under the name it has now. The shell agents take it for stopped.",
        "A disk that is gone or offline makes the monitor fail, also beneath encryption, multipath or a thin pool; \
         under RAID, or with partial_activation, it is reported as degraded. The shell agents do not look.",
        "A group that carries a foreign tag is refused, and only the agent's own tag is ever taken off. \
         LVM-activate means to check and does not, and strips the tags of all groups.",
        "Becoming the owner by system ID is verified; LVM-activate ignores what became of it. Autoactivation is \
         switched off then, and majority_pvs counts only where a disk is missing.",
        "A disk that is back and still flagged as missing is named, with the command that makes the group use it; \
         LVM-activate counts it as missing.",
        "start fails when lvm reports success and a volume has not become active.",
        "stop retries until its deadline while a volume is held open, and names who holds it.",
        "A group that is seen on the disk beneath DRBD, by drbd.conf, is refused, and failed where something else \
         has activated it from there. The shell agents write past DRBD. One that is seen on DRBD and on the disk \
         beneath is activated with lvm shown DRBD alone, where the shell agents fail; any other that is seen twice \
         is refused.",
        "A monitor of depth 10 reads from up to four volumes, past the page cache and by its deadline; \
         LVM-activate reads one byte of the first, which may come from the cache.",
        "When every disk of a group is gone, stop removes its unused devices without lvm.",
        "stop without vgname succeeds, since nothing can have been started; LVM-activate has the node fenced.",
        "A logical volume that is not in the group, or a group of another kind than vg_access_mode is for, is error \
         2, not 6: it is the node's view of its storage.",
        "vg_access_mode=clvmd is refused; clvmd is gone from LVM.",
    ],
};

/// How one node alone is made to use a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// By something else.
    None,
    /// By a tag.
    Tagging,
    /// By the owner in the metadata.
    SystemId,
    /// By a lock manager.
    Lvmlockd(ActivationMode),
}

impl Access {
    fn of(params: &LvmParams) -> Self {
        match params.vg_access_mode {
            Some(AccessMode::Lvmlockd) => Self::Lvmlockd(params.activation_mode),
            Some(AccessMode::SystemId) => Self::SystemId,
            Some(AccessMode::Tagging) => Self::Tagging,
            None if params.exclusive => Self::Tagging,
            Some(AccessMode::None) | None => Self::None,
        }
    }

    /// Whether the group must not be active on two nodes.
    fn is_for_one_node(self) -> bool {
        !matches!(self, Self::None | Self::Lvmlockd(ActivationMode::Shared))
    }
}

/// A volume group or a logical volume, and how it is taken.
pub struct Lvm {
    params: LvmParams,
    target: Target,
    access: Access,
    is_clone: bool,
    /// Keeps other instances off the group, from the step that needs it to the
    /// end of the action.
    lock: RefCell<Option<Lock>>,
}

impl Agent for Lvm {
    const META: &'static Meta = &META;
    type Params = LvmParams;
    type State = State;

    fn new(params: LvmParams, request: &Request) -> Result<Self> {
        let target = Target {
            group: params.vgname.as_str().to_owned(),
            volume: params.lvname.as_ref().map(|name| name.as_str().to_owned()),
            bears_loss: params.partial_activation,
            is_asked_again: !request.probe,
        };
        let access = Access::of(&params);
        let is_clone = request.clone.is_some_and(|clone| clone.max > 1);
        Ok(Self { params, target, access, is_clone, lock: RefCell::new(None) })
    }

    fn observe(&self, view: &View) -> Result<State> {
        self.target.look(view)
    }

    fn status(&self, state: &State) -> Status {
        self.target.status(state)
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        self.target.facts(state)
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.plan_start(view, from)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.plan_stop(view, from)
    }
}

impl Extras for Lvm {
    fn validate(&self) -> Result<()> {
        let mode = self.params.vg_access_mode;
        if self.params.exclusive && mode == Some(AccessMode::None) {
            return Err(configured("exclusive=true and vg_access_mode=none contradict each other"));
        }
        if self.params.activation_mode == ActivationMode::Shared
            && mode != Some(AccessMode::Lvmlockd)
        {
            return Err(configured("activation_mode=shared needs vg_access_mode=lvmlockd"));
        }
        if self.is_clone && self.access.is_for_one_node() {
            return Err(configured("an instance on each node needs activation_mode=shared"));
        }
        Ok(())
    }

    fn suits(&self, view: &View) -> Result<()> {
        view.program("lvm")?;
        self.suits_settings(&Settings::of_access(view)?, &[])
    }

    fn advice(&self, view: &View, state: &State) -> Vec<Fact> {
        let others = self.target.others(view).unwrap_or_default();
        let besides = (!others.is_empty()).then(|| Fact::new("besides", some(&others)));
        let advice = self.advise(view, state).into_iter().map(|advice| Fact::new("advice", advice));
        besides.into_iter().chain(advice).collect()
    }

    fn upkeep<'a>(&'a self, _: &View, state: &State, level: u32) -> Result<Plan<'a>> {
        Ok(check_level::try_out(state, level))
    }
}

impl Lvm {
    /// What it activates.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// A whole group that nobody has to be kept from.
    pub(crate) fn whole(group: &GroupName, request: &Request) -> Result<Self> {
        let mut given = Given::default();
        given.set("vgname", group.as_str());
        Self::new(LvmParams::read(&mut Reading::strict(&given))?, request)
    }
}

impl Target {
    pub(crate) fn status(&self, state: &State) -> Status {
        use Role::Started;
        if let Some(absent) = &state.absent {
            let lost = self.is_asked_again && state.record.is_some();
            return match lost {
                // A clean 7 here would let on-fail=fence pass without a fence.
                true => {
                    Status::Failed(Started, format!("{self} has been deactivated by somebody else"))
                }
                false => Status::Stopped(absent.clone()),
            };
        }
        if let Some(fault) = state.fault(self) {
            return Status::Failed(Started, fault);
        }
        match state.blemish() {
            Some(blemish) => Status::Degraded(Started, blemish),
            None => Status::Running(Started),
        }
    }
}

#[cfg(test)]
mod tests;
