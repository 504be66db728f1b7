//! What the cluster says of the clone: its limits, and who does what where.

use anyhow::{Result, ensure};
use common::host::drbd;
use common::{Request, View, configured};
use std::collections::BTreeSet;
use std::time::Duration;

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
    clone: Option<common::frame::request::CloneMeta>,
    /// Whether a person asks what would be done, who sees no clone.
    is_explained: bool,
    /// Whether the request tells of the other instances at all.
    tells_of_others: bool,
    promoted: BTreeSet<String>,
    active: BTreeSet<String>,
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
        // The lists are of before: what has just been promoted is not on them.
        if notification == Some(("post", "promote")) {
            promoted.extend(nodes("notify_promote_uname"));
        }
        let lists = ["promoted", "master", "unpromoted", "slave", "active", "start", "stop"];
        let is_told = |list: &&str| request.meta(&format!("notify_{list}_uname")).is_some();
        let tells_of_others = lists.iter().any(is_told);
        Self {
            resource: request.resource.split(':').next().unwrap_or_default().to_owned(),
            node: request.meta("on_node").map(str::to_owned),
            dual_primary: request.clone.is_some_and(|clone| clone.promoted_max > 1),
            notification: notification.map(|(kind, what)| (kind.to_owned(), what.to_owned())),
            clone: request.clone,
            is_explained: request.explained,
            tells_of_others,
            promoted,
            active: nodes("notify_active_uname"),
            stopping: nodes("notify_stop_uname"),
        }
    }

    /// Whether it is a cluster that asks, about one of a clone's instances.
    pub fn is_clone(&self) -> bool {
        self.clone.is_some()
    }

    /// Checks the clone's limits, which are the same on every node.
    pub fn check(&self, without_notifications: bool) -> Result<()> {
        let Some(clone) = self.clone else {
            if self.is_explained {
                return Ok(());
            }
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
        self.promoted_elsewhere().any(|node| self.stays(node))
    }

    /// Whether the node has an instance, and keeps it.
    pub fn is_to_stay(&self, node: &str) -> bool {
        (self.active.contains(node) || self.promoted.contains(node)) && self.stays(node)
    }

    /// Whether another node has an instance, and keeps it.
    pub fn has_others(&self) -> bool {
        let mut nodes = self.active.iter().chain(&self.promoted);
        nodes.any(|node| Some(node) != self.node.as_ref() && self.stays(node))
    }

    fn stays(&self, node: &str) -> bool {
        !self.stopping.contains(node)
    }

    /// Whether the cluster knows of a promoted instance elsewhere, asked where
    /// the request does not say.
    pub fn is_promoted_elsewhere(&self, view: &View) -> Result<bool> {
        if self.tells_of_others {
            return Ok(self.promoted_elsewhere().next().is_some());
        }
        let share = (view.deadline().left() / 4).max(LEAST_SHARE);
        let words = ["--resource", self.resource.as_str(), "--locate"];
        let said = view.query_within(share, "crm_resource", &words)?;
        ensure!(said.success(), "crm_resource --locate: {}", said.reason());
        let here = match &self.node {
            Some(node) => node.clone(),
            None => node_name(view)?,
        };
        Ok(said.stdout.lines().any(|line| is_elsewhere(line, &here)))
    }
}

/// The cluster's program is known to hang, and a monitor has to end all the
/// same.
const LEAST_SHARE: Duration = Duration::from_secs(1);

/// `resource p_r1 is running on: node2 Promoted`; without the last word it is
/// not promoted, and with another node it is so here.
fn is_elsewhere(line: &str, here: &str) -> bool {
    let mut words = line.split_whitespace().rev();
    let is_promoted = matches!(words.next(), Some("Promoted" | "Master"));
    is_promoted && words.next() != Some(here)
}

/// This node, as the cluster calls it, which may be another name than the
/// host's.
pub fn node_name(view: &View) -> Result<String> {
    if let Ok(said) = view.query("crm_node", &["--name"])
        && said.success()
        && !said.stdout.trim().is_empty()
    {
        return Ok(said.stdout.trim().to_owned());
    }
    drbd::node(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(meta: &[(&str, &str)]) -> Cluster {
        Cluster::of(&Request::with_meta("p_r1:0", &[&[("on_node", "node1")], meta].concat()))
    }

    #[test]
    fn the_older_names_of_the_lists_are_read() {
        for list in ["notify_promoted_uname", "notify_master_uname"] {
            let cluster = cluster(&[(list, "node1 node2")]);
            assert_eq!(cluster.promoted_elsewhere().collect::<Vec<_>>(), ["node2"], "{list}");
        }
        assert_eq!(cluster(&[("notify_promoted_uname", " ")]).promoted_elsewhere().count(), 0);
    }

    #[test]
    fn whoever_stops_does_not_stay_promoted_and_whoever_was_just_promoted_does() {
        let stopping = [("notify_promoted_uname", "node2"), ("notify_stop_uname", "node2")];
        assert!(!cluster(&stopping).has_lasting_promoted_peer());
        let promoting = |kind| {
            [
                ("notify_type", kind),
                ("notify_operation", "promote"),
                ("notify_promote_uname", "node2"),
            ]
        };
        assert!(cluster(&promoting("post")).has_lasting_promoted_peer());
        assert!(!cluster(&promoting("pre")).has_lasting_promoted_peer());
    }

    #[test]
    fn a_promoted_instance_is_known_by_its_node() {
        let promoted = "resource p_r1 is running on: node2 Promoted";
        assert!(is_elsewhere(promoted, "node1") && !is_elsewhere(promoted, "node2"));
        assert!(is_elsewhere("resource p_r1 is running on: node2 Master", "node1"));
        assert!(!is_elsewhere("resource p_r1 is running on: node2", "node1"));
        assert!(!is_elsewhere("resource p_r1 is NOT running", "node1"));
    }
}
