//! `LVM` and `lvm2` with the real lvm on groups of their own, on loop devices.
//! Whose a group is stands in its metadata, which needs no device-mapper; what
//! becomes active needs one, and where the kernel has none that is a case of
//! its own.

use crate::harness::{Case, Cases, Disk, Machine};
use std::path::Path;

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, run: fn(&Machine)| cases.push(Case::new(name, run).needs(&["lvm"]));
    add("LVM: what is not there is stopped, in every dialect", absent);
    add("LVM: a name that looks like an option reaches no program", refuses_options);
    add("LVM: a foreign tag is refused and stays", foreign_tag);
    add("LVM: a group of another machine is refused", foreign_owner);
    add("LVM: a group on the disk beneath DRBD is refused", beneath_drbd);
    add("LVM: a volume that is not in the group is an error of this node", no_such_volume);
    add("LVM: a kernel that does not tell its drivers leaves doubt", no_drivers_told);
    add("LVM: a group that is seen twice is refused unless DRBD is why", seen_twice);
    add("LVM: a drbd.conf that cannot be read does not let a group pass", broken_drbd_conf);
    add("LVM: a disk that is back is named, with what makes the group use it", disk_is_back);
    add("LVM: the owner changes with majority_pvs where no disk is missing", majority_not_needed);
    add("LVM: an lvm that cannot do with the majority is named", majority_not_known);
    add("LVM: autoactivation is switched off also where the group is ours", quiet_where_ours);
    add("LVM: a group of the wrong kind is an error of this node", wrong_kind);
    add("lvm2: no group on DRBD is an error of start alone", nothing_on_drbd);
    match has_device_mapper() {
        true => add("LVM: a group comes up, is held, and goes down", whole_cycle),
        false => add("LVM: without a device-mapper start fails and says so", no_device_mapper),
    }
}

fn has_device_mapper() -> bool {
    Path::new("/sys/class/misc/device-mapper").exists()
}

/// A group that no other machine has, so that a device-mapper that is shared
/// with them does no harm; with one volume, not active.
fn group(machine: &Machine) -> (String, Disk) {
    let disk = machine.disk(64);
    let name = format!("sturdy{}", std::process::id());
    let filter = format!("devices {{ global_filter = [ \"a|^{}$|\", \"r|.*|\" ] }}\n", disk.path());
    machine.file("/etc/lvm/lvmlocal.conf", &filter);
    // No zeroes are written, for that would need the volume to be active.
    lvm(machine, &["vgcreate", "-y", "--driverloaded", "n", &name, disk.path()]);
    let volume = ["-an", "-Zn", "-Wn", "-l1", "-n", "web", &name];
    lvm(machine, &[&["lvcreate", "-y", "--driverloaded", "n"][..], &volume].concat());
    (name, disk)
}

fn lvm(machine: &Machine, words: &[&str]) -> String {
    machine.must("lvm", words)
}

fn tags(machine: &Machine, group: &str) -> String {
    lvm(machine, &["vgs", "--noheadings", "-o", "vg_tags", group]).trim().to_owned()
}

fn settings(machine: &Machine, disk: &Disk, more: &str) {
    let filter = format!("devices {{ global_filter = [ \"a|^{}$|\", \"r|.*|\" ] }}\n", disk.path());
    machine.file("/etc/lvm/lvmlocal.conf", &(filter + more));
}

fn absent(machine: &Machine) {
    let lvm = machine.agent("LVM").set("vgname", "no_such_group");
    lvm.probe().exits(7);
    lvm.action("monitor").exits(7);
    lvm.action("stop").exits(0);
    lvm.action("start").exits(1).because("volume group no_such_group is not to be seen");
    let status = lvm.heartbeat(&["no_such_group", "status"]).exits(3);
    assert_eq!(status.stdout, "stopped\n");
    machine.agent("LVM").set("volgrpname", "no_such_group").probe().exits(7);
}

fn refuses_options(machine: &Machine) {
    machine.script("lvm", "#!/bin/sh\ntouch /run/lvm-was-called\n");
    let lvm = machine.agent("LVM").set("vgname", "--config");
    lvm.action("start").exits(6).because("is not the name of a volume group");
    lvm.action("stop").exits(0);
    assert!(!Path::new("/run/lvm-was-called").exists());
}

fn foreign_tag(machine: &Machine) {
    let (name, disk) = group(machine);
    lvm(machine, &["vgchange", "--addtag", "node2", &name]);
    settings(machine, &disk, "activation { volume_list = [ \"elsewhere\" ] }\n");
    let tagging = machine.agent("LVM").set("vgname", &name).set("vg_access_mode", "tagging");
    tagging.action("start").exits(1).because("carries the tag node2, which is not ours");
    tagging.action("stop").exits(0);
    assert_eq!(tags(machine, &name), "node2");
}

