//! Somebody has the device open that an action wants to take away.

use super::node::{Agent, Node};
use super::stand::{DOUBLE, GROUP, PLAIN, Stand};
use anyhow::Result;

/// Somebody, `DEV` being the device.
#[derive(Clone, Copy)]
pub struct Holder {
    /// What it needs on the device.
    prepare: &'static str,
    /// What it is, in the background.
    line: &'static str,
    /// True once it has the device.
    ready: &'static str,
    /// What a reason has to name.
    named: &'static [&'static str],
    /// What ends it besides the end of its process.
    release: &'static str,
}

/// A process that has it open.
pub const PROCESS: Holder = Holder {
    prepare: "true",
    line: "exec sleep 100000 < DEV",
    ready: "pgrep -x sleep",
    named: &["sleep"],
    release: "true",
};

/// A mount that only another mount namespace has.
pub const NAMESPACE: Holder = Holder {
    prepare: "mkfs.ext4 -q DEV",
    line: "exec unshare -m sh -c \"mount DEV /mnt/drill && exec sleep 100000\"",
    ready: "grep -q /mnt/drill /proc/$(pgrep -x sleep)/mounts",
    named: &["/mnt/drill", "namespace"],
    release: "true",
};

/// A loop device.
pub const LOOP: Holder = Holder {
    prepare: "losetup -f DEV",
    line: "exec sleep 100000",
    ready: "losetup -a | grep -q .",
    named: &["loop"],
    release: "losetup -D",
};

/// Has the device held, sees `action` fail in its time and name the holder,
/// and work once the holder is gone.
fn fails_and_works(
    node: &Node,
    holder: Holder,
    device: &str,
    agent: &Agent,
    action: &str,
) -> Result<()> {
    let of = |line: &str| line.replace("DEV", device);
    node.shell(&of(holder.prepare))?;
    node.background(&of(holder.line), holder.ready)?;
    let agent = agent.clone().limit(20);
    agent.action(action)?.exits(1)?.because(holder.named)?;
    node.end_background()?;
    node.shell(holder.release)?;
    agent.limit(90).action(action)?.exits(0)?;
    Ok(())
}

/// See the catalogue.
pub fn demote(stand: &Stand, holder: Holder) -> Result<String> {
    let node = stand.node(0);
    let drbd = node.agent("drbd", DOUBLE);
    drbd.action("promote")?.exits(0)?;
    fails_and_works(&node, holder, "/dev/drbd2", &drbd, "demote")?;
    drbd.action("monitor")?.exits(0)?;
    // The other way down, by another agent.
    let disk = node.agent("drbddisk", DOUBLE);
    disk.action("start")?.exits(0)?;
    fails_and_works(&node, holder, "/dev/drbd3", &disk, "stop")?;
    disk.action("monitor")?.exits(7)?;
    Ok(String::new())
}

/// See the catalogue.
pub fn demote_below_group(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    let drbd = node.agent("drbd", PLAIN);
    drbd.action("promote")?.exits(0)?;
    let group = node.agent("LVM", GROUP);
    group.action("start")?.exits(0)?;
    let named = drbd.clone().limit(20).action("demote")?.exits(1)?;
    named.because(&["logical volume", GROUP])?;
    group.action("stop")?.exits(0)?;
    drbd.action("demote")?.exits(0)?;
    Ok(String::new())
}

/// See the catalogue.
pub fn stop(stand: &Stand, holder: Holder) -> Result<String> {
    let node = stand.node(0);
    node.agent("drbddisk", PLAIN).action("start")?.exits(0)?;
    let group = node.agent("LVM", GROUP);
    group.action("start")?.exits(0)?;
    fails_and_works(&node, holder, "/dev/vg0/b", &group, "stop")?;
    group.probe()?.exits(7)?;
    Ok(String::new())
}
