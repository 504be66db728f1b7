use super::*;
use crate::host::clock::Deadline;
use std::time::Duration;

/// Of a group with every kind of volume, by lvm 2.03.16.
const REPORT: &str = include_str!("../../../../../tests/data/lvm/fullreport.json");

#[test]
fn a_group_has_its_disks_and_its_volumes() {
    let groups = parse_groups(REPORT).unwrap();
    assert_eq!(groups.len(), 1);
    let group = &groups[0];
    assert_eq!((group.name.as_str(), group.disks.len(), group.missing().count()), ("vgt", 2, 0));
    assert_eq!(group.disks[1].path, std::path::Path::new("/dev/vdc"));
    assert_eq!(group.disks[1].number, Some(Number { major: 254, minor: 32 }));
    assert_eq!(group.autoactivation, Some(true));
    assert!(group.owner.is_empty() && group.lock_type.is_empty() && group.tags.is_empty());
}

fn names(is_meant: fn(&Volume) -> bool) -> Vec<String> {
    let groups = parse_groups(REPORT).unwrap();
    let meant = groups[0].volumes.iter().filter(|volume| is_meant(volume));
    meant.map(|volume| volume.name.clone()).collect()
}

#[test]
fn what_is_skipped_on_activation_is_not_wanted() {
    let wanted = ["cached", "cached2", "plain", "pool", "pool2", "raid", "snap", "thin"];
    assert_eq!(names(|volume| volume.is_wanted), wanted);
    assert_eq!(names(|volume| !volume.is_wanted), ["tsnap"]);
}

#[test]
fn a_pool_has_no_name_in_dev() {
    assert_eq!(names(|volume| !volume.is_named), ["pool", "pool2"]);
}

#[test]
fn a_disk_that_is_flagged_is_missing_though_it_is_to_be_seen() {
    // As lvm 2.03.16 told of one that was away while the group was changed.
    let text = r#"{"report":[{"vg":[{"vg_name":"vgm"}],"pv":[
        {"pv_name":"/dev/loop2", "pv_uuid":"DBBedv", "pv_missing":"missing", "pv_major":"7", "pv_minor":"2"},
        {"pv_name":"[unknown]", "pv_uuid":"WgKsoH", "pv_missing":"missing", "pv_major":"0", "pv_minor":"0"}
    ]}]}"#;
    let groups = parse_groups(text).unwrap();
    let numbers: Vec<_> = groups[0].missing().map(|disk| disk.number).collect();
    assert_eq!(numbers, [Some(Number { major: 7, minor: 2 }), None]);
}

#[test]
fn the_reason_is_what_went_wrong_and_not_what_came_of_it() {
    let stderr =
        "  WARNING: a warning.\n  Volume group \"x\" not found\n  Cannot process volume group x\n";
    let output = Output::failed(5, stderr);
    assert_eq!(why(&output), "Volume group \"x\" not found");
}

#[test]
fn a_report_that_was_cut_off_is_no_report() {
    assert!(parse_groups(&REPORT[..REPORT.len() / 2]).is_err());
}

#[test]
fn a_disk_that_is_seen_twice_is_told_twice() {
    // As lvm 2.03.16 said of a group on DRBD that was not kept off the disk beneath.
    let stderr = "  WARNING: Not using device /dev/ram2 for PV D4tMby-vPSR.\n  \
        WARNING: PV D4tMby-vPSR prefers device /dev/drbd0 because device size is correct.\n";
    let disk = Disk { path: "/dev/drbd0".into(), id: "D4tMby-vPSR".into(), ..Disk::default() };
    let group = Group { disks: vec![disk], ..Group::default() };
    let dir = tempfile::tempdir().unwrap();
    let view = View::below(dir.path(), Deadline::after(Duration::from_secs(5)));
    let group = with_duplicates(&view, group, stderr);
    assert_eq!(group.disks.len(), 2);
    assert!(group.disks[1].duplicate && group.disks[1].path == std::path::Path::new("/dev/ram2"));
    assert!(with_duplicates(&view, Group::default(), stderr).disks.is_empty());
}

#[test]
fn a_warning_within_the_report_is_heard_like_one_on_stderr() {
    // As lvm 2.03.31 said of a group on DRBD; its stderr was empty.
    let text = r#"{"report":[{"vg":[{"vg_name":"vg"}],
        "pv":[{"pv_name":"/dev/drbd0","pv_uuid":"M7XZ5k","pv_missing":"","pv_major":"147","pv_minor":"0"}]}],
        "log":[{"log_seq_num":"1","log_type":"warn","log_object_name":"",
        "log_message":"WARNING: Not using device /dev/vdb for PV M7XZ5k.","log_errno":"0"}]}"#;
    let mut output = Output::failed(0, "");
    output.stdout = text.into();
    let output = with_log(output);
    let dir = tempfile::tempdir().unwrap();
    let view = View::below(dir.path(), Deadline::after(Duration::from_secs(5)));
    let group = parse_groups(&output.stdout).unwrap().remove(0);
    let group = with_duplicates(&view, group, &output.stderr);
    assert_eq!(group.disks.len(), 2);
    assert!(group.disks[1].duplicate && group.disks[1].path == std::path::Path::new("/dev/vdb"));
}
