//! What a resource group needs around it: disks, a network, two nodes.

use super::haresources::{Line, Word};
use super::words::Nic;
use anyhow::{Context, Result, bail, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The port of the ledger's service.
const PORT: u16 = 7070;
/// The machines of the demo: two nodes and the client.
pub const MACHINES: usize = 3;
/// File systems that lie on a disk of their own and can be made here.
const ON_DISK: [&str; 5] = ["ext2", "ext3", "ext4", "xfs", "btrfs"];

/// Everything the stage has to build.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The names of the two nodes; the first is the line's.
    pub nodes: [String; 2],
    /// The disks, in the order of the line.
    pub disks: Vec<Disk>,
    /// The group's addresses.
    pub addresses: Vec<IpAddr>,
    /// The network of each machine.
    pub nics: [Vec<Nic>; MACHINES],
    /// The ledger, on the first disk's file system.
    pub ledger: PathBuf,
    /// Where its service listens, on the first address.
    pub service: SocketAddr,
}

/// A disk that both nodes reach, one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The device's path on the nodes.
    pub device: PathBuf,
    /// Where its file system is mounted.
    pub directory: PathBuf,
    /// The type of its file system.
    pub kind: String,
}

/// Makes the plan, or says why the line cannot be shown.
pub fn plan(line: &Line) -> Result<Plan> {
    let (mut disks, mut wanted) = (Vec::new(), Vec::new());
    for word in &line.words {
        match word.script.as_str() {
            "IPaddr" => wanted.push(address(word)?),
            "Filesystem" => disks.extend(disk(word)?),
            "drbddisk" => bail!("{}", no_drbd(word, Path::new("/sys/module/drbd").exists())),
            other => bail!(
                "{other} is none of the agents the demo can show: IPaddr, Filesystem, drbddisk"
            ),
        }
    }
    let disk = disks
        .first()
        .context("the line has no Filesystem on a device, but the ledger needs one to lie on")?;
    let first = wanted
        .first()
        .context("the line has no IPaddr, but the client needs an address to find the ledger")?;
    Ok(Plan {
        nodes: nodes(&line.node),
        ledger: disk.directory.join("ledger"),
        service: SocketAddr::new(first.ip, PORT),
        addresses: wanted.iter().map(|it| it.ip).collect(),
        nics: std::array::from_fn(|machine| nics(&wanted, machine)),
        disks,
    })
}

/// The first node and a name for its partner.
fn nodes(first: &str) -> [String; 2] {
    let partner = if first == "node2" { "node1" } else { "node2" };
    [first.into(), partner.into()]
}

fn no_drbd(word: &Word, in_kernel: bool) -> String {
    let why = if in_kernel {
        "this machine's DRBD devices belong to the machine, which the demo does not touch"
    } else {
        "this kernel has no DRBD"
    };
    format!(
        "{word} cannot be shown: {why}; leave the word out, the demo hands its disk from node to \
         node itself, or see it on real DRBD with `cargo xtask lab`"
    )
}

/// The disk that a Filesystem word needs; none when it needs no disk.
fn disk(word: &Word) -> Result<Option<Disk>> {
    let [device, directory, rest @ ..] = &word.args[..] else {
        bail!("{word} lacks a device or a directory");
    };
    let kind = rest.first().map_or("ext4", String::as_str);
    let options = rest.get(1).map_or("", String::as_str);
    ensure!(directory.starts_with('/'), "{word}: the directory {directory} is not absolute");
    ensure!(
        !["/usr", "/bin", "/sbin", "/lib", "/etc", "/dev", "/proc", "/sys"]
            .iter()
            .any(|own| Path::new(directory).starts_with(own)),
        "{word}: {directory} belongs to the node's own system"
    );
    if kind == "tmpfs" || kind == "none" || options.split(',').any(|it| it.ends_with("bind")) {
        return Ok(None);
    }
    ensure!(
        ON_DISK.contains(&kind),
        "{word}: the demo can make {}, not {kind}",
        ON_DISK.join(", ")
    );
    ensure!(device.starts_with("/dev/"), "{word}: the device {device} does not lie in /dev");
    Ok(Some(Disk { device: device.into(), directory: directory.into(), kind: kind.into() }))
}

/// An address that a group wants, and on which interface.
struct Wanted {
    ip: IpAddr,
    prefix: u8,
    nic: String,
}

