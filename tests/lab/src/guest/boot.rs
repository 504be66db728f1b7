//! The first process of a machine, in two stages: from the initial memory
//! disk it loads the drivers of the root disk and moves there; on the root
//! disk it names the machine, starts the agent and reaps orphans for ever.

use super::SELF;
use super::paravirtual::{self, GUEST};
use nix::kmod::ModuleInitFlags;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a stage; returns only when the machine cannot go on.
pub fn run(second: bool) -> ExitCode {
    let result = if second { second_stage() } else { first_stage() };
    if let Err(err) = result {
        println!("lab-guest: the machine cannot start: {err}");
    }
    // The kernel panics when its first process ends; the host sees the text.
    std::thread::sleep(Duration::from_secs(1));
    ExitCode::FAILURE
}

fn first_stage() -> Result<(), String> {
    put_on("proc", "/proc", "proc")?;
    put_on("sys", "/sys", "sysfs")?;
    put_on("dev", "/dev", "devtmpfs")?;
    if word_of_command_line(GUEST).is_some() {
        return paravirtual::run();
    }
    if word_of_command_line("lab.probe").is_some() {
        println!("lab: the kernel runs");
        let never = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT);
        return Err(format!("cannot restart: {never:?}"));
    }
    load_modules()?;
    await_path("/dev/vda", Duration::from_secs(60))?;
    fs::create_dir_all("/root").map_err(said("make /root"))?;
    mount(Some("/dev/vda"), "/root", Some("ext4"), MsFlags::MS_NOATIME, None::<&str>)
        .map_err(|err| format!("cannot mount /dev/vda: {err}"))?;
    put_on("run", "/root/run", "tmpfs")?;
    fs::create_dir_all("/root/run/lab").map_err(said("make /run/lab"))?;
    fs::copy("/init", format!("/root{SELF}")).map_err(said("copy itself"))?;
    for name in ["dev", "proc", "sys"] {
        let (from, to) = (format!("/{name}"), format!("/root/{name}"));
        mount(Some(from.as_str()), to.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .map_err(|err| format!("cannot move {from}: {err}"))?;
    }
    std::env::set_current_dir("/root").map_err(said("enter /root"))?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(|err| format!("cannot move the root: {err}"))?;
    nix::unistd::chroot(".").map_err(|err| format!("cannot change the root: {err}"))?;
    std::env::set_current_dir("/").map_err(said("enter the root"))?;
    let err = Command::new(SELF).arg("second-stage").exec();
    Err(format!("cannot execute {SELF}: {err}"))
}

/// Loads what `/modules/order` lists, in that order.
pub fn load_modules() -> Result<(), String> {
    let order = fs::read_to_string("/modules/order").map_err(said("read /modules/order"))?;
    for name in order.lines() {
        let file = fs::File::open(format!("/modules/{name}")).map_err(said(name))?;
        let loaded = nix::kmod::finit_module(&file, c"", flags(name));
        match loaded {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(err) => return Err(format!("cannot load {name}: {err}")),
        }
    }
    Ok(())
}

/// The kernel unpacks a module itself where it is told that it is packed.
fn flags(name: &str) -> ModuleInitFlags {
    /// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h.
    const PACKED: u32 = 4;
    let bits = if name.ends_with(".ko") { 0 } else { PACKED };
    ModuleInitFlags::from_bits_retain(bits)
}

fn second_stage() -> Result<(), String> {
    for (kind, dir) in [("devpts", "/dev/pts"), ("tmpfs", "/dev/shm"), ("tmpfs", "/tmp")] {
        fs::create_dir_all(dir).map_err(said(dir))?;
        put_on(kind, dir, kind)?;
    }
    link_streams()?;
    // Both are links to directories of /run on the distribution's root.
    for dir in ["/run/lock", "/run/lab"] {
        fs::create_dir_all(dir).map_err(said(dir))?;
    }
    let name = word_of_command_line("lab.name=").unwrap_or_else(|| "nameless".into());
    nix::unistd::sethostname(&name).map_err(|err| format!("cannot take the name: {err}"))?;
    fs::write("/etc/hostname", format!("{name}\n")).map_err(said("write /etc/hostname"))?;
    network()?;
    // It makes LVM's device nodes, and opens new devices at awkward moments,
    // as it does everywhere. It goes into the background by itself.
    tool("/lib/systemd/systemd-udevd", &["--daemon"], "")?;
    let mut agent = start_agent()?;
    loop {
        match nix::sys::wait::wait() {
            Ok(status) if status.pid() == Some(agent) => agent = start_agent()?,
            Ok(_) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// What an init system has in /dev besides devices: scripts name their own files by it.
/// Xen's wait for ever where they cannot.
fn link_streams() -> Result<(), String> {
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        let link = format!("/dev/{name}");
        if !Path::new(&link).is_symlink() {
            let made = std::os::unix::fs::symlink(format!("/proc/self/{target}"), &link);
            made.map_err(said(&link))?;
        }
    }
    Ok(())
}

/// Two bonds of two cards each, as in the articles; a client has one.
fn network() -> Result<(), String> {
    tool("modprobe", &["-a", "virtio_net"], "")?;
    tool("modprobe", &["bonding", "max_bonds=0"], "")?;
    let mut batch = String::from("link set lo up\n");
    for (bond, word, cards) in
        [("bond0", "lab.public=", ["eth0", "eth1"]), ("bond1", "lab.private=", ["eth2", "eth3"])]
    {
        let Some(address) = word_of_command_line(word) else { continue };
        batch += &format!("link add {bond} type bond mode balance-rr miimon 100\n");
        for card in cards {
            batch += &format!("link set {card} master {bond}\n");
        }
        batch += &format!("link set {bond} up\naddress add {address} broadcast + dev {bond}\n");
    }
    tool("ip", &["-batch", "-"], &batch)
}

fn tool(program: &str, words: &[&str], input: &str) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(words)
        .env("PATH", PATH)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .map_err(said(program))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(said(program))?;
    }
    let status = child.wait().map_err(said(program))?;
    if status.success() { Ok(()) } else { Err(format!("{program} {words:?} failed: {status}")) }
}

fn start_agent() -> Result<nix::unistd::Pid, String> {
    let child = Command::new(SELF)
        .arg("agent")
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .spawn()
        .map_err(said("start the agent"))?;
    Ok(nix::unistd::Pid::from_raw(child.id() as i32))
}

fn put_on(source: &str, dir: &str, kind: &str) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(said(dir))?;
    mount(Some(source), dir, Some(kind), MsFlags::empty(), None::<&str>)
        .map_err(|err| format!("cannot mount {kind} on {dir}: {err}"))
}

/// Waits for a device.
pub fn await_path(path: &str, limit: Duration) -> Result<(), String> {
    let start = Instant::now();
    while !Path::new(path).exists() {
        if start.elapsed() > limit {
            return Err(format!("no {path} after {} s", limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn word_of_command_line(prefix: &str) -> Option<String> {
    let line = fs::read_to_string("/proc/cmdline").ok()?;
    line.split_whitespace().find_map(|word| word.strip_prefix(prefix)).map(str::to_owned)
}

/// An error as a sentence.
pub fn said(what: &str) -> impl Fn(std::io::Error) -> String + '_ {
    move |err| format!("cannot {what}: {err}")
}
