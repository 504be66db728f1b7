//! How often lvm is called: each time it reads all disks that it may see.

use super::*;

/// The distribution's files, with these settings besides.
fn configured(machine: Machine, local: &str) -> Machine {
    machine.file("/etc/lvm/lvm.conf", "config {\n\t# checks = 1\n}\n");
    machine.file("/etc/lvm/lvmlocal.conf", local);
    machine.file("/proc/sys/kernel/hostname", "node1\n");
    machine
}

/// What lvm was called for in a start that it does nothing about.
fn called(machine: &Machine, agent: &Lvm) -> Vec<String> {
    let view = machine.view();
    let plan = agent.start(&view, &agent.observe(&view).unwrap()).unwrap();
    let _ = carry_out(&view, plan);
    let log = machine.log();
    log.lines().map(|line| line.split(" --foreign").next().unwrap().to_owned()).collect()
}

#[test]
fn a_start_reads_the_disks_once_and_changes_them_once() {
    let machine = configured(Machine::new().lvm("vgchange", ""), "");
    assert_eq!(called(&machine, &agent(&[])), ["fullreport", "vgchange -ay vg"]);
}

#[test]
fn a_group_of_this_machine_takes_no_more_than_one_of_nobody() {
    let ours = Machine::new().lvm("fullreport", &group(r#","vg_systemid":"node1""#));
    let machine = configured(ours.lvm("vgchange", ""), "global { system_id_source = \"uname\" }\n");
    for mode in [&[("vg_access_mode", "system_id")][..], &[]] {
        std::fs::write(machine.path("/log"), "").unwrap();
        assert_eq!(called(&machine, &agent(mode)), ["fullreport", "vgchange -ay vg"]);
    }
}

#[test]
fn a_tag_is_put_on_a_group_as_it_was_seen() {
    let local = "activation { volume_list = [ \"root\" ] }\n";
    let machine = configured(Machine::new().lvm("vgchange", ""), local);
    let called = called(&machine, &agent(&[("vg_access_mode", "tagging")]));
    let [report, tag, activate] = &called[..] else { panic!("{called:?}") };
    assert_eq!((report.as_str(), tag.as_str()), ("fullreport", "vgchange --addtag pacemaker vg"));
    assert!(activate.starts_with("vgchange -ay --config"), "{activate}");
}

#[test]
fn where_another_instance_was_at_work_the_group_is_looked_at_again() {
    let local = "activation { volume_list = [ \"root\" ] }\n";
    let machine = configured(Machine::new().lvm("vgchange", ""), local);
    let (view, tagging) = (machine.view(), agent(&[("vg_access_mode", "tagging")]));
    let plan = tagging.start(&view, &tagging.observe(&view).unwrap()).unwrap();
    let lock = std::fs::File::create(machine.path("/run/resource-agents/LVM-vg.shared")).unwrap();
    lock.lock().unwrap();
    let machine = machine.lvm("fullreport", &group(r#","vg_tags":"node2""#));
    let refused = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(lock);
        });
        carry_out(&view, plan).unwrap_err().to_string()
    });
    assert!(refused.contains("carries the tag node2"), "{refused}");
    assert!(!machine.log().contains("addtag"), "{}", machine.log());
}

#[test]
fn what_the_files_leave_open_lvm_is_asked() {
    let machine = configured(Machine::new().lvm("vgchange", ""), "tags { hosttags = 1 }\n");
    let called = called(&machine, &agent(&[]));
    assert!(called[0].starts_with("lvmconfig ") && called[1] == "fullreport", "{called:?}");
}
