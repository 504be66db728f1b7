//! `drbd`: a DRBD resource on all of its nodes, promoted on one or two.
//!
//! State comes from the kernel, by netlink. `drbdadm` is called only to change
//! something, and `drbdsetup` where the configuration is broken and the
//! resource has to come down all the same. How fit the node is to be promoted
//! is worked out from the states of the disks and told to the cluster where it
//! has changed.
//!
//! The shell agent of this name (ocf:linbit:drbd) reads state through
//! `drbdsetup events2` or `drbdadm`, writes the score with every monitor, and
//! takes a disk that is being attached for one that is up to date.

pub mod advice;
pub mod clone;
pub mod facts;
pub mod name;
pub mod params;
pub mod score;

pub(crate) mod connection;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod start;
mod steps;
#[cfg(test)]
mod tests;

use anyhow::{Result, bail};
use clone::Cluster;
use common::host::drbd::tool::Admin;
use common::host::drbd::{self, DrbdRole, Found, Resource};
use common::{Agent, Extras, Fact, Plan, Promotion, Request, Status, View, configured, installed};
use ocf_meta::action::{
    DEMOTE, META_DATA, MONITOR, NOTIFY, PROMOTE, RELOAD_AGENT, START, STOP, VALIDATE_ALL,
};
use ocf_meta::{Examples, Meta, Params, Words};
use params::{DrbdParams, Version};
use score::ScoreChange;
use std::time::Duration;

/// One instance of the clone.
pub struct Drbd {
    params: DrbdParams,
    cluster: Cluster,
    promotion: Option<Promotion>,
    /// Whether the cluster asks as one that has just come up, and that may have
    /// forgotten what it was told of the score.
    is_asked_anew: bool,
}

/// A promotion of something that is not there fails after this long: the
/// cluster would try again at once.
const DAMPING: Duration = Duration::from_secs(15);

impl Agent for Drbd {
    const META: &'static Meta = &Meta {
        name: "drbd",
        shortdesc: "Runs a DRBD resource, and promotes it",
        longdesc: "Brings a DRBD resource up on all nodes of a promotable clone, makes it Primary where it is promoted, and tells the cluster by a promotion score how good the data of each node are.\n\nDRBD 8.4 and 9. The clone needs notify=true, clone-node-max=1 and promoted-node-max=1; promoted-max is 2 at most, and DRBD 8.4 has two nodes only. DRBD's own service must not bring the resource up.\n\nWhere the link was lost while another node was promoted, promote waits for it, and fails if it stays away while that node is in the cluster: what was written there is missing here. It waits 30 s for any other peer that the cluster has running.",
        params: DrbdParams::TABLE,
        words: Words::Positions,
        actions: &[
            START.timeout(240),
            STOP.timeout(100),
            PROMOTE.timeout(90),
            DEMOTE.timeout(90),
            NOTIFY.timeout(90),
            MONITOR.timeout(20).every(20).role("Unpromoted"),
            MONITOR.timeout(20).every(10).role("Promoted"),
            RELOAD_AGENT.timeout(30),
            VALIDATE_ALL,
            META_DATA,
        ],
        examples: Examples {
            pacemaker: "p_r1 ocf:sturdy:drbd params drbd_resource=r1",
            // The word is DRBD's init script there, which brings all resources up.
            haresources: "",
            by_hand: "r1 status",
        },
        differences: &[
            "State is read from the kernel and not through drbdadm or drbdsetup, so that a monitor runs no program and does not need the configuration.",
            "The promotion score is written when it changes, by a probe, by a start of what runs already, and otherwise every five minutes, instead of with every monitor.",
            "A disk that is being attached does not count as up to date.",
            "Monitor never fails with code 6 or 2: the limits of the clone are checked by start and promote.",
            "validate-all without a clone around it succeeds, as tools ask for it that way.",
            "allow-two-primaries missing in the configuration is code 5, since the configuration is a file of the node.",
            "A volume that is not Primary while others are makes monitor fail, so that a promotion cut short is recovered.",
            "A resource that has given up a peer (StandAlone), as after a split brain, is reported as degraded, with code 190 or 191 where the cluster knows them (Pacemaker 2.0.5), and otherwise by a warning in the log.",
            "A demotion that fails because the device is in use says who uses it.",
            "unfence-peer is called when the disks have become up to date and every five minutes, instead of with every monitor.",
            "The action is reload-agent, which the cluster calls for parameters that can be changed while running.",
        ],
    };
    type Params = DrbdParams;
    type State = Found;

    fn new(params: DrbdParams, request: &Request) -> Result<Self> {
        let (cluster, promotion) = (Cluster::of(request), Promotion::of(request));
        Ok(Self { params, cluster, promotion, is_asked_anew: request.probe })
    }

    fn observe(&self, view: &View) -> Result<Found> {
        drbd::find(view, &self.params.drbd_resource.0)
    }

    fn status(&self, found: &Found) -> Status {
        let resource = match found {
            Found::NoModule(absent) | Found::Unconfigured(absent) => {
                return Status::Stopped(absent.clone());
            }
            Found::Configured(resource) => match resource.idle() {
                Some(absent) => return Status::Stopped(absent),
                None => resource,
            },
        };
        let role = match resource.role {
            DrbdRole::Primary => common::Role::Promoted,
            _ => common::Role::Unpromoted,
        };
        if let Some(volume) = resource.laggards().first() {
            return Status::Failed(role, format!("volume {volume} is not Primary, others are"));
        }
        // Then it is alone on purpose.
        let waits = self.params.connect_only_after_promote && !resource.is_primary();
        match facts::parting(resource).filter(|_| !waits) {
            Some(parting) => Status::Degraded(role, parting),
            None => Status::Running(role),
        }
    }

    fn facts(&self, found: &Found) -> Vec<Fact> {
        match found {
            Found::NoModule(_) => vec![Fact::new("drbd", "not in this kernel")],
            Found::Unconfigured(_) => vec![Fact::new("role", "Unconfigured")],
            Found::Configured(resource) => {
                let mut facts = facts::facts_of(resource);
                facts.push(Fact::new("score", self.forecast(resource)));
                facts
            }
        }
    }

    fn start<'a>(&'a self, view: &View, found: &Found) -> Result<Plan<'a>> {
        self.cluster.check(self.params.ignore_missing_notifications)?;
        self.check_file(view)?;
        let name = &self.params.drbd_resource.0;
        let admin = self.checked_admin(view)?;
        if self.cluster.dual_primary {
            Self::check_dual_primary(&admin, view)?;
        }
        if self.params.adjust_master_score.is_default_for_nonsense {
            view.warn(format_args!(
                "adjust_master_score is not four rising numbers; 0 10 1000 10000 is used"
            ));
        }
        let mut plan = Plan::new();
        if let Found::NoModule(_) = found {
            plan.step("load the module drbd", Self::load_module);
            plan.step("check the module's version", |system| self.check_version(system));
        } else {
            self.check_version(view)?;
        }
        // Primary in part, as a stop or a demote leaves it that is killed.
        if let Some(resource) = running(found).filter(|resource| resource.is_primary()) {
            let resource = resource.clone();
            plan.step(format!("make DRBD resource {name} Secondary in all of it"), move |system| {
                self.secondary(system, &resource)
            });
        }
        self.plan_up(&mut plan, format!("bring DRBD resource {name} up"), admin);
        Ok(plan)
    }

    fn stop<'a>(&'a self, _view: &View, found: &Found) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let name = &self.params.drbd_resource.0;
        if let Found::Configured(resource) = found {
            if resource.is_primary() {
                let resource = resource.clone();
                plan.step(format!("make DRBD resource {name} Secondary"), move |system| {
                    self.secondary(system, &resource)
                });
            }
            plan.step(format!("take DRBD resource {name} down"), |system| {
                self.admin(system).down(system)
            });
            if self.params.stop_outdates_secondary && self.cluster.has_lasting_promoted_peer() {
                plan.step("mark the data here as outdated", |system| self.outdate(system));
            }
        }
        if self.promotion.is_some() {
            plan.step("take the promotion score away", |system| {
                self.set_score(system, None, "stopped");
                Ok(())
            });
        }
        Ok(plan)
    }
}

