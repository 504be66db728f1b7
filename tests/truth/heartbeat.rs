//! What heartbeat and Pacemaker make of a state that is in doubt.

use crate::harness::{Machine, Outcome};
use crate::suite::{Scene, Seen, Suite, scene};

pub fn scenes() -> Vec<Scene> {
    let needs = &["/usr/share/heartbeat/ResourceManager", "drbdadm"];
    let of = |sentence, run| Scene { needs, ..scene(sentence, run) };
    vec![
        of("drbddisk: heartbeat reads a state in doubt as one that may be running", doubt),
        of("drbddisk: DRBD 9 that nobody can be asked about is not stopped", |machine, suite| {
            drbd_9_without_tools(machine);
            let status = status(machine, suite);
            let resource = suite.agent(machine, "drbddisk");
            resource.claim(is_owned(machine, &status), "heartbeat reads it as stopped")
        }),
        of(
            "drbd: a probe of DRBD 9 that nobody can be asked about is not stopped",
            |machine, suite| {
                drbd_9_without_tools(machine);
                let drbd = suite.agent(machine, "drbd").set("drbd_resource", "r0");
                let drbd = drbd.with(|call| {
                    let call = call.meta("clone_max", "2").meta("clone_node_max", "1");
                    let call = call.meta("master_max", "1").meta("master_node_max", "1");
                    call.meta("notify", "true").meta("clone", "0").meta("globally_unique", "false")
                });
                let probe = drbd.probe();
                // To Pacemaker, what is not installed does not run either.
                drbd.claim(!matches!(probe.code, Some(5 | 7)), "")
            },
        ),
    ]
}

/// The state of the resource r0 as heartbeat asks for it.
fn status(machine: &Machine, suite: Suite) -> Outcome {
    match suite {
        Suite::Ours => machine.agent("drbddisk").heartbeat(&["r0", "status"]),
        Suite::Shell => {
            let script = crate::harness::Call::new(format!(
                "{}/drbddisk",
                crate::harness::STOCK_HARESOURCES
            ));
            script.heartbeat(&["r0", "status"])
        }
    }
}

/// What heartbeat's own `we_own_resource` makes of it, as it is installed.
fn is_owned(machine: &Machine, status: &Outcome) -> bool {
    machine.file("/run/said", &status.stdout);
    let line = "resource2arg() { echo /run/said; }; scriptpath() { echo cat; }; \
                eval \"$(sed -n '/^we_own_resource()/,/^}/p' /usr/share/heartbeat/ResourceManager)\"; \
                we_own_resource r0";
    machine.run("sh", &["-c", line]).code == Some(0)
}

fn doubt(machine: &Machine, suite: Suite) -> Seen {
    machine.pretend_proc("drbd", "garbage\n");
    machine.must("mount", &["-t", "tmpfs", "tmpfs", "/sys"]);
    let drbdadm = machine.script("drbdadm", "#!/bin/sh\nexit 1\n");
    machine.must("cp", &[drbdadm.to_str().unwrap(), "/usr/sbin/drbdadm"]);
    let status = status(machine, suite);
    let resource = suite.agent(machine, "drbddisk");
    resource.claim(is_owned(machine, &status), "heartbeat reads it as stopped")
}

/// The module is there, the tools are not, and its family does not answer.
fn drbd_9_without_tools(machine: &Machine) {
    machine.must("mount", &["-t", "tmpfs", "tmpfs", "/sys"]);
    machine.file("/sys/module/drbd/version", "9.2.8\n");
    machine.pretend_proc("drbd", "version: 9.2.8 (api:2/proto:86-121)\nGIT-hash: 0 build by x@y\n");
    machine.must("sh", &["-c", "rm -f /usr/sbin/drbdadm /usr/sbin/drbdsetup /sbin/drbd*"]);
}
