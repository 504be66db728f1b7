//! A root file system for a node: the machine's own programs, read only, and
//! everything that can be written in memory. It ends with the node.

use super::words::Boot;
use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Where a node finds its programs.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

const PROGRAMS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const EMPTY: [&str; 14] = [
    "dev/shm",
    "etc/ha.d/resource.d",
    "home",
    "media",
    "mnt",
    "opt/sturdy",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "var/log",
    "var/tmp",
];
const SETTINGS: [&str; 8] = [
    "passwd",
    "group",
    "nsswitch.conf",
    "ld.so.cache",
    "mke2fs.conf",
    "services",
    "protocols",
    "localtime",
];
const NONE: Option<&str> = None;

/// Keeps what is mounted here from then on from reaching any other namespace.
pub fn make_private() -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, flags, NONE).context("cannot make the mounts private")
}

/// Mounts an empty file system in memory.
pub fn memory(at: &Path) -> Result<()> {
    let kind = Some("tmpfs");
    mount(kind, at, kind, MsFlags::empty(), Some("mode=0755"))
        .with_context(|| format!("cannot mount a tmpfs on {}", at.display()))
}

/// Mounts the processes of the own pid namespace.
pub fn processes(at: &Path) -> Result<()> {
    let kind = Some("proc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(kind, at, kind, flags, NONE).with_context(|| format!("cannot mount {}", at.display()))
}

/// Builds the node's root file system and moves into it.
pub fn enter(boot: &Boot) -> Result<()> {
    let root = &boot.root;
    make_private()?;
    memory(root)?;
    for program in PROGRAMS {
        programs(&Path::new("/").join(program), &root.join(program))?;
    }
    for directory in EMPTY {
        fs::create_dir_all(root.join(directory))?;
    }
    for setting in SETTINGS {
        // What is not there on the machine is not needed either.
        let _ = fs::copy(Path::new("/etc").join(setting), root.join("etc").join(setting));
    }
    fs::write(root.join("etc/hostname"), format!("{}\n", boot.node))?;
    symlink("../proc/self/mounts", root.join("etc/mtab"))?;
    symlink("/run", root.join("var/run"))?;
    symlink("/run/lock", root.join("var/lock"))?;
    fs::create_dir(root.join("run/lock"))?;
    agents(boot, root)?;
    devices(&root.join("dev"))?;
    processes(&root.join("proc"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("sysfs"), &root.join("sys"), Some("sysfs"), flags, NONE)
        .context("cannot mount /sys")?;
    for directory in &boot.directories {
        let inside = root.join(directory.strip_prefix("/").unwrap_or(directory));
        fs::create_dir_all(&inside)
            .with_context(|| format!("cannot make the mount point {}", directory.display()))?;
    }
    change_root(root)
}

/// Programs and libraries as the machine has them, a link as a link.
fn programs(from: &Path, to: &Path) -> Result<()> {
    if let Ok(target) = fs::read_link(from) {
        return symlink(target, to).with_context(|| format!("cannot make {}", to.display()));
    }
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir(to)?;
    let bind = MsFlags::MS_BIND;
    mount(Some(from), to, NONE, bind, NONE)
        .and_then(|()| mount(NONE, to, NONE, bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, NONE))
        .with_context(|| format!("cannot bring in {}", from.display()))
}

/// The agents as a package lays them out for heartbeat.
fn agents(boot: &Boot, root: &Path) -> Result<()> {
    let mut scripts: Vec<&str> = boot.words.iter().map(|word| word.script.as_str()).collect();
    scripts.sort_unstable();
    scripts.dedup();
    for script in scripts {
        let from = boot.agents.join(script);
        fs::copy(&from, root.join("opt/sturdy").join(script))
            .with_context(|| format!("cannot install {}", from.display()))?;
        let link = root.join("etc/ha.d/resource.d").join(script);
        symlink(Path::new("/opt/sturdy").join(script), link)?;
    }
    Ok(())
}

fn devices(dev: &Path) -> Result<()> {
    let nodes =
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];
    let everyone = Mode::from_bits_truncate(0o666);
    for (name, major, minor) in nodes {
        mknod(&dev.join(name), SFlag::S_IFCHR, everyone, makedev(major, minor))
            .with_context(|| format!("cannot make /dev/{name}"))?;
    }
    symlink("/proc/self/fd", dev.join("fd")).context("cannot make /dev/fd")
}

/// The old root leaves the namespace, and with it every mount of the machine.
fn change_root(root: &Path) -> Result<()> {
    std::env::set_current_dir(root)?;
    nix::unistd::pivot_root(".", ".").context("cannot change the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("cannot leave the old root")?;
    std::env::set_current_dir("/").context("cannot enter the new root")
}
