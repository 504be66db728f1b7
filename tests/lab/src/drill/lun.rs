//! Targets and disks of the kernel's LIO as resources of their own, with an
//! initiator on the same node.

use super::call::Call;
use super::kill;
use super::node::{Agent, Node};
use super::nvmet::loses_its_path;
use super::order::Subject;
use super::stand::Stand;
use super::target::FOREIGN;
use anyhow::{Result, ensure};
use std::time::Duration;

const IQN: &str = "iqn.2001-04.com.example:drill";
const INITIATOR: &str = "iqn.1993-08.org.debian:01:drill";

/// With which everybody logs in.
const ISCSID: &str = "\
node.startup = manual
node.session.auth.authmethod = CHAP
node.session.auth.username = someone
node.session.auth.password = 1234567890ab
node.session.auth.username_in = target
node.session.auth.password_in = ba0987654321
node.session.timeo.replacement_timeout = 5
";

/// Two disks, and an address to listen at.
pub(super) const DISKS: &str = "\
for disk in 1 2; do dmsetup create drill-lun$disk --table \"0 32768 linear /dev/vdb $((262144 + \
disk * 32768))\"; done; dmsetup mknodes; mkdir -p /srv/target; truncate -s 8M /srv/target/file; \
ip link set lo up; ip addr add 10.99.0.9/32 dev lo 2>/dev/null; true";

const LOGIN: &str = "\
modprobe -a iscsi_tcp sd_mod crc32c; mkdir -p /run/lock/iscsi; pgrep iscsid > /dev/null || iscsid; \
iscsiadm -m node -o delete 2>/dev/null; \
iscsiadm -m discovery -t sendtargets -p 10.99.0.9 && iscsiadm -m node --login";

/// What a disk is known by, of which the serial number is a part.
pub(super) fn by_id(serial: &str) -> String {
    format!("/dev/disk/by-id/wwn-0x6001405{serial:0<25}")
}

fn set_up(node: Node<'_>) -> Result<()> {
    node.shell(DISKS)?;
    node.machine.put("/etc/iscsi/iscsid.conf", 0o600, ISCSID.as_bytes())?;
    let name = format!("InitiatorName={INITIATOR}\n");
    node.machine.put("/etc/iscsi/initiatorname.iscsi", 0o600, name.as_bytes())?;
    // It has read its name when it began.
    node.shell("for pid in $(pgrep iscsid); do kill -9 $pid; done; true").map(drop)
}

fn call(agent: &str, node: &str, params: &[(&str, &str)]) -> Call {
    let given = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Call { agent: agent.into(), params: given.collect(), node: node.into(), limit: 120 }
}

const TARGET: &[(&str, &str)] = &[
    ("iqn", IQN),
    ("portals", "10.99.0.9:3260"),
    ("allowed_initiators", INITIATOR),
    ("incoming_username", "someone"),
    ("incoming_password", "1234567890ab"),
    ("outgoing_username", "target"),
    ("outgoing_password", "ba0987654321"),
];

fn target(node: Node<'_>) -> Agent<'_> {
    let agent = node.named("iSCSITarget", "iqn", IQN);
    TARGET[1..].iter().fold(agent, |agent, (name, value)| agent.with(name, value))
}

fn disk<'a>(node: Node<'a>, number: &str, path: &str, serial: &str) -> Agent<'a> {
    node.named("iSCSILogicalUnit", "scsi_sn", serial)
        .with("target_iqn", IQN)
        .with("lun", number)
        .with("path", path)
}

/// See the catalogue.
pub fn kills(stand: &Stand, action: &str) -> Result<String> {
    let [first, second] = stand.nodes();
    set_up(first)?;
    set_up(second)?;
    // The disk's target and another disk of it, which are none of the agent's.
    second.shell(&format!(
        "{FOREIGN}; T=/sys/kernel/config/target/iscsi/{IQN}/tpgt_1; mkdir -p $T/lun/lun_7 && \
         ln -s /sys/kernel/config/target/core/fileio_0/foreign $T/lun/lun_7/foreign"
    ))?;
    let of_target = call("iSCSITarget", first.machine.name, TARGET);
    let of_disk = call(
        "iSCSILogicalUnit",
        second.machine.name,
        &[
            ("scsi_sn", "5ba72d17"),
            ("target_iqn", IQN),
            ("lun", "1"),
            ("path", "/dev/mapper/drill-lun1"),
            ("allowed_initiators", INITIATOR),
        ],
    );
    let subjects = [
        Subject::Target { iqn: IQN.into(), luns: 0, stores: "none".into() },
        Subject::Lun {
            iqn: IQN.into(),
            number: 1,
            store: "p_5ba72d17".into(),
            initiator: INITIATOR.into(),
        },
    ];
    let [of_first, of_second] = subjects;
    let told = kill::of_two(stand, [(of_target, of_first), (of_disk, of_second)], action)?;
    disk(second, "1", "/dev/mapper/drill-lun1", "5ba72d17").action("stop")?.exits(0)?;
    nothing_is_left(second, "fileio_0")?;
    let foreign = second.shell(&format!(
        "cd /sys/kernel/config/target/iscsi; ls {IQN}/tpgt_1/acls {IQN}/tpgt_1/lun; \
         readlink {IQN}/tpgt_1/lun/lun_7/foreign *foreign/tpgt_1/lun/lun_0/foreign"
    ))?;
    ensure!(foreign.matches("fileio_0/foreign").count() == 2, "another LUN is gone: {foreign}");
    ensure!(!foreign.contains(INITIATOR), "an initiator is left: {foreign}");
    Ok(told)
}

