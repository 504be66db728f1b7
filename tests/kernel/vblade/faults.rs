//! What goes wrong under an export.

use super::{Add, CONFIG, machine_with_file, servers, wait_until};
use crate::harness::Machine;
use std::path::Path;

pub(super) fn cases(add: &mut Add<'_>) {
    add("each export that has lost its process is named", killed);
    add("a configuration that is gone says nothing of what is served", dangling);
    add("what is served is found without file and record, and ended", record_lost);
    add("a start behind a link that leads nowhere says what is not mounted", not_mounted);
    add("an interface that is renamed serves on", renamed);
    add("an interface that is gone, or down, is named", nic_gone);
    add("a hardware address that is another one now is a failure", other_mac);
    add("a link without a carrier is degraded, and no start", no_carrier);
    add("a process that was stopped serves nobody", halted);
    add("a device that is mounted here is not served", mounted);
    add("a path that means another device by now is no other export", path_changed);
    add("what runs and has no socket yet is ended by a stop", half_begun);
    add("a program that ends at once is a failed start with nothing left", ends_at_once);
    add("a configuration on a file system that does not answer is named in time", silent_file);
}

fn killed(machine: &Machine) {
    let (_peer, disk, agent) = machine_with_file(machine);
    let second = machine.disk(4);
    let lines = format!("eth0 0 1 {}\neth0 0 2 {}\n", disk.path(), second.path());
    machine.file(CONFIG, &lines);
    agent.action("start").exits(0);
    for pid in servers(machine) {
        machine.kill(&pid);
        let (monitor, mut named) = (agent.action("monitor").exits(1), 0);
        for (path, place) in [(disk.path(), "e0.1"), (second.path(), "e0.2")] {
            let reason = format!("nothing serves {path} as {place} on eth0");
            named += usize::from(monitor.exit_reason().unwrap_or_default().contains(&reason));
        }
        assert_eq!(named, 1, "{monitor:?}");
        let others = servers(machine);
        agent.action("start").exits(0);
        assert!(others.iter().all(|pid| servers(machine).contains(pid)), "{others:?}");
        agent.action("monitor").exits(0);
    }
    for pid in servers(machine) {
        machine.kill(&pid);
    }
    agent.action("monitor").exits(1).because("as e0.1 on eth0; and 1 more");
    agent.probe().exits(7);
    agent.action("stop").exits(0);
    agent.action("monitor").exits(7);
}

/// heartbeat unmounts what the file lies on before it stops what was made of
/// it.
fn dangling(machine: &Machine) {
    let (peer, _disk, agent) = machine_with_file(machine);
    machine.must("mkdir", &["-p", "/srv/data"]);
    machine.must("mv", &[CONFIG, "/srv/data/vblade.conf"]);
    machine.must("ln", &["-s", "/srv/data/vblade.conf", CONFIG]);
    agent.heartbeat(&["start"]).exits(0);
    machine.must("rm", &["/srv/data/vblade.conf"]);
    agent.action("monitor").exits(0);
    agent.probe().exits(0);
    assert_eq!(agent.heartbeat(&["status"]).exits(0).stdout, "running\n");
    agent.heartbeat(&["start"]).exits(0);
    assert!(peer.initiator().find(0, 1).is_some());
    agent.heartbeat(&["stop"]).exits(0);
    assert!(servers(machine).is_empty());
    // On the node that has not got it.
    assert_eq!(agent.heartbeat(&["status"]).exits(3).stdout, "stopped\n");
    agent.heartbeat(&["stop"]).exits(0);
}

fn record_lost(machine: &Machine) {
    let (_peer, _disk, agent) = machine_with_file(machine);
    agent.action("start").exits(0);
    let forget = || {
        machine.must("sh", &["-c", "rm /run/resource-agents/vblade*"]);
    };
    forget();
    machine.must("rm", &[CONFIG]);
    agent.probe().exits(0);
    agent.action("monitor").exits(0);
    assert!(
        machine.run("sh", &["-c", "ls /run/resource-agents/vblade*.state"]).code == Some(0),
        "a monitor notes again what it has found"
    );
    forget();
    agent.action("stop").exits(0);
    assert!(servers(machine).is_empty());
    agent.probe().exits(7);
}

