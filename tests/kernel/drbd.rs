//! The agents for DRBD on a kernel that has none: what can be pretended there,
//! and what the frame makes of it. The real module has drills in the lab.

use crate::harness::{Case, Cases, Machine, Output, Program, logged};

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, run: fn(&Machine)| cases.add(name, run);
    add("drbd: a DRBD 9 that nobody can ask is doubt, to a probe as to any look", unreachable);
    add("drbd: a module older than 8.4 is told so, and is no proof of anything", too_old);
    add("drbd: an empty list of modules proves nothing", no_modules);
    add("drbdupper: a damaged record is in the way of no stop", damaged_record);
    add("drbd: a probe tells the score that /run says is known", probe_scores);
    add("drbd: the reason has the file and the line that drbdadm complains of", file_and_line);
    add("drbd: the reason says why the module cannot be loaded", no_such_module);
    add("drbd: a cluster that knows no degraded resources hears of running ones", degraded);
    add("drbd: explain by hand is about the resource and not about the clone", explains);
    let mut fence = |name: &str, run: fn(&Machine)| {
        cases.push(Case::new(format!("drbd-fence-peer: {name}"), run).needs(&["cibadmin"]));
    };
    fence("of two nodes that bar each other at once one is told so", two_at_once);
    fence("what others have changed meanwhile is neither lifted nor widened", changed_meanwhile);
    fence("a name that is no node's bars nobody, and is said at once", no_such_node);
}

/// As if DRBD of this version were loaded, which answers to nobody by netlink.
fn load(machine: &Machine, version: &str) {
    machine.must("mount", &["-t", "tmpfs", "tmpfs", "/sys/module"]);
    machine.file("/sys/module/drbd/version", &format!("{version}\n"));
}

/// What `drbdsetup events2 --now` prints.
fn events(machine: &Machine, role: &str) {
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = events2 ] || exit 0\n\
         echo 'exists resource name:r1 role:{role} suspended:no'\n\
         echo 'exists connection name:r1 peer-node-id:1 conn-name:node2 connection:Connected role:Secondary'\n\
         echo 'exists device name:r1 volume:0 minor:1 backing_dev:/dev/sdb disk:UpToDate client:no quorum:yes'\n\
         echo 'exists peer-device name:r1 peer-node-id:1 conn-name:node2 volume:0 replication:Established peer-disk:UpToDate'\n\
         echo 'exists -'\n"
    );
    machine.script("drbdsetup", &text);
}

fn unreachable(machine: &Machine) {
    load(machine, "9.2.12");
    machine.must("sh", &["-c", "rm -f /usr/sbin/drbdsetup /sbin/drbdsetup"]);
    for name in ["drbd", "drbddisk", "drbdupper"] {
        let agent = machine.agent(name).set("drbd_resource", "r1");
        let why = "drbdsetup is not installed";
        agent.probe().exits(1).because(why);
        agent.action("monitor").exits(1).because(why);
        agent.action("stop").exits(1).because(why);
        let status = agent.heartbeat(&["r1", "status"]).exits(4);
        assert_eq!(status.stdout, "running (unknown)\n", "{name}");
    }
}

fn too_old(machine: &Machine) {
    load(machine, "8.3.13");
    let why = "this kernel's DRBD is 8.3.13; 8.4 or later is needed";
    for name in ["drbd", "drbddisk", "drbdupper"] {
        let agent = machine.agent(name).set("drbd_resource", "r1");
        agent.action("start").exits(5).because(why);
        agent.probe().exits(1).because(why);
        agent.action("monitor").exits(1).because(why);
        agent.action("stop").exits(1).because(why);
        let status = agent.heartbeat(&["r1", "status"]).exits(4);
        assert_eq!(status.stdout, "running (unknown)\n", "{name}");
    }
}

fn no_modules(machine: &Machine) {
    machine.must("mount", &["-t", "tmpfs", "tmpfs", "/sys/module"]);
    for name in ["drbd", "drbddisk", "drbdupper"] {
        let agent = machine.agent(name).set("drbd_resource", "r1");
        agent.probe().exits(1).because("cannot tell whether DRBD is loaded");
        agent.action("stop").exits(1);
    }
}

fn damaged_record(machine: &Machine) {
    for damaged in ["", "r", "--force\n", "r1\u{fffd}\n"] {
        machine.file("/run/resource-agents/drbdupper-r1.lower", damaged);
        let drbdupper = machine.agent("drbdupper").set("drbd_resource", "r1");
        drbdupper.action("monitor").exits(7);
        drbdupper.action("stop").exits(0);
        assert!(!std::path::Path::new("/run/resource-agents/drbdupper-r1.lower").exists());
    }
}

fn probe_scores(machine: &Machine) {
    load(machine, "9.2.12");
    events(machine, "Primary");
    machine.script("crm_attribute", "#!/bin/sh\necho \"$*\" >> /run/told\n");
    let drbd = machine.agent("drbd").set("drbd_resource", "r1").meta("clone_max", "2");
    let told = || std::fs::read_to_string("/run/told").unwrap_or_default().lines().count();
    drbd.action("monitor").exits(8);
    drbd.action("monitor").exits(8);
    assert_eq!(told(), 1, "a monitor tells what has changed");
    drbd.probe().exits(8);
    assert_eq!(told(), 2, "a probe tells it to whoever may have forgotten");
}

