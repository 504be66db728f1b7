//! What the agent drbd does, step by step: roles, scores, the handlers.

use super::score::Advice;
use super::{Drbd, seen, settled, start};
use anyhow::{Result, anyhow, bail};
use common::host::drbd::tool::{self, Admin, Refusal};
use common::host::drbd::{Disk, Found, Resource, Role};
use common::{Agent, Plan, System, View};
use std::cell::Cell;

impl Drbd {
    /// The steps that lead from whatever is there to all that a start wants.
    pub(super) fn plan_up<'a>(&'a self, plan: &mut Plan<'a>, what: String, admin: Admin) {
        plan.step(what, move |system| start::bring_up(self, system, &admin));
        if !self.params.connect_only_after_promote && self.params.wfc_timeout.0 > 0 {
            let wait = format!("wait up to {} s for its peers", self.params.wfc_timeout.0);
            plan.step(wait, |system| {
                start::await_peers(self, system, None);
                Ok(())
            });
        }
        self.plan_score(plan);
    }

    pub(super) fn plan_score<'a>(&'a self, plan: &mut Plan<'a>) {
        plan.step("tell the promotion score", |system| {
            self.tell_score(system);
            Ok(())
        });
    }

    /// A start has left the connections to the promotion; one that was cut
    /// short has left them to the next.
    pub(super) fn plan_late_connection<'a>(&'a self, plan: &mut Plan<'a>) {
        if self.params.connect_only_after_promote {
            plan.step("connect to the peers", |system| {
                self.admin(system).change(system, &["adjust"])
            });
        }
    }

    /// With two promoted a Primary peer is as it should be; otherwise the
    /// cluster is asked, and where it does not answer the peer may be.
    pub(super) fn is_peer_expected(&self, view: &View) -> bool {
        self.cluster.dual_primary
            || self.cluster.is_promoted_elsewhere(view).unwrap_or_else(|err| {
                view.note(format_args!("the cluster does not say who is promoted: {err:#}"));
                true
            })
    }

    pub(super) fn forecast(&self, resource: &Resource) -> String {
        match self.advice(resource, || true) {
            Advice::Set(score, why) => format!("{score}: {why}"),
            Advice::Remove(why) => format!("none: {why}"),
            Advice::Leave => "as it was: a disk is on its way up".into(),
        }
    }

    /// Looks again and tells the score, whether it has changed or not.
    pub(super) fn tell_score(&self, system: &System<'_>) {
        if let Some((score, why)) = self.score_now(system) {
            self.set_score(system, score, why);
        }
    }

    /// Looks again and tells the score, if it has changed.
    pub(super) fn retell_score(&self, system: &System<'_>) {
        let is_news = |score| self.promotion.as_ref().is_some_and(|it| it.is_stale(system, score));
        if let Some((score, why)) = self.score_now(system)
            && is_news(score)
        {
            self.set_score(system, score, why);
        }
    }

    fn score_now(&self, view: &View) -> Option<(Option<u32>, &'static str)> {
        let Ok(Found::Configured(resource)) = self.observe(view) else { return None };
        settled(self.advice(&resource, || self.is_peer_expected(view)))
    }

    pub(super) fn set_score(&self, system: &System<'_>, score: Option<u32>, why: &str) {
        if let Some(promotion) = &self.promotion {
            promotion.set(system, score, why);
        }
    }

    pub(super) fn primary(&self, system: &System<'_>, resource: &Resource) -> Result<()> {
        let admin = self.admin(system);
        let attempt = || admin.set_role(system, Role::Primary, Some(resource));
        let told = Cell::new(false);
        tool::persist(system, u32::MAX, attempt, |err| {
            if err.downcast_ref::<Refusal>().is_some_and(Refusal::is_without_data) {
                return Ok(false);
            }
            let has_primary_peer =
                matches!(self.observe(system)?, Found::Configured(now) if now.has_primary_peer());
            if !has_primary_peer || self.is_peer_expected(system) {
                return Ok(true);
            }
            let name = &resource.name;
            let found = format!("a peer of {name} is Primary and the cluster does not know of it");
            if self.params.fail_promote_early_if_peer_primary {
                self.set_score(system, None, "a peer is Primary without the cluster knowing");
                bail!("{found}: {err:#}");
            }
            if !told.replace(true) {
                system.warn(format_args!("{found}; trying until the time is over"));
            }
            Ok(true)
        })
    }

    pub(super) fn secondary(&self, system: &System<'_>, resource: &Resource) -> Result<()> {
        let admin = self.admin(system);
        let attempt = || admin.set_role(system, Role::Secondary, Some(resource));
        tool::persist(system, u32::MAX, attempt, |_| Ok(true))
            .map_err(|err| seen::in_use(system, resource, err))
    }

    /// Whether this node may hold old data without knowing.
    pub(super) fn must_outdate(&self, resource: &Resource) -> bool {
        let is_alone = resource
            .peers
            .iter()
            .any(|peer| peer.disks.iter().any(|(_, disk)| *disk == Disk::DUnknown));
        self.params.stop_outdates_secondary && is_alone && self.cluster.has_lasting_promoted_peer()
    }

    pub(super) fn outdate(&self, system: &System<'_>) -> Result<()> {
        if self.observe(system)?.is_primary() {
            return Err(anyhow!(
                "{} is Primary here and on a peer, and they are not connected",
                self.params.drbd_resource.0
            ));
        }
        self.admin(system).change(system, &["outdate"])?;
        self.set_score(system, None, "the data here are outdated");
        Ok(())
    }

    pub(super) fn wants_unfencing(&self, resource: &Resource) -> bool {
        self.params.unfence_if_all_uptodate && resource.is_primary() && resource.is_whole()
    }

    /// The handler is the cluster's business; its failure is not the monitor's.
    pub(super) fn unfence(&self, system: &System<'_>) {
        let env = [("UNFENCE_EXTRA_ARGS", self.params.unfence_extra_args.as_str())];
        let limit = system.deadline().left() / 3;
        match self.admin(system).change_within(system, limit, &env, &["unfence-peer"]) {
            Ok(said) if said.success() => {}
            Ok(said) => system.warn(format_args!("drbdadm unfence-peer: {}", said.reason())),
            Err(err) => system.warn(format_args!("drbdadm unfence-peer: {err:#}")),
        }
    }
}
