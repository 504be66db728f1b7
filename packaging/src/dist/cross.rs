//! The agents for 64-bit ARM, by Debian's own compiler for it.
//!
//! rustup's toolchain has the standard library of the machine it runs on only.
//! Debian has it as a package for each of its architectures, and the linker and
//! the C library for cross-building besides: in a clean root, since the two
//! toolchains would be in each other's way.

use crate::host::{self, said};
use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The compiler that Debian keeps current for its browsers, the library for
/// ARM, and what links.
const PACKAGES: &str =
    "rustc-web,cargo-web,libstd-rust-web-dev:arm64,gcc-aarch64-linux-gnu,libc6-dev-arm64-cross";

/// The C library that those packages link with, before `-cross` was added to its version.
const LIBC: &str = "libc6-dev-arm64-cross";

/// Where everything lies, and what is mounted there from outside.
const SOURCES: &str = "sources";
const CARGO: &str = "cargo";
const BUILT: &str = "built";

const NEEDS: &[(&str, &str, &str)] = &[("mmdebstrap", "mmdebstrap", "the clean root to build in")];

/// Builds the agents and returns where they lie, and the C library in them.
pub fn build() -> Result<(PathBuf, String)> {
    ensure!(host::is_root(), "a clean root can be made by root only");
    host::install(NEEDS)?;
    let root = host::workspace().join("target/clean/arm64");
    if !root.join("usr/bin/cargo").exists() {
        make_root(&root)?;
    }
    for name in [SOURCES, CARGO, BUILT] {
        fs::create_dir_all(root.join(name))?;
    }
    // Crates are fetched outside, where the machine's own settings for it are.
    said(host::cargo().current_dir(host::workspace()).args(["fetch", "--locked"]))?;
    compile(&root)?;
    let version =
        said(Command::new("dpkg-query").arg("--admindir").arg(root.join("var/lib/dpkg")).args([
            "-W",
            "-f",
            "${Version}",
            LIBC,
        ]))?;
    let version = version.split("cross").next().unwrap_or(&version);
    let libc = format!("glibc (= {version})");
    Ok((root.join(BUILT).join(TARGET).join("release"), libc))
}

fn make_root(root: &Path) -> Result<()> {
    eprintln!("making a root with Debian's compiler for ARM; about a minute");
    let new = root.with_extension("new");
    let _ = fs::remove_dir_all(&new);
    fs::create_dir_all(root.parent().context("no directory for it")?)?;
    said(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=apt", "--architectures=amd64,arm64"])
            .arg(format!("--include={PACKAGES}"))
            .arg("bookworm")
            .arg(&new),
    )?;
    fs::rename(&new, root).context("cannot put the root in its place")
}

/// Compiles in mounts of this process's own, which end with it.
fn compile(root: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("no mounts of our own")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let bind = |from: &Path, name: &str| {
        mount(Some(from), &root.join(name), none, MsFlags::MS_BIND, none)
            .with_context(|| format!("cannot bring in {}", from.display()))
    };
    bind(&host::workspace(), SOURCES)?;
    bind(&host::cargo_home()?, CARGO)?;
    bind(Path::new("/dev"), "dev")?;
    let status = Command::new("chroot")
        .arg(root)
        .args(["/usr/bin/env", "-i", "-C", &format!("/{SOURCES}"), "PATH=/usr/bin:/bin"])
        .arg(format!("CARGO_HOME=/{CARGO}"))
        .args(["CARGO_NET_OFFLINE=true", "HOME=/root"])
        .arg("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc")
        .args(["cargo", "build", "--release", "--package", "agents", "--bins"])
        .args(["--target", TARGET, "--target-dir", &format!("/{BUILT}")])
        .status()
        .context("cannot run chroot")?;
    ensure!(status.success(), "the agents do not build for {TARGET}");
    Ok(())
}
