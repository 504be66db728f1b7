//! `cargo xtask install`: lays out what the packages ship.

use crate::host;
use anyhow::{Context, Result, bail, ensure};
use ocf_meta::{Meta, PROVIDER, completion, man};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const USAGE: &str = "Usage: cargo xtask install --destdir DIR [--replace]

  --destdir DIR  the root to install below; / for this machine
  --replace      put an agent of ours in the place of another package's script in
                 /etc/ha.d/resource.d, which is kept beside it as NAME.before-sturdy";

/// Where heartbeat looks for its scripts.
const HARESOURCES: &str = "etc/ha.d/resource.d";

/// The directory that hints and locks lie in; it may be there already.
const TMPFILES: &str = "d /run/resource-agents 1755 root root\n";

/// The task.
pub fn run(words: &[String]) -> Result<()> {
    let mut destdir = None;
    let mut replace = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--destdir" => destdir = words.next().map(PathBuf::from),
            "--replace" => replace = true,
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ => bail!("{word}?\n{USAGE}"),
        }
    }
    let root = destdir.with_context(|| format!("where to?\n{USAGE}"))?;
    let built = host::build_agents()?;
    install(&built, &root, replace)?;
    println!("{} agents installed below {}", agents::ALL.len(), root.display());
    Ok(())
}

/// Installs the agents that lie in `built` below `root`.
pub fn install(built: &Path, root: &Path, replace: bool) -> Result<()> {
    for meta in agents::ALL {
        let binary = built.join(meta.name);
        ensure!(is_static(&binary)?, "{} is not static", binary.display());
        let home = format!("usr/lib/ocf/resource.d/{PROVIDER}");
        put(root, &format!("{home}/{}", meta.name), &fs::read(&binary)?, 0o755)?;
        link(root, meta, replace)?;
        documents(root, meta)?;
    }
    for (name, others) in agents::HANDLERS {
        handler(built, root, name, others)?;
    }
    put(root, &format!("usr/lib/tmpfiles.d/{PROVIDER}.conf"), TMPFILES.as_bytes(), 0o644)?;
    for name in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        let text = fs::read(host::workspace().join(name)).with_context(|| format!("no {name}"))?;
        put(root, &format!("usr/share/doc/{PROVIDER}/{name}"), &text, 0o644)?;
    }
    Ok(())
}

/// A program that others call by its whole path, under each of its names.
fn handler(built: &Path, root: &Path, name: &str, others: &[&str]) -> Result<()> {
    let binary = built.join(name);
    ensure!(is_static(&binary)?, "{} is not static", binary.display());
    let home = format!("usr/lib/{PROVIDER}");
    put(root, &format!("{home}/{name}"), &fs::read(&binary)?, 0o755)?;
    for other in others {
        let path = root.join(&home).join(other);
        match symlink(name, &path) {
            Err(err) if err.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(err).with_context(|| format!("cannot make {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn documents(root: &Path, meta: &Meta) -> Result<()> {
    let name = meta.name;
    for (path, text) in [
        (format!("man/man7/{}", man::file_name(meta)), man::render(meta)),
        (format!("bash-completion/completions/{name}"), completion::bash(meta)),
        (format!("zsh/vendor-completions/_{name}"), completion::zsh(meta)),
        (format!("fish/vendor_completions.d/{name}.fish"), completion::fish(meta)),
    ] {
        put(root, &format!("usr/share/{path}"), text.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Writes a file under a new name first, so that a running agent's is never
/// half written.
fn put(root: &Path, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let path = root.join(path);
    let dir = path.parent().expect("below the root");
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let new = dir.join(format!(".{}.new", path.file_name().unwrap_or_default().display()));
    fs::write(&new, content)
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Links the agent to where heartbeat looks for it.
fn link(root: &Path, meta: &Meta, replace: bool) -> Result<()> {
    let dir = root.join(HARESOURCES);
    fs::create_dir_all(&dir)?;
    let path = dir.join(meta.name);
    let target = PathBuf::from(format!("../../../usr/lib/ocf/resource.d/{PROVIDER}/{}", meta.name));
    match fs::symlink_metadata(&path) {
        Ok(_) if fs::read_link(&path).is_ok_and(|found| found == target) => return Ok(()),
        Ok(_) if replace => {
            let kept = dir.join(format!("{}.before-{PROVIDER}", meta.name));
            fs::rename(&path, &kept)?;
            // heartbeat takes whatever is executable there for a resource.
            fs::set_permissions(&kept, fs::Permissions::from_mode(0o644))?;
            println!("{} kept as {}", path.display(), kept.display());
        }
        Ok(_) => {
            bail!("{} belongs to another package; --replace puts ours in its place", path.display())
        }
        Err(_) => {}
    }
    symlink(&target, &path).with_context(|| format!("cannot link {}", path.display()))
}

/// Whether an ELF file asks for no interpreter, which only static ones do not.
pub fn is_static(binary: &Path) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let elf = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let field = |at: usize, size: usize| -> Result<usize> {
        let bytes = elf.get(at..at + size).context("the file is cut short")?;
        Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    ensure!(elf.starts_with(b"\x7fELF\x02\x01"), "{} is not a 64-bit ELF file", binary.display());
    let (start, size, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
    for number in 0..count {
        if u32::try_from(field(start + number * size, 4)?)? == PT_INTERP {
            return Ok(false);
        }
    }
    Ok(true)
}