impl Extras for Drbd {
    fn validate(&self) -> Result<()> {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "-%+./:=@_".contains(c);
        match &self.params.drbdconf {
            Some(file) if !file.to_string_lossy().chars().all(is_fit) => {
                Err(configured("parameter drbdconf has a character that drbdadm does not take"))
            }
            _ => Ok(()),
        }
    }

    fn suits(&self, view: &View) -> Result<()> {
        view.program("drbdadm")?;
        view.program("drbdsetup")?;
        self.check_file(view)?;
        self.checked_admin(view).map(drop)
    }

    fn advice(&self, view: &View, found: &Found) -> Vec<Fact> {
        match found {
            Found::Configured(resource) => {
                let lacks = self.lacks(view, resource).into_iter().map(|node| {
                    let lack = format!(
                        "what was written on {node} is missing here: no promotion while {node} is \
                         in the cluster and DRBD is not connected to it"
                    );
                    Fact::new("advice", lack)
                });
                lacks.chain(advice::advice(view, resource)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn started<'a>(&'a self, view: &View, found: &Found) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let Some(resource) = running(found) else { return Ok(plan) };
        // Only a cluster counts on its being unpromoted after a start.
        if !self.cluster.is_clone() {
            return Ok(plan);
        }
        let name = &resource.name;
        if resource.is_primary() {
            let resource = resource.clone();
            let what = format!("make DRBD resource {name} Secondary: nobody has promoted it");
            plan.step(what, move |system| self.secondary(system, &resource));
            self.plan_score(&mut plan);
        } else if !resource.is_up(!self.params.connect_only_after_promote) {
            let what = format!("bring up what is missing of DRBD resource {name}");
            self.plan_up(&mut plan, what, self.admin(view));
        } else {
            self.plan_score(&mut plan);
        }
        Ok(plan)
    }

    fn upkeep<'a>(&'a self, view: &View, found: &Found, _level: u32) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let Found::Configured(resource) = found else { return Ok(plan) };
        let Some(promotion) = &self.promotion else { return Ok(plan) };
        let change = self.score_change(resource, || self.is_peer_expected(view));
        let Some((score, why)) = change.settled() else { return Ok(plan) };
        if self.is_asked_anew || promotion.is_stale(view, score) {
            plan.step("tell the promotion score", move |system| {
                self.set_score(system, score, why);
                Ok(())
            });
            if !self.is_asked_anew && self.wants_unfencing(resource) {
                plan.step("lift the constraint of a fencing that is over", |system| {
                    self.unfence(system);
                    Ok(())
                });
            }
        }
        Ok(plan)
    }

