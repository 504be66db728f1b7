//! Hundreds of lines, and what a monitor does about them.

use super::{Add, CONFIG, machine_with_file, servers};
use crate::harness::{Machine, Program};
use std::time::Duration;

const LINES: usize = 500;

pub(super) fn cases(add: &mut Add<'_>) {
    add("five hundred lines are served, and each that fails is named", crowd);
    add("a monitor starts no process and looks at none", looks_at_no_process);
}

fn crowd(machine: &Machine) {
    let (peer, _disk, agent) = machine_with_file(machine);
    machine.file("/srv/image", &"z".repeat(4096));
    let lines: String =
        (0..LINES).map(|n| format!("eth0 {} {} /srv/image\n", n / 250, n % 250)).collect();
    machine.file(CONFIG, &lines);
    let agent = agent.timeout(Duration::from_secs(60));
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    assert_eq!(servers(machine).len(), LINES);
    let initiator = peer.initiator();
    assert!(initiator.find(0, 0).is_some() && initiator.find(1, 249).is_some());
    let one = machine.must("pgrep", &["-f", "vblade -d -s 1 17 "]);
    machine.kill(one.trim());
    agent.action("monitor").exits(1).because("nothing serves /srv/image as e1.17 on eth0");
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    machine.must("rm", &[CONFIG]);
    agent.action("stop").exits(0);
    assert!(servers(machine).is_empty());
}

fn looks_at_no_process(machine: &Machine) {
    let (_peer, _disk, agent) = machine_with_file(machine);
    agent.action("start").exits(0);
    let path = agent.path().to_str().expect("a plain path").to_owned();
    let words = ["-f", "-qqq", "-o", "/tmp/trace", &path, "monitor"];
    let traced = Program::new("strace")
        .args(words)
        .env("OCF_ROOT", "/usr/lib/ocf")
        .env("OCF_RA_VERSION_MAJOR", "1")
        .env("OCF_RESOURCE_INSTANCE", "test")
        .env("OCF_RESKEY_CRM_meta_interval", "10000")
        .run();
    assert_eq!(traced.code, Some(0), "{traced}");
    let trace = std::fs::read_to_string("/tmp/trace").expect("strace has written it");
    let called = |what: &str| trace.lines().filter(|line| line.contains(what)).count();
    assert_eq!((called("clone"), called("fork(")), (0, 0), "{trace}");
    assert!(called("execve(") == 1 && called(CONFIG) == 0, "{trace}");
    let own = ["/proc/sys/kernel/random/boot_id", "/proc/self/"];
    let looks = trace.lines().filter(|line| line.contains("\"/proc/"));
    let others: Vec<_> = looks.filter(|line| !own.iter().any(|own| line.contains(own))).collect();
    assert!(others.is_empty(), "{others:?}");
    agent.action("stop").exits(0);
}
