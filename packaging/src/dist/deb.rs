//! A package for Debian and what descends from it.

use super::{Build, DESCRIPTION, HARESOURCES_DESCRIPTION, SUMMARY, folded, stage};
use crate::host::said;
use crate::payload::{self, Content, Distribution, Item, Package};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the agents run, each where its facility is used.
const RUNS: &str = "drbd-utils, lvm2, e2fsprogs, xfsprogs, btrfs-progs, kmod, nfs-common";

/// What dpkg runs, for each package: name and file.
fn scripts(package: Package) -> &'static [(&'static str, &'static str)] {
    match package {
        Package::Agents => {
            &[("postinst", "packaging/deb/postinst"), ("prerm", "packaging/deb/prerm")]
        }
        Package::Haresources => &[
            ("postinst", "packaging/deb/haresources.postinst"),
            ("prerm", "packaging/deb/haresources.prerm"),
            ("postrm", "packaging/deb/haresources.postrm"),
        ],
    }
}

/// Makes one package and returns its path.
pub fn make(build: &Build, package: Package, built: &Path, out: &Path) -> Result<PathBuf> {
    let items = items(build, package, built)?;
    let root = tempfile::tempdir()?;
    stage(&items, root.path())?;
    let control = root.path().join("DEBIAN");
    fs::create_dir(&control)?;
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755))?;
    fs::write(control.join("control"), fields(build, package, &items)?)?;
    fs::write(control.join("md5sums"), sums(root.path(), &items)?)?;
    for (name, _) in scripts(package) {
        let path = control.join(name);
        fs::write(&path, script(package, name)?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    for name in ["control", "md5sums"] {
        fs::set_permissions(control.join(name), fs::Permissions::from_mode(0o644))?;
    }
    let path = out.join(format!(
        "{}_{}-{}_{}.deb",
        package.name(),
        build.version,
        build.release,
        arch(build, package)
    ));
    said(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .args([root.path(), &path])
            .env("SOURCE_DATE_EPOCH", &build.epoch),
    )?;
    Ok(path)
}

/// The text of one of the scripts that dpkg runs.
fn script(package: Package, name: &str) -> Result<Vec<u8>> {
    let found = scripts(package).iter().find(|(known, _)| *known == name);
    let (_, file) = found.with_context(|| format!("{} has no {name}", package.name()))?;
    payload::text(file)
}

fn arch(build: &Build, package: Package) -> &'static str {
    match package {
        Package::Agents => build.arch.debian,
        Package::Haresources => "all",
    }
}

/// The package's part of the list, and what Debian wants beside it.
fn items(build: &Build, package: Package, built: &Path) -> Result<Vec<Item>> {
    let mut items = payload::list(built, Distribution::Debian)?;
    items.retain(|item| item.package == package);
    let name = package.name();
    let overrides = payload::text(&format!("packaging/deb/{name}.lintian-overrides"))?;
    for (path, content) in [
        (format!("usr/share/doc/{name}/copyright"), build.copyright.clone().into_bytes()),
        (
            format!("usr/share/doc/{name}/changelog.Debian.gz"),
            payload::gzip(changelog(build, name)?.as_bytes())?,
        ),
        (format!("usr/share/lintian/overrides/{name}"), overrides),
    ] {
        items.push(Item { path, content: Content::File(content), mode: 0o644, package });
    }
    Ok(items)
}

fn changelog(build: &Build, name: &str) -> Result<String> {
    let Build { version, release, maintainer, .. } = build;
    let date = build.date("-R")?;
    Ok(format!(
        "{name} ({version}-{release}) unstable; urgency=medium\n\n  * New version; what is new in \
         it is in changelog.gz of sturdy-agents.\n\n -- {maintainer}  {date}\n"
    ))
}

fn fields(build: &Build, package: Package, items: &[Item]) -> Result<String> {
    let Build { version, release, maintainer, libc, .. } = build;
    let mut out = String::new();
    writeln!(out, "Package: {}\nSource: sturdy", package.name())?;
    writeln!(out, "Version: {version}-{release}\nArchitecture: {}", arch(build, package))?;
    writeln!(out, "Maintainer: {maintainer}\nInstalled-Size: {}", kilobytes(items))?;
    writeln!(out, "Section: admin\nPriority: optional")?;
    let description = match package {
        Package::Agents => {
            writeln!(out, "Recommends: pacemaker | heartbeat\nEnhances: pacemaker, heartbeat")?;
            writeln!(out, "Suggests: {RUNS}\nBuilt-Using: {libc}\nDescription: {SUMMARY}")?;
            DESCRIPTION
        }
        Package::Haresources => {
            let agents = Package::Agents.name();
            writeln!(out, "Depends: {agents} (= {version}-{release}), heartbeat")?;
            writeln!(out, "Description: {SUMMARY} - heartbeat")?;
            HARESOURCES_DESCRIPTION
        }
    };
    let paragraphs: Vec<_> =
        description.iter().map(|text| format!(" {}", folded(text).join("\n "))).collect();
    writeln!(out, "{}", paragraphs.join("\n .\n"))?;
    Ok(out)
}

/// As dpkg counts: each file rounded up, and a kilobyte for whatever has no content.
fn kilobytes(items: &[Item]) -> usize {
    let sizes = items.iter().map(|item| match &item.content {
        Content::File(content) => content.len().div_ceil(1024),
        Content::Link(_) => 1,
    });
    sizes.sum()
}

/// By these `dpkg --verify` knows what has been changed since.
fn sums(root: &Path, items: &[Item]) -> Result<String> {
    let files = items.iter().filter(|item| matches!(item.content, Content::File(_)));
    let mut paths: Vec<_> = files.map(|item| item.path.as_str()).collect();
    paths.sort_unstable();
    Ok(said(Command::new("md5sum").current_dir(root).args(paths))? + "\n")
}
