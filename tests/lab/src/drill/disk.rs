//! The disk beneath DRBD fails.

use super::score::Told;
use super::stand::{PLAIN, Stand, failing, working};
use anyhow::{Result, ensure};

/// Brings the first node to Primary without a disk.
fn lose(stand: &Stand) -> Result<()> {
    let node = stand.node(0);
    node.agent("drbd", PLAIN).action("promote")?.exits(0)?;
    node.shell(&failing(0))?;
    node.shell("dd if=/dev/urandom of=/dev/drbd0 bs=4k count=8 seek=4096 oflag=direct 2>&1")?;
    node.await_minor(0, "the disk to be given up", |minor| minor.disks.0 == "Diskless")
}

/// See the catalogue.
pub fn fails(stand: &Stand) -> Result<String> {
    let [node, peer] = stand.nodes();
    let told = Told::listen(stand)?;
    lose(stand)?;
    node.agent("drbd", PLAIN).action("monitor")?.exits(8)?;
    peer.agent("drbd", PLAIN).action("monitor")?.exits(0)?;
    ensure!(told.last(&node)? == "10", "the node without a disk told {}", told.last(&node)?);
    ensure!(told.last(&peer)? == "10000", "its peer told {}", told.last(&peer)?);
    let explained = node.agent("drbd", PLAIN).explain()?;
    ensure!(explained.contains("Diskless"), "explain says nothing of the disk: {explained}");
    node.shell(&working())?;
    node.shell("drbdadm attach r0 2>&1")?;
    node.await_minor(0, "the disk to be filled again", |minor| minor.is_whole())?;
    node.agent("drbd", PLAIN).action("monitor")?.exits(8)?;
    ensure!(told.last(&node)? == "10000", "with its disk again it told {}", told.last(&node)?);
    Ok(String::new())
}

/// See the catalogue.
pub fn demoted(stand: &Stand) -> Result<String> {
    let [node, peer] = stand.nodes();
    lose(stand)?;
    let sum = node.shell("dd if=/dev/drbd0 bs=4k count=8 skip=4096 2>/dev/null | md5sum")?;
    node.agent("drbd", PLAIN).action("demote")?.exits(0)?;
    node.agent("drbd", PLAIN).action("monitor")?.exits(0)?;
    peer.agent("drbd", PLAIN).action("promote")?.exits(0)?;
    let there = peer.shell("dd if=/dev/drbd0 bs=4k count=8 skip=4096 2>/dev/null | md5sum")?;
    ensure!(sum == there, "what was written without a disk is not on the peer");
    node.agent("drbd", PLAIN).action("stop")?.exits(0)?;
    node.shell(&working())?;
    node.agent("drbd", PLAIN).action("start")?.exits(0)?;
    node.await_minor(0, "the disk to be filled again", |minor| minor.is_whole())?;
    Ok(String::new())
}
