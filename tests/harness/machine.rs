//! A machine of its own for each case, made of namespaces.
//!
//! The process enters a private mount namespace once and stages the agents
//! there. Each case then runs on a thread with mount, network, host-name, IPC
//! and process namespaces of its own. When the thread ends, its first process
//! is killed by the kernel, and with it everything the case has left behind.

use super::call::Call;
use super::place::{AGENTS, HANDLERS, HARESOURCES, STOCK, STOCK_HARESOURCES, registry};
use super::program::Program;
use super::text::unescape;
use super::wait::wait_until;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::pivot_root;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

/// The mounts of the surrounding machine that a case's machine is made from.
const KEPT: &[&str] = &["/", "/usr", "/etc", "/var", "/root", "/bin", "/sbin", "/lib", "/lib64"];
/// Those that are no files on a disk.
const KEPT_WITH_ALL_BELOW: &[&str] = &["/proc", "/sys", "/dev"];

const STAGE: &str = "/run/staged-agents";
/// Below the stage, the handlers: they are no agents.
const STAGED_HANDLERS: &str = "handlers";
/// The argument by which the test binary knows it is a machine's first process.
const FIRST_PROCESS: &str = "--first-process-of-a-machine";

/// Names the directory of the binaries under test; without it they are the
/// ones that cargo built for this test.
const BINARIES: &str = "STURDY_AGENTS";

/// The machine a case runs on.
pub struct Machine {
    first: Child,
    /// The case's network namespace, to come back to from a neighbour's.
    pub(super) network: File,
    /// The directory of the layers that hold what is written on the machine.
    pub(super) layers: File,
    disks: RefCell<Vec<super::Disk>>,
}

impl Machine {
    /// Moves the calling thread into new namespaces.
    pub(super) fn enter() -> Result<Self, String> {
        unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWPID,
        )
        .map_err(|err| format!("unshare: {err}"))?;
        let network = File::open("/proc/thread-self/ns/net").map_err(|err| err.to_string())?;
        let layers = copy_on_write().map_err(|err| format!("mounts: {err}"))?;
        let first = spawn_first_process().map_err(|err| format!("first process: {err}"))?;
        let machine = Self { first, network, layers, disks: RefCell::default() };
        machine.ip(&["link", "set", "lo", "up"]);
        nix::unistd::sethostname("node1").map_err(|err| format!("host name: {err}"))?;
        Ok(machine)
    }

    /// One of our agents, called as Pacemaker calls it.
    pub fn agent(&self, name: &str) -> Call {
        Call::new(Path::new(AGENTS).join(name))
    }

    /// One of Debian's shell agents, called as Pacemaker calls it.
    pub fn stock(&self, name: &str) -> Call {
        Call::new(Path::new(STOCK).join(name))
    }

    /// Any program, found through `PATH`, in a bare environment.
    pub fn run(&self, program: &str, arguments: &[&str]) -> super::Output {
        Program::new(program).args(arguments).run()
    }

    /// Runs a program that must succeed and returns its stdout.
    ///
    /// # Panics
    /// With the program's own words when it fails.
    pub fn must(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(output.code == Some(0), "{program} {}: {output}", arguments.join(" "));
        output.stdout
    }

    /// Kills a process, and waits until it has ended: it is there for a moment
    /// after the signal.
    #[track_caller]
    pub fn kill(&self, pid: &str) {
        self.must("kill", &["-KILL", pid]);
        let process = Path::new("/proc").join(pid);
        wait_until(10, "the process that was killed has ended", || !process.exists());
    }

    /// Runs `ip` with words that must succeed.
    pub fn ip(&self, words: &[&str]) -> String {
        self.must("ip", words)
    }

    /// Installs a small program of the case's own making under `/usr/local/sbin`,
    /// which comes first in every `PATH` the harness sets.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = Path::new("/usr/local/sbin").join(name);
        self.file(&path, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("own overlay");
        path
    }

    /// Writes a file, and the directories above it, on this machine only.
    pub fn file(&self, path: impl AsRef<Path>, text: &str) {
        let path = path.as_ref();
        fs::create_dir_all(path.parent().expect("a file in a directory")).expect("own overlay");
        fs::write(path, text).expect("own overlay");
    }

    /// Pretends a file of `/proc` with what this kernel does not say, for the
    /// processes to come; they find each other through `/proc/self` only.
    pub fn pretend_proc(&self, name: &str, text: &str) {
        let line = "mkdir /run/proc && mount --bind /proc /run/proc && cd /run/proc \
                    && mount -t tmpfs none /proc && for entry in *; do \
                    ln -s \"/run/proc/$entry\" \"/proc/$entry\"; done; test -e /proc/self/fd";
        self.must("sh", &["-c", line]);
        let file = Path::new("/proc").join(name);
        // A link to the kernel's own, if it has one.
        let _ = fs::remove_file(&file);
        self.file(file, text);
    }

    /// Makes the directory an automount point of `systemd-1`, which stays silent
    /// as long as its end of the pipe is open.
    pub fn automount_point(&self, directory: &str) -> OwnedFd {
        fs::create_dir_all(directory).expect("own overlay");
        let (asked, asks) = nix::unistd::pipe().expect("a pipe");
        let options = format!("fd={},minproto=5,maxproto=5,direct", asks.as_raw_fd());
        let (source, flags) = (Some("systemd-1"), MsFlags::empty());
        mount(source, directory, Some("autofs"), flags, Some(options.as_str())).expect("autofs");
        asked
    }

    /// Keeps a disk attached to the end of the case.
    pub fn keep(&self, disk: super::Disk) {
        self.disks.borrow_mut().push(disk);
    }

    /// The process namespace's first process, as the rest of the machine under
    /// test sees it.
    pub(super) fn first_pid(&self) -> u32 {
        self.first.id()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The kernel kills every process of the namespace with its first one,
        // and that one does not end before all are reaped: also those that
        // the case has started itself and never waited for.
        let _ = self.first.kill();
        let of_this_thread = Some(WaitPidFlag::__WNOTHREAD);
        while waitpid(None, of_this_thread).is_ok() {}
    }
}

