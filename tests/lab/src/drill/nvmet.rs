//! Subsystems, disks and addresses of the kernel's NVMe target, with an
//! initiator on the same node.

use super::kill;
use super::lun::DISKS;
use super::node::{Agent, Node};
use super::order::Subject;
use super::stand::Stand;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

const NQN: &str = "nqn.2014-08.com.example:drill";
const UUID: &str = "8b0c6a5e-0e1a-4c57-9d1a-5b7a3a2f4e10";
const SECOND: &str = "8b0c6a5e-0e1a-4c57-9d1a-5b7a3a2f4e11";
/// What the initiator is called.
const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:3b1f0f5c-6a4e-4f0e-8f3e-1c2d3e4f5a6b";
const ROOT: &str = "/sys/kernel/config/nvmet";

/// A subsystem of somebody else's, shown where ours is.
const FOREIGN: &str = "\
modprobe -a nvmet nvmet-tcp nvme-tcp; \
mount | grep -q configfs || mount -t configfs configfs /sys/kernel/config; \
truncate -s 8M /srv/target/foreign; N=/sys/kernel/config/nvmet; \
S=$N/subsystems/nqn.2014-08.com.example:foreign; P=$N/ports/0; mkdir -p $S/namespaces/1 $P && \
printf /srv/target/foreign > $S/namespaces/1/device_path && echo 1 > $S/namespaces/1/enable && \
echo 1 > $S/attr_allow_any_host && echo tcp > $P/addr_trtype && echo ipv4 > $P/addr_adrfam && \
echo 10.99.0.9 > $P/addr_traddr && echo 4420 > $P/addr_trsvcid && ln -s $S $P/subsystems/foreign";

/// The initiator connects, by this name.
fn connect(host: &str) -> String {
    format!("nvme connect -t tcp -a 10.99.0.9 -s 4420 -n {NQN} --hostnqn={host} 2>&1")
}

fn by_id(uuid: &str) -> String {
    format!("/dev/disk/by-id/nvme-uuid.{uuid}")
}

fn set_up(node: Node<'_>) -> Result<()> {
    node.shell(&format!("{DISKS}; {FOREIGN}")).map(drop)
}

fn subsystem(node: Node<'_>) -> Agent<'_> {
    let agent = node.named("nvmet-subsystem", "nqn", NQN);
    agent.with("allowed_initiators", HOST).with("serial", "5ba72d17")
}

fn disk<'a>(node: Node<'a>, uuid: &str, number: &str, path: &str) -> Agent<'a> {
    let agent = node.named("nvmet-namespace", "uuid", uuid).with("nqn", NQN);
    agent.with("namespace_id", number).with("backing_path", path)
}

fn port<'a>(node: Node<'a>, address: &str) -> Agent<'a> {
    node.named("nvmet-port", "addr", address).with("nqns", NQN)
}

/// Writes by way of the initiator, and reads what came of it on the disk.
fn writes(node: Node<'_>, uuid: &str, disk: &str) -> Result<()> {
    let path = by_id(uuid);
    let ready = format!("[ -b {path} ]");
    node.until(&path, 60, || {
        Ok(node.machine.run(&["/bin/sh", "-c", &ready], Duration::from_secs(20))?.code == 0)
    })?;
    node.shell(&format!(
        "head -c 32768 /dev/urandom > /run/drill/data; \
         timeout 60 dd if=/run/drill/data of={path} bs=4096 oflag=direct conv=notrunc 2>&1 && \
         dd if={disk} bs=4096 count=8 iflag=direct 2>/dev/null | cmp - /run/drill/data"
    ))?;
    Ok(())
}

/// Nothing of ours in the kernel, the disk is not held, and what is somebody
/// else's is as it was.
fn nothing_is_left(node: Node<'_>) -> Result<()> {
    let ours = node.shell(&format!(
        "ls -d {ROOT}/subsystems/{NQN} {ROOT}/ports/[1-9]* {ROOT}/hosts/* 2>/dev/null; true"
    ))?;
    ensure!(ours.trim().is_empty(), "this is left: {ours}");
    let open = node.shell("dmsetup info -c --noheadings -o open drill-lun1")?;
    ensure!(open.trim() == "0", "the disk is still open after stop");
    let foreign = node.shell(&format!(
        "cat {ROOT}/subsystems/*:foreign/namespaces/1/enable; ls {ROOT}/ports/0/subsystems"
    ))?;
    ensure!(foreign.split_whitespace().eq(["1", "foreign"]), "another's is not: {foreign}");
    Ok(())
}

