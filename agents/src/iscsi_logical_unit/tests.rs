#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use common::host::lio::{ROOT, Target};
use common::testing::Files;
use ocf_meta::{Given, Reading};

const IQN: &str = "iqn.2001-04.com.example:storage";
const INITIATOR: &str = "iqn.1993-08.org.debian:01:client";
const INFO: &str = "Status: ACTIVATED  Max Queue Depth: 0\n iBlock device: drbd1  UDEV PATH: \
                    /dev/drbd1\n Major: 147 Minor: 1  CLAIMED: IBLOCK\n";

common::machine_of_files! {
    /// A machine that looks as one with LIO does, as far as files can.
    Fake
}

impl Fake {
    fn new() -> Self {
        let files = Files::new();
        files.dir(&format!("{ROOT}/core/alua")).dir("/proc/self").file("/dev/drbd1", "");
        files.file("/sys/module/target_core_mod/initstate", "live\n");
        files.dir("/sys/dev/block/147:1");
        let group = Target::group(IQN);
        files.file(&format!("{group}/enable"), "1\n").dir(&format!("{group}/acls"));
        files.dir(&format!("{group}/lun"));
        Self(files)
    }

    fn store(&self, adapter: &str, name: &str, maker: &str) -> String {
        let store = format!("{ROOT}/core/{adapter}/{name}");
        self.file(&format!("{ROOT}/core/{adapter}/hba_info"), "");
        self.file(&format!("{store}/info"), INFO).file(&format!("{store}/alias"), maker);
        self.file(&format!("{store}/udev_path"), "/dev/drbd1\n");
        self.file(&format!("{store}/wwn/vpd_unit_serial"), "T10 VPD Unit Serial Number: 00aa00\n");
        store
    }

    fn lun(&self, number: u64, store: &str) -> &Self {
        self.link(&format!("{}/disk", Target::lun(IQN, number)), self.at(store));
        self
    }

    fn shown(&self) -> &Self {
        let store = self.store("iblock_0", "p_lun1", &format!("{}\n", agent(&[]).mark));
        self.lun(1, &store)
    }

    fn state(&self) -> State {
        agent(&[]).observe(&self.view()).unwrap()
    }

    fn status(&self) -> String {
        agent(&[]).status(&self.state()).to_string()
    }

    fn stop(&self) -> Vec<String> {
        let agent = agent(&[]);
        let view = self.view();
        common::testing::words(&agent.stop(&view, &agent.observe(&view).unwrap()).unwrap())
    }

    fn start(&self, agent: &ISCSILogicalUnit) -> Result<Vec<String>> {
        let view = self.view();
        let plan = agent.start(&view, &agent.observe(&view)?)?;
        Ok(common::testing::words(&plan))
    }
}

