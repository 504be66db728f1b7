//! The kernel's NFS server: brought up, broken, taken down, and killed on the
//! way.

use super::kill;
use super::node::{Agent, Node};
use super::order::Subject;
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

const RPCBIND: &str = "mkdir -p /run/rpcbind; pidof rpcbind || rpcbind -w";

/// A node on which statd has run before: the first time it makes its number itself,
/// and that file is root's.
const STATD_ONCE: &str = "mkdir -p /run/sendsigs.omit.d; rpc.statd --no-notify && pkill -x rpc.statd && \
    while pidof rpc.statd; do sleep 0.1; done";

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

/// Has the directory lie on a device-mapper disk of that name, which can be
/// suspended: `/dev/mapper/drill-NAME`.
fn put_on_a_mapped_disk(node: &Node, name: &str, directory: &str) -> Result<()> {
    let image = format!("/run/drill/{name}.img");
    node.shell(&format!(
        "umount {directory}; truncate -s 64M {image} && mkfs.ext4 -q -F {image} && \
         losetup -f {image} && loop=$(losetup -n -O NAME -j {image}) && \
         echo 0 131072 linear $loop 0 | dmsetup create drill-{name} && \
         mount /dev/mapper/drill-{name} {directory}"
    ))
    .map(drop)
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
        node.shell(RPCBIND)?;
        node.shell(STATD_ONCE)?;
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
        let told = kill::of_call(stand, server.call().clone(), action, Subject::Server)?;
        server.action("stop")?.exits(0)?;
        nothing_is_left(node)?;
        Ok(told)
    })
}

/// See the catalogue.
pub fn exportfs_is_gone(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, _| {
        node.shell(
            "mkdir -p /run/drill/shared/für && mkdir '/run/drill/shared/a b' && \
             printf '/run/drill/shared/für *(rw,fsid=7,no_subtree_check)\\n\
             \"/run/drill/shared/a b\" 127.0.0.1(ro,fsid=8,no_subtree_check) \
             fd00::/64(ro,fsid=8,no_subtree_check)\\n' > /etc/exports && \
             exportfs -i -o ro,fsid=9,no_subtree_check '*:/run/drill/data'",
        )?;
        let server = node.agent("nfs-kernel-server", STATE).without(&["nfs_shared_infodir"]);
        server.action("start")?.exits(0)?;
        let table = || node.shell("cut -d'(' -f1 /var/lib/nfs/etab | sort");
        let up = table()?;
        ensure!(up.lines().count() == 4, "after start the table has {up}");
        node.shell("mount -t nfs -o vers=4.2 127.0.0.1:/run/drill/shared/für /run/drill/client")?;
        node.shell("umount /run/drill/client")?;
        node.pretend("/usr/sbin/exportfs", "#!/bin/sh\nsleep 1000\n")?;
        server.action("monitor")?.exits(0)?;
        let stop = server.action("stop")?.exits(0)?;
        node.shell("umount /usr/sbin/exportfs")?;
        let left = table()?;
        ensure!(left.trim() == "/run/drill/data\t*", "after stop the table has {left}");
        let cached =
            node.shell("grep -c ^/run/drill/shared /proc/net/rpc/nfsd.export/content || true")?;
        ensure!(cached.trim() == "0", "after stop the kernel has {cached} of them");
        node.shell("exportfs -u '*:/run/drill/data'; : > /etc/exports")?;
        nothing_is_left(node)?;
        node.shell("umount /run/drill/shared").context("what was exported is held")?;
        node.shell("mount -t tmpfs shared /run/drill/shared")?;
        Ok(format!("stop took {:.1} s", stop.took.as_secs_f64()))
    })
}

/// See the catalogue.
pub fn exports_come_first(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, server| {
        let export = node.agent("exportfs", "/run/drill/shared").with("clientspec", "127.0.0.1");
        let export = export.with("fsid", "7").with("options", "rw,no_root_squash,no_subtree_check");
        export.action("start")?.exits(0)?;
        export.action("monitor")?.exits(0)?;
        server.action("start")?.exits(0)?;
        // From the first moment of the server the directory is there.
        node.shell(
            "echo one > /run/drill/shared/one; \
             mount -t nfs -o vers=4.2 127.0.0.1:/run/drill/shared /run/drill/client && \
             grep -q one /run/drill/client/one && umount /run/drill/client",
        )?;
        export.action("monitor")?.exits(0)?;
        server.action("stop")?.exits(0)?;
        // As long as nobody serves, it is still asked for.
        export.action("monitor")?.exits(0)?;
        export.action("stop")?.exits(0)?;
        export.probe()?.exits(7)?;
        let left = node.shell("cat /var/lib/nfs/etab")?;
        ensure!(left.is_empty(), "the table has {left}");
        nothing_is_left(node)?;
        node.shell("umount /run/drill/shared").context("what was exported is held")?;
        node.shell("mount -t tmpfs shared /run/drill/shared")?;
        Ok(String::new())
    })
}