/// See the catalogue.
pub fn serves(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    set_up(node)?;
    let subsystem = subsystem(node);
    let first = disk(node, UUID, "1", "/dev/mapper/drill-lun1");
    let second = disk(node, SECOND, "2", "/srv/target/file");
    let port = port(node, "10.99.0.9");
    let all = [&subsystem, &first, &second, &port];
    for agent in all {
        agent.probe()?.exits(7)?;
        agent.action("stop")?.exits(0)?;
    }
    first.action("start")?.exits(1)?.because(&["no subsystem", NQN])?;
    port.action("start")?.exits(1)?.because(&["no such subsystem"])?;
    nothing_is_left(node)?;
    for agent in all {
        agent.action("start")?.exits(0)?;
        agent.action("monitor")?.exits(0)?;
    }
    // Whoever has another name stays outside.
    let other = HOST.replace("3b1f", "0000");
    node.shell(&format!("! {} && {}", connect(&other), connect(HOST)))?;
    writes(node, UUID, "/dev/mapper/drill-lun1")?;
    writes(node, SECOND, "/srv/target/file")?;
    second.action("stop")?.exits(0)?;
    first.action("monitor")?.exits(0)?;
    writes(node, UUID, "/dev/mapper/drill-lun1")?;
    // Out of order, with a connection open and a disk in it.
    subsystem.action("stop")?.exits(0)?;
    for agent in all {
        agent.probe()?.exits(7)?;
        agent.action("stop")?.exits(0)?;
    }
    nothing_is_left(node)?;
    // The client, which was never told, goes on where it was.
    for agent in [&subsystem, &first, &port] {
        agent.action("start")?.exits(0)?;
    }
    writes(node, UUID, "/dev/mapper/drill-lun1")?;
    for agent in [&port, &first, &subsystem] {
        agent.action("stop")?.exits(0)?;
    }
    nothing_is_left(node)?;
    node.shell("nvme disconnect-all")?;
    Ok(String::new())
}

/// See the catalogue.
pub fn is_held(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    set_up(node)?;
    let subsystem = subsystem(node);
    let held = disk(node, UUID, "1", "/dev/mapper/drill-lun1").limit(20);
    let other = disk(node, SECOND, "2", "/dev/mapper/drill-lun2").limit(20);
    let port = port(node, "10.99.0.9").limit(20);
    for agent in [&subsystem, &held, &other, &port] {
        agent.action("start")?.exits(0)?;
    }
    node.shell(&connect(HOST))?;
    writes(node, UUID, "/dev/mapper/drill-lun1")?;
    node.shell(&format!(
        "dmsetup suspend --noflush --nolockfs drill-lun1; \
         setsid dd if=/dev/zero of={} bs=4096 count=1 oflag=direct conv=notrunc \
         </dev/null >/dev/null 2>&1 & sleep 1",
        by_id(UUID)
    ))?;
    let told = ends_in_time(&subsystem, &held, &other, &port);
    node.shell("dmsetup resume drill-lun1; sleep 2")?;
    let seen = told?;
    for agent in [&port, &held, &other, &subsystem] {
        agent.action("stop")?.exits(0)?;
        agent.probe()?.exits(7)?;
    }
    node.shell("nvme disconnect-all")?;
    nothing_is_left(node)?;
    Ok(seen)
}

/// While the first disk does not answer.
fn ends_in_time(
    subsystem: &Agent<'_>,
    held: &Agent<'_>,
    other: &Agent<'_>,
    port: &Agent<'_>,
) -> Result<String> {
    for agent in [subsystem, held, other, port] {
        agent.action("monitor")?.exits(0)?;
    }
    let stopped = held.action("stop")?.exits(1)?.because(&["under way", "namespaces/1/enable"])?;
    let took = stopped.took;
    held.action("monitor")?.exits(1)?;
    other.action("monitor")?.exits(0)?;
    subsystem.action("monitor")?.exits(0)?;
    port.action("monitor")?.exits(0)?;
    // Its disk answers, but kernels of late make one such change at a time.
    let waiting = other.action("stop")?.exits_one_of(&[0, 1])?;
    if waiting.code() == 1 {
        waiting.because(&["under way", "enable_store"])?;
    }
    Ok(format!("the stop of the disk that does not answer ended after {:.1} s", took.as_secs_f64()))
}

