//! The disks that the file names: whether they are there, and how they are served.

use super::ietd::{Ietd, Lun, Mode};
use anyhow::{Context, Result};
use common::host::lio::build::{self, Kind};
use common::{View, configured, installed, unless_silent};

/// How LIO is to reach the disk of a LUN.
pub(super) fn kind(view: &View, lun: &Lun) -> Result<Kind> {
    let is_disk = build::kind_of(view, lun.path.as_ref())? == Kind::Block;
    Ok(match lun.mode {
        Mode::WriteBack if !lun.is_blockio => Kind::BufferedFile,
        _ if is_disk && lun.block_size.is_none() => Kind::Block,
        _ => Kind::File,
    })
}

/// Whether each disk is there, and can be served as the file says.
pub(super) fn check_all(view: &View, file: &Ietd) -> Result<()> {
    for lun in file.targets.iter().flat_map(|target| &target.luns) {
        let line = lun.line;
        let kind = kind(view, lun).with_context(|| format!("line {line}"));
        let kind = kind.map_err(|err| unless_silent(err, installed))?;
        if lun.mode == Mode::ReadOnly && kind != Kind::Block {
            return Err(configured(format!(
                "line {line}: LIO cannot keep writers from a file; make {} a read-only loop device",
                lun.path
            )));
        }
    }
    Ok(())
}