/// See the catalogue.
pub fn the_directory_is_stuck(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, server| {
        put_on_a_mapped_disk(node, "state", "/run/drill/data")?;
        let server = server.limit(30);
        let done = stuck(node, &server);
        node.shell("dmsetup resume drill-state")?;
        let said = done?;
        server.action("stop")?.exits(0)?;
        node.shell(
            "umount /run/drill/data && dmsetup remove drill-state && losetup -D && \
             mount -t tmpfs data /run/drill/data",
        )?;
        nothing_is_left(node)?;
        Ok(said)
    })
}

/// What is said while the state directory's disk does not answer.
fn stuck(node: &Node, server: &Agent) -> Result<String> {
    server.action("start")?.exits(0)?;
    let export = node.agent("exportfs", "/run/drill/shared").with("clientspec", "127.0.0.1");
    let export = export.with("fsid", "7").with("options", "rw,no_subtree_check").limit(20);
    export.action("start")?.exits(0)?;
    export.action("monitor")?.exits(0)?;
    node.shell("sync; dmsetup suspend --noflush --nolockfs drill-state")?;
    let warm = [export.action("monitor")?.exits(0)?, server.action("monitor")?.exits(0)?];
    // Nothing of it is in memory any more.
    node.shell("echo 3 > /proc/sys/vm/drop_caches")?;
    let cold = export.action("monitor")?;
    ensure!(cold.took.as_secs() < 20, "the monitor of an export took {:?}", cold.took);
    let told = cold.code() == 0 || cold.reason().contains("/var/lib/nfs/etab");
    ensure!(told, "the monitor of an export says {}: {}", cold.code(), cold.reason());
    server.action("monitor")?.exits(0)?;
    let stop = export.action("stop")?;
    ensure!(stop.took.as_secs() < 20, "the stop of an export took {:?}", stop.took);
    // A directory is taken off another without its disk being asked. But mountd may
    // be about to read its table there, and cannot be ended then; and at the end of a
    // grace period the kernel waits for nfsdcld, and nfsdcld for the disk.
    let all = server.action("stop")?.exits_one_of(&[0, 1])?;
    let left = truth(node)?;
    let told = match all.code() {
        0 => left == NOTHING,
        _ => ["stuck in", "cannot be ended"].iter().any(|word| all.reason().contains(word)),
    };
    ensure!(told, "stop says {}: {}; and there is: {left}", all.code(), all.reason());
    let said = all.reason();
    let times = [&warm[0], &warm[1], &cold, &stop, &all].map(|answer| answer.took.as_secs_f64());
    let [export, own, cold_time, stop, all] = times;
    Ok(format!(
        "monitors {export:.1} and {own:.1} s; of the export {cold_time:.1} s once nothing is in memory; \
         stops {stop:.1} and {all:.1} s {said}"
    ))
}