/// A `drbdadm` without the module: the real one, which reads a broken file.
fn file_and_line(machine: &Machine) {
    machine
        .file("/etc/drbd.conf", "global { usage-count no; }\nresource r1 {\n  colour blue;\n}\n");
    let drbd = machine.agent("drbd").set("drbd_resource", "r1");
    let drbd = CLONE.iter().fold(drbd, |drbd, (name, value)| drbd.meta(name, value));
    drbd.action("start")
        .exits(5)
        .because("/etc/drbd.conf:3: Parse error: ")
        .because("got 'colour'");
    load(machine, "9.2.12");
    machine.script("drbdsetup", "#!/bin/sh\n[ $1 = events2 ] || exit 11\ncat /run/events\n");
    machine.file("/run/events", EVENTS);
    let drbddisk = machine.agent("drbddisk").set("drbd_resource", "r1");
    drbddisk
        .timeout(std::time::Duration::from_secs(8))
        .action("stop")
        .exits(1)
        .because("/etc/drbd.conf:3: Parse error: ");
}

const CLONE: [(&str, &str); 5] = [
    ("clone_max", "2"),
    ("clone_node_max", "1"),
    ("promoted_max", "1"),
    ("promoted_node_max", "1"),
    ("notify", "true"),
];

const EVENTS: &str = "exists resource name:r1 role:Primary suspended:no\n\
    exists device name:r1 volume:0 minor:1 backing_dev:/dev/sdb disk:UpToDate client:no quorum:yes\n\
    exists -\n";

fn no_such_module(machine: &Machine) {
    if std::path::Path::new("/sys/module/drbd").exists() {
        return;
    }
    machine.script("drbdadm", "#!/bin/sh\nexit 0\n");
    let drbd = machine.agent("drbd").set("drbd_resource", "r1");
    let drbd = CLONE.iter().fold(drbd, |drbd, (name, value)| drbd.meta(name, value));
    drbd.action("start")
        .exits(5)
        .because("cannot load the module drbd: modprobe: FATAL: Module drbd not found");
}

fn degraded(machine: &Machine) {
    load(machine, "9.2.12");
    let said = EVENTS.replace(
        "exists device",
        "exists connection name:r1 peer-node-id:1 conn-name:node2 connection:StandAlone role:Unknown\nexists device",
    );
    machine.script("drbdsetup", "#!/bin/sh\ncat /run/events\n");
    let drbd = machine.agent("drbd").set("drbd_resource", "r1");
    for (role, codes) in [("Primary", (191, 8)), ("Secondary", (190, 0))] {
        machine.file("/run/events", &said.replace("role:Primary", &format!("role:{role}")));
        drbd.action("monitor").exits(codes.0).because("has given up node2 (StandAlone)");
        for old in ["3.3.0", "3.0.14", ""] {
            let monitor = drbd.clone().env("OCF_RESKEY_crm_feature_set", old).action("monitor");
            let monitor = monitor.exits(codes.1);
            assert_eq!(monitor.exit_reason(), None, "{old}");
        }
    }
    let log = logged();
    assert_eq!(log.matches("WARNING: degraded: r1 has given up node2").count(), 6, "{log}");
}

fn explains(machine: &Machine) {
    load(machine, "9.2.12");
    machine.script("drbdsetup", "#!/bin/sh\necho 'exists -'\n");
    machine.script("drbdadm", "#!/bin/sh\nexit 0\n");
    let drbd = machine.agent("drbd");
    let said = drbd.by_hand(&["explain", "r1"]).exits(0).stdout.clone();
    assert!(said.contains("bring DRBD resource r1 up"), "{said}");
    assert!(!said.contains("clone"), "{said}");
    let refused = drbd.by_hand(&["r1", "start"]).exits(6);
    assert!(refused.stderr.contains("promotable clone"), "{refused:?}");
}

/// As node1 of three, which has lost node3; the configuration is a file. What
/// the case leaves in `/run/rival` another node puts there as soon as this one
/// has looked.
struct Fencing<'a>(&'a Machine);

const CONSTRAINT: &str = "drbd-fence-by-handler-r1-ms_r1";

impl<'a> Fencing<'a> {
    fn new(machine: &'a Machine) -> Self {
        load(machine, "9.2.12");
        machine.file("/run/events", include_str!("../data/drbd/events2-9.2"));
        machine.script("drbdsetup", "#!/bin/sh\ncat /run/events\n");
        machine.script("crm_node", "#!/bin/sh\necho node1\n");
        let cib = include_str!("../data/drbd/cib-2-nodes.xml")
            // What every cibadmin of today understands.
            .replace("crm_feature_set=\"3.16.2\"", "crm_feature_set=\"3.16.1\"")
            .replace("</nodes>", "<node id=\"3\" uname=\"node3\"/></nodes>")
            .replace("</status>", "<node_state id=\"3\" uname=\"node3\" in_ccm=\"false\" crmd=\"offline\" join=\"down\" expected=\"down\"/></status>");
        machine.file("/run/cib.xml", &cib);
        machine.script(
            "cibadmin",
            "#!/bin/sh\nexport CIB_file=/run/cib.xml\n/usr/sbin/cibadmin \"$@\" || exit\n\
             [ \"$1\" = --query ] && [ -s /run/rival ] || exit 0\n\
             /usr/sbin/cibadmin --delete --xpath '//rsc_location' && \
             /usr/sbin/cibadmin --create --scope constraints --xml-text \"$(cat /run/rival)\"\n\
             rm /run/rival\n",
        );
        Self(machine)
    }

