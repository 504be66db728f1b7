use super::message::Message;
use super::*;
use crate::host::clock::Deadline;
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
fn an_answer_that_is_cut_short_anywhere_is_an_error_or_less() {
    for name in ["list-prefix", "deps-raid", "kinds-raid"] {
        let whole = captured(name);
        for length in 0..whole.room() {
            let cut = whole.shortened(length);
            // No panic, and nothing made up.
            assert!(list(&cut).map_or(0, |list| list.len()) <= 18);
            let _ = (cut.table(), cut.kinds(), cut.device());
        }
    }
}

#[test]
fn without_a_device_mapper_there_is_nothing_to_ask() {
    let dir = tempfile::tempdir().unwrap();
    let view = View::below(dir.path(), Deadline::after(Duration::from_secs(5)));
    assert!(Mapper::open(&view).unwrap().is_err());
}

#[test]
fn sysfs_tells_the_same() {
    let dir = tempfile::tempdir().unwrap();
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
    let view = View::below(dir.path(), Deadline::after(Duration::from_secs(5)));
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
