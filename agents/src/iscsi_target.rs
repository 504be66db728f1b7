//! `iSCSITarget`: a target of the kernel's LIO, without its disks; or of tgt, where
//! that is asked for (`on_tgt.rs`).
//!
//! A target is known by its name, which the kernel keeps and nobody can change.
//! It runs when the kernel has it open, at each address that was asked for, and
//! asks for a password where one was set. What a start that was cut short has
//! made is completed by the next.
//!
//! The shell agent calls targetcli, which starts an interpreter and walks
//! through all of LIO for each address and each initiator. It takes a target
//! that is there and closed for stopped, and then never removes it.

mod on_tgt;

use crate::covered;
use crate::iscsi::{DISK, Implementation, Initiators, Iqn, Portals, Settings, suits_tgt};
use anyhow::Result;
use common::host::credentials::Credentials;
use common::host::lio::portal::Portal;
use common::host::lio::{self, Group, Lio, acl, build};
use common::host::tasks::Tasks;
use common::host::{configfs, module};
use common::{
    Absent, Agent, Extras, Fact, Plan, Request, Role, Status, System, View, configured, installed,
};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words, params};

params! {
    /// What the agent is given.
    pub struct ISCSITargetParams {
        /// Name of the target.
        ///
        /// As iqn.YEAR-MONTH.DOMAIN:NAME, in small letters as it goes over the wire.
        [required, names, unique, position = 1] iqn: Iqn,
        /// Addresses to listen at.
        ///
        /// With blanks between them, each with or without a port: 10.0.0.9:3260, [fd00::9]:3260. Without brackets, what is behind the last colon of an IPv6 address is the port. The default means all addresses of both kinds, as far as this host has them; an address that is named has to be listened at. tgtd listens where it was started to.
        [position = 2] portals: Portals = "0.0.0.0:3260",
        /// Addresses among them that take iSER.
        ///
        /// With blanks between them. Where this host cannot do it, iSCSI over TCP is served there, and the log says so.
        [] iser_portals: Option<Portals>,
        /// Initiators that may log in.
        ///
        /// Their names, with blanks between them; for tgt also addresses and networks, 10.0.0.0/24. Unset, every initiator may that can answer what is asked.
        [] allowed_initiators: Option<Initiators>,
        /// User that initiators have to be.
        ///
        /// For CHAP, with incoming_password.
        [unique] incoming_username: Option<String>,
        /// Password of that user.
        [] incoming_password: Option<String>,
        /// User that the target says it is.
        ///
        /// For mutual CHAP, with outgoing_password, besides the other two.
        [] outgoing_username: Option<String>,
        /// Password of that user.
        [] outgoing_password: Option<String>,
        /// Further settings of the target.
        ///
        /// As name=value, with blanks between them: MaxConnections=4 default_cmdsn_depth=128. The names are those of the files that LIO has for a target below param and attrib, or those that tgtadm sets for one; what is not known is passed over, and the log says so.
        [] additional_parameters: Option<Settings>,
        /// Which target.
        ///
        /// lio-t is the kernel's LIO, and lio the same; tgt is the program tgtd, which has to run.
        [] implementation: Implementation = "lio-t",
        /// Number of the target in tgtd.
        ///
        /// From 1. By default one that is free. LIO has no numbers for targets.
        [] tid: Option<u32>,
    }
}

