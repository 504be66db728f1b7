//! Where the address goes, and with which prefix, broadcast and label.

use super::state::sees_no_carrier;
use super::{VIP, vip};
use crate::harness::{Cases, Machine};

pub fn cases(cases: &mut Cases) {
    cases.add("IPaddr: prefix and broadcast follow from the network", follows_network);
    cases.add("IPaddr: of two nics the kernel's own choice is taken", kernels_choice);
    cases.add("IPaddr: a longer prefix beats a lower metric", longest_prefix);
    cases.add("IPaddr: every form of the haresources word is understood", haresources);
    cases.add("IPaddr: an IPv6 word cut by heartbeat is diagnosed", cut_word);
    cases.add("IPaddr: without a network of the address start fails", no_network);
    cases.add("IPaddr: a nic and a prefix need no network", nic_and_prefix);
    cases.add("IPaddr: link-local needs a nic", link_local);
    cases.add("IPaddr: a label is set, checked and put right", label);
    cases.add("IPaddr: a nic answers to its alternative names", alternative_name);
    cases.add("IPaddr: loopback addresses go to lo", loopback);
    cases.add("IPaddr: a real server's address goes to lo while stopped", real_server);
    cases.add("IPaddr: the address lives in the namespace given", namespace);
    cases.add("IPaddr: an IPv6 address takes flags, metric and lifetime", v6_extras);
    cases.add("IPaddr: each instance of a clone has its own address", own_addresses);
}

fn follows_network(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.16.1/20"]);
    machine.agent("IPaddr").set("ip", "10.0.20.9").action("start").exits(0);
    let address = machine.address("10.0.20.9").unwrap();
    assert_eq!((address.nic.as_str(), address.prefix), ("eth0", 20));
    assert_eq!(address.broadcast.as_deref(), Some("10.0.31.255"));
}

fn kernels_choice(machine: &Machine) {
    let _first = machine.nic("eth0", &[]);
    let _second = machine.nic("eth1", &[]);
    // No metric is the best metric, however the numbers of the network look.
    machine.ip(&["addr", "add", "192.168.144.1/24", "dev", "eth1", "metric", "100"]);
    machine.ip(&["addr", "add", "192.168.144.2/24", "dev", "eth0"]);
    let ipaddr = machine.agent("IPaddr").set("ip", "192.168.144.9");
    ipaddr.action("start").exits(0);
    assert_eq!(machine.address("192.168.144.9").unwrap().nic, "eth0");
    ipaddr.action("monitor").exits(0);
}

fn longest_prefix(machine: &Machine) {
    let _first = machine.nic("eth0", &[]);
    let _second = machine.nic("eth1", &[]);
    machine.ip(&["addr", "add", "10.0.0.1/16", "dev", "eth0"]);
    machine.ip(&["addr", "add", "10.0.0.2/24", "dev", "eth1", "metric", "500"]);
    vip(machine).action("start").exits(0);
    let address = machine.address(VIP).unwrap();
    assert_eq!((address.nic.as_str(), address.prefix), ("eth1", 24));
}

fn haresources(machine: &Machine) {
    let _peer = machine.nic("bond0", &["10.0.0.1/24"]);
    let ipaddr = machine.agent("IPaddr");
    for (word, prefix, label, broadcast) in [
        ("10.0.0.9", 24, "bond0", "10.0.0.255"),
        ("10.0.0.9/24", 24, "bond0", "10.0.0.255"),
        ("10.0.0.9/25/bond0", 25, "bond0", "10.0.0.127"),
        ("10.0.0.9/24/bond0:0", 24, "bond0:0", "10.0.0.255"),
        ("10.0.0.9/24/10.0.0.254", 24, "bond0", "10.0.0.254"),
        ("10.0.0.9/255.255.255.0/bond0:web/10.0.0.254", 24, "bond0:web", "10.0.0.254"),
    ] {
        let status = ipaddr.heartbeat(&[word, "status"]).exits(3);
        assert_eq!(status.stdout, "stopped\n", "{word}");
        ipaddr.heartbeat(&[word, "start"]).exits(0);
        let address = machine.address(VIP).unwrap();
        let found = (address.prefix, address.label.as_deref(), address.broadcast.as_deref());
        assert_eq!(found, (prefix, Some(label), Some(broadcast)), "{word}");
        assert_eq!(ipaddr.heartbeat(&[word, "status"]).exits(0).stdout, "running\n", "{word}");
        ipaddr.heartbeat(&[word, "stop"]).exits(0);
        assert_eq!(machine.address(VIP), None, "{word}");
    }
}