fn agent(more: &[(&'static str, &str)]) -> ISCSILogicalUnit {
    let mut given = Given::default();
    let own = [("target_iqn", IQN), ("lun", "1"), ("path", "/dev/drbd1")];
    for (name, value) in own.iter().chain(more) {
        given.set(*name, *value);
    }
    let params = ISCSILogicalUnitParams::read(&mut Reading::strict(&given)).unwrap();
    ISCSILogicalUnit::new(params, &Request::plain("p_lun1")).unwrap()
}

#[test]
fn a_disk_of_another_number_or_another_target_is_not_ours() {
    let fake = Fake::new();
    assert_eq!(fake.status(), "stopped");
    let store = fake.store("iblock_7", "p_lun11", "iSCSILogicalUnit other 11\n");
    fake.lun(11, &store);
    assert_eq!(fake.status(), "stopped");
    assert!(fake.stop().is_empty());
}

#[test]
fn a_disk_that_is_shown_is_running_whatever_has_become_of_its_path() {
    let fake = Fake::new();
    fake.shown();
    assert_eq!(fake.status(), "running");
    std::fs::remove_file(fake.at("/dev/drbd1")).unwrap();
    assert_eq!(fake.status(), "running");
    assert_eq!(
        fake.stop(),
        [
            format!("hide LUN 1 of {IQN} from its initiators"),
            format!("remove LUN 1 of {IQN}"),
            "close store iblock_0/p_lun1".into(),
            "dismiss initiators that were listed for its sake alone".into(),
            "forget its adapter".into(),
        ]
    );
    std::fs::remove_dir(fake.at("/sys/dev/block/147:1")).unwrap();
    assert!(fake.status().contains("shows a disk that is gone: 147:1"), "{}", fake.status());
}

#[test]
fn a_path_that_leads_to_another_device_is_told() {
    let fake = Fake::new();
    fake.shown();
    let disk = std::path::Path::new("/dev/vda");
    use std::os::unix::fs::FileTypeExt;
    if !std::fs::metadata(disk).is_ok_and(|found| found.file_type().is_block_device()) {
        return;
    }
    std::fs::remove_file(fake.at("/dev/drbd1")).unwrap();
    fake.link("/dev/drbd1", disk);
    let told = fake.status();
    assert!(told.starts_with("degraded: ") && told.contains("serves 147:1"), "{told}");
}

#[test]
fn a_disk_of_the_shell_agents_is_taken_over_by_its_name_and_path() {
    let fake = Fake::new();
    let store = fake.store("iblock_0", "p_lun1", "\n");
    assert!(fake.status().contains("store iblock_0/p_lun1 is left"), "{}", fake.status());
    fake.lun(1, &store);
    assert_eq!(fake.status(), "running");
    let other = Fake::new();
    let store = other.store("iblock_0", "p_lun1", "\n");
    other.file(&format!("{store}/udev_path"), "/dev/vdz\n");
    assert_eq!(other.status(), "stopped");
}

#[test]
fn a_store_outlives_its_target_and_is_closed_by_a_stop() {
    let fake = Fake::new();
    fake.shown();
    std::fs::remove_dir_all(fake.at(&format!("{ROOT}/iscsi"))).unwrap();
    let told = fake.status();
    assert_eq!(told, "failed: store iblock_0/p_lun1 is left, and no LUN shows it");
    assert_eq!(fake.stop(), ["close store iblock_0/p_lun1"]);
}

#[test]
fn a_number_that_somebody_else_has_is_refused_and_left_alone() {
    let fake = Fake::new();
    let store = fake.store("iblock_0", "disk", "\n");
    fake.lun(1, &store);
    assert_eq!(fake.status(), "stopped");
    assert!(fake.stop().is_empty());
    let refused = fake.start(&agent(&[("liot_bstype", "fileio")])).unwrap_err();
    assert!(refused.to_string().contains("store iblock_0/disk of somebody else's"), "{refused}");
}

#[test]
fn a_lun_that_was_begun_shows_nothing_and_is_removed() {
    let fake = Fake::new();
    fake.dir(&Target::lun(IQN, 1));
    assert_eq!(fake.status(), format!("failed: LUN 1 of {IQN} shows nothing"));
    assert!(fake.stop().contains(&format!("remove LUN 1 of {IQN}")));
}

#[test]
fn an_adapter_without_a_store_is_removed_if_it_was_noted() {
    let fake = Fake::new();
    fake.file(&format!("{ROOT}/core/iblock_4/hba_info"), "");
    assert!(fake.stop().is_empty());
    let record = format!("/run/resource-agents/{}", agent(&[]).record_name());
    fake.file(&record, "iblock_4");
    assert_eq!(fake.status(), "stopped");
    assert_eq!(fake.stop(), ["remove adapter iblock_4, which has no store", "forget its adapter"]);
    fake.file(&record, "../../iscsi");
    assert_eq!(fake.stop(), ["forget its adapter"]);
}

#[test]
fn two_disks_of_one_identity_are_refused() {
    let fake = Fake::new();
    let store = fake.store("iblock_0", "other", "somebody\n");
    fake.lun(2, &store);
    let agent = agent(&[("liot_bstype", "fileio"), ("scsi_sn", "x-00AA")]);
    let refused = fake.start(&agent).unwrap_err();
    assert!(refused.to_string().contains("set another scsi_sn"), "{refused}");
}

#[test]
fn the_default_serial_number_is_that_of_the_shell_agent() {
    // printf p_lun1 | md5sum
    assert_eq!(agent(&[]).serial(), "6e9272f1");
    assert_eq!(agent(&[("scsi_sn", "5ba72d17")]).serial(), "5ba72d17");
}

#[test]
fn an_initiator_that_does_not_see_the_disk_is_a_fault() {
    let fake = Fake::new();
    fake.shown();
    let agent = agent(&[("allowed_initiators", INITIATOR)]);
    let status = || agent.status(&agent.observe(&fake.view()).unwrap()).to_string();
    assert_eq!(status(), format!("failed: {INITIATOR} does not see LUN 1 of {IQN}"));
    let acl = format!("{}/acls/{INITIATOR}", Target::group(IQN));
    fake.link(&format!("{acl}/lun_1/lun_1"), fake.at(&Target::lun(IQN, 1)));
    assert_eq!(status(), "running");
    assert_eq!(fake.start(&agent).unwrap(), [format!("let initiators see LUN 1 of {IQN}")]);
}

#[test]
fn a_start_restores_reservations_before_the_disk_is_shown() {
    let fake = Fake::new();
    let words = fake.start(&agent(&[("liot_bstype", "fileio"), ("scsi_sn", "12ab")])).unwrap();
    assert_eq!(
        words,
        [
            "open /dev/drbd1 as store p_lun1".to_owned(),
            "restore reservations that /var/target/pr/aptpl_12ab has".into(),
            format!("show it as LUN 1 of {IQN}"),
            format!("let initiators see LUN 1 of {IQN}"),
        ]
    );
    std::fs::remove_dir_all(fake.at(&format!("{ROOT}/iscsi"))).unwrap();
    let refused = fake.start(&agent(&[])).unwrap_err();
    assert!(refused.to_string().contains("its iSCSITarget has to be started first"));
}

#[test]
fn values_are_checked_before_anything_is_touched() {
    let refused = |name, value| {
        let refused = agent(&[(name, value)]).validate().unwrap_err();
        assert!(refused.downcast_ref::<common::Fault>().is_some());
        assert!(refused.to_string().contains(name), "{refused}");
    };
    refused("lun", "16384");
    refused("write_cache", "2");
    refused("emulate_caw", "3");
    refused("block_size", "520");
    refused("vendor_id", "too-long-a-name");
    refused("product_id", "seventeen-letters");
    refused("scst_bstype", "vdisk_fileio");
    refused("additional_parameters", "emulate_write_cache=1");
    for other in ["iet", "scst"] {
        assert!(agent(&[("implementation", other)]).validate().is_err(), "{other}");
    }
    assert!(agent(&[("implementation", "tgt"), ("lun", "1")]).validate().is_ok());
    assert!(agent(&[("implementation", "tgt"), ("lun", "0")]).validate().is_err());
    assert!(agent(&[("implementation", "lio"), ("block_size", "4096")]).validate().is_ok());
}

#[test]
fn a_file_is_served_as_a_file_alone() {
    let fake = Fake::new();
    let kind = |more: &[(&'static str, &str)]| agent(more).kind(&fake.view());
    assert!(kind(&[]).unwrap_err().to_string().contains("liot_bstype=fileio"));
    assert!(kind(&[("liot_bstype", "pscsi")]).is_err());
    assert_eq!(kind(&[("liot_bstype", "fileio")]).unwrap(), Kind::File);
    let cached = [("liot_bstype", "fileio"), ("write_cache", "1")];
    assert_eq!(kind(&cached).unwrap(), Kind::BufferedFile);
}
