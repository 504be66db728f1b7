//! Builds the agents twice, in two directories and under two CARGO_HOMEs.

use crate::host::{self, said};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Where the second build is made; kept, so that the next one is short.
const ELSEWHERE: &str = "target/again/a-longer-name/than-the-first";

/// Fails unless both builds give the same bytes.
pub fn compare() -> Result<()> {
    let first = host::build_agents()?;
    let workspace = host::workspace().join(ELSEWHERE);
    copy_sources(&workspace)?;
    let home = workspace.with_file_name("home");
    borrow_registry(&home)?;
    let output = Command::new(std::env::current_exe()?)
        .args(["dist", super::BUILD_OF])
        .arg(&workspace)
        .env("CARGO_HOME", &home)
        .env("CARGO_TARGET_DIR", workspace.with_file_name("built"))
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the second build ended with {}", output.status);
    let second = String::from_utf8(output.stdout)?;
    let second = Path::new(second.trim_end());
    let handlers = agents::HANDLERS.iter().map(|(name, _)| *name);
    for name in agents::ALL.iter().map(|meta| meta.name).chain(handlers) {
        let same = fs::read(first.join(name))? == fs::read(second.join(name))?;
        ensure!(same, "{} and {} differ", first.join(name).display(), second.join(name).display());
        println!("{name}: the same bytes");
    }
    Ok(())
}

/// The files of the work tree that git knows, as they are now.
fn copy_sources(to: &Path) -> Result<()> {
    let known = said(Command::new("git").current_dir(host::workspace()).args(["ls-files", "-z"]))?;
    for name in known.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (host::workspace().join(name), to.join(name));
        let Ok(content) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|old| old == content) {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file in a directory")?)?;
        fs::write(&to, content).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// What has been fetched is taken over, what is unpacked of it is not.
fn borrow_registry(home: &Path) -> Result<()> {
    fs::create_dir_all(home.join("registry"))?;
    for part in ["cache", "index"] {
        let link = home.join("registry").join(part);
        if fs::symlink_metadata(&link).is_err() {
            symlink(host::cargo_home()?.join("registry").join(part), link)?;
        }
    }
    Ok(())
}
