//! Guests of libvirt: whether one runs, what it does, and its end.
//!
//! A guest of qemu is a process. libvirt's daemon has noted which, and what it
//! does; the kernel says whether the process is there. So a look asks nobody,
//! and the daemon only where what is noted may be of the past. Guests of other
//! hypervisors are known to the daemon alone.
//!
//! libvirt's own library is not used: what is called here is a dozen calls, to
//! whose numbers and forms libvirt only ever adds.

mod condition;
mod connection;
mod guests;
mod identity;
mod status;
mod wire;

pub use condition::{Condition, Pause};
pub use connection::{Connection, Domain, ShutdownMode};
pub use guests::{Guest, lacks, settled as guests};
pub use identity::{Definition, Disk, Identity, Uuid};
pub use status::{definition, file as status_file, path as status_path};
pub use wire::Refusal;

use crate::host::absence::{Absent, Whole};
use crate::host::clock::Deadline;
use crate::host::pidfd;
use crate::host::process::{Doing, Process};
use crate::host::program::Output;
use crate::host::signal::{self, Signal};
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use connection::PROMPT;
use nix::fcntl::{FcntlArg, fcntl};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which hypervisor of this machine, as a URI of libvirt's: `qemu:///system`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hypervisor {
    uri: String,
    /// What the daemon is asked to open: the URI without the way to the daemon.
    name: String,
    socket: Option<PathBuf>,
}

impl Hypervisor {
    /// Reads a URI; nothing of one that leads to another machine, or to what a
    /// person runs for himself.
    pub fn parse(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let (driver, transport) = scheme.split_once('+').unwrap_or((scheme, "unix"));
        let (host, path) = rest.split_at(rest.find('/')?);
        let (path, words) = path.split_once('?').unwrap_or((path, ""));
        let is_word = !driver.is_empty() && driver.bytes().all(|c| c.is_ascii_alphanumeric());
        if !host.is_empty() || transport != "unix" || !is_word || path == "/session" {
            return None;
        }
        let socket = words.split('&').find_map(|word| word.strip_prefix("socket="));
        Some(Self {
            uri: uri.to_owned(),
            name: format!("{driver}://{path}"),
            socket: socket.map(PathBuf::from),
        })
    }

    /// What the daemon is asked to open.
    fn name(&self) -> &str {
        &self.name
    }

    /// The name of the driver: `qemu`.
    pub fn driver(&self) -> &str {
        self.name.split_once(':').map_or("", |(driver, _)| driver)
    }

    /// Whether its guests are processes of the system's.
    pub fn has_processes(&self) -> bool {
        self.name == "qemu:///system"
    }

    /// Where a daemon may listen: one for this driver, or one for all.
    fn sockets(&self) -> Vec<PathBuf> {
        match &self.socket {
            Some(socket) => vec![socket.clone()],
            None => [format!("virt{}d", self.driver()), "libvirt".to_owned()]
                .map(|daemon| PathBuf::from(format!("/run/libvirt/{daemon}-sock")))
                .to_vec(),
        }
    }
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

/// The daemon, as a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Its number.
    pub pid: i32,
    /// When it was started.
    pub started: u64,
}

impl Daemon {
    /// The daemon that serves the hypervisor, if it runs: the one that has the
    /// lock which it keeps for as long as it lives. To connect without that is
    /// to have it started where the service manager listens in its place.
    pub fn find(view: &View, hypervisor: &Hypervisor) -> Result<Option<Self>> {
        let own = format!("/run/virt{}d.pid", hypervisor.driver());
        let files = match hypervisor.has_processes() {
            true => {
                vec!["/run/libvirt/qemu/driver.pid".to_owned(), own, "/run/libvirtd.pid".into()]
            }
            false => vec![own, "/run/libvirtd.pid".into()],
        };
        for file in files {
            let Some(pid) = locker(&view.path(&file))
                .with_context(|| format!("cannot tell who has locked {file}"))?
            else {
                continue;
            };
            view.note(format_args!("{file} is locked by process {pid}"));
            let process = Process::find(&view.path("/proc"), pid);
            let started = process.map_or(0, |process| process.started);
            return Ok(Some(Self { pid, started }));
        }
        view.note(format_args!("no daemon of libvirt's has its lock"));
        Ok(None)
    }
}

/// The process that has locked the file; nothing where none has, or there is no
/// file.
fn locker(path: &Path) -> std::io::Result<Option<i32>> {
    let file = match File::open(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut lock = first_byte();
    fcntl(&file, FcntlArg::F_GETLK(&mut lock))?;
    Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid))
}

/// What the daemon locks of the file.
const fn first_byte() -> libc::flock {
    let (l_type, l_whence) = (libc::F_WRLCK as i16, libc::SEEK_SET as i16);
    libc::flock { l_type, l_whence, l_start: 0, l_len: 1, l_pid: 0 }
}

