//! IPaddr2: which address, prefix, interface, broadcast and label a call ends
//! up with; what is refused; what each situation is taken for.

use crate::harness::Machine;
use crate::pair::Pair;

/// A whole life: every transition and every repetition.
const LIFE: &[&str] = &["probe", "start", "monitor", "start", "status", "stop", "stop", "probe"];
/// For what is refused: nothing may come of it.
const REFUSED: &[&str] = &["validate-all", "probe", "monitor", "start", "monitor", "stop"];

/// Two interfaces with networks of their own, and a way out.
pub(super) fn two_networks(machine: &Machine) -> Vec<(String, String)> {
    // The old IPaddr keeps its locks there; systemd makes it at boot.
    machine.must("mkdir", &["-p", "/run/resource-agents"]);
    // It would cost each IPv6 case seconds.
    machine.without_dad();
    machine.nic("eth0", &["10.0.0.1/24", "fd00::1/64"]);
    machine.nic("eth1", &["192.168.7.1/24"]);
    machine.ip(&["route", "add", "default", "via", "10.0.0.254"]);
    Vec::new()
}

pub(super) fn pairs() -> Vec<Pair> {
    [matrix(), addresses(), six(), values(), labels(), situations(), actions()].concat()
}

fn pair(name: impl AsRef<str>) -> Pair {
    // One frame each time: what is on the wire is judged elsewhere.
    let quick = [("arp_count", "1"), ("arp_interval", "10")];
    Pair::new(format!("IPaddr2/{}", name.as_ref()), "IPaddr2", "IPaddr")
        .scene(two_networks)
        .with(&quick)
        .steps(LIFE)
}

/// Address by prefix by interface: what is given, and what is left to the
/// routing table.
fn matrix() -> Vec<Pair> {
    let ips = ["10.0.0.9", "192.168.7.9", "127.0.0.3", "172.16.5.9"];
    let prefixes = [None, Some("24"), Some("32"), Some("16"), Some("25"), Some("255.255.255.0")];
    let nics = [None, Some("eth0"), Some("eth1"), Some("lo")];
    let mut pairs = Vec::new();
    for ip in ips {
        for prefix in prefixes {
            for nic in nics {
                let mut case =
                    pair(format!("{ip}/{}/{}", prefix.unwrap_or("-"), nic.unwrap_or("-")))
                        .with(&[("ip", ip)]);
                if let Some(prefix) = prefix {
                    case = case.with(&[("cidr_netmask", prefix)]);
                }
                if let Some(nic) = nic {
                    case = case.with(&[("nic", nic)]);
                }
                pairs.push(case.steps(&["start", "monitor", "stop"]));
            }
        }
    }
    pairs
}

/// Addresses that are none, or not for a host.
fn addresses() -> Vec<Pair> {
    let bad = [
        "",
        "10.0.0",
        "10.0.0.256",
        "300.1.1.1",
        "10.0.0.9/24",
        "host.example",
        "10.0.0.9 ",
        "0.0.0.0",
        "224.0.0.5",
        "255.255.255.255",
        "10.0.0.0",
        "10.0.0.255",
        "010.0.0.9",
        "fd00::g",
        "::",
        "10.0.0.1",
        "10.0.0.254",
    ];
    let bad =
        bad.into_iter().map(|ip| pair(format!("ip={ip:?}")).with(&[("ip", ip)]).steps(REFUSED));
    bad.chain([pair("no ip").steps(REFUSED)]).collect()
}

fn six() -> Vec<Pair> {
    let table: &[(&str, Option<&str>, Option<&str>)] = &[
        ("fd00::9", None, None),
        ("fd00::9", Some("64"), None),
        ("fd00::9", Some("128"), None),
        ("fd00::9", Some("48"), None),
        ("fd00::9", None, Some("eth0")),
        ("fd00::9", Some("64"), Some("eth0")),
        ("fd00::9", Some("64"), Some("eth1")),
        ("fd00::9", Some("128"), Some("eth0")),
        ("fd00::9", Some("96"), Some("lo")),
        ("FD00:0::9", Some("64"), Some("eth0")),
        ("fd01::9", None, None),
        ("fd01::9", Some("64"), Some("eth0")),
        ("fd01::9", None, Some("eth0")),
        ("fe80::9", None, None),
        ("fe80::9", Some("64"), Some("eth0")),
        ("fd00::9", Some("129"), Some("eth0")),
        ("fd00::9", Some("0"), Some("eth0")),
        ("fd00::9", Some("x"), Some("eth0")),
        ("fd00::9", Some("64"), Some("nope")),
        ("fd00::1", Some("64"), Some("eth0")),
    ];
    let case = |(ip, prefix, nic): &(&str, Option<&str>, Option<&str>)| {
        let name = format!("{ip}/{}/{}", prefix.unwrap_or("-"), nic.unwrap_or("-"));
        let given = [("ip", Some(*ip)), ("cidr_netmask", *prefix), ("nic", *nic)];
        let given: Vec<_> = given.iter().filter_map(|(n, v)| Some((*n, (*v)?))).collect();
        pair(name).with(&given).steps(&["probe", "start", "monitor", "start", "stop", "probe"])
    };
    table.iter().map(case).collect()
}