/// Whether this process was started to be a machine's first.
pub(super) fn is_first_process() -> bool {
    std::env::args().nth(1).is_some_and(|word| word == FIRST_PROCESS)
}

/// Where an agent lies outside of the machines, for the calls that need none.
pub fn staged(name: &str) -> PathBuf {
    Path::new(STAGE).join(name)
}

/// The life of a machine's first process: mount the `/proc` that belongs to
/// its namespace, say so, and take in orphans until killed.
pub(super) fn first_process() -> ExitCode {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    if let Err(err) = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>) {
        eprintln!("/proc: {err}");
        return ExitCode::FAILURE;
    }
    print!("r");
    let _ = std::io::Write::flush(&mut std::io::stdout());
    let mut orphans = SigSet::empty();
    orphans.add(Signal::SIGCHLD);
    let _ = orphans.thread_block();
    loop {
        while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|found| found.pid().is_some()) {}
        let _ = orphans.wait();
    }
}

fn spawn_first_process() -> std::io::Result<Child> {
    let mut first = Command::new("/proc/self/exe")
        .arg0("first-process")
        .arg(FIRST_PROCESS)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = [0];
    first.stdout.take().expect("a pipe was asked for").read_exact(&mut ready)?;
    Ok(first)
}

/// Enters the process-wide private mount namespace and stages the agents.
///
/// Must be called before any thread is started.
pub(super) fn prepare() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("it needs root, for namespaces, loop devices and mounts".into());
    }
    let binaries = binaries()?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|err| format!("no mount namespace: {err}"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|err| format!("mounts cannot be made private: {err}"))?;
    // Opened before `/run` is covered: the binaries may lie anywhere.
    let agents: Vec<_> = binaries
        .iter()
        .map(|path| Ok((path.file_name().expect("a binary").to_owned(), fs::read(path)?)))
        .collect::<std::io::Result<_>>()
        .map_err(|err| format!("cannot read the agents: {err}"))?;
    detach_foreign_mounts().map_err(|err| format!("cannot unmount: {err}"))?;
    tmpfs("/run").and_then(|()| stage(agents)).map_err(|err| format!("cannot stage: {err}"))
}

/// Takes away every mount that a machine does not need, here and in the
/// machines to come: what others mount and unmount meanwhile is no business of
/// a case.
fn detach_foreign_mounts() -> std::io::Result<()> {
    const KEPT: &[&str] =
        &["/", "/usr", "/etc", "/var", "/root", "/bin", "/sbin", "/lib", "/lib64"];
    const KEPT_WITH_ALL_BELOW: &[&str] = &["/proc", "/sys", "/dev"];
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mounted = table.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for escaped in mounted {
        let directory = unescape(escaped);
        let kept = KEPT.contains(&directory.as_str())
            || KEPT_WITH_ALL_BELOW.iter().any(|root| Path::new(&directory).starts_with(root));
        if !kept {
            // One that is gone already, or covered, is none to worry about.
            let _ = umount2(directory.as_str(), MntFlags::MNT_DETACH);
        }
    }
    Ok(())
}