/// A guest as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// By what it is known, its UUID included.
    pub identity: Identity,
    /// Its process, of a hypervisor that has them.
    pub process: Option<Process>,
    /// What it does, as far as that is known: a process that lives is running
    /// for all that is known without a daemon.
    pub condition: Condition,
    /// Whether its process stands still, since a signal has stopped it.
    pub is_halted: bool,
    /// Whether it is being moved here and has not arrived.
    pub is_incoming: bool,
}

/// What has become of a guest that ran as this process: nothing where a closer
/// [`look`] is needed. It reads two files, and asks nobody.
pub fn glance(view: &View, identity: &Identity, process: (i32, u64)) -> Result<Option<Seen>> {
    let (pid, started) = process;
    let found = Process::with_doing(&view.path("/proc"), pid);
    let Some((now, Doing::Running)) = found else { return Ok(None) };
    if now.started != started || now.is_zombie {
        return Ok(None);
    }
    let noted = status::noted(view, &identity.name).ok().flatten();
    if noted != Some(status::Noted { condition: Condition::Running, pid }) {
        return Ok(None);
    }
    Ok(Some(Seen {
        identity: identity.clone(),
        process: Some(now),
        condition: Condition::Running,
        is_halted: false,
        is_incoming: false,
    }))
}

/// Looks for a guest: what it does, or proof that it does not run.
pub fn look(
    view: &View,
    hypervisor: &Hypervisor,
    meant: &Identity,
) -> Result<Result<Seen, Absent>> {
    if !hypervisor.has_processes() {
        return by_daemon(view, hypervisor, meant);
    }
    among(view, hypervisor, &guests::settled(view)?, meant)
}

/// The same in a list of guests that was made before.
pub fn among(
    view: &View,
    hypervisor: &Hypervisor,
    guests: &Whole<Guest>,
    meant: &Identity,
) -> Result<Result<Seen, Absent>> {
    if let Some(absent) = guests::lacks(guests, meant) {
        return Ok(Err(absent));
    }
    let is_known = |guest: &&Guest| guest.identity.as_ref().is_some_and(|found| found.is(meant));
    let Some(guest) = guests.iter().find(is_known) else {
        let leaving = guests.iter().find(|guest| guest.identity.is_none());
        let leaving = leaving.map(Guest::to_string).unwrap_or_default();
        bail!("{leaving} is ending, and may be {meant} or hold its disks");
    };
    let identity = guest.identity.clone().unwrap_or_else(|| meant.clone());
    let noted = match status::noted(view, &identity.name) {
        Ok(noted) => noted.filter(|noted| noted.pid == guest.process.pid),
        Err(err) => {
            view.warn(format_args!("{err:#}"));
            None
        }
    };
    // What is noted of a guest that does not run may be of the past, and so may
    // be that nothing is noted.
    let condition = match noted.map(|noted| noted.condition) {
        Some(Condition::Running) => Condition::Running,
        noted => match asked(view, hypervisor, &identity) {
            Ok(told) => told,
            Err(err) => {
                view.note(format_args!("{err:#}"));
                noted.unwrap_or(Condition::Running)
            }
        },
    };
    let is_halted = guests::is_halted(view, &guest.process);
    let is_incoming = guest.is_incoming && condition == Condition::Paused(Pause::Migration);
    let process = Some(guest.process.clone());
    Ok(Ok(Seen { identity, process, condition, is_halted, is_incoming }))
}

/// What the daemon says of a guest whose process lives, if the daemon is there.
fn asked(view: &View, hypervisor: &Hypervisor, identity: &Identity) -> Result<Condition> {
    let domain = Domain::known(identity).context("its UUID is not known")?;
    let mut line = Connection::to_running(view, hypervisor, view.deadline().at_most(PROMPT))?;
    match line.condition(&domain)? {
        Ok(condition) => Ok(condition),
        Err(absent) => bail!("{absent}, and its process is there"),
    }
}

/// A guest that only the daemon knows.
fn by_daemon(
    view: &View,
    hypervisor: &Hypervisor,
    meant: &Identity,
) -> Result<Result<Seen, Absent>> {
    Daemon::find(view, hypervisor)?
        .with_context(|| format!("libvirt does not run, and only it knows whether {meant} does"))?;
    let mut line = Connection::open(view, hypervisor, view.deadline().at_most(3 * PROMPT))?;
    let domain = match line.find(meant)? {
        Ok(domain) => domain,
        Err(absent) => return Ok(Err(absent)),
    };
    Ok(line.condition(&domain)?.map(|condition| Seen {
        identity: domain.identity,
        process: None,
        condition,
        is_halted: false,
        is_incoming: false,
    }))
}

