//! `iSCSITarget` and `iSCSILogicalUnit` on tgt: a real tgtd, and an initiator
//! that logs in.

use crate::harness::{Call, Case, Cases, Disk, Machine, TGT, Trial};

const IQN: &str = "iqn.2001-04.com.example:storage";
const USER: &str = "someone";
const SECRET: &str = "1234567890ab";
const WHO: &str = "someone%1234567890ab@";

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, run: fn(&Machine)| {
        cases.push(Case::new(format!("iSCSI on tgt: {name}"), run).needs(TGT));
    };
    add("a target with its disk is served, watched, and gone", life);
    add("who does not know the password is not let in, and it is in no log", chap);
    add("a target whose name begins so is another one", prefix);
    add("a daemon that is killed has stopped all, and one that cannot be asked has not", daemon);
    add("a disk is known by its place and what it shows, another's is left alone", places);
    add("what a start was cut short of is completed, or removed by a stop", cut_short);
    add("a user of two targets is forgotten with the last", users);
    add("a disk whose path is gone is served on, and taken down", path_gone);
    add("a disk that is in use, or that clients would take for another, is refused", in_use);
    add("initiators are admitted by name, address and network", admitted);
    add("what tgtd cannot be told is refused by name, with code 6", wrong);
    add("a monitor starts no program", spare);
    cases.killed_with(TGT, "iSCSITarget on tgt:", |machine| {
        machine.tgtd();
        Trial::of(target(machine), is_open).times(40)
    });
    cases.killed_with(TGT, "iSCSILogicalUnit on tgt:", |machine| {
        machine.tgtd();
        target(machine).action("start").exits(0);
        let disk = machine.disk(4);
        let agent = lun(machine, &disk);
        machine.keep(disk);
        Trial::of(agent, is_shown).times(40)
    });
}

fn is_open(machine: &Machine) -> bool {
    let told = shown(machine);
    told.contains(&format!("{IQN}\n")) && told.contains("State: ready") && told.contains("  ALL\n")
}

fn is_shown(machine: &Machine) -> bool {
    shown(machine).contains("LUN: 1\n            Type: disk\n            SCSI ID: test")
}

fn target(machine: &Machine) -> Call {
    machine.agent("iSCSITarget").with(&[("implementation", "tgt"), ("iqn", IQN)])
}

fn guarded(machine: &Machine) -> Call {
    target(machine).with(&[("incoming_username", USER), ("incoming_password", SECRET)])
}

fn lun(machine: &Machine, disk: &Disk) -> Call {
    lun_of(machine, disk.path())
}

fn lun_of(machine: &Machine, path: &str) -> Call {
    machine.agent("iSCSILogicalUnit").with(&[
        ("implementation", "tgt"),
        ("target_iqn", IQN),
        ("lun", "1"),
        ("path", path),
    ])
}

fn shown(machine: &Machine) -> String {
    machine.tgtadm(&["--op", "show", "--mode", "target"])
}

fn life(machine: &Machine) {
    let disk = machine.disk(4);
    let (target, lun) = (target(machine), lun(machine, &disk));
    for agent in [&target, &lun] {
        agent.probe().exits(7);
        agent.action("stop").exits(0);
    }
    target.action("start").exits(1).because("systemctl enable --now tgt");
    machine.tgtd();
    target.probe().exits(7);
    lun.action("start").exits(1).because("its iSCSITarget has to be started first");
    target.action("start").exits(0);
    target.action("monitor").exits(0);
    lun.probe().exits(7);
    lun.action("start").exits(0);
    lun.action("monitor").exits(0);
    // By the initiator's own login.
    let page = machine.inquiry("", IQN, 1, Some("128")).expect("it is let in");
    assert!(page.contains("098f6bcd"), "the first half of the MD5 sum of `test`: {page}");
    let before = shown(machine);
    for agent in [&target, &lun] {
        agent.action("start").exits(0);
    }
    assert_eq!(shown(machine), before, "a start of what runs changes nothing");
    let state = target.heartbeat(&[IQN, "status"]);
    assert_eq!(state.stdout, "stopped\n", "without implementation it is LIO's: {state:?}");
    lun.action("stop").exits(0);
    lun.action("monitor").exits(7);
    target.action("monitor").exits(0);
    assert_eq!(machine.inquiry("", IQN, 1, None), None);
    target.action("stop").exits(0);
    target.action("monitor").exits(7);
    assert_eq!(shown(machine), "");
}

