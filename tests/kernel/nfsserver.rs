//! `nfsserver`, `nfs-common` and `nfs-kernel-server` on a kernel that may have
//! no NFS server. What they do to one that is there, the lab tells.

use crate::harness::{Cases, Machine};

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, case: fn(&Machine)| cases.add(name, case);
    add("nfsserver: a kernel without an NFS server is stopped, in every dialect", absent);
    add("nfsserver: without /sys nobody can tell whether there is a server", doubt);
}

fn absent(machine: &Machine) {
    for name in ["nfsserver", "nfs-kernel-server"] {
        let agent = machine.agent(name);
        agent.action("monitor").exits(7);
        agent.probe().exits(7);
        let status = agent.heartbeat(&["status"]).exits(3);
        assert_eq!(status.stdout, "stopped\n", "{name}");
        agent.action("stop").exits(0);
        agent.action("stop").exits(0);
    }
}

fn doubt(machine: &Machine) {
    machine.file("/run/empty/none", "");
    machine.must("mount", &["--bind", "/run/empty", "/sys"]);
    let agent = machine.agent("nfsserver");
    let doubt = "cannot tell whether the NFS server is loaded";
    agent.probe().exits(1).because(doubt);
    agent.action("stop").exits(1).because(doubt);
}