static META: Meta = Meta {
    name: "iSCSITarget",
    shortdesc: "An iSCSI target of the kernel's LIO, or of tgt",
    longdesc: "Serves an iSCSI target with LIO, the target that each kernel has, or with tgt. Its disks are resources of their own, of the agent iSCSILogicalUnit.\n\n\
        In a group the target comes first, then its disks, and they are stopped the other way round. A client that logs in in between finds a disk missing, and may give an error to its file system. So let portblock close the port before all of them, and open it after the last: then clients wait, and go on where they were.\n\n\
        A stop closes the target, which ends its sessions, waits for them, and removes what belongs to the target. LUNs that are still in it go with it, and the log names them; the devices behind them are for their own resources to close.\n\n\
        Needs neither targetcli nor its service, target.service, which is best disabled: at boot it would open the cluster's disks before the cluster does.\n\n\
        With implementation=tgt the target is served by the program tgtd, which its own service starts at boot (systemctl enable --now tgt), with no target of the cluster's in /etc/tgt. When tgtd ends, all its targets have stopped.",
    params: ISCSITargetParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(20),
        STOP.timeout(20),
        MONITOR.timeout(20).every(10),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "p_target ocf:sturdy:iSCSITarget params iqn=iqn.2001-04.com.example:storage portals=10.0.0.9:3260",
        haresources: "IPaddr::10.0.0.9/24/eth0 iSCSITarget::iqn.2001-04.com.example:storage",
        by_hand: "iqn.2001-04.com.example:storage start",
    },
    differences: &[
        "implementation unset means LIO, whatever programs are installed; the shell agent takes the first of iet, tgt, lio, lio-t and scst whose program it finds. iet and scst are refused by a start, with code 6.",
        "No program is called, tgtadm neither. targetcli may be used beside it; the lock under which it numbers its stores is held.",
        "A target that is there and closed, or does not listen at an address that was named, has failed; the shell agent calls the first stopped, which leaves it there for ever, and does not look at addresses.",
        "A target that asks for no password although one is set has failed.",
        "A start completes what an earlier one has left half made.",
        "Addresses of IPv6 are taken, with and without brackets. With the default of portals the target listens at all addresses; the shell agent leaves that to iSCSILogicalUnit, which does not always do it.",
        "With tgt, tid may be left unset; a target whose name begins like another's is not taken for it; where allowed_initiators is unset everyone is admitted, whom the shell agent admits nobody; names of initiators are taken besides addresses. What a target tells of itself is not asked for at each monitor: who is admitted, and whose password is asked for, is.",
        "Where allowed_initiators is set and incoming_username is not, no password is asked for.",
        "outgoing_username and outgoing_password, for mutual CHAP, are new. Half a pair is refused.",
        "additional_parameters takes settings below attrib as well; who is asked for a password, and who may log in, is not among them.",
        "A user and password are in no program's words. There is no action reload.",
    ],
};

/// One target.
pub struct ISCSITarget {
    params: ISCSITargetParams,
}

/// What was seen.
#[derive(Debug)]
pub enum State {
    /// There is no such target, by a look that has proven it.
    Gone(Absent),
    /// It is there, under this name.
    There {
        /// The name as the kernel has it.
        iqn: String,
        /// What has been made of it.
        group: Option<Group>,
    },
    /// The same, of tgt.
    Tgt(on_tgt::Seen),
}

impl Agent for ISCSITarget {
    const META: &'static Meta = &META;
    type Params = ISCSITargetParams;
    type State = State;

    fn new(params: ISCSITargetParams, _request: &Request) -> Result<Self> {
        Ok(Self { params })
    }

    fn observe(&self, view: &View) -> Result<State> {
        if self.is_tgt() {
            return self.observe_tgt(view).map(State::Tgt);
        }
        let lio = match Lio::open(view)? {
            Ok(lio) => lio,
            Err(absent) => return Ok(State::Gone(absent)),
        };
        match lio.spelled(&self.params.iqn.0)? {
            Ok(iqn) => Ok(State::There { group: lio.group(&iqn)?.flatten(), iqn }),
            Err(absent) => Ok(State::Gone(absent)),
        }
    }

