//! linstor-gateway's chains of iSCSI and NVMe over Fabrics, in its order and with
//! its parameters, as drbd-reactor runs them. The initiator is the other node,
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
/// The disk that the second of the node's is mounted on.
const PRIVATE: &str = "/srv/ha/internal/drill";

struct Chain<'a> {
    port: &'a str,
    links: Vec<Link<'a>>,
    /// Has the initiator connect; it stays so.
    connect: &'a str,
    /// The disk that it then has.
    disk: &'a str,
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
            left: "cd /sys/kernel/config/nvmet && find subsystems ports hosts -mindepth 1 -maxdepth 1",
        },
    )
}

/// The modules are there before, as linstor-gateway wants them.
fn follow(stand: &Stand, chain: &Chain<'_>) -> Result<String> {
    let [node, client] = stand.nodes();
    node.shell(&format!(
        "modprobe -a target_core_iblock iscsi_target_mod nvmet-tcp; \
         {DISKS}; ip addr del 10.99.0.9/32 dev lo; mkfs.ext4 -q -F /dev/mapper/drill-lun2; \
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
    client.shell("nvme disconnect-all; iscsiadm -m node -u; true")?;
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
    writes(node, client, chain.disk)?;
    units.are_asked()?;
    // The initiator knows of nothing, and has a write under way.
    client.shell(&format!(
        "setsid dd if=/run/drill/data of={} bs=4096 oflag=direct conv=notrunc \
         </dev/null >/run/drill/dd 2>&1 & true",
        chain.disk
    ))?;
    units.stop()?;
    nothing_is_left(node, chain)?;
    units.start()?;
    writes(node, client, chain.disk)?;
    units.are_asked()?;
    client.shell("nvme disconnect-all; iscsiadm -m node -u; true")?;
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

fn writes(node: Node<'_>, client: Node<'_>, disk: &str) -> Result<()> {
    let ready = format!("[ -b {disk} ]");
    client.until(disk, 60, || {
        Ok(client.machine.run(&["/bin/sh", "-c", &ready], Duration::from_secs(20))?.code == 0)
    })?;
    let written = client.shell(&format!(
        "head -c 32768 /dev/urandom > /run/drill/data; \
         timeout 90 dd if=/run/drill/data of={disk} bs=4096 oflag=direct conv=notrunc 2>&1 && \
         sha256sum < /run/drill/data"
    ))?;
    let there = node.shell(
        "dd if=/dev/mapper/drill-lun1 bs=4096 count=8 iflag=direct 2>/dev/null | sha256sum",
    )?;
    ensure!(written.trim().ends_with(there.trim()), "what was written is not on the disk");
    Ok(())
}

/// Neither in the kernel nor of a disk that somebody has open.
fn nothing_is_left(node: Node<'_>, chain: &Chain<'_>) -> Result<()> {
    let rules = node.shell("nft list ruleset")?;
    let left = node.shell(&format!(
        "({}; grep /srv/ha/internal /proc/mounts; ip -o addr | grep {IP}/; \
         dmsetup info -c --noheadings -o open drill-lun1 drill-lun2 | grep -v '^0'); true",
        chain.left
    ))?;
    ensure!(left.trim().is_empty(), "this is left after the stop: {left}");
    ensure!(!rules.contains(IP), "this is left in the firewall after the stop: {rules}");
    Ok(())
}
