//! `iSCSITarget` and `iSCSILogicalUnit`, as far as that needs no LIO, which is
//! one for the whole machine: the rest is in the lab.

mod tgt;

use crate::harness::{Call, Case, Cases, Machine};

const IQN: &str = "iqn.2001-04.com.example:not-there";
const SECRET: &str = "1234567890ab";

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, run: fn(&Machine)| cases.push(Case::new(name, run));
    add("iSCSITarget: what is not there is stopped, in every dialect", no_target);
    add("iSCSILogicalUnit: what is not there is stopped, in every dialect", no_disk);
    add("iSCSITarget: what is wrong is refused by its name, with code 6", wrong_target);
    add("iSCSILogicalUnit: what is wrong is refused by its name, with code 6", wrong_disk);
    add("iSCSITarget: a password is in nothing that is said", secret);
    add("iSCSILogicalUnit: without its target a start fails, and says what comes first", orphan);
    add(
        "iSCSITarget: hundreds of LUNs are taken apart at once, and one that stays is named",
        apart,
    );
    add("iSCSILogicalUnit: a stop needs neither the target nor the device", gone);
    add("iSCSITarget: a module that takes too long to load is not one that is missing", slow);
    add("iscsitarget: behind a link that leads nowhere is nothing, and a start says so", dangling);
    tgt::cases(cases);
}

fn target(machine: &Machine) -> Call {
    machine.agent("iSCSITarget").set("iqn", IQN)
}

fn disk(machine: &Machine, path: &str) -> Call {
    machine.agent("iSCSILogicalUnit").with(&[("target_iqn", IQN), ("lun", "1"), ("path", path)])
}

fn no_target(machine: &Machine) {
    let agent = target(machine);
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    agent.heartbeat(&[IQN, "status"]).exits(3);
    agent.action("stop").exits(0);
}

fn no_disk(machine: &Machine) {
    let agent = disk(machine, "/dev/not-there");
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    agent.heartbeat(&[IQN, "1", "/dev/not-there", "status"]).exits(3);
    agent.action("stop").exits(0);
}

fn wrong_target(machine: &Machine) {
    for (name, value, told) in [
        ("implementation", "scst", "implementation=lio-t"),
        ("implementation", "iet", "implementation=lio-t"),
        ("implementation", "other", "implementation"),
        ("portals", "storage.example.com:3260", "portals"),
        ("portals", "10.0.0.9 0.0.0.0", "portals"),
        ("allowed_initiators", "client", "allowed_initiators"),
        ("incoming_username", "someone", "incoming_password"),
        ("incoming_password", SECRET, "incoming_username"),
        ("additional_parameters", "../enable=0", "additional_parameters"),
        ("iqn", "storage", "iqn"),
    ] {
        let agent = target(machine).set(name, value);
        agent.action("validate-all").exits(6).because(told);
        agent.action("start").exits(6).because(told);
        agent.action("stop").exits(0);
    }
}

fn wrong_disk(machine: &Machine) {
    for (name, value, told) in [
        ("implementation", "scst", "implementation=lio-t"),
        ("lun", "16384", "lun"),
        ("lun", "one", "lun"),
        ("block_size", "520", "block_size"),
        ("write_cache", "2", "write_cache"),
        ("liot_bstype", "ramdisk", "liot_bstype"),
        ("scst_bstype", "vdisk_fileio", "SCST"),
        ("scsi_sn", "\u{e4}", "scsi_sn"),
        ("additional_parameters", "emulate_write_cache=1", "write_cache"),
    ] {
        let agent = disk(machine, "/dev/not-there").set(name, value);
        agent.action("validate-all").exits(6).because(told);
        agent.action("start").exits(6).because(told);
        agent.action("stop").exits(0);
    }
}

