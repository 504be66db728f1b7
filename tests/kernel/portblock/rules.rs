//! What is held back, and what is said of it.

use super::{PORT, Pair, VIP, answer, connects, listen, network, ruleset};
use crate::harness::{Case, Cases, Machine};
use std::io::ErrorKind::{ConnectionRefused, TimedOut};
use std::net::UdpSocket;
use std::time::Duration;

pub fn cases(cases: &mut Cases) {
    let mut add = |sentence: &str, case: fn(&Machine)| {
        cases.push(Case::new(format!("portblock: {sentence}"), case).needs(&["nft"]));
    };
    add("a block, an unblock and their stops are seen for what they are", cycle);
    add("what is not there is stopped, in every dialect", absent);
    add("all ports of a list and of a range are closed, and no others", lists);
    add("UDP is closed, and told so if that is asked for", udp);
    add("what goes out is held back alone or as well", directions);
    add("a network's ports are closed, and only for the family that is named", networks);
    add("rejected clients hear of it at once", reject);
    add("two resources of one port do not touch each other", side_by_side);
    add("a ruleset that was flushed is no block, and no reason to restart what is open", flushed);
    add("a rule that was taken away or a table that sleeps is a failure", gaps);
    add("a stop of an unblock that was not started closes nothing", never_started);
    add("a flushed ruleset and lost records together are not called running", forgotten);
    add("a flushed ruleset and a record that cannot be read leave no port open", damaged_record);
    add("an unblock of one network namespace is none in another", namespaces);
    add("values that only a start needs are in no stop's way", forgiving);
    add("a promotable instance does the opposite until it is promoted", promotable);
    add("a block is made again where a killed change or a person left a part", repaired);
    add("a thousand rules of others are not what a monitor reads", foreign);
    add("the units of linstor-gateway's chains are started, and stopped twice", gateway);
    add("a kernel's refusal to change its rules is an error that says so", refused);
    add("status_check=rule goes by the rules alone", by_rule);
}

fn cycle(machine: &Machine) {
    super::round(machine, &Pair::usual(machine), ruleset, &ruleset(machine));
}

fn absent(machine: &Machine) {
    let agent = machine.agent("portblock");
    let words = ["tcp", "2049", "block", "status"];
    agent.heartbeat(&words).exits(3);
    agent.by_hand(&words).exits(3);
    agent.heartbeat(&["tcp", "2049", "block", "stop"]).exits(0);
    agent.heartbeat(&["tcp", "2049", "block", "start"]).exits(0);
    assert!(agent.heartbeat(&words).exits(0).stdout.contains("running"));
    agent.heartbeat(&["tcp", "2049", "block", "stop"]).exits(0);
    agent.heartbeat(&words).exits(3);
}

fn lists(machine: &Machine) {
    let peer = network(machine);
    let ports = [79, 80, 81, 443, 7999, 8000, 8005, 8010, 8011];
    let _servers = ports.map(|port| listen(VIP, port));
    let given = [("protocol", "tcp"), ("portno", "443,80,8000:8010"), ("ip", VIP)];
    let pair = Pair::of(machine, &given);
    pair.block.action("start").exits(0);
    let open = ports.into_iter().filter(|port| connects(&peer, VIP, *port).is_some());
    assert_eq!(open.collect::<Vec<_>>(), [79, 81, 7999, 8011]);
    // The same, in another order.
    let other =
        Pair::of(machine, &[("protocol", "tcp"), ("portno", "8000:8010,80,443"), ("ip", VIP)]);
    other.monitors(0, 7);
    other.unblock.action("start").exits(0);
    assert!(ports.into_iter().all(|port| connects(&peer, VIP, port).is_some()));
    other.unblock.action("stop").exits(0);
    pair.block.action("stop").exits(0);
}

