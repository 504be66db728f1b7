//! `drbddisk`: makes a DRBD resource Primary on one node.
//!
//! The resource itself is brought up by DRBD's own init script or unit; this
//! agent changes the role only. The role is read from the kernel by netlink.
//! `drbdadm` changes it, and `drbdsetup` where the configuration is broken.
//!
//! The script of this name that came with DRBD asked `drbdadm` for the role
//! and took a resource with two volumes, or one of DRBD 9 without `drbdadm`,
//! for unconfigured or unknown.

use crate::drbd::advice::advice;
use crate::drbd::connection::until_connected;
use crate::drbd::facts::{facts_of, in_use};
use crate::drbd::name::Name;
use anyhow::Result;
use common::host::absence::Whole;
use common::host::drbd::tool::{self, Admin};
use common::host::drbd::{self, DrbdRole, Found, Peer, Resource};
use common::{Absent, Agent, Extras, Fact, Plan, Request, Status, System, View, installed};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words, params};
use std::time::Duration;

params! {
    /// What the agent is given.
    pub struct DrbddiskParams {
        /// DRBD resource.
        ///
        /// Its name in the DRBD configuration; dots may be in it. `all`, the default, stands for every resource, and can be started and stopped but has no status in heartbeat.
        [names, unique, position = 1] drbd_resource: Name = "all",
    }
}

/// How often a resource is told to become Primary: the cluster may know of a
/// peer's death before DRBD does.
const PRIMARY_TRIES: u32 = 6;

/// How often it is told to become Secondary: udev may have it open for a
/// moment.
const SECONDARY_TRIES: u32 = 3;

/// A peer whose link comes back is given what it has missed: it may be the one
/// that is to take over, and DRBD would make two histories of one. Its attempts
/// to connect are up to 10 s apart.
const REUNION: Duration = Duration::from_secs(10);

/// One DRBD resource, or all of them.
pub struct Drbddisk {
    resource: String,
}

/// What the kernel has.
#[derive(Debug)]
pub enum State {
    /// Of the one resource.
    One(Found),
    /// Of all, unless there is no DRBD in it.
    All(Result<Whole<Resource>, Absent>),
}

impl Agent for Drbddisk {
    const META: &'static Meta = &Meta {
        name: "drbddisk",
        shortdesc: "Makes a DRBD resource Primary on one node",
        longdesc: "Makes a DRBD resource Primary on the node where it is started, and Secondary where it is stopped. DRBD itself, its configuration and the connection to the peer are not the agent's concern: they have to be up on both nodes, as DRBD's own service brings them up. Where the peer is not connected, stop gives it up to 10 s to come back for what it has missed.\n\nMeant for heartbeat's haresources, for use by hand, and for clusters in which one primitive resource is enough. Where Pacemaker is to run DRBD on all nodes and promote one, use the agent drbd.",
        params: DrbddiskParams::TABLE,
        words: Words::Positions,
        actions: &[
            START.timeout(60),
            STOP.timeout(60),
            MONITOR.timeout(20).every(20),
            VALIDATE_ALL,
            META_DATA,
        ],
        examples: Examples {
            pacemaker: "p_r1 ocf:sturdy:drbddisk params drbd_resource=r1",
            haresources: "drbddisk::r1",
            by_hand: "r1 start",
        },
        differences: &[
            "The role is read from the kernel and not from drbdadm, so that a status takes no process and does not depend on the configuration.",
            "DRBD 8.4 and 9. With an older module start fails with code 5, and monitor and stop fail, since nothing is known of the resource.",
            "A resource with several volumes is running as soon as one of them is Primary; if others are not, monitor says which.",
            "Stop of a resource that the kernel does not have succeeds at once.",
            "A stop that fails because the device is in use says who uses it.",
            "Where drbd.conf is broken or lacks the resource, drbdsetup is used instead of drbdadm.",
            "A name with characters that DRBD does not take, or that begins with a dash, is refused with exit code 6.",
            "There is no file /etc/default/drbd that could name another drbdadm; PATH decides.",
        ],
    };
    type Params = DrbddiskParams;
    type State = State;

    fn new(params: DrbddiskParams, _request: &Request) -> Result<Self> {
        Ok(Self { resource: params.drbd_resource.0 })
    }

    fn observe(&self, view: &View) -> Result<State> {
        Ok(match self.is_all() {
            true => State::All(drbd::all(view)?),
            false => State::One(drbd::find(view, &self.resource)?),
        })
    }

    fn status(&self, state: &State) -> Status {
        let started = common::Role::Started;
        let known = state.resources();
        if let Some(absent) = state.demoted() {
            return Status::Stopped(absent);
        }
        let Some(primary) = known.iter().find(|resource| resource.is_primary()) else {
            return Status::Failed(started, format!("the role of {} is not known", self.resource));
        };
        if let Some(other) = known.iter().find(|resource| !resource.is_primary()) {
            let reason = format!("{} is Primary and {} is not", primary.name, other.name);
            return Status::Failed(started, reason);
        }
        let torn = known
            .iter()
            .find_map(|resource| Some((resource, resource.laggards().first()?.to_owned())));
        match torn {
            Some((resource, volume)) => {
                let name = &resource.name;
                Status::Failed(
                    started,
                    format!("volume {volume} of {name} is not Primary, others are"),
                )
            }
            None => Status::Running(started),
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        match state {
            State::One(Found::NoModule(_)) | State::All(Err(_)) => {
                vec![Fact::new("drbd", "not in this kernel")]
            }
            State::One(Found::Unconfigured(_)) => vec![Fact::new("role", "Unconfigured")],
            _ => state.resources().iter().flat_map(facts_of).collect(),
        }
    }

    fn start<'a>(&'a self, _view: &View, from: &State) -> Result<Plan<'a>> {
        if let State::One(Found::NoModule(_)) | State::All(Err(_)) = from {
            return Err(installed("there is no DRBD in this kernel: load the module drbd"));
        }
        let mut plan = Plan::new();
        let known = match from {
            State::One(Found::Configured(resource)) => Some(resource.clone()),
            _ => None,
        };
        plan.step(format!("make DRBD resource {} Primary", self.resource), move |system| {
            make_primary(system, &self.admin(system), known.as_ref())
        });
        Ok(plan)
    }

    fn stop<'a>(&'a self, _view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        for resource in from.resources().iter().filter(|resource| resource.is_primary()) {
            if resource.peers.iter().any(Peer::is_awaited) {
                let name = resource.name.clone();
                let what = format!("wait up to {} s for the peer of {name}", REUNION.as_secs());
                plan.step(what, move |system| {
                    until_connected(system, &name, None, REUNION);
                    Ok(())
                });
            }
            let resource = resource.clone();
            plan.step(format!("make DRBD resource {} Secondary", resource.name), move |system| {
                let admin = Admin::of(system, &resource.name, None);
                make_secondary(system, &admin, &resource)
            });
        }
        Ok(plan)
    }
}

