//! Where no route names the network, where the kernel refuses, and what is
//! there already, but not as it should be.

use super::{VIP, vip};
use crate::harness::{Call, Cases, Machine};
use serde_json::Value;

pub fn cases(cases: &mut Cases) {
    cases.add("IPaddr: a nic that is down needs no prefix given", down);
    cases.add("IPaddr: a nic that is down and not given is found by its address", down_unasked);
    cases.add("IPaddr: a nic without a prefix route needs no prefix given", no_prefix_route);
    cases.add("IPaddr: routes in a table of their own need no prefix given", own_table);
    cases.add("IPaddr: IPv6 switched off on a nic is said so", v6_off);
    cases.add("IPaddr: a nic too narrow for IPv6 is said so", v6_too_narrow);
    cases.add("IPaddr: the kernel's explanation of a refusal is shown", explained);
    cases.add("IPaddr: an address that would expire is kept", lifetimes);
    cases.add("IPaddr: a lifetime that was asked for is set right", lifetime_asked_for);
}

fn six(machine: &Machine) -> Call {
    machine.agent("IPaddr").set("ip", "fd00::9").set("nodad", "true")
}

/// A whole life of an address that needs no more than this.
fn lives(machine: &Machine, ipaddr: &Call, ip: &str, prefix: u64) {
    ipaddr.action("validate-all").exits(0);
    ipaddr.clone().depth("10").action("validate-all").exits(0);
    ipaddr.action("start").exits(0);
    let found = machine.address(ip).unwrap();
    assert_eq!((found.nic.as_str(), found.prefix), ("eth0", prefix));
    ipaddr.action("monitor").exits(0);
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(ip), None);
}

fn down(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    machine.ip(&["link", "set", "eth0", "down"]);
    lives(machine, &vip(machine).set("nic", "eth0"), VIP, 24);
    // Without an address of the network there is nothing to go by.
    machine.ip(&["addr", "flush", "dev", "eth0"]);
    machine.ip(&["link", "set", "eth0", "down"]);
    let lost = vip(machine).set("nic", "eth0").action("start");
    lost.exits(5).because("no network of 10.0.0.9 on eth0, which is set down: give cidr_netmask");
}

fn down_unasked(machine: &Machine) {
    let _first = machine.nic("eth1", &["10.0.0.2/16"]);
    let _second = machine.nic("eth0", &["10.0.0.1/24"]);
    machine.sysctl("net/ipv6/conf/eth0/keep_addr_on_down", "1");
    machine.add_address("eth0", "fd00::1/80");
    machine.ip(&["link", "set", "eth0", "down"]);
    machine.ip(&["addr", "flush", "dev", "eth1"]);
    lives(machine, &vip(machine), VIP, 24);
    machine.ip(&["link", "set", "eth0", "down"]);
    lives(machine, &six(machine), "fd00::9", 80);
}

fn no_prefix_route(machine: &Machine) {
    let _peer = machine.nic("eth0", &[]);
    machine.ip(&["addr", "add", "10.0.0.1/24", "dev", "eth0", "noprefixroute"]);
    machine.ip(&["addr", "add", "fd00::1/64", "dev", "eth0", "nodad", "noprefixroute"]);
    for nic in [None, Some("eth0")] {
        let with = |call: Call| nic.map_or(call.clone(), |nic| call.set("nic", nic));
        lives(machine, &with(vip(machine)), VIP, 24);
        lives(machine, &with(six(machine)), "fd00::9", 64);
    }
}

/// What a VRF does with the routes of its interfaces.
fn own_table(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    for ipaddr in [vip(machine), vip(machine).set("nic", "eth0")] {
        machine.ip(&["route", "flush", "dev", "eth0", "table", "main"]);
        machine.ip(&["route", "replace", "10.0.0.0/24", "dev", "eth0", "table", "10"]);
        ipaddr.action("start").exits(0);
        assert_eq!(machine.address(VIP).unwrap().prefix, 24);
        machine.ip(&["route", "del", "local", VIP, "dev", "eth0", "table", "local"]);
        machine.ip(&["route", "add", "local", VIP, "dev", "eth0", "table", "10"]);
        ipaddr.action("monitor").exits(0);
        ipaddr.probe().exits(0);
        ipaddr.action("stop").exits(0);
        assert_eq!(machine.address(VIP), None);
        ipaddr.probe().exits(7);
        machine.ip(&["route", "flush", "table", "10"]);
    }
}

