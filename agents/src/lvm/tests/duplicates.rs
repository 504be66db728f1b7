//! Groups that LVM sees on DRBD and on the disk beneath it.

use super::*;
use common::host::block::Number;
use common::host::lvm::report;

/// A group that lvm has found on the one and would not use on the other.
fn twice(used: (&str, &str), besides: &str) -> Machine {
    let machine = Machine::new();
    machine.file("/proc/self/comm", "x").file("/proc/drbd", "version: 9.2.12 (api:2)\n");
    machine.file("/sys/devices/virtual/block/drbd0/dev", "147:0\n");
    symlink("../../devices/virtual/block/drbd0", machine.path("/sys/dev/block/147:0")).unwrap();
    let events = "exists resource name:r role:Primary suspended:no\n\
                  exists device name:r volume:0 minor:0 backing_dev:/dev/sdb disk:UpToDate\nexists -\n";
    machine.program("drbdsetup", &format!("#!/bin/sh\nprintf '{events}'\n"));
    let machine = machine
        .lvm("fullreport", &group_of("", &[used], &["web"]))
        .lvm("shown", &group_of("", &[("147:0", "/dev/drbd0")], &["web"]))
        .lvm("vgchange", "");
    let (answers, log) = (machine.path("/answers/x"), machine.path("/log"));
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{log}\ncd {answers}\n\
         case \"$*\" in fullreport*filter*|fullreport*--devices*) cat shown; exit;; esac\n\
         echo '  WARNING: Not using device {besides} for PV PV-{path}.' >&2\n\
         cat $1 2>/dev/null || exit 5\n",
        log = log.display(),
        answers = answers.parent().unwrap().display(),
        path = used.1,
    );
    machine.program("lvm", &script);
    machine
}

/// Plans a start and does it; nothing becomes active in a machine of files.
fn started(machine: &Machine, agent: &Lvm) -> String {
    let view = machine.view();
    let plan = agent.start(&view, &agent.observe(&view).unwrap()).unwrap();
    carry_out(&view, plan).unwrap_err().to_string()
}

const SHOWN: &str = r#"--config devices/filter=["a|^/dev/drbd0$|","r|.*|"]"#;

#[test]
fn a_group_on_drbd_is_activated_with_lvm_kept_off_the_disk_beneath() {
    let machine = twice(("147:0", "/dev/drbd0"), "/dev/sdb");
    let refused = started(&machine, &agent(&[]));
    assert!(refused.contains("claims to have activated"), "{refused}");
    let log = machine.log();
    assert!(log.contains(&format!("vgchange -ay {SHOWN} vg")), "{log}");
}

#[test]
fn lvm_may_prefer_the_wrong_one() {
    let machine = twice(("147:0", "/dev/drbd0"), "/dev/sdb");
    let place = |major: u32, minor, path: &str, duplicate| report::Disk {
        path: path.into(),
        number: Some(Number { major, minor }),
        id: "PV".into(),
        missing: false,
        duplicate,
    };
    let disks = vec![place(8, 16, "/dev/sdb", false), place(147, 0, "/dev/drbd0", true)];
    let group = report::Group { disks, ..report::Group::default() };
    let places = duplicate::places(&machine.view(), &group).unwrap();
    assert_eq!(places, [Some(Number { major: 147, minor: 0 })]);
}

#[test]
fn every_change_of_such_a_group_is_made_that_way() {
    let machine = twice(("147:0", "/dev/drbd0"), "/dev/sdb");
    machine.file("/answers/lvmconfig", "volume_list=[\"root\"]\n");
    let refused = started(&machine, &agent(&[("vg_access_mode", "tagging")]));
    assert!(refused.contains("claims to have activated"), "{refused}");
    let log = machine.log();
    assert!(log.contains(&format!("vgchange --addtag pacemaker vg {SHOWN}\n")), "{log}");
    let both = r#"["a|^/dev/drbd0$|","r|.*|"] activation{volume_list=["@pacemaker"]} vg"#;
    assert!(log.contains(both), "{log}");
}

#[test]
fn a_list_of_devices_is_replaced_by_another_list() {
    let machine = twice(("147:0", "/dev/drbd0"), "/dev/sdb");
    machine.file("/answers/lvmconfig", "use_devicesfile=1\n");
    started(&machine, &agent(&[]));
    let log = machine.log();
    assert!(log.contains("vgchange -ay --devices /dev/drbd0 vg"), "{log}");
}

#[test]
fn every_other_duplicate_is_refused() {
    for (used, besides) in
        [(("147:0", "/dev/drbd0"), "/dev/sdc"), (("8:16", "/dev/sdb"), "/dev/sdc")]
    {
        let machine = twice(used, besides);
        let refusal = machine.refusal(&agent(&[]));
        assert!(
            refusal.starts_with(&format!("volume group vg is seen twice, also on {besides}")),
            "{refusal}"
        );
    }
}

#[test]
fn explain_says_what_lvm_is_shown_and_what_to_do() {
    let machine = twice(("147:0", "/dev/drbd0"), "/dev/sdb");
    let (view, agent) = (machine.view(), agent(&[]));
    let text = agent.advise(&view, &agent.observe(&view).unwrap()).join("\n");
    assert!(text.contains("LVM sees vg also on /dev/sdb, the disk beneath /dev/drbd0"), "{text}");
    assert!(text.contains("set global_filter"), "{text}");
}
