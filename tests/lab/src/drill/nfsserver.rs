//! The kernel's NFS server: brought up, broken, taken down, and killed on the
//! way.

use super::node::{Agent, Node};
use super::stand::Stand;
use anyhow::{Context, Result, ensure};

/// On a file system of its own, as data that moves would be.
const STATE: &str = "/run/drill/data/nfs";

/// Every case begins with this and ends with the other.
const PREPARE: &str = "mkdir -p /run/drill/data /run/drill/shared /run/drill/client; \
    mount -t tmpfs data /run/drill/data; mount -t tmpfs shared /run/drill/shared";
const TIDY: &str = "umount -l /run/drill/client 2>/dev/null; echo 0 > /proc/fs/nfsd/threads; \
    exportfs -au 2>/dev/null; for daemon in rpc.mountd nfsdcld rpc.statd rpc.idmapd sm-notify; do pkill -9 -x $daemon; done; \
    umount /var/lib/nfs; umount -l /run/drill/data /run/drill/shared; true";

/// What the kernel has, by other ways than the agent asks it.
const TRUTH: &str = "echo threads $(cat /proc/fs/nfsd/threads 2>/dev/null || echo 0), \
    bound $(grep -c ' /var/lib/nfs ' /proc/mounts), \
    daemons $(ps --no-headers -C rpc.mountd,nfsdcld,rpc.statd,rpc.idmapd | wc -l)";

const NOTHING: &str = "threads 0, bound 0, daemons 0";

/// Does the case on the first node, and leaves nothing of it behind.
fn on_a_node(stand: &Stand, case: impl FnOnce(&Node, Agent) -> Result<String>) -> Result<String> {
    let node = stand.node(0);
    node.shell(TIDY)?;
    node.shell(PREPARE)?;
    let server = node
        .agent("nfsserver", STATE)
        .with("nfs_server_scope", "10.0.0.9")
        .with("nfs_ip", "127.0.0.1")
        .with("nfs_gracetime", "12")
        .with("nfs_leasetime", "11");
    let done = case(&node, server);
    node.shell(TIDY)?;
    done
}

fn truth(node: &Node) -> Result<String> {
    Ok(node.shell(TRUTH)?.trim().to_owned())
}

fn nothing_is_left(node: &Node) -> Result<()> {
    let left = truth(node)?;
    ensure!(left == NOTHING, "after stop there is: {left}");
    node.shell("umount /run/drill/data").context("the data cannot be unmounted")?;
    node.shell("mount -t tmpfs data /run/drill/data").map(drop)
}

/// See the catalogue.
pub fn comes_and_goes(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, server| {
        server.probe()?.exits(7)?;
        server.action("stop")?.exits(0)?;
        server.action("start")?.exits(0)?;
        server.action("start")?.exits(0)?;
        server.action("monitor")?.exits(0)?;
        let up = truth(node)?;
        ensure!(up == "threads 8, bound 1, daemons 4", "after start there is: {up}");
        let times = node.shell("cat /proc/fs/nfsd/nfsv4gracetime /proc/fs/nfsd/nfsv4leasetime")?;
        ensure!(times.split_whitespace().eq(["12", "11"]), "the times are {times}");
        // The names lie below what is bound: the node's own has the same owners.
        let owners = "stat -c '%n %U %a' sm sm.bak state etab v4recovery";
        let theirs = node.shell(&format!("cd {STATE} && {owners}"))?;
        server.action("stop")?.exits(0)?;
        server.action("stop")?.exits(0)?;
        server.action("monitor")?.exits(7)?;
        let own = node.shell(&format!("cd /var/lib/nfs && {owners}"))?;
        ensure!(own == theirs, "the node has {own}, the directory had {theirs}");
        nothing_is_left(node)?;
        Ok(String::new())
    })
}

/// See the catalogue.
pub fn daemons_die(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, server| {
        server.action("start")?.exits(0)?;
        for daemon in ["rpc.mountd", "nfsdcld", "rpc.statd"] {
            node.shell(&format!("pkill -9 -x {daemon}"))?;
            server.action("monitor")?.exits(1)?.because(&[daemon, "does not run"])?;
            server.action("start")?.exits(0)?;
            server.action("monitor")?.exits(0)?;
        }
        node.shell("echo 0 > /proc/fs/nfsd/threads")?;
        let why = ["there is no server", "/var/lib/nfs"];
        server.action("monitor")?.exits(1)?.because(&why)?;
        server.probe()?.exits(1)?;
        server.action("stop")?.exits(0)?;
        nothing_is_left(node)?;
        Ok(String::new())
    })
}

/// See the catalogue.
pub fn a_client_holds_a_lock(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, server| {
        server.action("start")?.exits(0)?;
        node.shell(
            "exportfs -o rw,fsid=7,no_root_squash,no_subtree_check '*:/run/drill/shared' && \
             mount -t nfs -o vers=4.1,hard 127.0.0.1:/run/drill/shared /run/drill/client",
        )?;
        node.background(
            "exec 9>/run/drill/client/lock; flock 9; sleep 1000",
            "grep -q 'type: lock' /proc/fs/nfsd/clients/*/states",
        )?;
        let stop = server.clone().limit(60).action("stop")?.exits(0)?;
        nothing_is_left(node)?;
        node.shell("umount /run/drill/shared").context("what was exported is held")?;
        node.shell("mount -t tmpfs shared /run/drill/shared")?;
        Ok(format!("stop took {:.1} s", stop.took.as_secs_f64()))
    })
}

/// See the catalogue.
pub fn the_directory_is_read_only(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, server| {
        node.shell("mount -o remount,ro /run/drill/data")?;
        server.action("start")?.exits(1)?.because(&[STATE])?;
        server.probe()?.exits(7)?;
        server.action("stop")?.exits(0)?;
        nothing_is_left(node)?;
        Ok(String::new())
    })
}

/// See the catalogue.
pub fn is_killed(stand: &Stand, action: &str) -> Result<String> {
    on_a_node(stand, |node, server| {
        let rounds = stand.kills.min(20);
        let (mut moments, mut struck) = (stand.seed | 1, 0);
        for round in 0..rounds {
            moments = moments.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let longest = if action == "start" { 11_000 } else { 4_500 };
            let moment = (moments >> 33) % longest;
            if action == "stop" {
                server.action("start")?.exits(0)?;
            }
            let line = server.line(action);
            let said = node.shell(&format!(
                "setsid sh -c '{line}' >/dev/null 2>&1 & p=$!; sleep {}.{:03}; \
                 kill -9 -$p 2>/dev/null && echo struck; wait $p 2>/dev/null; true",
                moment / 1000,
                moment % 1000
            ))?;
            struck += u32::from(said.contains("struck"));
            let seen = truth(node)?;
            let told = server.action("monitor")?.exits_one_of(&[0, 1, 7])?.code();
            let is_true = match told {
                0 => seen.starts_with("threads 8, bound 1"),
                7 => seen.starts_with("threads 0, bound 0"),
                _ => true,
            };
            ensure!(
                is_true,
                "after a kill at {moment} ms monitor says {told}, and there is {seen}"
            );
            if round % 2 == 0 && server.action("start")?.code() != 0 {
                server.action("stop")?.exits(0)?;
                server.action("start")?.exits(0)?;
            }
            server.action("stop")?.exits(0)?;
            nothing_is_left(node).with_context(|| format!("after a kill at {moment} ms"))?;
        }
        Ok(format!("{struck} of {rounds} kills struck in the middle"))
    })
}
