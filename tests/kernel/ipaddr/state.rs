//! What each action makes of what it finds.

use super::{VIP, vip};
use crate::harness::{Call, Cases, Instants, Machine};
use std::time::{Duration, Instant};

pub fn cases(cases: &mut Cases) {
    cases.add("IPaddr: the usual round, and everything twice", usual_round);
    cases.add("IPaddr: the same address with another prefix is not ours", other_prefix);
    cases.add("IPaddr: the same address on another nic is not ours", other_nic);
    cases.add("IPaddr: without a nic given any nic will do", any_nic);
    cases.add("IPaddr: a link without a carrier fails start and leaves nothing", no_carrier);
    cases.add("IPaddr: check_link_status=no starts without a carrier", carrier_ignored);
    cases.add("IPaddr: a nic that is down is set up", sets_up);
    cases.add("IPaddr: a vanished nic is stopped to a probe, failed to a monitor", vanished_nic);
    cases.add("IPaddr: the others of the network survive", siblings_survive);
    cases.add("IPaddr: the others of the network survive a kill", siblings_survive_kill);
    cases.add("IPaddr: stop needs nothing but the address", stop_needs_little);
    cases.add("IPaddr: bad values are refused and change nothing", bad_values);
    cases.add("IPaddr: names of IPaddr's own parameters are taken", names_of_old);
    cases.add("IPaddr: an IPv6 address that is a duplicate fails monitor", late_duplicate);
    cases.add("IPaddr: among many addresses it is found, missed and removed", among_many);
    cases.add(
        "IPaddr: one of thousands is missed, and its prefix watched at depth 10",
        one_of_thousands,
    );
    cases.add("IPaddr: scripts are run at start and stop", scripts);
    cases.add("IPaddr: a reload changes nothing", reloads);
}

fn usual_round(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let before = machine.state();
    let ipaddr = vip(machine);
    ipaddr.probe().exits(7);
    ipaddr.action("monitor").exits(7);
    ipaddr.action("stop").exits(0);
    ipaddr.action("start").exits(0);
    let running = machine.state();
    ipaddr.action("start").exits(0);
    running.unchanged(machine);
    ipaddr.action("monitor").exits(0);
    ipaddr.probe().exits(0);
    ipaddr.action("validate-all").exits(0);
    ipaddr.action("stop").exits(0);
    ipaddr.action("stop").exits(0);
    ipaddr.probe().exits(7);
    before.unchanged(machine);
}

fn one_of_thousands(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/8"]);
    let many: String = (0..10_000)
        .map(|n| format!("addr add 10.1.{}.{}/8 dev eth0\n", n / 250, n % 250 + 1))
        .collect();
    machine.file("/run/many", &many);
    machine.must("ip", &["-batch", "/run/many"]);
    let ipaddr = machine.agent("IPaddr").with(&[("ip", VIP), ("cidr_netmask", "8")]);
    ipaddr.action("start").exits(0);
    let noted = || std::fs::read_to_string("/run/resource-agents/IPaddr-test.added").unwrap();
    for _ in 0..3 {
        ipaddr.action("monitor").exits(0);
    }
    assert!(noted().ends_with(" many\n"), "{}", noted());
    ipaddr.clone().depth("10").action("monitor").exits(0);
    machine.ip(&["addr", "del", "10.0.0.9/8", "dev", "eth0"]);
    ipaddr.action("monitor").exits(7);
    machine.ip(&["addr", "add", "10.0.0.9/24", "dev", "eth0"]);
    ipaddr.depth("10").action("monitor").exits(1);
    ipaddr_stops(machine);
}

fn ipaddr_stops(machine: &Machine) {
    machine.agent("IPaddr").with(&[("ip", VIP), ("cidr_netmask", "8")]).action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
}

fn other_prefix(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    machine.ip(&["addr", "add", "10.0.0.9/26", "dev", "eth0"]);
    let before = machine.state();
    for ipaddr in [vip(machine).set("cidr_netmask", "24"), vip(machine).set("cidr_netmask", "2")] {
        ipaddr.probe().exits(7);
        ipaddr.action("monitor").exits(7);
        before.unchanged(machine);
    }
    let ipaddr = vip(machine).set("cidr_netmask", "24").set("nic", "eth0");
    ipaddr.action("start").exits(0);
    ipaddr.action("monitor").exits(0);
    ipaddr.action("stop").exits(0);
    before.unchanged(machine);
}

fn other_nic(machine: &Machine) {
    let _first = machine.nic("eth0", &["10.0.0.1/24"]);
    let _second = machine.nic("eth1", &["10.1.0.1/24"]);
    machine.ip(&["addr", "add", "10.0.0.9/24", "dev", "eth1"]);
    let before = machine.state();
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    ipaddr.probe().exits(7);
    ipaddr.action("start").exits(0);
    ipaddr.action("monitor").exits(0);
    let nics: Vec<_> =
        machine.addresses().into_iter().filter(|a| a.ip == VIP).map(|a| a.nic).collect();
    assert_eq!(nics, ["eth0", "eth1"]);
    ipaddr.action("stop").exits(0);
    before.unchanged(machine);
}

