//! The agents that are compared, and how their clusters call them.

use crate::measure::Run;
use lab::machine::NODES;
use std::path::{Path, PathBuf};

/// Where our agents lie in the machine, as their packages lay them out.
pub(super) const OURS: &str = "/usr/lib/ocf/resource.d/sturdy";
/// heartbeat's directory is full of others' scripts; ours lies in one of the
/// same name.
pub(super) const HARESOURCES: &str = "/run/bench/ha.d/resource.d";

/// The volume group.
pub(super) const GROUP: &str = "bench";

/// One agent beside another.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    /// What it is called in the table.
    pub(super) name: &'static str,
    /// What there may be many of.
    pub(super) objects: &'static str,
    /// The names of our agent and of the other one.
    pub(super) agent: &'static str,
    pub(super) shell_name: &'static str,
    /// Empty where there is none.
    pub(super) shell: &'static str,
    /// Under Pacemaker the parameters, none under heartbeat.
    pub(super) env: &'static [(&'static str, &'static str)],
    /// What a monitor of ours ends with.
    pub(super) code: i32,
}

/// An agent beside the one of ocf:heartbeat that has its name.
macro_rules! beside_heartbeats {
    ($name:literal, $objects:literal, $env:expr) => {
        Subject {
            name: $name,
            objects: $objects,
            agent: $name,
            shell_name: concat!("ocf:heartbeat:", $name),
            shell: concat!("/usr/lib/ocf/resource.d/heartbeat/", $name),
            env: $env,
            code: 0,
        }
    };
}
pub(super) use beside_heartbeats;

pub(super) const DRBD: Subject = Subject {
    name: "drbd",
    objects: "resources",
    agent: "drbd",
    shell_name: "ocf:linbit:drbd",
    shell: "/usr/lib/ocf/resource.d/linbit/drbd",
    env: &[
        ("OCF_RESKEY_drbd_resource", "r0"),
        // There is no peer to be waited for.
        ("OCF_RESKEY_wfc_timeout", "no"),
        ("OCF_RESKEY_CRM_meta_clone", "0"),
        ("OCF_RESKEY_CRM_meta_clone_max", "2"),
        ("OCF_RESKEY_CRM_meta_clone_node_max", "1"),
        ("OCF_RESKEY_CRM_meta_promoted_max", "1"),
        ("OCF_RESKEY_CRM_meta_promoted_node_max", "1"),
        ("OCF_RESKEY_CRM_meta_master_max", "1"),
        ("OCF_RESKEY_CRM_meta_master_node_max", "1"),
        ("OCF_RESKEY_CRM_meta_notify", "true"),
        ("OCF_RESKEY_CRM_meta_globally_unique", "false"),
        ("OCF_RESKEY_CRM_meta_on_node", NODES[0]),
        ("OCF_RESKEY_CRM_meta_role", "Promoted"),
        ("OCF_RESKEY_CRM_meta_interval", "10000"),
    ],
    code: 8,
};

pub(super) const DRBDDISK: Subject = Subject {
    name: "drbddisk",
    objects: "resources",
    agent: "drbddisk",
    shell_name: "heartbeat's drbddisk",
    shell: "/etc/ha.d/resource.d/drbddisk",
    env: &[],
    code: 0,
};

/// A whole group, by the names that it has in the two shell agents.
pub(super) const LVM_ACTIVATE: Subject = Subject {
    name: "LVM, the group",
    objects: "volumes",
    agent: "LVM",
    shell_name: "ocf:heartbeat:LVM-activate",
    shell: "/usr/lib/ocf/resource.d/heartbeat/LVM-activate",
    env: &[
        ("OCF_RESKEY_vgname", GROUP),
        ("OCF_RESKEY_volgrpname", GROUP),
        ("OCF_RESKEY_CRM_meta_interval", "30000"),
    ],
    code: 0,
};

pub(super) const LVM: Subject = Subject {
    shell_name: "ocf:heartbeat:LVM",
    shell: "/usr/lib/ocf/resource.d/heartbeat/LVM",
    ..LVM_ACTIVATE
};

