//! A resource that is stacked on another one. Its far node is a machine that
//! never answers.

use super::kill;
use super::order::Subject;
use super::stand::Stand;
use anyhow::{Result, ensure};

/// The lower resource and its device.
const LOWER: (&str, u32) = ("r4", 4);

/// The one on top.
const UPPER: (&str, u32) = ("r4-U", 14);

const RESOURCES: &str = "\
resource r4 {
  device /dev/drbd4; disk /dev/mapper/drill4; meta-disk internal;
  on node1 { address 10.10.2.251:7791; }
  on node2 { address 10.10.2.252:7791; }
}
resource r4-U {
  net { protocol A; }
  stacked-on-top-of r4 { device /dev/drbd14; address 10.10.1.251:7792; }
  on client { device /dev/drbd14; disk /dev/vdb; meta-disk internal; address 10.10.1.1:7792; }
}
";

/// Brings the lower resource up on both nodes, with data for both.
fn set_up(stand: &Stand) -> Result<()> {
    for node in stand.nodes() {
        node.machine.put("/etc/drbd.d/stacked.res", 0o644, RESOURCES.as_bytes())?;
        node.pretend("/usr/sbin/crm_attribute", "#!/bin/sh\nexit 0\n")?;
        node.shell(
            "dmsetup create drill4 --table '0 65536 linear /dev/vdb 262144' && dmsetup mknodes && \
             drbdadm create-md --force r4 2>&1 && drbdadm up r4 2>&1",
        )?;
    }
    let node = stand.node(0);
    node.await_minor(LOWER.1, "the lower resource", |minor| minor.connection == "Connected")?;
    node.shell(
        "drbdadm new-current-uuid --clear-bitmap r4/0 && drbdadm primary r4 && \
         drbdadm --stacked create-md --force r4-U 2>&1 && drbdadm --stacked up r4-U 2>&1 && \
         drbdadm --stacked primary --force r4-U && drbdadm --stacked down r4-U && \
         drbdadm secondary r4",
    )?;
    node.await_minor(LOWER.1, "the lower resource", |minor| minor.is_whole())
}

/// See the catalogue.
pub fn by_drbdupper(stand: &Stand) -> Result<String> {
    set_up(stand)?;
    let node = stand.node(0);
    let upper = node.agent("drbdupper", UPPER.0);
    upper.probe()?.exits(7)?;
    upper.action("start")?.exits(0)?;
    upper.action("monitor")?.exits(0)?;
    let roles = [LOWER, UPPER].map(|(_, minor)| node.minor(minor).map(|minor| minor.roles.0));
    for role in roles {
        ensure!(role? == "Primary", "after start a resource is not Primary");
    }
    node.background("exec sleep 100000 < /dev/drbd14", "pgrep -x sleep")?;
    upper.clone().limit(20).action("stop")?.exits(1)?.because(&["sleep"])?;
    node.end_background()?;
    node.shell("echo 'resource {' > /etc/drbd.d/stacked.res")?;
    upper.action("stop")?.exits(0)?;
    upper.probe()?.exits(7)?;
    let (lower, there) = (node.minor(LOWER.1)?.roles.0, node.minors()?);
    ensure!(lower == "Secondary", "after stop the lower resource is {lower}");
    ensure!(!there.contains_key(&UPPER.1), "after stop the upper resource is still there");
    Ok(String::new())
}

/// See the catalogue.
pub fn by_drbd(stand: &Stand) -> Result<String> {
    set_up(stand)?;
    let node = stand.node(0);
    let (lower, upper) = (node.agent("drbd", LOWER.0), node.agent("drbd", UPPER.0));
    lower.action("promote")?.exits(0)?;
    upper.probe()?.exits(7)?;
    for (action, code) in [
        ("start", 0),
        ("monitor", 0),
        ("promote", 0),
        ("monitor", 8),
        ("demote", 0),
        ("monitor", 0),
    ] {
        upper.action(action)?.exits(code)?;
    }
    lower.clone().limit(20).action("demote")?.exits(1)?.because(&[UPPER.0])?;
    for (action, code) in [("stop", 0), ("monitor", 7)] {
        upper.action(action)?.exits(code)?;
    }
    lower.action("demote")?.exits(0)?;
    node.agent("drbddisk", LOWER.0).action("start")?.exits(0)?;
    node.agent("drbddisk", LOWER.0).action("stop")?.exits(0)?;
    Ok(String::new())
}

/// See the catalogue.
pub fn kills(stand: &Stand, action: &str) -> Result<String> {
    set_up(stand)?;
    let subject = Subject::Stacked { lower: LOWER.1, upper: UPPER.1 };
    kill::of_one(stand, "drbdupper", action, UPPER.0, subject)
}