/// See the catalogue.
pub fn another_has_the_server(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, server| {
        node.shell(RPCBIND)?;
        node.shell(
            "modprobe nfsd; mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd",
        )?;
        let has_family = node.shell("nfsdctl threads >/dev/null 2>&1 && echo yes || echo no")?;
        if has_family.trim() == "no" {
            return Ok("the kernel has no netlink family for its NFS server".into());
        }
        // The kernel takes the name that the machine has for whoever starts it.
        let up = "hostname other && echo 3 > /proc/fs/nfsd/threads && cat /proc/fs/nfsd/threads";
        let up = node.shell(&format!("unshare -u sh -c '{up}'"))?;
        ensure!(up.trim() == "3", "no server of another's has come up: {up}");
        server.probe()?.exits(7)?;
        server.action("monitor")?.exits(1)?.because(&["has the scope other"])?;
        server.action("start")?.exits(1)?.because(&["has the scope other"])?;
        server.action("stop")?.exits(0)?;
        let left = node.shell("cat /proc/fs/nfsd/threads")?;
        ensure!(left.trim() == "3", "of the other's 3 threads {left} are left");
        node.shell("echo 0 > /proc/fs/nfsd/threads")?;
        // Threads, scope and times by one message, and versions that are off.
        let server = server.with("nfsv4_only", "1").with("nfs_threads", "5");
        server.action("start")?.exits(0)?;
        let seen = node.shell("nfsdctl threads; nfsdctl version; nfsdctl listener")?;
        let is_off = seen.contains("-3.0") || seen.contains("-3");
        ensure!(is_off && seen.contains("+4.2"), "the versions are {seen}");
        let times = node.shell("cat /proc/fs/nfsd/nfsv4gracetime /proc/fs/nfsd/nfsv4leasetime")?;
        ensure!(times.split_whitespace().eq(["12", "11"]), "the times are {times}");
        server.action("stop")?.exits(0)?;
        nothing_is_left(node)?;
        Ok(seen.split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

/// See the catalogue.
pub fn is_called_otherwise(stand: &Stand) -> Result<String> {
    /// Where it lies for Pacemaker, one word alone is Pacemaker's.
    const OTHERWISE: &str = "/run/drill/by-hand/nfsserver";
    on_a_node(stand, |node, server| {
        let path = server.call().path();
        node.shell(&format!("mkdir -p /run/drill/by-hand; ln -sf {path} {OTHERWISE}"))?;
        let by_hand = |words: &[&str]| -> Result<String> {
            let words = [&[OTHERWISE], words].concat();
            node.machine.run(&words, node.left()?)?.success(&words.join(" "))
        };
        server.action("start")?.exits(0)?;
        let status = by_hand(&["status"])?;
        ensure!(status.trim() == "running", "by hand its status is {status}");
        by_hand(&["stop"])?;
        server.probe()?.exits(7)?;
        nothing_is_left(node)?;
        let directory = format!("--nfs_shared_infodir={STATE}");
        by_hand(&[&directory, "--nfs_server_scope=10.0.0.9", "start"])?;
        server.action("monitor")?.exits(0)?;
        server.clone().without(&["nfs_shared_infodir"]).action("stop")?.exits(0)?;
        nothing_is_left(node)?;
        Ok(String::new())
    })
}

/// See the catalogue.
pub fn the_directory_is_full(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, server| {
        let fill = "dd if=/dev/zero of=/run/drill/data/fill bs=4k 2>/dev/null; true";
        node.shell(&format!("mount -o remount,size=64k,nr_inodes=9 /run/drill/data && {fill}"))?;
        server.action("start")?.exits(1)?.because(&[STATE])?;
        server.probe()?.exits(7)?;
        nothing_is_left(node)?;
        // What runs, runs on, and comes down.
        node.shell("mount -o remount,size=4m,nr_inodes=1k /run/drill/data")?;
        server.action("start")?.exits(0)?;
        node.shell(fill)?;
        server.action("monitor")?.exits(0)?;
        server.action("stop")?.exits(0)?;
        nothing_is_left(node)?;
        Ok(String::new())
    })
}

/// See the catalogue.
pub fn a_thread_is_stuck(stand: &Stand) -> Result<String> {
    on_a_node(stand, |node, server| {
        put_on_a_mapped_disk(node, "data", "/run/drill/shared")?;
        let server = server.limit(30);
        server.action("start")?.exits(0)?;
        node.shell(
            "exportfs -o rw,fsid=7,no_root_squash,no_subtree_check '*:/run/drill/shared' && \
             mount -t nfs -o vers=4.2,hard 127.0.0.1:/run/drill/shared /run/drill/client && \
             echo one > /run/drill/client/one && sync",
        )?;
        node.shell("dmsetup suspend --noflush --nolockfs drill-data")?;
        let writes =
            "dd if=/dev/zero of=/run/drill/client/one bs=4k count=1 oflag=direct conv=fsync";
        let is_stuck = "for stack in /proc/[0-9]*; do \
            grep -q ^nfsd $stack/comm && grep -q '^State:.*D' $stack/status && exit 0; done; exit 1";
        let done = node.background(writes, is_stuck).and_then(|()| {
            let monitor = server.action("monitor")?;
            ensure!(monitor.took.as_secs() < 20, "a monitor took {:?}", monitor.took);
            let stop = server.action("stop")?.exits(1)?.because(&["its thread", "is stuck in"])?;
            Ok(format!(
                "monitor says {} after {:.1} s, stop after {:.1} s: {}",
                monitor.code(),
                monitor.took.as_secs_f64(),
                stop.took.as_secs_f64(),
                stop.reason()
            ))
        });
        node.shell("dmsetup resume drill-data")?;
        let said = done?;
        server.action("stop")?.exits(0)?;
        node.end_background()?;
        node.shell(
            "umount -f -l /run/drill/client; umount /run/drill/shared && \
             dmsetup remove drill-data && losetup -D && mount -t tmpfs shared /run/drill/shared",
        )?;
        nothing_is_left(node)?;
        Ok(said)
    })
}