fn any_nic(machine: &Machine) {
    let _first = machine.nic("eth0", &["10.0.0.1/24"]);
    let _second = machine.nic("eth1", &["10.1.0.1/24"]);
    machine.ip(&["addr", "add", "10.0.0.9/24", "dev", "eth1"]);
    let ipaddr = vip(machine).set("cidr_netmask", "24");
    ipaddr.probe().exits(0);
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
}

fn no_carrier(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    ipaddr.action("start").exits(0);
    peer.unplug();
    sees_no_carrier(&ipaddr);
    ipaddr.action("start").exits(1).because("without a carrier");
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
    let before = machine.state();
    ipaddr.action("start").exits(1).because("without a carrier");
    before.unchanged(machine);
    peer.plug();
    ipaddr.action("start").exits(0);
}

/// The kernel may take a second to make the loss of a carrier known.
pub(super) fn sees_no_carrier(ipaddr: &Call) {
    let begun = Instant::now();
    while ipaddr.action("monitor").code == Some(0) {
        assert!(begun.elapsed() < 2 * super::SECOND);
        std::thread::sleep(Duration::from_millis(20));
    }
    ipaddr.action("monitor").exits(1).because("whose link is down");
    ipaddr.probe().exits(1);
}

fn carrier_ignored(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24", "fd00::1/64"]);
    peer.unplug();
    for (ip, prefix) in [(VIP, "24"), ("fd00::9", "64")] {
        let ipaddr = machine.agent("IPaddr").with(&[
            ("ip", ip),
            ("nic", "eth0"),
            ("cidr_netmask", prefix),
            ("check_link_status", "no"),
        ]);
        ipaddr.action("start").exits(0);
        ipaddr.action("monitor").exits(0);
        ipaddr.action("stop").exits(0);
        assert_eq!(machine.address(ip), None);
    }
}

fn sets_up(machine: &Machine) {
    let peer = machine.bare_nic("eth0");
    peer.plug();
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    ipaddr.action("start").exits(0);
    ipaddr.action("monitor").exits(0);
    peer.add_address("10.0.0.2/24");
    assert!(peer.reaches(VIP));
}

fn vanished_nic(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    ipaddr.action("start").exits(0);
    machine.ip(&["link", "del", "eth0"]);
    ipaddr.probe().exits(7);
    ipaddr.action("monitor").exits(1).because("no interface eth0");
    ipaddr.action("stop").exits(0);
    ipaddr.action("start").exits(5).because("no interface eth0");
}

/// An address that is the first of its network, and two that live on it.
fn family(machine: &Machine) {
    machine.sysctl("net/ipv4/conf/all/promote_secondaries", "0");
    machine.sysctl("net/ipv4/conf/eth0/promote_secondaries", "0");
    vip(machine).set("nic", "eth0").set("cidr_netmask", "24").action("start").exits(0);
    machine.ip(&["addr", "add", "10.0.0.10/24", "brd", "+", "dev", "eth0", "label", "eth0:ten"]);
    machine.ip(&["addr", "add", "10.0.0.11/24", "brd", "10.0.0.254", "dev", "eth0"]);
}

fn siblings_survive(machine: &Machine) {
    let _peer = machine.nic("eth0", &[]);
    family(machine);
    vip(machine).action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
    let ten = machine.address("10.0.0.10").unwrap();
    assert_eq!(ten.label.as_deref(), Some("eth0:ten"));
    let eleven = machine.address("10.0.0.11").unwrap();
    assert_eq!(eleven.broadcast.as_deref(), Some("10.0.0.254"));
    let sysctl = "/proc/sys/net/ipv4/conf/eth0/promote_secondaries";
    assert_eq!(machine.must("cat", &[sysctl]).trim(), "0");
}

fn siblings_survive_kill(machine: &Machine) {
    let _peer = machine.nic("eth0", &[]);
    let mut instants = Instants::within(Duration::from_millis(3));
    for _ in 0..30 {
        let seed = instants.seed();
        family(machine);
        vip(machine).killed("stop", instants.next());
        vip(machine).action("stop").exits(0);
        for ip in ["10.0.0.10", "10.0.0.11"] {
            assert!(machine.address(ip).is_some(), "{ip} is lost, STURDY_SEED={seed}");
        }
        machine.ip(&["addr", "flush", "dev", "eth0"]);
    }
}

fn stop_needs_little(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    vip(machine).action("start").exits(0);
    let broken = vip(machine).with(&[
        ("cidr_netmask", "x"),
        ("broadcast", "everybody"),
        ("arp_count", "0"),
        ("preferred_lft", "long"),
        ("iflabel", "much-longer-than-fifteen"),
        ("mac", "none"),
        ("no_such_parameter", "1"),
    ]);
    broken.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
    let before = machine.state();
    machine.agent("IPaddr").action("stop").exits(0);
    machine.agent("IPaddr").set("ip", "10.0.0.0.9").action("stop").exits(0);
    before.unchanged(machine);
}

