//! What Debian's shell agent has left, and what it reads and writes.

use super::{PORT, Pair, VIP, connects, listen, network};
use crate::harness::{Case, Cases, Machine};

const NEEDS: &[&str] =
    &["nft", "iptables-legacy", "iptables-nft", "/usr/lib/ocf/resource.d/heartbeat/portblock"];

pub fn cases(cases: &mut Cases) {
    for form in ["legacy", "nft"] {
        let name =
            format!("portblock: what the shell agent has left with iptables-{form} is removed");
        cases.push(Case::new(name, move |machine| left(machine, form)).needs(NEEDS));
    }
    let name = "portblock: what the shell agent of later days has left with nft is removed";
    cases.push(Case::new(name, later).needs(NEEDS));
    let name = "portblock: rules of others that look alike stay";
    cases.push(Case::new(name, alike).needs(NEEDS));
}

fn choose(machine: &Machine, form: &str) {
    for plain in ["iptables", "ip6tables"] {
        let chosen = format!("/usr/sbin/{plain}-{form}");
        machine.must("ln", &["-sf", &chosen, &format!("/etc/alternatives/{plain}")]);
    }
}

/// The rules of both of iptables' forms.
fn rules(machine: &Machine) -> String {
    let list = |program| machine.run(program, &["-S"]).stdout;
    let all = list("iptables-legacy") + &list("iptables-nft");
    all.lines().filter(|line| line.starts_with("-A")).map(|line| format!("{line}\n")).collect()
}

fn left(machine: &Machine, form: &str) {
    let peer = network(machine);
    let _server = listen(VIP, PORT);
    choose(machine, form);
    for direction in ["in", "out", "both"] {
        let pair = Pair::usual(machine).set("portno", "2049,80").set("direction", direction);
        let shell = machine.stock("portblock").set("action", "block");
        let given =
            [("protocol", "tcp"), ("portno", "80,2049"), ("ip", VIP), ("direction", direction)];
        shell.with(&given).action("start").exits(0);
        assert!(!rules(machine).is_empty());
        assert!(connects(&peer, VIP, PORT).is_none());
        pair.block.action("start").exits(0);
        assert_eq!(rules(machine), "", "{direction}");
        pair.unblock.action("start").exits(0);
        assert!(connects(&peer, VIP, PORT).is_some(), "{direction}");
        pair.unblock.action("stop").exits(0);
        pair.block.action("stop").exits(0);
    }
}

/// As it speaks to nft since resource-agents 4.17.
fn later(machine: &Machine) {
    let peer = network(machine);
    let _servers = [VIP, "fd00::9"].map(|ip| listen(ip, PORT));
    let nft = |words: &str| machine.must("nft", &words.split(' ').collect::<Vec<_>>());
    nft("add table inet portblock");
    nft("add chain inet portblock INPUT { type filter hook input priority 0; }");
    nft("add chain inet portblock OUTPUT { type filter hook output priority 0; }");
    for (family, ip) in [("ip", VIP), ("ip6", "fd00::9")] {
        let states = "tcp dport 2049 ct state { established, related, new }";
        nft(&format!("insert rule inet portblock INPUT {family} daddr {ip} {states} drop"));
        let reset = "tcp sport 2049 ct state { established, related, new } reject with tcp reset";
        nft(&format!("insert rule inet portblock OUTPUT {family} saddr {ip} {reset}"));
        assert!(connects(&peer, ip, PORT).is_none());
        let pair = Pair::usual(machine).set("ip", ip).started();
        assert!(connects(&peer, ip, PORT).is_some());
        pair.monitors(0, 0);
    }
    assert!(!machine.must("nft", &["list", "table", "inet", "portblock"]).contains("daddr"));
}

fn alike(machine: &Machine) {
    let others = [
        "-d 10.0.0.8 -p tcp -m multiport --dports 2049 -j DROP",
        "-d 10.0.0.9 -p udp -m multiport --dports 2049 -j DROP",
        "-d 10.0.0.9 -p tcp -m multiport --dports 2049,80 -j DROP",
        "-d 10.0.0.9 -p tcp -m multiport --dports 2049 -j ACCEPT",
        "-d 10.0.0.9 -p tcp -m multiport --dports 2049 -m comment --comment mine -j DROP",
        "-d 10.0.0.9 -i eth7 -p tcp -m multiport --dports 2049 -j DROP",
        "-d 10.0.0.0/24 -p tcp -m multiport --dports 2049 -j DROP",
        "-d 10.0.0.9 -s 10.0.0.2 -p tcp -m multiport --dports 2049 -j DROP",
        "-p tcp -m multiport --dports 2049 -j DROP",
    ];
    for program in ["iptables-legacy", "iptables-nft"] {
        for other in others {
            let words: Vec<_> = ["-w", "-I", "INPUT"].into_iter().chain(other.split(' ')).collect();
            machine.must(program, &words);
        }
    }
    let before = rules(machine);
    assert_eq!(before.lines().count(), 2 * others.len(), "{before}");
    let pair = Pair::usual(machine).started();
    pair.unblock.action("stop").exits(0);
    pair.block.action("stop").exits(0);
    assert_eq!(rules(machine), before);
}
