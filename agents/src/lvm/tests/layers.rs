//! What lies between a volume and the disks.

use super::*;
use common::host::block::Number;

fn lvm_uuid(name: &str) -> String {
    format!("LVM-{GROUP}{}", id(name))
}

#[test]
fn a_disk_beneath_encryption_is_watched() {
    let machine = Machine::new().mapped("vg-web", &lvm_uuid("web"), 0, &["254:7"]).mapped(
        "luks",
        "CRYPT-LUKS2-1",
        7,
        &["8:0"],
    );
    assert_eq!(machine.status(&agent(&[])), Status::Running(Role::Started));
    machine.file("/sys/dev/block/254:7/dm/suspended", "1\n");
    let status = machine.status(&agent(&[])).to_string();
    assert!(status.contains("vg/web is suspended"), "{status}");
    machine.file("/sys/dev/block/254:7/dm/suspended", "0\n");
    machine.lose("8:0");
    let status = machine.status(&agent(&[])).to_string();
    assert_eq!(status, "failed: disk 8:0 beneath web is gone or offline");
}

#[test]
fn a_map_of_multipaths_is_there_as_long_as_one_of_its_paths_is() {
    let machine = Machine::new()
        .disk("8:16")
        .mapped("vg-web", &lvm_uuid("web"), 0, &["254:7"])
        .mapped("mpatha", "mpath-3600", 7, &["8:0", "8:16"]);
    assert_eq!(machine.status(&agent(&[])), Status::Running(Role::Started));
    machine.lose("8:0");
    assert_eq!(machine.status(&agent(&[])), Status::Running(Role::Started));
    machine.lose("8:16");
    let status = machine.status(&agent(&[])).to_string();
    assert_eq!(status, "failed: disk 254:7 beneath web is gone or offline");
    // As start would have noted it.
    wanted(&machine, &["web"]);
    let record = "/run/resource-agents/LVM-vg.wanted";
    let text = std::fs::read_to_string(machine.path(record)).unwrap();
    machine.file(record, &text.replace("disk 8:0", "disk 254:7"));
    assert!(matches!(machine.status(&recurring(&[])), Status::Failed(..)));
}

#[test]
fn a_partition_of_a_multipath_map_lies_on_the_map() {
    let machine = Machine::new()
        .mapped("vg-web", &lvm_uuid("web"), 0, &["254:8"])
        .mapped("mpatha-part1", "part1-mpath-3600", 8, &["254:7"])
        .mapped("mpatha", "mpath-3600", 7, &["8:0"]);
    assert_eq!(machine.status(&agent(&[])), Status::Running(Role::Started));
    machine.lose("8:0");
    assert!(matches!(machine.status(&agent(&[])), Status::Failed(..)));
}

#[test]
fn the_disks_beneath_a_thin_volumes_pool_are_watched() {
    let machine = Machine::new()
        .mapped("vg-web", &lvm_uuid("web"), 0, &["254:1"])
        .mapped("vg-pool-tpool", &format!("{}-tpool", lvm_uuid("pool")), 1, &["254:2"])
        .mapped("vg-pool_tdata", &format!("{}-tdata", lvm_uuid("pool_tdata")), 2, &["8:0"]);
    let one = agent(&[("lvname", "web")]);
    assert_eq!(machine.status(&one), Status::Running(Role::Started));
    machine.lose("8:0");
    let status = machine.status(&one).to_string();
    assert_eq!(status, "failed: disk 8:0 beneath web is gone or offline");
}

#[test]
fn a_disk_of_which_nothing_can_be_told_is_not_gone() {
    let machine = Machine::new().active("web", 0);
    // The device-mapper's own devices are found in this machine of files by
    // the same way, so only the disk's is taken away.
    let view = machine.view();
    let mapper = common::host::dm::Mapper::open(&view).unwrap().unwrap();
    let state = agent(&[]).observe(&view).unwrap();
    std::fs::rename(machine.path("/sys/dev/block"), machine.path("/sys/dev/elsewhere")).unwrap();
    let disk = Number { major: 8, minor: 0 };
    assert!(common::host::block::is_there(&view, disk).is_err());
    let seen = underlying::Underlying::look(
        &view,
        &mapper,
        &state.active,
        &[disk],
        underlying::Which::All,
    );
    let seen = seen.unwrap();
    assert!(!seen.is_bereft() && seen.lost.is_empty());
    assert!(seen.doubt.unwrap().starts_with("cannot tell whether disk 8:0 is there"));
}
