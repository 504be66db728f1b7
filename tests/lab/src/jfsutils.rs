//! A `fsck.jfs` that replays a journal.
//!
//! Debian's does not, since 1.1.15-5 of 2020: a patch for a newer compiler gave
//! the buffer in which one source file leaves a record for the other to each
//! of them. It finds nothing in its own, says `logredo failed`, throws the
//! journal away and ends with 0. So the machines get the program of the same
//! release as its authors wrote it. Debian's stays beside it, for the drill
//! that shows what becomes of it.

use super::debian;
use super::progress::Progress;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The authors' source, as Debian keeps it.
const SOURCE: &str = "pool/main/j/jfsutils/jfsutils_1.1.15.orig.tar.gz";

/// What has to come.
const SHA256: &str = "bc17a4cd96e986815ef5ac5e7086e452f996c3178046cd278dafd6c202e6c578";

/// What builds it.
const TOOLS: &[&str] = &["gcc", "libc6-dev", "uuid-dev"];

/// What the source leaves to a compiler of its time: tentative definitions
/// that are one variable, and functions whose headers came by others.
const DIALECT: &[&str] = &[
    "-O2",
    "-w",
    "-fcommon",
    "-fno-strict-aliasing",
    "-DHAVE_MNTENT_H",
    "-DVERSION=\"1.1.15\"",
    "-DJFSUTILS_DATE=\"04-Mar-2011\"",
    "-I/source",
    "-I/source/include",
    "-I/source/libfs",
    "-include",
    "sys/sysmacros.h",
    "-include",
    "libgen.h",
    "-include",
    "string.h",
    "-include",
    "stdlib.h",
    "-include",
    "time.h",
];

/// Enters the recipe of the image.
pub fn recipe() -> String {
    format!("{SHA256} {TOOLS:?} {DIALECT:?}")
}

/// Builds it in `dir` and puts it into the tree.
pub fn build(dir: &Path, tree: &Path, progress: &mut Progress) -> Result<()> {
    let workshop = dir.join("workshop");
    debian::unpack(&workshop, TOOLS, "unpacking a compiler", progress)?;
    let archive = dir.join("jfsutils.tar.gz");
    let mirror = debian::mirror().unwrap_or_else(|| "http://deb.debian.org/debian".into());
    let mut fetch = Command::new("/usr/lib/apt/apt-helper");
    fetch
        .arg("download-file")
        .arg(format!("{}/{SOURCE}", mirror.to_string_lossy().trim_end_matches('/')))
        .arg(&archive)
        .arg(format!("SHA256:{SHA256}"));
    progress.follow("image", "fetching the source of jfsutils", &mut fetch)?;
    let source = workshop.join("source");
    fs::create_dir(&source)?;
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(&archive).args(["--strip-components=1", "-C"]).arg(&source);
    progress.follow("image", "unpacking it", &mut unpack)?;
    fs::write(source.join("config.h"), "")?;

    let mut compile = Command::new("chroot");
    compile.arg(&workshop).arg("/usr/bin/gcc").args(DIALECT).args(["-o", "/fsck.jfs"]);
    for part in ["libfs", "fsck"] {
        for entry in fs::read_dir(source.join(part))?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".c") {
                compile.arg(format!("/source/{part}/{name}"));
            }
        }
    }
    compile.arg("-luuid");
    progress.follow("image", "building fsck.jfs", &mut compile)?;

    let place = tree.join("sbin/fsck.jfs");
    ensure!(place.exists(), "jfsutils brought no {}", place.display());
    fs::rename(&place, tree.join("sbin/fsck.jfs.distrib"))?;
    fs::copy(workshop.join("fsck.jfs"), &place).context("cannot put fsck.jfs in its place")?;
    fs::remove_dir_all(&workshop)?;
    fs::remove_file(&archive)?;
    Ok(())
}
