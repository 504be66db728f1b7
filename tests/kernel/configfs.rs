//! The agents of the kernel's own targets where a module is loaded and configfs is
//! not mounted, on a /sys made of files. With the modules, the drills of the lab are
//! for that.

use crate::harness::{Call, Case, Cases, Machine};
use std::path::Path;

const IQN: &str = "iqn.2001-04.com.example:not-there";
const NQN: &str = "nqn.2014-08.com.example:not-there";
const PORT: &str = "/sys/kernel/config/nvmet/ports/3";

pub fn cases(cases: &mut Cases) {
    for agent in [
        "iSCSITarget",
        "iSCSILogicalUnit",
        "iscsitarget",
        "nvmet-subsystem",
        "nvmet-namespace",
        "nvmet-port",
    ] {
        let name = format!("{agent}: a stop mounts configfs to look, and a monitor is in doubt");
        cases.push(Case::new(name, move |machine| unmounted(machine, agent)));
    }
    cases.add("iSCSITarget: a start mounts configfs where the module is loaded", mounted_by_start);
    cases.add("nvmet-port: a number that is taken does not bar the node", taken);
}

fn call(machine: &Machine, agent: &str) -> Call {
    machine.file("/etc/ietd.conf", "Target iqn.2001-04.com.example:not-there\n");
    let named = [
        ("iqn", IQN),
        ("target_iqn", IQN),
        ("lun", "1"),
        ("path", "/dev/not-there"),
        ("nqn", NQN),
        ("nqns", NQN),
        ("namespace_id", "1"),
        ("backing_path", "/dev/not-there"),
        ("addr", "10.0.0.9"),
    ];
    machine.agent(agent).with(&named)
}

/// Both modules are there; what would show their objects is not.
fn loaded(machine: &Machine) {
    machine.must("mount", &["-t", "tmpfs", "tmpfs", "/sys"]);
    let modules = ["loop", "target_core_mod", "iscsi_target_mod", "nvmet", "nvmet_tcp"];
    for module in modules {
        machine.file(format!("/sys/module/{module}/initstate"), "live\n");
    }
    machine.must("mkdir", &["-p", "/sys/kernel/config"]);
}

/// What it mounts is what the modules show.
fn can_mount(machine: &Machine) {
    machine.script(
        "mount",
        "#!/bin/sh\n[ \"$*\" = '-t configfs configfs /sys/kernel/config' ] || exit 1\n\
         cd /sys/kernel/config && mkdir -p target/core/alua target/iscsi \
         nvmet/hosts nvmet/ports nvmet/subsystems\n",
    );
}

fn is_mounted() -> bool {
    Path::new("/sys/kernel/config/target").exists()
}

fn unmounted(machine: &Machine, agent: &str) {
    loaded(machine);
    let agent = call(machine, agent);
    machine.script("mount", "#!/bin/sh\necho 'it is refused' >&2\nexit 32\n");
    agent.action("stop").exits(1).because("cannot mount configfs").because("it is refused");
    can_mount(machine);
    let seen = "is in the kernel, and what it serves cannot be seen";
    agent.action("monitor").exits(1).because(seen);
    agent.probe().exits(1).because(seen);
    assert!(!is_mounted());
    agent.action("stop").exits(0);
    assert!(is_mounted());
    agent.probe().exits(7);
}

fn mounted_by_start(machine: &Machine) {
    loaded(machine);
    can_mount(machine);
    // It comes as far as files do.
    call(machine, "iSCSITarget").action("start").exits(1).because("/sys/kernel/config/target/");
    assert!(is_mounted());
}

/// Code 5 would keep the resource from this node until somebody clears it.
fn taken(machine: &Machine) {
    loaded(machine);
    for list in ["hosts", "subsystems"] {
        machine.must("mkdir", &["-p", &format!("/sys/kernel/config/nvmet/{list}")]);
    }
    let values =
        [("trtype", "tcp"), ("adrfam", "ipv4"), ("traddr", "10.0.0.8"), ("trsvcid", "4420")];
    for (name, value) in values {
        machine.file(format!("{PORT}/addr_{name}"), value);
    }
    machine.must("mkdir", &[&format!("{PORT}/subsystems")]);
    let agent = call(machine, "nvmet-port").set("port_id", "3");
    agent.action("start").exits(1).because("port 3 is at 10.0.0.8:4420 (tcp) already");
    machine.must("rm", &["-r", "/sys/module/nvmet_tcp"]);
    machine.script("modprobe", "#!/bin/sh\necho 'not found in directory' >&2\nexit 1\n");
    agent.action("start").exits(5).because("this kernel has no nvmet_tcp");
}
