use super::*;
use crate::testing::Files;

const IQN: &str = "iqn.2008-04.local.home:storage.disk.0";

crate::machine_of_files! {
    /// A machine that looks as one with LIO does.
    Fake
}

impl Fake {
    fn new() -> Self {
        let files = Files::new();
        files.file("/proc/self/comm", "x").file("/sys/module/loop/refcnt", "0");
        Self(files)
    }

    /// As LIO shows one target with one disk.
    fn with_target() -> Self {
        let fake = Self::new();
        let group = Target::group(IQN);
        let store = format!("{ROOT}/core/iblock_0/disk");
        fake.dir("/sys/module/target_core_mod").dir(&format!("{ROOT}/core/alua"));
        fake.file(&format!("{ROOT}/core/iblock_0/hba_info"), "").file(
            &format!("{store}/info"),
            "Status: ACTIVATED  Max Queue Depth: 0  SectorSize: 512  HwMaxSectors: 2560\n        \
             iBlock device: drbd1  UDEV PATH: /dev/drbd1  readonly: 0\n        \
             Major: 147 Minor: 1  CLAIMED: IBLOCK\n",
        );
        fake.file(&format!("{ROOT}/iscsi/lio_version"), "v4").dir(&format!("{group}/np/[::]:3260"));
        fake.file(&format!("{group}/enable"), "1\n").dir(&format!("{group}/lun/lun_0/statistics"));
        fake.file(&format!("{group}/dynamic_sessions"), "iqn.1993-08.org.debian:01:client\n\0");
        fake.link(&format!("{group}/lun/lun_0/mark"), fake.at(&store));
        fake
    }
}

#[test]
fn a_target_is_read_with_its_disks_and_addresses() {
    let fake = Fake::with_target();
    let view = fake.view();
    let lio = Lio::open(&view).unwrap().unwrap();
    let target = lio.target(IQN, "mark").unwrap().unwrap();
    let store = Store { adapter: "iblock_0".into(), name: "disk".into() };
    assert_eq!(
        target,
        Target {
            iqn: IQN.into(),
            is_enabled: true,
            luns: vec![Lun { number: 0, store: Some(("mark".into(), store.clone())) }],
            portals: vec!["[::]:3260".into()],
        }
    );
    assert_eq!(lio.device(&store).unwrap(), Some(Number { major: 147, minor: 1 }));
    assert_eq!(lio.sessions(IQN).unwrap(), ["iqn.1993-08.org.debian:01:client"]);
    assert_eq!(*lio.targets().unwrap(), [IQN.to_owned()]);
    assert_eq!(*lio.stores().unwrap(), [store]);
    assert_eq!(lio.target("iqn.other", "mark").unwrap(), None);
}

#[test]
fn a_disk_is_found_by_whatever_mark_it_has() {
    let fake = Fake::with_target();
    let view = fake.view();
    let lio = Lio::open(&view).unwrap().unwrap();
    let by_its_own = lio.lun(IQN, 0, "mark").unwrap();
    assert!(by_its_own.as_ref().is_some_and(|lun| lun.store.is_some()));
    assert_eq!(lio.lun(IQN, 0, "other").unwrap(), by_its_own);
    assert_eq!(lio.lun(IQN, 1, "mark").unwrap(), None);
    assert!(lio.is_marked(IQN, "mark").unwrap() && !lio.is_marked(IQN, "other").unwrap());
}

#[test]
fn a_name_is_found_as_somebody_has_spelled_it() {
    let fake = Fake::with_target();
    let capital = IQN.replacen("iqn", "IQN", 1);
    let view = fake.view();
    let lio = Lio::open(&view).unwrap().unwrap();
    assert_eq!(lio.spelled(&capital).unwrap().unwrap(), IQN);
    assert_eq!(lio.spelled(IQN).unwrap().unwrap(), IQN);
    assert!(lio.spelled("iqn.other").unwrap().is_err());
}

#[test]
fn a_kernel_without_the_module_proves_that_there_is_no_target() {
    let absent = Lio::open(&Fake::new().view()).unwrap().unwrap_err();
    assert_eq!(absent.to_string(), "none of the kernel's 1 modules is target_core_mod");
}

#[test]
fn what_configfs_does_not_show_is_in_doubt() {
    let fake = Fake::new();
    fake.dir("/sys/module/target_core_mod").dir("/sys/kernel/config");
    let doubt = Lio::open(&fake.view()).unwrap_err();
    assert!(doubt.to_string().contains("mount -t configfs"), "{doubt:#}");
    std::fs::remove_dir_all(fake.at("/sys/module")).unwrap();
    assert!(Lio::open(&fake.view()).is_err());
}

#[test]
fn one_that_is_built_in_is_not_absent_because_no_list_has_it() {
    let fake = Fake::new();
    fake.dir("/sys/kernel/config").file("/proc/sys/kernel/osrelease", "6.1.0\n");
    assert!(Lio::open(&fake.view()).unwrap().is_err());
    let list = "/lib/modules/6.1.0/modules.builtin";
    fake.file(list, "kernel/drivers/target/target_core_mod.ko\n");
    assert!(Lio::open(&fake.view()).is_err());
}

#[test]
fn a_target_that_is_half_made_is_there() {
    let fake = Fake::with_target();
    std::fs::remove_dir_all(fake.at(&Target::group(IQN))).unwrap();
    let view = fake.view();
    let lio = Lio::open(&view).unwrap().unwrap();
    let target = lio.target(IQN, "mark").unwrap().unwrap();
    assert!(!target.is_enabled && target.luns.is_empty() && target.portals.is_empty());
}
