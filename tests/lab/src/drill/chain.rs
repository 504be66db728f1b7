//! linstor-gateway's chains of iSCSI, NVMe over Fabrics and NFS, in its order and
//! with its parameters, as drbd-reactor runs them. The client is the other node,
//! and somebody there knocks all the time.

use super::lun::{DISKS, by_id};
use super::node::Node;
use super::stand::Stand;
use super::units::{self, Link, Units};
use anyhow::{Result, ensure};
use std::time::Duration;

const IP: &str = "10.10.1.77";
const IQN: &str = "iqn.2019-08.com.linbit:drill-chain";
const NQN: &str = "nqn.2019-08.com.linbit:nvme:drill-chain";
const UUID: &str = "8b0c6a5e-0e1a-4c57-9d1a-5b7a3a2f4e10";
/// Where the second disk of the node's is mounted, and where the first, if it is.
const PRIVATE: &str = "/srv/ha/internal/drill";
const EXPORTED: &str = "/srv/gateway-exports/drill";
/// Where the client mounts what is exported.
const MOUNTED: &str = "/mnt/gateway";

/// Of a disk that is served as it is.
const RAW: &str = "dd if=/dev/mapper/drill-lun1 bs=4096 count=8 iflag=direct 2>/dev/null";

struct Chain<'a> {
    port: &'a str,
    links: Vec<Link<'a>>,
    /// Has the client connect; it stays so.
    connect: &'a str,
    /// The disk that it then has, or a file.
    disk: &'a str,
    /// Prints on the node the first 32 KiB of what is there of it.
    content: &'a str,
    /// Prints what must not be there after a stop.
    left: &'a str,
}

/// See the catalogue.
pub fn of_iscsi(stand: &Stand) -> Result<String> {
    let served = vec![
        (
            "p_iscsi_target_drill\\x2dchain",
            "iSCSITarget",
            vec![
                ("iqn", IQN),
                ("portals", "10.10.1.77:3260"),
                ("incoming_username", ""),
                ("incoming_password", ""),
                ("allowed_initiators", ""),
            ],
        ),
        (
            "p_iscsi_lu_drill\\x2dchain1",
            "iSCSILogicalUnit",
            vec![
                ("target_iqn", IQN),
                ("lun", "1"),
                ("path", "/dev/mapper/drill-lun1"),
                ("product_id", "5ba72d17"),
                ("scsi_sn", "5ba72d17"),
            ],
        ),
    ];
    follow(
        stand,
        &Chain {
            port: "3260",
            links: served,
            connect: "printf 'node.startup = manual\\n' > /etc/iscsi/iscsid.conf; \
                modprobe -a iscsi_tcp sd_mod crc32c; mkdir -p /run/lock/iscsi; \
                pgrep iscsid > /dev/null || iscsid; iscsiadm -m node -o delete 2>/dev/null; \
                iscsiadm -m discovery -t sendtargets -p 10.10.1.77 && iscsiadm -m node --login",
            disk: &by_id("5ba72d17"),
            content: RAW,
            left: "cd /sys/kernel/config/target && find iscsi core -maxdepth 1 -name 'iqn.*' -o -name '*_[0-9]*'",
        },
    )
}

/// See the catalogue.
pub fn of_nvme(stand: &Stand) -> Result<String> {
    let served = vec![
        (
            "p_nvme_subsys_drill\\x2dchain",
            "nvmet-subsystem",
            vec![("nqn", NQN), ("serial", "5ba72d1700000000")],
        ),
        (
            "p_nvme_ns_drill\\x2dchain1",
            "nvmet-namespace",
            vec![
                ("nqn", NQN),
                ("namespace_id", "1"),
                ("backing_path", "/dev/mapper/drill-lun1"),
                ("uuid", UUID),
                ("nguid", UUID),
            ],
        ),
        (
            "p_nvme_port_drill\\x2dchain",
            "nvmet-port",
            vec![("nqns", NQN), ("addr", IP), ("type", "tcp")],
        ),
    ];
    follow(
        stand,
        &Chain {
            port: "4420",
            links: served,
            connect: &format!(
                "modprobe nvme-tcp; nvme connect -t tcp -a {IP} -s 4420 -n {NQN} \
                 --hostnqn=nqn.2014-08.org.nvmexpress:uuid:{UUID} 2>&1"
            ),
            disk: &format!("/dev/disk/by-id/nvme-uuid.{UUID}"),
            content: RAW,
            left: "cd /sys/kernel/config/nvmet && find subsystems ports hosts -mindepth 1 -maxdepth 1",
        },
    )
}

