//! Groups and volumes that have got another name while they were in use.

use super::*;

fn volume(device: &str, name: &str, minor: u32) -> Machine {
    let machine = Machine::new();
    wanted(&machine, &["web"]);
    machine.mapped(device, &format!("LVM-{GROUP}{}", id(name)), minor, &["8:0"])
}

fn stop(machine: &Machine, agent: &Lvm) -> Vec<String> {
    let view = machine.view();
    words(&agent.stop(&view, &agent.observe(&view).unwrap()).unwrap())
}

#[test]
fn a_group_is_known_by_its_identity() {
    let machine = volume("vg2-web", "web", 0);
    let status = machine.status(&agent(&[]));
    assert_eq!(status.to_string(), "failed: volume group vg is active under the name vg2 now");
    let steps = stop(&machine, &agent(&[]));
    assert_eq!(steps, ["deactivate volume group vg2", "forget what was wanted"]);
    let refusal = machine.refusal(&agent(&[]));
    assert!(refusal.starts_with("volume group vg is active under the name vg2 now"), "{refusal}");
}

#[test]
fn a_group_is_deactivated_under_the_name_it_has_now() {
    let machine = volume("vg2-web", "web", 0);
    let log = machine.path("/log");
    let homes = [machine.path("/sys/block/dm-0"), machine.path("/sys/dev/block/254:0")];
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{}\n[ \"$*\" = 'vgchange -an vg2' ] && rm -r {} {}\n",
        log.display(),
        homes[0].display(),
        homes[1].display()
    );
    machine.program("lvm", &script);
    let view = machine.view();
    let agent = agent(&[]);
    carry_out(&view, agent.stop(&view, &agent.observe(&view).unwrap()).unwrap()).unwrap();
    assert_eq!(machine.log(), "vgchange -an vg2\n");
    assert!(machine.status(&agent).is_stopped());
    assert!(!machine.path("/run/resource-agents/LVM-vg.wanted").exists());
}

#[test]
fn a_tag_is_taken_off_the_group_under_its_present_name() {
    let machine = volume("vg2-web", "web", 0);
    let tagging = agent(&[("vg_access_mode", "tagging")]);
    assert!(
        stop(&machine, &tagging)
            .contains(&"take the tag pacemaker off volume group vg2".to_owned())
    );
}

#[test]
fn a_volume_is_known_by_its_identity() {
    let machine = volume("vg2-page", "web", 0);
    std::fs::rename(
        machine.path("/run/resource-agents/LVM-vg.wanted"),
        machine.path("/run/resource-agents/LVM-vg-web.wanted"),
    )
    .unwrap();
    let one = agent(&[("lvname", "web")]);
    assert_eq!(
        machine.status(&one).to_string(),
        "failed: logical volume vg/web is active under the name vg2/page now"
    );
    assert_eq!(stop(&machine, &one)[0], "deactivate logical volume vg2/page");
}

#[test]
fn a_volume_of_the_group_that_was_renamed_is_still_the_groups() {
    let machine = volume("vg-page", "web", 0);
    assert_eq!(machine.status(&agent(&[])), Status::Running(Role::Started));
}

#[test]
fn without_a_record_a_group_is_known_by_its_name_alone() {
    let machine = volume("vg2-web", "web", 0);
    std::fs::remove_file(machine.path("/run/resource-agents/LVM-vg.wanted")).unwrap();
    assert!(machine.status(&agent(&[])).is_stopped());
}

#[test]
fn with_a_record_that_cannot_be_read_another_group_may_be_it() {
    let machine = volume("vg2-web", "web", 0);
    machine.file("/run/resource-agents/LVM-vg.wanted", "lvm 1\ngroup G");
    let doubt = agent(&[]).observe(&machine.view()).unwrap_err().to_string();
    assert!(doubt.contains("is damaged") && doubt.contains("vg2 is active"), "{doubt}");
    // Under its own name it is found, and the record goes with it.
    let machine = volume("vg-web", "web", 0);
    machine.file("/run/resource-agents/LVM-vg.wanted", "lvm 1\ngroup G");
    assert!(!machine.status(&agent(&[])).is_stopped());
    assert_eq!(
        stop(&machine, &agent(&[])),
        ["deactivate volume group vg", "forget what was wanted"]
    );
    // Where nothing at all is active, nothing of it is.
    let machine = Machine::new();
    machine.file("/run/resource-agents/LVM-vg.wanted", "lvm 1\ngroup G");
    assert!(machine.status(&agent(&[])).is_stopped());
}
