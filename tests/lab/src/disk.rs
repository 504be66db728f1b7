//! Faults of a node's disk. The device under DRBD is a mapping, so it can be
//! made to fail and to work again; the file system can be filled.

use super::article::Article;
use super::client::Machine;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// The device under DRBD: a mapping, so that it can be made to fail.
pub const LOWER: &str = "/dev/mapper/lower";

/// Its size, in sectors.
const SECTORS: u32 = 48 * 2048;

/// The same once it has grown.
const GROWN: u32 = 80 * 2048;

/// Where a node keeps the size of a disk that has grown.
const SIZE: &str = "/etc/lab-sectors";

const LIMIT: Duration = Duration::from_secs(60);

/// Maps the device under DRBD, unless it is mapped already: the mapping is
/// lost with the machine, like a cable.
pub fn map(machine: &Machine) -> Result<()> {
    let name = name();
    machine.shell(
        &format!(
            "modprobe -a dm_mod drbd; {}\
             [ -e {LOWER} ] || dmsetup create {name} --table \"{WORKING}\"; dmsetup mknodes",
            sectors()
        ),
        LIMIT,
    )?;
    Ok(())
}

/// Every read and write fails from now on.
pub fn fail(machine: &Machine) -> Result<()> {
    exchange(machine, "0 $sectors error")
}

/// The disk works again, and every DRBD resource takes it back.
pub fn repair(machine: &Machine) -> Result<()> {
    exchange(machine, WORKING)?;
    machine.shell(
        // A disk nothing was written to meanwhile has not been noticed.
        "drbdadm dstate all | grep -q ^Diskless || exit 0; drbdadm attach all 2>&1",
        LIMIT,
    )?;
    Ok(())
}

/// Fills the file system mounted at `directory` to the last block.
pub fn fill(machine: &Machine, directory: &str) -> Result<()> {
    machine.shell(
        &format!("dd if=/dev/zero of={directory}/fill bs=64k conv=fsync 2>/dev/null; true"),
        LIMIT * 2,
    )?;
    Ok(())
}

/// Makes room again.
pub fn empty(machine: &Machine, directory: &str) -> Result<()> {
    machine.shell(&format!("rm -f {directory}/fill"), LIMIT)?;
    Ok(())
}

/// The disk under DRBD becomes larger, and is so after a boot as well.
pub fn grow(machine: &Machine) -> Result<()> {
    machine.put(SIZE, 0o644, GROWN.to_string().as_bytes())?;
    exchange(machine, WORKING)
}

/// What an administrator does on the node that has the group, once the disks of
/// both are larger: DRBD, volume, file system, while clients write.
pub fn use_all(machine: &Machine, article: &Article) -> Result<()> {
    if article.service.is_disk() {
        machine.shell(&format!("drbdadm resize {}", article.resource), LIMIT * 3)?;
        return Ok(());
    }
    let (device, mount) = (article.device(), &article.mounts[0]);
    let blocks = |when: &str| -> Result<u64> {
        let count = machine.shell(&format!("stat -f -c %b {}", mount.directory), LIMIT)?;
        count.trim().parse().with_context(|| format!("no count of blocks {when}"))
    };
    let before = blocks("before")?;
    let shown = format!("--config 'devices{{filter=[\"a|^{device}$|\",\"r|.*|\"]}}'");
    let volume = article.group.as_ref().map_or(String::new(), |_| {
        format!("pvresize -qq {shown} {device} && lvextend -qq {shown} -L +16M {} &&", mount.device)
    });
    machine.shell(
        &format!("drbdadm resize {} && {volume} resize2fs {} 2>&1", article.resource, mount.device),
        LIMIT * 3,
    )?;
    let after = blocks("afterwards")?;
    ensure!(after > before, "the file system had {before} blocks, and has {after}");
    Ok(())
}

/// A mapping to the disk, as large as it is by now.
const WORKING: &str = "0 $sectors linear /dev/vdb 0";

fn exchange(machine: &Machine, table: &str) -> Result<()> {
    let name = name();
    // What is on its way to a failing disk must not be waited for.
    machine.shell(
        &format!(
            "{}dmsetup suspend --noflush --nolockfs {name} && \
             dmsetup load {name} --table \"{table}\" && dmsetup resume {name}",
            sectors()
        ),
        LIMIT,
    )?;
    Ok(())
}

/// In shell: how large the disk is on this node.
fn sectors() -> String {
    format!("sectors=$(cat {SIZE} 2>/dev/null || echo {SECTORS}); ")
}

fn name() -> &'static str {
    LOWER.rsplit('/').next().unwrap_or(LOWER)
}
