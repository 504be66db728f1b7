//! A kernel that was built without nf_tables: the rules stand in iptables' own
//! chains.

use super::{PORT, Pair, VIP, answer, connects, listen, network};
use crate::harness::{Case, Cases, Machine};
use std::io::ErrorKind::ConnectionRefused;

pub fn cases(cases: &mut Cases) {
    let mut add = |sentence: &str, case: fn(&Machine)| {
        let name = format!("portblock: without nf_tables {sentence}");
        cases.push(Case::new(name, case).needs(&["iptables-legacy", "ip6tables-legacy"]));
    };
    add("a block, an unblock and their stops are seen for what they are", cycle);
    add("what iptables was never asked for is not made by a look", untouched);
    add("ranges, IPv6 and reject are held back as well", kinds);
    add("a block that was flushed, or stands behind others, is no block", displaced);
    add("a rule of ours that somebody has changed is left to people, by name", changed);
    add("rules of others stay", others);
    add("and without iptables a start says that nothing holds packets back", nothing);
}

fn pair(machine: &Machine, given: &[(&str, &str)]) -> Pair {
    let Pair { block, unblock } = Pair::of(machine, given);
    Pair { block: block.without_nf_tables(), unblock: unblock.without_nf_tables() }
}

fn usual(machine: &Machine) -> Pair {
    pair(machine, &[("protocol", "tcp"), ("portno", "2049"), ("ip", VIP)])
}

fn rules(machine: &Machine) -> String {
    let list = |program| machine.must(program, &["-S"]);
    let all = list("iptables-legacy") + &list("ip6tables-legacy");
    all.lines().filter(|line| line.starts_with("-A")).map(|line| format!("{line}\n")).collect()
}

fn cycle(machine: &Machine) {
    super::round(machine, &usual(machine), rules, "");
}

fn untouched(machine: &Machine) {
    let pair = usual(machine);
    pair.monitors(7, 7);
    pair.block.action("stop").exits(0);
    let names = std::fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    assert_eq!(names, "");
}

fn kinds(machine: &Machine) {
    let peer = network(machine);
    let ports = [7999, 8000, 8005, 8010, 8011];
    for ip in [VIP, "fd00::9"] {
        let _servers = ports.map(|port| listen(ip, port));
        let given = [("protocol", "tcp"), ("portno", "8000:8010"), ("ip", ip)];
        let both = pair(machine, &[&given[..], &[("direction", "both")]].concat());
        both.block.action("start").exits(0);
        both.monitors(0, 7);
        assert!(connects(&peer, ip, 8005).is_none());
        both.block.action("stop").exits(0);
        let pair = pair(machine, &[&given[..], &[("method", "reject")]].concat());
        pair.block.action("start").exits(0);
        pair.monitors(0, 7);
        let open = ports.into_iter().filter(|port| connects(&peer, ip, *port).is_some());
        assert_eq!(open.collect::<Vec<_>>(), [7999, 8011], "{ip}");
        assert_eq!(answer(&peer, ip, 8005), ConnectionRefused);
        pair.unblock.action("start").exits(0);
        assert!(ports.into_iter().all(|port| connects(&peer, ip, port).is_some()));
        pair.unblock.action("stop").exits(0);
        pair.block.action("stop").exits(0);
        pair.monitors(7, 7);
    }
    assert_eq!(rules(machine), "");
}

fn displaced(machine: &Machine) {
    let peer = network(machine);
    let _server = listen(VIP, PORT);
    let pair = usual(machine);
    pair.block.action("start").exits(0);
    machine.must("iptables-legacy", &["-I", "INPUT", "-p", "tcp", "-j", "ACCEPT"]);
    assert!(connects(&peer, VIP, PORT).is_some());
    pair.block.action("monitor").exits(1).because("stands before them in input");
    pair.block.action("start").exits(0);
    pair.block.action("monitor").exits(0);
    assert!(connects(&peer, VIP, PORT).is_none());
    machine.must("iptables-legacy", &["-F"]);
    pair.block.action("monitor").exits(7);
    pair.block.action("start").exits(0);
    pair.block.action("stop").exits(0);
    assert_eq!(rules(machine), "");
}

fn changed(machine: &Machine) {
    network(machine);
    let pair = usual(machine);
    pair.block.action("start").exits(0);
    let held = rules(machine);
    let ours = held.lines().find(|line| line.contains("DROP")).unwrap();
    let narrower = ours.replace("-A INPUT", "-R INPUT 1").replace("-p tcp", "-i lo -p tcp");
    let words = narrower.replace("\"block tcp 2049 10.0.0.9 in\"", "COMMENT");
    let words = words.split(' ').map(|word| match word {
        "COMMENT" => "block tcp 2049 10.0.0.9 in",
        word => word,
    });
    machine.must("iptables-legacy", &words.collect::<Vec<_>>());
    pair.block.action("monitor").exits(1).because("0 of 1 rules are there");
    pair.block.action("stop").exits(1).because("somebody has changed what it says: delete it");
    machine.must("iptables-legacy", &["-D", "INPUT", "1"]);
    pair.block.action("stop").exits(0);
    assert_eq!(rules(machine), "");
}

fn others(machine: &Machine) {
    network(machine);
    machine.must("iptables-legacy", &["-A", "INPUT", "-p", "tcp", "--syn", "-j", "ACCEPT"]);
    machine.must("iptables-legacy", &["-N", "theirs"]);
    machine.must("iptables-legacy", &["-A", "OUTPUT", "-j", "theirs"]);
    let before = rules(machine);
    let pair = usual(machine);
    pair.block.action("start").exits(0);
    pair.monitors(0, 7);
    pair.block.action("stop").exits(0);
    assert_eq!(rules(machine), before);
}

fn nothing(machine: &Machine) {
    for program in ["iptables-legacy-restore", "iptables-restore"] {
        machine.run("rm", &["-f", &format!("/usr/sbin/{program}")]);
    }
    let pair = usual(machine);
    pair.monitors(7, 7);
    pair.block.action("start").exits(5).because("nothing here holds packets back");
    pair.block.action("stop").exits(0);
}
