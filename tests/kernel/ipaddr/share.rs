//! An address that two nodes have at once.

use super::{VIP, vip};
use crate::harness::{Call, Case, Cases, Machine, Peer};

pub fn cases(cases: &mut Cases) {
    let nft = ["nft"];
    let case = |name: &str, run: fn(&Machine)| Case::new(name, run).needs(&nft);
    cases.push(case("IPaddr: a shared address answers its part of the clients", answers_its_part));
    cases.push(case("IPaddr: two parts on one node answer every client", both_parts));
    cases.push(case("IPaddr: lost rules fail the monitor of a shared address", lost_rules));
    cases.push(case("IPaddr: a share that nft cannot tell of has failed, and is stopped", untold));
    cases.add("IPaddr: without nft an address cannot be shared", without_nft);
}

const GROUP: &str = "03:00:5e:00:00:09";

fn part(machine: &Machine, number: &str) -> Call {
    vip(machine)
        .set("mac", GROUP)
        .set("clusterip_mac_mangle", "true")
        .meta("clone", number)
        .meta("clone_max", "2")
        .meta("globally_unique", "true")
        .instance(&format!("vip:{number}"))
}

/// A neighbour with many addresses, and how many of them are answered.
fn answered(peer: &Peer<'_>) -> usize {
    (20..36)
        .filter(|last| {
            let from = format!("10.0.0.{last}");
            peer.run("ping", &["-c", "1", "-W", "1", "-I", &from, VIP]).code == Some(0)
        })
        .count()
}

fn neighbour(machine: &Machine) -> Peer<'_> {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    for last in 20..36 {
        peer.add_address(&format!("10.0.0.{last}/24"));
    }
    peer.ip(&["neigh", "replace", VIP, "lladdr", GROUP, "dev", "eth0", "nud", "permanent"]);
    peer
}

fn answers_its_part(machine: &Machine) {
    let peer = neighbour(machine);
    let before = machine.state();
    let first = part(machine, "0");
    first.probe().exits(7);
    first.action("start").exits(0);
    first.action("monitor").exits(0);
    part(machine, "1").probe().exits(7);
    let ours = answered(&peer);
    assert!((1..16).contains(&ours), "{ours} of 16 clients");
    first.action("stop").exits(0);
    before.unchanged(machine);
    assert_eq!(machine.must("nft", &["list", "tables"]), "");
    // The other part is the other clients.
    part(machine, "1").action("start").exits(0);
    assert_eq!(answered(&peer), 16 - ours);
    part(machine, "1").action("stop").exits(0);
}

fn both_parts(machine: &Machine) {
    let peer = neighbour(machine);
    let (first, second) = (part(machine, "0"), part(machine, "1"));
    first.action("start").exits(0);
    second.action("start").exits(0);
    assert_eq!(answered(&peer), 16);
    first.action("stop").exits(0);
    first.probe().exits(7);
    second.action("monitor").exits(0);
    assert!(machine.address(VIP).is_some());
    second.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
    assert_eq!(machine.must("nft", &["list", "tables"]), "");
}

fn lost_rules(machine: &Machine) {
    let _peer = neighbour(machine);
    let first = part(machine, "0");
    first.action("start").exits(0);
    machine.must("nft", &["flush", "ruleset"]);
    first.action("monitor").exits(1).because("nothing shares out");
    first.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
}

fn untold(machine: &Machine) {
    let _peer = neighbour(machine);
    let first = part(machine, "0");
    let lost = first.clone().env("OCF_TESTER_FAIL_HAVE_BINARY", "1");
    let refused = "#!/bin/sh\necho 'netlink: Error: cache initialization failed' >&2\nexit 1\n";
    let nothing = "#!/bin/sh\n";
    for (call, broken, why) in [
        (&lost, None, "nft is not installed"),
        (&first, Some(refused), "cache initialization failed"),
        (&first, Some(nothing), "nothing shares out the clients"),
    ] {
        first.action("start").exits(0);
        if let Some(broken) = broken {
            machine.script("nft", broken);
        }
        call.probe().exits(1).because(why);
        call.action("monitor").exits(1).because(why);
        call.action("stop").exits(0);
        assert_eq!(machine.address(VIP), None);
        call.probe().exits(7);
        if broken.is_some() {
            machine.must("rm", &["/usr/local/sbin/nft"]);
        }
    }
}

fn without_nft(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let before = machine.state();
    let first = part(machine, "0").env("OCF_TESTER_FAIL_HAVE_BINARY", "1");
    first.action("start").exits(5).because("nft is not installed");
    first.action("stop").exits(0);
    before.unchanged(machine);
    let iptables = part(machine, "0").set("clusterip_firewall", "iptables");
    iptables.action("start").exits(5).because("use nft");
}
