//! The agents for DRBD on a kernel that has none: what can be pretended there,
//! and what the frame makes of it. The real module has drills in the lab.

use crate::harness::{Cases, Machine};

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, run: fn(&Machine)| cases.add(name, run);
    add("drbd: a DRBD 9 that nobody can ask is doubt, to a probe as to any look", unreachable);
    add("drbd: an empty list of modules proves nothing", no_modules);
    add("drbdupper: a damaged hint is in the way of no stop", damaged_hint);
    add("drbd: a probe tells the score that /run says is known", probe_scores);
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

fn no_modules(machine: &Machine) {
    machine.must("mount", &["-t", "tmpfs", "tmpfs", "/sys/module"]);
    for name in ["drbd", "drbddisk", "drbdupper"] {
        let agent = machine.agent(name).set("drbd_resource", "r1");
        agent.probe().exits(1).because("cannot tell whether DRBD is loaded");
        agent.action("stop").exits(1);
    }
}

fn damaged_hint(machine: &Machine) {
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