/// One parameter with a value, beside an address that works.
fn values() -> Vec<Pair> {
    let table = [
        ("cidr_netmask", "0"),
        ("cidr_netmask", "33"),
        ("cidr_netmask", "-1"),
        ("cidr_netmask", "x"),
        ("cidr_netmask", "24 "),
        ("cidr_netmask", "255.0.255.0"),
        ("cidr_netmask", ""),
        ("netmask", "24"),
        ("nic", "nope"),
        ("nic", ""),
        ("nic", "eth0:vip"),
        ("nic", "eth0 eth1"),
        ("nic", "../eth0"),
        ("nic", "a-name-that-is-too-long"),
        ("broadcast", "+"),
        ("broadcast", "-"),
        ("broadcast", ""),
        ("broadcast", "10.0.0.255"),
        ("broadcast", "10.0.0.200"),
        ("broadcast", "10.0.0"),
        ("broadcast", "nonsense"),
        ("iflabel", "vip"),
        ("iflabel", "123456789012"),
        ("iflabel", ""),
        ("arp_count", "0"),
        ("arp_count", "-1"),
        ("arp_count", "many"),
        ("arp_interval", "0"),
        ("arp_interval", "x"),
        ("arp_count_refresh", "1"),
        ("arp_bg", "false"),
        ("arp_bg", "maybe"),
        ("arp_sender", "send_arp"),
        ("arp_sender", "iputils_arping"),
        ("arp_sender", "pigeon"),
        ("run_arping", "true"),
        ("nodad", "true"),
        ("noprefixroute", "true"),
        ("noprefixroute", "maybe"),
        ("preferred_lft", "0"),
        ("preferred_lft", "3600"),
        ("preferred_lft", ""),
        ("preferred_lft", "soon"),
        ("check_link_status", "false"),
        ("flush_routes", "true"),
        ("lvs_support", "true"),
        ("lvs_support", "perhaps"),
        ("lvs_ipv6_addrlabel", "false"),
        ("unique_clone_address", "true"),
        ("mac", "auto"),
        ("mac", "nonsense"),
        ("network_namespace", "nowhere"),
        ("CRM_meta_clone_max", "0"),
        ("CRM_meta_clone_max", "x"),
        ("no_such_parameter", "1"),
        ("proto", "kernel"),
        ("proto", "static"),
    ];
    let case = |(name, value): (&str, &str)| {
        let case = pair(format!("{name}={value:?}")).with(&[("ip", "10.0.0.9"), (name, value)]);
        case.steps(&["validate-all", "probe", "start", "monitor", "stop", "probe"])
    };
    table.into_iter().map(case).collect()
}

fn labels() -> Vec<Pair> {
    let given = [("ip", "10.0.0.9"), ("iflabel", "vip")];
    let situation = |name: &str, line: &str, steps: &[&str]| {
        let steps: Vec<_> = [line].iter().chain(steps).copied().collect();
        pair(format!("label/{name}")).with(&given).steps(&steps)
    };
    let other = "! ip addr add 10.0.0.9/24 brd + dev eth0 label eth0:other";
    let none = "! ip addr add 10.0.0.9/24 brd + dev eth0";
    let right = "! ip addr add 10.0.0.9/24 brd + dev eth0 label eth0:vip";
    let mut pairs = Vec::new();
    for (name, line) in [("another", other), ("none", none), ("right", right)] {
        pairs.push(situation(&format!("{name}/probe"), line, &["probe"]));
        pairs.push(situation(&format!("{name}/monitor"), line, &["monitor"]));
        pairs.push(situation(&format!("{name}/start"), line, &["start", "monitor"]));
        pairs.push(situation(&format!("{name}/stop"), line, &["stop", "probe"]));
    }
    pairs
}