    fn status(&self, state: &State) -> Status {
        let group = match state {
            State::Gone(absent) => return Status::Stopped(absent.clone()),
            State::There { group, .. } => group,
            State::Tgt(seen) => return self.status_tgt(seen),
        };
        match self.fault(group.as_ref()) {
            Some(reason) => Status::Failed(Role::Started, reason),
            None => Status::Running(Role::Started),
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let (iqn, group) = match state {
            State::There { iqn, group } => (iqn, group),
            State::Tgt(seen) => return self.facts_tgt(seen),
            State::Gone(_) => return Vec::new(),
        };
        let Some(group) = group else { return vec![Fact::new("target", format!("{iqn}: begun"))] };
        let switch = if group.is_enabled { "open" } else { "closed" };
        let whom = match (group.admits_all, group.asks_for_secret) {
            (true, false) => "for everyone",
            (true, true) => "for everyone with the password",
            (false, false) => "for those listed",
            (false, true) => "for those listed, with the password",
        };
        let places = group.portals.join(", ");
        vec![Fact::new("target", format!("{iqn}: {switch} {whom}, at {places}"))]
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let (iqn, group) = match from {
            State::Gone(_) => (self.params.iqn.0.clone(), None),
            State::There { iqn, group } => (iqn.clone(), group.clone()),
            State::Tgt(_) => return self.start_tgt(view),
        };
        let is_open = group.as_ref().is_some_and(|group| group.is_enabled);
        let mut plan = Plan::new();
        if is_open && !self.asks_as_wanted(group.as_ref()) {
            // What is asked is settled by the opening.
            close(&mut plan, iqn.clone());
        }
        plan.step("load the kernel's iSCSI target", build::load);
        let name = iqn.clone();
        plan.step(format!("make target {iqn}"), move |system| {
            build::complete_target(system, &name)
        });
        let name = iqn.clone();
        plan.step(self.question(), move |system| {
            build::ask(system, &name, self.incoming().as_ref(), self.outgoing().as_ref())
        });
        let name = iqn.clone();
        plan.step(format!("admit {}", self.whom()), move |system| self.admit(system, &name));
        if let Some(settings) = &self.params.additional_parameters {
            let name = iqn.clone();
            let shown: Vec<String> =
                settings.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
            plan.step(format!("set {}", shown.join(", ")), move |system| self.set(system, &name));
        }
        let name = iqn.clone();
        let places: Vec<String> = self.params.portals.0.iter().map(Portal::to_string).collect();
        let places = if self.is_default() { "every address".into() } else { places.join(", ") };
        plan.step(format!("listen at {places}"), move |system| self.listen(system, &name));
        plan.step(format!("open {iqn}"), move |system| build::open(system, &iqn, true));
        Ok(plan)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let (iqn, group) = match from {
            State::There { iqn, group } => (iqn, group),
            State::Tgt(seen) => return Ok(self.stop_tgt(seen)),
            State::Gone(_) => return Ok(plan),
        };
        if group.is_some() {
            close(&mut plan, iqn.clone());
            let name = iqn.clone();
            plan.step(format!("listen at no address for {iqn}"), move |system| {
                build::remove_portals(system, &name)
            });
        }
        // What hangs there must not keep the target from being closed.
        let left = left_in(view, iqn).unwrap_or_else(|_| "LUNs that cannot be listed".into());
        let what = match left.as_str() {
            "" => format!("remove target {iqn}"),
            left => format!("remove target {iqn}, with {left}"),
        };
        let iqn = iqn.clone();
        plan.step(what, move |system| {
            if !left.is_empty() {
                system.warn(format_args!(
                    "{iqn} is removed with {left} still in it; what they show stays open until its \
                     own resource is stopped"
                ));
            }
            build::remove_target(system, &iqn)
        });
        Ok(plan)
    }
}

impl Extras for ISCSITarget {
    const TASKS: Tasks = configfs::carry_out;

    fn uncover<'a>(&'a self, view: &View) -> Plan<'a> {
        if self.is_tgt() {
            return Plan::new();
        }
        covered::mount(view, lio::MODULE)
    }

    fn validate(&self) -> Result<()> {
        let params = &self.params;
        params.implementation.check()?;
        if self.is_tgt() {
            self.validate_for_tgt()?;
        } else if let Some(initiators) = &params.allowed_initiators {
            initiators.check_for_lio()?;
        }
        let pairs = [
            ("incoming", &params.incoming_username, &params.incoming_password),
            ("outgoing", &params.outgoing_username, &params.outgoing_password),
        ];
        for (which, user, secret) in pairs {
            if user.is_some() != secret.is_some() {
                return Err(configured(format!(
                    "parameters {which}_username and {which}_password belong together: set both or none"
                )));
            }
            let credentials = credentials(user, secret);
            if let Some(fault) = credentials.as_ref().and_then(Credentials::fault) {
                return Err(configured(format!(
                    "parameter {which}_username or {which}_password {fault}"
                )));
            }
        }
        if self.outgoing().is_some() && self.incoming().is_none() {
            return Err(configured(
                "parameter outgoing_username needs incoming_username: the target answers only to who has answered it",
            ));
        }
        if self.outgoing().is_some() && params.outgoing_password == params.incoming_password {
            return Err(configured(
                "parameters incoming_password and outgoing_password are the same, which initiators refuse",
            ));
        }
        let iser = params.iser_portals.iter().flat_map(|portals| &portals.0);
        let mut unlisted = iser.filter(|portal| !self.has_portal(portal));
        match unlisted.next() {
            Some(portal) if !self.is_default() => Err(configured(format!(
                "parameter iser_portals has {portal}, which is not among portals"
            ))),
            _ => Ok(()),
        }
    }

    fn suits(&self, view: &View) -> Result<()> {
        if self.is_tgt() {
            return suits_tgt(view);
        }
        module::can_load(view, "iscsi_target_mod").map_err(|err| installed(format!("{err:#}")))
    }

    fn advice(&self, view: &View, state: &State) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let State::Tgt(seen) = state {
            return self.advice_tgt(seen);
        }
        if let State::There { iqn, .. } = state
            && let Ok(Ok(lio)) = Lio::open(view)
            && let Ok(sessions) = lio.sessions(iqn)
            && !sessions.is_empty()
        {
            facts.push(Fact::new("logged in", sessions.join(", ")));
        }
        let wants = "/etc/systemd/system/multi-user.target.wants/";
        let units = ["target.service", "rtslib-fb-targetctl.service"];
        for unit in units {
            if view.exists(format!("{wants}{unit}")).unwrap_or(false) {
                facts.push(Fact::new(
                    "at boot",
                    format!("{unit} opens what targetcli has saved before the cluster does: systemctl disable {unit}"),
                ));
            }
        }
        facts
    }
}

