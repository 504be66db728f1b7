use super::*;
use crate::testing::Files;

const NQN: &str = "nqn.2014-08.com.example:one";
const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:1";
const UUID: &str = "8b0c6a5e-0e1a-4c57-9d1a-5b7a3a2f4e10";

crate::machine_of_files! {
    /// A machine that looks as one with nvmet does.
    Fake
}

impl Fake {
    /// Without the module.
    fn new() -> Self {
        let files = Files::new();
        files.file("/proc/self/comm", "x").file("/sys/module/loop/refcnt", "0");
        Self(files)
    }

    /// With it, and nothing made of it.
    fn loaded() -> Self {
        let fake = Self::new();
        fake.dir("/sys/module/nvmet");
        for name in ["hosts", "ports", "subsystems"] {
            fake.dir(&format!("{ROOT}/{name}"));
        }
        fake
    }

    fn subsystem(&self, nqn: &str, any: &str) -> &Self {
        let place = subsystem(nqn);
        self.dir(&format!("{place}/namespaces")).dir(&format!("{place}/allowed_hosts"));
        self.file(&format!("{place}/attr_allow_any_host"), any);
        self.file(&format!("{place}/attr_serial"), "0123456789          \n");
        self
    }

    fn port(&self, id: u16, address: [&str; 3]) -> &Self {
        let place = port(id);
        self.dir(&format!("{place}/subsystems"));
        for (name, value) in ["trtype", "traddr", "trsvcid"].iter().zip(address) {
            self.file(&format!("{place}/addr_{name}"), &format!("{value}\n"));
        }
        self.file(&format!("{place}/addr_adrfam"), "ipv4\n");
        self
    }
}

fn tcp(address: &str, service: &str) -> Address {
    let [transport, family] = ["tcp", "ipv4"].map(str::to_owned);
    Address { transport, family, address: address.into(), service: service.into() }
}

#[test]
fn a_kernel_without_the_module_proves_that_there_is_none() {
    let absent = Nvmet::open(&Fake::new().view()).unwrap().unwrap_err();
    assert_eq!(absent.to_string(), "none of the kernel's 1 modules is nvmet");
}

#[test]
fn what_configfs_does_not_show_is_in_doubt() {
    let fake = Fake::new();
    fake.dir("/sys/module/nvmet").dir("/sys/kernel/config");
    let doubt = Nvmet::open(&fake.view()).unwrap_err();
    assert!(doubt.to_string().contains("mount -t configfs"), "{doubt:#}");
    std::fs::remove_dir_all(fake.at("/sys/module")).unwrap();
    assert!(Nvmet::open(&fake.view()).is_err());
}

#[test]
fn one_that_is_built_in_is_not_absent_because_no_list_has_it() {
    let fake = Fake::new();
    fake.dir("/sys/kernel/config").file("/proc/sys/kernel/osrelease", "6.1.0\n");
    let list = "/lib/modules/6.1.0/modules.builtin";
    fake.file(list, "kernel/drivers/nvme/target/xnvmet.ko\n");
    assert!(Nvmet::open(&fake.view()).unwrap().is_err());
    fake.file(list, "kernel/drivers/nvme/target/nvmet.ko\n");
    assert!(Nvmet::open(&fake.view()).is_err());
    // What is mounted would show it.
    fake.dir("/sys/kernel/config/target");
    assert!(Nvmet::open(&fake.view()).unwrap().is_err());
}

#[test]
fn a_subsystem_is_read_with_those_it_admits() {
    let fake = Fake::loaded();
    fake.subsystem(NQN, "0\n").dir(&format!("{ROOT}/hosts/{HOST}"));
    let to = fake.at(&format!("{ROOT}/hosts/{HOST}"));
    fake.link(&format!("{}/allowed_hosts/{HOST}", subsystem(NQN)), to);
    let view = fake.view();
    let nvmet = Nvmet::open(&view).unwrap().unwrap();
    let found = nvmet.subsystem(NQN).unwrap().unwrap();
    assert_eq!((found.admits_all, found.serial.as_str()), (false, "0123456789"));
    assert_eq!((found.hosts, found.model), (vec![HOST.to_owned()], None));
    assert_eq!(nvmet.subsystem("nqn.other").unwrap(), None);
    let absent = nvmet.namespaces("nqn.other").unwrap().unwrap_err();
    assert_eq!(absent.to_string(), "none among 1 subsystems");
}

