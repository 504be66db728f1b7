//! Debian: which release, from where, and what of it is needed on the host.

use super::progress::Progress;
use anyhow::Result;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The release of Debian in the machines.
pub const SUITE: &str = "bookworm";

/// A mirror other than Debian's own.
pub fn mirror() -> Option<OsString> {
    std::env::var_os("LAB_MIRROR")
}

/// The tools an unpacked distribution offers below `root`.
pub fn unpack(root: &Path, packages: &[&str], what: &str, progress: &mut Progress) -> Result<()> {
    let draft = root.with_extension("draft");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    let mut unpack = Command::new("mmdebstrap");
    unpack
        .args(["--variant=extract", "--format=directory"])
        .arg(format!("--include={}", packages.join(",")))
        .args([OsStr::new(SUITE), draft.as_os_str()])
        .args(mirror());
    progress.follow("tools", what, &mut unpack)?;
    fs::rename(&draft, root)?;
    Ok(())
}
