//! Makes the packages once more, from another directory and under another
//! CARGO_HOME, by an xtask that was built there.

use crate::host::{self, said};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where that is; kept, so that the next time is short.
const ELSEWHERE: &str = "target/again/a-longer-name/than-the-first";

/// Fails unless the packages have the same bytes as those given.
pub fn compare(packages: &[PathBuf], words: &[&str]) -> Result<()> {
    let workspace = host::workspace().join(ELSEWHERE);
    copy_sources(&workspace)?;
    let beside = |name: &str| workspace.with_file_name(name);
    borrow_registry(&beside("home"))?;
    let status = host::cargo()
        .current_dir(&workspace)
        .args(["run", "--quiet", "--package", "xtask", "--", "dist"])
        .args(words)
        .arg("--out")
        .arg(beside("packages"))
        .env("CARGO_HOME", beside("home"))
        .env("CARGO_TARGET_DIR", beside("built"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the second build ended with {status}");
    for first in packages {
        let second = beside("packages").join(first.file_name().context("a package has a name")?);
        let (one, other) = (sha256(first)?, sha256(&second)?);
        ensure!(one == other, "{} and {} differ", first.display(), second.display());
        println!("{one}  {}: the same bytes again", first.display());
    }
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let line = said(Command::new("sha256sum").arg(path))?;
    line.split(' ').next().map(str::to_owned).context("sha256sum says nothing")
}

/// The files of the work tree that git knows, as they are now, in a clone that
/// knows of the same commit.
fn copy_sources(to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to)?;
    let clone = ["clone", "--quiet", "--shared", "--no-checkout"];
    said(Command::new("git").args(clone).arg(host::workspace()).arg(to))?;
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