fn not_mounted(machine: &Machine) {
    let (_peer, _disk, agent) = machine_with_file(machine);
    machine.must("rm", &[CONFIG]);
    machine.must("mkdir", &["-p", "/srv/data"]);
    machine.must("ln", &["-s", "/srv/data/aoe/vblade.conf", CONFIG]);
    let reason = "/etc/vblade.conf leads to /srv/data/aoe/vblade.conf, and nothing is mounted on \
                  /srv/data";
    agent.action("start").exits(1).because(reason);
    agent.action("monitor").exits(7);
    agent.action("stop").exits(0);
    assert!(!Path::new("/srv/data/aoe").exists());
    machine.must("mount", &["-t", "tmpfs", "none", "/srv/data"]);
    agent
        .action("start")
        .exits(1)
        .because("leads to /srv/data/aoe/vblade.conf, which is not there");
}

fn renamed(machine: &Machine) {
    let (peer, _disk, agent) = machine_with_file(machine);
    agent.action("start").exits(0);
    // Up, or vblade would end.
    machine.ip(&["link", "set", "eth0", "name", "lan0"]);
    machine.nic("eth1", &[]);
    machine.ip(&["link", "set", "eth1", "name", "eth0"]);
    agent.action("monitor").exits(0);
    assert!(peer.initiator().read(0, 1, 0).is_some());
    machine.must("sh", &["-c", "rm /run/resource-agents/vblade*.state"]);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(servers(machine).is_empty());
}

fn nic_gone(machine: &Machine) {
    let (_peer, _disk, agent) = machine_with_file(machine);
    agent.action("start").exits(0);
    machine.ip(&["link", "set", "eth0", "down"]);
    wait_until("vblade has ended", || servers(machine).is_empty());
    agent.action("monitor").exits(1).because("as e0.1 on eth0; eth0 is set down");
    agent.action("stop").exits(0);
    machine.ip(&["link", "set", "eth0", "up"]);
    agent.action("start").exits(0);
    machine.ip(&["link", "del", "eth0"]);
    agent.action("monitor").exits(1).because("as e0.1 on eth0; eth0 has gone");
    agent.action("stop").exits(0);
    assert!(servers(machine).is_empty());
    agent.probe().exits(7);
}

fn other_mac(machine: &Machine) {
    let (peer, _disk, agent) = machine_with_file(machine);
    agent.action("start").exits(0);
    machine.ip(&["link", "set", "eth0", "address", "02:00:00:00:aa:aa"]);
    let reason = format!("answers from {}, which was eth0's hardware address", peer.our_mac());
    agent.action("monitor").exits(1).because(&reason);
    agent.action("stop").exits(0);
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
}

fn no_carrier(machine: &Machine) {
    let (peer, _disk, agent) = machine_with_file(machine);
    agent.action("start").exits(0);
    peer.unplug();
    wait_until("the carrier is gone", || {
        machine.ip(&["link", "show", "eth0"]).contains("NO-CARRIER")
    });
    agent.action("monitor").exits(190).because("eth0 is without a carrier");
    peer.plug();
    wait_until("the carrier is back", || {
        machine.ip(&["link", "show", "eth0"]).contains("state UP")
    });
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    peer.unplug();
    let short = agent.timeout(std::time::Duration::from_secs(4));
    short.action("start").exits(1).because("for eth0 to carry, found it without a carrier");
    assert!(servers(machine).is_empty());
}

