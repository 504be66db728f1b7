//! Debian: which release, from where, and what of it is needed on the host.

use super::progress::Progress;
use anyhow::{Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Debian {
    /// Linux 6.1, Pacemaker 2.1, nfs-utils 2.6, LVM 2.03.16.
    #[default]
    Twelve,
    /// Linux 6.12, Pacemaker 3.0, nfs-utils 2.8, LVM 2.03.31.
    Thirteen,
}

/// Says which, on a command line.
pub const OPTION: &str = "--debian";

impl Debian {
    /// The word behind [`OPTION`].
    pub fn read(word: Option<&str>) -> Result<Self> {
        match word {
            Some("12") => Ok(Self::Twelve),
            Some("13") => Ok(Self::Thirteen),
            other => bail!("{OPTION} wants 12 or 13, not {}", other.unwrap_or("nothing")),
        }
    }

    /// Its number.
    pub fn number(self) -> &'static str {
        match self {
            Self::Twelve => "12",
            Self::Thirteen => "13",
        }
    }

    /// Its name in an archive.
    pub fn suite(self) -> &'static str {
        match self {
            Self::Twelve => "bookworm",
            Self::Thirteen => "trixie",
        }
    }
}

/// A mirror other than Debian's own.
pub fn mirror() -> Option<OsString> {
    std::env::var_os("LAB_MIRROR")
}

/// The tools an unpacked distribution offers below `root`; of the older release,
/// so that they run beside the older libraries too.
pub fn unpack(root: &Path, packages: &[&str], what: &str, progress: &mut Progress) -> Result<()> {
    let draft = root.with_extension("draft");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    let mut unpack = Command::new("mmdebstrap");
    unpack
        .args(["--variant=extract", "--format=directory"])
        .arg(format!("--include={}", packages.join(",")))
        .args([OsStr::new(Debian::Twelve.suite()), draft.as_os_str()])
        .args(mirror());
    progress.follow("tools", what, &mut unpack)?;
    fs::rename(&draft, root)?;
    Ok(())
}
