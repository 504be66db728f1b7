//! What every task needs of the machine it runs on: root, Debian packages,
//! and the binaries under test.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace's root directory.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the packaging crate lies in the workspace")
        .to_path_buf()
}

/// Whether this process may do what root may.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Starts this task again as root through sudo, and ends with its exit code;
/// returns at once when this process is root already.
pub fn become_root(task: &str, words: &[String], why: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    eprintln!("{task} needs root: {why}. Asking sudo.");
    let sudo = which::which("sudo").context("not root, and sudo is not installed")?;
    let status = Command::new(sudo)
        .arg("--preserve-env=CI,PATH,CARGO_HOME,RUSTUP_HOME,CARGO_TARGET_DIR,TERM,KEEP")
        .arg(std::env::current_exe()?)
        .arg(task)
        .args(words)
        .status()?;
    std::process::exit(status.code().unwrap_or(1));
}

/// Installs the Debian packages whose witness program is not there yet.
///
/// `needs` pairs a program (or an absolute path) with the package that
/// brings it and the reason it is needed.
pub fn install(needs: &[(&str, &str, &str)]) -> Result<()> {
    let lacking: Vec<_> = needs.iter().filter(|(witness, _, _)| !is_there(witness)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    for (witness, package, why) in &lacking {
        eprintln!("  installing {package} (no {witness} here): {why}");
    }
    ensure!(is_there("apt-get"), "no apt-get here; please install what is listed above");
    let _quiet = crate::quiet::Quiet::begin()?;
    let mut packages: Vec<&str> = lacking.iter().map(|(_, package, _)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let apt = |words: &[&str]| -> Result<bool> {
        Ok(Command::new("apt-get")
            .args(["-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"])
            .args(words)
            .args(if words[0] == "install" { &packages[..] } else { &[] })
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?
            .success())
    };
    let install = ["install", "-y", "--no-install-recommends"];
    if !apt(&install)? {
        // The package lists of a fresh machine may be missing or old.
        apt(&["update"])?;
        if !apt(&install)? {
            bail!("apt-get could not install {}", packages.join(" "));
        }
    }
    Ok(())
}

fn is_there(witness: &str) -> bool {
    if witness.starts_with('/') {
        return Path::new(witness).exists();
    }
    which::which(witness).is_ok()
        || ["/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join(witness).exists())
}

/// Builds the agents as they are shipped and returns the directory they lie in.
pub fn build_agents() -> Result<PathBuf> {
    build(&["--bins"])
}

/// The same for these alone; the others may be older.
pub fn build_some_agents(names: &[&str]) -> Result<PathBuf> {
    build(&names.iter().flat_map(|name| ["--bin", name]).collect::<Vec<_>>())
}

fn build(which: &[&str]) -> Result<PathBuf> {
    let output = cargo()
        .current_dir(workspace())
        .args(["build", "--release", "--package", "agents"])
        .args(which)
        .arg("--message-format=json-render-diagnostics")
        .args(["--config", &same_paths_everywhere()?])
        .stderr(Stdio::inherit())
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the agents do not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .find_map(|binary| Some(binary.parent()?.to_path_buf()))
        .context("cargo built no binary")
}

/// Panics carry the paths of sources, those of crates and of the library with
/// the builder's own directories in front. cargo adds these flags to the ones
/// of the workspace's configuration.
fn same_paths_everywhere() -> Result<String> {
    let crates = cargo_home()?.join("registry/src");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = said(Command::new(rustc).args(["--print", "sysroot"]))?;
    let library = Path::new(&sysroot).join("lib/rustlib/src/rust");
    let flags = [(crates, "/cargo"), (library, "/rust")]
        .map(|(from, to)| format!("{:?}", format!("--remap-path-prefix={}={to}", from.display())));
    Ok(format!(
        "target.'cfg(all(target_os = \"linux\", target_env = \"gnu\"))'.rustflags = [{}]",
        flags.join(", ")
    ))
}

/// Where cargo keeps what it has fetched.
pub fn cargo_home() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .context("neither CARGO_HOME nor HOME is set")
}

/// The cargo that runs this task.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What a program that must succeed prints, without the last line's end.
pub fn said(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} ended with {}: {}", output.status, stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
