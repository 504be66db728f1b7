use super::message::{HEADER, Message};
use super::*;
use crate::host::clock::Deadline;
use std::io;
use std::path::Path;
use std::time::Duration;

/// What the device-mapper 4.47 of a Linux 6.1 has answered.
fn captured(name: &str) -> Message {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/dm").join(name);
    let text: String = std::fs::read_to_string(path).unwrap().split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    Message::captured((0..text.len()).step_by(2).map(byte).collect())
}

fn number(minor: u32) -> Number {
    Number { major: 254, minor }
}

fn list(message: &Message) -> io::Result<Vec<(Number, String, Option<String>)>> {
    let mut list = Vec::new();
    message.list(|number, name, uuid| {
        list.push((number, name.to_owned(), uuid.map(str::to_owned)));
        Ok(())
    })?;
    Ok(list)
}

#[test]
fn a_list_has_names_and_identities() {
    let list = list(&captured("list-prefix")).unwrap();
    assert_eq!(list.len(), 18);
    let (found, name, uuid) = &list[0];
    assert_eq!((*found, name.as_str()), (number(1), "vg--a-idle"));
    let expected = "LVM-ozULf2Gm860tVZiqq0w0tOGtrRjB8IMi6ftakv3vjdhf4nzUY8iGHOuHflUdiw0B";
    assert_eq!(uuid.as_deref(), Some(expected));
    assert!(list.iter().any(|(_, name, uuid)| {
        name == "vg--a-pool" && uuid.as_deref().is_some_and(|uuid| uuid.ends_with("-pool"))
    }));
}

#[test]
fn a_list_that_was_not_asked_for_identities_has_none() {
    let list = list(&captured("list-plain")).unwrap();
    assert_eq!(list.len(), 19);
    assert!(list.iter().all(|(_, _, uuid)| uuid.is_none()));
}

#[test]
fn an_answer_that_did_not_fit_says_so() {
    assert!(captured("list-cut").is_cut());
    assert!(!captured("list-prefix").is_cut());
}

#[test]
fn a_table_tells_what_lies_beneath() {
    let message = captured("deps-raid");
    assert_eq!(message.device().unwrap().name, "vg--a-raid");
    let table = message.table().unwrap();
    assert!(table.live && !table.suspended);
    assert_eq!(table.open, Some(0));
    let mut beneath = table.beneath;
    beneath.sort_unstable();
    assert_eq!(beneath, [number(5), number(6), number(7), number(8)]);
    let suspended = captured("deps-suspended").table().unwrap();
    assert!(suspended.suspended);
}

#[test]
fn kinds_of_segments_are_told() {
    assert_eq!(captured("kinds-raid").kinds().unwrap(), ["raid"]);
    assert_eq!(captured("kinds-plain").kinds().unwrap(), ["snapshot-origin"]);
    assert_eq!(captured("kinds-thin").kinds().unwrap(), ["thin"]);
}

#[test]
fn the_paths_of_a_map_are_told_with_whether_they_work() {
    let path = Number { major: 254, minor: 32 };
    assert_eq!(captured("paths-good").paths().unwrap(), [(path, true)]);
    assert_eq!(captured("paths-failed").paths().unwrap(), [(path, false)]);
    assert!(captured("deps-multipath").table().unwrap().multipath);
    assert!(!captured("deps-raid").table().unwrap().multipath);
}

#[test]
fn an_answer_that_is_cut_short_anywhere_is_an_error() {
    for name in ["list-prefix", "deps-raid", "kinds-raid", "paths-good"] {
        let whole = captured(name);
        for length in 0..whole.room() {
            let cut = whole.shortened(length);
            assert!(list(&cut).is_err(), "{name} of {length} bytes");
            // No panic, and nothing made up.
            let _ = (cut.table(), cut.kinds(), cut.device(), cut.paths());
        }
    }
}

#[test]
fn a_list_that_ends_before_its_last_entry_is_an_error() {
    let whole = captured("list-prefix");
    for end in HEADER + 1..whole.room() {
        // An entry whose begin is there is read whole.
        assert!(list(&whole.ended(end)).map_or(18, |list| list.len()) == 18, "ends at {end}");
    }
    assert!(list(&whole.ended(HEADER + 20)).is_err());
    assert_eq!(list(&whole.ended(HEADER)).unwrap(), []);
}

/// A machine of files with these drivers.
fn machine(drivers: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("proc")).unwrap();
    std::fs::write(dir.path().join("proc/misc"), drivers).unwrap();
    dir
}

fn view(dir: &tempfile::TempDir) -> View {
    View::below(dir.path(), Deadline::after(Duration::from_secs(5)))
}

#[test]
fn without_a_device_mapper_there_is_nothing_to_ask() {
    let dir = machine("237 loop-control\n125 cpu_dma_latency\n");
    assert!(Mapper::open(&view(&dir)).unwrap().is_err());
}

#[test]
fn a_kernel_that_does_not_name_its_drivers_may_have_a_device_mapper() {
    assert!(Mapper::open(&view(&tempfile::tempdir().unwrap())).is_err());
    assert!(Mapper::open(&view(&machine(""))).is_err());
}

#[test]
fn without_sysfs_no_list_is_whole() {
    let dir = machine("236 device-mapper\n");
    let view = view(&dir);
    let mapper = Mapper::open(&view).unwrap().unwrap();
    let all = Prefix { name: "", uuid: "", expected: 0 };
    assert!(mapper.devices(all, |_, _, _| {}).is_err());
    // Something else is mounted there.
    std::fs::create_dir_all(dir.path().join("sys/block")).unwrap();
    assert!(mapper.devices(all, |_, _, _| {}).is_err());
}

#[test]
fn sysfs_tells_the_same() {
    let dir = machine("236 device-mapper\n");
    let file = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    file("sys/class/misc/device-mapper/dev", "10:236\n");
    file("sys/block/loop0/dev", "7:0\n");
    for home in ["sys/block/dm-3", "sys/dev/block/254:3"] {
        file(&format!("{home}/dev"), "254:3\n");
        file(&format!("{home}/size"), "8192\n");
        file(&format!("{home}/dm/name"), "vg-lv\n");
        file(&format!("{home}/dm/uuid"), "LVM-x\n");
        file(&format!("{home}/dm/suspended"), "0\n");
        file(&format!("{home}/slaves/drbd1/dev"), "147:1\n");
    }
    let view = view(&dir);
    let mapper = Mapper::open(&view).unwrap().unwrap();
    let mut devices = Vec::new();
    let prefix = Prefix { name: "vg-", uuid: "LVM-", expected: 0 };
    mapper.devices(prefix, |number, name, _| devices.push((number, name.to_owned()))).unwrap();
    assert_eq!(devices, [(number(3), "vg-lv".to_owned())]);
    let table = mapper.table(number(3)).unwrap().unwrap();
    assert_eq!(table.beneath, [Number { major: 147, minor: 1 }]);
    assert!(table.live && table.open.is_none());
    assert!(mapper.table(number(4)).unwrap().is_none());
}
