//! What stop takes away: what start has added, wherever that is by then.

use super::{VIP, vip};
use crate::harness::{Call, Cases, Machine, Peer, Program};
use std::time::Duration;

pub fn cases(cases: &mut Cases) {
    cases.add("IPaddr: a longer route to come hides no IPv6 address", longer_route_v6);
    cases.add("IPaddr: a longer route hides no address beside one without a route", longer_route);
    cases.add("IPaddr: a longer route hides no address beside an ordinary one", longer_route_base);
    cases.add("IPaddr: an address on a renamed nic has failed, and is stopped", renamed);
    cases.add("IPaddr: a nic whose name another one has now is stopped", renamed_and_replaced);
    cases.add("IPaddr: a renamed nic without a record has failed, and is stopped", renamed_unknown);
    cases.add("IPaddr: a renamed nic that was not asked for runs", renamed_unasked);
    cases.add("IPaddr: a start brings the address back from where it was", start_recalls);
    cases.add("IPaddr: without a record every copy off lo is stopped", without_record);
    cases.add("IPaddr: what another instance has added is left there", of_another);
    cases.add("IPaddr: a record that makes no sense keeps nothing up", damaged_record);
    cases.add("IPaddr: a start adopts what is there, and stop takes it away", adopted);
    cases.add("IPaddr: a namespace whose name is deleted is stopped by a process in it", |m| {
        nameless(m, Keeper::Process);
    });
    cases.add("IPaddr: a namespace whose name is deleted is stopped by another mount", |m| {
        nameless(m, Keeper::Mount);
    });
    cases.add("IPaddr: a namespace whose name is deleted is stopped by an open file", |m| {
        nameless(m, Keeper::File);
    });
    cases.add("IPaddr: a namespace that nobody has is stopped", destroyed);
    cases.add("IPaddr: a namespace under a name that was used before is told apart", name_reused);
}

fn six(machine: &Machine) -> Call {
    machine.agent("IPaddr").set("ip", "fd00::9").set("nodad", "true")
}

/// All is well, and a stop leaves nothing.
fn runs_and_stops(machine: &Machine, ipaddr: &Call, ip: &str) {
    ipaddr.probe().exits(0);
    ipaddr.action("monitor").exits(0);
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(ip), None);
    ipaddr.probe().exits(7);
}

fn longer_route_v6(machine: &Machine) {
    let _peer = machine.nic("eth0", &["fd00::1/64"]);
    for ipaddr in [six(machine), six(machine).set("nic", "eth0")] {
        ipaddr.action("start").exits(0);
        machine.ip(&["-6", "route", "add", "fd00::/80", "dev", "eth0"]);
        runs_and_stops(machine, &ipaddr, "fd00::9");
        machine.ip(&["-6", "route", "del", "fd00::/80", "dev", "eth0"]);
    }
}

fn longer_route(machine: &Machine) {
    let _peer = machine.nic("eth0", &[]);
    machine.ip(&["addr", "add", "10.0.0.1/24", "dev", "eth0", "noprefixroute"]);
    machine.ip(&["route", "add", "10.0.0.0/24", "dev", "eth0"]);
    for ipaddr in [vip(machine), vip(machine).set("nic", "eth0")] {
        ipaddr.action("start").exits(0);
        machine.ip(&["route", "add", "10.0.0.0/28", "dev", "eth0"]);
        runs_and_stops(machine, &ipaddr, VIP);
        machine.ip(&["route", "del", "10.0.0.0/28", "dev", "eth0"]);
    }
}

fn longer_route_base(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    for ipaddr in [vip(machine), vip(machine).set("nic", "eth0")] {
        ipaddr.action("start").exits(0);
        machine.ip(&["route", "add", "10.0.0.0/28", "dev", "eth0"]);
        runs_and_stops(machine, &ipaddr, VIP);
        machine.ip(&["route", "del", "10.0.0.0/28", "dev", "eth0"]);
    }
}

fn rename(machine: &Machine, from: &str, to: &str) {
    machine.ip(&["link", "set", from, "down"]);
    machine.ip(&["link", "set", from, "name", to]);
    machine.ip(&["link", "set", to, "up"]);
}

