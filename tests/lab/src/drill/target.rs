//! iSCSI targets in the kernel, with an initiator on the same node.

use super::kill;
use super::node::Agent;
use super::order::Subject;
use super::stand::Stand;
use anyhow::{Result, ensure};

const IQN: &str = "iqn.2008-04.local.home:storage.disk.0";

/// The article's users, and one LUN of each kind.
const IETD: &str = "\
Target iqn.2008-04.local.home:storage.disk.0
        IncomingUser geekshlby secret
        OutgoingUser geekshlby password
        Lun 0 Path=/dev/mapper/drill-target,Type=blockio
        Lun 1 Path=/srv/target/file,Type=fileio
        Alias disk0
        HeaderDigest CRC32C,None
";

/// What the initiator logs in with.
const ISCSID: &str = "\
node.startup = manual
node.session.auth.authmethod = CHAP
node.session.auth.username = geekshlby
node.session.auth.password = secret
node.session.auth.username_in = geekshlby
node.session.auth.password_in = password
node.session.timeo.replacement_timeout = 5
";

/// A target of somebody else's.
pub(super) const FOREIGN: &str = "\
C=/sys/kernel/config/target; S=$C/core/fileio_0/foreign; \
T=$C/iscsi/iqn.2003-01.org.linux-iscsi:foreign/tpgt_1; \
modprobe -a target_core_file iscsi_target_mod; \
mount | grep -q configfs || mount -t configfs configfs /sys/kernel/config; \
mkdir -p $C/iscsi $S && echo fd_dev_name=/srv/target/foreign,fd_dev_size=1048576 > $S/control && \
echo 1 > $S/enable && mkdir -p $T/lun/lun_0 && ln -s $S $T/lun/lun_0/foreign";

fn set_up(stand: &Stand) -> Result<()> {
    let node = stand.node(0);
    node.shell(
        "mkdir -p /srv/target && truncate -s 8M /srv/target/file && \
         dmsetup create drill-target --table '0 32768 linear /dev/vdb 262144' && dmsetup mknodes",
    )?;
    node.machine.put("/etc/ietd.conf", 0o600, IETD.as_bytes())?;
    node.machine.put("/etc/iscsi/iscsid.conf", 0o600, ISCSID.as_bytes())
}

fn subject() -> Subject {
    Subject::Target { iqn: IQN.into(), luns: 2, stores: "ietd-".into() }
}

/// See the catalogue.
pub fn kills(stand: &Stand, action: &str) -> Result<String> {
    set_up(stand)?;
    kill::of_one(stand, "iscsitarget", action, "/etc/ietd.conf", subject())
}

/// See the catalogue.
pub fn is_stopped_without_its_file(stand: &Stand) -> Result<String> {
    set_up(stand)?;
    let node = stand.node(0);
    node.shell(FOREIGN)?;
    let target = node.agent("iscsitarget", "/etc/ietd.conf");
    node.shell("mv /etc/ietd.conf /srv/target; ln -s /srv/gone/ietd.conf /etc/ietd.conf")?;
    is_stopped_and_stays(&target)?;
    node.shell("rm /etc/ietd.conf; mv /srv/target/ietd.conf /etc")?;
    target.probe()?.exits(7)?;
    target.by_heartbeat(&["start"])?.exits(0)?;
    target.action("monitor")?.exits(0)?;
    node.shell(
        "modprobe -a iscsi_tcp sd_mod crc32c; mkdir -p /run/lock/iscsi; ip link set lo up; \
         pgrep iscsid > /dev/null || iscsid; \
         iscsiadm -m discovery -t sendtargets -p 127.0.0.1 && iscsiadm -m node --login && \
         for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/sda ] && break; sleep 1; done; \
         dd if=/dev/zero of=/dev/sda bs=4096 count=8 oflag=direct 2>&1",
    )?;
    // As at each hand-over of the article: the file system that it lies on is
    // unmounted before.
    node.shell("rm /etc/ietd.conf; ln -s /srv/gone/ietd.conf /etc/ietd.conf")?;
    target.action("monitor")?.exits(0)?;
    target.probe()?.exits(0)?;
    target.by_heartbeat(&["status"])?.exits(0)?;
    target.action("start")?.exits(0)?;
    target.by_heartbeat(&["start"])?.exits(0)?;
    target.by_heartbeat(&["stop"])?.exits(0)?;
    is_stopped_and_stays(&target)?;
    let left = node.shell("dmsetup info -c --noheadings -o open drill-target")?;
    ensure!(left.trim() == "0", "the disk is still open after stop");
    let foreign =
        node.shell("readlink /sys/kernel/config/target/iscsi/*foreign/tpgt_1/lun/lun_0/foreign")?;
    ensure!(foreign.contains("fileio_0/foreign"), "another target has lost its LUN");
    Ok(String::new())
}

/// In every action, while the file's link leads nowhere.
fn is_stopped_and_stays(target: &Agent<'_>) -> Result<()> {
    target.probe()?.exits(7)?;
    target.action("monitor")?.exits(7)?;
    target.by_heartbeat(&["status"])?.exits(3)?;
    target.action("stop")?.exits(0)?;
    target.by_heartbeat(&["stop"])?.exits(0)?;
    target.action("start")?.exits(5)?.because(&["/etc/ietd.conf", "mounted"])?;
    target.by_heartbeat(&["start"])?.exits(5)?;
    target.probe()?.exits(7)?;
    Ok(())
}
