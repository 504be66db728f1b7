//! `cargo xtask dist`: makes the packages.
//!
//! Everything that goes in is fixed by the commit, the compiler and the C
//! library: the same three give the same bytes, wherever they are built.

mod again;
mod cross;
mod deb;
mod notices;
mod rpm;

use crate::host::{self, said};
use crate::payload::{Item, Package};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const USAGE: &str = "Usage: cargo xtask dist [--out DIR] [--release N] [--arch arm64] [--again]

  --out DIR     where to put the packages (target/dist)
  --release N   which packaging of this version it is (1)
  --arch arm64  for 64-bit ARM, built by Debian's own compiler in a clean root (needs root)
  --again       make them once more in another directory under another CARGO_HOME,
                and compare";

/// What makes packages: witness, package, reason.
const NEEDS: &[(&str, &str, &str)] = &[
    ("dpkg-deb", "dpkg", "makes the .deb"),
    ("rpmbuild", "rpm", "makes the .rpm"),
    ("gzip", "gzip", "manual pages"),
    ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev", "the C library that is linked"),
];

/// One line for package managers.
const SUMMARY: &str = "resource agents for high availability that do not spawn processes";

/// Paragraphs for package managers.
const DESCRIPTION: &[&str] = &[
    "Agents that start, stop, monitor, promote and move what a cluster keeps alive: file systems, \
     addresses, DRBD, LVM. They are static binaries that ask the kernel, and take the place of the \
     shell agents with the same names and parameters.",
    "Pacemaker finds them under the provider sturdy, people by their names.",
];

/// As [`DESCRIPTION`], for the package that speaks to heartbeat.
const HARESOURCES_DESCRIPTION: &[&str] =
    &["Has heartbeat take the agents of sturdy-agents for the scripts that /etc/ha.d/haresources \
     names, from its next start. The scripts of heartbeat and DRBD stay as they are, and are used \
     again when this package is removed."];

/// The instruction set, by its three names.
#[derive(Clone, Copy)]
struct Arch {
    debian: &'static str,
    rpm: &'static str,
}

const AMD64: Arch = Arch { debian: "amd64", rpm: "x86_64" };
const ARM64: Arch = Arch { debian: "arm64", rpm: "aarch64" };

/// What all packages of a build have in common.
struct Build {
    arch: Arch,
    /// `0.2.0~rc1`, which sorts before `0.2.0` everywhere.
    version: String,
    release: String,
    /// The commit's time, in seconds since 1970.
    epoch: String,
    maintainer: String,
    /// The C library's source package in Debian's terms.
    libc: String,
    copyright: String,
}

/// The task.
pub fn run(words: &[String]) -> Result<()> {
    let (mut out, mut release) = (host::workspace().join("target/dist"), "1".to_owned());
    let (mut arch, mut again) = (AMD64, false);
    let mut words = words.iter();
    let usage = || format!("what is missing?\n{USAGE}");
    while let Some(word) = words.next() {
        match word.as_str() {
            "--out" => out = words.next().map(PathBuf::from).with_context(usage)?,
            "--release" => release = words.next().cloned().with_context(usage)?,
            "--arch" => {
                ensure!(words.next().is_some_and(|name| name == "arm64"), "{USAGE}");
                arch = ARM64;
            }
            "--again" => again = true,
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ => bail!("{word}?\n{USAGE}"),
        }
    }
    host::install(NEEDS)?;
    let (built, libc) = match arch.debian {
        "arm64" => cross::build()?,
        _ => (host::build_agents()?, libc()?),
    };
    let packages = make(&Build::new(arch, release.clone(), libc)?, &built, &out)?;
    if again {
        ensure!(arch.debian == AMD64.debian, "--again is for the machine's own architecture");
        return again::compare(&packages, &["--release", &release]);
    }
    for package in packages {
        println!("{}", package.display());
    }
    Ok(())
}

/// Makes the packages of what lies in `built`, for the tests.
pub fn of_work_tree(built: &Path) -> Result<PathBuf> {
    host::install(NEEDS)?;
    let out = host::workspace().join("target/clean/packages");
    let _ = fs::remove_dir_all(&out);
    make(&Build::new(AMD64, "1".into(), libc()?)?, built, &out)?;
    Ok(out)
}

fn make(build: &Build, built: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut packages = Package::ALL
        .iter()
        .map(|package| deb::make(build, *package, built, out))
        .collect::<Result<Vec<_>>>()?;
    packages.push(rpm::make(build, built, out)?);
    Ok(packages)
}

/// Lays a package's part of the list out below a directory, whatever the umask.
fn stage(items: &[Item], root: &Path) -> Result<()> {
    items.iter().try_for_each(|item| crate::install::put(root, item))?;
    let anybody = || fs::Permissions::from_mode(0o755);
    fs::set_permissions(root, anybody())?;
    for parent in items.iter().flat_map(|item| Path::new(&item.path).ancestors().skip(1)) {
        fs::set_permissions(root.join(parent), anybody())?;
    }
    Ok(())
}

/// A paragraph in lines that package managers show whole.
fn folded(text: &str) -> Vec<String> {
    const WIDTH: usize = 76;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

impl Build {
    fn new(arch: Arch, release: String, libc: String) -> Result<Self> {
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => of_commit("%ct")?,
        };
        Ok(Self {
            arch,
            version: env!("CARGO_PKG_VERSION").replace('-', "~"),
            release,
            epoch,
            maintainer: of_commit("%an <%ae>")?,
            copyright: notices::copyright(&libc)?,
            libc,
        })
    }

    /// The time in one of date's forms.
    fn date(&self, form: &str) -> Result<String> {
        said(Command::new("date").env("LC_ALL", "C").args([
            "-u",
            "-d",
            &format!("@{}", self.epoch),
            form,
        ]))
    }
}

fn of_commit(form: &str) -> Result<String> {
    said(Command::new("git").current_dir(host::workspace()).args([
        "log",
        "-1",
        &format!("--format={form}"),
    ]))
    .context("packages are made from a commit")
}

/// The source package, with its version, of the C library that is linked.
fn libc() -> Result<String> {
    let form = "${source:Package} (= ${source:Version})";
    said(Command::new("dpkg-query").args(["-W", "-f", form, "libc6-dev"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_folded_between_words() {
        let lines = folded(&"word ".repeat(40));
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= 76));
        assert_eq!(lines.join(" "), ["word"; 40].join(" "));
    }
}