/// What the machine may be like when the call comes.
fn situations() -> Vec<Pair> {
    let plain: &[(&str, &str)] = &[("ip", "10.0.0.9")];
    let on_eth0: &[(&str, &str)] = &[("ip", "10.0.0.9"), ("cidr_netmask", "24"), ("nic", "eth0")];
    let no_check: &[(&str, &str)] =
        &[("ip", "10.0.0.9"), ("nic", "eth0"), ("check_link_status", "false")];
    let six: &[(&str, &str)] = &[("ip", "fd00::9"), ("cidr_netmask", "64"), ("nic", "eth0")];
    type World<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let worlds: &[World] = &[
        ("there already", plain, "! ip addr add 10.0.0.9/24 brd + dev eth0"),
        ("there without broadcast", plain, "! ip addr add 10.0.0.9/24 dev eth0"),
        ("other prefix", plain, "! ip addr add 10.0.0.9/32 dev eth0"),
        ("other prefix, all given", on_eth0, "! ip addr add 10.0.0.9/16 brd + dev eth0"),
        ("prefix that begins alike", on_eth0, "! ip addr add 10.0.0.9/2 dev eth0"),
        ("on another nic", on_eth0, "! ip addr add 10.0.0.9/24 brd + dev eth1"),
        ("address that begins alike", on_eth0, "! ip addr add 10.0.0.99/24 brd + dev eth0"),
        ("siblings", on_eth0, "! ip addr add 10.0.0.10/24 brd + dev eth0"),
        ("only one of its subnet", on_eth0, "! ip addr del 10.0.0.1/24 dev eth0"),
        ("nic down", on_eth0, "! ip link set eth0 down"),
        (
            "nic down, address there",
            on_eth0,
            "! ip addr add 10.0.0.9/24 brd + dev eth0; ip link set eth0 down",
        ),
        ("nic down, not checked", no_check, "! ip link set eth0 down"),
        (
            "no carrier",
            on_eth0,
            "! ip -n peer-eth0 link set eth0 down; until ip link show eth0 | grep -q DOWN; do :; done",
        ),
        (
            "no carrier, address there",
            on_eth0,
            "! ip addr add 10.0.0.9/24 brd + dev eth0; ip -n peer-eth0 link set eth0 down; until ip link show eth0 | grep -q DOWN; do :; done",
        ),
        (
            "no carrier, not checked",
            no_check,
            "! ip -n peer-eth0 link set eth0 down; until ip link show eth0 | grep -q DOWN; do :; done",
        ),
        (
            "no carrier, nic with another name",
            on_eth0,
            "! ip addr add 10.0.0.9/24 brd + dev eth0; ip link property add dev eth0 altname enp0s0; ip -n peer-eth0 link set eth0 down; until ip link show eth0 | grep -q DOWN; do :; done",
        ),
        ("nic gone", on_eth0, "! ip link del eth0"),
        ("nic gone, searched", plain, "! ip link del eth0"),
        ("no routes", plain, "! ip route flush table main"),
        ("two nics on one network", plain, "! ip addr add 10.0.0.2/24 brd + dev eth1"),
        ("two routes", plain, "! ip route add 10.0.0.0/25 dev eth1"),
        ("unreachable route", plain, "! ip route add unreachable 10.0.0.0/25"),
        (
            "a route with a metric",
            plain,
            "! ip route add 10.0.0.0/24 dev eth1 scope link metric 100",
        ),
        ("six there already", six, "! ip addr add fd00::9/64 dev eth0 nodad"),
        ("six with other prefix", six, "! ip addr add fd00::9/128 dev eth0 nodad"),
        ("six on another nic", six, "! ip addr add fd00::9/64 dev eth1 nodad"),
        (
            "six without carrier",
            six,
            "! ip -n peer-eth0 link set eth0 down; until ip link show eth0 | grep -q DOWN; do :; done",
        ),
    ];
    let calls: &[(&str, &[&str])] = &[
        ("probe", &["probe"]),
        ("monitor", &["monitor"]),
        ("start", &["start", "monitor"]),
        ("stop", &["stop", "probe"]),
    ];
    let mut pairs = Vec::new();
    for (world, given, line) in worlds {
        for (name, steps) in calls {
            let steps: Vec<_> = [*line].iter().chain(steps.iter()).copied().collect();
            pairs.push(pair(format!("{world}/{name}")).with(given).steps(&steps));
        }
    }
    pairs
}

/// What is no action, and what needs no parameters.
fn actions() -> Vec<Pair> {
    let words = [
        "bogus",
        "",
        "START",
        "reload",
        "promote",
        "demote",
        "notify",
        "migrate_to",
        "usage",
        "help",
        "meta-data",
    ];
    let with = words
        .iter()
        .map(|word| pair(format!("action {word:?}")).with(&[("ip", "10.0.0.9")]).steps(&[word]));
    let without =
        words.iter().map(|word| pair(format!("action {word:?} of nothing")).steps(&[word]));
    with.chain(without).collect()
}