fn secret(machine: &Machine) {
    let trace = "/tmp/trace";
    machine.must("mkdir", &["-m", "700", trace]);
    let agent = target(machine)
        .with(&[("incoming_username", "someone"), ("incoming_password", SECRET)])
        .with(&[("outgoing_username", "target"), ("outgoing_password", SECRET)])
        .set("trace_ra", "1")
        .set("trace_dir", trace);
    // Both are the same, which is refused, so that nothing is made.
    let refused = agent.action("start").exits(6).because("outgoing_password");
    assert!(!refused.stderr.contains(SECRET) && !refused.stdout.contains(SECRET));
    let traced = machine.must("grep", &["-r", "", trace]);
    assert!(traced.contains("incoming_password"), "{traced}");
    assert!(!traced.contains(SECRET), "{traced}");
}

fn orphan(machine: &Machine) {
    let disk_of = machine.disk(4);
    let agent = disk(machine, disk_of.path());
    agent.action("start").exits(1).because("its iSCSITarget has to be started first");
    agent.probe().exits(7);
}

fn gone(machine: &Machine) {
    for path in ["/dev/not-there", "/not/there/file"] {
        disk(machine, path).set("liot_bstype", "fileio").action("stop").exits(0);
    }
}

/// By the child that a stop has, on a directory that is nobody's.
fn apart(machine: &Machine) {
    let agent = machine.agent("iSCSITarget");
    let place = "/tmp/lun";
    let clear = || {
        let words = ["--child", "configfs", "clear", place, "lun_", "20000", "/tmp/lock"];
        machine.run(&agent.path().to_string_lossy(), &words)
    };
    for number in 0..300 {
        let lun = format!("{place}/lun_{number}");
        std::fs::create_dir_all(&lun).expect("own overlay");
        std::os::unix::fs::symlink("/gone", format!("{lun}/disk")).expect("own overlay");
    }
    machine.must("mkdir", &[&format!("{place}/lun_7/below"), &format!("{place}/alua")]);
    let refused = clear();
    assert_eq!(refused.code, Some(39), "{refused:?}");
    assert!(refused.stderr.contains("lun_7: "), "{refused:?}");
    assert_eq!(machine.must("ls", &[place]), "alua\nlun_7\n");
    machine.must("rmdir", &[&format!("{place}/lun_7/below")]);
    assert_eq!(clear().code, Some(0));
    assert_eq!(machine.must("ls", &[place]), "alua\n");
}

/// On a node that has not got the file system that the file lies on.
fn dangling(machine: &Machine) {
    machine.must("ln", &["-s", "/srv/data/iscsi/ietd.conf", "/etc/ietd.conf"]);
    let agent = machine.agent("iscsitarget");
    let is_stopped = || {
        agent.probe().exits(7);
        agent.action("monitor").exits(7);
        assert_eq!(agent.heartbeat(&["status"]).exits(3).stdout, "stopped\n");
        agent.action("stop").exits(0);
        agent.heartbeat(&["stop"]).exits(0);
    };
    is_stopped();
    let reason = "/etc/ietd.conf is not there: is the file system mounted on which it lies?";
    agent.action("start").exits(5).because(reason);
    let told = agent.heartbeat(&["start"]).exits(5);
    assert!(told.stderr.contains(reason), "{told:?}");
    agent.clone().depth("10").action("validate-all").exits(5).because(reason);
    is_stopped();
    assert!(!std::path::Path::new("/srv/data/iscsi").exists());
}

/// Code 5 would keep the resource from this node until somebody clears it.
fn slow(machine: &Machine) {
    machine.script("modprobe", "#!/bin/sh\nexec sleep 60\n");
    let agent = target(machine).timeout(std::time::Duration::from_secs(4));
    agent.action("start").exits(1).because("modprobe");
    machine.script("modprobe", "#!/bin/sh\necho 'not found in directory' >&2\nexit 1\n");
    agent.action("start").exits(5).because("this kernel has no target_core_mod");
    // It is there, and the kernel does not take it now.
    machine.script(
        "modprobe",
        "#!/bin/sh\n[ \"$1\" = --dry-run ] && exit\necho 'Cannot allocate memory' >&2\nexit 1\n",
    );
    let why = "cannot load the module target_core_mod: Cannot allocate memory";
    agent.action("start").exits(1).because(why);
}