/// The step that closes the target and waits for its sessions to end.
fn close(plan: &mut Plan<'_>, iqn: String) {
    plan.step(format!("close {iqn}, which ends its sessions"), move |system| {
        build::open(system, &iqn, false)?;
        build::until_alone(system, &iqn)
    });
}

/// The LUNs that are still in the target, in words.
fn left_in(view: &View, iqn: &str) -> Result<String> {
    const SHOWN: usize = 8;
    let Ok(lio) = Lio::open(view)? else { return Ok(String::new()) };
    let luns = lio.luns(iqn, DISK)?;
    let mut words: Vec<String> = luns
        .iter()
        .take(SHOWN)
        .map(|lun| match &lun.store {
            Some((_, store)) => format!("LUN {} ({}/{})", lun.number, store.adapter, store.name),
            None => format!("LUN {}", lun.number),
        })
        .collect();
    if luns.len() > SHOWN {
        words.push(format!("{} more", luns.len() - SHOWN));
    }
    Ok(words.join(", "))
}

fn credentials(user: &Option<String>, secret: &Option<String>) -> Option<Credentials> {
    Some(Credentials { user: user.clone()?, secret: secret.clone()? })
}

impl ISCSITarget {
    fn incoming(&self) -> Option<Credentials> {
        credentials(&self.params.incoming_username, &self.params.incoming_password)
    }

    fn question(&self) -> String {
        match self.incoming() {
            Some(incoming) => format!("ask for the password of {}", incoming.user),
            None => "ask for no password".into(),
        }
    }

    fn outgoing(&self) -> Option<Credentials> {
        credentials(&self.params.outgoing_username, &self.params.outgoing_password)
    }

    fn initiators(&self) -> &[String] {
        self.params.allowed_initiators.as_ref().map_or(&[], |list| &list.names)
    }

    fn whom(&self) -> String {
        match &self.params.allowed_initiators {
            Some(list) if !list.is_empty() => list.to_string(),
            _ => "every initiator".into(),
        }
    }

    /// Whether it is to listen at whatever this host has.
    fn is_default(&self) -> bool {
        self.params.portals.0.iter().all(|portal| *portal == Portal::ALL_V4)
    }

    fn has_portal(&self, portal: &Portal) -> bool {
        self.params.portals.0.contains(portal)
    }

    fn asks_as_wanted(&self, group: Option<&Group>) -> bool {
        group.is_some_and(|group| group.asks_for_secret) || self.incoming().is_none()
    }

