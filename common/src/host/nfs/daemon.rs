//! The daemons that the kernel's NFS server works with, as processes.
//!
//! A daemon is known by its program, which the kernel tells, and by what it has
//! open of the kernel's: mountd the channels of the export cache, nfsdcld its
//! pipe. A name, or a number in a file, is no proof.

use crate::host::absence::Whole;
use crate::host::clock::{Deadline, Pace};
use crate::host::pidfd;
use crate::host::process::Process;
use crate::host::signal::{self, Signal};
use crate::host::stuck;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Daemon {
    /// Answers what the kernel asks of exports, for NFSv4 too.
    Mountd,
    /// Keeps which clients of NFSv4 may take back what they had.
    Nfsdcld,
    /// Keeps which clients of NFSv3 are to be told of a restart.
    Statd,
    /// Tells clients of NFSv3 of a restart.
    Notify,
    /// Names for the numbers of users.
    Idmapd,
    Gssd,
    Svcgssd,
    Fsidd,
}

impl Daemon {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Mountd,
        Self::Nfsdcld,
        Self::Statd,
        Self::Notify,
        Self::Idmapd,
        Self::Gssd,
        Self::Svcgssd,
        Self::Fsidd,
    ];

    /// The program's name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Mountd => "rpc.mountd",
            Self::Nfsdcld => "nfsdcld",
            Self::Statd => "rpc.statd",
            Self::Notify => "sm-notify",
            Self::Idmapd => "rpc.idmapd",
            Self::Gssd => "rpc.gssd",
            Self::Svcgssd => "rpc.svcgssd",
            Self::Fsidd => "fsidd",
        }
    }

    /// The unit that the distributions have for it.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Mountd => "nfs-mountd.service",
            Self::Nfsdcld => "nfsdcld.service",
            Self::Statd => "rpc-statd.service",
            Self::Notify => "rpc-statd-notify.service",
            Self::Idmapd => "nfs-idmapd.service",
            Self::Gssd => "rpc-gssd.service",
            Self::Svcgssd => "rpc-svcgssd.service",
            Self::Fsidd => "fsidd.service",
        }
    }

    /// The one whose program this is.
    pub fn named(program: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|daemon| daemon.program() == program)
    }

    /// What it has open as long as it does its work; nothing where that is no
    /// file.
    const fn channel(self) -> Option<&'static str> {
        match self {
            Self::Mountd => Some("/rpc/nfsd.export/channel"),
            Self::Nfsdcld => Some("/nfsd/cld"),
            _ => None,
        }
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// A daemon that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub daemon: Daemon,
    /// Its process.
    pub process: Process,
    /// The number under which it has its channel open, if it was seen there.
    pub channel: Option<i32>,
}

/// All daemons that run in this network namespace.
pub fn running(view: &View) -> Result<Whole<Running>> {
    let proc = view.path("/proc");
    let names = view.list("/proc").context("cannot list the processes")?;
    let own = fs::read_link(proc.join("self/ns/net")).ok();
    let mut found = Vec::new();
    for pid in names.iter().filter_map(|name| name.parse::<i32>().ok()) {
        let Some(daemon) = which(&proc, pid)? else { continue };
        let namespace = fs::read_link(proc.join(format!("{pid}/ns/net"))).ok();
        if own.is_some() && namespace.is_some() && own != namespace {
            continue;
        }
        let process = Process::find(&proc, pid).filter(|process| !process.is_zombie);
        found.extend(process.map(|process| Running { daemon, process, channel: None }));
    }
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    view.note(format_args!("NFS daemons = {}", shown.join(", ")));
    Ok(Whole::told("NFS daemons", found))
}

/// The daemon whose program the process runs.
fn which(proc: &Path, pid: i32) -> Result<Option<Daemon>> {
    let program = match fs::read_link(proc.join(format!("{pid}/exe"))) {
        Ok(program) => program,
        // It has ended, or is one of the kernel's.
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
            return Ok(None);
        }
        Err(err) => {
            let name = Process::find(proc, pid).map(|process| process.name).unwrap_or_default();
            return match Daemon::named(&name) {
                None => Ok(None),
                Some(_) => Err(err).with_context(|| format!("cannot tell what process {pid} is")),
            };
        }
    };
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // One that runs on after its package was upgraded.
    Ok(Daemon::named(name.strip_suffix(" (deleted)").unwrap_or(name)))
}

