//! The volume groups that lie on DRBD, all at once: what the init script
//! `lvm2` did in a haresources line, without the groups that the node itself
//! lives on.
//!
//! The init script activated and deactivated every group that lvm could see.
//! On a node whose own root lies on LVM, its stop was doing that too, as far
//! as it got. Which groups are meant is told by what lies beneath them: each
//! of their disks is a DRBD device. That is true of an active group as the
//! device-mapper shows it, so a monitor needs no lvm. Groups on other shared
//! disks can be named.

mod need;

use crate::lvm::backing::DRBD;
use crate::lvm::{GroupName, Lvm, Seen, Target, places, some};
use anyhow::{Context, Result, bail};
use common::host::block::Number;
use common::host::dm::Mapper;
use common::host::lvm::report::{self, Group};
use common::host::lvm::{self, Volume};
use common::host::record::Damaged;
use common::{Absent, Agent, Extras, Fact, Plan, Request, Role, Status, View};
use ocf_meta::{Examples, Kind, Meta, Params, Value, Words, action, params};
use std::collections::BTreeMap;

/// Names of groups with commas between them.
#[derive(Clone, Debug)]
pub struct GroupNames(Vec<GroupName>);

impl Value for GroupNames {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(GroupName::parse).collect::<Result<_, _>>().map(Self)
    }
}

params! {
    /// Which groups.
    pub struct Lvm2Params {
        /// Volume groups.
        ///
        /// Names with commas between them. Unset, it is every group whose disks are all DRBD devices, which need to
        /// be promoted for LVM to see it. A group that this node itself needs is never touched.
        [names, position = 1] groups: Option<GroupNames>,
    }
}

static META: Meta = Meta {
    name: "lvm2",
    shortdesc: "Activates all LVM volume groups that lie on DRBD",
    longdesc: "Activates every volume group whose disks are all DRBD devices, and deactivates them again: what the \
        init script lvm2 was used for in haresources, after drbddisk and before Filesystem.\n\n\
        Groups that the node itself needs are left alone: those with the root file system, /boot, /usr, /var or swap \
        on them, and what lies beneath those. LVM, with the name of a group, does the same for that group alone and \
        is to be preferred under Pacemaker.",
    params: Lvm2Params::TABLE,
    words: Words::Positions,
    actions: &[
        action::START.timeout(90),
        action::STOP.timeout(90),
        action::MONITOR.timeout(90).every(30),
        action::VALIDATE_ALL.timeout(20),
        action::META_DATA.timeout(10),
    ],
    examples: Examples {
        pacemaker: "groups ocf:sturdy:lvm2",
        haresources: "drbddisk::r0 lvm2 Filesystem::/dev/vg/web::/srv/web",
        by_hand: "start",
    },
    differences: &[
        "The init script activates and deactivates every group; this only those on DRBD, or those it is given.",
        "A group that the node needs for itself is never deactivated.",
        "start fails where there is no group to activate, for then DRBD is not promoted; the init script succeeds.",
        "stop waits for users of the volumes until its deadline and names them; the init script gives up at once, \
         and on later systems it has no stop at all.",
    ],
};

/// The record that names the groups which start has taken.
const TAKEN: &str = "lvm2.groups";

/// All groups that are ours.
pub struct Lvm2 {
    params: Lvm2Params,
    request: Request,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct State {
    /// Groups that are ours, or that start has taken, with what is active.
    groups: Vec<(Target, Seen)>,
    /// Groups that would be ours, were the node not to need them.
    needed: Vec<String>,
    /// Proof that nothing is active of those that are ours.
    absent: Option<Absent>,
}

impl Agent for Lvm2 {
    const META: &'static Meta = &META;
    type Params = Lvm2Params;
    type State = State;

    fn new(params: Lvm2Params, request: &Request) -> Result<Self> {
        Ok(Self { params, request: request.clone() })
    }

    fn observe(&self, view: &View) -> Result<State> {
        let mut state = State::default();
        let (taken, damaged) = Damaged::apart(taken(view));
        for group in &taken {
            state.groups.push(self.seen(view, group)?);
        }
        let mapper = match Mapper::open(view)? {
            Ok(mapper) => mapper,
            Err(absent) => return Ok(State { absent: Some(absent), ..state }),
        };
        let all = lvm::all_active(&mapper)?;
        let mut active: BTreeMap<String, Vec<Volume>> = BTreeMap::new();
        for (group, volume) in all.iter() {
            active.entry(group.clone()).or_default().push(volume.clone());
        }
        for (group, volumes) in active {
            // One that was renamed is known by its volumes.
            let is_known =
                state.groups.iter().any(|(_, seen)| volumes.iter().any(|one| seen.has(one)));
            if taken.contains(&group) || is_known || !self.is_meant(&mapper, &group, &volumes)? {
                continue;
            }
            match need::of(view, &mapper, &volumes)? {
                Some(_) => state.needed.push(group),
                None => state.groups.push(self.seen(view, &group)?),
            }
        }
        let is_active = state.groups.iter().any(|(_, seen)| seen.is_active());
        let is_ours = |(group, volume): &(String, Volume)| {
            let is_one =
                |(target, seen): &(Target, Seen)| target.group == *group || seen.has(volume);
            state.groups.iter().any(is_one)
        };
        state.absent = if is_active { None } else { all.lacks(is_ours) };
        // What the node needs for itself is never taken.
        if let Some(damaged) = damaged.filter(|_| state.absent.is_some()) {
            let mut groups = all.iter().map(|(group, _)| group);
            if let Some(group) = groups.find(|group| !state.needed.contains(group)) {
                bail!("{}", damaged.doubt(format_args!("{group} is active and may be in it")));
            }
        }
        Ok(state)
    }

