//! Exports of a real NFS server, with a client in the same machine.

use super::call::Call;
use super::kill;
use super::node::{Agent, Node};
use super::order::Subject;
use super::stand::Stand;
use crate::keeper::Verb;
use anyhow::{Result, ensure};
use std::time::Duration;

/// What is exported lies here.
const DATA: &str = "/mnt/drill/data";

/// The server with what it needs, a lease of ten seconds, and a file system
/// that nobody else uses.
const SERVER: &str = "\
modprobe nfsd; modprobe loop; modprobe nfs
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
mkdir -p /run/rpcbind /run/sendsigs.omit.d /mnt/drill/data /mnt/drill-v3 /mnt/drill-v4
pidof rpcbind || rpcbind -w
pidof rpc.statd || rpc.statd
pidof nfsdcld || nfsdcld
echo 10 > /proc/fs/nfsd/nfsv4leasetime; echo 10 > /proc/fs/nfsd/nfsv4gracetime
echo 10 > /proc/sys/fs/nfs/nlm_grace_period
rpc.nfsd 4 && { pidof rpc.mountd || rpc.mountd; }
exportfs -au
truncate -s 32M /run/drill/image && mkfs.ext4 -q -F /run/drill/image
losetup -f /run/drill/image && mount $(losetup -n -O NAME -j /run/drill/image) /mnt/drill/data
mkdir -p /mnt/drill/data/a /mnt/drill/data/b";

/// Both protocols, from this machine.
const CLIENT: &str = "\
mount -t nfs -o vers=3,soft,timeo=50,retrans=1 127.0.0.1:/mnt/drill/data /mnt/drill-v3
mount -t nfs -o vers=4.2,soft,timeo=50,retrans=1 127.0.0.1:/mnt/drill/data /mnt/drill-v4
echo one > /mnt/drill-v3/one && grep -q one /mnt/drill-v4/one";

fn export<'a>(node: &Node<'a>, directory: &str, client: &str) -> Agent<'a> {
    let agent = node.agent("exportfs", directory).with("clientspec", client);
    agent.with("fsid", "17").with("options", "rw,no_root_squash,no_subtree_check")
}

/// What the kernel serves of the directory, and what the table has of it.
fn serves(node: &Node, directory: &str) -> Result<(bool, bool)> {
    let has = |file: &str| -> Result<bool> {
        let text = String::from_utf8_lossy(&node.machine.read(file)?).into_owned();
        Ok(text.lines().any(|line| line.starts_with(&format!("{directory}\t"))))
    };
    Ok((has("/proc/net/rpc/nfsd.export/content")?, has("/var/lib/nfs/etab")?))
}

fn is_gone(node: &Node) -> Result<()> {
    ensure!(serves(node, DATA)? == (false, false), "after stop {DATA} is still exported");
    Ok(())
}

/// See the catalogue.
pub fn are_served(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    node.shell(SERVER)?;
    let agent = export(&node, DATA, "127.0.0.1");
    agent.probe()?.exits(7)?;
    agent.action("start")?.exits(0)?;
    node.shell(CLIENT)?;
    ensure!(serves(&node, DATA)? == (true, true), "{DATA} is not served");
    agent.action("monitor")?.exits(0)?;
    node.background("exec sleep 100000 9< /mnt/drill-v4/one", "pgrep -x sleep")?;
    agent.action("stop")?.exits(0)?;
    is_gone(&node)?;
    let named = node
        .shell("grep -c 'NFS client 127.0.0.1 .* has /one open' /var/log/agents.log || true")?
        .trim()
        .to_owned();
    // NFSv4's state is not the export's: Linux 6.9 and later take it away with
    // the locks of the file system, earlier ones keep it for the length of a lease.
    let busy = node.machine.run(&["umount", DATA], node.left()?)?.code != 0;
    ensure!(busy == (named != "0"), "busy: {busy}, and who it is was named {named} times");
    if !busy {
        node.end_background()?;
        return Ok("freed at once".into());
    }
    agent.action("start")?.exits(0)?;
    let patient = agent.clone().with("wait_for_leasetime_on_stop", "1");
    let took = patient.action("stop")?.exits(0)?.took;
    node.shell(&format!("umount {DATA}"))?;
    node.end_background()?;
    Ok(format!("named, and freed after {took:.0?}"))
}

