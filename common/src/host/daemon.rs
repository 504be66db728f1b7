//! Programs that go on when the action has ended, and are found again by
//! whoever asks for them later.
//!
//! Each is started with a mark in its environment: what it serves. The kernel
//! keeps that for as long as the process lives, so it is found though the agent
//! was killed before it could write down a number, and it is told from every
//! other process that runs the same program. What is in the environment is
//! the process's own memory: that it has the mark is known for all that it
//! serves, and nothing more is concluded from it.

use crate::host::absence::Whole;
use crate::host::opened;
use crate::host::pidfd::{self, PidFd};
use crate::host::process::Process;
use crate::host::system::{System, View};
use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The variable that carries the mark, and after a tabulator a note on it.
const MARK: &str = "STURDY_SERVES";

/// What a daemon is told to be.
#[derive(Debug)]
pub struct Order<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its words.
    pub words: &'a [OsString],
    /// What it serves, without a tabulator.
    pub mark: &'a str,
    /// What its finder shall know besides.
    pub note: &'a str,
    /// By which name the log has what it prints.
    pub tag: &'a str,
}

/// A daemon as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The process.
    pub process: Process,
    /// What whoever has started it has noted; nothing where that is gone, since
    /// the process is on its way out. It has let go of its memory then, mark
    /// included, and maybe not yet of what it had open.
    pub note: Option<String>,
}

/// Starts it in a session of its own: the end of the action, or of the
/// action's process group, does not end it. It has no stream of the caller's;
/// what it prints goes to the log.
#[allow(unsafe_code)]
pub fn start(system: &System<'_>, order: &Order<'_>) -> Result<Child> {
    keep_descriptors_here();
    let (out, err) = streams(order.tag);
    let mut command = Command::new(order.program);
    command
        .args(order.words)
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env(MARK, format!("{}\t{}", order.mark, order.note))
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    // SAFETY: setsid and signal are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            // Rust programs ignore SIGPIPE and children would inherit that.
            signal(Signal::SIGPIPE, SigHandler::SigDfl)?;
            Ok(())
        });
    }
    let started = command.spawn();
    let pid = started.as_ref().map(Child::id);
    system.note(format_args!("daemon {} {:?} = {pid:?}", order.program.display(), order.words));
    started.with_context(|| format!("cannot run {}", order.program.display()))
}

/// Whatever was left open by those who have called us: a daemon that kept a
/// pipe of theirs would have them wait for its end.
fn keep_descriptors_here() {
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let number: Option<i32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            close_on_exec(number);
        }
    }
}

#[allow(unsafe_code)]
fn close_on_exec(number: i32) {
    // SAFETY: the descriptor is only named, and one that is not open any more
    // is an error that changes nothing.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
}

/// Streams into the journal, or else into the system's log, of which each line
/// then is a message; or into nothing.
fn streams(tag: &str) -> (Stdio, Stdio) {
    let log = journal(tag).or_else(|_| syslog());
    let both = log.and_then(|log| Ok((Stdio::from(log.try_clone()?), Stdio::from(log))));
    both.unwrap_or_else(|_| (Stdio::null(), Stdio::null()))
}

/// journald takes a few lines about the stream at its head: the name, the unit,
/// the severity, whether lines begin with one, and where else to write them.
fn journal(tag: &str) -> io::Result<OwnedFd> {
    let mut stream = UnixStream::connect("/run/systemd/journal/stdout")?;
    stream.write_all(format!("{tag}\n\n6\n0\n0\n0\n0\n").as_bytes())?;
    Ok(stream.into())
}

fn syslog() -> io::Result<OwnedFd> {
    let socket = UnixDatagram::unbound()?;
    socket.connect("/dev/log")?;
    Ok(socket.into())
}

/// The daemons that carry the mark, all of them, and the processes called
/// `name` that are on their way out, whose mark cannot be told any more. What
/// has ended is none, though its parent may not have looked.
pub fn find(view: &View, mark: &str, name: &str) -> Result<Whole<Found>> {
    let mut found = Vec::new();
    if view.is_real() {
        for pid in opened::processes()? {
            found.extend(marked(pid, mark, name)?);
        }
    }
    let shown = found.iter().map(|one: &Found| one.process.pid).collect::<Vec<_>>();
    view.note(format_args!("daemons that serve {mark} = {shown:?}"));
    Ok(Whole::told("daemons of ours", found))
}