    fn status(&self, state: &State) -> Status {
        if let Some(absent) = &state.absent {
            let lost = !self.request.probe && !state.groups.is_empty();
            return match lost {
                true => Status::Failed(
                    Role::Started,
                    "all groups have been deactivated by somebody else".into(),
                ),
                false => Status::Stopped(absent.clone()),
            };
        }
        let mut status = Status::Running(Role::Started);
        for (target, seen) in &state.groups {
            match target.status(seen) {
                Status::Running(_) => {}
                Status::Stopped(_) => {
                    return Status::Failed(Role::Started, format!("{target} is not active"));
                }
                failed @ Status::Failed(..) => return failed,
                degraded => status = degraded,
            }
        }
        status
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (target, seen) in &state.groups {
            facts.push(Fact::new("group", target.group.clone()));
            facts.extend(target.facts(seen));
        }
        if !state.needed.is_empty() {
            facts.push(Fact::new("left alone", some(&state.needed)));
        }
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let groups = self.candidates(view)?;
        let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
        let mut prospects = Vec::new();
        for name in groups.iter().map(|group| GroupName::parse(&group.name)) {
            let name = name.map_err(anyhow::Error::msg).context("odd name of a volume group")?;
            if from.needed.iter().any(|needed| needed == name.as_str()) {
                bail!("this node needs volume group {} for itself", name.as_str());
            }
            let member = Lvm::whole(&name, &self.request)?;
            let prospect = member.prepare(view)?;
            prospects.push((member, prospect));
        }
        plan.step(format!("note that {} are ours", some(&names)), move |system| {
            system.write_record(TAKEN, &(names.join("\n") + "\n"))
        });
        for (member, prospect) in prospects {
            let what = format!("activate {}: {}", member.target(), some(&prospect.names));
            plan.step(what, move |system| member.bring_up(system, prospect));
        }
        Ok(plan)
    }

    fn stop<'a>(&'a self, _: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        for (target, seen) in &from.groups {
            let target = target.clone();
            if seen.is_active() {
                let shown = seen.renamed.as_ref().unwrap_or(&target);
                plan.step(format!("deactivate {shown}"), move |system| {
                    target.deactivate(system)?;
                    target.forget(system)
                });
            } else if seen.record.is_some() {
                plan.step(format!("forget what was wanted of {target}"), move |system| {
                    target.forget(system)
                });
            }
        }
        if !from.groups.is_empty() {
            plan.step("forget which groups are ours", |system| {
                match self.observe(system)?.groups.iter().any(|(_, seen)| seen.is_active()) {
                    true => Ok(()),
                    false => system.remove_record(TAKEN),
                }
            });
        }
        Ok(plan)
    }
}

impl Extras for Lvm2 {
    fn suits(&self, view: &View) -> Result<()> {
        view.program("lvm").map(drop).map_err(Into::into)
    }
}

/// The groups that start has taken.
fn taken(view: &View) -> Result<Vec<String>, Damaged> {
    let names = |text: &str| -> Option<Vec<String>> {
        let name = |line: &str| lvm::is_name(line).then(|| line.to_owned());
        text.lines().map(name).collect()
    };
    Ok(view.record(TAKEN, names)?.unwrap_or_default())
}

impl Lvm2 {
    fn seen(&self, view: &View, group: &str) -> Result<(Target, Seen)> {
        let target = Target::whole(group, !self.request.probe);
        let seen = target.look(view)?;
        Ok((target, seen))
    }

    fn names(&self) -> Option<&[GroupName]> {
        self.params.groups.as_ref().map(|names| names.0.as_slice())
    }

    /// Whether an active group is one of those that we are there for.
    fn is_meant(&self, mapper: &Mapper<'_>, group: &str, volumes: &[Volume]) -> Result<bool> {
        if let Some(names) = self.names() {
            return Ok(names.iter().any(|name| name.as_str() == group));
        }
        let mut on_drbd = false;
        for number in volumes.iter().flat_map(|volume| volume.devices.iter()) {
            let bottom = mapper.bottom(*number)?;
            if bottom.iter().any(|disk| disk.major != DRBD) {
                // One look is enough to tell a group of the node's own.
                return Ok(false);
            }
            on_drbd |= !bottom.is_empty();
        }
        Ok(on_drbd)
    }

    /// The groups that start is to activate.
    fn candidates(&self, view: &View) -> Result<Vec<Group>> {
        let mut groups = report::groups(view)?;
        if let Some(names) = self.names() {
            for name in names.iter().map(GroupName::as_str) {
                if !groups.iter().any(|group| group.name == name) {
                    bail!("volume group {name} is not to be seen");
                }
            }
            groups.retain(|group| names.iter().any(|name| name.as_str() == group.name));
            return Ok(groups);
        }
        let mapper = Mapper::open(view)?;
        let on_drbd = |disk: &Number| match &mapper {
            Ok(mapper) => mapper
                .bottom(*disk)
                .is_ok_and(|bottom| bottom.iter().all(|disk| disk.major == DRBD)),
            Err(_) => disk.major == DRBD,
        };
        let lies_there = |place: &Option<Number>| place.as_ref().is_some_and(on_drbd);
        let mut found = Vec::new();
        for group in groups {
            match places(view, &group) {
                Ok(places) if !places.is_empty() && places.iter().all(lies_there) => {
                    found.push(group);
                }
                Err(err) if group.disks.iter().any(|disk| lies_there(&disk.number)) => {
                    return Err(err);
                }
                // The node's own; what is wrong with it is no business of ours.
                Ok(_) | Err(_) => {}
            }
        }
        if found.is_empty() {
            bail!(
                "no volume group to be seen lies on DRBD devices: is DRBD promoted here, and does LVM's filter let it see them?"
            );
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