/// One volume of the group.
pub(super) const VOLUME: Subject = Subject {
    name: "LVM, one volume",
    env: &[
        ("OCF_RESKEY_vgname", GROUP),
        ("OCF_RESKEY_lvname", "lv0"),
        ("OCF_RESKEY_CRM_meta_interval", "30000"),
    ],
    ..LVM_ACTIVATE
};

/// The group again, taken over by its owner's name: LVM-activate starts no
/// group that nobody is kept from.
pub(super) const OWNED: Subject = Subject {
    name: "LVM, by system ID",
    env: &[
        ("OCF_RESKEY_vgname", GROUP),
        ("OCF_RESKEY_vg_access_mode", "system_id"),
        ("OCF_RESKEY_CRM_meta_interval", "30000"),
    ],
    ..LVM_ACTIVATE
};

/// The shell agent's is the distribution's init script, since no systemd runs.
pub(super) const SERVER: Subject = beside_heartbeats!(
    "nfsserver",
    "servers",
    &[
        ("OCF_RESKEY_nfs_init_script", "/etc/init.d/nfs-kernel-server"),
        ("OCF_RESKEY_nfsv4_only", "true"),
        ("OCF_RESKEY_nfs_shared_infodir", "/srv/bench-nfs"),
        ("OCF_RESKEY_nfs_ip", "10.10.1.251"),
        ("OCF_RESKEY_CRM_meta_interval", "10000"),
    ]
);

/// Measured outside of the lab too, so that one can tell what a time in it is
/// worth.
pub(super) const ADDRESS: Subject = Subject {
    name: "IPaddr",
    objects: "addresses",
    agent: "IPaddr",
    shell_name: "ocf:heartbeat:IPaddr2",
    shell: "/usr/lib/ocf/resource.d/heartbeat/IPaddr2",
    env: &[
        ("OCF_RESKEY_ip", "10.10.1.251"),
        ("OCF_RESKEY_cidr_netmask", "24"),
        ("OCF_RESKEY_nic", "bond0"),
        ("OCF_RESKEY_CRM_meta_interval", "10000"),
    ],
    code: 0,
};

impl Subject {
    /// Our agent's call.
    pub(super) fn ours(&self, action: &str) -> Run {
        let home = if self.is_ocf() { OURS } else { HARESOURCES };
        self.run(Path::new(home).join(self.agent), action)
    }

    /// The shell agent's.
    pub(super) fn shell(&self, action: &str) -> Run {
        self.run(self.shell.into(), action)
    }

    pub(super) fn has_shell(&self) -> bool {
        !self.shell.is_empty()
    }

    fn is_ocf(&self) -> bool {
        !self.env.is_empty()
    }

    fn run(&self, program: PathBuf, action: &str) -> Run {
        let all = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HA_RSCTMP", "/run/resource-agents"),
            ("HA_LOGFACILITY", "none"),
        ];
        let ocf = [
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "1"),
            ("OCF_RESOURCE_INSTANCE", "p_bench"),
            ("OCF_RESOURCE_TYPE", self.agent),
            ("OCF_RESOURCE_PROVIDER", "bench"),
            ("OCF_RESKEY_CRM_meta_timeout", "600000"),
        ];
        let ocf = ocf.iter().filter(|_| self.is_ocf()).chain(self.env);
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let is_monitor = action == "monitor";
        let args = match self.is_ocf() {
            true => vec![action],
            false => vec!["r0", if is_monitor { "status" } else { action }],
        };
        // A cluster that starts or stops calls for nothing at intervals.
        let is_meant = |(name, _): &&(&str, &str)| is_monitor || !name.ends_with("_interval");
        Run {
            program,
            args: args.iter().map(|word| (*word).to_owned()).collect(),
            env: all.iter().chain(ocf).filter(is_meant).map(own).collect(),
            code: if is_monitor { self.code } else { 0 },
        }
    }
}
