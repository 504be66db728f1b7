//! Each agent, killed at any instant: see [`Trial`] for what has to hold then.

use crate::harness::{Call, Cases, Machine, Trial};
use std::time::Duration;

/// The table of exports.
const ETAB: &str = "/var/lib/nfs/etab";

pub fn cases(cases: &mut Cases) {
    cases.killed("Filesystem:", |machine| {
        let disk = machine.formatted("ext4");
        machine.must("mkdir", &["/srv/data"]);
        let given = [("device", disk.path()), ("directory", "/srv/data"), ("fstype", "ext4")];
        let agent = machine.agent("Filesystem").with(&given);
        machine.keep(disk);
        Trial::of(agent, |machine| !machine.mounts_at("/srv/data").is_empty())
    });
    cases.killed("Filesystem: a bind mount", |machine| {
        machine.must("mkdir", &["/srv/source", "/srv/data"]);
        let given = [("device", "/srv/source"), ("directory", "/srv/data")];
        let agent = machine.agent("Filesystem").with(&given);
        Trial::of(agent.with(&[("fstype", "none"), ("options", "bind,ro")]), is_read_only)
    });
    cases.killed("exportfs:", |machine| {
        machine.must("rm", &["-f", ETAB]);
        machine.must("mkdir", &["/srv/a", "/srv/b"]);
        let given = [("directory", "/srv/a /srv/b"), ("clientspec", "*"), ("fsid", "1")];
        Trial::of(machine.agent("exportfs").with(&given), |_| {
            let table = std::fs::read_to_string(ETAB).unwrap_or_default();
            ["/srv/a\t*(", "/srv/b\t*("].iter().all(|export| table.contains(export))
        })
    });
    cases.killed("IPaddr:", |machine| {
        machine.nic("eth0", &["10.0.0.1/24"]);
        let agent = machine.agent("IPaddr").set("ip", "10.0.0.9");
        Trial::of(agent, |machine| machine.address("10.0.0.9").is_some())
    });
    cases.killed("IPaddr: an IPv6 address", |machine| {
        machine.without_dad();
        machine.nic("eth0", &["fd00::1/64"]);
        Trial::of(machine.agent("IPaddr").set("ip", "fd00::9"), |machine| {
            let found = machine.address("fd00::9");
            found.is_some_and(|address| !address.flags.contains(&"tentative"))
        })
    });
    cases.killed_with(&["/usr/sbin/vblade"], "vblade:", |machine| {
        machine.nic("eth0", &[]);
        let disks = [machine.disk(1), machine.disk(1)];
        let lines = [1, 2].map(|slot| format!("eth0 0 {slot} {}\n", disks[slot - 1].path()));
        machine.file("/etc/vblade.conf", &lines.concat());
        disks.into_iter().for_each(|disk| machine.keep(disk));
        let serves = |machine: &Machine| {
            let sockets = machine.must("cat", &["/proc/net/packet"]);
            sockets.lines().filter(|line| line.contains(" 88a2 ")).count() == 2
        };
        // It asks the network three times before it does anything.
        Trial::of(machine.agent("vblade"), serves).idle(Duration::from_millis(740))
    });
    cases.killed("portblock: a block", |machine| {
        Trial::of(blocked(machine, "block"), |machine| rules(machine, " drop comment \"block") == 4)
    });
    cases.killed_with(&["iptables-legacy"], "portblock: a block without nf_tables", |machine| {
        // iptables' table is made by its first use, and stays.
        machine.must("iptables-legacy", &["-S"]);
        let agent = blocked(machine, "block").without_nf_tables();
        let trial = Trial::of(agent, |machine| {
            let rules = machine.must("iptables-legacy", &["-S"]);
            rules.lines().filter(|line| line.ends_with("-j DROP")).count() == 4
        });
        trial.times(60)
    });
    cases.killed("portblock: an unblock", |machine| {
        let agent = blocked(machine, "unblock");
        // It goes from closed to open and back.
        agent.action("start").exits(0);
        agent.action("stop").exits(0);
        Trial::of(agent, |machine| {
            let marks = rules(machine, "\"started unblock");
            marks == 1 && rules(machine, " drop comment \"block") == 0
        })
    });
}

fn blocked(machine: &Machine, action: &str) -> Call {
    let agent = machine.agent("portblock").set("protocol", "tcp").set("portno", "80,2049");
    agent.with(&[("ip", "10.0.0.9"), ("direction", "both"), ("action", action)])
}

/// How many of the firewall's lines have this in them.
fn rules(machine: &Machine, part: &str) -> usize {
    machine.must("nft", &["list", "ruleset"]).lines().filter(|line| line.contains(part)).count()
}

/// Until it is read-only it is not what was asked for.
fn is_read_only(machine: &Machine) -> bool {
    let mounts = machine.mounts_at("/srv/data");
    mounts.last().is_some_and(|mount| mount.options.starts_with("ro"))
}
