//! What is installed: one list, which `install` lays out and `dist` packs.

use crate::host;
use anyhow::{Context, Result, ensure};
use ocf_meta::{Meta, PROVIDER, completion, man};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The packages that what is installed is divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// The agents, for Pacemaker and by hand.
    Agents,
    /// What has heartbeat take them for its resource scripts.
    Haresources,
}

/// Whose directories they are where distributions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    Debian,
    Fedora,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    File(Vec<u8>),
    /// Relative, so that it holds below any root.
    Link(String),
}

/// One path of what is installed.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// Below the root, without a slash in front.
    pub path: String,
    pub content: Content,
    /// Of a file; a link has none of its own.
    pub mode: u32,
    pub package: Package,
}

/// Where Pacemaker looks for our agents.
pub const AGENTS: &str = "usr/lib/ocf/resource.d/sturdy";

/// Where heartbeat looks for scripts when the drop-in is there. That ending is
/// what tells an agent that heartbeat calls it.
pub const HARESOURCES: &str = "usr/lib/sturdy/ha.d/resource.d";

/// Has heartbeat look there. It is the one file that makes the difference.
pub const DROP_IN: &str = "usr/lib/systemd/system/heartbeat.service.d/sturdy.conf";

/// On a root shell's path, so that an agent's name is a command.
const COMMANDS: &str = "usr/sbin";

/// Names that are other programs' there: of nfs-utils and of vblade, which our
/// agents of these names run.
const TAKEN: &[&str] = &["exportfs", "vblade"];

/// What DRBD calls. SELinux lets it run what lies here, and not below /usr/lib.
const HANDLERS: &str = "usr/libexec/sturdy";

/// Where drbd.conf names them since before they lay there.
const OLD_HANDLERS: &str = "usr/lib/sturdy";

/// The directory that records and locks lie in, as resource-agents has it too.
const TMPFILES: &str = "d /run/resource-agents 1755 root root\n";

impl Package {
    pub const ALL: &[Self] = &[Self::Agents, Self::Haresources];

    pub fn name(self) -> &'static str {
        match self {
            Self::Agents => "sturdy-agents",
            Self::Haresources => "sturdy-agents-haresources",
        }
    }
}

impl Distribution {
    /// The one that this machine has, as far as paths are concerned.
    pub fn here() -> Self {
        match Path::new("/etc/debian_version").exists() {
            true => Self::Debian,
            false => Self::Fedora,
        }
    }

    fn zsh(self) -> &'static str {
        match self {
            Self::Debian => "usr/share/zsh/vendor-completions",
            Self::Fedora => "usr/share/zsh/site-functions",
        }
    }
}

/// The whole list, with the binaries that lie in `built`.
pub fn list(built: &Path, distribution: Distribution) -> Result<Vec<Item>> {
    let mut list = List::default();
    for meta in agents::ALL {
        list.agent(built, meta)?;
        list.documents(meta, distribution)?;
    }
    for (name, others) in agents::HANDLERS {
        list.handler(built, name, others)?;
    }
    list.file("usr/lib/tmpfiles.d/sturdy.conf", TMPFILES.into(), 0o644);
    let home = format!("usr/share/doc/{}", Package::Agents.name());
    list.file(&format!("{home}/README.md"), text("README.md")?, 0o644);
    list.file(&format!("{home}/changelog.gz"), gzip(&text("CHANGELOG.md")?)?, 0o644);
    list.package = Package::Haresources;
    list.file(DROP_IN, text("packaging/heartbeat/sturdy.conf")?, 0o644);
    list.items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(list.items)
}

/// The names of an agent, its own first.
pub fn names(meta: &Meta) -> impl Iterator<Item = &'static str> {
    let others = agents::ALIASES.iter().find(|(name, _)| *name == meta.name);
    std::iter::once(meta.name).chain(others.into_iter().flat_map(|(_, others)| *others).copied())
}

struct List {
    items: Vec<Item>,
    package: Package,
}

impl Default for List {
    fn default() -> Self {
        Self { items: Vec::new(), package: Package::Agents }
    }
}

impl List {
    /// The binary, and a link for each name in each place where it is looked for.
    fn agent(&mut self, built: &Path, meta: &Meta) -> Result<()> {
        self.binary(built, &format!("{AGENTS}/{}", meta.name))?;
        for name in names(meta) {
            if name != meta.name {
                self.link(&format!("{AGENTS}/{name}"), meta.name);
            }
            if !TAKEN.contains(&name) {
                let target = format!("../{}/{name}", AGENTS.trim_start_matches("usr/"));
                self.link(&format!("{COMMANDS}/{name}"), &target);
            }
            if meta.is_for_heartbeat() {
                self.package = Package::Haresources;
                let target = format!("../../../ocf/resource.d/{PROVIDER}/{name}");
                self.link(&format!("{HARESOURCES}/{name}"), &target);
                self.package = Package::Agents;
            }
        }
        Ok(())
    }

    /// A program that others call by its whole path, under each of its names.
    fn handler(&mut self, built: &Path, name: &str, others: &[&str]) -> Result<()> {
        self.binary(built, &format!("{HANDLERS}/{name}"))?;
        for other in others {
            self.link(&format!("{HANDLERS}/{other}"), name);
        }
        for name in std::iter::once(&name).chain(others) {
            let target = format!("../../libexec/{PROVIDER}/{name}");
            self.link(&format!("{OLD_HANDLERS}/{name}"), &target);
        }
        Ok(())
    }