    fn found_stopped<'a>(&'a self, view: &View, _found: &Found) -> Plan<'a> {
        let mut plan = Plan::new();
        if self.promotion.as_ref().is_some_and(|promotion| promotion.is_stale(view, None)) {
            plan.step("take the promotion score away", |system| {
                self.set_score(system, None, "not running");
                Ok(())
            });
        }
        plan
    }

    fn promote<'a>(&'a self, view: &View, found: &Found) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let name = &self.params.drbd_resource.0;
        if self.status(found).is_promoted() {
            self.plan_late_connection(&mut plan);
            return Ok(plan);
        }
        self.cluster.check(self.params.ignore_missing_notifications)?;
        let Some(resource) = running(found).cloned() else {
            plan.step("give up, slowly", move |system| {
                system.pause(DAMPING);
                bail!("cannot promote: DRBD resource {name} is not up")
            });
            return Ok(plan);
        };
        let missed = self.missed(view, &resource);
        for peer in self.coming(&resource).filter(|_| missed.is_empty()) {
            let peer = (!peer.is_empty()).then(|| peer.to_owned());
            plan.step("wait for a peer that the cluster has running", move |system| {
                connection::until_connected(system, name, peer.as_deref(), connection::REUNION);
                Ok(())
            });
        }
        for node in missed {
            plan.step(format!("wait for what was written on {node}"), move |system| {
                self.await_data(system, &node)
            });
        }
        plan.step(format!("make DRBD resource {name} Primary"), move |system| {
            self.primary(system, &resource)?;
            self.drop_missed(system);
            Ok(())
        });
        self.plan_late_connection(&mut plan);
        Ok(plan)
    }

    fn demote<'a>(&'a self, _view: &View, found: &Found) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if let Found::Configured(resource) = found {
            let resource = resource.clone();
            plan.step(format!("make DRBD resource {} Secondary", resource.name), move |system| {
                self.secondary(system, &resource)
            });
        }
        Ok(plan)
    }

    fn notify<'a>(&'a self, _view: &View, found: &Found) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let Some((kind, operation)) = &self.cluster.notification else { return Ok(plan) };
        let Some(resource) = running(found) else { return Ok(plan) };
        for node in self.ahead(resource) {
            plan.step(format!("note that {node} has what is missing here"), move |system| {
                self.note_missed(system, &node)
            });
        }
        if operation == "start" && !self.params.connect_only_after_promote {
            plan.step("take in what the configuration says of the peers", |system| {
                self.admin(system).change(system, &["adjust"])
            });
        }
        if kind == "post" {
            plan.step("tell the promotion score, if it has changed", |system| {
                self.retell_score(system);
                Ok(())
            });
            if self.must_outdate(resource) {
                plan.step("mark the data here as outdated", |system| self.outdate(system));
            }
        }
        Ok(plan)
    }

    fn reload<'a>(&'a self, _view: &View, _found: &Found) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        plan.step("take in what the configuration says", |system| {
            self.admin(system).change(system, &["adjust"])
        });
        self.plan_score(&mut plan);
        Ok(plan)
    }
}

/// What runs, if it does; a name in the kernel alone is nothing.
fn running(found: &Found) -> Option<&Resource> {
    match found {
        Found::Configured(resource) if !resource.is_idle() => Some(resource),
        _ => None,
    }
}

impl Drbd {
    /// `drbdadm` for the resource, as the configuration has it on this node.
    fn admin(&self, view: &View) -> Admin {
        Admin::of(view, &self.params.drbd_resource.0, self.params.drbdconf.as_deref())
    }

    fn check_file(&self, view: &View) -> Result<()> {
        match &self.params.drbdconf {
            Some(file) => view.read(file).map(drop).map_err(|err| {
                installed(format!("cannot read the configuration {}: {err}", file.display()))
            }),
            None => Ok(()),
        }
    }

    /// The oldest module that will do, and the oldest that will not again.
    fn version_window(&self) -> (Version, Version) {
        (self.params.require_drbd_module_version_ge, self.params.require_drbd_module_version_lt)
    }

    fn score_change(
        &self,
        resource: &Resource,
        is_peer_expected: impl FnOnce() -> bool,
    ) -> ScoreChange {
        let remove = self.params.remove_master_score_if_peer_primary;
        score::change(resource, self.params.adjust_master_score, remove, is_peer_expected)
    }
}