impl Running {
    /// Whether it is there still, and not another with its number.
    pub fn is_alive(&self, view: &View) -> bool {
        let proc = view.path("/proc");
        let now = Process::find(&proc, self.process.pid);
        now.is_some_and(|now| now.started == self.process.started && !now.is_zombie)
            && matches!(which(&proc, self.process.pid), Ok(Some(daemon)) if daemon == self.daemon)
    }

    /// Whether an action of this agent's has started it, for whichever instance,
    /// and not systemd or somebody else: the kernel keeps what it was started with.
    pub fn is_of(&self, view: &View, agent: &str) -> bool {
        stuck::is_marked(&view.path("/proc"), self.process.pid, agent)
    }

    /// Whether it has open what the kernel reaches it by. It does not close that as
    /// long as it works, so where it was seen is looked at first.
    pub fn is_connected(&self, view: &View) -> bool {
        let Some(channel) = self.daemon.channel() else { return true };
        let before = self.channel.map(|number| self.files(view).join(number.to_string()));
        before.is_some_and(|file| leads_to(file, channel)) || self.find_channel(view).is_some()
    }

    /// The same, with the number of its channel for the looks to come.
    pub fn seen_at_channel(self, view: &View) -> Self {
        Self { channel: self.find_channel(view), ..self }
    }

    fn find_channel(&self, view: &View) -> Option<i32> {
        let channel = self.daemon.channel()?;
        let mut files = fs::read_dir(self.files(view)).ok()?.flatten();
        let found = files.find(|file| leads_to(file.path(), channel))?;
        found.file_name().to_str()?.parse().ok()
    }

    fn files(&self, view: &View) -> PathBuf {
        view.path("/proc").join(self.process.pid.to_string()).join("fd")
    }
}

fn leads_to(file: PathBuf, channel: &str) -> bool {
    fs::read_link(file)
        .is_ok_and(|to| to.as_os_str().as_encoded_bytes().ends_with(channel.as_bytes()))
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.daemon, self.process.pid)
    }
}

/// Runs a daemon's program, which goes into the background by itself, and
/// waits for the daemon.
pub fn start(system: &System<'_>, daemon: Daemon, words: &[&str]) -> Result<()> {
    let done = system.change(daemon.program(), words)?;
    if !done.success() {
        bail!("{daemon}: {}", done.reason());
    }
    await_one(system, daemon)
}

/// Waits until the daemon runs, and the kernel reaches it; nfsdcld's pipe is
/// there only once the server is.
pub fn await_one(view: &View, daemon: Daemon) -> Result<()> {
    let is_reached = |one: &Running| daemon == Daemon::Nfsdcld || one.is_connected(view);
    view.until(&format!("{daemon} to run"), || {
        let all = running(view)?;
        let mut of_it = all.iter().filter(|one| one.daemon == daemon).peekable();
        Ok(match (of_it.peek().is_some(), of_it.any(is_reached)) {
            (_, true) => Ok(()),
            (true, _) => Err("one that the kernel does not reach".to_owned()),
            (false, _) => Err("none".to_owned()),
        })
    })
}

/// Waits a while for the kernel to reach all of those that have a channel.
pub fn await_connections(view: &View) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let deadline = view.deadline().at_most(PATIENCE);
    let mut pace = Pace::new();
    while !running(view)?.iter().all(|one| one.is_connected(view)) && !deadline.has_passed() {
        pace.rest(deadline);
    }
    Ok(())
}

/// Ends these: asks them to end, and kills those that have not after a while.
pub fn end(system: &System<'_>, doomed: &[Running]) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let mut left: Vec<&Running> = doomed.iter().collect();
    for sent in [Signal::TERM, Signal::KILL] {
        for one in &left {
            signal::send(system, &one.process, sent, || one.is_alive(system))?;
        }
        let processes: Vec<Process> = left.iter().map(|one| one.process.clone()).collect();
        pidfd::await_processes(processes.iter(), Deadline::after(PATIENCE.min(share(system))));
        left.retain(|one| one.is_alive(system));
        if left.is_empty() {
            return Ok(());
        }
    }
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    bail!("{} cannot be ended", left.join(", "))
}

fn share(view: &View) -> Duration {
    (view.deadline().left() / 3).max(Duration::from_millis(200))
}

