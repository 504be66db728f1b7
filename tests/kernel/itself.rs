//! The harness proves itself: a witness that sees nothing proves nothing.

use crate::harness::{Case, Cases, Frame, Machine, on_its_own_machine};
use std::path::Path;
use std::time::Duration;

pub fn cases(cases: &mut Cases) {
    cases.add("harness: a machine has only its loopback", has_only_loopback);
    cases.push(Case::free("harness: what a case writes is gone with its machine", writes_stay));
    cases.add("harness: a machine sees only its own processes", shares_no_process);
    cases.add("harness: a neighbour hears an announcement", neighbour_hears);
    cases.add("harness: a neighbour hears an IPv6 advertisement", neighbour_hears_v6);
    cases.push(
        Case::new("harness: a disk can be mounted and is seen", disk_is_seen).needs(&["mkfs.ext4"]),
    );
    cases.add("harness: a file that is written, removed or only touched is seen", files_are_seen);
    cases.add("harness: an overdue program is killed with its children", overdue_is_killed);
}

/// Anywhere on the disk, under a name that nobody uses.
const MARK: &str = "/opt/a-case-of-the-tests-was-here";

fn writes_stay() -> Result<(), String> {
    on_its_own_machine(|machine| machine.file(format!("{MARK}/file"), "text"))?;
    match Path::new(MARK).exists() {
        true => Err(format!("{MARK} is on the disk")),
        false => Ok(()),
    }
}

fn has_only_loopback(machine: &Machine) {
    let addresses = machine.addresses();
    assert!(addresses.iter().all(|address| address.nic == "lo"), "{addresses:?}");
    assert_eq!(machine.must("hostname", &[]).trim(), "node1");
    assert!(machine.mounts_at("/mnt").is_empty());
}

fn shares_no_process(machine: &Machine) {
    machine.must("sh", &["-c", "sleep 1000 & while ! grep -q sleep /proc/$!/comm; do :; done"]);
    let running = machine.must("sh", &["-c", "cat /proc/[0-9]*/comm"]);
    let mut names: Vec<_> = running.lines().collect();
    names.sort_unstable();
    // The first process, the shell that lists, and what was left behind.
    assert_eq!(names, ["exe", "sh", "sleep"]);
}

fn neighbour_hears(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let capture = peer.capture();
    machine.add_address("eth0", "10.0.0.9/24");
    machine.ip(&["neigh", "flush", "all"]);
    peer.add_address("10.0.0.2/24");
    machine.sysctl("net/ipv4/conf/eth0/arp_notify", "1");
    machine.ip(&["link", "set", "eth0", "down"]);
    machine.ip(&["link", "set", "eth0", "up"]);
    let heard = capture.until(Duration::from_secs(2), |frames| {
        frames.iter().any(|frame| frame.announces("10.0.0.9"))
    });
    let announced = heard.iter().find(|frame| frame.announces("10.0.0.9"));
    let Some(Frame::Arp { sender_mac, .. }) = announced else { panic!("heard only {heard:?}") };
    assert_eq!(*sender_mac, peer.our_mac());
}

fn neighbour_hears_v6(machine: &Machine) {
    let peer = machine.nic("eth0", &["fd00::1/64"]);
    let capture = peer.capture();
    machine.sysctl("net/ipv6/conf/eth0/ndisc_notify", "1");
    machine.ip(&["link", "set", "eth0", "address", &peer.our_mac().replace("02:00", "02:07")]);
    let heard = capture.until(Duration::from_secs(2), |frames| {
        frames.iter().any(|frame| frame.announces("fd00::1"))
    });
    assert!(heard.iter().any(|frame| frame.announces("fd00::1")), "heard only {heard:?}");
}

fn disk_is_seen(machine: &Machine) {
    let disk = machine.formatted("ext4");
    machine.must("mount", &["-o", "ro", disk.path(), "/mnt"]);
    let mounts = machine.mounts_at("/mnt");
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert_eq!((mounts[0].source.as_str(), mounts[0].fstype.as_str()), (disk.path(), "ext4"));
    assert!(mounts[0].is_read_only());
    machine.must("umount", &["/mnt"]);
}

fn files_are_seen(machine: &Machine) {
    let disk = machine.formatted("ext4");
    machine.must("mount", &[disk.path(), "/mnt"]);
    machine.must("sh", &["-c", "echo 1 >/mnt/file; echo 1 >/run/file; mkdir /opt/empty"]);
    let files = machine.files();
    machine.must("sh", &["-c", "cat /etc/passwd /usr/bin/env /mnt/file /run/file; ls /opt /var"]);
    files.unchanged(machine);
    for change in [
        "echo 1 >/mnt/file",
        "touch /run/file",
        "echo >/etc/new",
        "chmod 600 /usr/bin/env",
        "rm /etc/passwd",
        "rmdir /opt/empty",
        "echo >/var/lib/new; rm /var/lib/new",
        "ln -s /etc /srv/link",
    ] {
        let files = machine.files();
        machine.must("sh", &["-c", change]);
        assert!(files != machine.files(), "nobody has seen: {change}");
    }
}

fn overdue_is_killed(machine: &Machine) {
    let slow = machine.script("slow", "#!/bin/sh\nsleep 1000 & echo begun; wait\n");
    let outcome = crate::harness::Call::new(slow).timeout(Duration::ZERO).action("start");
    assert!(outcome.timed_out && outcome.stdout == "begun\n", "{outcome:?}");
    for _ in 0..100 {
        let left = machine.run("sh", &["-c", "cat /proc/[0-9]*/comm"]).stdout;
        if !left.contains("sleep") {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the child still runs");
}
