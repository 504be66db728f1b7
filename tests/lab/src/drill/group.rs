//! Volume groups that are not as they should be.

use super::node::Node;
use super::stand::{GROUP, PLAIN, Stand};
use anyhow::{Result, ensure};

/// LVM's settings for a group that lies on no DRBD.
fn settings(node: &Node, more: &str) -> Result<()> {
    let text = format!(
        "devices {{ global_filter = [ \"a|^/dev/vdc|\", \"a|^/dev/sd|\", \"r|.*|\" ] }}\n{more}\n"
    );
    node.machine.put("/etc/lvm/lvmlocal.conf", 0o644, text.as_bytes())
}

/// A group vg1 on the given disks.
fn make(node: &Node, disks: &str) -> Result<()> {
    // Where no udev runs, what lvm leaves in /dev stays.
    node.shell(&format!(
        "rm -rf /dev/vg1; for disk in {disks}; do wipefs -qa $disk; dd if=/dev/zero of=$disk bs=1M count=1 2>/dev/null; done; \
         vgcreate -qq vg1 {disks} && lvcreate -Wn -Zn -an -qq -n x -L 4M vg1"
    ))
    .map(drop)
}

/// No volume of the group is active.
pub fn is_inactive(node: &Node, group: &str) -> Result<()> {
    let active = node.shell(&format!("dmsetup ls | grep ^{group}- || true"))?;
    ensure!(active.is_empty(), "volumes of {group} are active: {active}");
    Ok(())
}

/// See the catalogue.
pub fn is_lost(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    settings(&node, "")?;
    node.shell("modprobe scsi_debug dev_size_mb=16 && modprobe sd_mod")?;
    node.until("the disk", 30, || Ok(node.shell("ls /sys/class/block")?.contains("sda")))?;
    make(&node, "/dev/vdc /dev/sda")?;
    node.shell("lvcreate -Wn -Zn -an -qq -n y -L 4M vg1 /dev/sda")?;
    let group = node.agent("LVM", "vg1");
    group.action("start")?.exits(0)?;
    group.action("monitor")?.exits(0)?;
    node.shell("echo offline > /sys/class/block/sda/device/state")?;
    group.action("monitor")?.exits(1)?.because(&["gone or offline", "y"])?;
    node.shell("echo running > /sys/class/block/sda/device/state")?;
    group.action("monitor")?.exits(0)?;
    node.shell("echo 1 > /sys/class/block/sda/device/delete")?;
    group.action("monitor")?.exits(1)?.because(&["gone or offline", "y"])?;
    group.probe()?.exits(1)?;
    group.action("stop")?.exits(0)?;
    is_inactive(&node, "vg1")?;
    group.clone().limit(30).action("start")?.exits(1)?.because(&["misses"])?;
    is_inactive(&node, "vg1")?;
    node.shell("rmmod scsi_debug; wipefs -qa /dev/vdc")?;
    Ok(String::new())
}

/// See the catalogue.
pub fn has_another_owner(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    settings(&node, "global { system_id_source = \"uname\" }")?;
    make(&node, "/dev/vdc")?;
    node.shell("vgchange -qq -y --systemid elsewhere vg1")?;
    let owner = || -> Result<String> {
        Ok(node.shell("vgs --foreign --noheadings -o systemid vg1")?.trim().to_owned())
    };
    let group = node.agent("LVM", "vg1");
    group.probe()?.exits(7)?;
    let refused = group.action("start")?;
    ensure!(refused.code() != 0, "a group of another machine was activated");
    refused.because(&["elsewhere"])?;
    is_inactive(&node, "vg1")?;
    ensure!(owner()? == "elsewhere", "the owner has become {}", owner()?);
    // The cluster's own way: the owner is gone, and this node takes its place.
    let owned = group.with("vg_access_mode", "system_id");
    owned.action("start")?.exits(0)?;
    ensure!(owner()? == "node1", "the owner is still {}", owner()?);
    owned.action("monitor")?.exits(0)?;
    owned.action("stop")?.exits(0)?;
    is_inactive(&node, "vg1")?;
    node.shell("wipefs -qa /dev/vdc").map(|_| String::new())
}