fn v6_off(machine: &Machine) {
    let _peer = machine.nic("eth0", &["fd00::1/64"]);
    let ipaddr = six(machine).set("nic", "eth0").set("cidr_netmask", "64");
    ipaddr.action("start").exits(0);
    machine.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1");
    ipaddr.action("monitor").exits(7);
    ipaddr.probe().exits(7);
    let refused = ipaddr.action("start").exits(5);
    refused.because("IPv6 is switched off on eth0: net.ipv6.conf.eth0.disable_ipv6 is 1");
    ipaddr.clone().depth("10").action("validate-all").exits(5).because("switched off on eth0");
    ipaddr.action("stop").exits(0);
    // It is the interface that is switched off, not the agent.
    vip(machine).set("nic", "eth0").set("cidr_netmask", "24").action("start").exits(0);
}

fn v6_too_narrow(machine: &Machine) {
    let _peer = machine.nic("eth0", &[]);
    machine.ip(&["link", "set", "eth0", "mtu", "1000"]);
    let ipaddr = six(machine).set("nic", "eth0").set("cidr_netmask", "64");
    ipaddr.action("start").exits(5).because("needs an MTU of 1280");
    ipaddr.action("stop").exits(0);
}

fn explained(machine: &Machine) {
    let _peer = machine.nic("eth0", &["fd00::1/64"]);
    machine.ip(&["addr", "add", "fd00::9/128", "dev", "eth0", "nodad"]);
    let ipaddr = six(machine).set("nic", "eth0").set("cidr_netmask", "64");
    ipaddr.action("start").exits(1).because("address already assigned");
}

/// For how long the address is preferred and valid, as iproute2 tells it.
fn lifetimes_of(machine: &Machine, ip: &str) -> (u64, u64) {
    let links: Value = serde_json::from_str(&machine.ip(&["-j", "addr"])).unwrap();
    let mut addresses = links
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
    let found = addresses.find(|address| address["local"] == ip).unwrap();
    let seconds = |name: &str| found[name].as_u64().unwrap();
    (seconds("preferred_life_time"), seconds("valid_life_time"))
}

const FOREVER: u64 = u32::MAX as u64;

fn lifetimes(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24", "fd00::1/64"]);
    for (address, ipaddr) in [("10.0.0.9/24", vip(machine)), ("fd00::9/64", six(machine))] {
        let ip = address.split('/').next().unwrap();
        let limits = ["valid_lft", "60", "preferred_lft", "30"];
        machine.ip(&[&["addr", "add", address, "dev", "eth0"], &limits[..]].concat());
        ipaddr.action("start").exits(0);
        assert_eq!(lifetimes_of(machine, ip), (FOREVER, FOREVER), "{ip}");
        let flags = machine.address(ip).unwrap().flags;
        assert!(flags.iter().all(|flag| *flag == "secondary"), "{flags:?}");
        ipaddr.action("monitor").exits(0);
        ipaddr.action("stop").exits(0);
        assert_eq!(machine.address(ip), None);
    }
}

fn lifetime_asked_for(machine: &Machine) {
    let _peer = machine.nic("eth0", &["fd00::1/64"]);
    let ipaddr = six(machine).set("preferred_lft", "0");
    machine.ip(&["addr", "add", "fd00::9/64", "dev", "eth0", "nodad", "noprefixroute"]);
    ipaddr.action("start").exits(0);
    assert_eq!(lifetimes_of(machine, "fd00::9"), (0, FOREVER));
    let flags = machine.address("fd00::9").unwrap().flags;
    assert_eq!(flags, ["deprecated", "nodad", "noprefixroute"]);
    ipaddr.action("stop").exits(0);
    let limited = ipaddr.set("preferred_lft", "100");
    limited.action("start").exits(0);
    let (preferred, valid) = lifetimes_of(machine, "fd00::9");
    assert!((90..=100).contains(&preferred) && valid == FOREVER, "{preferred} {valid}");
    let before = machine.state();
    limited.action("start").exits(0);
    before.unchanged(machine);
}