    /// Another node's constraint, which lets these nodes be promoted.
    fn rival(&self, nodes: &[&str]) {
        self.0.file("/run/rival", &constraint(nodes));
    }

    fn place(&self, nodes: &[&str]) {
        let xml = constraint(nodes);
        self.0.must("cibadmin", &["--create", "--scope", "constraints", "--xml-text", &xml]);
    }

    /// The nodes that may be promoted, sorted; none where there is no constraint.
    fn allowed(&self) -> Vec<String> {
        let said = self.0.must("cibadmin", &["--query", "--scope", "constraints"]);
        let values = said.split(" value=\"").skip(1);
        let mut nodes: Vec<_> =
            values.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
        nodes.sort();
        nodes
    }

    fn call(&self, name: &str, peer: &str) -> Output {
        Program::new("/usr/libexec/sturdy/drbd-fence-peer")
            .arg0(name)
            .args(["--network-hickup", "0"])
            .env("DRBD_RESOURCE", "r1")
            .env("DRBD_PEERS", peer)
            .run()
    }
}

fn constraint(nodes: &[&str]) -> String {
    let expression = |(n, node): (usize, &&str)| {
        let id = if n == 0 { String::new() } else { format!("-{}", n - 1) };
        format!(
            "<expression attribute=\"#uname\" operation=\"ne\" value=\"{node}\" \
             id=\"{CONSTRAINT}-expr{id}\"/>"
        )
    };
    let all: String = nodes.iter().enumerate().map(expression).collect();
    format!(
        "<rsc_location rsc=\"ms_r1\" id=\"{CONSTRAINT}\"><rule role=\"Master\" \
         score=\"-INFINITY\" id=\"{CONSTRAINT}-rule\">{all}</rule></rsc_location>"
    )
}

fn two_at_once(machine: &Machine) {
    for seen in [&["node2", "node1", "node3"][..], &[]] {
        let cluster = Fencing::new(machine);
        if !seen.is_empty() {
            cluster.place(seen);
        }
        cluster.rival(&["node3", "node2"]);
        let said = cluster.call("drbd-fence-peer", "node3");
        assert_eq!(said.code, Some(1), "{said}");
        assert!(said.stderr.contains("node3 has barred this node"), "{said}");
        assert_eq!(cluster.allowed(), ["node2", "node3"]);
    }
    let cluster = Fencing::new(machine);
    cluster.place(&["node2", "node1", "node3"]);
    let said = cluster.call("drbd-fence-peer", "node3");
    assert_eq!(said.code, Some(7), "alone it narrows the constraint: {said}");
    assert_eq!(cluster.allowed(), ["node1", "node2"]);
}

fn changed_meanwhile(machine: &Machine) {
    let events = include_str!("../data/drbd/events2-9.2");
    let whole = events
        .replace("connection:Connecting role:Unknown", "connection:Connected role:Secondary")
        .replace("peer-disk:DUnknown", "peer-disk:UpToDate");
    for events in [events, &whole] {
        let cluster = Fencing::new(machine);
        machine.file("/run/events", events);
        cluster.place(&["node3", "node1"]);
        cluster.rival(&["node1"]);
        let said = cluster.call("drbd-unfence-peer", "node3");
        assert_eq!((said.code, cluster.allowed()), (Some(1), vec!["node1".to_owned()]), "{said}");
    }
    let cluster = Fencing::new(machine);
    machine.file("/run/events", &whole);
    cluster.place(&["node3", "node1"]);
    assert_eq!(cluster.call("drbd-unfence-peer", "node3").code, Some(0));
    assert!(cluster.allowed().is_empty());
}

fn no_such_node(machine: &Machine) {
    let cluster = Fencing::new(machine);
    let begun = std::time::Instant::now();
    let said = cluster.call("drbd-fence-peer", "node4");
    assert_eq!(said.code, Some(1), "{said}");
    assert!(said.stderr.contains("(node1 node2 node3)"), "{said}");
    machine.script("crm_node", "#!/bin/sh\necho stranger\n");
    let said = cluster.call("drbd-fence-peer", "node3");
    assert!(said.code == Some(1) && said.stderr.contains("this node, stranger,"), "{said}");
    assert!(cluster.allowed().is_empty() && begun.elapsed().as_secs() < 10);
    machine.script("crm_node", "#!/bin/sh\necho node1.example.org\n");
    assert_eq!(cluster.call("drbd-fence-peer", "node3.example.org").code, Some(7));
    assert_eq!(cluster.allowed(), ["node1", "node2"]);
}