impl Extras for Drbddisk {
    fn suits(&self, view: &View) -> Result<()> {
        view.program("drbdadm")?;
        Ok(())
    }

    fn advice(&self, view: &View, state: &State) -> Vec<Fact> {
        state.resources().iter().flat_map(|resource| advice(view, resource)).collect()
    }

    fn word(&self, state: &State) -> Option<&'static str> {
        match state {
            State::One(Found::Configured(resource)) if resource.is_primary() => Some("Primary"),
            State::One(Found::Configured(_)) => Some("Secondary"),
            State::One(_) => Some("Unconfigured"),
            State::All(_) => None,
        }
    }

    fn no_status(&self) -> Option<(u8, &'static str)> {
        let why = "status needs the name of a resource: drbddisk RESOURCE status";
        self.is_all().then_some((10, why))
    }
}

impl Drbddisk {
    fn is_all(&self) -> bool {
        self.resource == "all"
    }

    /// `all` is what `drbdadm` takes for it: the resources that are not
    /// stacked.
    fn admin(&self, view: &View) -> Admin {
        match self.is_all() {
            true => Admin::new(&self.resource),
            false => Admin::of(view, &self.resource, None),
        }
    }
}

impl State {
    /// Proof that none of them is Primary.
    fn demoted(&self) -> Option<Absent> {
        match self {
            Self::One(found) => found.demoted(),
            Self::All(Ok(resources)) => resources.lacks(Resource::is_primary),
            Self::All(Err(absent)) => Some(absent.clone()),
        }
    }

    fn resources(&self) -> &[Resource] {
        match self {
            Self::One(Found::Configured(resource)) => std::slice::from_ref(resource),
            Self::All(Ok(resources)) => resources,
            _ => &[],
        }
    }
}

/// Tells a resource to become Primary, as often as is worthwhile.
pub(crate) fn make_primary(
    system: &System<'_>,
    admin: &Admin,
    known: Option<&Resource>,
) -> Result<()> {
    let attempt = || admin.set_role(system, DrbdRole::Primary, known);
    tool::persist(system, PRIMARY_TRIES, attempt, |_| Ok(true))
}

/// Tells a resource to become Secondary, and says who is in the way.
pub(crate) fn make_secondary(
    system: &System<'_>,
    admin: &Admin,
    resource: &Resource,
) -> Result<()> {
    let attempt = || admin.set_role(system, DrbdRole::Secondary, Some(resource));
    tool::persist(system, SECONDARY_TRIES, attempt, |_| Ok(true))
        .map_err(|err| in_use(system, resource, err))
}

#[cfg(test)]
mod tests;
