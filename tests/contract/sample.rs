//! For each agent: a machine it can work on, and parameters that work there.

use crate::harness::{Call, Machine};

/// What an agent needs to be started.
pub struct Sample {
    pub parameters: Vec<(&'static str, String)>,
    /// The same as words.
    pub words: Vec<String>,
}

impl Sample {
    pub fn words(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    /// The words and an action.
    pub fn words_and<'a>(&'a self, action: &'a str) -> Vec<&'a str> {
        [self.words(), vec![action]].concat()
    }

    /// The agent's call with these parameters.
    pub fn call(&self, machine: &Machine, name: &str) -> Call {
        let call = machine.agent(name);
        self.parameters.iter().fold(call, |call, (name, value)| call.set(name, value))
    }

    /// `name=value` for the command lines of the clusters' tools.
    pub fn options(&self) -> Vec<String> {
        self.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// Makes the machine ready for the agent.
///
/// # Panics
/// For an agent that nobody has given a sample yet.
pub fn prepare(machine: &Machine, name: &str) -> Sample {
    match name {
        "Filesystem" => filesystem(machine),
        "IPaddr" => ipaddr(machine),
        "drbd" | "drbddisk" | "drbdupper" => one("drbd_resource", "r0"),
        "LVM" => one("vgname", "vg"),
        "lvm2" => one("groups", "vg"),
        "exportfs" => exportfs(machine),
        "nfsserver" => nfsserver(machine),
        "nfs-common" => named("need_gssd", "no"),
        "nfs-kernel-server" => named("nfs_server_scope", "10.0.0.9"),
        "iscsitarget" => one("config", "/etc/ietd.conf"),
        "iSCSITarget" => one("iqn", "iqn.2001-04.com.example:one"),
        "iSCSILogicalUnit" => iscsi_logical_unit(machine),
        "vblade" => vblade(machine),
        "portblock" => portblock(),
        "nvmet-subsystem" => one("nqn", "nqn.2014-08.com.example:one"),
        "nvmet-namespace" => nvmet_namespace(machine),
        "nvmet-port" => nvmet_port(),
        "Xen" => one("xmfile", "/etc/xen/one.cfg"),
        "DomainGroup" | "xenHA" => one("directory", "/etc/xen/ha.d"),
        "VirtualDomain" => one("config", "/etc/cluster/web.xml"),
        _ => panic!("give {name} a sample in tests/contract/sample.rs"),
    }
}

fn one(parameter: &'static str, value: &str) -> Sample {
    Sample { parameters: vec![(parameter, value.into())], words: vec![value.into()] }
}

/// One that has no place among the words.
fn named(parameter: &'static str, value: &str) -> Sample {
    let words = vec![format!("{parameter}={value}")];
    Sample { words, ..one(parameter, value) }
}

/// Whether the agent can be started on a machine of the tests. What needs a
/// kernel with DRBD or the device-mapper is started in the lab.
pub fn can_run(name: &str) -> bool {
    matches!(name, "Filesystem" | "IPaddr" | "exportfs" | "vblade" | "portblock")
}

fn filesystem(machine: &Machine) -> Sample {
    let disk = machine.formatted("ext4");
    let device = disk.path().to_owned();
    machine.keep(disk);
    let directory = "/srv/data";
    machine.must("mkdir", &[directory]);
    Sample {
        parameters: vec![
            ("device", device.clone()),
            ("directory", directory.into()),
            ("fstype", "ext4".into()),
        ],
        words: vec![device, directory.into(), "ext4".into()],
    }
}

fn exportfs(machine: &Machine) -> Sample {
    let directory = "/srv/data";
    machine.must("mkdir", &["-p", directory]);
    Sample {
        parameters: vec![
            ("directory", directory.into()),
            ("clientspec", "10.0.0.0/24".into()),
            ("options", "rw".into()),
            ("fsid", "17".into()),
        ],
        words: [directory, "10.0.0.0/24", "rw", "17"].map(Into::into).to_vec(),
    }
}

fn nfsserver(machine: &Machine) -> Sample {
    machine.must("mkdir", &["/srv/nfs"]);
    let parameters =
        vec![("nfs_shared_infodir", "/srv/nfs".into()), ("nfs_server_scope", "10.0.0.9".into())];
    Sample { parameters, words: vec!["nfs_server_scope=10.0.0.9".into()] }
}

fn ipaddr(machine: &Machine) -> Sample {
    machine.nic("eth0", &["10.0.0.1/24"]);
    Sample {
        parameters: vec![
            ("ip", "10.0.0.9".into()),
            ("cidr_netmask", "24".into()),
            ("nic", "eth0".into()),
        ],
        words: vec!["10.0.0.9/24/eth0".into()],
    }
}

fn iscsi_logical_unit(machine: &Machine) -> Sample {
    let disk = machine.disk(4);
    let words = vec!["iqn.2001-04.com.example:one".into(), "1".into(), disk.path().to_owned()];
    machine.keep(disk);
    let names = ["target_iqn", "lun", "path"];
    Sample { parameters: names.into_iter().zip(words.clone()).collect(), words }
}

fn nvmet_namespace(machine: &Machine) -> Sample {
    let disk = machine.disk(4);
    let uuid = "8b0c6a5e-0e1a-4c57-9d1a-5b7a3a2f4e10".to_owned();
    let words = vec!["nqn.2014-08.com.example:one".to_owned(), disk.path().to_owned(), uuid];
    machine.keep(disk);
    let names = ["nqn", "backing_path", "uuid"];
    Sample { parameters: names.into_iter().zip(words.clone()).collect(), words }
}

fn nvmet_port() -> Sample {
    let words = vec!["10.0.0.9".to_owned(), "nqn.2014-08.com.example:one".to_owned()];
    Sample { parameters: ["addr", "nqns"].into_iter().zip(words.clone()).collect(), words }
}

fn vblade(machine: &Machine) -> Sample {
    machine.nic("eth0", &[]);
    let disk = machine.disk(4);
    let words = vec![disk.path().to_owned(), "eth0".into(), "0".into(), "1".into()];
    machine.keep(disk);
    let names = ["device", "nic", "shelf", "slot"];
    Sample { parameters: names.into_iter().zip(words.clone()).collect(), words }
}

fn portblock() -> Sample {
    let given = [("protocol", "tcp"), ("portno", "2049"), ("action", "block"), ("ip", "10.0.0.9")];
    Sample {
        parameters: given.map(|(name, value)| (name, value.to_owned())).to_vec(),
        words: given.map(|(_, value)| value.to_owned()).to_vec(),
    }
}
