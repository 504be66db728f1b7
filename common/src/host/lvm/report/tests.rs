use super::*;

const GROUPS: &str = include_str!("../../../../../tests/data/lvm/vgs.json");
const VOLUMES: &str = include_str!("../../../../../tests/data/lvm/lvs.json");

#[test]
fn a_group_with_two_disks_is_one_group() {
    let groups = parse_groups(GROUPS).unwrap();
    assert_eq!(groups.len(), 1);
    let group = &groups[0];
    assert_eq!((group.name.as_str(), group.disks.len(), group.missing), ("vg-a", 2, 0));
    assert_eq!(group.disks[1].path, std::path::Path::new("/dev/ram1"));
    assert_eq!(group.autoactivation, Some(true));
    assert!(group.owner.is_empty() && group.lock_type.is_empty() && group.tags.is_empty());
}

#[test]
fn what_is_skipped_on_activation_is_not_wanted() {
    let volumes = parse_volumes(VOLUMES).unwrap();
    let wanted: Vec<_> = volumes.iter().filter(|v| v.is_wanted).map(|v| v.name.as_str()).collect();
    assert_eq!(wanted, ["idle", "plain", "pool", "pool2", "raid", "snap", "thin"]);
    assert!(volumes.iter().any(|volume| volume.name == "tsnap" && !volume.is_wanted));
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
    assert!(parse_groups(&GROUPS[..GROUPS.len() / 2]).is_err());
}

#[test]
fn a_disk_that_is_seen_twice_is_told_twice() {
    // As lvm 2.03.16 said of a group on DRBD that was not kept off the disk beneath.
    let stderr = "  WARNING: Not using device /dev/ram2 for PV D4tMby-vPSR.\n  \
        WARNING: PV D4tMby-vPSR prefers device /dev/drbd0 because device size is correct.\n";
    let disk = Disk {
        path: "/dev/drbd0".into(),
        id: "D4tMby-vPSR".into(),
        missing: false,
        duplicate: false,
    };
    let mut group = Group { disks: vec![disk], ..Group::default() };
    add_duplicates(&mut group, stderr);
    assert_eq!(group.disks.len(), 2);
    assert!(group.disks[1].duplicate && group.disks[1].path == std::path::Path::new("/dev/ram2"));
    let mut other = Group::default();
    add_duplicates(&mut other, stderr);
    assert!(other.disks.is_empty());
}