fn cut_word(machine: &Machine) {
    let _peer = machine.nic("eth0", &["fd00::1/64"]);
    let ipaddr = machine.agent("IPaddr");
    let refused = ipaddr.heartbeat(&["fd00", "9/64/eth0", "start"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("cut at `::`"), "{refused:?}");
    ipaddr.heartbeat(&["fd00-0-0-0-0-0-0-9/64/eth0", "start"]).exits(0);
    assert!(machine.address("fd00::9").is_some());
    ipaddr.heartbeat(&["fd00:0:0:0:0:0:0:9/64/eth0", "stop"]).exits(0);
    assert!(machine.address("fd00::9").is_none());
}

fn no_network(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let other = machine.nic("eth1", &["10.1.0.1/24"]);
    machine.ip(&["route", "add", "default", "via", "10.0.0.254"]);
    let before = machine.state();
    let foreign = machine.agent("IPaddr").set("ip", "172.16.0.9");
    foreign.action("start").exits(5).because("through 10.0.0.254");
    vip(machine).set("nic", "eth1").action("start").exits(5).because("no network of 10.0.0.9");
    vip(machine).set("cidr_netmask", "16").action("start").exits(5).because("wider");
    vip(machine).set("nic", "eth7").action("start").exits(5).because("no interface eth7");
    before.unchanged(machine);
    foreign.action("stop").exits(0);
    drop(other);
}

fn nic_and_prefix(machine: &Machine) {
    let _peer = machine.nic("eth0", &[]);
    for prefix in ["16", "24", "32"] {
        let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", prefix);
        ipaddr.action("start").exits(0);
        assert_eq!(machine.address(VIP).unwrap().prefix.to_string(), prefix);
        ipaddr.action("monitor").exits(0);
        ipaddr.action("stop").exits(0);
        assert_eq!(machine.address(VIP), None);
    }
}

fn link_local(machine: &Machine) {
    let _peer = machine.nic("eth0", &[]);
    let ipaddr = machine.agent("IPaddr").set("ip", "fe80::9").set("cidr_netmask", "64");
    ipaddr.action("start").exits(6).because("nic has to name it");
    ipaddr.action("stop").exits(0);
    let ipaddr = ipaddr.set("nic", "eth0").set("nodad", "yes");
    ipaddr.action("start").exits(0);
    ipaddr.action("monitor").exits(0);
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address("fe80::9"), None);
}

fn label(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    machine.ip(&["addr", "add", "10.0.0.9/24", "brd", "+", "dev", "eth0"]);
    let ipaddr = vip(machine).set("iflabel", "web");
    ipaddr.action("monitor").exits(1).because("wanted eth0:web");
    ipaddr.action("start").exits(0);
    let address = machine.address(VIP).unwrap();
    assert_eq!(address.label.as_deref(), Some("eth0:web"));
    assert_eq!(address.broadcast.as_deref(), Some("10.0.0.255"));
    ipaddr.action("monitor").exits(0);
    let long = vip(machine).set("nic", "eth0:much-too-long");
    long.action("start").exits(6).because("too long");
    long.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
}

fn alternative_name(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    for name in ["other", "a-name-longer-than-fifteen"] {
        machine.ip(&["link", "property", "add", "dev", "eth0", "altname", name]);
        let ipaddr = vip(machine).set("nic", name);
        ipaddr.action("start").exits(0);
        ipaddr.action("monitor").exits(0);
        peer.unplug();
        sees_no_carrier(&ipaddr);
        peer.plug();
        ipaddr.action("stop").exits(0);
        assert_eq!(machine.address(VIP), None);
    }
}