/// Whether a guest may still come that this daemon was told to make: what it
/// was told before has been begun when it has answered this, and then it knows
/// the guest. A daemon that has ended has forgotten it.
pub fn is_on_its_way(
    view: &View,
    hypervisor: &Hypervisor,
    told: &Daemon,
    meant: &Identity,
) -> Result<bool> {
    /// From the moment a worker has taken the call to the one in which it has
    /// read the definition that comes with it.
    const BEGUN: Duration = Duration::from_millis(300);
    if Daemon::find(view, hypervisor)?.as_ref() != Some(told) {
        return Ok(false);
    }
    let mut line = Connection::open(view, hypervisor, view.deadline().at_most(3 * PROMPT))?;
    let nobody = Uuid([0; 16]);
    let identity = Identity { uuid: Some(meant.uuid.unwrap_or(nobody)), ..meant.clone() };
    let any = Domain::known(&identity).context("no UUID")?;
    line.pass_queue(&any).context("libvirt was told to start it, and has not come to it yet")?;
    view.pause(BEGUN);
    // A guest that is defined, and off, is known too, and is on no way.
    Ok(match line.find(meant)? {
        Ok(domain) => line.condition(&domain)?.is_ok(),
        Err(_) => false,
    })
}

/// Ends guests, side by side: by the daemon, where it answers, and by signals
/// what has not ended after `patience`. Returns when all of them have ended.
pub fn end(
    system: &System<'_>,
    hypervisor: &Hypervisor,
    guests: &[Seen],
    patience: Duration,
) -> Result<()> {
    let domains: Vec<Domain> =
        guests.iter().filter_map(|guest| Domain::known(&guest.identity)).collect();
    let by_daemon = || -> Result<()> {
        let limit = system.deadline().at_most(patience);
        let mut line = Connection::to_running(system, hypervisor, limit)?;
        match line.destroy(system, &domains)?.first() {
            Some((place, refusal)) => bail!("{}: {refusal}", domains[*place].identity),
            None => Ok(()),
        }
    };
    let done = by_daemon();
    let processes: Vec<&Process> = guests.iter().filter_map(|one| one.process.as_ref()).collect();
    if processes.is_empty() {
        return done;
    }
    if let Err(err) = done {
        system.info(format_args!("{err:#}; ending it by signals where it has not ended"));
    }
    let is_left = |process: &&&Process| guests::is_there(system, process);
    for (signal, share) in [(Signal::TERM, 2), (Signal::KILL, 1)] {
        let left: Vec<&Process> = processes.iter().filter(is_left).copied().collect();
        for process in &left {
            signal::send(system, process, signal, || true)?;
        }
        await_end(system, &left, (system.deadline().left() / share).min(patience));
    }
    match processes.iter().find(is_left) {
        Some(process) => bail!("{} (pid {}) does not end", process.name, process.pid),
        None => Ok(()),
    }
}

/// Waits until the guests' processes have ended, at most this long.
pub fn await_end(view: &View, processes: &[&Process], patience: Duration) {
    let left = processes.iter().copied().filter(|process| guests::is_there(view, process));
    pidfd::await_processes(left, view.deadline().at_most(patience));
}

/// Whether the guest that was seen has a process that is there still.
pub fn is_left(view: &View, seen: &Seen) -> bool {
    seen.process.as_ref().is_some_and(|process| guests::is_there(view, process))
}

/// Whether the daemon has noted that this process is one of its guests. One that
/// somebody runs without it is none.
pub fn is_noted(view: &View, guest: &Guest) -> bool {
    let noted = guest.identity.as_ref().map(|identity| status::noted(view, &identity.name));
    matches!(noted, Some(Ok(Some(noted))) if noted.pid == guest.process.pid)
}

/// Runs virsh to change something.
pub fn virsh<S: AsRef<OsStr>>(
    system: &System<'_>,
    hypervisor: &Hypervisor,
    words: &[S],
) -> Result<Output> {
    virsh_within(system, Duration::MAX, hypervisor, words)
}

/// The same, for no longer than `limit`.
pub fn virsh_within<S: AsRef<OsStr>>(
    system: &System<'_>,
    limit: Duration,
    hypervisor: &Hypervisor,
    words: &[S],
) -> Result<Output> {
    let head = ["--quiet", "--connect", &hypervisor.uri].map(OsStr::new);
    let words: Vec<&OsStr> = head.into_iter().chain(words.iter().map(AsRef::as_ref)).collect();
    system.change_within(limit, &[], "virsh", &words)
}

/// A moment in which a daemon that is there answers.
pub fn prompt(view: &View) -> Deadline {
    view.deadline().at_most(PROMPT)
}

