//! `drbd-fence-peer`: what DRBD calls before it goes on without a peer, and, as
//! `drbd-unfence-peer`, when the peer is back.
//!
//! Fencing bars everyone but this node from promotion, by a constraint in the
//! cluster's configuration, and answers DRBD by the exit code whether the peer
//! is barred, gone or fenced. With the policy resource-and-stonith DRBD holds
//! writes back meanwhile, and nobody is ever assumed to be dead: the answer
//! waits until the cluster has fenced the peer, or is no answer.
//!
//! The constraint is the one that crm-fence-peer.sh places, so that either can
//! lift what the other has placed.

pub mod cib;
pub mod decision;

mod spared;
mod unfence;

use crate::drbd::clone::node_name;
use crate::drbd::name::Name;
use anyhow::{Context, Result, anyhow, bail};
use cib::{CHANGE, Cib, Constraint, Health};
use common::frame::handler::{Choice, Given, Handler, Verdict};
use common::host::drbd::{self, DiskState, Fencing, Found, Resource};
use common::{Fact, System, View};
use decision::{Decision, FAILED, FENCED, Policy, Situation, decide};
use ocf_meta::Value;
use spared::spared;
use std::time::Duration;

/// One call of the handler.
#[derive(Debug)]
pub struct FencePeer {
    resource: String,
    unfences: bool,
    only_ours: bool,
    prefix: String,
    role: Option<String>,
    peers: Vec<String>,
    clone: Option<String>,
    limit: Duration,
    hickup: Duration,
    trusts_consistent: bool,
    obliterates: bool,
}

/// How often the constraint is placed, where others change it meanwhile.
const ATTEMPTS: usize = 5;

/// How often the cluster is asked whether a peer has been fenced.
const PAUSE: Duration = Duration::from_secs(1);

const fn flag(long: &'static str, help: &'static str) -> Choice {
    Choice { long, short: None, value: None, help }
}

const fn valued(
    long: &'static str,
    short: char,
    value: &'static str,
    help: &'static str,
) -> Choice {
    Choice { long, short: Some(short), value: Some(value), help }
}

const fn long(long: &'static str, value: &'static str, help: &'static str) -> Choice {
    Choice { long, short: None, value: Some(value), help }
}

impl Handler for FencePeer {
    const NAME: &'static str = "drbd-fence-peer";
    const ABOUT: &'static str = "Bars a peer that DRBD has lost from promotion, and lets it back";
    const OPTIONS: &'static [Choice] = &[
        valued("resource", 'r', "NAME", "DRBD resource; DRBD_RESOURCE in the environment"),
        flag("unfence", "lift the constraint; the default when called drbd-unfence-peer"),
        flag("unfence-only-if-owner-match", "lift only a constraint that this node has placed"),
        valued("timeout", 't', "SECONDS", "for all of it, fencing included (60)"),
        long("network-hickup", "SECONDS", "wait for the connection to come back first (2)"),
        valued("id-prefix", 'p', "TEXT", "of the constraint (drbd-fence-by-handler)"),
        valued(
            "role",
            'l',
            "ROLE",
            "that is barred (Master, or Promoted with a newer configuration)",
        ),
        long("peer", "NODE", "in the cluster's words; DRBD_PEERS in the environment"),
        flag("unreachable-peer-is-outdated", "let consistent data do where a peer is gone"),
        flag("stonith", "have the cluster fence the peer in any case"),
        valued("dc-timeout", 'd', "SECONDS", "taken for the sake of older configurations"),
        valued("master-id", 'i', "ID", "the clone, where several have the DRBD resource"),
        valued("fencing-attribute", 'a', "NAME", "#uname is the only one"),
        flag("suicide-on-failure-if-primary", "taken; fencing is the cluster's"),
        flag("flock-required", "taken; one handler for a resource runs at a time anyway"),
        long("flock-timeout", "SECONDS", "taken; the time limit counts"),
        long("lock-dir", "DIRECTORY", "taken; locks are below /run/resource-agents"),
        long("lock-file", "FILE", "taken; locks are below /run/resource-agents"),
        flag("quiet", "taken; there is little to be quiet about"),
        long("logfacility", "NAME", "taken; HA_LOGFACILITY in the environment counts"),
    ];
    const MORE: &'static str = "UNFENCE_EXTRA_ARGS";

    fn new(given: &Given) -> Result<Self> {
        let resource = given.option("resource").or(given.variable("DRBD_RESOURCE"));
        let resource =
            resource.context("which resource? DRBD_RESOURCE and --resource are not set")?;
        let Name(resource) =
            Name::parse(resource).map_err(|what| anyhow!("the resource is {what}"))?;
        let prefix = given.option("id-prefix").unwrap_or("drbd-fence-by-handler");
        let Name(prefix) = Name::parse(prefix).map_err(|what| anyhow!("the prefix is {what}"))?;
        if given.option("fencing-attribute").is_some_and(|name| name != "#uname") {
            bail!("nodes are told apart by #uname only");
        }
        let seconds = |name: &str, default: u64| match given.option(name).map(str::parse::<u64>) {
            None => Ok(Duration::from_secs(default)),
            Some(Ok(seconds)) if seconds <= 3600 => Ok(Duration::from_secs(seconds)),
            Some(_) => Err(anyhow!("--{name} is not a number of seconds from 0 to 3600")),
        };
        Ok(Self {
            resource,
            unfences: given.option("unfence").is_some() || given.called.contains("unfence"),
            only_ours: given.option("unfence-only-if-owner-match").is_some(),
            prefix,
            role: given.option("role").map(str::to_owned),
            peers: peers(given),
            clone: given.option("master-id").map(str::to_owned),
            limit: seconds("timeout", 60)?,
            hickup: seconds("network-hickup", 2)?,
            trusts_consistent: given.option("unreachable-peer-is-outdated").is_some(),
            obliterates: given.option("stonith").is_some(),
        })
    }

    fn subject(&self) -> &str {
        &self.resource
    }

    fn limit(&self) -> Duration {
        self.limit
    }

    fn verdict<'a>(&'a self, view: &View) -> Result<Verdict<'a>> {
        let node = node_name(view)?;
        let resource = self.look(view)?;
        let cib = Cib::query(view)?;
        let clone = cib.clone_of(&self.resource, self.clone.as_deref()).with_context(|| {
            format!("the cluster has no clone with the DRBD resource {}", self.resource)
        })?;
        let owner = cib.node(&node).ok_or_else(|| cib.lacks("this node", &node))?;
        let constraint = Constraint::new(&self.prefix, &self.resource, clone, owner);
        match self.unfences {
            true => Ok(self.unfence(&cib, &resource, constraint)),
            false => self.fence(view, &cib, resource, constraint),
        }
    }
}

