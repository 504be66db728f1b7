//! Faults of a node's disk. The device under DRBD is a mapping, so it can be
//! made to fail and to work again; the file system can be filled.

use super::client::Machine;
use anyhow::Result;
use std::time::Duration;

/// The device under DRBD: a mapping, so that it can be made to fail.
pub const LOWER: &str = "/dev/mapper/lower";

/// Its size, in sectors.
const SECTORS: u32 = 48 * 2048;

const LIMIT: Duration = Duration::from_secs(60);

/// Maps the device under DRBD, unless it is mapped already: the mapping is
/// lost with the machine, like a cable.
pub fn map(machine: &Machine) -> Result<()> {
    let name = name();
    machine.shell(
        &format!(
            "modprobe -a dm_mod drbd; [ -e {LOWER} ] || \
             dmsetup create {name} --table \"{}\"; dmsetup mknodes",
            table()
        ),
        LIMIT,
    )?;
    Ok(())
}

/// Every read and write fails from now on.
pub fn fail(machine: &Machine) -> Result<()> {
    exchange(machine, &format!("0 {SECTORS} error"))
}

/// The disk works again, and every DRBD resource takes it back.
pub fn repair(machine: &Machine) -> Result<()> {
    exchange(machine, &table())?;
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

fn table() -> String {
    format!("0 {SECTORS} linear /dev/vdb 0")
}

fn exchange(machine: &Machine, table: &str) -> Result<()> {
    let name = name();
    // What is on its way to a failing disk must not be waited for.
    machine.shell(
        &format!(
            "dmsetup suspend --noflush --nolockfs {name} && \
             dmsetup load {name} --table \"{table}\" && dmsetup resume {name}"
        ),
        LIMIT,
    )?;
    Ok(())
}

fn name() -> &'static str {
    LOWER.rsplit('/').next().unwrap_or(LOWER)
}
