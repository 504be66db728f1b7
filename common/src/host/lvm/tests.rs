use super::*;
use crate::host::block::Number;

const BACKUP: &str = include_str!("../../../../tests/data/lvm/backup");

fn volumes(devices: &[(&str, char, &str, u32)]) -> Vec<Volume> {
    let id = |c: char| c.to_string().repeat(ID);
    let mut volumes = Volumes::default();
    for (name, volume, layer, minor) in devices {
        let uuid = format!("{MARK}{}{}{layer}", id('G'), id(*volume));
        let (_, name) = split(name).unwrap();
        volumes.add(&name, &uuid, Number { major: 254, minor: *minor });
    }
    volumes.sorted()
}

#[test]
fn a_dash_in_a_name_is_not_the_one_between_names() {
    fn names(device: &str) -> (String, String) {
        let (group, name) = split(device).unwrap();
        (group.into_owned(), name.into_owned())
    }
    assert_eq!(names("vg-lv"), ("vg".into(), "lv".into()));
    assert_eq!(names("vg--a-da--sh"), ("vg-a".into(), "da-sh".into()));
    assert_eq!(names("vg--a-plain-real"), ("vg-a".into(), "plain".into()));
    assert_eq!(names("a---b"), ("a-".into(), "b".into()));
    assert_eq!(split("luks"), None);
    assert_eq!(names(&format!("{}-{}", escaped("-x-"), "y")), ("-x-".into(), "y".into()));
}

#[test]
fn layers_belong_to_the_volume_above_them() {
    let found = volumes(&[
        ("vg-plain-real", 'p', "-real", 2),
        ("vg-plain", 'p', "", 0),
        ("vg-snap-cow", 's', "-cow", 3),
        ("vg-snap", 's', "", 4),
    ]);
    let names: Vec<_> = found.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["plain", "snap"]);
    let minors: Vec<_> = found[0].devices.iter().map(|device| device.minor).collect();
    assert_eq!(minors, [0, 2], "the one that people use comes first");
    assert_eq!(
        (found[0].id.as_str(), found[0].group.as_str()),
        (&*"p".repeat(ID), &*"G".repeat(ID))
    );
}

#[test]
fn volumes_of_one_name_and_two_identities_are_two() {
    let found = volumes(&[("vg-lv", 'b', "", 1), ("vg-lv", 'a', "", 2)]);
    assert_eq!(found.iter().map(|volume| volume.devices[0].minor).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn what_is_not_lvms_is_no_volume() {
    let mut volumes = Volumes::default();
    let number = Number { major: 254, minor: 0 };
    for uuid in ["CRYPT-LUKS2-0123", "LVM-short", &format!("LVM-{}", "\u{e9}".repeat(ID))] {
        volumes.add("lv", uuid, number);
    }
    assert_eq!(volumes.sorted(), []);
}

#[test]
fn parts_of_volumes_are_known_by_their_names() {
    assert!(is_hidden("raid_rimage_0") && is_hidden("pool_tdata") && is_hidden("pvmove0"));
    assert!(!is_hidden("web_files") && !is_hidden("pool"));
}

#[test]
fn a_name_that_lvm_would_take_for_an_option_is_none() {
    assert!(is_name("my_vg") && is_name("a-b.c+d"));
    for bad in ["", "-ay", ".", "..", "a/b", "a b", "@tag", &"x".repeat(128)] {
        assert!(!is_name(bad), "{bad}");
    }
    assert!(is_tag("pacemaker") && is_tag("site:a/1") && !is_tag("@x") && !is_tag("a,b"));
}

#[test]
fn the_copy_of_the_metadata_tells_what_the_group_is_made_of() {
    let copy = metadata::parse(BACKUP, "vg-a").unwrap();
    assert_eq!(copy.id, "ozULf2Gm860tVZiqq0w0tOGtrRjB8IMi");
    assert_eq!(copy.disks, [std::path::Path::new("/dev/ram0"), std::path::Path::new("/dev/ram1")]);
    assert!(copy.volumes.iter().any(|volume| volume.name == "tsnap"));
}

#[test]
fn a_copy_that_is_cut_off_or_of_another_group_is_none() {
    assert_eq!(metadata::parse(BACKUP, "other"), None);
    assert_eq!(metadata::parse("vg {\n list = [\n 1,\n", "vg"), None);
    assert_eq!(metadata::parse("no metadata at all", "vg"), None);
}