/// See the catalogue.
pub fn has_a_foreign_tag(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    settings(&node, "activation { volume_list = [ \"nothing\" ] }")?;
    make(&node, "/dev/vdc")?;
    node.shell("vgchange -qq --addtag elsewhere vg1")?;
    let tags =
        || -> Result<String> { Ok(node.shell("vgs --noheadings -o tags vg1")?.trim().to_owned()) };
    let group = node.agent("LVM", "vg1").with("vg_access_mode", "tagging");
    group.action("start")?.exits(1)?.because(&["elsewhere"])?;
    is_inactive(&node, "vg1")?;
    ensure!(tags()? == "elsewhere", "the tags have become {}", tags()?);
    group.action("stop")?.exits(0)?;
    ensure!(tags()? == "elsewhere", "the tags have become {}", tags()?);
    node.shell("vgchange -qq --deltag elsewhere vg1")?;
    group.action("start")?.exits(0)?;
    ensure!(tags()? == "pacemaker", "the tags have become {}", tags()?);
    group.action("stop")?.exits(0)?;
    ensure!(tags()?.is_empty(), "stop has left the tags {}", tags()?);
    node.shell("wipefs -qa /dev/vdc").map(|_| String::new())
}

/// See the catalogue.
pub fn is_seen_twice(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    // What the distribution has in its lvm.conf: LVM sees all there is.
    node.machine.put("/etc/lvm/lvmlocal.conf", 0o644, b"devices { }\n")?;
    let group = node.agent("LVM", GROUP);
    // Where DRBD is not promoted, lvm sees the group on the disk beneath alone.
    let refused = group.action("start")?;
    ensure!(refused.code() != 0, "the group was activated from the disk beneath DRBD");
    refused.because(&["global_filter"])?;
    is_inactive(&node, GROUP)?;
    node.agent("drbddisk", PLAIN).action("start")?.exits(0)?;
    let explained = group.explain()?;
    ensure!(explained.contains("global_filter"), "explain does not say what to do: {explained}");
    for agent in [group, node.agent("lvm2", "")] {
        agent.action("start")?.exits(0)?;
        let beneath = node.shell(&format!("dmsetup deps {GROUP}-a"))?;
        ensure!(beneath.contains("(147, 0)"), "the group lies on something else: {beneath}");
        agent.action("monitor")?.exits(0)?;
        agent.action("stop")?.exits(0)?;
        is_inactive(&node, GROUP)?;
    }
    Ok(String::new())
}

/// See the catalogue.
pub fn has_another_twin(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    node.machine.put("/etc/lvm/lvmlocal.conf", 0o644, b"devices { }\n")?;
    node.agent("drbddisk", PLAIN).action("start")?.exits(0)?;
    // A copy of the disk, as a snapshot of the storage is one.
    node.shell("dd if=/dev/drbd0 of=/dev/vdc bs=1M count=2 iflag=direct conv=fsync 2>/dev/null")?;
    for agent in [node.agent("LVM", GROUP), node.agent("lvm2", "")] {
        let refused = agent.action("start")?;
        ensure!(refused.code() != 0, "the group was activated though a copy of it is there");
        refused.because(&["seen twice", "/dev/vdc"])?;
        is_inactive(&node, GROUP)?;
    }
    node.shell("wipefs -qa /dev/vdc; dd if=/dev/zero of=/dev/vdc bs=1M count=2 2>/dev/null")?;
    Ok(String::new())
}

/// See the catalogue.
pub fn is_elsewhere(stand: &Stand) -> Result<String> {
    let [node, peer] = stand.nodes();
    peer.agent("drbddisk", PLAIN).action("start")?.exits(0)?;
    peer.agent("LVM", GROUP).action("start")?.exits(0)?;
    let group = node.agent("LVM", GROUP);
    group.probe()?.exits(7)?;
    let refused = group.limit(30).action("start")?;
    ensure!(refused.code() != 0, "a group that the peer has was activated");
    refused.because(&["not promoted here"])?;
    is_inactive(&node, GROUP)?;
    peer.agent("LVM", GROUP).action("monitor")?.exits(0)?;
    peer.agent("LVM", GROUP).action("stop")?.exits(0)?;
    peer.agent("drbddisk", PLAIN).action("stop")?.exits(0)?;
    Ok(String::new())
}
