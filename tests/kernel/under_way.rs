//! Actions that have ended, and what they have started has not.

use crate::harness::{Call, Case, Cases, Machine, Program};
use std::time::{Duration, Instant};

pub fn cases(cases: &mut Cases) {
    let mut frozen = |name: &'static str, act: fn(&Machine)| {
        cases.push(Case::new(name, act).needs(&["mkfs.ext4", "fsfreeze"]));
    };
    frozen("stop: a mount that an earlier start left in the kernel is no stop", mount_goes_on);
    frozen("stop: a mount that a killed start left in the kernel is no stop", mount_outlives_kill);
    frozen("stop: a fsck that hangs on the disk is no stop", fsck_goes_on);
    cases.push(
        Case::new("start: forty by hand, spelled in many ways, mount once", many_mount_once)
            .needs(&["mkfs.ext4"]),
    );
}

/// A disk on a file of a file system that can be frozen: whoever writes to the
/// disk then sleeps where no signal reaches.
struct Freezer<'m> {
    machine: &'m Machine,
    disk: String,
}

impl<'m> Freezer<'m> {
    fn new(machine: &'m Machine) -> Self {
        let outer = machine.disk(64);
        machine.must("mkfs.ext4", &["-q", "-F", outer.path()]);
        machine.must("mkdir", &["-p", "/srv/outer"]);
        machine.must("mount", &[outer.path(), "/srv/outer"]);
        machine.must("truncate", &["-s", "16M", "/srv/outer/image"]);
        machine.must("mkfs.ext4", &["-q", "-F", "/srv/outer/image"]);
        let disk = machine.must("losetup", &["--find", "--show", "/srv/outer/image"]);
        Self { machine, disk: disk.trim().to_owned() }
    }

    /// The agent that mounts the disk, with a few seconds for each action.
    fn filesystem(&self) -> Call {
        self.machine
            .agent("Filesystem")
            .with(&[("device", &self.disk), ("directory", "/srv/data"), ("fstype", "ext4")])
            .timeout(Duration::from_secs(5))
    }

    fn freeze(&self) {
        self.machine.must("fsfreeze", &["--freeze", "/srv/outer"]);
    }

    fn thaw(&self) {
        self.machine.must("fsfreeze", &["--unfreeze", "/srv/outer"]);
    }
}

impl Drop for Freezer<'_> {
    /// A case that fails must not leave anybody asleep for ever.
    fn drop(&mut self) {
        let _ = self.machine.run("fsfreeze", &["--unfreeze", "/srv/outer"]);
        let _ = self.machine.run("losetup", &["--detach", &self.disk]);
    }
}

fn mount_goes_on(machine: &Machine) {
    let freezer = Freezer::new(machine);
    let agent = freezer.filesystem().set("run_fsck", "no");
    freezer.freeze();
    agent.action("start").exits(1).because("not cleared up: ");
    agent.probe().exits(1).because("still under way");
    let refused = agent.action("stop").exits(1).because("mount");
    let reason = refused.exit_reason().unwrap_or_default().to_owned();
    assert!(reason.contains("pid ") && reason.contains("stuck in"), "{reason}");
    freezer.thaw();
    agent.action("stop").exits(0);
    assert!(machine.mounts_at("/srv/data").is_empty());
    agent.probe().exits(7);
}

fn mount_outlives_kill(machine: &Machine) {
    let freezer = Freezer::new(machine);
    let agent = freezer.filesystem().set("run_fsck", "no");
    freezer.freeze();
    let start = agent.spawn("start");
    // Killed once its child is in the kernel, as the cluster kills.
    let stuck = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(exe) D\\|(Filesystem) D'";
    let begun = Instant::now();
    while machine.run("sh", &["-c", stuck]).stdout.trim() == "0" {
        assert!(begun.elapsed() < Duration::from_secs(4), "nobody hangs");
    }
    machine
        .must("sh", &["-c", "kill -KILL $(grep -lx Filesystem /proc/[0-9]*/comm | cut -d/ -f3)"]);
    assert_eq!(start.wait(Duration::from_secs(5)).code, None, "it was killed");
    agent.action("stop").exits(1).because("still under way");
    freezer.thaw();
    agent.action("stop").exits(0);
    assert!(machine.mounts_at("/srv/data").is_empty());
    std::thread::sleep(Duration::from_millis(300));
    assert!(machine.mounts_at("/srv/data").is_empty(), "it was mounted after the stop");
}

fn fsck_goes_on(machine: &Machine) {
    let freezer = Freezer::new(machine);
    // Writes back what is there, on which it hangs while the disk is frozen.
    machine.script(
        "fsck.ext4",
        &format!(
            "#!/bin/sh\nexec dd if={0} of={0} bs=4096 count=1 oflag=direct conv=notrunc\n",
            freezer.disk
        ),
    );
    let agent = freezer.filesystem().set("run_fsck", "force");
    freezer.freeze();
    agent.action("start").exits(1);
    agent.action("stop").exits(1).because("dd ").because("pid ");
    freezer.thaw();
    agent.action("stop").exits(0);
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
}

fn many_mount_once(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let path = machine.agent("Filesystem").timeout(Duration::from_secs(30));
    let agent = "/usr/lib/ocf/resource.d/sturdy/Filesystem";
    let device = format!("--device={}", disk.path());
    let named = format!("device={}", disk.path());
    let spellings: [&[&str]; 4] = [
        &[disk.path(), "/srv/data", "ext4", "start"],
        &[&device, "--directory=/srv/data", "--fstype=ext4", "start"],
        &[disk.path(), "/srv/data/", "ext4", "start"],
        &[&named, "directory=/srv//data", "fstype=ext4", "start"],
    ];
    let running: Vec<_> =
        (0..40).map(|number| Program::new(agent).args(spellings[number % 4]).spawn()).collect();
    for one in running {
        let output = one.wait(Duration::from_secs(60));
        assert_eq!(output.code, Some(0), "{output}");
    }
    assert_eq!(machine.mounts_at("/srv/data").len(), 1);
    path.by_hand(&[disk.path(), "/srv/data/", "stop"]).exits(0);
    assert!(machine.mounts_at("/srv/data").is_empty());
}