fn foreign_owner(machine: &Machine) {
    let (name, disk) = group(machine);
    settings(machine, &disk, "global { system_id_source = \"uname\" }\n");
    lvm(machine, &["vgchange", "-y", "--systemid", "node9", &name]);
    let plain = machine.agent("LVM").set("vgname", &name);
    plain.action("start").exits(1).because("belongs to the machine with the system ID node9");
    let explained = plain.by_hand(&["explain", &name, "--vg_access_mode", "system_id"]).exits(0);
    let wanted = format!("make node1 the owner of volume group {name} in the place of node9");
    assert!(explained.stdout.contains(&wanted), "{explained:?}");
}

fn beneath_drbd(machine: &Machine) {
    let (name, disk) = group(machine);
    let conf =
        format!("resource r7 {{ device /dev/drbd7; on node1 {{ disk {}; }} }}\n", disk.path());
    machine.file("/etc/drbd.conf", &conf);
    let lvm = machine.agent("LVM").set("vgname", &name);
    lvm.action("start").exits(1).because("the disk beneath DRBD's resource r7");
}

fn no_drivers_told(machine: &Machine) {
    machine.file("/run/empty", "");
    machine.must("mount", &["--bind", "/run/empty", "/proc/misc"]);
    let lvm = machine.agent("LVM").set("vgname", "no_such_group");
    let doubt = "cannot tell whether the kernel has a device-mapper";
    lvm.probe().exits(1).because(doubt);
    lvm.action("monitor").exits(1).because(doubt);
    lvm.action("stop").exits(1).because(doubt);
    machine.agent("lvm2").action("stop").exits(1).because(doubt);
    machine.must("umount", &["/proc/misc"]);
    lvm.probe().exits(7);
    lvm.action("stop").exits(0);
}

/// Two disks and lvm's settings for them.
fn two_disks(machine: &Machine) -> (Disk, Disk) {
    let (first, second) = (machine.disk(64), machine.disk(64));
    show(machine, &[first.path(), second.path()], "");
    (first, second)
}

/// Has lvm see these disks and no others.
fn show(machine: &Machine, disks: &[&str], more: &str) {
    let accepted: String = disks.iter().map(|disk| format!("\"a|^{disk}$|\", ")).collect();
    let filter = format!("devices {{ global_filter = [ {accepted}\"r|.*|\" ] }}\n");
    machine.file("/etc/lvm/lvmlocal.conf", &(filter + more));
}

/// A group on both, with a volume on the first.
fn group_on_two(machine: &Machine, disks: &[&str], more: &str) -> String {
    show(machine, disks, more);
    let name = format!("sturdy{}", std::process::id());
    let words = ["vgcreate", "-y", "--driverloaded", "n", &name];
    lvm(machine, &[&words[..], disks].concat());
    let volume = ["-an", "-Zn", "-Wn", "-l1", "-n", "web", &name, disks[0]];
    lvm(machine, &[&["lvcreate", "-y", "--driverloaded", "n"][..], &volume].concat());
    name
}

fn seen_twice(machine: &Machine) {
    let (first, second) = two_disks(machine);
    let name = group_on_two(machine, &[first.path()], "");
    show(machine, &[first.path(), second.path()], "");
    machine
        .must("dd", &[&format!("if={}", first.path()), &format!("of={}", second.path()), "bs=1M"]);
    let agent = machine.agent("LVM").set("vgname", &name);
    let why = "is seen twice";
    let start = agent.action("start").exits(1).because(why);
    assert!(start.exit_reason().is_some_and(|why| why.contains("not a DRBD device")), "{start:?}");
    let explained = agent.by_hand(&["explain", &name]).exits(0);
    assert!(explained.stdout.contains(why), "{explained:?}");
}

fn broken_drbd_conf(machine: &Machine) {
    let (name, _disk) = group(machine);
    machine.file("/etc/drbd.conf", "resource r7 {\n");
    let lvm = machine.agent("LVM").set("vgname", &name);
    lvm.action("start").exits(1).because("lies beneath DRBD");
    lvm.action("stop").exits(0);
}

fn disk_is_back(machine: &Machine) {
    let (first, second) = two_disks(machine);
    let name = group_on_two(machine, &[first.path(), second.path()], "");
    // Without anything on it lvm would use the disk again by itself.
    let more = ["-an", "-Zn", "-Wn", "-l1", "-n", "mail", &name, second.path()];
    lvm(machine, &[&["lvcreate", "-y", "--driverloaded", "n"][..], &more].concat());
    let agent = machine.agent("LVM").set("vgname", &name);
    show(machine, &[first.path()], "");
    agent.action("start").exits(1).because("misses 1 of its 2 disks");
    lvm(machine, &["vgchange", "--driverloaded", "n", "--addtag", "changed", &name]);
    show(machine, &[first.path(), second.path()], "");
    let id = lvm(machine, &["pvs", "--noheadings", "-o", "pv_uuid", second.path()]);
    let start = agent.action("start").exits(1).because("is back");
    let why = start.exit_reason().unwrap_or_default();
    let advice = format!("lvm vgextend --restoremissing {name} {}", second.path());
    assert!(why.contains(id.trim()) && why.contains(&advice), "{why}");
    lvm(machine, &["vgextend", "--driverloaded", "n", "--restoremissing", &name, second.path()]);
    let start = agent.action("start");
    assert!(!start.exit_reason().is_some_and(|why| why.contains("is back")), "{start:?}");
}

