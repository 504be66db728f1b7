//! Others that serve by ATA over Ethernet: on this machine, and on the network.

use super::{Add, CONFIG, by_hand, machine_with_file, servers};
use crate::harness::Machine;
use std::time::{Duration, Instant};

pub(super) fn cases(add: &mut Add<'_>) {
    add("others of this machine are no business of ours", beside);
    add("an address that is served here already is refused", taken_here);
    add("an address that another host answers for is refused, in time", taken_there);
    add("a peer that is about to end is waited for", dying_peer);
    add("one device on two interfaces of one network is no rival of itself", two_ways);
}

fn beside(machine: &Machine) {
    let (peer, _disk, agent) = machine_with_file(machine);
    let other = machine.disk(4);
    let stranger = by_hand(machine, &format!("0 9 eth0 {}", other.path()));
    agent.probe().exits(7);
    agent.action("monitor").exits(7);
    agent.action("stop").exits(0);
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    machine.must("sh", &["-c", "rm /run/resource-agents/vblade*.state"]);
    machine.must("rm", &[CONFIG]);
    agent.action("stop").exits(0);
    agent.probe().exits(7);
    let left = machine.must("pgrep", &["-x", "vblade"]);
    assert_eq!(left.trim(), stranger);
    assert!(peer.initiator().find(0, 9).is_some());
    machine.kill(&stranger);
}

fn taken_here(machine: &Machine) {
    let (_peer, _disk, agent) = machine_with_file(machine);
    let other = machine.disk(4);
    let stranger = by_hand(machine, &format!("0 1 eth0 {}", other.path()));
    let reason = format!("e0.1 on eth0 is served already, by vblade (pid {stranger})");
    agent.action("start").exits(1).because(&reason);
    agent.probe().exits(7);
    machine.must("kill", &["-0", &stranger]);
    machine.kill(&stranger);
}

fn taken_there(machine: &Machine) {
    let (peer, _disk, agent) = machine_with_file(machine);
    machine.file("/srv/theirs", &"y".repeat(4096));
    let line = "setsid vblade 0 1 eth0 /srv/theirs </dev/null >/dev/null 2>&1 &";
    peer.run("sh", &["-c", line]);
    super::wait_until("the peer serves", || {
        let ours = crate::harness::Initiator::open("eth0").expect("a packet socket");
        ours.find(0, 1).is_some()
    });
    let short = agent.clone().timeout(Duration::from_secs(8));
    let began = Instant::now();
    let reason = format!("e0.1 is served by {} on the network of eth0", peer.mac());
    short.action("start").exits(1).because(&reason);
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert!(servers(machine).is_empty());
    agent.probe().exits(7);
}

fn dying_peer(machine: &Machine) {
    let (peer, disk, agent) = machine_with_file(machine);
    machine.file("/srv/theirs", &"y".repeat(4096));
    let line = "setsid timeout 4 vblade 0 1 eth0 /srv/theirs </dev/null >/dev/null 2>&1 &";
    peer.run("sh", &["-c", line]);
    super::wait_until("the peer serves", || {
        let ours = crate::harness::Initiator::open("eth0").expect("a packet socket");
        ours.find(0, 1).is_some()
    });
    let began = Instant::now();
    agent.action("start").exits(0);
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    let told = peer.initiator().find(0, 1).expect("it is served");
    assert_eq!(told.mac, peer.our_mac());
    assert_ne!(peer.initiator().read(0, 1, 0).expect("a sector"), [b'y'; 512]);
    agent.action("stop").exits(0);
    drop(disk);
}

fn two_ways(machine: &Machine) {
    let first = machine.nic("eth0", &[]);
    let second = machine.nic("eth1", &[]);
    drop((first, second));
    let disk = machine.disk(4);
    let line = |nic: &str| format!("{nic} 0 1 {}\n", disk.path());
    // Both lead to one network.
    machine.ip(&["netns", "add", "switch"]);
    let switch = |words: &[&str]| machine.ip(&[&["-n", "switch"], words].concat());
    switch(&["link", "add", "br0", "type", "bridge"]);
    switch(&["link", "set", "br0", "up"]);
    for nic in ["va", "vb"] {
        let far = format!("{nic}s");
        let pair = ["type", "veth", "peer", "name", &far, "netns", "switch"];
        machine.ip(&[&["link", "add", nic], &pair[..]].concat());
        machine.ip(&["link", "set", nic, "up"]);
        switch(&["link", "set", &far, "master", "br0"]);
        switch(&["link", "set", &far, "up"]);
    }
    machine.file(CONFIG, &(line("va") + &line("vb")));
    let agent = machine.agent("vblade");
    agent.action("start").exits(0);
    assert_eq!(servers(machine).len(), 2);
    agent.action("monitor").exits(0);
    machine.kill(&servers(machine)[1]);
    agent.action("monitor").exits(1);
    // The other one answers, and is ours.
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
}
