//! The same on tgt, where it is asked for.
//!
//! tgtd is asked over its socket; a target is known by its name, which tgtd
//! never changes. It takes logins from the last step of a start on, and tells
//! who comes earlier to come again.

use super::ISCSITarget;
use crate::iscsi::{check_for_tgt, suits_tgt};
use anyhow::Result;
use common::host::lio::portal::Portal;
use common::host::tgt::change;
use common::host::tgt::{self, Target};
use common::{Absent, Fact, Plan, Role, Status, View, configured};

/// Whom tgtd admits where nobody is named.
const ALL: &str = "ALL";

/// What opens and closes a target, among what can be set of it.
const STATE: &str = "state";

/// What was seen.
#[derive(Debug)]
pub enum Seen {
    /// There is no such target, by a look that has proven it.
    Gone(Absent),
    /// It is there.
    There(Target),
}

impl ISCSITarget {
    pub(super) fn is_tgt(&self) -> bool {
        self.params.implementation.is_tgt()
    }

    pub(super) fn observe_tgt(&self, view: &View) -> Result<Seen> {
        Ok(match tgt::target(view, &self.params.iqn.0)? {
            Ok(target) => Seen::There(target),
            Err(absent) => Seen::Gone(absent),
        })
    }

    pub(super) fn status_tgt(&self, seen: &Seen) -> Status {
        match seen {
            Seen::Gone(absent) => Status::Stopped(absent.clone()),
            Seen::There(target) => match self.fault_tgt(target) {
                Some(fault) => Status::Failed(Role::Started, fault),
                None => Status::Running(Role::Started),
            },
        }
    }

    /// What is not as a start has left it.
    fn fault_tgt(&self, target: &Target) -> Option<String> {
        let iqn = &target.iqn;
        if !target.is_ready {
            return Some(format!("{iqn} is closed"));
        }
        let incoming = self.incoming();
        if let Some(incoming) = &incoming
            && !target.users.contains(&incoming.user)
        {
            return Some(format!("{iqn} does not ask for the password of {}", incoming.user));
        }
        let is_other =
            |user: &&String| incoming.as_ref().is_none_or(|incoming| incoming.user != **user);
        if let Some(user) = target.users.iter().find(is_other) {
            return Some(format!(
                "{iqn} lets in who knows the password of {user}, which is not set"
            ));
        }
        let wanted = self.admitted();
        match wanted.iter().find(|one| !target.admitted.contains(one)) {
            Some(one) => Some(format!("{iqn} does not admit {one}")),
            None => {
                let more = target.admitted.iter().find(|one| !wanted.contains(one))?;
                Some(format!("{iqn} admits {more}, which allowed_initiators does not have"))
            }
        }
    }

    /// Whom tgtd is to admit, in its words.
    fn admitted(&self) -> Vec<String> {
        match &self.params.allowed_initiators {
            Some(list) if !list.is_empty() => {
                list.names.iter().chain(&list.addresses).cloned().collect()
            }
            _ => vec![ALL.into()],
        }
    }

    pub(super) fn start_tgt<'a>(&'a self, view: &View) -> Result<Plan<'a>> {
        suits_tgt(view)?;
        let iqn = &self.params.iqn.0;
        let mut plan = Plan::new();
        plan.step(format!("make target {iqn} in tgtd, closed"), move |system| {
            change::target(system, iqn, self.params.tid)
        });
        if !self.is_default() {
            plan.step("pass over portals, which are tgtd's for all its targets", |system| {
                let places: Vec<String> =
                    self.params.portals.0.iter().map(Portal::to_string).collect();
                system.warn(format_args!(
                    "portals={}: tgtd listens where it was started to, for all its targets; ignored",
                    places.join(" ")
                ));
                Ok(())
            });
        }
        plan.step(self.question(), move |system| {
            let (incoming, outgoing) = (self.incoming(), self.outgoing());
            let shared = change::ask_for(system, iqn, incoming.as_ref(), outgoing.as_ref())?;
            for user in shared {
                system.warn(format_args!(
                    "user {user} is known to tgtd for another target as well, and keeps the \
                     password that was set there: tgtd holds one for each user"
                ));
            }
            Ok(())
        });
        for (name, value) in self.params.additional_parameters.iter().flat_map(|list| &list.0) {
            plan.step(format!("set {name}={value}"), move |system| {
                // It is opened by the last step.
                if name == STATE || !change::setting(system, iqn, name, value)? {
                    system.warn(format_args!(
                        "additional_parameters: tgtd takes no {name}={value}; ignored"
                    ));
                }
                Ok(())
            });
        }
        let admitted = self.admitted();
        plan.step(format!("admit {}", self.whom()), move |system| {
            change::admit(system, iqn, &admitted)
        });
        plan.step(format!("open {iqn}"), move |system| change::open(system, iqn, true));
        Ok(plan)
    }

    pub(super) fn stop_tgt<'a>(&'a self, seen: &Seen) -> Plan<'a> {
        let mut plan = Plan::new();
        let Seen::There(target) = seen else { return plan };
        let iqn = &self.params.iqn.0;
        plan.step(format!("close {iqn}, which ends its sessions"), move |system| {
            change::open(system, iqn, false)?;
            change::end_sessions(system, iqn)
        });
        let left = left_in(target);
        plan.step(format!("remove target {iqn}{left}"), move |system| {
            if !left.is_empty() {
                system.warn(format_args!("{iqn} is removed{left} still in it"));
            }
            change::remove_target(system, iqn)
        });
        let users: Vec<String> =
            target.users.iter().chain(&target.outgoing_user).cloned().collect();
        if !users.is_empty() {
            plan.step(format!("forget {}", users.join(" and ")), move |system| {
                change::forget_users(system, iqn, &users)
            });
        }
        plan
    }

    pub(super) fn facts_tgt(&self, seen: &Seen) -> Vec<Fact> {
        let Seen::There(target) = seen else { return Vec::new() };
        let switch = if target.is_ready { "open" } else { "closed" };
        let asks = match target.users.as_slice() {
            [] => String::new(),
            users => format!(", with the password of {}", users.join(" or ")),
        };
        let shown = format!(
            "{} (tid {} of tgtd): {switch} for {}{asks}",
            target.iqn,
            target.tid,
            target.admitted.join(", ")
        );
        vec![Fact::new("target", shown)]
    }

    pub(super) fn advice_tgt(&self, seen: &Seen) -> Vec<Fact> {
        match seen {
            Seen::There(target) if !target.initiators.is_empty() => {
                vec![Fact::new("logged in", target.initiators.join(", "))]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn validate_for_tgt(&self) -> Result<()> {
        let params = &self.params;
        if params.tid == Some(0) {
            return Err(configured("parameter tid is 0, and tgtd counts from 1"));
        }
        if params.iser_portals.is_some() {
            return Err(configured("parameter iser_portals is for LIO"));
        }
        let users = [
            ("incoming_username", &params.incoming_username),
            ("outgoing_username", &params.outgoing_username),
        ];
        check_for_tgt(users.iter().filter_map(|(name, user)| Some((*name, user.as_deref()?))))
    }
}

/// The LUNs that are still in the target, in words.
fn left_in(target: &Target) -> String {
    let luns: Vec<String> = target
        .luns
        .iter()
        .filter(|lun| lun.number != 0)
        .map(|lun| format!("LUN {} ({})", lun.number, lun.path.as_deref().unwrap_or("empty")))
        .collect();
    if luns.is_empty() { String::new() } else { format!(", with {}", luns.join(", ")) }
}
