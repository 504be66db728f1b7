//! heartbeat's own ResourceManager takes and gives a group of our agents.

use crate::harness::{Case, Cases, Machine, Output, Program};
use std::path::Path;

const MANAGER: &str = "/usr/share/heartbeat/ResourceManager";
/// Where the masked `reboot` says that it was called.
const REBOOTED: &str = "/run/was-rebooted";

pub fn cases(cases: &mut Cases) {
    cases.push(
        Case::new("heartbeat takes a group, finds it running, and gives it", takes_and_gives)
            .needs(&[MANAGER, "mkfs.ext4"]),
    );
    cases.push(
        Case::new("heartbeat takes back what it has begun when one cannot start", gives_up)
            .needs(&[MANAGER, "mkfs.ext4"]),
    );
    cases.push(
        Case::new("heartbeat takes a group that runs already without touching it", takes_again)
            .needs(&[MANAGER, "mkfs.ext4"]),
    );
}

const KEY: &str = "10.0.0.9/24/eth0";

fn group(machine: &Machine, resources: &str) {
    machine.nic("eth0", &["10.0.0.1/24"]);
    machine.must("mkdir", &["/srv/data"]);
    machine.file("/etc/ha.d/ha.cf", "logfile /var/log/ha-log\nnode node1\n");
    machine.file("/etc/ha.d/haresources", &format!("node1 {resources}\n"));
    for path in ["/usr/sbin/reboot", "/usr/sbin/init"] {
        machine.must("rm", &["-f", path]);
        machine.file(path, &format!("#!/bin/sh\ntouch {REBOOTED}\n"));
        machine.must("chmod", &["755", path]);
    }
}

fn manager(words: &[&str]) -> Output {
    let output = Program::new(MANAGER)
        .args(words)
        .env("HA_CURHOST", "node1")
        .env("HA_LOGFILE", "/var/log/ha-log")
        .env("HA_DEBUGLOG", "/var/log/ha-debug")
        .env("HA_LOGFACILITY", "none")
        .run();
    assert!(!Path::new(REBOOTED).exists(), "it wanted to reboot: {output}");
    output
}

/// What went wrong is in the log, not in the exit code.
fn complaints() -> Vec<String> {
    let log = std::fs::read_to_string("/var/log/ha-log").unwrap_or_default();
    let wrong = log.lines().filter(|line| line.contains("ERROR") || line.contains("CRIT"));
    wrong.map(str::to_owned).collect()
}

fn takes_and_gives(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let line = format!("{KEY} Filesystem::{}::/srv/data::ext4", disk.path());
    group(machine, &line);
    let before = machine.state();
    assert_ne!(manager(&["status", KEY]).code, Some(0));

    manager(&["takegroup", KEY]);
    assert_eq!(complaints(), [""; 0]);
    assert!(machine.address("10.0.0.9").is_some_and(|address| address.nic == "eth0"));
    assert_eq!(machine.mounts_at("/srv/data")[0].source, disk.path());
    assert_eq!(manager(&["status", KEY]).code, Some(0));

    manager(&["givegroup", KEY]);
    assert_eq!(complaints(), [""; 0]);
    assert_ne!(manager(&["status", KEY]).code, Some(0));
    before.unchanged(machine);
}

fn takes_again(machine: &Machine) {
    let disk = machine.formatted("ext4");
    group(machine, &format!("{KEY} Filesystem::{}::/srv/data::ext4", disk.path()));
    manager(&["takegroup", KEY]);
    let taken = machine.state();
    manager(&["takegroup", KEY]);
    taken.unchanged(machine);
    let log = std::fs::read_to_string("/var/log/ha-log").unwrap();
    let starts = log.lines().filter(|line| line.contains("Running") && line.ends_with("start"));
    assert_eq!(starts.count(), 2, "each was started once: {log}");
    assert_eq!(complaints(), [""; 0]);
}

fn gives_up(machine: &Machine) {
    group(machine, &format!("{KEY} Filesystem::/dev/nope::/srv/data::ext4"));
    let before = machine.state();
    manager(&["takegroup", KEY]);
    before.unchanged(machine);
    let said = complaints().join("\n");
    assert!(said.contains("Giving up resources"), "{said}");
}