fn chap(machine: &Machine) {
    let trace = "/tmp/trace";
    machine.must("mkdir", &["-m", "700", trace]);
    machine.tgtd();
    let agent = guarded(machine).set("trace_ra", "1").set("trace_dir", trace);
    let agent = agent.with(&[("outgoing_username", "us"), ("outgoing_password", "ba0987654321")]);
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    assert!(shown(machine).contains("us (outgoing)"), "{}", shown(machine));
    assert_eq!(machine.inquiry("", IQN, 0, None), None);
    assert_eq!(machine.inquiry("someone%ba0987654321@", IQN, 0, None), None);
    assert!(machine.inquiry(WHO, IQN, 0, None).is_some());
    // Somebody lets everyone in.
    machine.tgtadm(&["--mode", "account", "--op", "unbind", "--tid", "1", "--user", USER]);
    agent.action("monitor").exits(1).because("does not ask for the password of someone");
    agent.action("start").exits(0);
    assert!(machine.inquiry(WHO, IQN, 0, None).is_some());
    target(machine).action("monitor").exits(1).because("the password of someone, which is not set");
    agent.action("stop").exits(0);
    let early = agent.clone().set("additional_parameters", "state=offline MaxConnections=4");
    early.action("start").exits(0);
    assert!(machine.inquiry(WHO, IQN, 0, None).is_some());
    agent.action("stop").exits(0);
    assert_eq!(machine.tgtadm(&["--mode", "account", "--op", "show"]), "");
    for place in [trace, "/var/log/tgtd"] {
        let said = machine.run("grep", &["-r", SECRET, place]);
        assert_eq!(said.stdout, "", "{place}");
    }
}

fn prefix(machine: &Machine) {
    machine.tgtd();
    let longer = format!("{IQN}.more");
    machine.tgtadm(&["--op", "new", "--mode", "target", "--tid", "7", "--targetname", &longer]);
    let agent = target(machine);
    agent.action("monitor").exits(7);
    agent.action("stop").exits(0);
    agent
        .clone()
        .set("tid", "7")
        .action("start")
        .exits(1)
        .because("for iqn.2001-04.com.example:storage.more");
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
    assert!(shown(machine).starts_with(&format!("Target 7: {longer}\n")), "{}", shown(machine));
}

fn daemon(machine: &Machine) {
    machine.tgtd();
    let disk = machine.disk(4);
    let (target, lun) = (target(machine), lun(machine, &disk));
    target.action("start").exits(0);
    lun.action("start").exits(0);
    // It serves on, and nobody can ask it.
    machine.must("mv", &["/run/tgtd/socket.0", "/run/tgtd/away"]);
    for agent in [&target, &lun] {
        agent.action("monitor").exits(1).because("does not listen at /var/run/tgtd/socket.0");
        agent.clone().timeout(std::time::Duration::from_secs(4)).action("stop").exits(1);
    }
    machine.must("mv", &["/run/tgtd/socket.0.lock", "/run/tgtd/lock"]);
    target.action("monitor").exits(1).because("tgtd runs (process ");
    machine.must("mv", &["/run/tgtd/lock", "/run/tgtd/socket.0.lock"]);
    machine.must("mv", &["/run/tgtd/away", "/run/tgtd/socket.0"]);
    target.action("monitor").exits(0);
    machine.kill_tgtd();
    for agent in [&target, &lun] {
        agent.action("monitor").exits(7);
        agent.action("stop").exits(0);
    }
    machine.must("rm", &["-r", "/run/tgtd"]);
    target.action("monitor").exits(7);
    machine.tgtd();
    target.action("start").exits(0);
    lun.action("start").exits(0);
}

fn places(machine: &Machine) {
    machine.tgtd();
    let (disk, other) = (machine.disk(4), machine.disk(4));
    target(machine).action("start").exits(0);
    let first = lun(machine, &disk);
    first.action("start").exits(0);
    // The same path under another number.
    let second = first.clone().set("lun", "5").instance("second");
    second.action("monitor").exits(7);
    // Another path under the same number.
    let third = lun(machine, &other).instance("third");
    third.probe().exits(7);
    third.action("start").exits(1).because("of somebody else's");
    third.action("stop").exits(0);
    first.action("monitor").exits(0);
    first.action("stop").exits(0);
}

fn cut_short(machine: &Machine) {
    machine.tgtd();
    let (target, disk) = (target(machine), machine.disk(4));
    let make = |words: &[&str]| {
        machine.tgtadm(&["--op", "new", "--mode", "target", "--tid", "3", "--targetname", IQN]);
        if !words.is_empty() {
            machine.tgtadm(words);
        }
    };
    make(&[]);
    target.action("monitor").exits(1).because("does not admit ALL");
    target.action("stop").exits(0);
    assert_eq!(shown(machine), "");
    make(&[
        "--op", "update", "--mode", "target", "--tid", "3", "--name", "state", "--value", "offline",
    ]);
    target.action("monitor").exits(1).because("is closed");
    target.action("start").exits(0);
    target.action("monitor").exits(0);
    let new = ["--op", "new", "--mode", "logicalunit", "--tid", "3", "--lun", "1"];
    machine.tgtadm(&[&new[..], &["--backing-store", disk.path()]].concat());
    let lun = lun(machine, &disk);
    lun.action("monitor").exits(1).because("tells clients the serial number");
    lun.action("start").exits(0);
    lun.action("monitor").exits(0);
    machine.tgtadm(&["--op", "delete", "--mode", "logicalunit", "--tid", "3", "--lun", "1"]);
    machine.tgtadm(&[&new[..], &["--backing-store", disk.path()]].concat());
    lun.action("stop").exits(0);
    assert!(!shown(machine).contains(disk.path()));
}