fn halted(machine: &Machine) {
    let (peer, _disk, agent) = machine_with_file(machine);
    agent.action("start").exits(0);
    let pid = servers(machine).remove(0);
    machine.must("kill", &["-STOP", &pid]);
    // The first may have been taken from the queue when the signal came.
    let initiator = peer.initiator();
    assert!(initiator.read(0, 1, 0).is_none() && initiator.read(0, 1, 0).is_none());
    agent.action("monitor").exits(1).because("was stopped by a signal");
    agent.action("stop").exits(0);
    assert!(servers(machine).is_empty());
}

fn mounted(machine: &Machine) {
    let peer = machine.nic("eth0", &[]);
    let disk = machine.formatted("ext4");
    machine.file(CONFIG, &format!("eth0 0 1 {}\n", disk.path()));
    machine.must("mount", &[disk.path(), "/mnt"]);
    let agent = machine.agent("vblade");
    agent.action("start").exits(1).because("is in use: mount on /mnt");
    assert!(servers(machine).is_empty());
    let reading = agent.clone().set("read_only", "yes");
    reading.action("start").exits(0);
    let initiator = peer.initiator();
    assert!(initiator.read(0, 1, 2).is_some() && !initiator.write(0, 1, 2, 1));
    reading.action("stop").exits(0);
    machine.must("umount", &["/mnt"]);
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
}

fn path_changed(machine: &Machine) {
    let (_peer, disk, agent) = machine_with_file(machine);
    let other = machine.disk(4);
    machine.must("ln", &["-s", disk.path(), "/srv/disk"]);
    machine.file(CONFIG, "eth0 0 1 /srv/disk\n");
    agent.action("start").exits(0);
    machine.must("ln", &["-sfn", other.path(), "/srv/disk"]);
    // What is served is what was asked for then.
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
}

/// An agent that was killed between the start of the process and its word of
/// it.
fn half_begun(machine: &Machine) {
    let (_peer, _disk, agent) = machine_with_file(machine);
    // It waits where the real one would open its device.
    let slow = machine.script("slow", "#!/bin/sh\nexec sleep 1000\n");
    let waiting = agent.clone().set("binary", slow.to_str().expect("a plain path"));
    let killed = waiting.killed("start", std::time::Duration::from_millis(1500));
    assert!(matches!(killed, crate::harness::Killed::After(_)));
    assert_eq!(machine.run("pgrep", &["-x", "sleep"]).code, Some(0));
    agent.probe().exits(1).because("nothing serves");
    agent.action("start").exits(0);
    assert_eq!(machine.run("pgrep", &["-x", "sleep"]).code, Some(1));
    assert_eq!(servers(machine).len(), 1);
    agent.action("stop").exits(0);
    waiting.killed("start", std::time::Duration::from_millis(1500));
    agent.action("stop").exits(0);
    assert_eq!(machine.run("pgrep", &["-x", "sleep"]).code, Some(1));
    agent.probe().exits(7);
}

fn ends_at_once(machine: &Machine) {
    let (_peer, _disk, agent) = machine_with_file(machine);
    machine.file("/srv/empty", "");
    machine.file(CONFIG, "eth0 0 1 /srv/empty\n");
    agent.action("start").exits(1).because("has ended at once with exit status: 1");
    assert!(servers(machine).is_empty());
    agent.probe().exits(7);
    agent.set("binary", "/usr/sbin/none").action("start").exits(5).because("is not installed");
}

fn silent_file(machine: &Machine) {
    let (_peer, _disk, agent) = machine_with_file(machine);
    agent.action("start").exits(0);
    let before = servers(machine);
    let remote = machine.remote("/srv/data");
    machine.must("rm", &[CONFIG]);
    machine.must("ln", &["-s", "/srv/data/vblade.conf", CONFIG]);
    remote.pause();
    agent.action("monitor").exits(0);
    agent.probe().exits(0);
    agent.action("start").exits(0);
    assert_eq!(servers(machine), before);
    agent.action("stop").exits(0);
    let began = std::time::Instant::now();
    agent.action("start").exits(1).because("does not answer");
    assert!(began.elapsed() < std::time::Duration::from_secs(19));
    remote.resume();
}
