//! Targets of the kernel: LIO for iSCSI, nvmet for NVMe over Fabrics.

use super::subject::{Subject, beside_heartbeats};
use super::{Bench, LIMIT, LONG};
use crate::measure::{Row, Run, Turn};
use anyhow::Result;

/// As many disks one target has in the end.
const MANY: usize = 500;

const TARGET: Subject = beside_heartbeats!(
    "iSCSITarget",
    "LUNs",
    &[
        ("OCF_RESKEY_iqn", "iqn.2001-04.com.example:bench"),
        ("OCF_RESKEY_implementation", "lio-t"),
        ("OCF_RESKEY_portals", "10.10.1.251:3260"),
        ("OCF_RESKEY_CRM_meta_interval", "10000"),
    ]
);

const DISK: Subject = beside_heartbeats!(
    "iSCSILogicalUnit",
    "LUNs",
    &[
        ("OCF_RESKEY_target_iqn", "iqn.2001-04.com.example:bench"),
        ("OCF_RESKEY_implementation", "lio-t"),
        ("OCF_RESKEY_lun", "1"),
        ("OCF_RESKEY_path", "/dev/loop1"),
        ("OCF_RESKEY_CRM_meta_interval", "10000"),
    ]
);

/// What people ask LIO with.
const LISTED: Subject =
    Subject { shell_name: "targetcli ls", shell: "/srv/bench/targetcli", ..TARGET };

/// It takes no action, and reads what has been saved of settings each time.
const TARGETCLI: &str = "\
#!/bin/sh
HOME=/root exec targetcli ls /iscsi/iqn.2001-04.com.example:bench
";

/// A target with ten disks, brought up and taken down by [`GROUP`].
const TEN: Subject = Subject {
    name: "iSCSITarget with its iSCSILogicalUnits",
    objects: "LUNs",
    agent: "target-with-ten",
    shell_name: "ocf:heartbeat:iSCSITarget, iSCSILogicalUnit",
    shell: "/usr/lib/ocf/resource.d/heartbeat/target-with-ten",
    env: &[("OCF_RESKEY_implementation", "lio-t")],
    code: 0,
};

/// Nobody has a shell agent for that file.
const IETD: Subject = Subject {
    name: "iscsitarget",
    objects: "LUNs",
    agent: "iscsitarget",
    shell_name: "-",
    shell: "",
    env: &[("OCF_RESKEY_CRM_meta_interval", "20000")],
    code: 0,
};

const SUBSYSTEM: Subject = beside_heartbeats!(
    "nvmet-subsystem",
    "namespaces",
    &[
        ("OCF_RESKEY_nqn", "nqn.2014-08.com.example:bench"),
        ("OCF_RESKEY_CRM_meta_interval", "10000"),
    ]
);

const NAMESPACE: Subject = beside_heartbeats!(
    "nvmet-namespace",
    "namespaces",
    &[
        ("OCF_RESKEY_nqn", "nqn.2014-08.com.example:bench"),
        ("OCF_RESKEY_namespace_id", "1"),
        ("OCF_RESKEY_backing_path", "/dev/loop1"),
        ("OCF_RESKEY_uuid", "8b0c6a5e-0e1a-4c57-9d1a-5b7a3a2f4e10"),
        ("OCF_RESKEY_CRM_meta_interval", "10000"),
    ]
);

const PORT: Subject = beside_heartbeats!(
    "nvmet-port",
    "namespaces",
    &[
        ("OCF_RESKEY_nqns", "nqn.2014-08.com.example:bench"),
        ("OCF_RESKEY_addr", "10.10.1.251"),
        ("OCF_RESKEY_CRM_meta_interval", "10000"),
    ]
);

/// Ours, by the names of their files.
pub(super) const AGENTS: [&str; 6] =
    [TARGET.agent, DISK.agent, IETD.agent, SUBSYSTEM.agent, NAMESPACE.agent, PORT.agent];