const OWNED: &str = "global { system_id_source = \"uname\" }\n";

fn owner(machine: &Machine, group: &str) -> String {
    lvm(machine, &["vgs", "--foreign", "--noheadings", "-o", "vg_systemid", group]).trim().into()
}

fn majority_not_needed(machine: &Machine) {
    let (first, _second) = two_disks(machine);
    let name = group_on_two(machine, &[first.path()], OWNED);
    lvm(machine, &["vgchange", "--driverloaded", "n", "-y", "--systemid", "node9", &name]);
    let agent = machine.agent("LVM").set("vgname", &name).set("majority_pvs", "true");
    // What becomes of the volumes is another case's.
    let start = agent.set("vg_access_mode", "system_id").action("start");
    assert_eq!(owner(machine, &name), "node1", "{start:?}");
}

fn majority_not_known(machine: &Machine) {
    let (first, second) = two_disks(machine);
    let name = group_on_two(machine, &[first.path(), second.path()], OWNED);
    lvm(machine, &["vgchange", "--driverloaded", "n", "-y", "--systemid", "node9", &name]);
    show(machine, &[first.path()], OWNED);
    if machine.run("lvm", &["vgchange", "--help"]).stdout.contains("--majoritypvs") {
        return;
    }
    let agent = machine.agent("LVM").set("vgname", &name).set("majority_pvs", "true");
    let agent = agent.set("vg_access_mode", "system_id");
    agent.action("start").exits(1).because("does not know --majoritypvs");
    assert_eq!(owner(machine, &name), "node9");
}

fn quiet_where_ours(machine: &Machine) {
    let (first, _second) = two_disks(machine);
    let name = group_on_two(machine, &[first.path()], OWNED);
    let ask = ["vgs", "--noheadings", "-o", "vg_systemid,vg_autoactivation", &name];
    assert_eq!(lvm(machine, &ask).split_whitespace().collect::<Vec<_>>(), ["node1", "enabled"]);
    let agent = machine.agent("LVM").set("vgname", &name).set("vg_access_mode", "system_id");
    let start = agent.action("start");
    assert_eq!(lvm(machine, &ask).split_whitespace().collect::<Vec<_>>(), ["node1"], "{start:?}");
}

fn wrong_kind(machine: &Machine) {
    let (name, disk) = group(machine);
    let more = "global { system_id_source = \"uname\" }\nactivation { volume_list = [ \"x\" ] }\n";
    settings(machine, &disk, more);
    lvm(machine, &["vgchange", "--driverloaded", "n", "-y", "--systemid", "node1", &name]);
    let tagging = machine.agent("LVM").set("vgname", &name).set("vg_access_mode", "tagging");
    tagging.action("start").exits(2).because("has an owner by system ID");
}

fn no_such_volume(machine: &Machine) {
    let (name, _disk) = group(machine);
    let lvm = machine.agent("LVM").set("vgname", &name).set("lvname", "mail");
    lvm.action("start").exits(2).because("there is no logical volume mail");
    lvm.action("stop").exits(0);
}

fn nothing_on_drbd(machine: &Machine) {
    let (_name, _disk) = group(machine);
    let lvm2 = machine.agent("lvm2");
    lvm2.action("start").exits(1).because("is DRBD promoted here");
    lvm2.action("stop").exits(0);
    assert_eq!(lvm2.heartbeat(&["status"]).exits(3).stdout, "stopped\n");
}

fn no_device_mapper(machine: &Machine) {
    let (name, _disk) = group(machine);
    let lvm = machine.agent("LVM").set("vgname", &name);
    let start = lvm.action("start").exits(1);
    assert!(
        start.exit_reason().is_some_and(|why| why.contains("cannot activate web")),
        "{start:?}"
    );
    lvm.action("monitor").exits(7);
    lvm.action("stop").exits(0);
}

fn whole_cycle(machine: &Machine) {
    let (name, _disk) = group(machine);
    let lvm = machine.agent("LVM").set("vgname", &name);
    let mapped = || machine.run("dmsetup", &["info", &format!("{name}-web")]).code == Some(0);
    lvm.action("start").exits(0);
    assert!(mapped());
    lvm.action("monitor").exits(0);
    lvm.clone().depth("10").action("monitor").exits(0);
    let holder = format!("exec sleep 1000 </dev/mapper/{name}-web & echo $!");
    let pid = machine.must("sh", &["-c", &holder]);
    let short = machine.agent("LVM").set("vgname", &name).meta("timeout", "4000");
    short.action("stop").exits(1).because("process sleep");
    machine.must("kill", &[pid.trim()]);
    lvm.action("stop").exits(0);
    assert!(!mapped());
    lvm.probe().exits(7);
}
