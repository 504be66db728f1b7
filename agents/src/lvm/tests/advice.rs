//! What `explain` says beforehand.

use super::*;

/// A group that is active on DRBD, whose own disk is /dev/sdb.
fn on_drbd() -> Machine {
    let machine = Machine::new().disk("147:0").active("web", 0);
    machine.file("/sys/dev/block/254:0/slaves/sda/dev", "147:0\n");
    std::fs::remove_dir_all(machine.path("/sys/dev/block/147:0")).unwrap();
    machine.file("/sys/devices/virtual/block/drbd0/dev", "147:0\n");
    symlink("../../devices/virtual/block/drbd0", machine.path("/sys/dev/block/147:0")).unwrap();
    machine.lvm("lvmconfig", "event_activation=0\n")
}

fn warned(machine: &Machine, agent: &Lvm) -> String {
    let view = machine.view();
    agent.advise(&view, &agent.observe(&view).unwrap()).join("\n")
}

#[test]
fn the_disk_beneath_drbd_is_warned_of() {
    let machine = on_drbd();
    let text = warned(&machine, &agent(&[]));
    assert!(text.contains("LVM looks also at the disk beneath /dev/drbd0"), "{text}");
    let filtered = "global_filter=[\"a|^/dev/drbd|\",\"r|.*|\"]\n";
    let text = warned(&machine.lvm("lvmconfig", filtered), &agent(&[]));
    assert!(!text.contains("beneath"), "{text}");
}

/// Where DRBD says which disk is its own, lvm is asked whether it sees that
/// one: a filter that rejects others is none.
#[test]
fn a_filter_that_rejects_another_disk_is_none() {
    let machine = on_drbd().lvm("lvmconfig", "global_filter=[\"r|/dev/sdz|\"]\n");
    machine.file("/proc/self/comm", "x").file("/proc/drbd", "version: 9.2.12 (api:2)\n");
    let events = "exists resource name:r role:Primary suspended:no\nexists device name:r volume:0 minor:0 backing_dev:/dev/sdb disk:UpToDate\nexists -\n";
    machine.program("drbdsetup", &format!("#!/bin/sh\nprintf '{events}'\n"));
    let seen = |disk: &str| format!(r#"{{"report":[{{"pv":[{{"pv_name":"{disk}"}}]}}]}}"#);
    let machine = machine.lvm("pvs", &seen("/dev/sdb"));
    assert!(warned(&machine, &agent(&[])).contains("LVM looks also at the disk beneath"));
    let machine = machine.lvm("pvs", &seen("/dev/drbd0"));
    assert!(!warned(&machine, &agent(&[])).contains("beneath"));
}

#[test]
fn what_heartbeat_activates_too_early_is_told_of() {
    let machine = on_drbd();
    machine.file("/proc/self/comm", "x").file("/proc/drbd", "version: 9.2.12 (api:2)\n");
    let events = "exists resource name:r role:Primary suspended:no\nexists device name:r volume:0 minor:0 disk:UpToDate\nexists -\n";
    machine.program("drbdsetup", &format!("#!/bin/sh\nprintf '{events}'\n"));
    machine.file("/etc/ha.d/haresources", "node1 LVM::vg drbddisk::r\n");
    let text = warned(&machine, &agent(&[]));
    assert!(text.contains("has LVM::vg before drbddisk::r"), "{text}");
    machine.file("/etc/ha.d/haresources", "node1 drbddisk::r LVM::vg\n");
    assert!(!warned(&machine, &agent(&[])).contains("haresources"));
}

#[test]
fn the_order_with_drbd_is_told() {
    let text = warned(&on_drbd(), &agent(&[]));
    assert!(text.contains("vg lies on /dev/drbd0, and comes after its promotion"), "{text}");
    let text = warned(&Machine::new().active("web", 0), &agent(&[]));
    assert!(!text.contains("promotion"), "{text}");
}

#[test]
fn a_group_on_drbd_that_is_not_promoted_says_so() {
    let machine = Machine::new().lvm("fullreport", r#"{"report":[{"vg":[]}]}"#);
    machine.file("/sys/dev/block/147:0/ro", "1\n");
    let copy = format!(
        "vg {{\n id = \"{GROUP}\"\n physical_volumes {{\n  pv0 {{\n   device = \"/dev/drbd0\"\n  }}\n }}\n}}\n"
    );
    machine.file("/etc/lvm/backup/vg", &copy);
    let refusal = machine.refusal(&agent(&[]));
    // A machine of files has no device nodes: that it is not there is as much
    // as can be said of it.
    assert!(refusal.contains("it was last on /dev/drbd0"), "{refusal}");
}

#[test]
fn autoactivation_is_told_of_where_nothing_guards_the_group() {
    let machine = || Machine::new().active("web", 0);
    assert!(warned(&machine(), &agent(&[])).contains("LVM activates vg by itself"));
    let owned = machine().lvm("fullreport", &group(r#","vg_systemid":"node1""#));
    let text = warned(&owned, &agent(&[("vg_access_mode", "system_id")]));
    assert!(!text.contains("by itself"), "{text}");
    let off = machine().lvm("fullreport", &group(r#","vg_autoactivation":"""#));
    assert!(!warned(&off, &agent(&[])).contains("by itself"));
}

#[test]
fn multipath_is_told_of() {
    let machine = Machine::new().active("web", 0);
    std::fs::remove_dir_all(machine.path("/sys/dev/block/8:0")).unwrap();
    symlink("../../block/sda", machine.path("/sys/dev/block/8:0")).unwrap();
    machine
        .file("/sys/class/block/sda/holders/dm-7", "")
        .file("/sys/class/block/dm-7/dm/name", "mpathb\n")
        .file("/sys/class/block/dm-7/dm/uuid", "mpath-3600\n");
    let text = warned(&machine, &agent(&[]));
    assert!(text.contains("multipath has taken /dev/sda as mpathb"), "{text}");
}
