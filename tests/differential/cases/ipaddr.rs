//! The shell's IPaddr of old, which works through ifconfig.

use super::ipaddr2::two_networks;
use crate::pair::Pair;

pub(super) fn pairs() -> Vec<Pair> {
    [given(), situations()].concat()
}

fn pair(name: impl AsRef<str>) -> Pair {
    let quick = [("ARP_REPEAT", "1"), ("ARP_INTERVAL_MS", "10")];
    Pair::new(format!("IPaddr/{}", name.as_ref()), "IPaddr", "IPaddr")
        .scene(two_networks)
        .with(&quick)
        .steps(&["probe", "start", "monitor", "start", "status", "stop", "stop", "probe"])
}

fn given() -> Vec<Pair> {
    let table: &[&[(&str, &str)]] = &[
        &[],
        &[("ip", "")],
        &[("ip", "10.0.0.9")],
        &[("ip", "10.0.0.9"), ("nic", "")],
        &[("ip", "10.0.0.9"), ("nic", "eth0")],
        &[("ip", "10.0.0.9"), ("nic", "eth0"), ("cidr_netmask", "24")],
        &[("ip", "10.0.0.9"), ("nic", "eth0"), ("cidr_netmask", "255.255.255.0")],
        &[("ip", "10.0.0.9"), ("nic", "eth0"), ("netmask", "24")],
        &[("ip", "10.0.0.9"), ("nic", "eth0"), ("cidr_netmask", "32")],
        &[("ip", "10.0.0.9"), ("nic", "eth0"), ("broadcast", "10.0.0.255")],
        &[("ip", "10.0.0.9"), ("nic", "eth0"), ("cidr_netmask", "24"), ("broadcast", "10.0.0.200")],
        &[("ip", "192.168.7.9"), ("nic", "eth1")],
        &[("ip", "192.168.7.9"), ("nic", "")],
        &[("ip", "192.168.7.9")],
        &[("ip", "172.16.5.9"), ("nic", "eth0")],
        &[("ip", "172.16.5.9"), ("nic", "eth0"), ("cidr_netmask", "24")],
        &[("ip", "172.16.5.9")],
        &[("ip", "10.0.0.9"), ("nic", "nope")],
        &[("ip", "10.0.0.9"), ("cidr_netmask", "33")],
        &[("ip", "10.0.0.9"), ("cidr_netmask", "x")],
        &[("ip", "10.0.0.9"), ("broadcast", "x")],
        &[("ip", "10.0.0.256")],
        &[("ip", "host")],
        &[("ip", "10.0.0.9"), ("lvs_support", "true")],
        &[("ip", "10.0.0.9"), ("ARP_BACKGROUND", "no")],
        &[("ip", "10.0.0.9"), ("iflabel", "vip")],
    ];
    let case = |given: &&[(&str, &str)]| {
        let names: Vec<_> = given.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pair(names.join(" ")).with(given)
    };
    table.iter().map(case).collect()
}

fn situations() -> Vec<Pair> {
    let worlds = [
        ("there as an alias", "! ip addr add 10.0.0.9/24 brd + dev eth0 label eth0:0"),
        ("there plainly", "! ip addr add 10.0.0.9/24 brd + dev eth0"),
        ("on another nic", "! ip addr add 10.0.0.9/24 brd + dev eth1"),
        ("alias taken", "! ip addr add 10.0.0.77/24 brd + dev eth0 label eth0:0"),
        ("nic gone", "! ip link del eth0"),
    ];
    let calls: &[(&str, &[&str])] = &[
        ("probe", &["probe"]),
        ("monitor", &["monitor"]),
        ("start", &["start", "monitor"]),
        ("stop", &["stop", "probe"]),
    ];
    let mut pairs = Vec::new();
    for (world, line) in worlds {
        for (name, steps) in calls {
            let steps: Vec<_> = [line].iter().chain(steps.iter()).copied().collect();
            let given = [("ip", "10.0.0.9"), ("nic", "eth0"), ("cidr_netmask", "24")];
            pairs.push(pair(format!("{world}/{name}")).with(&given).steps(&steps));
        }
    }
    pairs
}