/// See the catalogue.
pub fn of_nfs(stand: &Stand) -> Result<String> {
    let state = format!("{PRIVATE}/nfs");
    let served = vec![
        (
            "p_fs_drill\\x2dchain_1",
            "Filesystem",
            vec![
                ("device", "/dev/mapper/drill-lun1"),
                ("directory", EXPORTED),
                ("fstype", "ext4"),
                ("run_fsck", "no"),
            ],
        ),
        (
            "p_nfsserver_drill\\x2dchain",
            "nfsserver",
            vec![("nfs_ip", IP), ("nfs_shared_infodir", &state), ("nfs_server_scope", IP)],
        ),
        (
            "p_export_drill\\x2dchain_1_0",
            "exportfs",
            vec![
                ("directory", EXPORTED),
                ("fsid", UUID),
                ("clientspec", "10.10.1.0/24"),
                ("options", "rw,all_squash,anonuid=0,anongid=0"),
            ],
        ),
    ];
    stand.node(0).shell(&format!("mkdir -p {EXPORTED}"))?;
    follow(
        stand,
        &Chain {
            port: "2049",
            links: served,
            connect: &format!(
                "modprobe nfsv4; mkdir -p {MOUNTED} && \
                 mount -t nfs -o vers=4.2,hard {IP}:{EXPORTED} {MOUNTED} && \
                 truncate -s 1M {MOUNTED}/file"
            ),
            disk: &format!("{MOUNTED}/file"),
            content: &format!("head -c 32768 {EXPORTED}/file"),
            left: "grep -v '^0' /proc/fs/nfsd/threads; ps --no-headers -C rpc.mountd,nfsdcld; \
                exportfs -v; grep /var/lib/nfs /proc/mounts",
        },
    )
}

/// The modules are there before, as linstor-gateway wants them. A lease of ten seconds
/// keeps the waiting short.
fn follow(stand: &Stand, chain: &Chain<'_>) -> Result<String> {
    let [node, client] = stand.nodes();
    node.shell(&format!(
        "modprobe -a target_core_iblock iscsi_target_mod nvmet-tcp nfsd; \
         {DISKS}; ip addr del 10.99.0.9/32 dev lo; \
         for disk in 1 2; do mkfs.ext4 -q -F /dev/mapper/drill-lun$disk; done; \
         mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd; \
         echo 10 > /proc/fs/nfsd/nfsv4leasetime; echo 10 > /proc/fs/nfsd/nfsv4gracetime; \
         mkdir -p {PRIVATE}"
    ))?;
    let mut links: Vec<Link<'_>> = vec![
        (
            "p_fs_cluster_private_drill\\x2dchain",
            "Filesystem",
            vec![
                ("device", "/dev/mapper/drill-lun2"),
                ("directory", PRIVATE),
                ("fstype", "ext4"),
                ("run_fsck", "no"),
            ],
        ),
        ("p_service_ip_drill\\x2dchain", "IPaddr", vec![("ip", IP), ("cidr_netmask", "24")]),
    ];
    links.extend(chain.links.iter().cloned());
    let blocks = ("p_pblock_drill\\x2dchain", "p_punblock_drill\\x2dchain");
    let links = units::behind_a_port(blocks, IP, chain.port, PRIVATE, links);
    let units = Units::of(node, &links)?;
    // Who finds nobody at an address that is there is refused at once.
    client.background(
        &format!(
            "while :; do timeout 2 bash -c '< /dev/tcp/{IP}/{0}' 2>&1 && echo let in || \
             echo knocked; sleep 0.1; done > /run/drill/knocks",
            chain.port
        ),
        "[ -f /run/drill/knocks ]",
    )?;
    let seen = goes_and_comes(node, client, chain, &units);
    disconnect(client)?;
    client.end_background()?;
    node.shell(&format!("{}; true", units::END))?;
    node.end_background()?;
    seen
}