/// Where both lie: the agents of its own directory, in the order of a cluster.
const GROUP: &str = r#"#!/bin/sh
home=${0%/*} action=$1
iqn=iqn.2001-04.com.example:bench
run() { OCF_RESOURCE_TYPE=$1 OCF_RESOURCE_INSTANCE=$2 "$home/$1" "$action" || exit; }
target() { OCF_RESKEY_iqn=$iqn OCF_RESKEY_portals=10.10.1.251:3260 run iSCSITarget p_target; }
disks() {
    for lun in "$@"; do
        OCF_RESKEY_target_iqn=$iqn OCF_RESKEY_lun=$lun OCF_RESKEY_path=/dev/loop$lun \
            run iSCSILogicalUnit "p_disk$lun"
    done
}
case $action in
start) target; disks 1 2 3 4 5 6 7 8 9 10 ;;
stop) disks 10 9 8 7 6 5 4 3 2 1; target ;;
esac
"#;

impl Bench<'_> {
    /// Monitors beside one disk and many.
    pub(super) fn targets(&self) -> Result<Vec<Row>> {
        self.set_up_disks()?;
        self.machine.put(LISTED.shell, 0o755, TARGETCLI.as_bytes())?;
        let mut rows = Vec::new();
        for subject in [&TARGET, &DISK] {
            self.act(subject, "start")?;
        }
        for scale in [1, MANY] {
            self.shell(&more_luns(scale), LONG)?;
            rows.extend([self.row(&TARGET, scale)?, self.row(&DISK, scale)?]);
            let [ours, listed] = [LISTED.ours("monitor"), LISTED.shell("monitor")].map(Turn::alone);
            let times = (self.effort.ours, self.few());
            rows.push(self.measure((&LISTED, "monitor", scale), times, ours, Some(listed))?);
        }
        for subject in [&DISK, &TARGET] {
            self.act(subject, "stop")?;
        }
        for scale in [1, MANY] {
            self.shell(&ietd(scale), LIMIT)?;
            self.act(&IETD, "start")?;
            rows.push(self.row(&IETD, scale)?);
            self.act(&IETD, "stop")?;
        }
        let all = [&SUBSYSTEM, &NAMESPACE, &PORT];
        for subject in all {
            self.act(subject, "start")?;
        }
        for scale in [1, MANY] {
            self.shell(&more_namespaces(scale), LONG)?;
            for subject in all {
                rows.push(self.row(subject, scale)?);
            }
        }
        for subject in all.into_iter().rev() {
            self.act(subject, "stop")?;
        }
        Ok(rows)
    }

    fn set_up_disks(&self) -> Result<()> {
        self.progress.show("set-up", "disks to be served");
        self.shell(SET_UP, LIMIT)
    }

    /// The start of a target. Ten disks are what the shell agents take minutes for: once
    /// is enough.
    pub(super) fn start_of_ten(&self) -> Result<Vec<Row>> {
        self.set_up_disks()?;
        for path in [TEN.ours("start").program, TEN.shell.into()] {
            self.machine.put(&path.display().to_string(), 0o755, GROUP.as_bytes())?;
        }
        let turn = |run: fn(&Subject, &str) -> Run| Turn {
            run: run(&TEN, "start"),
            before: None,
            after: Some(run(&TEN, "stop")),
        };
        let (ours, shell) = (turn(Subject::ours), turn(Subject::shell));
        Ok(vec![self.measure((&TEN, "start", 10), (1, 1), ours, Some(shell))?])
    }
}

const SET_UP: &str = "set -e
mkdir -p /run/dbus; [ -s /run/dbus/pid ] || dbus-daemon --system --fork
modprobe -a loop target_core_file iscsi_target_mod nvmet nvmet-tcp
mount | grep -q configfs || mount -t configfs configfs /sys/kernel/config
mkdir -p /srv/bench
for n in 1 2 3 4 5 6 7 8 9 10; do
truncate -s 8M /srv/bench/$n; [ -b /dev/loop$n ] || mknod /dev/loop$n b 7 $n
[ -d /sys/block/loop$n/loop ] || losetup /dev/loop$n /srv/bench/$n; done
truncate -s 8M /srv/bench/other
S=/sys/kernel/config/target/core/fileio_999/other; mkdir -p $S
echo fd_dev_name=/srv/bench/other,fd_dev_size=8388608 > $S/control; echo 1 > $S/enable";

/// Disks of somebody else's in the target, until there are so many.
fn more_luns(count: usize) -> String {
    format!(
        "L=/sys/kernel/config/target/iscsi/iqn.2001-04.com.example:bench/tpgt_1/lun
         for n in $(seq 2 {count}); do mkdir $L/lun_$n && \
         ln -s /sys/kernel/config/target/core/fileio_999/other $L/lun_$n/other || exit; done"
    )
}

/// The same for namespaces, which need no disk as long as they are closed.
fn more_namespaces(count: usize) -> String {
    format!(
        "for n in $(seq 2 {count}); do \
         mkdir /sys/kernel/config/nvmet/subsystems/nqn.2014-08.com.example:bench/namespaces/$n \
         || exit; done"
    )
}

/// A file with so many disks.
fn ietd(count: usize) -> String {
    format!(
        "for n in $(seq 0 {}); do truncate -s 1M /srv/bench/ietd.$n; done
         {{ echo Target iqn.2001-04.com.example:ietd; for n in $(seq 0 {0}); do \
         echo Lun $n Path=/srv/bench/ietd.$n,Type=fileio; done; }} > /etc/ietd.conf",
        count - 1
    )
}