fn udp(machine: &Machine) {
    let peer = network(machine);
    let server = UdpSocket::bind((VIP, PORT)).unwrap();
    server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let client = peer.inside(|| UdpSocket::bind("10.0.0.2:700")).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    client.connect((VIP, PORT)).unwrap();
    let arrives = || client.send(b"x").is_ok() && server.recv(&mut [0; 1]).is_ok();
    assert!(arrives());
    for (method, told) in [("drop", false), ("reject", true)] {
        let given = [("protocol", "udp"), ("portno", "2049"), ("ip", VIP), ("method", method)];
        let pair = Pair::of(machine, &given);
        pair.block.action("start").exits(0);
        assert!(!arrives());
        let heard = client.recv(&mut [0; 1]).unwrap_err().kind() == ConnectionRefused;
        assert_eq!(heard, told, "{method}");
        pair.unblock.action("start").exits(0);
        let _ = client.recv(&mut [0; 1]);
        assert!(arrives());
        pair.unblock.action("stop").exits(0);
        pair.block.action("stop").exits(0);
    }
}

fn directions(machine: &Machine) {
    let peer = network(machine);
    let server = UdpSocket::bind((VIP, PORT)).unwrap();
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let client = peer.inside(|| UdpSocket::bind("10.0.0.2:700")).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let comes = || client.send_to(b"x", (VIP, PORT)).is_ok() && server.recv(&mut [0; 1]).is_ok();
    let goes = || {
        // A program hears at once that the kernel does not let it.
        let _ = server.send_to(b"x", "10.0.0.2:700");
        client.recv(&mut [0; 1]).is_ok()
    };
    for (direction, seen) in
        [("in", (false, true)), ("out", (true, false)), ("both", (false, false))]
    {
        let given =
            [("protocol", "udp"), ("portno", "2049"), ("ip", VIP), ("direction", direction)];
        let pair = Pair::of(machine, &given);
        pair.block.action("start").exits(0);
        pair.monitors(0, 7);
        assert_eq!((comes(), goes()), seen, "{direction}");
        pair.unblock.action("start").exits(0);
        assert_eq!((comes(), goes()), (true, true), "{direction}");
        pair.unblock.action("stop").exits(0);
        pair.block.action("stop").exits(0);
    }
}

fn networks(machine: &Machine) {
    let peer = network(machine);
    let _servers = [VIP, "10.0.0.8", "fd00::9"].map(|ip| listen(ip, PORT));
    let open = || [VIP, "10.0.0.8", "fd00::9"].map(|ip| connects(&peer, ip, PORT).is_some());
    let cases = [
        ("", [false, false, true]),
        ("0.0.0.0/0", [false, false, true]),
        ("10.0.0.9/32", [false, true, true]),
        ("10.0.0.8/31", [false, false, true]),
        ("10.0.0.0/24", [false, false, true]),
        ("10.0.1.0/24", [true, true, true]),
        ("fd00::9", [true, true, false]),
        ("fd00::/64", [true, true, false]),
        ("::/0", [true, true, false]),
    ];
    for (ip, seen) in cases {
        let pair = Pair::of(machine, &[("protocol", "tcp"), ("portno", "2049"), ("ip", ip)]);
        pair.block.action("start").exits(0);
        pair.monitors(0, 7);
        assert_eq!(open(), seen, "{ip}");
        pair.block.action("stop").exits(0);
        assert_eq!(open(), [true; 3], "{ip}");
    }
}

fn reject(machine: &Machine) {
    let peer = network(machine);
    let _servers = [VIP, "fd00::9"].map(|ip| listen(ip, PORT));
    for ip in [VIP, "fd00::9"] {
        for (method, told) in [("drop", TimedOut), ("reject", ConnectionRefused)] {
            let given = [("protocol", "tcp"), ("portno", "2049"), ("ip", ip), ("method", method)];
            let pair = Pair::of(machine, &given);
            pair.block.action("start").exits(0);
            assert_eq!(answer(&peer, ip, PORT), told, "{ip} {method}");
            pair.block.action("stop").exits(0);
        }
    }
}

