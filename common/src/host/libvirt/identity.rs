//! By what a guest is known, and what its definition says of it.

use crate::host::xml::{self, Element};
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::path::PathBuf;

/// What no two guests share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uuid(pub(super) [u8; 16]);

impl Uuid {
    /// Reads 32 digits, with dashes between any of them as libvirt takes it.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| *c != '-')
            .map(|c| c.to_digit(16).map(|digit| digit as u8))
            .collect();
        let digits = digits.filter(|digits| digits.len() == 32)?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// By what a guest is known.
///
/// No two guests that run in one libvirt share a name, and a name does not
/// change while its guest runs. A definition without a UUID is given another
/// one at each start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its UUID, as far as that is known.
    pub uuid: Option<Uuid>,
}

impl Identity {
    /// Whether that is the same guest, or one that stands in its place.
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name || self.uuid.is_some() && self.uuid == other.uuid
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a definition says, as far as it is of use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Whose it is.
    pub identity: Identity,
    /// How many processors it has.
    pub vcpus: Option<u32>,
    /// How much memory it has at the most, in MiB.
    pub memory: Option<u64>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// The storage pools that it names.
    pub pools: Vec<String>,
    /// The networks of libvirt's that it names.
    pub networks: Vec<String>,
}

/// One disk of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where it lies, if that is a file or a device of this machine.
    pub path: Option<PathBuf>,
    /// What the guest is told of an error: `stop`, `report`, `ignore`,
    /// `enospace`; none where nothing is said.
    pub error_policy: Option<String>,
}

impl Definition {
    /// Reads the definition of one guest.
    pub fn parse(text: &str) -> Result<Self> {
        let tree = xml::parse(text)?;
        ensure!(tree.name == "domain", "its outermost element is {}, not domain", tree.name);
        Self::of(&tree)
    }

    /// The same from the element `domain`.
    pub(super) fn of(domain: &Element) -> Result<Self> {
        let text = |name: &str| domain.child(name).map(|found| found.text.as_str());
        let name = text("name").filter(|name| !name.is_empty()).context("it has no name")?;
        // Files are called by it.
        ensure!(!name.contains(['/', '\n', '\0']) && name != "..", "`{name}` is no name");
        let uuid = match text("uuid").filter(|uuid| !uuid.is_empty()) {
            Some(uuid) => Some(Uuid::parse(uuid).with_context(|| format!("`{uuid}` is no UUID"))?),
            None => None,
        };
        let devices = domain.child("devices");
        let named = |kind: &'static str| {
            devices
                .into_iter()
                .flat_map(move |all| all.children.iter())
                .filter(move |device| device.name == kind)
        };
        let disks = named("disk").map(Disk::of).collect();
        let sources = |attribute: &str| {
            let mut found: Vec<String> = devices
                .into_iter()
                .flat_map(|all| all.named("source"))
                .filter_map(|source| source.get(attribute).map(str::to_owned))
                .collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        Ok(Self {
            identity: Identity { name: name.to_owned(), uuid },
            vcpus: text("vcpu").and_then(|count| count.parse().ok()),
            memory: domain.child("memory").and_then(mebibytes),
            disks,
            pools: sources("pool"),
            networks: sources("network"),
        })
    }
}

impl Disk {
    fn of(disk: &Element) -> Self {
        let source = disk.child("source");
        let path = source.and_then(|source| source.get("dev").or_else(|| source.get("file")));
        let policy = disk.child("driver").and_then(|driver| driver.get("error_policy"));
        Self { path: path.map(PathBuf::from), error_policy: policy.map(str::to_owned) }
    }
}

/// `<memory unit='KiB'>16384</memory>`, in MiB, rounded down as virsh's figures
/// are for the cluster's utilization.
fn mebibytes(memory: &Element) -> Option<u64> {
    let bytes: u64 = match memory.get("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    Some(memory.text.parse::<u64>().ok()?.checked_mul(bytes)? >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "1dabca37-df6d-4a77-9034-301704a00951";

    #[test]
    fn a_uuid_is_read_with_and_without_dashes() {
        let uuid = Uuid::parse(UUID).unwrap();
        assert_eq!(uuid.to_string(), UUID);
        assert_eq!(Uuid::parse(&UUID.replace('-', "").to_uppercase()), Some(uuid));
        for none in ["", "1dabca37", &UUID[1..], &format!("{UUID}0"), &UUID.replace('d', "x")] {
            assert_eq!(Uuid::parse(none), None, "{none}");
        }
    }

    #[test]
    fn what_stands_in_a_guests_place_is_taken_for_it() {
        let guest = |name: &str, uuid: Option<&str>| Identity {
            name: name.into(),
            uuid: uuid.and_then(Uuid::parse),
        };
        let other = UUID.replace('1', "2");
        assert!(guest("a", Some(UUID)).is(&guest("b", Some(UUID))));
        assert!(guest("a", Some(UUID)).is(&guest("a", Some(&other))));
        assert!(guest("a", None).is(&guest("a", Some(UUID))));
        assert!(!guest("a", None).is(&guest("b", None)));
        assert!(!guest("a", Some(UUID)).is(&guest("b", Some(&other))));
    }

    #[test]
    fn a_definition_says_what_is_needed_of_a_guest() {
        let text = format!(
            "<!-- by hand --><domain type='kvm'>\n <name>R&amp;D</name> <uuid>{UUID}</uuid>
             <memory unit='GiB'>2</memory><vcpu placement='static'>4</vcpu><devices>
             <disk type='block'><driver name='qemu' error_policy='report'/>
             <source dev='/dev/drbd1'/><target dev='vda'/></disk>
             <disk type='volume'><source pool='fast' volume='x'/></disk>
             <interface type='network'><source network='default'/></interface>
             </devices></domain>"
        );
        let found = Definition::parse(&text).unwrap();
        assert_eq!(found.identity.name, "R&D");
        assert_eq!(found.identity.uuid, Uuid::parse(UUID));
        assert_eq!((found.vcpus, found.memory), (Some(4), Some(2048)));
        assert_eq!(found.disks[0].path.as_deref(), Some("/dev/drbd1".as_ref()));
        assert_eq!(found.disks[0].error_policy.as_deref(), Some("report"));
        assert_eq!(found.disks[1].path, None);
        assert_eq!((found.pools, found.networks), (vec!["fast".into()], vec!["default".into()]));
    }

    #[test]
    fn what_is_no_definition_is_an_error() {
        for wrong in [
            "",
            "<network><name>a</name></network>",
            "<domain/>",
            "<domain><name/></domain>",
            "<domain><name>../a</name></domain>",
            "<domain><name>a</name><uuid>5</uuid></domain>",
            "<domain><name>a</name>",
        ] {
            assert!(Definition::parse(wrong).is_err(), "{wrong}");
        }
    }
}