/// No store and no adapter but this one's, and no disk held.
fn nothing_is_left(node: Node<'_>, but: &str) -> Result<()> {
    let left = node.shell("ls /sys/kernel/config/target/core")?;
    let mut left = left.split_whitespace().filter(|name| *name != "alua" && *name != but);
    ensure!(left.next().is_none(), "an adapter is left: {left:?}");
    let open = node.shell("dmsetup info -c --noheadings -o open drill-lun1")?;
    ensure!(open.trim() == "0", "the disk is still open after stop");
    Ok(())
}

/// See the catalogue.
pub fn ends_a_session(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    set_up(node)?;
    node.shell(FOREIGN)?;
    let target = target(node);
    let first = disk(node, "1", "/dev/mapper/drill-lun1", "5ba72d17");
    let second = disk(node, "2", "/srv/target/file", "1c0ffee5").with("liot_bstype", "fileio");
    for agent in [&target, &first, &second] {
        agent.probe()?.exits(7)?;
    }
    first.action("start")?.exits(1)?.because(&["no target", IQN])?;
    for agent in [&target, &first, &second] {
        agent.action("start")?.exits(0)?;
        agent.action("monitor")?.exits(0)?;
    }
    // Whoever lacks the password, or has another name, stays outside.
    node.shell(&format!(
        "{LOGIN} && sleep 1 && iscsiadm -m node --logout && \
         iscsiadm -m node -o update -n node.session.auth.password -v wrongwrong12 && \
         ! iscsiadm -m node --login 2>&1 && \
         iscsiadm -m node -o update -n node.session.auth.password -v 1234567890ab && \
         iscsiadm -m node -o update -n node.session.auth.password_in -v wrongwrong12 && \
         ! iscsiadm -m node --login 2>&1 && \
         iscsiadm -m node -o update -n node.session.auth.password_in -v ba0987654321 && \
         iscsiadm -m node --login"
    ))?;
    let written = |serial: &str| {
        let path = by_id(serial);
        let ready = format!("[ -b {path} ]");
        node.until(&path, 30, || {
            Ok(node.machine.run(&["/bin/sh", "-c", &ready], Duration::from_secs(20))?.code == 0)
        })?;
        node.shell(&format!(
            "head -c 32768 /dev/urandom > /run/drill/data; \
             dd if=/run/drill/data of={path} bs=4096 oflag=direct conv=notrunc 2>&1"
        ))
    };
    written("1c0ffee5")?;
    node.shell("cmp -n 32768 /run/drill/data /srv/target/file")?;
    written("5ba72d17")?;
    node.shell("cmp -n 32768 /run/drill/data /dev/mapper/drill-lun1")?;
    second.action("stop")?.exits(0)?;
    first.action("monitor")?.exits(0)?;
    written("5ba72d17")?;
    // Out of order, with a session open and a disk in it.
    target.action("stop")?.exits(0)?;
    target.probe()?.exits(7)?;
    first.action("monitor")?.exits(1)?.because(&["no LUN shows it"])?;
    first.action("stop")?.exits(0)?;
    first.probe()?.exits(7)?;
    nothing_is_left(node, "fileio_0")?;
    let foreign =
        node.shell("readlink /sys/kernel/config/target/iscsi/*foreign/tpgt_1/lun/lun_0/foreign")?;
    ensure!(foreign.contains("fileio_0/foreign"), "another target has lost its LUN");
    Ok(String::new())
}

