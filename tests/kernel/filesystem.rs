//! Filesystem on real file systems: what is mounted, who is in the way, and
//! what is left alone.

mod truth;

use crate::harness::{Call, Case, Cases, Disk, Machine, Program, Running, logged};
use std::time::{Duration, Instant};

const DATA: &str = "/srv/data";

pub fn cases(cases: &mut Cases) {
    for fstype in ["ext2", "ext3", "ext4", "xfs", "btrfs"] {
        let life = move |machine: &Machine| lives(machine, fstype);
        let mkfs: &'static str = if fstype.starts_with("ext") { "mkfs.ext4" } else { fstype };
        let mkfs = if mkfs == fstype { ["mkfs.xfs", "mkfs.btrfs"] } else { ["mkfs.ext4"; 2] };
        let name = format!("Filesystem: {fstype} is mounted, watched and unmounted");
        cases.push(Case::new(name, life).needs(&mkfs));
    }
    let mut add = |name: &str, run: fn(&Machine)| {
        cases.push(Case::new(format!("Filesystem: {name}"), run).needs(&["mkfs.ext4"]));
    };
    add("a device is found by its UUID and its label", is_found_by_mark);
    add("quota options reach the kernel", quota_options_work);
    add("a quota that nobody counts is said to count nothing", quota_counts_nothing);
    add("a user is ended, whatever of it lies on the mount", users_are_ended);
    add("a process of another mount lives on", others_live_on);
    add("a caller with its directory on the mount is not ended", callers_are_protected);
    add("whoever ignores TERM is killed in time", stubborn_are_killed);
    add("with force_unmount=false nobody is ended, and the user is named", users_are_named);
    add("what is mounted below and beside goes first", others_go_first);
    add("a bind is read-only alone", bind_is_read_only_alone);
    add("a bind that is not what it was to be has failed, and is ended", bind_unfinished);
    add("the stop of a bind leaves its source", bind_leaves_its_source);
    add("a foreign mount is refused and left alone", foreign_is_refused);
    add("a mount underneath another one is not stopped", covered_is_seen);
    add("a file system that has become read-only fails at depth 0", read_only_is_seen);
    add("an error that the kernel meets fails at depth 0", kernel_error_is_seen);
    add("a frozen file system cannot hold a deep monitor", frozen_does_not_hang);
    add("a loop device on a file is named", loop_is_named);
    add("swap on a file is named", swap_is_named);
    add("another mount namespace is named", namespace_is_named);
    add("with force_unmount=move nothing is left beside", move_leaves_nothing);
    add("a stop that was killed after moving is taken up again", parked_is_seen);
    add("a clone that could destroy data is refused", clones_are_refused);
    add("a vanished device node does not unmount anything", node_may_vanish);
    add("a wiped /run changes nothing", record_may_vanish);
    add("a link to the mount point is followed", link_is_followed);
    truth::cases(cases);
}

fn given(machine: &Machine, disk: &Disk) -> Call {
    let parameters = [("device", disk.path()), ("directory", DATA), ("fstype", "ext4")];
    machine.agent("Filesystem").with(&parameters).set("signal_delay", "0.1")
}

fn started(machine: &Machine) -> (Disk, Call) {
    let disk = machine.formatted("ext4");
    let agent = given(machine, &disk);
    agent.action("start").exits(0);
    (disk, agent)
}

fn lives(machine: &Machine, fstype: &str) {
    let disk = machine.formatted(fstype);
    let agent = given(machine, &disk).set("fstype", fstype);
    agent.probe().exits(7);
    agent.action("start").exits(0);
    let mounts = machine.mounts_at(DATA);
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert_eq!((mounts[0].source.as_str(), mounts[0].fstype.as_str()), (disk.path(), fstype));
    agent.action("start").exits(0);
    for depth in ["0", "10", "20"] {
        agent.clone().depth(depth).action("monitor").exits(0);
    }
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
    agent.action("stop").exits(0);
    agent.action("monitor").exits(7);
    // The status file of depth 20 is gone with the stop.
    machine.must("mount", &[disk.path(), "/mnt"]);
    assert!(!std::path::Path::new("/mnt/.Filesystem_status").exists());
}

fn is_found_by_mark(machine: &Machine) {
    let disk = machine.formatted("ext4");
    machine.must("tune2fs", &["-L", "my data", disk.path()]);
    let uuid = machine.must("blkid", &["-s", "UUID", "-o", "value", disk.path()]);
    let uuid = uuid.trim();
    for device in [format!("UUID={uuid}"), format!("-U {uuid}"), "-L my data".into()] {
        let agent = given(machine, &disk).set("device", &device);
        agent.action("start").exits(0);
        agent.action("monitor").exits(0);
        assert_eq!(machine.mounts_at(DATA)[0].source, disk.path());
        agent.action("stop").exits(0);
    }
    let nobody = given(machine, &disk).set("device", "UUID=00000000-1111-2222-3333-444444444444");
    nobody.action("start").exits(5).because("is not there");
}