/// Reads `ip[/prefix[/nic[:label]][/broadcast]]`.
fn address(word: &Word) -> Result<Wanted> {
    let text = word.args.first().with_context(|| format!("{word} lacks an address"))?;
    let mut parts = text.split('/');
    let ip = parts.next().unwrap_or_default();
    let ip: IpAddr = ip.parse().with_context(|| format!("{word}: {ip} is no address"))?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = match parts.next() {
        None if ip.is_ipv4() => 24,
        None => 64,
        Some(prefix) => prefix.parse().with_context(|| format!("{word}: {prefix} is no prefix"))?,
    };
    let room = most - 3;
    ensure!(
        (8..=room).contains(&prefix),
        "{word}: a prefix of {prefix} leaves no room for two nodes and a client beside the address"
    );
    let nic = parts.next().and_then(|nic| nic.split(':').next()).unwrap_or_default();
    let named = nic.starts_with(|letter: char| letter.is_ascii_alphabetic());
    ensure!(nic.len() < 16, "{word}: the kernel takes no interface name as long as {nic}");
    Ok(Wanted { ip, prefix, nic: if named { nic.into() } else { "eth0".into() } })
}

/// The interfaces of a machine, with an address of its own in each network.
fn nics(wanted: &[Wanted], machine: usize) -> Vec<Nic> {
    let mut nics: Vec<Nic> = Vec::new();
    for want in wanted {
        let own = (own_address(wanted, want, machine), want.prefix);
        match nics.iter_mut().find(|nic| nic.name == want.nic) {
            Some(nic) if nic.addresses.contains(&own) => {}
            Some(nic) => nic.addresses.push(own),
            None => nics.push(Nic { name: want.nic.clone(), addresses: vec![own] }),
        }
    }
    nics
}

/// The address with this number in the network of `want`, those that the group
/// wants not counted.
fn own_address(wanted: &[Wanted], want: &Wanted, number: usize) -> IpAddr {
    let host = |count: u32| match want.ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(want.prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits((ip.to_bits() & mask) + count))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(want.prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits((ip.to_bits() & mask) + u128::from(count)))
        }
    };
    (1..)
        .map(host)
        .filter(|ip| wanted.iter().all(|other| other.ip != *ip))
        .nth(number)
        .unwrap_or(want.ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::haresources::parse;

    fn of(words: &str) -> Result<Plan> {
        plan(&parse(&format!("node1 {words}"))?)
    }

    const FILESYSTEM: &str = "Filesystem::/dev/redundantstorage/web_files::\
                              /redundantstorage/web_files::ext4::nosuid,usrquota,noatime";

    #[test]
    fn the_published_line_needs_one_disk_and_one_network() {
        let plan = of(&format!("10.10.0.10/24/eth0 {FILESYSTEM}")).unwrap();
        assert_eq!(plan.disks.len(), 1);
        assert_eq!(plan.disks[0].device, Path::new("/dev/redundantstorage/web_files"));
        assert_eq!(plan.ledger, Path::new("/redundantstorage/web_files/ledger"));
        assert_eq!(plan.service.to_string(), "10.10.0.10:7070");
        let nic = &plan.nics[2][0];
        assert_eq!(nic.name, "eth0");
        assert_eq!(nic.addresses, [("10.10.0.3".parse().unwrap(), 24)]);
    }

    #[test]
    fn own_addresses_avoid_those_of_the_group() {
        let plan = of(&format!("10.0.0.2/29/eth1:0 10.0.0.1/29/eth1 {FILESYSTEM}")).unwrap();
        let own: Vec<String> =
            plan.nics.iter().map(|nics| nics[0].addresses[0].0.to_string()).collect();
        assert_eq!(own, ["10.0.0.3", "10.0.0.4", "10.0.0.5"]);
        let six = of(&format!("IPaddr::fd00:0:0:0:0:0:0:10/64/eth0 {FILESYSTEM}")).unwrap();
        assert_eq!(six.nics[0][0].addresses, [("fd00::1".parse().unwrap(), 64)]);
    }

    #[test]
    fn what_cannot_be_shown_is_refused_with_its_reason() {
        let reason = |words: &str| of(words).unwrap_err().to_string();
        assert!(reason("10.0.0.1").contains("no Filesystem"));
        assert!(reason(FILESYSTEM).contains("no IPaddr"));
        assert!(reason("drbddisk::r0").contains("no DRBD"));
        assert!(reason("lvm2").contains("lvm2 is none of the agents"));
        assert!(reason("10.0.0.1/31").contains("no room"));
        assert!(reason("Filesystem::/dev/x::/etc::ext4").contains("own system"));
        assert!(reason("Filesystem::srv:/x::/mnt::nfs").contains("not nfs"));
    }
}