fn stage(agents: Vec<(std::ffi::OsString, Vec<u8>)>) -> std::io::Result<()> {
    let handlers = Path::new(STAGE).join(STAGED_HANDLERS);
    fs::create_dir_all(&handlers)?;
    for (name, content) in agents {
        let is_handler = agents::HANDLERS.iter().any(|(handler, _)| name == *handler);
        let path = if is_handler { &handlers } else { Path::new(STAGE) }.join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The binaries under test, by the registry's names.
pub(super) fn binaries() -> Result<Vec<PathBuf>, String> {
    let directory = match std::env::var_os(BINARIES) {
        Some(directory) => PathBuf::from(directory),
        None => built_beside_this_test(),
    };
    let handlers = agents::HANDLERS.iter().map(|(name, _)| *name);
    let paths: Vec<_> = registry().chain(handlers).map(|name| directory.join(name)).collect();
    match paths.iter().find(|path| !path.is_file()) {
        Some(lost) => Err(format!("{} is not built", lost.display())),
        None => Ok(paths),
    }
}

/// cargo puts a package's binaries one directory above its tests.
fn built_beside_this_test() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(2).unwrap_or(Path::new("/")).to_path_buf()
}

/// Gives the machine a root of its own, copied on write: nothing that a case
/// writes reaches the disk. Returns the directory of the layers it goes to.
fn copy_on_write() -> Result<File, String> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(|err| err.to_string())?;
    // Held open, the staging directory outlives the new `/run` above it.
    let staged = File::open(STAGE).map_err(|err| err.to_string())?;
    tmpfs("/run").map_err(|err| format!("/run: {err}"))?;
    // Nobody finds it any more by a path.
    let layers = File::open("/run").map_err(|err| format!("/run: {err}"))?;
    for directory in on_file_systems_of_their_own().map_err(|err| format!("mounts: {err}"))? {
        overlay(&directory).map_err(|err| format!("{directory}: {err}"))?;
    }
    install(&staged).map_err(|err| format!("agents: {err}"))?;
    new_root().map_err(|err| format!("root: {err}"))?;
    for directory in ["/run", "/tmp", "/srv"] {
        tmpfs(directory).map_err(|err| format!("{directory}: {err}"))?;
    }
    let anybody = fs::Permissions::from_mode(0o1777);
    fs::set_permissions("/tmp", anybody).map_err(|err| format!("/tmp: {err}"))?;
    Ok(layers)
}

/// The root, and those of its directories that are mounts, the root first.
fn on_file_systems_of_their_own() -> std::io::Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mounted: Vec<_> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let kept = KEPT.iter().filter(|directory| mounted.contains(directory));
    Ok(kept.map(ToString::to_string).collect())
}

/// Enters the overlay of `/`, and takes the kernel's own directories along.
fn new_root() -> std::io::Result<()> {
    let root = merged("/");
    for directory in KEPT_WITH_ALL_BELOW {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        let target = format!("{root}{directory}");
        mount(Some(*directory), target.as_str(), None::<&str>, flags, None::<&str>)?;
    }
    // The one way to change the root of a mount namespace leaves the old one
    // mounted above the new one.
    std::env::set_current_dir(&root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")
}

fn tmpfs(directory: &str) -> std::io::Result<()> {
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755"))?;
    Ok(())
}

/// Where the overlay of a directory is put together. The layers of the root
/// stay on the `/run` that the new root covers.
fn merged(directory: &str) -> String {
    format!("/run/root{}", directory.trim_end_matches('/'))
}

fn overlay(directory: &str) -> std::io::Result<()> {
    let layer = |kind: &str| format!("/run/{kind}{}", directory.replace('/', "-"));
    let (upper, work, merged) = (layer("upper"), layer("work"), merged(directory));
    for needed in [&upper, &work, &merged] {
        fs::create_dir_all(needed)?;
    }
    let options = format!("lowerdir={directory},upperdir={upper},workdir={work}");
    let (kind, merged) = (Some("overlay"), merged.as_str());
    mount(kind, merged, kind, MsFlags::empty(), Some(options.as_str()))?;
    Ok(())
}

/// Lays the agents out below the new root as the packages will: for Pacemaker
/// by name, for heartbeat by links.
fn install(staged: &File) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let below = |directory: &str| format!("{}{directory}", merged("/"));
    let (agents, handlers) = (below(AGENTS), below(HANDLERS));
    let (links, stock) = (below(HARESOURCES), below(STOCK_HARESOURCES));
    for directory in [&agents, &handlers, &links, &stock] {
        fs::create_dir_all(directory)?;
    }
    let source = format!("/proc/self/fd/{}", staged.as_raw_fd());
    let bind = |source: &str, place: &str| {
        mount(Some(source), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    };
    bind(&source, &agents)?;
    bind(&format!("{source}/{STAGED_HANDLERS}"), &handlers)?;
    for name in registry() {
        let link = Path::new(&links).join(name);
        match fs::rename(&link, Path::new(&stock).join(name)) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
            _ => symlink(Path::new(AGENTS).join(name), link)?,
        }
    }
    Ok(())
}
