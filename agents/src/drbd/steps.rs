//! What the agent drbd does, step by step: roles, scores, the handlers.

use super::connection::until_connected;
use super::score::ScoreChange;
use super::{Drbd, facts};
use anyhow::{Result, anyhow, bail};
use common::host::drbd::tool::{self, Admin, Refusal};
use common::host::drbd::{DiskState, DrbdRole, Found, Peer, Resource};
use common::{Agent, Plan, System, View, file_name};
use std::cell::Cell;

impl Drbd {
    /// The steps that lead from whatever is there to all that a start wants.
    pub(super) fn plan_up<'a>(&'a self, plan: &mut Plan<'a>, what: String, admin: Admin) {
        plan.step(what, move |system| self.bring_up(system, &admin));
        if !self.params.connect_only_after_promote && self.params.wfc_timeout.0 > 0 {
            let wait = format!("wait up to {} s for its peers", self.params.wfc_timeout.0);
            plan.step(wait, |system| {
                self.await_peers(system, None);
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
        match self.score_change(resource, || true) {
            ScoreChange::Set(score, why) => format!("{score}: {why}"),
            ScoreChange::Remove(why) => format!("none: {why}"),
            ScoreChange::Leave => "as it was: a disk is on its way up".into(),
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
        self.score_change(&resource, || self.is_peer_expected(view)).settled()
    }

    pub(super) fn set_score(&self, system: &System<'_>, score: Option<u32>, why: &str) {
        if let Some(promotion) = &self.promotion {
            promotion.set(system, score, why);
        }
        self.forget_missed(system);
    }

    pub(super) fn primary(&self, system: &System<'_>, resource: &Resource) -> Result<()> {
        let admin = self.admin(system);
        let attempt = || admin.set_role(system, DrbdRole::Primary, Some(resource));
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

    /// Nodes that the cluster calls promoted and that this one is not connected
    /// to: what is written there now is not here. DRBD without fencing does not
    /// know, and would make two histories of one.
    pub(super) fn ahead(&self, resource: &Resource) -> Vec<String> {
        if !self.follows_others() || resource.is_primary() {
            return Vec::new();
        }
        let nodes =
            self.cluster.promoted_elsewhere().filter(|node| unconnected(resource, node).is_some());
        nodes.map(str::to_owned).collect()
    }

    /// Those that were so when the cluster last told.
    pub(super) fn lacks(&self, view: &View, resource: &Resource) -> Vec<String> {
        let words = |text: &str| Some(text.split_whitespace().map(str::to_owned).collect());
        let noted: Vec<String> = match view.record(&self.missed_record(), words) {
            Ok(noted) => noted.unwrap_or_default(),
            // It may have been any of those that are not connected.
            Err(damaged) => {
                view.warn(format_args!("{damaged}; each peer that is away counts as missed"));
                resource.peers.iter().map(|peer| peer.name.clone()).collect()
            }
        };
        noted.into_iter().filter(|node| unconnected(resource, node).is_some()).collect()
    }

    /// Those that are or were so, have an instance and are still not connected.
    /// Of one that is gone there is nothing to wait for.
    pub(super) fn missed(&self, view: &View, resource: &Resource) -> Vec<String> {
        let mut nodes = self.ahead(resource);
        nodes.extend(self.lacks(view, resource));
        nodes.sort_unstable();
        nodes.dedup();
        let (there, gone): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|node| self.cluster.is_to_stay(node));
        if !gone.is_empty() {
            view.info(format_args!(
                "going on without {}, promoted when it was lost",
                gone.join(", ")
            ));
        }
        there
    }

    /// Peers that may connect any moment, being in the cluster. What they have
    /// is not known, and may be newer: a node that has just lost its link need
    /// not have noticed when the other one was demoted.
    pub(super) fn coming<'r>(&self, resource: &'r Resource) -> impl Iterator<Item = &'r str> {
        let follows = self.follows_others();
        let there = move |peer: &&Peer| match peer.name.as_str() {
            "" => self.cluster.has_others(),
            name => self.cluster.is_to_stay(name),
        };
        let awaited = resource.peers.iter().filter(move |peer| follows && peer.is_awaited());
        awaited.filter(there).map(|peer| peer.name.as_str())
    }

    /// Waits for the connection. Where it does not come the promotion fails,
    /// and so does the next one, until it has come or the other node is gone.
    pub(super) fn await_data(&self, system: &System<'_>, node: &str) -> Result<()> {
        let name = &self.params.drbd_resource.0;
        until_connected(system, name, None, system.deadline().left());
        let Found::Configured(resource) = self.observe(system)? else {
            bail!("DRBD resource {name} has gone meanwhile");
        };
        let Some(peer) = unconnected(&resource, node) else {
            self.drop_missed(system);
            return Ok(());
        };
        if let Err(err) = self.note_missed(system, node) {
            system.warn(format_args!("{err:#}"));
        }
        let state = &peer.connection;
        bail!(
            "what was written to {name} on {node} is missing here ({state}): mend DRBD's link, or \
             stop the cluster on {node}"
        )
    }

    /// Once all peers are connected nothing is missed; and then the score is
    /// another one.
    fn forget_missed(&self, system: &System<'_>) {
        if !matches!(system.record_text(&self.missed_record()), Ok(None))
            && let Ok(Found::Configured(resource)) = self.observe(system)
            && resource.peers.iter().all(Peer::is_connected)
        {
            self.drop_missed(system);
        }
    }

    /// A record that stays costs a promotion some waiting, and nothing else.
    pub(super) fn drop_missed(&self, system: &System<'_>) {
        if let Err(err) = system.remove_record(&self.missed_record()) {
            system.warn(format_args!("{err:#}"));
        }
    }

    /// Remembers that the node has what is missing here: the cluster forgets it
    /// with its next plan.
    pub(super) fn note_missed(&self, system: &System<'_>, node: &str) -> Result<()> {
        system.write_record(&self.missed_record(), &format!("{node}\n"))
    }

    pub(super) fn missed_record(&self) -> String {
        format!("drbd-{}.missed", file_name(&self.params.drbd_resource.0))
    }

    /// Whether a promotion has to go on from what was written elsewhere.
    fn follows_others(&self) -> bool {
        !self.cluster.dual_primary && !self.params.connect_only_after_promote
    }

    pub(super) fn secondary(&self, system: &System<'_>, resource: &Resource) -> Result<()> {
        let admin = self.admin(system);
        let attempt = || admin.set_role(system, DrbdRole::Secondary, Some(resource));
        tool::persist(system, u32::MAX, attempt, |_| Ok(true))
            .map_err(|err| facts::in_use(system, resource, err))
    }

    /// Whether this node may hold old data without knowing.
    pub(super) fn must_outdate(&self, resource: &Resource) -> bool {
        let is_alone = resource
            .peers
            .iter()
            .any(|peer| peer.disks.iter().any(|(_, disk)| *disk == DiskState::DUnknown));
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
            Ok(said) => {
                system.warn(format_args!("drbdadm unfence-peer: {}", tool::complaint(&said)));
            }
            Err(err) => system.warn(format_args!("drbdadm unfence-peer: {err:#}")),
        }
    }
}

/// The peer that the node is, if it is not connected. Before DRBD 9 there is one
/// peer, without a name.
fn unconnected<'r>(resource: &'r Resource, node: &str) -> Option<&'r Peer> {
    let mut meant = resource.peers.iter().filter(|peer| peer.name.is_empty() || peer.name == node);
    meant.find(|peer| !peer.is_connected())
}
