//! Groups that a lock manager keeps: lvmlockd.

use super::*;

fn machine() -> Machine {
    let machine = Machine::new()
        .lvm("fullreport", &group(r#","vg_lock_type":"dlm""#))
        .lvm("lvmconfig", "use_lvmlockd=1\n");
    machine.file("/run/lvm/lvmlockd.socket", "");
    machine
}

fn locked(more: &[(&'static str, &str)]) -> Lvm {
    agent(&[&[("vg_access_mode", "lvmlockd")], more].concat())
}

/// Plans a start and does it; what lvm does is written down.
fn started(machine: &Machine, agent: &Lvm) -> Result<()> {
    let view = machine.view();
    carry_out(&view, agent.start(&view, &agent.observe(&view)?)?)
}

#[test]
fn a_monitor_asks_neither_lvm_nor_the_lock_manager() {
    let machine = machine().active("web", 0);
    assert_eq!(machine.status(&locked(&[])), Status::Running(Role::Started));
    assert_eq!(machine.log(), "");
}

#[test]
fn the_lock_space_is_started_before_the_volumes() {
    let machine = machine().lvm("vgchange", "");
    let refused = started(&machine, &locked(&[])).unwrap_err();
    assert!(refused.to_string().contains("claims to have activated"), "{refused:#}");
    let log = machine.log();
    let (lock, activate) = (log.find("vgchange --lockstart vg"), log.find("vgchange -aey vg"));
    assert!(lock.is_some() && activate > lock, "{log}");
}

#[test]
fn several_nodes_may_have_it_if_asked_for() {
    let machine = machine().lvm("vgchange", "");
    let _ = started(&machine, &locked(&[("activation_mode", "shared")]));
    assert!(machine.log().contains("vgchange -asy vg"), "{}", machine.log());
}

#[test]
fn a_lock_space_that_is_being_started_is_waited_for() {
    let machine = machine();
    let log = machine.path("/log");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{log}\n\
         case \"$1 $2\" in\n\
         'vgchange --lockstart') [ $(grep -c lockstart {log}) -ge 3 ] && exit 0; echo '  VG vg start failed: lock start in progress' >&2; exit 5;;\n\
         vgchange*) exit 0;;\n\
         *) cat {answers}/$1;;\n\
         esac\n",
        log = log.display(),
        answers = machine.path("/answers/x").parent().unwrap().display()
    );
    machine.program("lvm", &script);
    let _ = started(&machine, &locked(&[]));
    let log = machine.log();
    assert_eq!(log.matches("--lockstart").count(), 3, "{log}");
    assert!(log.contains("vgchange -aey vg"), "{log}");
}

#[test]
fn what_other_nodes_have_active_is_left_alone() {
    let machine = machine().lvm("vgchange", "");
    wanted(&machine, &["web"]);
    let view = machine.view();
    let agent = locked(&[]);
    let plan = agent.stop(&view, &agent.observe(&view).unwrap()).unwrap();
    carry_out(&view, plan).unwrap();
    assert_eq!(machine.log(), "vgchange --lockstop vg\n", "nothing is active here");
}

#[test]
fn the_lock_space_stays_while_another_volume_needs_it() {
    let machine = machine().active("mail", 1).lvm("vgchange", "");
    machine.file("/run/resource-agents/LVM-vg-web.wanted", "lvm 1\n");
    let mode = std::fs::Permissions::from_mode(0o600);
    let record = machine.path("/run/resource-agents/LVM-vg-web.wanted");
    std::fs::set_permissions(record, mode).unwrap();
    let view = machine.view();
    let agent = locked(&[("lvname", "web")]);
    let plan = agent.stop(&view, &agent.observe(&view).unwrap()).unwrap();
    carry_out(&view, plan).unwrap();
    assert!(!machine.log().contains("lockstop"), "{}", machine.log());
}

#[test]
fn without_the_daemon_nothing_is_tried() {
    let machine = machine();
    std::fs::remove_file(machine.path("/run/lvm/lvmlockd.socket")).unwrap();
    assert!(machine.refusal(&locked(&[])).contains("lvmlockd is not running"));
    let machine = machine.lvm("lvmconfig", "use_lvmlockd=0\n");
    assert!(machine.refusal(&locked(&[])).contains("use_lvmlockd is not set"));
}

#[test]
fn a_lock_that_may_be_an_orphan_is_told_of() {
    let machine = machine();
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n\
         'vgchange -aey') echo '  LV locked by other host: vg/web' >&2; exit 5;;\n\
         vgchange*) exit 0;;\n\
         *) cat {}/$1;;\n\
         esac\n",
        machine.path("/answers/x").parent().unwrap().display()
    );
    machine.program("lvm", &script);
    let refused = started(&machine, &locked(&[])).unwrap_err().to_string();
    assert!(refused.contains("locked by other host") && refused.contains("orphan"), "{refused}");
}