/// See the catalogue.
pub fn are_shared(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    node.shell(SERVER)?;
    let first = export(&node, DATA, "127.0.0.1");
    // Another instance, by another spelling of the directory.
    let second = export(&node, "/mnt/drill/data/", "127.0.0.0/8");
    first.action("start")?.exits(0)?;
    second.action("start")?.exits(0)?;
    node.shell(CLIENT)?;
    // The time in which the server takes no new locks.
    node.background("exec flock /mnt/drill-v3/one sleep 100000", "pgrep -x sleep")?;
    let locks = || node.shell("grep -c ' 07:' /proc/locks || true");
    let before = locks()?;
    ensure!(before.trim() != "0", "the server has no lock: {}", node.shell("cat /proc/locks")?);
    node.background("exec sleep 100000 9< /mnt/drill-v4/one", "pgrep -x sleep")?;
    let opens = || node.shell("grep -c 'type: open' /proc/fs/nfsd/clients/*/states || true");
    let held = opens()?;
    ensure!(held.contains('1'), "no client of NFSv4 has a file open: {held}");
    let patient = first.clone().with("wait_for_leasetime_on_stop", "1");
    patient.action("stop")?.exits(0)?;
    ensure!(locks()? == before, "the stop of one has taken a lock of the other's client");
    ensure!(opens()? == held, "the stop of one has expired the other's client: {}", opens()?);
    second.action("monitor")?.exits(0)?;
    first.action("monitor")?.exits(7)?;
    node.shell("grep -q one /mnt/drill-v3/one")?;
    // Linux before 6.9 keeps what NFSv4 has open for the length of a lease.
    let patient = second.clone().with("wait_for_leasetime_on_stop", "1");
    patient.action("stop")?.exits(0)?;
    is_gone(&node)?;
    ensure!(locks()?.trim() == "0", "after the last stop there is still a lock");
    node.shell(&format!("umount {DATA}"))?;
    node.end_background()?;
    Ok(String::new())
}

/// See the catalogue.
pub fn have_moved(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    node.shell(SERVER)?;
    let agent = export(&node, DATA, "127.0.0.1");
    agent.action("start")?.exits(0)?;
    // A lock on the file system beneath, by an export that is not ours.
    node.shell(
        "mkdir -p /root/drill/other && echo one > /root/drill/other/one && \
                exportfs -i -o rw,no_root_squash,fsid=99 127.0.0.1:/root/drill/other && \
                mount -t nfs -o vers=3,soft,timeo=50 127.0.0.1:/root/drill/other /mnt/drill-v3",
    )?;
    node.background("exec flock /mnt/drill-v3/one sleep 100000", "pgrep -x sleep")?;
    let locks = || node.shell("grep -c . /proc/locks || true");
    let before = locks()?;
    ensure!(before.trim() != "0", "the server has no lock");
    node.shell(&format!("umount {DATA}"))?;
    agent.action("monitor")?.exits(1)?.because(&["was exported from"])?;
    agent.action("start")?.exits(1)?;
    agent.action("stop")?.exits(0)?;
    is_gone(&node)?;
    ensure!(locks()? == before, "a lock of the file system beneath is gone");
    agent.action("start")?.exits(1)?.because(&["nothing is mounted"])?;
    agent.action("stop")?.exits(0)?;
    node.end_background()?;
    node.shell("umount -f /mnt/drill-v3; exportfs -u 127.0.0.1:/root/drill/other")?;
    Ok(String::new())
}

/// See the catalogue.
pub fn are_many(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    node.shell(SERVER)?;
    node.shell(
        "for n in $(seq 9999); do printf '/mnt/drill/data/d%s\\t10.0.0.0/24(rw,sync,fsid=%s)\\n' \
                $n $((n + 1000)); done > /var/lib/nfs/etab",
    )?;
    let agent = export(&node, DATA, "127.0.0.1").limit(40);
    let start = agent.action("start")?.exits(0)?.took;
    let monitor = agent.action("monitor")?.exits(0)?.took;
    let stop = agent.action("stop")?.exits(0)?.took;
    let left = node.shell("wc -l < /var/lib/nfs/etab")?;
    ensure!(left.trim() == "9999", "after stop {left} exports are left of 9999");
    Ok(format!("start {start:.1?}, monitor {monitor:.1?}, stop {stop:.1?}"))
}

/// See the catalogue.
pub fn kills(stand: &Stand, action: &str) -> Result<String> {
    let node = stand.node(0);
    node.shell(SERVER)?;
    let paths = ["a", "b"].map(|name| format!("{DATA}/{name}"));
    let mut call = Call {
        agent: "exportfs".into(),
        params: vec![("directory".into(), paths.join(" "))],
        node: node.machine.name.into(),
        limit: 60,
    };
    let more = [("clientspec", "127.0.0.1"), ("fsid", "17"), ("options", "rw,no_root_squash")];
    call.params.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    // Somebody has the kernel cache them.
    node.background(
        "while :; do timeout 2 mount -t nfs -o vers=4.2,soft 127.0.0.1:/mnt/drill/data/a \
         /mnt/drill-v4 && umount /mnt/drill-v4; sleep 0.2; done",
        "true",
    )?;
    let subject = Subject::Exports { paths: paths.to_vec() };
    let told = kill::of_call(stand, call, action, subject)?;
    node.end_background()?;
    Ok(told)
}

/// Of a server that has been up for a while: nobody has a lock to take back.
const PATIENT: Duration = Duration::from_secs(60);