fn loopback(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let ipaddr = machine.agent("IPaddr").set("ip", "127.0.0.3");
    for ipaddr in [ipaddr.clone(), ipaddr.set("nic", "lo")] {
        ipaddr.probe().exits(7);
        ipaddr.action("start").exits(0);
        let address = machine.address("127.0.0.3").unwrap();
        assert_eq!(
            (address.nic.as_str(), address.prefix, address.scope.as_str()),
            ("lo", 8, "host")
        );
        ipaddr.action("monitor").exits(0);
        ipaddr.action("stop").exits(0);
        assert_eq!(machine.address("127.0.0.3"), None);
    }
}

fn real_server(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    machine.ip(&["addr", "add", "10.0.0.9/32", "dev", "lo"]);
    let before = machine.state();
    let ipaddr = vip(machine).set("lvs_support", "true");
    ipaddr.probe().exits(7);
    ipaddr.action("start").exits(0);
    let address = machine.address(VIP).unwrap();
    assert_eq!((address.nic.as_str(), address.prefix), ("eth0", 24));
    ipaddr.action("monitor").exits(0);
    ipaddr.action("stop").exits(0);
    before.unchanged(machine);
    // Without anything on lo, nothing is put there.
    machine.ip(&["addr", "del", "10.0.0.9/32", "dev", "lo"]);
    ipaddr.action("start").exits(0);
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
}

fn namespace(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    peer.add_address("10.0.0.2/24");
    let ipaddr = vip(machine).set("network_namespace", "peer-eth0");
    ipaddr.probe().exits(7);
    ipaddr.action("start").exits(0);
    assert_eq!(machine.address(VIP), None);
    assert!(peer.ip(&["addr", "show", "dev", "eth0"]).contains("10.0.0.9/24"));
    ipaddr.action("monitor").exits(0);
    ipaddr.action("stop").exits(0);
    assert!(!peer.ip(&["addr"]).contains("10.0.0.9"));
    let gone = vip(machine).set("network_namespace", "no-such");
    gone.action("start").exits(5).because("no-such");
    gone.action("stop").exits(0);
    gone.probe().exits(7);
    gone.action("monitor").exits(1);
}

fn v6_extras(machine: &Machine) {
    let _peer = machine.nic("eth0", &[]);
    let base = ["addr", "add", "fd00::1/64", "dev", "eth0", "nodad", "metric", "300"];
    machine.ip(&base);
    let ipaddr = machine.agent("IPaddr").with(&[
        ("ip", "fd00::9"),
        ("nodad", "true"),
        ("preferred_lft", "0"),
    ]);
    let started = ipaddr.action("start").exits(0);
    assert!(started.took < super::SECOND, "{:?}", started.took);
    let address = machine.address("fd00::9").unwrap();
    assert_eq!(address.flags, ["deprecated", "nodad"]);
    let routes = machine.ip(&["-6", "route", "show", "dev", "eth0", "proto", "kernel"]);
    assert_eq!(routes.matches("fd00::/64").count(), 1, "{routes}");
    assert!(machine.ip(&["addrlabel"]).contains("fd00::9/128 label 99"));
    ipaddr.action("stop").exits(0);
    assert!(!machine.ip(&["addrlabel"]).contains("fd00::9"));
}

fn own_addresses(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let clone = vip(machine)
        .set("unique_clone_address", "true")
        .meta("clone_max", "3")
        .meta("globally_unique", "true");
    for (number, ip) in [("0", "10.0.0.9"), ("2", "10.0.0.11")] {
        let clone = clone.clone().meta("clone", number).instance(&format!("vip:{number}"));
        clone.action("start").exits(0);
        assert_eq!(machine.address(ip).unwrap().nic, "eth0");
        clone.action("monitor").exits(0);
    }
    clone.clone().meta("globally_unique", "false").action("validate-all").exits(6);
    let last = clone.set("ip", "10.0.0.253").meta("clone", "0");
    last.action("validate-all").exits(6).because("do not fit");
}