#[test]
fn a_namespace_is_known_by_its_disk_and_by_its_uuid() {
    let fake = Fake::loaded();
    fake.subsystem(NQN, "1\n");
    let place = namespace(NQN, 1);
    fake.file(&format!("{place}/enable"), "1\n").file(&format!("{place}/device_uuid"), UUID);
    fake.file(&format!("{place}/device_path"), "/dev/block/147:1\n");
    let view = fake.view();
    let nvmet = Nvmet::open(&view).unwrap().unwrap();
    let found = nvmet.namespace(NQN, 1).unwrap().unwrap();
    assert!(found.is_enabled);
    assert_eq!(found.number(), Some(Number { major: 147, minor: 1 }));
    assert_eq!(found.uuid, Id::parse(UUID));
    assert_eq!(nvmet.namespace(NQN, 2).unwrap(), None);
    assert!(nvmet.namespaces(NQN).unwrap().unwrap().lacks(|number| *number == 2).is_some());
    fake.file(&format!("{place}/device_path"), "(null)\n");
    assert_eq!(nvmet.namespace(NQN, 1).unwrap().unwrap().path, None);
}

#[test]
fn an_address_is_the_same_however_it_is_spelled() {
    let place = tcp("fd00::9", "4420");
    assert!(place.is(&tcp("fd00:0::0:9", "04420")));
    for other in [tcp("fd00::8", "4420"), tcp("fd00::9", "4421"), tcp("", "4420")] {
        assert!(!place.is(&other), "{other}");
    }
    let rdma = Address { transport: "rdma".into(), ..place.clone() };
    assert!(!place.is(&rdma));
    assert!(tcp("", "").is_on_its_way_to(&place) && place.is_on_its_way_to(&place));
    assert!(!tcp("10.0.0.9", "").is_on_its_way_to(&place));
    assert_eq!(place.to_string(), "[fd00::9]:4420 (tcp)");
}

#[test]
fn an_address_is_heard_by_a_socket_at_that_very_place() {
    let listens = |text: &str| Listener { address: text.parse().unwrap(), cookie: 1, inode: 1 };
    let place = tcp("10.0.0.9", "4420");
    assert!(place.is_heard(&[listens("10.0.0.8:4420"), listens("10.0.0.9:4420")]));
    assert!(!place.is_heard(&[listens("10.0.0.9:4421"), listens("[::]:4420")]));
    assert!(tcp("fe80::1%eth0", "4420").is_heard(&[listens("[fe80::1]:4420")]));
}

#[test]
fn a_port_that_was_begun_is_the_one_that_the_record_names_and_shows_nothing() {
    let fake = Fake::loaded();
    fake.port(3, ["", "", ""]).port(4, ["tcp", "10.0.0.8", "4420"]);
    let view = fake.view();
    let nvmet = Nvmet::open(&view).unwrap().unwrap();
    assert_eq!(nvmet.ports().unwrap().len(), 2);
    let place = tcp("10.0.0.9", "4420");
    let begun = |noted| build::begun(&nvmet, &place, noted).unwrap();
    assert_eq!(begun(Some(3)), Some(3));
    assert_eq!((begun(Some(4)), begun(Some(9)), begun(None)), (None, None, None));
    fake.link(&format!("{}/subsystems/{NQN}", port(3)), "/nowhere");
    assert_eq!(begun(Some(3)), None);
    assert!(nvmet.shows(3, NQN).unwrap() && !nvmet.shows(4, NQN).unwrap());
}

#[test]
fn a_host_is_loose_when_we_have_made_it_and_no_subsystem_admits_it() {
    let fake = Fake::loaded();
    fake.subsystem(NQN, "0\n").dir(&format!("{ROOT}/hosts/{HOST}"));
    assert_eq!(build::loose_hosts(&fake.view()).unwrap(), [] as [&str; 0]);
    fake.file(&format!("/run/resource-agents/nvmet-host.{HOST}"), NQN);
    assert_eq!(build::loose_hosts(&fake.view()).unwrap(), [HOST]);
    let link = format!("{}/allowed_hosts/{HOST}", subsystem(NQN));
    fake.link(&link, "/nowhere");
    assert_eq!(build::loose_hosts(&fake.view()).unwrap(), [] as [&str; 0]);
}