fn side_by_side(machine: &Machine) {
    let peer = network(machine);
    let _servers = [VIP, "10.0.0.8"].map(|ip| listen(ip, PORT));
    let one = Pair::usual(machine);
    let other = Pair::of(machine, &[("protocol", "tcp"), ("portno", "2049"), ("ip", "10.0.0.8")]);
    // Overlaps both.
    let range = Pair::of(machine, &[("protocol", "tcp"), ("portno", "2048:2050")]);
    one.block.action("start").exits(0);
    other.block.action("start").exits(0);
    range.block.action("start").exits(0);
    one.unblock.action("start").exits(0);
    one.monitors(0, 0);
    other.monitors(0, 7);
    range.monitors(0, 7);
    range.block.action("stop").exits(0);
    assert!(connects(&peer, VIP, PORT).is_some() && connects(&peer, "10.0.0.8", PORT).is_none());
    one.unblock.action("stop").exits(0);
    one.block.action("stop").exits(0);
    one.monitors(7, 7);
    other.monitors(0, 7);
    assert!(connects(&peer, "10.0.0.8", PORT).is_none());
    other.block.action("stop").exits(0);
    assert_eq!(ruleset(machine), "");
}

fn flushed(machine: &Machine) {
    let pair = Pair::usual(machine);
    pair.block.action("start").exits(0);
    machine.must("nft", &["flush", "ruleset"]);
    pair.monitors(7, 7);
    pair.block.action("start").exits(0);
    pair.unblock.action("start").exits(0);
    machine.must("nft", &["flush", "ruleset"]);
    pair.monitors(0, 0);
    pair.unblock.action("stop").exits(0);
    pair.monitors(0, 7);
    pair.block.action("stop").exits(0);
    pair.monitors(7, 7);
}

fn gaps(machine: &Machine) {
    let pair = Pair::usual(machine).set("portno", "80,2049").set("direction", "both");
    pair.block.action("start").exits(0);
    let list = machine.must("nft", &["-a", "list", "chain", "inet", "sturdy_portblock", "output"]);
    let rule = list.lines().find(|line| line.contains("sport 80")).expect("a rule for it");
    let handle = rule.rsplit_once("handle ").unwrap().1;
    machine
        .must("nft", &["delete", "rule", "inet", "sturdy_portblock", "output", "handle", handle]);
    pair.block.action("monitor").exits(1).because("3 of 4 rules");
    pair.unblock.probe().exits(7);
    pair.block.action("start").exits(0);
    pair.block.action("monitor").exits(0);
    machine.must("nft", &["add", "table", "inet", "sturdy_portblock", "{ flags dormant; }"]);
    pair.block.action("monitor").exits(1).because("dormant");
    pair.block.action("start").exits(0);
    pair.block.action("monitor").exits(0);
    pair.block.action("stop").exits(0);
    assert_eq!(ruleset(machine), "");
}

fn never_started(machine: &Machine) {
    let peer = network(machine);
    let _server = listen(VIP, PORT);
    let pair = Pair::usual(machine);
    pair.unblock.action("stop").exits(0);
    assert!(connects(&peer, VIP, PORT).is_some());
    assert_eq!(ruleset(machine), "");
}

fn forgotten(machine: &Machine) {
    let peer = network(machine);
    let _server = listen(VIP, PORT);
    let pair = Pair::usual(machine).started();
    machine.must("rm", &["-r", "/run/resource-agents"]);
    // The firewall knows.
    pair.monitors(0, 0);
    pair.unblock.action("stop").exits(0);
    assert!(connects(&peer, VIP, PORT).is_none());
    pair.unblock.action("start").exits(0);
    machine.must("rm", &["-r", "/run/resource-agents"]);
    machine.must("nft", &["flush", "ruleset"]);
    pair.monitors(7, 7);
}

/// An unblock that may have been started is taken down as one that was.
fn damaged_record(machine: &Machine) {
    let peer = network(machine);
    let _server = listen(VIP, PORT);
    let pair = Pair::usual(machine).started();
    machine.must("nft", &["flush", "ruleset"]);
    let damage = "for file in /run/resource-agents/portblock-*; do echo x >$file; done";
    machine.must("sh", &["-c", damage]);
    pair.unblock.action("monitor").exits(1).because("is damaged");
    pair.unblock.probe().exits(1).because("is damaged");
    pair.unblock.action("stop").exits(0);
    assert!(connects(&peer, VIP, PORT).is_none(), "the ports are open");
    pair.unblock.probe().exits(7);
    pair.block.action("stop").exits(0);
    assert!(connects(&peer, VIP, PORT).is_some());
    pair.monitors(7, 7);
}