/// See the catalogue.
pub fn outlive_their_client(stand: &Stand) -> Result<String> {
    let [node, client] = stand.nodes();
    node.shell(SERVER)?;
    node.shell(&format!("echo one > {DATA}/one; echo two > {DATA}/two"))?;
    let ports = |action: &str| {
        let agent = node.named("portblock", "action", action).with("protocol", "tcp");
        agent.with("portno", "2049").with("ip", "10.10.1.251")
    };
    let open = ports("unblock").with("reset_local_on_unblock_stop", "1").limit(20);
    let agent = export(&node, DATA, "10.10.1.0/24").limit(60);
    open.action("start")?.exits(0)?;
    agent.action("start")?.exits(0)?;
    client.shell(&format!(
        "modprobe nfs; mkdir -p /mnt/drill-v4; \
         mount -t nfs -o vers=4.2,hard 10.10.1.251:{DATA} /mnt/drill-v4"
    ))?;
    let states = |kind: &str| {
        let line = format!("grep -c 'type: {kind}' /proc/fs/nfsd/clients/*/states || true");
        Ok::<_, anyhow::Error>(node.shell(&line)?.trim() != "0")
    };
    // The server is in its time of grace at first.
    client.background("exec flock /mnt/drill-v4/one sleep 100000", "pgrep -x sleep")?;
    node.until("a lock", PATIENT.as_secs(), || states("lock"))?;
    client.background("exec sleep 100000 9< /mnt/drill-v4/two", "true")?;
    let has_delegation = node.until("a delegation", 20, || states("deleg")).is_ok();
    stand.lab.tell(&Verb::Freeze { machine: "node2".into() })?;
    let done = (|| {
        let monitor = agent.action("monitor")?.exits(0)?;
        let closed = open.action("stop")?.exits(0)?;
        let stop = agent.action("stop")?.exits(0)?;
        is_gone(&node)?;
        let named = node.shell("grep -c 'NFS client 10.10.1.252' /var/log/agents.log || true")?;
        let is_free = || Ok::<_, anyhow::Error>(node.shell(&format!("umount {DATA}")).is_ok());
        let freed_by = match is_free()? {
            true => "the stop of the export",
            // Linux before 6.9 keeps it for the length of a lease, and names who.
            false => {
                ensure!(named.trim() != "0", "nobody was named who keeps {DATA} in use");
                node.agent("nfsserver", "/nowhere")
                    .without(&["nfs_shared_infodir"])
                    .action("stop")?
                    .exits(0)?;
                ensure!(is_free()?, "{DATA} is in use without a server");
                "that of the server"
            }
        };
        let times = [monitor.took, closed.took, stop.took].map(|took| took.as_secs_f64());
        Ok(format!(
            "delegation: {has_delegation}; monitor {:.1} s, stops {:.1} and {:.1} s, freed by {freed_by}",
            times[0], times[1], times[2]
        ))
    })();
    stand.lab.tell(&Verb::Thaw { machine: "node2".into() })?;
    client.end_background()?;
    client.shell("umount -f -l /mnt/drill-v4; true")?;
    open.action("stop")?.exits(0)?;
    // A stop of an unblock leaves the port closed, for the block to open it.
    ports("block").action("stop")?.exits(0)?;
    done
}

/// See the catalogue.
pub fn are_known_by_their_fsid(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    node.shell(SERVER)?;
    node.shell(&format!("umount {DATA}"))?;
    let mut told = Vec::new();
    for (uuid, fsid) in [("clear", ""), ("clear", "17"), ("random", "")] {
        node.shell(&format!(
            "losetup -D; e2fsck -fy /run/drill/image; tune2fs -U {uuid} /run/drill/image 2>&1"
        ))?;
        let agent = export(&node, DATA, "127.0.0.1").without(&["fsid"]).with("fsid", fsid);
        // Another node has another number for the device.
        let comes = |device: &str| -> Result<()> {
            node.shell(&format!("losetup {device} /run/drill/image && mount {device} {DATA}"))?;
            agent.action("start")?.exits(0).map(drop)
        };
        let goes = || -> Result<()> {
            agent.action("stop")?.exits(0)?;
            node.shell(&format!("umount {DATA} && losetup -D")).map(drop)
        };
        comes("/dev/loop4")?;
        node.shell(CLIENT)?;
        goes()?;
        comes("/dev/loop5")?;
        let reads = ["3", "4"].map(|version| {
            let read = format!("timeout 30 cat /mnt/drill-v{version}/one 2>&1; true");
            Ok::<_, anyhow::Error>(node.shell(&read)?.trim().to_owned())
        });
        let [three, four] = reads;
        let seen = [three?, four?];
        node.shell("umount -f -l /mnt/drill-v3; umount -f -l /mnt/drill-v4; true")?;
        goes()?;
        let serves = seen.iter().all(|read| read == "one");
        let fails = seen.iter().all(|read| read != "one");
        let (uuid, fsid) = (uuid == "random", !fsid.is_empty());
        ensure!(
            if fsid || uuid { serves } else { fails },
            "fsid: {fsid}, UUID: {uuid}; the clients read {seen:?}"
        );
        told.push(format!("fsid: {fsid}, UUID: {uuid}: {}", seen.join(" and ")));
    }
    Ok(told.join("; "))
}
