//! One call of an agent, as Pacemaker's execd makes it, and what the kernel
//! says of the same thing by other ways than the agent's.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where Pacemaker finds our agents.
const PROVIDER: &str = "/usr/lib/ocf/resource.d/sturdy";

/// An agent with its parameters on a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// `drbd`, `LVM`.
    pub agent: String,
    /// The parameters.
    pub params: Vec<(String, String)>,
    /// The node's name, as the cluster has it.
    pub node: String,
    /// Seconds until the cluster kills the action.
    pub limit: u32,
}

impl Call {
    /// The agent's file.
    pub fn path(&self) -> String {
        format!("{PROVIDER}/{}", self.agent)
    }

    /// The environment of an action. An interval of 0 makes a monitor a probe.
    pub fn environment(&self, action: &str) -> Vec<(String, String)> {
        let first = self.params.first().map_or("it", |(_, value)| value);
        let instance = format!("p_{}", first.replace('/', "_"));
        let (limit, action) = ((self.limit * 1000).to_string(), action.trim_end_matches("-probe"));
        let mut all = vec![
            ("OCF_ROOT", "/usr/lib/ocf".to_owned()),
            ("OCF_RA_VERSION_MAJOR", "1".into()),
            ("OCF_RA_VERSION_MINOR", "1".into()),
            ("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:".into()),
            ("OCF_OUTPUT_FORMAT", "text".into()),
            ("OCF_RESOURCE_INSTANCE", instance),
            ("OCF_RESOURCE_TYPE", self.agent.clone()),
            ("OCF_RESOURCE_PROVIDER", "sturdy".into()),
            ("OCF_RESOURCE_CLASS", "ocf".into()),
            ("OCF_RESKEY_CRM_meta_name", action.into()),
            ("OCF_RESKEY_CRM_meta_timeout", limit),
            ("OCF_RESKEY_CRM_meta_on_node", self.node.clone()),
            ("OCF_RESKEY_CRM_meta_on_node_uuid", self.node.trim_start_matches("node").into()),
            ("OCF_RESKEY_crm_feature_set", "3.16.2".into()),
            ("HA_LOGFACILITY", "none".into()),
            ("HA_LOGFILE", LOG.into()),
            ("HA_debug", "0".into()),
        ];
        if self.agent == "drbd" {
            all.extend(CLONE.map(|(name, value)| (name, value.to_owned())));
        }
        let mut all: Vec<_> = all.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let given = self.params.iter();
        all.extend(given.map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.clone())));
        all
    }
}

/// The parameter that names what an agent has in hand.
pub fn object(agent: &str) -> &'static str {
    match agent {
        "Filesystem" => "device",
        "LVM" | "lvm2" => "vgname",
        "iscsitarget" => "config",
        "exportfs" => "directory",
        "nfsserver" | "nfs-kernel-server" => "nfs_shared_infodir",
        _ => "drbd_resource",
    }
}

/// What the agents log in a drill.
pub const LOG: &str = "/var/log/agents.log";

/// A promotable clone with notifications, by all the names that Pacemaker has
/// for it.
const CLONE: [(&str, &str); 14] = [
    ("OCF_RESKEY_CRM_meta_clone", "0"),
    ("OCF_RESKEY_CRM_meta_clone_max", "2"),
    ("OCF_RESKEY_CRM_meta_clone_node_max", "1"),
    ("OCF_RESKEY_CRM_meta_promoted_max", "1"),
    ("OCF_RESKEY_CRM_meta_promoted_node_max", "1"),
    ("OCF_RESKEY_CRM_meta_master_max", "1"),
    ("OCF_RESKEY_CRM_meta_master_node_max", "1"),
    ("OCF_RESKEY_CRM_meta_notify", "true"),
    ("OCF_RESKEY_CRM_meta_globally_unique", "false"),
    ("OCF_RESKEY_CRM_meta_notify_active_uname", " "),
    ("OCF_RESKEY_CRM_meta_notify_promoted_uname", " "),
    ("OCF_RESKEY_CRM_meta_notify_unpromoted_uname", "node1 node2"),
    ("OCF_RESKEY_CRM_meta_notify_master_uname", " "),
    ("OCF_RESKEY_CRM_meta_notify_slave_uname", "node1 node2"),
];

/// One device in `/proc/drbd`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minor {
    /// `Connected`.
    pub connection: String,
    /// This side's role and the peer's.
    pub roles: (String, String),
    /// This side's disk and the peer's.
    pub disks: (String, String),
}

impl Minor {
    /// Connected, and both disks are good.
    pub fn is_whole(&self) -> bool {
        self.connection == "Connected" && self.disks == ("UpToDate".into(), "UpToDate".into())
    }
}

impl std::fmt::Display for Minor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connection, roles, disks } = self;
        write!(out, "{connection} {}/{} {}/{}", roles.0, roles.1, disks.0, disks.1)
    }
}

/// The devices that are configured, by number.
pub fn minors(proc_drbd: &str) -> BTreeMap<u32, Minor> {
    let minor = |line: &str| {
        let (number, fields) = line.split_once(':')?;
        let field = |name: &str| {
            fields.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_default()
        };
        let pair = |name: &str| {
            let (ours, theirs) = field(name).split_once('/')?;
            Some((ours.to_owned(), theirs.to_owned()))
        };
        let connection = field("cs:").to_owned();
        Some((
            number.trim().parse().ok()?,
            Minor { connection, roles: pair("ro:")?, disks: pair("ds:")? },
        ))
    };
    proc_drbd.lines().filter_map(minor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_those_without_a_configuration_are_none() {
        let found = minors(
            "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: F73C670\n \
             0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n    ns:0 nr:0\n \
             1: cs:Unconfigured\n 3: cs:WFConnection ro:Secondary/Unknown ds:UpToDate/DUnknown C\n",
        );
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 3]);
        assert!(found[&0].is_whole() && !found[&3].is_whole());
        assert_eq!(found[&3].roles.1, "Unknown");
    }

    #[test]
    fn a_clone_is_what_drbd_alone_is_called_as() {
        let call = |agent: &str| Call {
            agent: agent.into(),
            params: vec![("drbd_resource".into(), "r0".into())],
            node: "node1".into(),
            limit: 20,
        };
        let has = |agent: &str, name: &str| {
            call(agent).environment("monitor").iter().any(|(known, _)| known == name)
        };
        assert!(has("drbd", "OCF_RESKEY_CRM_meta_clone_max"));
        assert!(!has("drbddisk", "OCF_RESKEY_CRM_meta_clone_max"));
        assert!(has("drbddisk", "OCF_RESKEY_drbd_resource"));
    }
}
