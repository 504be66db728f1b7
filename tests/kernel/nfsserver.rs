//! `nfsserver`, `nfs-common` and `nfs-kernel-server` on a kernel that may have
//! no NFS server. What they do to one that is there, the lab tells.

use crate::harness::{Cases, Machine};
use std::path::Path;

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, case: fn(&Machine)| cases.add(name, case);
    add("nfsserver: a kernel without an NFS server is stopped, in every dialect", absent);
    add("nfsserver: without /sys nobody can tell whether there is a server", doubt);
    add("nfsserver: a state directory is taken off by whoever stops it", directory_by_another);
    add("nfsserver: another server's record and directory are left alone", directory_of_another);
    add("nfsserver: a daemon that a start has left is no clean stop", daemon_left);
    add("nfs-common: daemons are ended by whoever stops it", daemons_by_another);
    add("nfs-common: of two resources the last ends a daemon that both need", daemons_of_two);
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

const STATE: &str = "/var/lib/nfs";

/// As a start has left it that was given a directory: bound, and noted.
fn bound(machine: &Machine, instance: &str, scope: &str) -> String {
    machine.must("mkdir", &["-p", "/srv/nfs"]);
    machine.must("mount", &["--bind", "/srv/nfs", STATE]);
    let device = machine.must("mountpoint", &["-d", "/srv"]);
    let record = format!("/run/resource-agents/nfsserver-{instance}.state");
    let scope = if scope.is_empty() { String::new() } else { format!("scope {scope}\n") };
    machine.file(&record, &format!("nfsserver 1\n{scope}bound {} /nfs\n", device.trim()));
    record
}

fn directory_by_another(machine: &Machine) {
    let of_cluster = machine.agent("nfsserver").instance("p_server");
    let of_hand = || machine.agent("nfsserver");
    // What the cluster has started, by hand and by heartbeat.
    let record = bound(machine, "p_server", "10.0.0.9");
    let status = of_hand().heartbeat(&["status"]).exits(4);
    assert_eq!(status.stdout, "running (unknown)\n");
    of_hand().by_hand(&["stop"]).exits(0);
    assert!(machine.mounts_at(STATE).is_empty() && !Path::new(&record).exists());
    let record = bound(machine, "p_server", "");
    of_hand().heartbeat(&["stop"]).exits(0);
    assert!(machine.mounts_at(STATE).is_empty() && !Path::new(&record).exists());
    // And the other way round.
    let record = bound(machine, "default", "10.0.0.9");
    of_cluster.probe().exits(1).because("is on /var/lib/nfs");
    of_cluster.clone().set("nfs_server_scope", "10.0.0.9").action("stop").exits(0);
    assert!(machine.mounts_at(STATE).is_empty() && !Path::new(&record).exists());
    of_cluster.probe().exits(7);
}

fn directory_of_another(machine: &Machine) {
    let record = bound(machine, "p_server", "10.0.0.9");
    let other = machine.agent("nfsserver").instance("other").set("nfs_server_scope", "10.0.0.8");
    other.probe().exits(7);
    other.action("stop").exits(0);
    assert_eq!(machine.mounts_at(STATE).len(), 1);
    assert!(Path::new(&record).exists());
    // One that cannot be read may be anybody's.
    machine.file(&record, "x");
    other.probe().exits(1).because("is damaged");
}

/// A process that runs the program of a daemon, and does nothing.
fn daemon(machine: &Machine, program: &str) {
    let path = format!("/usr/local/sbin/{program}");
    machine.must("cp", &["/bin/sleep", &path]);
    let line = format!(
        "setsid {path} 1000 </dev/null >/dev/null 2>&1 & until pidof {program}; do :; done"
    );
    machine.must("sh", &["-c", &line]);
}

fn runs(machine: &Machine, program: &str) -> bool {
    machine.run("pidof", &[program]).code == Some(0)
}

fn daemon_left(machine: &Machine) {
    daemon(machine, "rpc.mountd");
    let agent = machine.agent("nfsserver");
    agent.probe().exits(7);
    let record = "/run/resource-agents/nfsserver-test.state";
    machine.file(record, "nfsserver 1\nours nfsdcld\n");
    agent.probe().exits(7);
    machine.file(record, "nfsserver 1\nours rpc.mountd\n");
    agent.probe().exits(1).because("rpc.mountd (pid");
}

fn daemons_by_another(machine: &Machine) {
    let taken = "nfs-common 1\nneeded rpc.statd\nours rpc.statd\n";
    let record = |instance: &str| {
        let path = format!("/run/resource-agents/nfs-common-{instance}.state");
        machine.file(&path, taken);
        path
    };
    let agent = || machine.agent("nfs-common");
    daemon(machine, "rpc.statd");
    agent().heartbeat(&["status"]).exits(3);
    let of_cluster = record("p_daemons");
    agent().heartbeat(&["status"]).exits(0);
    agent().instance("p_other").probe().exits(7);
    agent().by_hand(&["stop"]).exits(0);
    assert!(!runs(machine, "rpc.statd") && !Path::new(&of_cluster).exists());
    agent().heartbeat(&["status"]).exits(3);

    daemon(machine, "rpc.statd");
    let nameless = record("default");
    agent().instance("p_daemons").probe().exits(0);
    agent().instance("p_daemons").action("stop").exits(0);
    assert!(!runs(machine, "rpc.statd") && !Path::new(&nameless).exists());
}

fn daemons_of_two(machine: &Machine) {
    daemon(machine, "rpc.statd");
    for instance in ["one", "two"] {
        let record = format!("/run/resource-agents/nfs-common-{instance}.state");
        machine.file(record, "nfs-common 1\nneeded rpc.statd\nours rpc.statd\n");
    }
    let [one, two] = ["one", "two"].map(|name| machine.agent("nfs-common").instance(name));
    one.action("stop").exits(0);
    one.probe().exits(7);
    assert!(runs(machine, "rpc.statd"), "the other needs it");
    two.action("monitor").exits(0);
    two.action("stop").exits(0);
    assert!(!runs(machine, "rpc.statd"));
}