fn namespaces(machine: &Machine) {
    let peer = network(machine);
    let pair = Pair::usual(machine).started();
    machine.must("nft", &["flush", "ruleset"]);
    pair.monitors(0, 0);
    let agent = pair.unblock.path().to_string_lossy().into_owned();
    let status = peer.run(&agent, &["tcp", "2049", "unblock", VIP, "status"]);
    assert_eq!(status.code, Some(3), "{status}");
    let start = peer.run(&agent, &["tcp", "2049", "block", VIP, "start"]);
    assert_eq!(start.code, Some(0), "{start}");
    assert_eq!(ruleset(machine), "");
}

fn forgiving(machine: &Machine) {
    let pair = Pair::usual(machine);
    let wrong = [("method", "burn"), ("firewall", "pf"), ("tickle_dir", "not absolute")];
    let wrong =
        [&wrong[..], &[("reset_local_on_unblock_stop", "perhaps"), ("drain_timeout", "long")]];
    for call in [&pair.block, &pair.unblock] {
        let call = call.clone().with(&wrong.concat());
        call.probe().exits(7);
        call.action("start").exits(6);
        call.action("stop").exits(0);
    }
    // What names the resource has no stand-in: nothing else is stopped.
    let all = Pair::of(machine, &[("protocol", "tcp"), ("portno", "2049")]);
    all.block.action("start").exits(0);
    let odd = pair.block.clone().set("ip", "10.0.0.256");
    odd.action("start").exits(6);
    odd.action("stop").exits(0);
    odd.probe().exits(7);
    pair.block.clone().set("direction", "up").action("stop").exits(0);
    all.monitors(0, 7);
    // A directory on a file system that is not mounted here.
    let call = pair.unblock.clone().set("tickle_dir", "/srv/nowhere");
    call.probe().exits(7);
    call.action("stop").exits(0);
    call.action("start").exits(5).because("/srv/nowhere");
    call.clone().set("OCF_CHECK_LEVEL", "0").action("validate-all").exits(0);
    call.depth("10").action("validate-all").exits(5);
}

fn promotable(machine: &Machine) {
    let peer = network(machine);
    let _server = listen(VIP, PORT);
    machine.script("crm_attribute", "#!/bin/sh\necho \"$*\" >> /tmp/scores\n");
    let clone = |action: &str| {
        let call = machine.agent("portblock").instance("pb").set("action", action);
        let call = call.with(&[("protocol", "tcp"), ("portno", "2049"), ("ip", VIP)]);
        let meta = [("clone", "0"), ("clone_max", "2"), ("promoted_max", "1")];
        meta.iter().fold(call, |call, (name, value)| call.meta(name, value))
    };
    let open = || connects(&peer, VIP, PORT).is_some();
    for (action, promoted) in [("unblock", true), ("block", false)] {
        let call = clone(action);
        call.probe().exits(7);
        call.action("promote").exits(1);
        call.action("start").exits(0);
        call.action("monitor").exits(0);
        assert_eq!(open(), !promoted, "{action}");
        call.action("promote").exits(0);
        call.action("promote").exits(0);
        call.action("monitor").exits(8);
        assert_eq!(open(), promoted, "{action}");
        machine.must("nft", &["flush", "ruleset"]);
        call.action("monitor").exits(if promoted { 8 } else { 9 });
        call.action("demote").exits(0);
        call.action("monitor").exits(0);
        assert_eq!(open(), !promoted, "{action}");
        call.action("stop").exits(0);
        call.probe().exits(7);
        call.action("stop").exits(0);
        // A stop is the opposite of what a promotion is.
        assert_eq!(open(), !promoted, "{action}");
        machine.must("nft", &["flush", "ruleset"]);
    }
    let scores = std::fs::read_to_string("/tmp/scores").unwrap();
    let wanted = ["--update 5", "--update 10", "--update 5", "--delete"];
    let told: Vec<_> = scores
        .lines()
        .take(4)
        .map(|line| line.split_once("reboot --node node1 ").unwrap().1)
        .collect();
    assert_eq!(told, wanted);
}

