//! A machine of files, and an lvm that says what it is told to say. What the
//! real one does, and the real device-mapper, the kernel tier tells.

#![allow(clippy::disallowed_methods)] // A test builds the machine that an agent may only look at.

use super::*;
use common::testing::{Files, carry_out, words};
use ocf_meta::{Given, Reading};

mod advice;
mod duplicates;
mod layers;
mod locks;
mod programs;
mod renamed;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

const GROUP: &str = "GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG";

common::machine_of_files!(Machine);

impl Machine {
    fn new() -> Self {
        let machine = Self(Files::new());
        machine.file("/proc/misc", "236 device-mapper\n");
        machine.file("/sys/class/misc/device-mapper/dev", "10:236\n");
        machine.file("/sys/block/sda/dev", "8:0\n");
        let settings = "event_activation=1\nsystem_id_source=\"uname\"\n";
        machine
            .disk("8:0")
            .lvm("fullreport", &group(""))
            .lvm("lvmconfig", settings)
            .lvm("systemid", "  system ID: node1\n")
    }

    fn disk(self, number: &str) -> Self {
        self.file(&format!("/sys/dev/block/{number}/dev"), number);
        self
    }

    /// What `lvm COMMAND` prints.
    fn lvm(self, command: &str, text: &str) -> Self {
        self.file(&format!("/answers/{command}"), text);
        let (answers, log) = (self.path("/answers/x"), self.path("/log"));
        let answers = answers.parent().unwrap().display();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{}\ncat {answers}/$1 2>/dev/null || exit 5\n",
            log.display()
        );
        self.program("lvm", &script);
        self
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path(&format!("/usr/sbin/{name}"));
        let draft = path.with_extension("draft");
        std::fs::write(&draft, script).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another process writes it: one of ours that forks would keep it open.
        let copied = std::process::Command::new("cp").arg(&draft).arg(&path).status().unwrap();
        assert!(copied.success());
    }

    /// A volume that is active, on the disk 8:0.
    fn active(self, name: &str, minor: u32) -> Self {
        let uuid = format!("LVM-{GROUP}{}", id(name));
        self.mapped(&format!("vg-{name}"), &uuid, minor, &["8:0"])
    }

    /// A mapped device, and the devices beneath it.
    fn mapped(self, name: &str, uuid: &str, minor: u32, beneath: &[&str]) -> Self {
        let named: Vec<_> = beneath
            .iter()
            .enumerate()
            .map(|(at, number)| {
                (if *number == "8:0" { "sda".into() } else { format!("s{at}") }, number)
            })
            .collect();
        let beneath: Vec<(&str, &str)> =
            named.iter().map(|(name, at)| (name.as_str(), **at)).collect();
        self.0.mapped(name, uuid, minor, &beneath);
        self
    }

    fn lose(&self, disk: &str) {
        std::fs::remove_dir_all(self.path(&format!("/sys/dev/block/{disk}"))).unwrap();
    }

    fn view(&self) -> View {
        self.view_for(Duration::from_secs(2))
    }

    /// What lvm was called with.
    fn log(&self) -> String {
        std::fs::read_to_string(self.path("/log")).unwrap_or_default()
    }

    fn status(&self, agent: &Lvm) -> Status {
        agent.status(&agent.observe(&self.view()).unwrap())
    }

    fn refusal(&self, agent: &Lvm) -> String {
        let view = self.view();
        let state = agent.observe(&view).unwrap();
        agent.start(&view, &state).map(|plan| words(&plan)).unwrap_err().to_string()
    }

    fn plan(&self, agent: &Lvm) -> Vec<String> {
        let view = self.view();
        let state = agent.observe(&view).unwrap();
        words(&agent.start(&view, &state).unwrap())
    }
}

fn id(name: &str) -> String {
    format!("{name:x<32}")
}

/// A group with these fields besides, and two volumes on one disk.
fn group(fields: &str) -> String {
    group_of(fields, &[("8:0", "/dev/sda")], &["web", "mail"])
}

