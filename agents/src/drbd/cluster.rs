//! What the cluster says of the clone: its limits, and who does what where.

use anyhow::{Result, ensure};
use common::{Request, View, configured};
use std::collections::BTreeSet;

/// The part of a request that the agent needs.
#[derive(Debug)]
pub struct Cluster {
    /// The name of the resource in the cluster, without an instance's number.
    pub resource: String,
    /// This node's name, as the cluster has it.
    pub node: Option<String>,
    /// Whether more than one instance may be promoted.
    pub dual_primary: bool,
    /// `post` and `start`, where the request is a notification.
    pub notification: Option<(String, String)>,
    clone: Option<common::frame::request::Clone>,
    promoted: BTreeSet<String>,
    stopping: BTreeSet<String>,
}

impl Cluster {
    /// Reads it from the request.
    pub fn of(request: &Request) -> Self {
        let nodes = |list: &str| {
            let list = request.meta(list).unwrap_or_default();
            list.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let mut promoted = nodes("notify_promoted_uname");
        if promoted.is_empty() {
            promoted = nodes("notify_master_uname");
        }
        let notification = request.meta("notify_type").zip(request.meta("notify_operation"));
        Self {
            resource: request.resource.split(':').next().unwrap_or_default().to_owned(),
            node: request.meta("on_node").map(str::to_owned),
            dual_primary: request.clone.is_some_and(|clone| clone.promoted_max > 1),
            notification: notification.map(|(kind, what)| (kind.to_owned(), what.to_owned())),
            clone: request.clone,
            promoted,
            stopping: nodes("notify_stop_uname"),
        }
    }

    /// Checks the clone's limits, which are the same on every node.
    pub fn check(&self, without_notifications: bool) -> Result<()> {
        let Some(clone) = self.clone else {
            return Err(configured("drbd has to be a promotable clone: clone-max is not set"));
        };
        let limit = |fits: bool, what: &str| match fits {
            true => Ok(()),
            false => Err(configured(what)),
        };
        limit(clone.node_max == 1, "clone-node-max has to be 1")?;
        limit(clone.promoted_node_max == 1, "promoted-node-max has to be 1")?;
        limit(clone.promoted_max <= 2, "promoted-max has to be 1 or 2")?;
        limit(clone.max <= 2 || !self.dual_primary, "clone-max has to be 2 with promoted-max 2")?;
        limit(
            clone.notify || without_notifications,
            "the clone needs the meta attribute notify=true (or ignore_missing_notifications)",
        )
    }

    /// Checks what depends on the version of DRBD here.
    pub fn check_peers(&self, version: (u32, u32)) -> Result<()> {
        let max = self.clone.map_or(0, |clone| clone.max);
        match max > 2 && version < (9, 0) {
            true => Err(configured("clone-max has to be 2: this DRBD has one peer only")),
            false => Ok(()),
        }
    }

    /// The other nodes on which the cluster has an instance promoted, as far as
    /// it has said so in this request.
    pub fn promoted_elsewhere(&self) -> impl Iterator<Item = &str> {
        let other = |node: &&String| Some(*node) != self.node.as_ref();
        self.promoted.iter().filter(other).map(String::as_str)
    }

    /// Whether such a node is there to stay.
    pub fn has_lasting_promoted_peer(&self) -> bool {
        self.promoted_elsewhere().any(|node| !self.stopping.contains(node))
    }

    /// Whether the cluster knows of a promoted instance elsewhere, asked where
    /// the request does not say.
    pub fn is_promoted_elsewhere(&self, view: &View) -> Result<bool> {
        let words = ["--resource", self.resource.as_str(), "--locate"];
        let said = view.query("crm_resource", &words)?;
        ensure!(said.success(), "crm_resource --locate: {}", said.reason());
        Ok(said.stdout.lines().any(|line| {
            let mut words = line.rsplit(' ');
            let is_promoted = matches!(words.next(), Some("Promoted" | "Master"));
            is_promoted && words.next() != self.node.as_deref()
        }))
    }
}