/// Whether somebody answers at rpcbind's own socket.
pub fn has_rpcbind(view: &View) -> bool {
    const SOCKETS: [&str; 2] = ["/run/rpcbind.sock", "/var/run/rpcbind.sock"];
    let answers = |path: &&str| std::os::unix::net::UnixStream::connect(view.path(path)).is_ok();
    SOCKETS.iter().any(answers)
        || view.is_real()
            && std::net::TcpStream::connect_timeout(
                &([127, 0, 0, 1], 111).into(),
                Duration::from_secs(1),
            )
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::os::unix::fs::symlink;

    fn machine() -> (tempfile::TempDir, View) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        let view = View::below(root.path(), Deadline::after(Duration::from_secs(5)));
        (root, view)
    }

    fn process(root: &Path, pid: i32, program: &str, open: &[&str]) {
        let dir = root.join("proc").join(pid.to_string());
        fs::create_dir_all(dir.join("fd")).unwrap();
        let stat = format!("{pid} (x) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 {pid} 1 1");
        fs::write(dir.join("stat"), stat).unwrap();
        symlink(program, dir.join("exe")).unwrap();
        for (number, file) in open.iter().enumerate() {
            symlink(file, dir.join("fd").join(number.to_string())).unwrap();
        }
    }

    #[test]
    fn a_daemon_is_known_by_its_program_and_not_by_its_name() {
        let (root, view) = machine();
        process(root.path(), 7, "/usr/sbin/rpc.mountd (deleted)", &[]);
        process(root.path(), 8, "/home/x/bash", &[]);
        process(root.path(), 9, "/usr/sbin/nfsdcld", &[]);
        let found = running(&view).unwrap();
        let which: Vec<Daemon> = found.iter().map(|one| one.daemon).collect();
        assert_eq!(which, [Daemon::Mountd, Daemon::Nfsdcld]);
        assert!(found.lacks(|one| one.daemon == Daemon::Statd).is_some());
        assert!(found.lacks(|one| one.daemon == Daemon::Mountd).is_none());
    }

    #[test]
    fn one_that_has_its_channel_closed_is_not_connected() {
        let (root, view) = machine();
        process(root.path(), 7, "/usr/sbin/rpc.mountd", &["/proc/7/net/rpc/nfsd.export/channel"]);
        process(root.path(), 8, "/usr/sbin/rpc.mountd", &["/dev/null"]);
        process(root.path(), 9, "/usr/sbin/nfsdcld", &["/run/rpc_pipefs/nfsd/cld"]);
        let connected = |one: &Running| one.is_connected(&view);
        let found = running(&view).unwrap();
        assert_eq!(found.iter().map(connected).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn a_channel_is_looked_for_where_it_was_seen_and_then_everywhere() {
        let (root, view) = machine();
        let channel = "/proc/7/net/rpc/nfsd.export/channel";
        process(root.path(), 7, "/usr/sbin/rpc.mountd", &["/dev/null", channel]);
        let one = running(&view).unwrap()[0].clone().seen_at_channel(&view);
        assert_eq!(one.channel, Some(1));
        assert!(one.is_connected(&view));
        let files = root.path().join("proc/7/fd");
        fs::rename(files.join("1"), files.join("2")).unwrap();
        assert!(one.is_connected(&view));
        fs::remove_file(files.join("2")).unwrap();
        assert!(!one.is_connected(&view));
    }

    #[test]
    fn whoever_of_an_agent_has_started_a_daemon_it_is_of_that_agent() {
        let (root, view) = machine();
        process(root.path(), 7, "/usr/sbin/rpc.mountd", &[]);
        let environment = "PATH=/sbin\0STURDY_WORKS_FOR=nfsserver-p_server in 70\0";
        fs::write(root.path().join("proc/7/environ"), environment).unwrap();
        let one = running(&view).unwrap()[0].clone();
        assert!(one.is_of(&view, "nfsserver") && !one.is_of(&view, "nfs-common"));
    }

    #[test]
    fn another_process_with_the_number_is_not_the_daemon() {
        let (root, view) = machine();
        process(root.path(), 7, "/usr/sbin/rpc.mountd", &[]);
        let one = running(&view).unwrap()[0].clone();
        assert!(one.is_alive(&view));
        fs::remove_dir_all(root.path().join("proc/7")).unwrap();
        assert!(!one.is_alive(&view));
        process(root.path(), 7, "/bin/sh", &[]);
        assert!(!one.is_alive(&view));
    }
}