/// See the catalogue.
pub fn is_called_otherwise(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    set_up(node)?;
    let subsystem = subsystem(node);
    subsystem.action("start")?.exits(0)?;
    let disk = disk(node, UUID, "1", "/dev/drill-disk");
    loses_its_path(node, &disk, 1, "nvmet-namespace")?;
    subsystem.action("stop")?.exits(0)?;
    nothing_is_left(node)?;
    Ok(String::new())
}

/// A disk that is served by way of the link /dev/drill-disk: every action while
/// that dangles, and while it leads to another disk, of which a monitor tells
/// with this code.
pub(super) fn loses_its_path(
    node: Node<'_>,
    disk: &Agent<'_>,
    elsewhere: i32,
    agent: &str,
) -> Result<()> {
    let lead = |to: &str| node.shell(&format!("ln -sfn {to} /dev/drill-disk")).map(drop);
    lead("/dev/mapper/gone")?;
    disk.probe()?.exits(7)?;
    disk.action("stop")?.exits(0)?;
    disk.action("start")?.exits(5)?.because(&["/dev/drill-disk"])?;
    disk.probe()?.exits(7)?;
    lead("/dev/mapper/drill-lun1")?;
    disk.action("start")?.exits(0)?;
    disk.action("monitor")?.exits(0)?;
    // The volume is renamed, and the link dangles.
    node.shell("dmsetup rename drill-lun1 drill-away && dmsetup mknodes")?;
    let renamed = (|| {
        disk.action("monitor")?.exits(0)?;
        disk.probe()?.exits(0)?;
        disk.action("start")?.exits(0)?;
        // Another one has its name.
        lead("/dev/mapper/drill-lun2")?;
        disk.action("monitor")?.exits(elsewhere)?.because(if elsewhere == 1 {
            &["serves", "/dev/drill-disk"]
        } else {
            &[]
        })?;
        lead("/dev/mapper/gone")?;
        disk.action("stop")?.exits(0)?;
        disk.probe()?.exits(7)?;
        let open = node.shell("dmsetup info -c --noheadings -o open drill-away")?;
        ensure!(open.trim() == "0", "the disk is still open after stop");
        disk.action("start")?.exits(5)?;
        Ok(())
    })();
    node.shell("dmsetup rename drill-away drill-lun1 && dmsetup mknodes")?;
    renamed.context(agent.to_owned())
}

/// See the catalogue: the subsystem on the first node, a disk on the second.
pub fn kills(stand: &Stand, action: &str) -> Result<String> {
    let [first, second] = stand.nodes();
    set_up(first)?;
    set_up(second)?;
    subsystem(second).action("start")?.exits(0)?;
    let place = format!("{ROOT}/subsystems/{NQN}");
    let of_subsystem = Subject::Tree(vec![
        place.clone(),
        format!("{place}/attr_serial=5ba72d17"),
        format!("{place}/allowed_hosts/{HOST}"),
    ]);
    let namespace = format!("{place}/namespaces/1");
    let of_disk = Subject::Tree(vec![
        namespace.clone(),
        format!("{namespace}/device_uuid={UUID}"),
        format!("{namespace}/enable=1"),
    ]);
    let disk = disk(second, UUID, "1", "/dev/mapper/drill-lun1");
    let calls = [(subsystem(first).call().clone(), of_subsystem), (disk.call().clone(), of_disk)];
    let told = kill::of_two(stand, calls, action)?;
    disk.action("stop")?.exits(0)?;
    for node in [first, second] {
        subsystem(node).action("stop")?.exits(0)?;
        nothing_is_left(node)?;
    }
    Ok(told)
}

/// See the catalogue: a port for itself on the first node, and on the second one
/// of IPv6 with a number.
pub fn port_kills(stand: &Stand, action: &str) -> Result<String> {
    let nodes = stand.nodes();
    for node in nodes {
        set_up(node)?;
        subsystem(node).action("start")?.exits(0)?;
    }
    let plain = port(nodes[0], "10.99.0.9").with("svcid", "4421");
    let numbered = port(nodes[1], "::1").with("port_id", "7");
    let tree = |id: u16| {
        let place = format!("{ROOT}/ports/{id}");
        Subject::Tree(vec![place.clone(), format!("{place}/subsystems/{NQN}")])
    };
    // The first that is free beside another's.
    let calls = [(plain.call().clone(), tree(1)), (numbered.call().clone(), tree(7))];
    let told = kill::of_two(stand, calls, action)?;
    for (node, port) in nodes.into_iter().zip([plain, numbered]) {
        port.action("stop")?.exits(0)?;
        subsystem(node).action("stop")?.exits(0)?;
        nothing_is_left(node)?;
    }
    Ok(told)
}
