//! What the agents stand on is broken: the configuration, the module, drbdadm.

use super::node::Node;
use super::stand::{DOUBLE, PLAIN, Stand};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// Ways to spoil the configuration.
const SPOILED: [(&str, &str); 3] = [
    ("broken", "echo 'resource r2 { on' > /etc/drbd.d/drill.res"),
    ("without the resources", "rm /etc/drbd.d/drill.res"),
    ("gone", "rm /etc/drbd.conf"),
];

/// What belongs there.
const RESTORE: &str = "cp -a /root/drill/etc/. /etc/";

/// See the catalogue.
pub fn configuration_is_broken(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    for (what, spoil) in SPOILED {
        stops_without(&node, spoil).with_context(|| format!("the configuration is {what}"))?;
    }
    Ok(String::new())
}

fn stops_without(node: &Node, spoil: &str) -> Result<()> {
    let (drbd, disk) = (node.agent("drbd", DOUBLE), node.agent("drbddisk", PLAIN));
    drbd.action("start")?.exits(0)?;
    drbd.action("promote")?.exits(0)?;
    disk.action("start")?.exits(0)?;
    node.shell(spoil)?;
    drbd.action("monitor")?.exits(8)?;
    disk.action("monitor")?.exits(0)?;
    disk.action("stop")?.exits(0)?;
    let role = node.minor(0)?.roles.0;
    ensure!(role == "Secondary", "after drbddisk stop the device is {role}");
    drbd.action("stop")?.exits(0)?;
    is_down(node)?;
    drbd.probe()?.exits(7)?;
    // Once more: nothing is there, and nothing can be asked of drbdadm.
    drbd.action("stop")?.exits(0)?;
    node.shell(RESTORE)?;
    drbd.action("start")?.exits(0)?;
    node.await_minor(3, "the resource to be back", |minor| minor.is_whole())
}

fn is_down(node: &Node) -> Result<()> {
    let left: Vec<u32> =
        node.minors()?.into_keys().filter(|minor| [2, 3].contains(minor)).collect();
    ensure!(left.is_empty(), "after stop the devices {left:?} are still there");
    Ok(())
}

/// See the catalogue.
pub fn is_absent(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    node.shell("drbdsetup down r0 && drbdsetup down r2 && rmmod drbd")?;
    for agent in ["drbd", "drbddisk"] {
        let probe = node.agent(agent, PLAIN).limit(20).probe()?.exits(7)?;
        ensure!(
            probe.took < Duration::from_secs(15),
            "a probe of {agent} took {:?} of its 20 s",
            probe.took
        );
    }
    node.agent("drbd", PLAIN).action("stop")?.exits(0)?;
    node.agent("drbd", DOUBLE).action("start")?.exits(0)?;
    node.agent("drbd", PLAIN).action("start")?.exits(0)?;
    for minor in [0, 2, 3] {
        node.await_minor(minor, "DRBD to be back", |minor| minor.is_whole())?;
    }
    Ok(String::new())
}

/// See the catalogue.
pub fn drbdadm_hangs(stand: &Stand) -> Result<String> {
    const PLACE: &str = "/usr/sbin/drbdadm";
    // The kernel has it run handlers, too, and would wait for them for ever.
    const HANGS: &str = "#!/bin/sh\ncase \"$*\" in *minor-*) exit 0;; esac\nexec sleep 100000\n";
    let node = stand.node(0);
    let short = |agent: &str, name: &str| node.agent(agent, name).limit(20);
    short("drbd", PLAIN).action("stop")?.exits(0)?;
    short("drbd", DOUBLE).action("promote")?.exits(0)?;
    node.pretend(PLACE, HANGS)?;
    short("drbd", DOUBLE).action("monitor")?.exits(8)?;
    short("drbd", PLAIN).probe()?.exits(7)?;
    short("drbd", PLAIN).action("start")?.exits(1)?.because(&["drbdadm"])?;
    short("drbd", PLAIN).probe()?.exits(7)?;
    short("drbd", DOUBLE).action("demote")?.exits(0)?;
    short("drbd", DOUBLE).action("monitor")?.exits(0)?;
    // Either way is well: past drbdadm, or with a reason.
    for agent in ["drbddisk", "drbd"] {
        let action = if agent == "drbd" { "promote" } else { "start" };
        let tried = short(agent, DOUBLE).action(action)?.exits_one_of(&[0, 1])?;
        if tried.code() == 1 {
            tried.because(&["drbdadm"])?;
        }
    }
    node.shell("drbdsetup primary 2; drbdsetup primary 3")?;
    short("drbddisk", DOUBLE).action("monitor")?.exits(0)?;
    short("drbddisk", DOUBLE).action("stop")?.exits(0)?;
    short("drbddisk", DOUBLE).action("monitor")?.exits(7)?;
    node.shell("drbdsetup primary 2; drbdsetup primary 3")?;
    short("drbd", DOUBLE).action("stop")?.exits(0)?;
    is_down(&node)?;
    node.unpretend(PLACE)?;
    short("drbd", PLAIN).limit(60).action("start")?.exits(0)?;
    short("drbd", DOUBLE).limit(60).action("start")?.exits(0)?;
    Ok(String::new())
}