fn marked(pid: i32, mark: &str, name: &str) -> Result<Option<Found>> {
    let environment = match fs::read(format!("/proc/{pid}/environ")) {
        Ok(environment) => environment,
        // It has ended meanwhile, or is somebody else's and none of root's.
        Err(err)
            if err.raw_os_error() == Some(libc::ESRCH)
                || matches!(
                    err.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
        {
            return Ok(None);
        }
        Err(err) => return Err(err).with_context(|| format!("cannot tell what process {pid} is")),
    };
    let note = noted(&environment, mark);
    if note.is_none() && !environment.is_empty() {
        return Ok(None);
    }
    let process = Process::find(Path::new("/proc"), pid).filter(|process| !process.is_zombie);
    // A thread of the kernel's has no environment either, and other names.
    let cut: String = name.chars().take(15).collect();
    let is_one = |process: &Process| note.is_some() || process.name == cut;
    Ok(process.filter(is_one).map(|process| Found { process, note }))
}

/// The note in an environment that carries the mark.
fn noted(environment: &[u8], mark: &str) -> Option<String> {
    let wanted = format!("{MARK}={mark}\t");
    let mut marks = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(wanted.as_bytes()));
    Some(String::from_utf8_lossy(marks.next()?).into_owned())
}

/// Ends them: by `TERM`, and by `KILL` what has not ended after `patience`.
/// Returns when all have ended, or at the deadline.
pub fn end(system: &System<'_>, daemons: &[Found], patience: Duration) -> Result<()> {
    // Each takes a descriptor while it is waited for.
    for some in daemons.chunks(256) {
        let mut handles = Vec::new();
        for daemon in some {
            handles.extend(handle(daemon)?);
        }
        for (signal, limit) in [(Signal::SIGTERM, patience), (Signal::SIGKILL, Duration::MAX)] {
            for handle in handles.iter().filter(|handle| !handle.has_ended()) {
                let sent = handle.signal(signal);
                system.note(format_args!("{signal} to {handle:?} = {sent:?}"));
                sent.context("cannot end a daemon")?;
            }
            pidfd::await_end(&handles, system.deadline().at_most(limit));
        }
    }
    Ok(())
}

/// The process itself, as long as it is the one that was found.
fn handle(daemon: &Found) -> Result<Option<PidFd>> {
    let pid = daemon.process.pid;
    let opened = match PidFd::open(pid) {
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        opened => opened.with_context(|| format!("cannot open process {pid}"))?,
    };
    let now = Process::find(Path::new("/proc"), pid);
    let is_it = now.is_some_and(|now| now.started == daemon.process.started && !now.is_zombie);
    Ok(is_it.then_some(opened))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use crate::host::system::ViewOptions;
    use std::time::Instant;

    fn view() -> View {
        View::new(ViewOptions {
            deadline: Deadline::after(Duration::from_secs(10)),
            journal: crate::host::journal::Journal::default(),
            run_dir: "/nowhere".into(),
            owner: String::new(),
            without_programs: false,
        })
    }

    fn sleeper(view: &View, mark: &str) -> Child {
        let words = ["60".into()];
        let program = Path::new("/bin/sleep");
        let order = Order { program, words: &words, mark, note: "a b", tag: "test" };
        view.with_write_access(|system| start(system, &order)).unwrap()
    }

    #[test]
    fn a_daemon_is_found_by_its_mark_and_ended_and_another_is_not() {
        let view = view();
        let mark = format!("test {}", std::process::id());
        let mut ours = sleeper(&view, &mark);
        let mut other = sleeper(&view, &format!("{mark}0"));
        let found = find(&view, &mark, "vblade").unwrap();
        let pids: Vec<i32> = found.iter().map(|one| one.process.pid).collect();
        assert_eq!(pids, [ours.id().cast_signed()]);
        assert_eq!(found[0].note.as_deref(), Some("a b"));
        assert_eq!(found[0].process.group, found[0].process.pid, "a session of its own");
        let begun = Instant::now();
        let done = view.with_write_access(|system| end(system, &found, Duration::from_secs(5)));
        done.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(4));
        assert!(find(&view, &mark, "vblade").unwrap().lacks(|_| true).is_some());
        assert!(other.try_wait().unwrap().is_none(), "the other lives");
        other.kill().unwrap();
        for child in [&mut ours, &mut other] {
            child.wait().unwrap();
        }
    }

    #[test]
    fn one_that_ignores_the_signal_is_killed() {
        let view = view();
        let mark = format!("deaf {}", std::process::id());
        let words = ["-c".into(), "trap '' TERM; while :; do sleep 0.1; done".into()];
        let program = Path::new("/bin/sh");
        let order = Order { program, words: &words, mark: &mark, note: "", tag: "test" };
        let mut deaf = view.with_write_access(|system| start(system, &order)).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let found = find(&view, &mark, "vblade").unwrap();
        let patience = Duration::from_millis(200);
        view.with_write_access(|system| end(system, &found, patience)).unwrap();
        assert!(!deaf.wait().unwrap().success());
    }

    #[test]
    fn a_mark_is_whole_or_none() {
        assert_eq!(noted(b"A=1\0STURDY_SERVES=x\t3\0", "x"), Some("3".into()));
        for other in [&b"STURDY_SERVES=xy\t3\0"[..], b"STURDY_SERVES=x", b"XSTURDY_SERVES=x\t3"] {
            assert_eq!(noted(other, "x"), None, "{other:?}");
        }
    }
}