fn quota_options_work(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let agent = given(machine, &disk).set("options", "nosuid,usrquota,noatime");
    agent.action("start").exits(0);
    let mount = &machine.mounts_at(DATA)[0];
    for wanted in ["nosuid", "noatime"] {
        assert!(mount.options.split(',').any(|option| option == wanted), "{mount}");
    }
    assert!(mount.super_options.contains("usrquota"), "{mount}");
}

fn quota_counts_nothing(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let agent = given(machine, &disk).set("options", "nosuid,usrquota,noatime");
    agent.action("start").exits(0);
    machine.must("sh", &["-c", &format!("echo x > {DATA}/x; chown 1234 {DATA}/x; sync")]);
    // Q_GETQUOTA of a user who has files there.
    let ask = format!("my ($b, $d) = (pack('Q9'), '{}'); ", disk.path())
        + "exit(syscall(179, 0x80000700, $d, 1234, $b) == 0 ? 0 : 1)";
    assert_eq!(machine.run("perl", &["-e", &ask]).code, Some(1), "it is counted");
    let log = logged();
    assert!(log.contains("usrquota counts nothing on"), "{log}");
}

/// A process that uses the mount, once it does.
fn user(machine: &Machine, script: &str) -> Running {
    let running = Program::new("sh").args(["-c", script]).limit(Duration::from_secs(60)).spawn();
    let begun = Instant::now();
    while machine.run("test", &["-e", "/tmp/ready"]).code != Some(0) {
        assert!(begun.elapsed() < Duration::from_secs(5), "{script} is not ready");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::remove_file("/tmp/ready").unwrap();
    running
}

fn users_are_ended(machine: &Machine) {
    let (_disk, agent) = started(machine);
    machine.must("cp", &["/bin/sleep", "/srv/data/program"]);
    for script in [
        "cd /srv/data; touch /tmp/ready; exec sleep 100",
        "exec 5> /srv/data/file; rm /srv/data/file; touch /tmp/ready; exec sleep 100",
        "/srv/data/program 100 & touch /tmp/ready; wait",
    ] {
        let user = user(machine, script);
        let stopped = agent.action("stop").exits(0);
        assert!(machine.mounts_at(DATA).is_empty());
        assert!(stopped.took < Duration::from_secs(5), "{script}: {stopped:?}");
        let ended = user.wait(Duration::from_secs(5));
        assert!(!ended.timed_out, "{script}");
        agent.action("start").exits(0);
    }
}

fn others_live_on(machine: &Machine) {
    std::fs::create_dir_all("/srv/data/hidden").unwrap();
    // On the same path, and on the file system underneath.
    let mut beneath = user(machine, "cd /srv/data/hidden; touch /tmp/ready; exec sleep 100");
    let (_disk, agent) = started(machine);
    std::fs::create_dir_all("/srv/database").unwrap();
    let mut beside = user(machine, "cd /srv/database; touch /tmp/ready; exec sleep 100");
    let inside = user(machine, "cd /srv/data; touch /tmp/ready; exec sleep 100");
    agent.action("stop").exits(0);
    assert!(!inside.wait(Duration::from_secs(5)).timed_out);
    assert!(!beneath.has_ended() && !beside.has_ended());
    beneath.kill();
    beside.kill();
}

fn callers_are_protected(machine: &Machine) {
    let (disk, agent) = started(machine);
    let agent = agent.timeout(Duration::from_secs(5));
    let script = machine.script("caller", "#!/bin/sh\ncd /srv/data\n\"$@\"\necho lived: $?\n");
    let path = format!("{}/Filesystem", crate::harness::AGENTS);
    let caller = Program::new(script)
        .args([&path, disk.path(), DATA, "ext4", "stop", "--timeout", "5"])
        .run();
    assert!(caller.stdout.contains("lived: 1"), "{caller}");
    assert!(caller.stderr.contains("protected"), "{caller}");
    agent.action("monitor").exits(0);
}

fn stubborn_are_killed(machine: &Machine) {
    let (_disk, agent) = started(machine);
    let agent = agent.timeout(Duration::from_secs(8));
    let user =
        user(machine, "trap '' TERM; cd /srv/data; touch /tmp/ready; while :; do sleep 1; done");
    let stopped = agent.action("stop").exits(0);
    assert!(stopped.took < Duration::from_secs(8), "{stopped:?}");
    assert_eq!(user.wait(Duration::from_secs(5)).signal, Some(9));
}

fn users_are_named(machine: &Machine) {
    let (_disk, agent) = started(machine);
    let agent = agent.set("force_unmount", "false").timeout(Duration::from_secs(5));
    let user = user(machine, "cd /srv/data; touch /tmp/ready; exec sleep 100");
    let failed = agent.action("stop").exits(1).because("sleep (pid ").because("working directory");
    assert!(failed.took < Duration::from_secs(5), "{failed:?}");
    agent.action("monitor").exits(0);
    user.kill();
    agent.action("stop").exits(0);
}

fn others_go_first(machine: &Machine) {
    let (disk, agent) = started(machine);
    machine.must("mkdir", &["-p", "/srv/data/a/b", "/srv/copy", "/srv/data/c"]);
    machine.must("mount", &["-t", "tmpfs", "none", "/srv/data/a"]);
    machine.must("mkdir", &["/srv/data/a/deep"]);
    machine.must("mount", &["-t", "tmpfs", "none", "/srv/data/a/deep"]);
    machine.must("mount", &["--bind", "/srv/data/c", "/srv/copy"]);
    agent.action("stop").exits(0);
    let left: Vec<_> = machine.mounts();
    assert!(left.iter().all(|mount| mount.source != disk.path()), "{left:?}");
    assert!(left.iter().all(|mount| !mount.directory.starts_with(DATA)), "{left:?}");
}

fn bind(machine: &Machine, options: &str) -> (Disk, Call) {
    let disk = machine.formatted("ext4");
    std::fs::create_dir_all("/srv/source").unwrap();
    machine.must("mount", &[disk.path(), "/srv/source"]);
    let parameters = [("device", "/srv/source"), ("directory", DATA), ("options", options)];
    (disk, machine.agent("Filesystem").with(&parameters).set("fstype", "none"))
}

/// As it is before Linux 5.12 when who mounts it is killed between its two calls.
fn bind_unfinished(machine: &Machine) {
    machine.must("mkdir", &["/srv/source", "/srv/data"]);
    machine.must("mount", &["--bind", "/srv/source", "/srv/data"]);
    let given = [("device", "/srv/source"), ("directory", "/srv/data"), ("fstype", "none")];
    let agent = machine.agent("Filesystem").with(&given).set("options", "bind,ro");
    let unfinished = "is not ro";
    agent.action("monitor").exits(1).because(unfinished);
    agent.action("start").exits(1).because(unfinished);
    agent.action("stop").exits(0);
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    machine.must("mount", &["-o", "remount,bind,rw", "/srv/data"]);
    agent.action("monitor").exits(1).because("is not ro");
    agent.action("stop").exits(0);
    agent.probe().exits(7);
}

fn bind_is_read_only_alone(machine: &Machine) {
    let (_disk, agent) = bind(machine, "bind,ro");
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    assert!(machine.mounts_at(DATA)[0].is_read_only());
    assert!(!machine.mounts_at("/srv/source")[0].is_read_only());
    std::fs::write("/srv/source/new", "x").unwrap();
    assert!(std::fs::write("/srv/data/new", "x").is_err());
    agent.action("stop").exits(0);
}

fn bind_leaves_its_source(machine: &Machine) {
    let (_disk, agent) = bind(machine, "bind");
    agent.action("start").exits(0);
    let mut source = user(machine, "cd /srv/source; touch /tmp/ready; exec sleep 100");
    let bound = user(machine, "cd /srv/data; touch /tmp/ready; exec sleep 100");
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
    assert_eq!(machine.mounts_at("/srv/source").len(), 1);
    assert!(!bound.wait(Duration::from_secs(5)).timed_out);
    assert!(!source.has_ended());
    source.kill();
}

fn foreign_is_refused(machine: &Machine) {
    let disk = machine.formatted("ext4");
    std::fs::create_dir_all(DATA).unwrap();
    machine.must("mount", &["-t", "tmpfs", "other", DATA]);
    let before = machine.state();
    let agent = given(machine, &disk);
    agent.action("start").exits(1).because("other").because("is mounted on /srv/data");
    agent.action("monitor").exits(1).because("is mounted on /srv/data");
    agent.probe().exits(7);
    agent.action("stop").exits(0);
    before.unchanged(machine);
}

fn covered_is_seen(machine: &Machine) {
    let (_disk, agent) = started(machine);
    machine.must("mount", &["-t", "tmpfs", "cover", DATA]);
    agent.action("monitor").exits(1).because("covers it");
    agent.probe().exits(1);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
}

fn read_only_is_seen(machine: &Machine) {
    let (_disk, agent) = started(machine);
    machine.must("mount", &["-o", "remount,ro", DATA]);
    agent.action("monitor").exits(1).because("read-only");
    agent.action("stop").exits(0);
}

fn kernel_error_is_seen(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let agent = given(machine, &disk).set("options", "errors=remount-ro");
    agent.action("start").exits(0);
    let name = disk.path().trim_start_matches("/dev/");
    std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").unwrap();
    agent.action("monitor").exits(1).because("read-only");
    agent.action("stop").exits(0);
}

fn frozen_does_not_hang(machine: &Machine) {
    let (_disk, agent) = started(machine);
    let agent = agent.timeout(Duration::from_secs(4));
    machine.must("fsfreeze", &["--freeze", DATA]);
    let monitored = agent.clone().depth("20").action("monitor");
    machine.must("fsfreeze", &["--unfreeze", DATA]);
    let monitored = monitored.exits(1).because("no end before the deadline");
    assert!(monitored.took < Duration::from_secs(4), "{monitored:?}");
    agent.clone().depth("20").action("monitor").exits(0);
    agent.action("stop").exits(0);
}

fn loop_is_named(machine: &Machine) {
    let (_disk, agent) = started(machine);
    let agent = agent.timeout(Duration::from_secs(4));
    machine.must("truncate", &["-s", "1M", "/srv/data/image"]);
    let device = machine.must("losetup", &["--find", "--show", "/srv/data/image"]);
    let device = device.trim();
    let stopped = agent.action("stop");
    machine.must("losetup", &["--detach", device]);
    stopped.exits(1).because(device).because("/srv/data/image");
    agent.action("stop").exits(0);
}

fn swap_is_named(machine: &Machine) {
    let (_disk, agent) = started(machine);
    let agent = agent.timeout(Duration::from_secs(4));
    machine.must("dd", &["if=/dev/zero", "of=/srv/data/swap", "bs=1M", "count=2"]);
    machine.must("chmod", &["600", "/srv/data/swap"]);
    machine.must("mkswap", &["/srv/data/swap"]);
    machine.must("swapon", &["/srv/data/swap"]);
    let stopped = agent.action("stop");
    machine.must("swapoff", &["/srv/data/swap"]);
    stopped.exits(1).because("swap on /srv/data/swap");
    agent.action("stop").exits(0);
}

fn namespace_is_named(machine: &Machine) {
    let (_disk, agent) = started(machine);
    let agent = agent.timeout(Duration::from_secs(4));
    let elsewhere = user(
        machine,
        "exec unshare -m --propagation private sh -c 'touch /tmp/ready; exec sleep 100'",
    );
    agent.action("stop").exits(1).because("sleep (pid ").because("mount namespace");
    assert!(machine.mounts_at(DATA).is_empty());
    elsewhere.kill();
    agent.action("stop").exits(0);
}

fn move_leaves_nothing(machine: &Machine) {
    let (_disk, agent) = started(machine);
    let agent = agent.set("force_unmount", "true,move");
    let user = user(machine, "cd /srv/data; touch /tmp/ready; exec sleep 100");
    agent.action("stop").exits(0);
    assert!(!user.wait(Duration::from_secs(5)).timed_out);
    assert!(!std::path::Path::new("/srv/.data").exists());
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
}

fn parked_is_seen(machine: &Machine) {
    let (disk, agent) = started(machine);
    let agent = agent.set("force_unmount", "move");
    machine.must("mkdir", &["/srv/.data"]);
    machine.must("mount", &["--move", DATA, "/srv/.data"]);
    agent.action("monitor").exits(1).because("unfinished stop");
    agent.action("stop").exits(0);
    assert!(machine.mounts().iter().all(|mount| mount.source != disk.path()));
    assert!(!std::path::Path::new("/srv/.data").exists());
}

fn clones_are_refused(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let clone = given(machine, &disk).meta("clone_max", "2").meta("clone", "0");
    clone.action("start").exits(6).because("cannot be cloned");
    clone.clone().set("options", "ro").action("start").exits(6);
    let forced = clone.set("force_clones", "yes");
    forced.action("start").exits(0);
    forced.action("stop").exits(0);
}

fn node_may_vanish(machine: &Machine) {
    let disk = machine.formatted("ext4");
    std::os::unix::fs::symlink(disk.path(), "/run/alias").unwrap();
    let agent = given(machine, &disk).set("device", "/run/alias");
    agent.action("start").exits(0);
    std::fs::remove_file("/run/alias").unwrap();
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
    agent.action("start").exits(5).because("/run/alias");
}

fn record_may_vanish(machine: &Machine) {
    let (_disk, agent) = started(machine);
    machine.must("rm", &["-r", "/run/resource-agents"]);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
}

fn link_is_followed(machine: &Machine) {
    let disk = machine.formatted("ext4");
    std::fs::create_dir_all("/srv/real").unwrap();
    std::os::unix::fs::symlink("/srv/real", "/srv/link").unwrap();
    let agent = given(machine, &disk).set("directory", "/srv/link");
    agent.action("start").exits(0);
    assert_eq!(machine.mounts_at("/srv/real").len(), 1);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at("/srv/real").is_empty());
}
