//! `drbddisk` on a kernel that has no such resource, and mostly no DRBD: what
//! can be proven there. The roles need two nodes with the module.

use crate::harness::{Cases, Machine};

pub fn cases(cases: &mut Cases) {
    cases.add("drbddisk: what the kernel does not have is stopped, in every dialect", absent);
    cases.add("drbddisk: a resource that is not there is stopped at once", stops_nothing);
    cases.add("drbddisk: status of all resources has exit code 10 and no state", all_has_no_status);
    cases.add("drbddisk: a start without DRBD fails and says so", cannot_start);
    cases.add("drbddisk: a name that looks like an option reaches no program", refuses_options);
    cases.add("drbddisk: where /sys is hidden the state may be running", doubt);
}

fn absent(machine: &Machine) {
    let drbddisk = machine.agent("drbddisk").set("drbd_resource", "no.such.resource");
    drbddisk.action("monitor").exits(7);
    drbddisk.probe().exits(7);
    let status = drbddisk.heartbeat(&["no.such.resource", "status"]).exits(3);
    assert_eq!(status.stdout, "stopped (Unconfigured)\n");
    let status = drbddisk.by_hand(&["no.such.resource", "status"]).exits(3);
    assert_eq!(status.stdout, "stopped (Unconfigured)\n");
}

fn stops_nothing(machine: &Machine) {
    machine.script("drbdadm", "#!/bin/sh\ntouch /run/drbdadm-was-called\nexit 10\n");
    let drbddisk = machine.agent("drbddisk").set("drbd_resource", "r1");
    drbddisk.action("stop").exits(0);
    let stop = drbddisk.heartbeat(&["r1", "stop"]).exits(0);
    assert_eq!(stop.stdout, "");
    assert!(!std::path::Path::new("/run/drbdadm-was-called").exists());
}

fn all_has_no_status(machine: &Machine) {
    let drbddisk = machine.agent("drbddisk");
    for words in [&["status"][..], &["all", "status"]] {
        let status = drbddisk.heartbeat(words).exits(10);
        let said = status.stdout.to_lowercase();
        assert!(!said.contains("running") && !said.contains("ok"), "{status:?}");
    }
}

fn cannot_start(machine: &Machine) {
    let drbddisk = machine.agent("drbddisk").set("drbd_resource", "r1");
    if std::path::Path::new("/sys/module/drbd").exists() {
        drbddisk.action("start").exits(1).because("drbdadm primary r1");
    } else {
        drbddisk.action("start").exits(5).because("no DRBD in this kernel");
    }
}

fn refuses_options(machine: &Machine) {
    machine.script("drbdadm", "#!/bin/sh\ntouch /run/drbdadm-was-called\n");
    let drbddisk = machine.agent("drbddisk");
    for name in ["--force", "-c/tmp/x", "r1;reboot", "$(reboot)"] {
        drbddisk.clone().set("drbd_resource", name).action("start").exits(6);
        drbddisk.heartbeat(&[name, "start"]).exits(6);
    }
    assert!(!std::path::Path::new("/run/drbdadm-was-called").exists());
}

fn doubt(machine: &Machine) {
    machine.must("mount", &["-t", "tmpfs", "tmpfs", "/sys"]);
    let drbddisk = machine.agent("drbddisk").set("drbd_resource", "r1");
    drbddisk.action("monitor").exits(1).because("cannot tell whether DRBD is loaded");
    let status = drbddisk.heartbeat(&["r1", "status"]).exits(4);
    assert_eq!(status.stdout, "running (unknown)\n");
    drbddisk.action("stop").exits(1);
}