fn bad_values(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let before = machine.state();
    let long = "9".repeat(100_000);
    for (name, value) in [
        ("ip", ""),
        ("ip", "10.0.0"),
        ("ip", "10.0.0.09"),
        ("ip", "224.0.0.9"),
        ("ip", "255.255.255.255"),
        ("ip", "0.0.0.9"),
        ("ip", "ff02::1"),
        ("ip", "10.0.0.9\n10.0.0.10"),
        ("ip", &long),
        ("cidr_netmask", "33"),
        ("cidr_netmask", "255.0.255.0"),
        ("broadcast", "10.0.0"),
        ("nic", "../../eth0"),
        ("nic", "eth0 eth1"),
        ("arp_count", "0"),
        ("arp_interval", "0"),
        ("arp_count", "many"),
        ("preferred_lft", "long"),
        ("network_namespace", "../x"),
        ("mac", "02:00:00:00:00:01"),
        ("run_arping", "maybe"),
    ] {
        let refused = vip(machine).set(name, value).action("start").exits(6);
        let reason = refused.exit_reason().unwrap_or_default();
        assert!(!reason.is_empty() && reason.len() <= 200, "{name}={value:.20}: {reason}");
        vip(machine).set(name, value).action("validate-all").exits(6);
    }
    before.unchanged(machine);
}

fn names_of_old(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let capture = peer.capture();
    let ipaddr = vip(machine).with(&[
        ("netmask", "255.255.255.128"),
        ("nic", "eth0"),
        ("ARP_INTERVAL_MS", "10"),
        ("ARP_REPEAT", "2"),
        ("ARP_BACKGROUND", "no"),
        ("ARP_NETMASK", "ffffffffffff"),
    ]);
    ipaddr.action("start").exits(0);
    assert_eq!(machine.address(VIP).unwrap().prefix, 25);
    assert_eq!(super::announcements(capture.frames(), VIP).len(), 4);
}

fn late_duplicate(machine: &Machine) {
    let peer = machine.nic("eth0", &["fd00::1/64"]);
    peer.add_address("fd00::9/64");
    machine.ip(&["addr", "add", "fd00::9/64", "dev", "eth0"]);
    let failed = || machine.address("fd00::9").unwrap().flags.contains(&"dadfailed");
    for _ in 0..300 {
        if failed() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(failed());
    let ipaddr = machine.agent("IPaddr").set("ip", "fd00::9");
    ipaddr.action("monitor").exits(1).because("another host");
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address("fd00::9"), None);
}

fn among_many(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/16"]);
    let lines: String = (0..1000)
        .map(|n| format!("addr add 10.0.{}.{}/16 dev eth0\n", 10 + n / 250, n % 250 + 1))
        .collect();
    machine.file("/tmp/many", &lines);
    machine.ip(&["-b", "/tmp/many"]);
    let ipaddr = vip(machine).set("cidr_netmask", "16");
    ipaddr.probe().exits(7);
    ipaddr.action("start").exits(0);
    ipaddr.action("monitor").exits(0);
    let other = vip(machine).set("cidr_netmask", "24");
    other.clone().instance("other").action("monitor").exits(7);
    other.action("monitor").exits(1).because("10.0.0.9/16 is on eth0, wanted 10.0.0.9/24");
    vip(machine).set("iflabel", "web").action("monitor").exits(1);
    machine.ip(&["addr", "del", "10.0.0.9/16", "dev", "eth0"]);
    ipaddr.action("monitor").exits(7);
    // What was seen once is no answer to what is there now.
    machine.ip(&["addr", "add", "10.0.0.9/24", "dev", "eth0"]);
    ipaddr.action("monitor").exits(1).because("10.0.0.9/24 is on eth0, wanted 10.0.0.9/16");
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
    machine.ip(&["addr", "add", "10.0.0.9/16", "dev", "eth0"]);
    ipaddr.action("monitor").exits(0);
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
    assert_eq!(machine.addresses().iter().filter(|address| address.nic == "eth0").count(), 1001);
}

fn scripts(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let start = machine.script("on-start", "#!/bin/sh\nip -o addr show to 10.0.0.9 > /tmp/start\n");
    let stop =
        machine.script("on-stop", "#!/bin/sh\nip -o addr show to 10.0.0.9 > /tmp/stop\nexit 1\n");
    let ipaddr = vip(machine)
        .set("local_start_script", start.to_str().unwrap())
        .set("local_stop_script", stop.to_str().unwrap());
    ipaddr.action("start").exits(0);
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.must("cat", &["/tmp/start"]), "");
    assert!(machine.must("cat", &["/tmp/stop"]).contains(VIP));
}

fn reloads(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let ipaddr = vip(machine);
    ipaddr.action("reload-agent").exits(1);
    ipaddr.action("start").exits(0);
    let before = machine.state();
    ipaddr.clone().set("arp_count", "9").action("reload-agent").exits(0);
    before.unchanged(machine);
}