fn renamed(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    ipaddr.action("start").exits(0);
    rename(machine, "eth0", "lan0");
    for seen in [ipaddr.action("monitor"), ipaddr.probe()] {
        seen.exits(1).because("10.0.0.9/24 is on lan0, which was eth0");
    }
    ipaddr.action("start").exits(5).because("no interface eth0");
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
    ipaddr.probe().exits(7);
    assert!(machine.address("10.0.0.1").is_some());
}

fn renamed_and_replaced(machine: &Machine) {
    let _first = machine.nic("eth0", &["10.0.0.1/24"]);
    let _second = machine.nic("eth1", &["10.0.0.2/24"]);
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    ipaddr.action("start").exits(0);
    rename(machine, "eth0", "lan0");
    rename(machine, "eth1", "eth0");
    ipaddr.action("monitor").exits(1).because("10.0.0.9/24 is on lan0, which was eth0");
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
    ipaddr.probe().exits(7);
}

fn renamed_unknown(machine: &Machine) {
    let _peer = machine.nic("lan0", &["10.0.0.1/24"]);
    machine.add_address("lan0", "10.0.0.9/24");
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    for seen in [ipaddr.action("monitor"), ipaddr.probe()] {
        seen.exits(1).because("10.0.0.9/24 is on lan0, and there is no interface eth0");
    }
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
    ipaddr.probe().exits(7);
}

fn renamed_unasked(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let ipaddr = vip(machine);
    ipaddr.action("start").exits(0);
    rename(machine, "eth0", "lan0");
    runs_and_stops(machine, &ipaddr, VIP);
}

fn start_recalls(machine: &Machine) {
    let _first = machine.nic("eth0", &["10.0.0.1/24"]);
    let _second = machine.nic("eth1", &["10.0.0.2/24"]);
    vip(machine).set("nic", "eth0").set("cidr_netmask", "24").action("start").exits(0);
    for (nic, prefix) in [("eth1", 24), ("eth1", 25), ("eth0", 25)] {
        let ipaddr = vip(machine).set("nic", nic).set("cidr_netmask", prefix.to_string());
        ipaddr.action("monitor").exits(1).because("wanted 10.0.0.9/");
        ipaddr.action("start").exits(0);
        let found: Vec<_> = machine.addresses().into_iter().filter(|a| a.ip == VIP).collect();
        let places: Vec<_> = found.iter().map(|a| (a.nic.as_str(), a.prefix)).collect();
        assert_eq!(places, [(nic, prefix)]);
        ipaddr.action("monitor").exits(0);
    }
}

fn without_record(machine: &Machine) {
    let _first = machine.nic("eth0", &["10.0.0.1/24"]);
    let _second = machine.nic("eth1", &["10.0.1.1/24"]);
    machine.ip(&["addr", "add", "10.0.0.9/32", "dev", "lo"]);
    let before = machine.state();
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    for line in [["10.0.0.9/24", "eth0"], ["10.0.0.9/26", "eth0"], ["10.0.0.9/24", "eth1"]] {
        machine.add_address(line[1], line[0]);
    }
    ipaddr.action("stop").exits(0);
    before.unchanged(machine);
    // From now on it is known that nothing is this agent's.
    machine.add_address("eth1", "10.0.0.9/24");
    let stranger = machine.state();
    ipaddr.action("stop").exits(0);
    ipaddr.action("start").exits(0);
    ipaddr.action("stop").exits(0);
    stranger.unchanged(machine);
}

fn of_another(machine: &Machine) {
    let _first = machine.nic("eth0", &["10.0.0.1/24"]);
    let _second = machine.nic("eth1", &["10.0.1.1/24"]);
    let other = vip(machine).set("nic", "eth1").set("cidr_netmask", "24").instance("other");
    other.action("start").exits(0);
    let before = machine.state();
    vip(machine).set("nic", "eth0").set("cidr_netmask", "24").action("stop").exits(0);
    before.unchanged(machine);
    other.action("monitor").exits(0);
}