fn repaired(machine: &Machine) {
    let pair = Pair::usual(machine).set("portno", "80,443,2049");
    pair.block.action("start").exits(0);
    machine.must("nft", &["flush", "chain", "inet", "sturdy_portblock", "input"]);
    pair.block.action("monitor").exits(7);
    // One that holds back less than it says.
    let rule = "tcp dport 80 ip daddr 10.0.0.9 limit rate 1/second drop comment \"block tcp 80,443,2049 10.0.0.9 in\"";
    machine.must("nft", &["add", "rule", "inet", "sturdy_portblock", "input", rule]);
    pair.block.action("monitor").exits(1).because("0 of 3 rules");
    pair.block.action("start").exits(0);
    assert_eq!(ruleset(machine).matches("drop").count(), 3);
    pair.block.action("stop").exits(0);
    assert_eq!(ruleset(machine), "");
}

fn foreign(machine: &Machine) {
    let pair = Pair::usual(machine);
    pair.block.action("start").exits(0);
    // What the kernel tells is what a monitor reads: so many calls, and no more.
    let calls = || {
        let path = pair.block.path().to_str().expect("a plain path");
        let words = ["-f", "-o", "/tmp/trace", path, "tcp", "2049", "block", VIP, "status"];
        assert!(machine.must("strace", &words).contains("running"));
        let trace = std::fs::read_to_string("/tmp/trace").expect("strace has written it");
        trace.lines().filter(|line| line.contains("recv")).count()
    };
    let alone = calls();
    let rules: String = (1..=1000)
        .map(|port| format!("add rule inet other input ip saddr 192.0.2.1 tcp dport {port} drop\n"))
        .collect();
    let chain =
        "add table inet other\nadd chain inet other input { type filter hook input priority 0; }\n";
    machine.file("/tmp/others", &format!("{chain}{rules}"));
    machine.must("nft", &["-f", "/tmp/others"]);
    assert_eq!((calls(), alone > 0), (alone, true));
}

fn gateway(machine: &Machine) {
    let _peer = network(machine);
    machine.must("mkdir", &["-p", "/srv/ha/internal/nfs"]);
    for (port, ip) in [("2049", VIP), ("3260", "fd00::9"), ("4420", VIP)] {
        let unit = |action: &str, name: &str| {
            let call = machine.agent("portblock").bare().env("OCF_RA_VERSION_MAJOR", "1");
            let call = call.env("OCF_RESOURCE_INSTANCE", name).set("action", action);
            call.with(&[("ip", ip), ("portno", port), ("protocol", "tcp")])
        };
        let block = unit("block", r"portblock\x2dnfs_nfs");
        let unblock = unit("unblock", r"portunblock\x2dnfs_nfs")
            .with(&[("tickle_dir", "/srv/ha/internal/nfs"), ("sync_script", "")]);
        for call in [&block, &unblock] {
            call.action("start").exits(0);
            call.action("monitor").exits(0);
        }
        block.action("monitor").exits(0);
        for call in [&unblock, &block] {
            call.action("stop").exits(0);
            call.action("stop").exits(0);
        }
        block.probe().exits(7);
        assert_eq!(ruleset(machine), "");
    }
}

fn refused(machine: &Machine) {
    let pair = Pair::usual(machine);
    // A chain of another kind is in the place of ours.
    machine.must("nft", &["add", "table", "inet", "sturdy_portblock"]);
    let chain = "{ type filter hook forward priority 0; }";
    machine.must("nft", &["add", "chain", "inet", "sturdy_portblock", "input", chain]);
    pair.block.action("start").exits(1).because("firewall");
    pair.block.probe().exits(7);
}

fn by_rule(machine: &Machine) {
    let pair = Pair::usual(machine).set("status_check", "rule");
    pair.monitors(7, 0);
    pair.block.action("start").exits(0);
    pair.monitors(0, 7);
    pair.unblock.action("start").exits(0);
    pair.monitors(7, 0);
    pair.unblock.action("stop").exits(0);
    pair.block.action("stop").exits(0);
}