fn goes_and_comes(
    node: Node<'_>,
    client: Node<'_>,
    chain: &Chain<'_>,
    units: &Units<'_>,
) -> Result<String> {
    units.start()?;
    client.shell(chain.connect)?;
    writes(node, client, chain)?;
    units.are_asked()?;
    // The client knows of nothing, and has a write under way.
    client.shell(&format!(
        "setsid dd if=/run/drill/data of={} bs=4096 oflag=direct conv=notrunc \
         </dev/null >/run/drill/dd 2>&1 & true",
        chain.disk
    ))?;
    units.stop()?;
    nothing_is_left(node, chain)?;
    units.start()?;
    writes(node, client, chain)?;
    units.are_asked()?;
    disconnect(client)?;
    units.stop()?;
    nothing_is_left(node, chain)?;
    let count = |what: &str| -> Result<u32> {
        let count = client.shell(&format!("grep -c '{what}' /run/drill/knocks; true"))?;
        Ok(count.trim().parse()?)
    };
    let (refused, let_in, knocks) = (count("refused")?, count("^let in")?, count("^knocked")?);
    ensure!(refused == 0, "who knocked was refused {refused} times");
    ensure!(let_in > 0 && knocks > 0, "{let_in} were let in, {knocks} were not");
    Ok(format!("{let_in} were let in, {knocks} heard nothing, none was refused"))
}

/// Whatever the client has, it gives up.
fn disconnect(client: Node<'_>) -> Result<()> {
    client
        .shell(&format!(
            "nvme disconnect-all; iscsiadm -m node -u; \
             timeout 30 umount {MOUNTED} || umount -lf {MOUNTED}; true"
        ))
        .map(drop)
}

fn writes(node: Node<'_>, client: Node<'_>, chain: &Chain<'_>) -> Result<()> {
    let disk = chain.disk;
    let ready = format!("[ -e {disk} ]");
    client.until(disk, 60, || {
        Ok(client.machine.run(&["/bin/sh", "-c", &ready], Duration::from_secs(20))?.code == 0)
    })?;
    let written = client.shell(&format!(
        "head -c 32768 /dev/urandom > /run/drill/data; \
         timeout 90 dd if=/run/drill/data of={disk} bs=4096 oflag=direct conv=notrunc 2>&1 && \
         sha256sum < /run/drill/data"
    ))?;
    let there = node.shell(&format!("{} | sha256sum", chain.content))?;
    ensure!(written.trim().ends_with(there.trim()), "what was written is not on the disk");
    Ok(())
}

/// Neither in the kernel nor of a disk that somebody has open.
fn nothing_is_left(node: Node<'_>, chain: &Chain<'_>) -> Result<()> {
    let rules = node.shell("nft list ruleset")?;
    let left = node.shell(&format!(
        "({}; grep -e {PRIVATE} -e {EXPORTED} /proc/mounts; ip -o addr | grep {IP}/; \
         dmsetup info -c --noheadings -o open drill-lun1 drill-lun2 | grep -v '^0'); true",
        chain.left
    ))?;
    ensure!(left.trim().is_empty(), "this is left after the stop: {left}");
    ensure!(!rules.contains(IP), "this is left in the firewall after the stop: {rules}");
    Ok(())
}
