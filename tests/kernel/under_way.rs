//! Actions that have ended, and what they have started has not.

use crate::harness::{Call, Case, Cases, Freezer, Machine, Program};
use std::time::Duration;

pub fn cases(cases: &mut Cases) {
    let mut frozen = |name: &'static str, act: fn(&Machine)| {
        cases.push(Case::new(name, act).needs(Freezer::NEEDS));
    };
    frozen("stop: a mount that an earlier start left in the kernel is no stop", mount_goes_on);
    frozen("stop: a mount that a killed start left in the kernel is no stop", mount_outlives_kill);
    frozen("stop: a fsck that hangs on the disk is no stop", fsck_goes_on);
    cases.push(
        Case::new("start: forty by hand, spelled in many ways, mount once", many_mount_once)
            .needs(&["mkfs.ext4"]),
    );
}

/// The agent that mounts the disk, with a few seconds for each action.
fn filesystem(machine: &Machine, freezer: &Freezer) -> Call {
    let given = [("device", freezer.path()), ("directory", "/srv/data"), ("fstype", "ext4")];
    machine.agent("Filesystem").with(&given).timeout(Duration::from_secs(5))
}

fn mount_goes_on(machine: &Machine) {
    let freezer = machine.freezer();
    let agent = filesystem(machine, &freezer).set("run_fsck", "no");
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
    let freezer = machine.freezer();
    let agent = filesystem(machine, &freezer).set("run_fsck", "no");
    freezer.freeze();
    agent.killed_once("start", "its child is in the kernel", || freezer.holds("Filesystem"));
    agent.action("stop").exits(1).because("still under way");
    freezer.thaw();
    agent.action("stop").exits(0);
    assert!(machine.mounts_at("/srv/data").is_empty());
    std::thread::sleep(Duration::from_millis(300));
    assert!(machine.mounts_at("/srv/data").is_empty(), "it was mounted after the stop");
}

fn fsck_goes_on(machine: &Machine) {
    let freezer = machine.freezer();
    // Writes back what is there, on which it hangs while the disk is frozen.
    machine.script(
        "fsck.ext4",
        &format!(
            "#!/bin/sh\nexec dd if={0} of={0} bs=4096 count=1 oflag=direct conv=notrunc\n",
            freezer.path()
        ),
    );
    let agent = filesystem(machine, &freezer).set("run_fsck", "force");
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