fn users(machine: &Machine) {
    machine.tgtd();
    let one = guarded(machine);
    let other = guarded(machine).set("iqn", "iqn.2001-04.com.example:other").instance("other");
    one.action("start").exits(0);
    other.action("start").exits(0);
    one.action("stop").exits(0);
    assert!(machine.inquiry(WHO, "iqn.2001-04.com.example:other", 0, None).is_some());
    other.action("stop").exits(0);
    assert_eq!(machine.tgtadm(&["--mode", "account", "--op", "show"]), "");
}

fn path_gone(machine: &Machine) {
    machine.tgtd();
    machine.must("truncate", &["-s", "4M", "/srv/disk"]);
    target(machine).action("start").exits(0);
    let lun = lun_of(machine, "/srv/disk");
    lun.action("start").exits(0);
    machine.must("rm", &["/srv/disk"]);
    lun.action("monitor").exits(0);
    assert!(machine.inquiry("", IQN, 1, None).is_some());
    lun.action("stop").exits(0);
    lun.action("monitor").exits(7);
    lun.action("start").exits(5).because("/srv/disk");
}

fn in_use(machine: &Machine) {
    machine.tgtd();
    target(machine).action("start").exits(0);
    let disk = machine.formatted("ext4");
    machine.must("mkdir", &["-p", "/srv/data"]);
    machine.must("mount", &[disk.path(), "/srv/data"]);
    let agent = lun(machine, &disk);
    agent.action("start").exits(1).because("is in use: it is mounted");
    agent.action("monitor").exits(7);
    machine.must("umount", &["/srv/data"]);
    agent.action("start").exits(0);
    let other = machine.disk(4);
    let same = lun(machine, &other).set("lun", "2");
    same.action("start").exits(6).because("set another scsi_sn and scsi_id");
    same.set("scsi_sn", "abcd").set("scsi_id", "abcd").action("start").exits(0);
}

fn admitted(machine: &Machine) {
    machine.tgtd();
    let agent = target(machine).set("allowed_initiators", "10.9.0.0/16 iqn.1993-08.a:x");
    agent.action("start").exits(0);
    assert_eq!(machine.inquiry("", IQN, 0, None), None);
    let more = target(machine).set("allowed_initiators", "127.0.0.0/8");
    more.action("monitor").exits(1).because("does not admit 127.0.0.0/8");
    more.action("start").exits(0);
    more.action("monitor").exits(0);
    assert!(machine.inquiry("", IQN, 0, None).is_some());
    assert!(!shown(machine).contains("iqn.1993-08.a:x"));
}

fn wrong(machine: &Machine) {
    for (name, value, told) in [
        ("tid", "0", "tid"),
        ("allowed_initiators", "client", "allowed_initiators"),
        ("iser_portals", "10.0.0.1", "iser_portals"),
        ("incoming_username", "a", "incoming_password"),
    ] {
        target(machine).set(name, value).action("start").exits(6).because(told);
    }
    let comma = guarded(machine).set("incoming_username", "a,password=b");
    comma.action("start").exits(6).because("incoming_username");
    for (name, value, told) in [
        ("lun", "0", "lun is 0"),
        ("path", "/srv/a,b", "path"),
        ("scsi_sn", "0123456789012345678901234567890123456", "scsi_sn"),
        ("tgt_device_type", "drum", "tgt_device_type"),
        ("tgt_bsopts", "a,path=/etc/shadow", "tgt_bsopts"),
    ] {
        lun_of(machine, "/srv/disk").set(name, value).action("start").exits(6).because(told);
    }
    // The other way round: what LIO cannot be told.
    let lio = machine.agent("iSCSITarget").set("iqn", IQN).set("allowed_initiators", "10.0.0.0/8");
    lio.action("start").exits(6).because("implementation=tgt");
}

fn spare(machine: &Machine) {
    machine.tgtd();
    let disk = machine.disk(4);
    target(machine).action("start").exits(0);
    let agent = lun(machine, &disk);
    agent.action("start").exits(0);
    let line = format!(
        "OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE=test OCF_RESKEY_implementation=tgt \
         OCF_RESKEY_target_iqn={IQN} OCF_RESKEY_lun=1 OCF_RESKEY_path={} \
         OCF_RESKEY_CRM_meta_interval=10000 strace -f -e trace=process,network -o /run/trace {} monitor",
        disk.path(),
        agent.path().display()
    );
    machine.must("sh", &["-c", &line]);
    let trace = std::fs::read_to_string("/run/trace").expect("strace has written it");
    let count = |part: &str| trace.lines().filter(|line| line.contains(part)).count();
    assert_eq!(
        (count("execve("), count("fork") + count("clone"), count("connect(")),
        (1, 0, 1),
        "{trace}"
    );
}