    /// What is not as a start has left it.
    fn fault(&self, group: Option<&Group>) -> Option<String> {
        let iqn = &self.params.iqn.0;
        let Some(group) = group else { return Some(format!("{iqn} has been begun only")) };
        if !group.is_enabled {
            return Some(format!("{iqn} is closed"));
        }
        if !self.asks_as_wanted(Some(group)) {
            return Some(format!("{iqn} asks for no password, though incoming_password is set"));
        }
        if group.admits_all && !self.initiators().is_empty() {
            return Some(format!("{iqn} admits every initiator, though allowed_initiators is set"));
        }
        let found: Vec<Portal> =
            group.portals.iter().filter_map(|name| Portal::parse(name)).collect();
        if group.portals.is_empty() {
            return Some(format!("{iqn} listens at no address"));
        }
        let mut wanted = self.params.portals.0.iter();
        match wanted.find(|portal| !found.contains(portal)) {
            Some(portal) if !self.is_default() => Some(format!(
                "{iqn} does not listen at {portal}, only at {}",
                group.portals.join(", ")
            )),
            _ => None,
        }
    }

    fn admit(&self, system: &System<'_>, iqn: &str) -> Result<()> {
        let (incoming, outgoing) = (self.incoming(), self.outgoing());
        for initiator in self.initiators() {
            acl::admit(system, iqn, initiator, incoming.as_ref(), outgoing.as_ref())?;
        }
        build::admit_all(system, iqn, self.initiators().is_empty())
    }

    fn set(&self, system: &System<'_>, iqn: &str) -> Result<()> {
        /// Who may log in is said by parameters of their own.
        const OURS: &[&str] = &["authentication", "generate_node_acls", "cache_dynamic_acls"];
        let settings = self.params.additional_parameters.iter().flat_map(|list| &list.0);
        for (name, value) in settings {
            if OURS.contains(&name.as_str()) {
                system.warn(format_args!(
                    "additional_parameters: {name} follows from incoming_username and allowed_initiators; ignored"
                ));
            } else if !build::setting(system, iqn, name, value)? {
                system.warn(format_args!("additional_parameters: LIO has no {name}; ignored"));
            }
        }
        Ok(())
    }

    fn listen(&self, system: &System<'_>, iqn: &str) -> Result<()> {
        if self.is_default() {
            self.listen_everywhere(system, iqn)?;
        } else {
            for portal in &self.params.portals.0 {
                listen_at(system, iqn, portal)?;
            }
        }
        let iser = self.params.iser_portals.iter().flat_map(|portals| &portals.0);
        for portal in iser {
            if let Err(err) = build::iser(system, iqn, &portal.to_string()) {
                system.warn(format_args!("{portal} cannot take iSER: {err:#}"));
            }
        }
        Ok(())
    }

    /// At all addresses, of either kind that this host has.
    fn listen_everywhere(&self, system: &System<'_>, iqn: &str) -> Result<()> {
        let lio = Lio::open(system)?.ok();
        let there = lio.map(|lio| lio.group(iqn)).transpose()?.flatten().flatten();
        if there.is_some_and(|group| !group.portals.is_empty()) {
            return Ok(());
        }
        let v6 = build::portal(system, iqn, &Portal::ALL_V6.to_string());
        let only = system.read("/proc/sys/net/ipv6/bindv6only").unwrap_or_default();
        if v6.is_ok() && only.trim() != "1" {
            // One takes the other with it.
            return Ok(());
        }
        match (v6, listen_at(system, iqn, &Portal::ALL_V4)) {
            (Ok(()), _) | (_, Ok(())) => Ok(()),
            (Err(_), Err(err)) => Err(err),
        }
    }
}

/// Listens at an address, or says who is in the way.
fn listen_at(system: &System<'_>, iqn: &str, portal: &Portal) -> Result<()> {
    let Err(err) = build::portal(system, iqn, &portal.to_string()) else { return Ok(()) };
    Err(match in_the_way(system, iqn, portal) {
        Ok(Some(other)) => err.context(format!("{portal} cannot be listened at beside {other}")),
        _ => err.context(format!("cannot listen at {portal}")),
    })
}

/// The other target's address that keeps this one from being listened at.
fn in_the_way(view: &View, iqn: &str, portal: &Portal) -> Result<Option<String>> {
    let Ok(lio) = Lio::open(view)? else { return Ok(None) };
    for other in lio.targets()?.iter().filter(|other| *other != iqn) {
        let group = lio.group(other)?.flatten().unwrap_or_default();
        let conflicts = |name: &&String| {
            Portal::parse(name).is_some_and(|there| there.is_in_the_way_of(portal))
        };
        if let Some(name) = group.portals.iter().find(conflicts) {
            return Ok(Some(format!("{name} of {other}")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
