//! A file system whose journal is needed: the node that had it mounted has
//! lost power.

use super::node::{Agent, Node};
use super::stand::{PLAIN, Stand};
use crate::keeper::Verb;
use anyhow::{Result, ensure};

const DEVICE: &str = "/dev/drbd0";
const FILE: &str = "/mnt/drill/records";

/// Lines that are written and synced one by one.
const RECORDS: u32 = 40;

fn mounted<'a>(node: &Node<'a>) -> Agent<'a> {
    node.agent("Filesystem", DEVICE).with("directory", "/mnt/drill").with("fstype", "jfs")
}

/// See the catalogue.
pub fn is_replayed(stand: &Stand) -> Result<String> {
    let (first, second) = (stand.node(0), stand.node(1));
    first.agent("drbddisk", PLAIN).action("start")?.exits(0)?;
    stand.is_overwritten.set(true);
    first.shell(&format!("modprobe jfs; wipefs -qa {DEVICE}; mkfs.jfs -q {DEVICE}"))?;
    mounted(&first).action("start")?.exits(0)?;
    first.shell(&format!(
        "for n in $(seq {RECORDS}); do \
         echo $n | dd of={FILE} oflag=append conv=notrunc,fsync status=none || exit 1; done"
    ))?;
    stand.lab.tell(&Verb::PowerOff { machine: first.machine.name.into() })?;
    second.agent("drbddisk", PLAIN).action("start")?.exits(0)?;

    let print = || second.shell(&format!("sha256sum < {DEVICE}"));
    let before = print()?;
    second.shell("mount --bind /sbin/fsck.jfs.distrib /sbin/fsck.jfs")?;
    let refused = mounted(&second).action("start")?.exits(5)?;
    refused.because(&[DEVICE, "journal", "fsck.jfs", "loses it"])?;
    second.shell("umount /sbin/fsck.jfs")?;
    ensure!(print()? == before, "the start that was refused has written to {DEVICE}");

    let took = mounted(&second).action("start")?.exits(0)?.took;
    let found = second.shell(&format!("wc -l < {FILE}"))?;
    ensure!(found.trim() == RECORDS.to_string(), "of {RECORDS} records, {found} are there");
    mounted(&second).action("monitor")?.exits(0)?;
    mounted(&second).action("stop")?.exits(0)?;

    // Where nothing has to be replayed, a warning has to do.
    second.shell("mount --bind /sbin/fsck.jfs.distrib /sbin/fsck.jfs")?;
    mounted(&second).action("start")?.exits(0)?;
    mounted(&second).action("stop")?.exits(0)?;
    second.shell("umount /sbin/fsck.jfs")?;
    stand.lab.tell(&Verb::PowerOn { machine: first.machine.name.into() })?;
    stand.arrive(0)?;
    let warned = second.shell("grep -c 'fsck.jfs here loses it' /var/log/agents.log")?;
    Ok(format!("replayed in {:.0?}; Debian's was found out {} times", took, warned.trim()))
}