/// See the catalogue.
pub fn is_held(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    set_up(node)?;
    let target = target(node);
    let held = disk(node, "1", "/dev/mapper/drill-lun1", "5ba72d17").limit(20);
    let other = disk(node, "2", "/dev/mapper/drill-lun2", "1c0ffee5");
    for agent in [&target, &held, &other] {
        agent.action("start")?.exits(0)?;
    }
    node.shell(LOGIN)?;
    let path = by_id("5ba72d17");
    node.until(&path, 30, || {
        let ready = format!("[ -b {path} ]");
        Ok(node.machine.run(&["/bin/sh", "-c", &ready], Duration::from_secs(20))?.code == 0)
    })?;
    node.shell(&format!(
        "dmsetup suspend --noflush --nolockfs drill-lun1; \
         setsid dd if=/dev/zero of={path} bs=4096 count=1 oflag=direct conv=notrunc \
         </dev/null >/dev/null 2>&1 & sleep 1"
    ))?;
    let told: Result<()> = (|| {
        held.action("stop")?.exits(1)?.because(&["under way", "unlink", "core_tpg_remove_lun"])?;
        // Before anybody has looked again, and after.
        held.action("monitor")?.exits(1)?.because(&["lun_1"])?;
        other.action("monitor")?.exits(0)?;
        target.action("monitor")?.exits(0)?;
        other.action("stop")?.exits(0)?;
        Ok(())
    })();
    node.shell("dmsetup resume drill-lun1; sleep 2")?;
    told?;
    held.action("stop")?.exits(0)?;
    held.probe()?.exits(7)?;
    target.action("stop")?.exits(0)?;
    nothing_is_left(node, "")?;
    Ok(String::new())
}

/// See the catalogue.
pub fn is_called_otherwise(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    set_up(node)?;
    let target = target(node);
    target.action("start")?.exits(0)?;
    let disk = disk(node, "1", "/dev/drill-disk", "5ba72d17");
    loses_its_path(node, &disk, 190, "iSCSILogicalUnit")?;
    target.action("stop")?.exits(0)?;
    nothing_is_left(node, "")?;
    Ok(String::new())
}

/// As many disks of others' as no stop has time for one after the other.
const MANY: usize = 499;

/// See the catalogue.
pub fn takes_many_away(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    set_up(node)?;
    let target = target(node).limit(20);
    target.action("start")?.exits(0)?;
    node.shell(FOREIGN)?;
    let mut begun = 1;
    while begun <= MANY {
        let end = (begun + 99).min(MANY);
        node.shell(&format!(
            "T=/sys/kernel/config/target/iscsi/{IQN}/tpgt_1; A=$T/acls/{INITIATOR}; \
             S=/sys/kernel/config/target/core/fileio_0/foreign; set -e; \
             cd $T/lun; mkdir $(seq -f lun_%.0f {begun} {end}); cd $A; \
             mkdir $(seq -f lun_%.0f {begun} {end}); for lun in $(seq {begun} {end}); do \
             ln -s $S $T/lun/lun_$lun/theirs; ln -s $T/lun/lun_$lun $A/lun_$lun/lun; done"
        ))?;
        begun = end + 1;
    }
    target.action("monitor")?.exits(0)?;
    let stopped = target.action("stop")?.exits(0)?;
    target.probe()?.exits(7)?;
    nothing_is_left(node, "fileio_0")?;
    let foreign =
        node.shell("readlink /sys/kernel/config/target/iscsi/*foreign/tpgt_1/lun/lun_0/foreign")?;
    ensure!(foreign.contains("fileio_0/foreign"), "another target has lost its LUN");
    Ok(format!("the stop took {:.1} s", stopped.took.as_secs_f64()))
}

/// See the catalogue.
pub fn keeps_a_reservation(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    set_up(node)?;
    node.shell("rm -rf /var/target/pr")?;
    let target = target(node);
    let disk = disk(node, "1", "/dev/mapper/drill-lun1", "5ba72d17");
    target.action("start")?.exits(0)?;
    disk.action("start")?.exits(0)?;
    let path = by_id("5ba72d17");
    node.shell(LOGIN)?;
    node.until(&path, 30, || {
        let ready = format!("[ -b {path} ]");
        Ok(node.machine.run(&["/bin/sh", "-c", &ready], Duration::from_secs(20))?.code == 0)
    })?;
    node.shell(&format!(
        "sg_persist --out --register-ignore --param-sark=0xabc --param-aptpl {path} && \
         sg_persist --out --reserve --param-rk=0xabc --prout-type=5 {path}"
    ))?;
    let reserved = |when: &str| {
        let text = node.shell("cat /sys/kernel/config/target/core/*/p_*/pr/res_*")?;
        ensure!(
            text.contains("0x0000000000000abc") && text.contains("Write Exclusive"),
            "{when} the kernel knows of no reservation: {text}"
        );
        Ok(())
    };
    reserved("before")?;
    for agent in [&disk, &target] {
        agent.action("stop")?.exits(0)?;
    }
    for agent in [&target, &disk] {
        agent.action("start")?.exits(0)?;
    }
    reserved("after")?;
    for agent in [&disk, &target] {
        agent.action("stop")?.exits(0)?;
    }
    nothing_is_left(node, "")?;
    Ok(String::new())
}
