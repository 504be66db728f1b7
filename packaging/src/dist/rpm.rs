//! A package for distributions with rpm. There is none of the one for
//! heartbeat, which they do not have.

use super::{Build, DESCRIPTION, SUMMARY, folded, stage};
use crate::host::said;
use crate::payload::{self, Content, Distribution, Item, Package};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What keeps rpmbuild from putting anything of the machine or the hour in, and
/// from touching the binaries.
const MACROS: &[(&str, &str)] = &[
    ("_buildhost", "localhost"),
    ("use_source_date_epoch_as_buildtime", "1"),
    ("clamp_mtime_to_source_date_epoch", "1"),
    ("_build_id_links", "none"),
    ("debug_package", "%{nil}"),
    ("__os_install_post", "%{nil}"),
    ("_binary_payload", "w19.zstdio"),
];

/// Directories that are ours, or that agents of several packages share and
/// each of them owns.
const DIRECTORIES: &[&str] = &[
    "usr/lib/ocf",
    "usr/lib/ocf/resource.d",
    payload::AGENTS,
    "usr/lib/sturdy",
    "usr/libexec/sturdy",
    "usr/share/doc/sturdy-agents",
    "usr/share/licenses/sturdy-agents",
];

/// Directories of other packages that not every machine has.
const SHARED: &[&str] = &[
    "usr/share/bash-completion",
    "usr/share/bash-completion/completions",
    "usr/share/fish",
    "usr/share/fish/vendor_completions.d",
    "usr/share/zsh",
    "usr/share/zsh/site-functions",
];

/// Makes the package and returns its path.
pub fn make(build: &Build, built: &Path, out: &Path) -> Result<PathBuf> {
    let items = items(build, built)?;
    let work = tempfile::tempdir()?;
    let tree = work.path().join("tree");
    stage(&items, &tree)?;
    let spec = work.path().join("sturdy-agents.spec");
    fs::write(&spec, text(build, &items)?)?;
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--quiet", "--target", build.arch.rpm]);
    let own = |name: &str, path: PathBuf| format!("{name} {}", path.display());
    command.args(["--define", &own("_topdir", work.path().join("top"))]);
    command.args(["--define", &own("_rpmdir", work.path().join("made"))]);
    command.args(["--define", &own("tree", tree)]);
    for (name, value) in MACROS {
        command.args(["--define", &format!("{name} {value}")]);
    }
    said(command.arg(&spec).env("SOURCE_DATE_EPOCH", &build.epoch))?;
    let name = format!(
        "{}-{}-{}.{}.rpm",
        Package::Agents.name(),
        build.version,
        build.release,
        build.arch.rpm
    );
    let made = work.path().join("made").join(build.arch.rpm).join(&name);
    let path = out.join(&name);
    fs::copy(&made, &path).with_context(|| format!("rpmbuild made no {}", made.display()))?;
    Ok(path)
}

fn items(build: &Build, built: &Path) -> Result<Vec<Item>> {
    let package = Package::Agents;
    let mut items = payload::list(built, Distribution::Fedora)?;
    items.retain(|item| item.package == package);
    for (name, content) in [
        ("LICENSE-MIT", payload::text("LICENSE-MIT")?),
        ("LICENSE-APACHE", payload::text("LICENSE-APACHE")?),
        ("copyright", build.copyright.clone().into_bytes()),
    ] {
        let path = format!("usr/share/licenses/{}/{name}", package.name());
        items.push(Item { path, content: Content::File(content), mode: 0o644, package });
    }
    Ok(items)
}

fn text(build: &Build, items: &[Item]) -> Result<String> {
    let Build { version, release, maintainer, .. } = build;
    let mut out = String::new();
    writeln!(out, "Name: {}\nVersion: {version}\nRelease: {release}", Package::Agents.name())?;
    writeln!(out, "Summary: {}\nLicense: MIT or Apache-2.0", capital(SUMMARY))?;
    writeln!(out, "Group: System Environment/Base\nPackager: {maintainer}\nAutoReqProv: no")?;
    writeln!(out, "Recommends: pacemaker")?;
    let paragraphs: Vec<_> = DESCRIPTION.iter().map(|text| folded(text).join("\n")).collect();
    writeln!(out, "\n%description\n{}", paragraphs.join("\n\n"))?;
    writeln!(out, "\n%install\ncp -a %{{tree}}/. %{{buildroot}}/")?;
    let script = |name| Ok::<_, anyhow::Error>(String::from_utf8(payload::text(name)?)?);
    writeln!(out, "\n%post\n{}", script("packaging/rpm/post")?)?;
    writeln!(out, "\n%preun\n{}", script("packaging/rpm/preun")?)?;
    writeln!(out, "\n%files\n%defattr(-,root,root,0755)")?;
    let parents: BTreeSet<_> = items
        .iter()
        .flat_map(|item| Path::new(&item.path).ancestors().skip(1))
        .filter_map(Path::to_str)
        .collect();
    for directory in DIRECTORIES.iter().chain(SHARED).filter(|path| parents.contains(**path)) {
        writeln!(out, "%dir /{directory}")?;
    }
    for item in items {
        writeln!(out, "{}", line(item))?;
    }
    let date = build.date("+%a %b %d %Y")?;
    writeln!(out, "\n%changelog\n* {date} {maintainer} - {version}-{release}")?;
    writeln!(out, "- New version; what is new in it is in changelog.gz.")?;
    Ok(out)
}

fn line(item: &Item) -> String {
    let kind = match &item.path {
        path if path.starts_with("usr/share/licenses/") => "%license ",
        path if path.starts_with("usr/share/doc/") || path.starts_with("usr/share/man/") => "%doc ",
        _ => "",
    };
    match item.content {
        Content::File(_) => format!("%attr({:04o},root,root) {kind}/{}", item.mode, item.path),
        Content::Link(_) => format!("{kind}/{}", item.path),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