fn damaged_record(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let record = "/run/resource-agents/IPaddr-test.added";
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    for text in
        ["", "1 10.0.0.9 24", "1 10.0.0.9 24 4294967296 eth0 -", "\u{0}\u{1}", "1 10.0.0.8 -"]
    {
        ipaddr.action("start").exits(0);
        machine.file(record, text);
        rename(machine, "eth0", "lan0");
        ipaddr.probe().exits(1);
        ipaddr.action("stop").exits(0);
        assert_eq!(machine.address(VIP), None, "{text:?}");
        rename(machine, "lan0", "eth0");
    }
}

fn adopted(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    machine.add_address("eth0", "10.0.0.9/24");
    let ipaddr = vip(machine).set("nic", "eth0").set("cidr_netmask", "24");
    ipaddr.action("start").exits(0);
    rename(machine, "eth0", "lan0");
    ipaddr.action("monitor").exits(1).because("which was eth0");
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address(VIP), None);
}

/// What keeps a network namespace alive whose name is gone.
#[derive(PartialEq)]
enum Keeper {
    Process,
    Mount,
    File,
}

const INSIDE: &str = "peer-eth0";

/// An address that was started in the neighbour's namespace.
fn in_namespace(machine: &Machine) -> (Peer<'_>, Call) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    peer.add_address("10.0.0.2/24");
    let ipaddr = vip(machine).set("network_namespace", INSIDE).set("announce_again", "0");
    let ipaddr = ipaddr.set("arp_count", "1");
    ipaddr.action("start").exits(0);
    ipaddr.action("monitor").exits(0);
    (peer, ipaddr)
}

fn nameless(machine: &Machine, keeper: Keeper) {
    let (_peer, ipaddr) = in_namespace(machine);
    let name = format!("/run/netns/{INSIDE}");
    let open = format!("exec sleep 100 3< {name}");
    let (inside, mounted, opened) = (
        ["netns", "exec", INSIDE, "sleep", "100"],
        ["mount", "--bind", &name, "/tmp/kept"],
        ["sh", "-c", &open],
    );
    let spawn = |words: &[&str]| Program::new(words[0]).args(&words[1..]).spawn();
    let _kept = match keeper {
        Keeper::Process => Some(spawn(&[&["ip"], &inside[..]].concat())),
        Keeper::File => Some(spawn(&opened)),
        Keeper::Mount => {
            machine.file("/tmp/kept", "");
            machine.must(mounted[0], &mounted[1..]);
            None
        }
    };
    std::thread::sleep(Duration::from_millis(300));
    machine.ip(&["netns", "del", INSIDE]);
    // The neighbour answers as long as it is there.
    let reaches = || machine.run("ping", &["-c", "1", "-W", "1", VIP]).code == Some(0);
    assert!(reaches());
    for seen in [ipaddr.action("monitor"), ipaddr.probe()] {
        seen.exits(1)
            .because("10.0.0.9/24 is on eth0, in a network namespace that is not peer-eth0");
    }
    ipaddr.action("start").exits(5).because("no network namespace peer-eth0");
    assert!(reaches());
    ipaddr.action("stop").exits(0);
    assert!(!reaches());
    assert!(machine.run("ping", &["-c", "1", "-W", "1", "10.0.0.2"]).code == Some(0));
    ipaddr.probe().exits(7);
    ipaddr.action("stop").exits(0);
    if keeper == Keeper::Mount {
        machine.must("umount", &["/tmp/kept"]);
    }
}

fn destroyed(machine: &Machine) {
    let (_peer, ipaddr) = in_namespace(machine);
    machine.ip(&["netns", "del", INSIDE]);
    ipaddr.action("monitor").exits(1).because("no network namespace peer-eth0");
    ipaddr.probe().exits(7);
    ipaddr.action("stop").exits(0);
    ipaddr.action("stop").exits(0);
}

fn name_reused(machine: &Machine) {
    let (_peer, ipaddr) = in_namespace(machine);
    let _kept = Program::new("ip").args(["netns", "exec", INSIDE, "sleep", "100"]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    machine.ip(&["netns", "del", INSIDE]);
    machine.ip(&["netns", "add", INSIDE]);
    let reaches = || machine.run("ping", &["-c", "1", "-W", "1", VIP]).code == Some(0);
    ipaddr.action("monitor").exits(1).because("is not peer-eth0 any more");
    assert!(reaches());
    ipaddr.action("stop").exits(0);
    assert!(!reaches());
    ipaddr.probe().exits(7);
}
