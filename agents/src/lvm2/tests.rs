#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use common::testing::{Files, words};
use ocf_meta::{Given, Reading};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

common::machine_of_files!(Machine);

impl Machine {
    fn new() -> Self {
        let machine = Self(Files::new());
        machine.file("/proc/misc", "236 device-mapper\n");
        machine.file("/sys/class/misc/device-mapper/dev", "10:236\n");
        machine.file("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        machine.file("/proc/swaps", "Filename Type Size Used Priority\n");
        machine
    }

    /// An active volume `GROUP-NAME` on the disk of this number.
    fn active(self, device: &str, minor: u32, disk: &str) -> Self {
        let (group, name) = device.split_once('-').unwrap();
        self.file(&format!("/sys/dev/block/{disk}/dev"), disk);
        let uuid = format!("LVM-{group:x<32}{name:x<32}");
        self.mapped(device, &uuid, minor, &[("disk", disk)]);
        self
    }

    fn taken(&self, groups: &str) {
        self.record("lvm2.groups", groups);
    }

    fn record(&self, name: &str, text: &str) {
        let path = format!("/run/resource-agents/{name}");
        self.file(&path, text);
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(&path), mode).unwrap();
    }

    fn look(&self, agent: &Lvm2) -> (State, Status) {
        let state = agent.observe(&self.view()).unwrap();
        let status = agent.status(&state);
        (state, status)
    }

    fn stop(&self, agent: &Lvm2) -> Vec<String> {
        let view = self.view();
        words(&agent.stop(&view, &agent.observe(&view).unwrap()).unwrap())
    }

    fn view(&self) -> View {
        self.view_for(Duration::from_secs(2))
    }
}

fn agent(groups: &str) -> Lvm2 {
    let mut given = Given::default();
    given.set("groups", groups);
    let params = Lvm2Params::read(&mut Reading::strict(&given)).unwrap();
    let mut request = Request::plain("lvm2");
    request.probe = true;
    Lvm2::new(params, &request).unwrap()
}

#[test]
fn a_group_on_drbd_is_ours_and_one_on_a_disk_is_not() {
    let machine = Machine::new().active("data-web", 0, "147:0").active("local-home", 1, "8:2");
    let (_, status) = machine.look(&agent(""));
    assert_eq!(status, Status::Running(Role::Started));
    assert_eq!(
        machine.stop(&agent("")),
        ["deactivate volume group data", "forget which groups are ours"]
    );
    let machine = Machine::new().active("local-home", 1, "8:2");
    assert!(machine.look(&agent("")).1.is_stopped());
    assert!(machine.stop(&agent("")).is_empty());
}

#[test]
fn a_group_with_one_leg_off_drbd_is_not_ours() {
    let machine = Machine::new().active("data-web", 0, "147:0");
    machine.file("/sys/dev/block/254:0/slaves/other/dev", "8:3");
    assert!(machine.look(&agent("")).1.is_stopped());
}

#[test]
fn what_lies_deeper_than_one_layer_is_found() {
    let machine = Machine::new().active("data-web", 0, "254:7").active("luks-x", 7, "147:0");
    machine.file("/sys/block/dm-7/dm/uuid", "CRYPT-1");
    assert_eq!(machine.look(&agent("")).1, Status::Running(Role::Started));
}

#[test]
fn the_group_of_the_root_is_left_alone_even_by_name() {
    let machine = Machine::new().active("local-root", 1, "8:2");
    machine.file("/proc/self/mountinfo", "22 1 254:1 / / rw - ext4 /dev/mapper/local-root rw\n");
    let (state, status) = machine.look(&agent("local"));
    assert_eq!((state.needed, status.is_stopped()), (vec!["local".to_owned()], true));
    assert!(machine.stop(&agent("local")).is_empty());
}

#[test]
fn a_group_beneath_the_root_is_left_alone() {
    let machine = Machine::new().active("local-root", 1, "8:2").active("luks-x", 2, "254:1");
    machine.file("/sys/block/dm-2/dm/uuid", "CRYPT-1");
    machine.file("/proc/self/mountinfo", "22 1 254:2 / /usr rw - ext4 /dev/mapper/x rw\n");
    assert_eq!(machine.look(&agent("local")).0.needed, ["local"]);
}

#[test]
fn a_group_with_data_is_not_the_nodes_own() {
    let machine = Machine::new().active("local-home", 1, "8:2");
    machine.file("/proc/self/mountinfo", "22 1 254:1 / /srv/data rw - ext4 /dev/mapper/x rw\n");
    assert!(machine.look(&agent("local")).0.needed.is_empty());
}

#[test]
fn a_group_that_was_taken_is_missed() {
    let machine = Machine::new().active("data-web", 0, "147:0");
    machine.taken("data\nmore\n");
    let (_, status) = machine.look(&agent(""));
    assert_eq!(status.to_string(), "failed: volume group more is not active");
}

#[test]
fn a_group_that_was_renamed_is_stopped_under_the_name_it_has_now() {
    let machine = Machine::new().active("new-web", 0, "147:0");
    machine.taken("data\n");
    let group = format!("{:x<32}", "data");
    let record = format!("lvm 1\ngroup {group}\nvolume {:x<32} web\n", "web");
    machine.record("LVM-data.wanted", &record);
    for home in ["/sys/block/dm-0", "/sys/dev/block/254:0"] {
        machine.file(&format!("{home}/dm/uuid"), &format!("LVM-{group}{:x<32}", "web"));
    }
    let (state, status) = machine.look(&agent(""));
    assert_eq!(status.to_string(), "failed: volume group data is active under the name new now");
    assert_eq!(state.groups.len(), 1, "it is not a second group: {state:?}");
    assert_eq!(machine.stop(&agent(""))[0], "deactivate volume group new");
}

#[test]
fn a_wrong_list_does_not_stand_for_every_group() {
    let mut given = Given::default();
    given.set("groups", "vg,/dev/vg");
    let read = Lvm2Params::read(&mut Reading::lenient(&given));
    assert_eq!(read.unwrap_err().param, "groups");
}