fn group_of(fields: &str, disks: &[(&str, &str)], volumes: &[&str]) -> String {
    let disk = |(number, path): &(&str, &str)| {
        let (major, minor) = number.split_once(':').unwrap();
        let missing = if major == "0" { "missing" } else { "" };
        format!(
            r#"{{"pv_name":"{path}","pv_uuid":"PV-{path}","pv_missing":"{missing}","pv_major":"{major}","pv_minor":"{minor}"}}"#
        )
    };
    let volume = |name: &&str| {
        format!(
            r#"{{"lv_name":"{name}","lv_uuid":"{}","lv_layout":"linear","lv_path":"/dev/vg/{name}"}}"#,
            id(name)
        )
    };
    let disks = disks.iter().map(disk).collect::<Vec<_>>().join(",");
    let volumes = volumes.iter().map(volume).collect::<Vec<_>>().join(",");
    format!(
        r#"{{"report":[{{"vg":[{{"vg_name":"vg","vg_uuid":"{GROUP}"{fields}}}],"pv":[{disks}],"lv":[{volumes}]}}]}}"#
    )
}

fn agent(pairs: &[(&'static str, &str)]) -> Lvm {
    let mut given = Given::default();
    given.set("vgname", "vg");
    for (name, value) in pairs {
        given.set(*name, *value);
    }
    let params = LvmParams::read(&mut Reading::strict(&given)).unwrap();
    let mut request = Request::plain("vg");
    request.probe = true;
    Lvm::new(params, &request).unwrap()
}

fn recurring(pairs: &[(&'static str, &str)]) -> Lvm {
    let agent = agent(pairs);
    let target = Target { is_asked_again: true, ..agent.target.clone() };
    Lvm { target, ..agent }
}

fn wanted(machine: &Machine, names: &[&str]) {
    let volumes: String =
        names.iter().map(|name| format!("volume {} {name}\n", id(name))).collect();
    let record = format!("lvm 1\ngroup {GROUP}\n{volumes}disk 8:0\n");
    machine.file("/run/resource-agents/LVM-vg.wanted", &record);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(machine.path("/run/resource-agents/LVM-vg.wanted"), mode).unwrap();
}

#[test]
fn what_start_wanted_has_to_be_there() {
    let machine = Machine::new().active("web", 0);
    wanted(&machine, &["web", "mail"]);
    let status = machine.status(&agent(&[]));
    let Status::Failed(_, reason) = status else { panic!("{status}") };
    assert_eq!(reason, "mail of volume group vg is not active");
    let machine = machine.active("mail", 1);
    assert_eq!(machine.status(&agent(&[])), Status::Running(Role::Started));
}

#[test]
fn a_record_of_another_group_of_that_name_says_nothing() {
    let machine = Machine::new().active("web", 0);
    wanted(&machine, &["web", "mail"]);
    let record =
        std::fs::read_to_string(machine.path("/run/resource-agents/LVM-vg.wanted")).unwrap();
    let other = record.replace(GROUP, &"H".repeat(32));
    std::fs::write(machine.path("/run/resource-agents/LVM-vg.wanted"), other).unwrap();
    assert_eq!(machine.status(&agent(&[])), Status::Running(Role::Started));
}

#[test]
fn nothing_active_is_stopped_unless_it_was_started_and_is_watched() {
    let machine = Machine::new();
    assert!(machine.status(&recurring(&[])).is_stopped());
    wanted(&machine, &["web"]);
    assert!(machine.status(&agent(&[])).is_stopped());
    assert!(matches!(machine.status(&recurring(&[])), Status::Failed(..)));
}

#[test]
fn a_lost_disk_is_a_fault_unless_it_can_be_borne() {
    let machine = Machine::new().active("web", 0);
    std::fs::remove_dir_all(machine.path("/sys/dev/block/8:0")).unwrap();
    let status = machine.status(&agent(&[]));
    let Status::Failed(_, reason) = status else { panic!("{status}") };
    assert_eq!(reason, "disk 8:0 beneath web is gone or offline");
    let bearing = agent(&[("partial_activation", "true")]);
    assert!(matches!(machine.status(&bearing), Status::Degraded(..)));
}

#[test]
fn one_lost_image_of_a_raid_is_a_blemish_and_the_last_one_a_fault() {
    let images = |machine: Machine| machine.active("raid_rimage_0", 0).active("raid_rimage_1", 1);
    let machine = images(Machine::new());
    machine.file("/sys/dev/block/254:0/slaves/sda/dev", "8:16\n");
    let status = machine.status(&agent(&[]));
    assert!(matches!(status, Status::Degraded(..)), "{status}");
    machine.file("/sys/dev/block/254:1/slaves/sda/dev", "8:32\n");
    let status = machine.status(&agent(&[]));
    assert!(matches!(status, Status::Failed(..)), "{status}");
}

#[test]
fn an_offline_disk_is_a_lost_one() {
    let machine = Machine::new().active("web", 0);
    machine.file("/sys/dev/block/8:0/device/state", "offline\n");
    assert!(matches!(machine.status(&agent(&[])), Status::Failed(..)));
    machine.file("/sys/dev/block/8:0/device/state", "running\n");
    assert_eq!(machine.status(&agent(&[])), Status::Running(Role::Started));
}

#[test]
fn a_suspended_volume_is_a_fault_after_a_moment() {
    let machine = Machine::new().active("web", 0);
    machine.file("/sys/dev/block/254:0/dm/suspended", "1\n");
    let status = machine.status(&agent(&[]));
    assert!(status.to_string().contains("vg/web is suspended"), "{status}");
}

#[test]
fn a_deep_monitor_reads_from_what_people_use() {
    let machine = Machine::new().active("web", 0).active("raid_rimage_0", 1);
    let (view, agent) = (machine.view(), agent(&[]));
    let state = agent.observe(&view).unwrap();
    assert!(agent.upkeep(&view, &state, 0).unwrap().is_empty());
    assert_eq!(words(&agent.upkeep(&view, &state, 10).unwrap()), ["read from web (/dev/dm-0)"]);
}

#[test]
fn one_volume_is_not_the_others() {
    let machine = Machine::new().active("web", 0);
    assert!(machine.status(&agent(&[("lvname", "mail")])).is_stopped());
    assert_eq!(machine.status(&agent(&[("lvname", "web")])), Status::Running(Role::Started));
    assert!(machine.status(&agent(&[("lvname", "we")])).is_stopped());
    let machine = machine.active("web_rimage_0", 1).active("mail", 2);
    let agent = agent(&[("lvname", "web")]);
    let active = agent.observe(&machine.view()).unwrap().active;
    assert_eq!(active.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["web", "web_rimage_0"]);
    assert_eq!(agent.target.others(&machine.view()).unwrap(), ["mail"]);
}

#[test]
fn a_foreign_tag_is_left_alone() {
    let tagging = [("vg_access_mode", "tagging")];
    let conf = "event_activation=1\nvolume_list=[\"root\"]\n";
    let machine =
        Machine::new().lvm("lvmconfig", conf).lvm("fullreport", &group(r#","vg_tags":"node2""#));
    let refusal = machine.refusal(&agent(&tagging));
    assert!(
        refusal.starts_with("volume group vg carries the tag node2, which is not ours"),
        "{refusal}"
    );
    assert!(!machine.log().contains("deltag"));
    let told = agent(&[("vg_access_mode", "tagging"), ("other_tags", "db, node2")]);
    assert!(machine.plan(&told).contains(&"put the tag pacemaker on volume group vg".to_owned()));
}

#[test]
fn tagging_needs_a_volume_list_that_keeps_others_out() {
    let tagging = agent(&[("exclusive", "true")]);
    let refusal = Machine::new().refusal(&tagging);
    assert!(refusal.starts_with("tagging needs a volume_list"), "{refusal}");
    for open in ["\"vg\"", "\"@pacemaker\"", "\"vg/web\""] {
        let machine = Machine::new().lvm("lvmconfig", &format!("volume_list=[{open}]\n"));
        let refusal = machine.refusal(&tagging);
        assert!(refusal.contains("without the cluster"), "{open}: {refusal}");
    }
}

#[test]
fn the_owner_by_system_id_is_replaced_knowingly() {
    let by_id = agent(&[("vg_access_mode", "system_id")]);
    let step = |owner: &str| {
        let machine =
            Machine::new().lvm("fullreport", &group(&format!(r#","vg_systemid":"{owner}""#)));
        machine.plan(&by_id)[1].clone()
    };
    assert_eq!(step("node1"), "activate volume group vg");
    assert_eq!(step(""), "make node1 the owner of volume group vg, which has none");
    assert_eq!(step("node2"), "make node1 the owner of volume group vg in the place of node2");
    let plain = agent(&[]);
    let machine = Machine::new().lvm("fullreport", &group(r#","vg_systemid":"node2""#));
    assert!(machine.refusal(&plain).contains("belongs to the machine with the system ID node2"));
}

#[test]
fn an_ownership_that_did_not_come_about_is_an_error() {
    let machine =
        Machine::new().lvm("fullreport", &group(r#","vg_systemid":"node2""#)).lvm("vgchange", "");
    let view = machine.view();
    let by_id = agent(&[("vg_access_mode", "system_id")]);
    let plan = by_id.start(&view, &by_id.observe(&view).unwrap()).unwrap();
    let refused = carry_out(&view, plan).unwrap_err().to_string();
    assert_eq!(refused, "lvm has made node1 the owner of vg, and yet the owner is `node2`");
    let log = machine.log();
    assert!(
        log.contains("--systemid node1 vg --config local/extra_system_ids=[\"node2\"]"),
        "{log}"
    );
    assert!(!log.contains("--majoritypvs"), "{log}");
}

#[test]
fn an_activation_that_brought_nothing_is_an_error_whatever_lvm_says() {
    let machine = Machine::new().lvm("vgchange", "");
    let view = machine.view();
    let agent = agent(&[]);
    let plan = agent.start(&view, &agent.observe(&view).unwrap()).unwrap();
    let refused = carry_out(&view, plan).unwrap_err().to_string();
    assert_eq!(
        refused,
        "lvm claims to have activated volume group vg, but web, mail is not active"
    );
}

#[test]
fn a_name_that_leads_nowhere_is_no_name() {
    let machine = Machine::new()
        .active("web", 0)
        .lvm("fullreport", &group_of("", &[("8:0", "/dev/sda")], &["web"]));
    let machine = machine.lvm("vgchange", "").lvm("vgmknodes", "");
    symlink("../mapper/vg-web", machine.path("/dev/vg/web")).unwrap();
    let start = || {
        let view = machine.view();
        let agent = agent(&[]);
        let plan = agent.start(&view, &agent.observe(&view).unwrap()).unwrap();
        carry_out(&view, plan)
    };
    let refused = start().unwrap_err().to_string();
    assert_eq!(refused, "web of vg active, but not to be found in /dev");
    assert!(machine.log().contains("vgmknodes vg"), "{}", machine.log());
    machine.file("/dev/mapper/vg-web", "");
    start().unwrap();
}

#[test]
fn what_is_missing_from_the_group_is_missing_here() {
    let refusal = Machine::new().refusal(&agent(&[("lvname", "nolv")]));
    assert_eq!(refusal, "there is no logical volume nolv in vg");
    let machine = Machine::new().lvm("fullreport", r#"{"report":[{"vg":[]}]}"#);
    machine.file("/etc/lvm/backup/vg", &format!(
        "vg {{\n id = \"{GROUP}\"\n physical_volumes {{\n  pv0 {{\n   device = \"/dev/drbd0\"\t# Hint only\n  }}\n }}\n}}\n"
    ));
    let refusal = machine.refusal(&agent(&[]));
    assert!(refusal.ends_with("it was last on /dev/drbd0, which is not there"), "{refusal}");
}

#[test]
fn a_group_that_lacks_a_disk_needs_leave_to_be_activated() {
    let lacking = group_of("", &[("0:0", "[unknown]")], &["web"]);
    let machine = Machine::new().lvm("fullreport", &lacking);
    assert!(machine.refusal(&agent(&[])).contains("misses 1 of its 1 disks"));
    assert!(!machine.plan(&agent(&[("partial_activation", "1")])).is_empty());
}

#[test]
fn parameters_that_contradict_each_other_are_refused() {
    let refused = |pairs: &[(&'static str, &str)]| agent(pairs).validate().unwrap_err().to_string();
    assert!(refused(&[("exclusive", "1"), ("vg_access_mode", "none")]).contains("contradict"));
    assert!(refused(&[("activation_mode", "shared")]).contains("needs vg_access_mode=lvmlockd"));
}

#[test]
fn the_kind_of_lock_decides_the_access_mode() {
    let machine = Machine::new().lvm("fullreport", &group(r#","vg_lock_type":"dlm""#));
    assert!(machine.refusal(&agent(&[])).contains("vg_access_mode has to be lvmlockd"));
    let locked = agent(&[("vg_access_mode", "lvmlockd")]);
    let machine = Machine::new().lvm("lvmconfig", "use_lvmlockd=1\n");
    assert!(machine.refusal(&locked).contains("has no lock type"));
}

#[test]
fn a_stop_gives_back_what_is_ours_alone() {
    let machine = Machine::new()
        .lvm("fullreport", &group(r#","vg_tags":"db,pacemaker""#))
        .lvm("vgchange", "");
    wanted(&machine, &["web"]);
    let view = machine.view();
    let tagging = agent(&[("vg_access_mode", "tagging")]);
    let plan = tagging.stop(&view, &tagging.observe(&view).unwrap()).unwrap();
    assert_eq!(
        words(&plan),
        ["take the tag pacemaker off volume group vg", "forget what was wanted"]
    );
    carry_out(&view, plan).unwrap();
    let log = machine.log();
    assert!(log.contains("vgchange --deltag pacemaker vg") && !log.contains("deltag db"), "{log}");
    assert!(!machine.path("/run/resource-agents/LVM-vg.wanted").exists());
}

#[test]
fn a_stop_of_what_never_ran_runs_nothing() {
    let machine = Machine::new();
    let view = machine.view();
    let tagging = agent(&[("vg_access_mode", "tagging")]);
    assert!(tagging.stop(&view, &tagging.observe(&view).unwrap()).unwrap().is_empty());
    assert_eq!(machine.log(), "");
}

#[test]
fn a_kernel_that_does_not_tell_what_it_has_leaves_doubt() {
    let machine = Machine::new().active("web", 0);
    std::fs::remove_file(machine.path("/proc/misc")).unwrap();
    assert!(agent(&[]).observe(&machine.view()).is_err());
    let machine = Machine::new().active("web", 0);
    std::fs::remove_dir_all(machine.path("/sys/block")).unwrap();
    assert!(agent(&[]).observe(&machine.view()).is_err());
}

#[test]
fn the_copy_of_the_metadata_decides_nothing() {
    let copy = |volume: &str| {
        format!(
            "vg {{\n id = \"{GROUP}\"\n logical_volumes {{\n  {volume} {{\n   id = \"{}\"\n   status = \
             [\"VISIBLE\"]\n  }}\n }}\n}}\n",
            id(volume)
        )
    };
    // It may be old: a volume that it lacks is missed all the same.
    let machine = Machine::new().active("web", 0);
    wanted(&machine, &["web", "mail"]);
    machine.file("/etc/lvm/backup/vg", &copy("web"));
    assert_eq!(
        machine.status(&agent(&[])).to_string(),
        "failed: mail of volume group vg is not active"
    );
    // And nobody has said that what it has was wanted.
    let machine = Machine::new().active("web", 0);
    machine.file("/etc/lvm/backup/vg", &copy("mail"));
    assert_eq!(machine.status(&agent(&[])), Status::Running(Role::Started));
}

#[test]
fn the_part_of_another_volume_is_not_ours() {
    let machine = Machine::new().active("web_x_rimage_0", 1);
    assert!(machine.status(&agent(&[("lvname", "web")])).is_stopped());
    assert!(!machine.status(&agent(&[("lvname", "web_x")])).is_stopped());
}

#[test]
fn a_pool_is_not_waited_for_in_dev() {
    let pool = r#"{"lv_name":"pool","lv_uuid":"ID","lv_layout":"thin,pool","lv_path":""}"#;
    let report = group_of("", &[("8:0", "/dev/sda")], &["web"])
        .replace(r#""lv":["#, &format!(r#""lv":[{},"#, pool.replace("ID", &id("pool"))));
    let machine = Machine::new().active("web", 0).active("pool", 1);
    let machine = machine.lvm("fullreport", &report).lvm("vgchange", "");
    machine.file("/dev/vg/web", "");
    let view = machine.view();
    let agent = agent(&[]);
    let plan = agent.start(&view, &agent.observe(&view).unwrap()).unwrap();
    assert_eq!(words(&plan)[0], "note that pool, web of vg are wanted");
    carry_out(&view, plan).unwrap();
}

#[test]
fn the_majority_is_asked_for_where_a_disk_is_missing_and_lvm_knows_it() {
    let by_id = agent(&[("vg_access_mode", "system_id"), ("majority_pvs", "1")]);
    let disks = [("8:0", "/dev/sda"), ("0:0", "[unknown]")];
    let lacking = group_of(r#","vg_systemid":"node2""#, &disks, &["web"]);
    let machine = Machine::new().lvm("fullreport", &lacking).lvm("vgchange", "no such option");
    let refusal = machine.refusal(&by_id);
    assert!(refusal.contains("does not know --majoritypvs"), "{refusal}");
    assert!(refusal.ends_with("vg, which misses 1 of its 2 disks"), "{refusal}");
    let machine = machine.lvm("vgchange", "[ --majoritypvs ]");
    let view = machine.view();
    let plan = by_id.start(&view, &by_id.observe(&view).unwrap()).unwrap();
    assert!(carry_out(&view, plan).is_err());
    let log = machine.log();
    assert!(log.contains("vgchange -y --majoritypvs --systemid node1 vg"), "{log}");
}

#[test]
fn a_disk_that_is_back_is_not_missing() {
    // It has a number, and the flag all the same.
    let back = group_of("", &[("8:0", "/dev/sda"), ("8:16", "/dev/sdb")], &["web"]);
    let (before, after) = back.rsplit_once(r#""pv_missing":"""#).unwrap();
    let back = format!(r#"{before}"pv_missing":"missing"{after}"#);
    let machine = Machine::new().lvm("fullreport", &back);
    let refusal = machine.refusal(&agent(&[]));
    assert!(refusal.starts_with("disk PV-/dev/sdb of vg is back at /dev/sdb"), "{refusal}");
    assert!(refusal.ends_with("lvm vgextend --restoremissing vg /dev/sdb"), "{refusal}");
    assert!(!machine.plan(&agent(&[("partial_activation", "1")])).is_empty());
}

#[test]
fn autoactivation_is_switched_off_where_the_group_is_ours_already() {
    let by_id = agent(&[("vg_access_mode", "system_id")]);
    let plan = |autoactivation: &str| {
        let fields = format!(r#","vg_systemid":"node1","vg_autoactivation":"{autoactivation}""#);
        Machine::new().lvm("fullreport", &group(&fields)).plan(&by_id)
    };
    let what = "switch off LVM's own activation of volume group vg".to_owned();
    assert!(plan("enabled").contains(&what));
    assert!(!plan("").contains(&what));
}

#[test]
fn what_one_node_sees_of_a_group_is_no_fault_of_the_configuration() {
    let code = |machine: Machine, pairs: &[(&'static str, &str)]| {
        let (view, agent) = (machine.view(), agent(pairs));
        let refused = agent.start(&view, &agent.observe(&view).unwrap()).map(drop).unwrap_err();
        refused.downcast_ref::<common::Fault>().unwrap().code
    };
    let locked = || Machine::new().lvm("fullreport", &group(r#","vg_lock_type":"dlm""#));
    assert_eq!(code(locked(), &[]), ocf_meta::Code::ErrArgs);
    let plain = || Machine::new().lvm("lvmconfig", "use_lvmlockd=1\n");
    assert_eq!(code(plain(), &[("vg_access_mode", "lvmlockd")]), ocf_meta::Code::ErrArgs);
    let owned = Machine::new()
        .lvm("fullreport", &group(r#","vg_systemid":"node2""#))
        .lvm("lvmconfig", "volume_list=[\"root\"]\n");
    assert_eq!(code(owned, &[("exclusive", "1")]), ocf_meta::Code::ErrArgs);
}

#[test]
fn a_drbd_conf_that_cannot_be_read_is_not_one_that_names_nothing() {
    let machine = Machine::new();
    machine.file("/proc/sys/kernel/hostname", "node1\n").file("/etc/drbd.conf", "resource r {");
    let refusal = machine.refusal(&agent(&[]));
    assert!(refusal.starts_with("cannot tell whether 8:0 lies beneath DRBD"), "{refusal}");
    let status = machine.active("web", 0).status(&agent(&[]));
    assert!(
        matches!(&status, Status::Degraded(_, why) if why.contains("lies beneath DRBD")),
        "{status}"
    );
}

#[test]
fn a_wrong_volume_does_not_stand_for_the_whole_group() {
    let mut given = Given::default();
    given.set("vgname", "vg");
    given.set("lvname", "web,mail");
    let read = LvmParams::read(&mut Reading::lenient(&given));
    assert_eq!(read.unwrap_err().param, "lvname");
}