/// Who the peers are, as DRBD tells its handlers: by name in 8.4, by number in
/// 9 with the names beside.
fn peers(given: &Given) -> Vec<String> {
    if let Some(peer) = given.option("peer") {
        return vec![peer.to_owned()];
    }
    let by_number = given
        .variable("DRBD_PEER_NODE_ID")
        .and_then(|number| given.variable(&format!("DRBD_NODE_ID_{number}")));
    let named = by_number.or(given.variable("DRBD_PEERS")).or(given.variable("DRBD_PEER"));
    named.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// The cluster's nodes that DRBD means by these names. A name that the cluster
/// does not use can only be the one other node's; where there are several, it
/// is nobody's, and nobody is barred or fenced by guess.
fn meant(cib: &Cib, owner: &str, named: &[String]) -> Result<Vec<String>> {
    let others: Vec<&str> = cib.nodes().into_iter().filter(|other| *other != owner).collect();
    if let ([only], true) = (&others[..], named.iter().all(|name| cib.node(name).is_none())) {
        return Ok(vec![(*only).to_owned()]);
    }
    if named.is_empty() {
        return Err(cib.lacks("the lost peer", ""));
    }
    let node = |name: &String| {
        let node = cib.node(name).filter(|node| *node != owner);
        node.map(str::to_owned).ok_or_else(|| cib.lacks("a peer", name))
    };
    named.iter().map(node).collect()
}

/// The cluster's opinion of the worst of the peers.
fn worst(cib: &Cib, peers: &[String]) -> Health {
    let rank = |health: &Health| match health {
        Health::Down => 0,
        Health::Online => 1,
        Health::Unclean => 2,
        Health::Unknown => 3,
    };
    peers.iter().map(|peer| cib.health(peer)).max_by_key(rank).unwrap_or(Health::Unknown)
}

impl FencePeer {
    fn look(&self, view: &View) -> Result<Resource> {
        match drbd::find(view, &self.resource)? {
            Found::Configured(resource) => Ok(resource),
            _ => bail!("DRBD resource {} is not up here", self.resource),
        }
    }

    /// What comes of a lost peer, with the constraint that it may take.
    fn fence<'a>(
        &'a self,
        view: &View,
        cib: &Cib,
        resource: Resource,
        constraint: Constraint,
    ) -> Result<Verdict<'a>> {
        let peers = meant(cib, &constraint.owner, &self.peers)?;
        let peer = worst(cib, &peers);
        let resource = match peer {
            Health::Online => self.await_return(view, resource)?,
            _ => resource,
        };
        let policy = match resource.fencing {
            Some(Fencing::DontCare | Fencing::ResourceOnly) => Policy::ResourceOnly,
            Some(Fencing::ResourceAndStonith) | None => Policy::ResourceAndStonith,
        };
        let mut constraint = constraint;
        constraint.spared = spared(cib, &resource, &constraint.owner, &peers);
        let placed = constraint.found(cib);
        let barred = placed.as_ref().filter(|placed| !placed.allows(&constraint.owner));
        let barred_by = barred.map(|placed| placed.owner.clone());
        let worst_disk = resource.volumes.iter().map(|volume| volume.disk).min();
        let situation = Situation {
            policy,
            quorum: cib.has_quorum(),
            fences: cib.fences(),
            disk: worst_disk.unwrap_or(DiskState::Diskless),
            is_over: resource.is_whole(),
            peer,
            barred_by: barred_by.as_deref(),
            trusts_consistent: self.trusts_consistent,
            obliterates: self.obliterates,
        };
        let (course, quorum) = (decide(situation), situation.quorum);
        let seen = vec![
            Fact::new("resource", format!("{} {}", resource.name, resource.disks())),
            Fact::new("policy", format!("{policy:?}")),
            Fact::new("peers", format!("{} ({peer:?})", peers.join(" "))),
            Fact::new("quorum", if quorum { "yes" } else { "no" }),
            Fact::new("constraint", Constraint::described(placed.as_ref())),
        ];
        let role = self.role.clone().unwrap_or_else(|| cib.promoted().to_owned());
        let act = move |system: &System<'_>| match course {
            Decision::Nothing(code, _) => Ok(code),
            _ => {
                self.place(system, placed, &constraint, &role, &peers)?;
                self.answer(system, course, &peers, &constraint)
            }
        };
        Ok(Verdict { seen, what: course.sentence(), act: Box::new(act) })
    }

    /// A connection that comes back at once needs no fencing.
    fn await_return(&self, view: &View, resource: Resource) -> Result<Resource> {
        let deadline = view.deadline().at_most(self.hickup);
        let mut resource = resource;
        while !resource.is_whole() && !deadline.has_passed() {
            view.pause(Duration::from_millis(200).min(deadline.left()));
            resource = self.look(view)?;
        }
        Ok(resource)
    }

    /// Places the constraint, or takes the lost peers out of the one that is
    /// there. Another node may do the same at once: whoever comes second finds
    /// another constraint than it has seen, and looks again.
    fn place(
        &self,
        system: &System<'_>,
        placed: Option<Constraint>,
        constraint: &Constraint,
        role: &str,
        lost: &[String],
    ) -> Result<()> {
        let (mut placed, mut written) = (placed, Ok(()));
        for _ in 0..ATTEMPTS {
            written = match &placed {
                None => constraint.place(system, role, CHANGE),
                Some(placed) if !placed.allows(&constraint.owner) => {
                    bail!("{} has barred this node from promotion", placed.owner)
                }
                Some(placed) if !lost.iter().any(|peer| placed.allows(peer)) => return Ok(()),
                Some(placed) => constraint.within(placed).replace(placed, system, role, CHANGE),
            };
            placed = constraint.found(&Cib::query(system)?);
        }
        written?;
        bail!("the constraint {} does not stay as it is placed", constraint.id)
    }

    fn answer(
        &self,
        system: &System<'_>,
        course: Decision,
        peers: &[String],
        constraint: &Constraint,
    ) -> Result<u8> {
        let code = match course {
            Decision::Bar(code, _) | Decision::Nothing(code, _) => code,
            Decision::BarAndWait(_) => self.await_fencing(system, peers)?,
            Decision::BarAndFence(_) => {
                for peer in peers {
                    obliterate(system, peer)?;
                }
                self.await_fencing(system, peers)?
            }
        };
        // The peer may have come back meanwhile; then nobody has to be barred.
        if self.look(system)?.is_whole() {
            if let Some(placed) = constraint.found(&Cib::query(system)?) {
                placed.lift(system, CHANGE)?;
            }
            return Ok(FAILED);
        }
        Ok(code)
    }

    fn await_fencing(&self, system: &System<'_>, peers: &[String]) -> Result<u8> {
        loop {
            match worst(&Cib::query(system)?, peers) {
                Health::Down => return Ok(FENCED),
                found if system.deadline().left() <= PAUSE => {
                    bail!(
                        "waited {:?} for {} to be fenced, found it {found:?}",
                        self.limit,
                        peers.join(" ")
                    )
                }
                _ => system.pause(PAUSE),
            }
        }
    }
}

/// Has the cluster fence a node, unless it has just done so.
fn obliterate(system: &System<'_>, peer: &str) -> Result<()> {
    let limit = system.deadline().left().as_secs().to_string();
    let words = ["--fence", peer, "--tolerance", "30s", "--timeout", &limit];
    let said = system.change("stonith_admin", &words)?;
    match said.success() {
        true => Ok(()),
        false => Err(anyhow!("{peer} could not be fenced: {}", said.reason())),
    }
}

#[cfg(test)]
mod tests;