#[cfg(test)]
mod tests {
    use super::guests::tests::{UUID, machine, process};
    use super::status::tests::noted_file;
    use super::*;
    use crate::testing::{Files, soon};

    fn system() -> Hypervisor {
        Hypervisor::parse("qemu:///system").unwrap()
    }

    fn web() -> Identity {
        Identity { name: "web".into(), uuid: Uuid::parse(UUID) }
    }

    fn guest(machine: &Files, pid: i32, state: char) {
        process(machine, pid, "qemu-system-x86", state, &format!("q -name guest=web -uuid {UUID}"));
    }

    #[test]
    fn a_uri_of_this_machine_is_read() {
        let read = |uri: &str| Hypervisor::parse(uri).map(|found| found.sockets());
        let sockets = read("qemu:///system").unwrap();
        let wanted = ["/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"];
        assert_eq!(sockets, wanted.map(PathBuf::from));
        let other = read("qemu+unix:///system?socket=/run/b/sock").unwrap();
        assert_eq!(other, [PathBuf::from("/run/b/sock")]);
        let plain = Hypervisor::parse("qemu+unix:///system?socket=/run/b/sock").unwrap();
        assert_eq!((plain.name(), plain.driver()), ("qemu:///system", "qemu"));
        assert!(
            plain.has_processes() && !Hypervisor::parse("test:///default").unwrap().has_processes()
        );
        for elsewhere in [
            "qemu://host/system",
            "qemu+ssh://host/system",
            "qemu+tcp:///system",
            "x",
            "qemu:///session",
        ] {
            assert_eq!(read(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_glance_takes_two_files_and_is_sure_or_says_nothing() {
        let machine = machine();
        guest(&machine, 7, 'S');
        let view = machine.view();
        let glanced = |started| glance(&view, &web(), (7, started)).unwrap();
        assert_eq!(glanced(70), None, "nothing is noted");
        noted_file(&machine, "web", "state='running' reason='booted'", 7);
        assert_eq!(glanced(70).unwrap().condition, Condition::Running);
        assert_eq!(glanced(71), None, "another process");
        noted_file(&machine, "web", "state='paused' reason='ioerror'", 7);
        assert_eq!(glanced(70), None);
        noted_file(&machine, "web", "state='running' reason='booted'", 8);
        assert_eq!(glanced(70), None, "noted of another process");
        noted_file(&machine, "web", "state='running' reason='booted'", 7);
        guest(&machine, 7, 'T');
        assert_eq!(glanced(70), None, "stopped by a signal");
    }

    #[test]
    fn without_daemon_and_its_files_the_process_says_what_there_is() {
        let machine = machine();
        let view = machine.view();
        let seen = || look(&view, &system(), &web()).unwrap();
        assert!(seen().is_err());
        guest(&machine, 7, 'S');
        assert_eq!(seen().unwrap().condition, Condition::Running);
        noted_file(&machine, "web", "state='paused' reason='ioerror'", 7);
        assert_eq!(seen().unwrap().condition, Condition::Paused(Pause::IoError));
        // What was noted of an earlier one.
        noted_file(&machine, "web", "state='crashed' reason='x'", 6);
        assert_eq!(seen().unwrap().condition, Condition::Running);
        guest(&machine, 7, 'T');
        assert!(seen().unwrap().is_halted);
    }

    #[test]
    fn one_that_is_ending_is_doubt() {
        let machine = machine();
        process(&machine, 7, "qemu-system-x86", 'D', "");
        let view = machine.view_for(Duration::from_millis(150));
        let doubt = look(&view, &system(), &web()).unwrap_err().to_string();
        assert_eq!(doubt, "qemu-system-x86 (pid 7) is ending, and may be web or hold its disks");
    }

    #[test]
    fn a_guest_that_only_the_daemon_knows_is_in_doubt_without_it() {
        let hypervisor = Hypervisor::parse("test:///default").unwrap();
        let doubt = look(&machine().view(), &hypervisor, &web()).unwrap_err().to_string();
        assert!(doubt.contains("libvirt does not run"), "{doubt}");
    }

    #[test]
    fn a_daemon_is_there_as_long_as_it_has_its_lock() {
        let machine = Files::new();
        let path =
            machine.file("/run/libvirt/qemu/driver.pid", "4711").at("/run/libvirt/qemu/driver.pid");
        let view = machine.view();
        assert_eq!(Daemon::find(&view, &system()).unwrap(), None);
        // One that belongs to an open file: a process's own locks are no other's.
        let lock = File::options().write(true).open(path).unwrap();
        fcntl(&lock, FcntlArg::F_OFD_SETLK(&first_byte())).unwrap();
        assert!(Daemon::find(&view, &system()).unwrap().is_some());
        drop(lock);
        assert!(soon(|| Daemon::find(&view, &system()).unwrap().is_none()));
    }
}
