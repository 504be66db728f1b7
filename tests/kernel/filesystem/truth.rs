//! Whether what is called stopped is gone: names that change under a mount,
//! mounts that no path leads to, file systems that outlive their mount, and
//! what belongs to others.

use super::{DATA, given, started, user};
use crate::harness::{Call, Case, Cases, Machine};
use std::path::Path;
use std::time::Duration;

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, needs: &[&'static str], run: fn(&Machine)| {
        cases.push(Case::new(format!("Filesystem: {name}"), run).needs(needs));
    };
    let ext4: &[&'static str] = &["mkfs.ext4"];
    add("a bind is ours after its source was renamed", &[], bind_source_renamed);
    add("a mount is ours after the link to it was turned", ext4, link_turned);
    add("a mount is ours after the link to it was removed", ext4, link_removed);
    add("a tmpfs is ours after its parent was renamed", &[], parent_renamed);
    add("a record outlives a stop with other parameters", &[], record_is_kept);
    add("a stop ends those who use a detached file system", ext4, detached_is_released);
    add("a stop names those who use a detached file system", ext4, detached_is_named);
    add("a device on another directory is no stopped resource", ext4, other_directory_is_seen);
    add("a stop without a record sees another namespace", ext4, namespace_without_record);
    add(
        "a device that is swapped to is no mounted one",
        &["mkfs.ext4", "mkswap"],
        swap_is_no_mount,
    );
    add("a stop takes a bind that was mounted twice", &[], stacked_bind);
    add("a stop takes a tmpfs that was mounted twice", &[], stacked_tmpfs);
    add("what hides a mount is named, and does not keep it from a stop", ext4, hidden);
    add("what hides a bind is named by a monitor that knows it by number", &[], hidden_bind);
    add("a mount and what is upon it are stopped where both are hidden", ext4, hidden_deep);
    let btrfs: &[&'static str] = &["mkfs.btrfs", "btrfs"];
    add("the stop of one subvolume leaves another resource's", btrfs, subvolumes);
    add("what another resource has mounted below is refused by name", ext4, other_resource_below);
    add("a bind of another resource is refused by name", ext4, other_resource_binds);
    add("a start with the wrong type says what is there", ext4, wrong_type_is_said);
    add("a start says that there is nothing on the disk", &["blkid"], empty_disk_is_said);
    add("a start says which disk has the same UUID", &["mkfs.xfs"], twin_is_said);
    add("a start says that the disk is write-protected", ext4, protection_is_said);
    add("a start says that the image is missing", &[], missing_image_is_said);
    add("an image is the same by another path, until it is another file", ext4, image_is_known);
    add("an automount point on the directory is named", &[], automount_is_named);
    add("two resources of one device are stopped one by one", ext4, one_device_twice);
}

fn mounted(machine: &Machine, what: &str) -> bool {
    machine.mounts().iter().any(|mount| mount.source == what)
}

fn bind(machine: &Machine) -> Call {
    std::fs::create_dir_all("/srv/source").unwrap();
    std::fs::write("/srv/source/old", "").unwrap();
    let parameters = [("device", "/srv/source"), ("directory", DATA), ("options", "bind")];
    machine.agent("Filesystem").with(&parameters).set("fstype", "none")
}

fn tmpfs(machine: &Machine, directory: &str) -> Call {
    let parameters = [("device", "ours"), ("directory", directory), ("fstype", "tmpfs")];
    machine.agent("Filesystem").with(&parameters)
}

fn bind_source_renamed(machine: &Machine) {
    let agent = bind(machine);
    agent.action("start").exits(0);
    machine.must("mv", &["/srv/source", "/srv/source.old"]);
    std::fs::create_dir("/srv/source").unwrap();
    agent.action("monitor").exits(0);
    agent.probe().exits(0);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
    agent.action("monitor").exits(7);
}

fn linked(machine: &Machine) -> (crate::harness::Disk, Call) {
    let disk = machine.formatted("ext4");
    machine.must("mkdir", &["/srv/real", "/srv/other"]);
    std::os::unix::fs::symlink("/srv/real", "/srv/link").unwrap();
    let agent = given(machine, &disk).set("directory", "/srv/link");
    agent.action("start").exits(0);
    (disk, agent)
}

fn link_turned(machine: &Machine) {
    let (disk, agent) = linked(machine);
    machine.must("ln", &["-sfn", "/srv/other", "/srv/link"]);
    let why = "is mounted on /srv/real, where /srv/link leads no more";
    agent.action("monitor").exits(1).because(why);
    agent.probe().exits(1).because(why);
    agent.action("start").exits(1).because(why);
    agent.action("stop").exits(0);
    assert!(!mounted(machine, disk.path()));
    agent.action("monitor").exits(7);
}

fn link_removed(machine: &Machine) {
    let (disk, agent) = linked(machine);
    std::fs::remove_file("/srv/link").unwrap();
    agent.action("monitor").exits(1).because("is mounted on /srv/real");
    // Without the record, the device tells.
    machine.must("rm", &["-r", "/run/resource-agents"]);
    agent.action("monitor").exits(1).because("is mounted on /srv/real, not on /srv/link");
    agent.action("stop").exits(0);
    assert!(!mounted(machine, disk.path()));
}

fn parent_renamed(machine: &Machine) {
    let agent = tmpfs(machine, "/srv/app/data");
    agent.action("start").exits(0);
    machine.must("mv", &["/srv/app", "/srv/app.old"]);
    let why = "is mounted on /srv/app.old/data, where /srv/app/data leads no more";
    agent.action("monitor").exits(1).because(why);
    agent.action("stop").exits(0);
    assert!(!mounted(machine, "ours"));
    agent.action("monitor").exits(7);
}

fn record_is_kept(machine: &Machine) {
    let before = tmpfs(machine, "/srv/before");
    before.action("start").exits(0);
    let after = tmpfs(machine, "/srv/after");
    after.action("monitor").exits(1).because("is mounted on /srv/before");
    after.action("stop").exits(0);
    assert!(!mounted(machine, "ours"));
}

/// A process that writes on the mount, which is then taken away under it.
fn detached(machine: &Machine) -> (crate::harness::Disk, Call, crate::harness::Running) {
    let (disk, agent) = started(machine);
    let agent = agent.timeout(Duration::from_secs(8));
    let writer = user(machine, "exec 5>/srv/data/log; touch /tmp/ready; exec sleep 100");
    machine.must("umount", &["-l", DATA]);
    (disk, agent, writer)
}

fn detached_is_released(machine: &Machine) {
    let (disk, agent, writer) = detached(machine);
    agent.probe().exits(1).because("sleep (pid ");
    agent.action("stop").exits(0);
    assert!(!writer.wait(Duration::from_secs(5)).timed_out);
    let name = disk.path().trim_start_matches("/dev/");
    assert!(!Path::new("/sys/fs/ext4").join(name).exists());
    agent.action("monitor").exits(7);
}

fn detached_is_named(machine: &Machine) {
    let (_disk, agent, writer) = detached(machine);
    machine.must("rm", &["-r", "/run/resource-agents"]);
    let agent = agent.set("force_unmount", "false").timeout(Duration::from_secs(4));
    let stopped = agent.action("stop").exits(1).because("sleep (pid ").because("detached");
    assert!(stopped.took < Duration::from_secs(4), "{stopped:?}");
    writer.kill();
    agent.action("stop").exits(0);
}

fn other_directory_is_seen(machine: &Machine) {
    let (disk, agent) = started(machine);
    machine.must("umount", &[DATA]);
    machine.must("mount", &[disk.path(), "/mnt"]);
    // Before Linux 6.8 the new mount may have the number that the old one had.
    let has_own_number = crate::harness::kernel().is_none_or(|version| version >= (6, 8));
    let why = if has_own_number { "not on /srv/data" } else { "/srv/data" };
    agent.action("monitor").exits(1).because("is mounted on /mnt, ").because(why);
    machine.must("rm", &["-r", "/run/resource-agents"]);
    agent.probe().exits(1).because("is mounted on /mnt, not on /srv/data");
    agent.action("stop").exits(0);
    assert!(!mounted(machine, disk.path()));
    agent.action("monitor").exits(7);
}

fn namespace_without_record(machine: &Machine) {
    let (_disk, agent) = started(machine);
    let agent = agent.timeout(Duration::from_secs(4));
    let elsewhere = user(
        machine,
        "exec unshare -m --propagation private sh -c 'touch /tmp/ready; exec sleep 100'",
    );
    machine.must("umount", &[DATA]);
    machine.must("rm", &["-r", "/run/resource-agents"]);
    agent.probe().exits(1).because("mount namespace");
    agent.action("stop").exits(1).because("sleep (pid ").because("mount namespace");
    elsewhere.kill();
    agent.action("stop").exits(0);
}

fn swap_is_no_mount(machine: &Machine) {
    let disk = machine.disk(16);
    machine.must("mkswap", &[disk.path()]);
    machine.must("swapon", &[disk.path()]);
    let agent = given(machine, &disk).timeout(Duration::from_secs(4));
    let (probe, stop) = (agent.probe(), agent.action("stop"));
    machine.must("swapoff", &[disk.path()]);
    probe.exits(7);
    stop.exits(0);
}

fn stacked_bind(machine: &Machine) {
    let agent = bind(machine);
    agent.action("start").exits(0);
    machine.must("mount", &["--bind", "/srv/source", DATA]);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
}

fn stacked_tmpfs(machine: &Machine) {
    let agent = tmpfs(machine, DATA);
    agent.action("start").exits(0);
    machine.must("mount", &["-t", "tmpfs", "ours", DATA]);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
}

fn hidden(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let agent = given(machine, &disk).set("directory", "/srv/app/data");
    agent.action("start").exits(0);
    let user = user(machine, "cd /srv/app/data; touch /tmp/ready; exec sleep 100");
    machine.must("mount", &["-t", "tmpfs", "cover", "/srv/app"]);
    let why = "on /srv/app hides";
    agent.action("monitor").exits(1).because("cover").because(why);
    agent.probe().exits(1).because(why);
    agent.action("stop").exits(0);
    assert!(!mounted(machine, disk.path()));
    assert!(mounted(machine, "cover"));
    assert!(!user.wait(Duration::from_secs(5)).timed_out);
    agent.action("monitor").exits(7);
}

fn hidden_bind(machine: &Machine) {
    let agent = bind(machine).set("directory", "/srv/app/data");
    agent.action("start").exits(0);
    machine.must("mount", &["-t", "tmpfs", "cover", "/srv/app"]);
    agent.action("monitor").exits(1).because("on /srv/app hides");
    agent.action("stop").exits(0);
    assert!(machine.mounts_at("/srv/app/data").is_empty());
    assert!(mounted(machine, "cover"));
}

fn hidden_deep(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let agent = given(machine, &disk).set("directory", "/srv/app/data");
    agent.action("start").exits(0);
    machine.must("mkdir", &["/srv/app/data/a"]);
    machine.must("mount", &["-t", "tmpfs", "inner", "/srv/app/data/a"]);
    machine.must("mount", &["-t", "tmpfs", "cover", "/srv/app"]);
    agent.action("stop").exits(0);
    assert!(!mounted(machine, disk.path()) && !mounted(machine, "inner"));
    assert!(mounted(machine, "cover"));
}

fn subvolumes(machine: &Machine) {
    let disk = machine.formatted("btrfs");
    machine.must("mount", &[disk.path(), "/mnt"]);
    machine.must("btrfs", &["subvolume", "create", "/mnt/a"]);
    machine.must("btrfs", &["subvolume", "create", "/mnt/b"]);
    machine.must("umount", &["/mnt"]);
    let agent = |name: &str| {
        let parameters = [("device", disk.path()), ("fstype", "btrfs")];
        let agent = machine.agent("Filesystem").with(&parameters).instance(name);
        agent
            .set("directory", format!("/srv/{name}"))
            .set("options", format!("subvol={name}"))
            .set("run_fsck", "no")
    };
    let (a, b) = (agent("a"), agent("b"));
    a.action("start").exits(0);
    b.probe().exits(7);
    b.action("start").exits(0);
    let mut of_b = user(machine, "cd /srv/b; touch /tmp/ready; exec sleep 100");
    a.action("stop").exits(0);
    assert!(machine.mounts_at("/srv/a").is_empty());
    assert_eq!(machine.mounts_at("/srv/b").len(), 1);
    assert!(!of_b.has_ended());
    a.action("monitor").exits(7);
    b.action("monitor").exits(0);
    b.action("stop").exits(0);
    assert!(!mounted(machine, disk.path()));
}

fn other_resource_below(machine: &Machine) {
    let (_disk, agent) = started(machine);
    let inner = tmpfs(machine, "/srv/data/inner").instance("inner");
    inner.action("start").exits(0);
    agent.action("stop").exits(1).because("resource inner").because("/srv/data/inner");
    agent.action("monitor").exits(0);
    inner.action("monitor").exits(0);
    inner.action("stop").exits(0);
    agent.action("stop").exits(0);
}

fn other_resource_binds(machine: &Machine) {
    let (_disk, agent) = started(machine);
    std::fs::create_dir("/srv/data/www").unwrap();
    let parameters = [("device", "/srv/data/www"), ("directory", "/srv/www"), ("options", "bind")];
    let web = machine.agent("Filesystem").with(&parameters).set("fstype", "none").instance("web");
    web.action("start").exits(0);
    agent.action("stop").exits(1).because("resource web").because("/srv/www");
    web.action("monitor").exits(0);
    web.action("stop").exits(0);
    agent.action("stop").exits(0);
}

fn one_device_twice(machine: &Machine) {
    let (disk, agent) = started(machine);
    let twin = given(machine, &disk).set("directory", "/srv/twin").instance("twin");
    twin.probe().exits(7);
    twin.action("start").exits(0);
    twin.action("stop").exits(0);
    assert_eq!(machine.mounts_at(DATA).len(), 1);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(!mounted(machine, disk.path()));
}

fn wrong_type_is_said(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let agent = given(machine, &disk).set("fstype", "xfs");
    agent.action("start").exits(1).because("carries ext4, not xfs");
    // ext4 itself mounts what was made as ext2.
    agent.set("fstype", "ext4").set("options", "nonsense").action("start").exits(1);
}

fn empty_disk_is_said(machine: &Machine) {
    let disk = machine.disk(16);
    given(machine, &disk).action("start").exits(1).because("carries nothing that blkid knows");
}

fn twin_is_said(machine: &Machine) {
    let first = machine.image("/srv/images/first", "xfs");
    machine.must("cp", &["--sparse=always", "/srv/images/first", "/srv/images/copy"]);
    let (first, copy) = (machine.attach(first), machine.attach("/srv/images/copy".into()));
    machine.must("mount", &[first.path(), "/mnt"]);
    let agent = given(machine, &copy).set("fstype", "xfs");
    agent.action("start").exits(1).because(first.path()).because("has the same UUID");
    agent.set("options", "nouuid").action("start").exits(0);
}

fn protection_is_said(machine: &Machine) {
    let image = machine.image("/srv/images/disk", "ext4");
    let disk = machine.write_protected(image);
    let agent = given(machine, &disk);
    agent.action("start").exits(1).because("write-protected");
    agent.set("options", "ro").action("start").exits(0);
}

fn missing_image_is_said(machine: &Machine) {
    let parameters = [("device", "/srv/none"), ("directory", DATA), ("options", "loop")];
    let agent = machine.agent("Filesystem").with(&parameters).set("fstype", "ext4");
    agent.action("start").exits(5).because("the image /srv/none is not there");
}

fn image_is_known(machine: &Machine) {
    machine.image("/srv/images/disk", "ext4");
    machine.must("mkdir", &["/srv/pool", DATA]);
    machine.must("mount", &["--bind", "/srv/images", "/srv/pool"]);
    machine.must("mount", &["-o", "loop", "/srv/images/disk", DATA]);
    let parameters = [("device", "/srv/pool/disk"), ("directory", DATA), ("options", "loop")];
    let agent = machine.agent("Filesystem").with(&parameters).set("fstype", "ext4");
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
    // A copy of it is another one.
    machine.must("cp", &["/srv/images/disk", "/srv/images/copy"]);
    machine.must("mount", &["-o", "loop", "/srv/images/copy", DATA]);
    agent.action("monitor").exits(1).because("wanted /srv/pool/disk");
    agent.action("stop").exits(0);
    assert_eq!(machine.mounts_at(DATA).len(), 1);
}

fn automount_is_named(machine: &Machine) {
    let _silent = machine.automount_point(DATA);
    assert_eq!(machine.mounts_at(DATA).len(), 1);
    let disk = machine.formatted("ext4");
    let agent = given(machine, &disk);
    let why = "is an automount point of systemd-1";
    agent.action("monitor").exits(1).because(why);
    agent.action("start").exits(1).because(why);
}