    fn documents(&mut self, meta: &Meta, distribution: Distribution) -> Result<()> {
        let page = man::file_name(meta);
        self.file(
            &format!("usr/share/man/man7/{page}.gz"),
            gzip(man::render(meta).as_bytes())?,
            0o644,
        );
        for other in names(meta).skip(1) {
            let link = format!("usr/share/man/man7/ocf_{PROVIDER}_{other}.7.gz");
            self.link(&link, &format!("{page}.gz"));
        }
        let name = meta.name;
        if TAKEN.contains(&name) {
            return Ok(());
        }
        let zsh = format!("{}/_{name}", distribution.zsh());
        for (path, text) in [
            (format!("usr/share/bash-completion/completions/{name}"), completion::bash(meta)),
            (zsh, completion::zsh(meta)),
            (format!("usr/share/fish/vendor_completions.d/{name}.fish"), completion::fish(meta)),
        ] {
            self.file(&path, text.into_bytes(), 0o644);
        }
        Ok(())
    }

    fn binary(&mut self, built: &Path, path: &str) -> Result<()> {
        let binary = built.join(Path::new(path).file_name().unwrap_or_default());
        let content =
            fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
        ensure!(is_static(&content)?, "{} is not static", binary.display());
        self.file(path, content, 0o755);
        Ok(())
    }

    fn file(&mut self, path: &str, content: Vec<u8>, mode: u32) {
        self.push(path, Content::File(content), mode);
    }

    fn link(&mut self, path: &str, target: &str) {
        self.push(path, Content::Link(target.into()), 0o777);
    }

    fn push(&mut self, path: &str, content: Content, mode: u32) {
        self.items.push(Item { path: path.into(), content, mode, package: self.package });
    }
}

/// A file of the workspace.
pub fn text(name: &str) -> Result<Vec<u8>> {
    fs::read(host::workspace().join(name)).with_context(|| format!("no {name}"))
}

/// The same bytes for the same bytes: neither name nor time goes in.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("gzip")
        .arg("-9n")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run gzip")?;
    let mut input = child.stdin.take().context("gzip takes nothing")?;
    let output = std::thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(bytes));
        let output = child.wait_with_output();
        writer.join().map_err(|_| anyhow::anyhow!("a helper thread died"))??;
        Ok::<_, anyhow::Error>(output?)
    })?;
    ensure!(output.status.success(), "gzip ended with {}", output.status);
    Ok(output.stdout)
}

/// Whether an ELF file asks for no interpreter, which only static ones do not.
fn is_static(elf: &[u8]) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let field = |at: usize, size: usize| -> Result<usize> {
        let bytes = elf.get(at..at + size).context("the file is cut short")?;
        Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    ensure!(elf.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit ELF file");
    let (start, size, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
    for number in 0..count {
        if u32::try_from(field(start + number * size, 4)?)? == PT_INTERP {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with no program headers.
    fn built() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0);
        let handlers = agents::HANDLERS.iter().map(|(name, _)| *name);
        for name in agents::ALL.iter().map(|meta| meta.name).chain(handlers) {
            fs::write(directory.path().join(name), &elf).unwrap();
        }
        directory
    }

    fn all() -> Vec<Item> {
        list(built().path(), Distribution::Debian).unwrap()
    }

    fn find<'a>(items: &'a [Item], path: &str) -> &'a Item {
        items.iter().find(|item| item.path == path).unwrap_or_else(|| panic!("no {path}"))
    }

    #[test]
    fn every_agent_is_in_every_package_unasked() {
        let items = all();
        let all = || agents::ALL.iter().copied();
        for (meta, name) in all().flat_map(|meta| names(meta).map(move |name| (meta, name))) {
            let pacemaker = find(&items, &format!("{AGENTS}/{name}"));
            assert_eq!(pacemaker.package, Package::Agents);
            let command = format!("{COMMANDS}/{name}");
            assert_eq!(items.iter().any(|item| item.path == command), !TAKEN.contains(&name));
            find(&items, &format!("usr/share/man/man7/ocf_sturdy_{name}.7.gz"));
            if meta.is_for_heartbeat() {
                let heartbeat = find(&items, &format!("{HARESOURCES}/{name}"));
                assert_eq!(heartbeat.package, Package::Haresources);
            }
        }
    }

    #[test]
    fn no_program_of_the_distribution_is_shadowed() {
        for item in all().iter().filter(|item| item.path.starts_with("usr/sbin/")) {
            assert!(!["usr/sbin/exportfs", "usr/sbin/vblade"].contains(&item.path.as_str()));
        }
    }

    #[test]
    fn every_link_leads_to_something_that_is_installed() {
        let items = all();
        for item in &items {
            let Content::Link(target) = &item.content else { continue };
            let mut parts: Vec<&str> = item.path.split('/').collect();
            parts.pop();
            for part in target.split('/') {
                match part {
                    ".." => drop(parts.pop()),
                    part => parts.push(part),
                }
            }
            find(&items, &parts.join("/"));
        }
    }

    #[test]
    fn no_path_is_below_etc_or_run_or_there_twice() {
        let items = all();
        let mut paths: Vec<_> = items.iter().map(|item| &item.path).collect();
        assert!(paths.iter().all(|path| path.starts_with("usr/")));
        paths.dedup();
        assert_eq!(paths.len(), items.len());
    }
}
