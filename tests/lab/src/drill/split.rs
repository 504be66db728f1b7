//! Both nodes have written while they were apart.

use super::node::Node;
use super::stand::{PLAIN, Stand};
use crate::keeper::Verb;
use anyhow::{Result, ensure};

/// A block of its own for each node.
fn write(node: &Node, word: &str) -> Result<()> {
    node.shell(&format!(
        "yes {word} | dd of=/dev/drbd0 bs=4k count=1 seek=5000 iflag=fullblock oflag=direct 2>/dev/null"
    ))
    .map(drop)
}

fn read(node: &Node) -> Result<String> {
    let text = node.shell("dd if=/dev/drbd0 bs=4k count=1 skip=5000 2>/dev/null | head -n 1")?;
    Ok(text.trim().to_owned())
}

/// See the catalogue.
pub fn is_reported(stand: &Stand) -> Result<String> {
    let [first, second] = stand.nodes();
    let cut = Verb::Cut { machine: "node2".into(), network: "private".into(), silent: true };
    stand.lab.tell(&cut)?;
    for node in [&first, &second] {
        node.await_minor(0, "the peer to be given up", |minor| minor.disks.1 == "DUnknown")?;
        node.agent("drbd", PLAIN).action("promote")?.exits(0)?;
        write(node, node.machine.name)?;
    }
    stand.lab.tell(&Verb::Mend { machine: "node2".into(), network: "private".into() })?;
    for node in [&first, &second] {
        node.await_minor(0, "the two to part", |minor| minor.connection == "StandAlone")?;
    }
    for node in [&first, &second] {
        let name = node.machine.name;
        let drbd = node.agent("drbd", PLAIN);
        drbd.action("monitor")?.exits(191)?.because(&["StandAlone", "split brain"])?;
        let explained = drbd.explain()?;
        ensure!(
            explained.contains("split brain"),
            "explain says nothing of a split brain on {name}: {explained}"
        );
        // What the cluster would do: take it down and start it again.
        for (action, code) in [("demote", 0), ("stop", 0), ("start", 0)] {
            drbd.action(action)?.exits(code)?;
        }
    }
    for node in [&first, &second] {
        node.await_minor(0, "the two to part", |minor| minor.connection == "StandAlone")?;
        node.agent("drbd", PLAIN).action("monitor")?.exits(190)?.because(&["split brain"])?;
        node.agent("drbddisk", PLAIN).action("start")?.exits(0)?;
        let (name, found) = (node.machine.name, read(node)?);
        ensure!(found == name, "{name} has written its name and finds `{found}`");
        node.agent("drbddisk", PLAIN).action("stop")?.exits(0)?;
    }
    Ok(String::new())
}
