//! Programs of the system: found, run, bounded, heard.

use crate::host::absence::Absent;
use crate::host::clock::{Deadline, Pace};
use crate::host::pidfd::PidFd;
use crate::host::{process, secret};
use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{AccessFlags, access};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Searched after PATH, which a cluster manager may have cut short.
const PLACES: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Of each of a program's streams, no more than this is kept: the cluster's
/// whole configuration and status has to fit.
const KEPT: usize = 16 << 20;

/// The program is not installed on this machine.
#[derive(Debug)]
pub struct Missing(pub String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not installed", self.0)
    }
}

impl std::error::Error for Missing {}

/// What a program that ended has said.
#[derive(Debug)]
pub struct Output {
    /// The exit code; 128 and the signal's number if a signal ended it.
    pub code: i32,
    /// What it printed, 16 MiB at most.
    pub stdout: String,
    /// What it complained of, 16 MiB at most.
    pub stderr: String,
    /// Whether that is all it printed.
    whole: bool,
}

impl Output {
    /// One that has failed and printed nothing.
    #[cfg(test)]
    pub(crate) fn failed(code: i32, stderr: &str) -> Self {
        Self { code, stdout: String::new(), stderr: stderr.into(), whole: true }
    }

    /// Whether it ended with 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// Proof that no line of what it listed is meant; nothing where one is, or
    /// where the program has failed or printed more than was kept.
    pub fn without_line(&self, mut is_meant: impl FnMut(&str) -> bool) -> Option<Absent> {
        let lacks = self.success() && self.whole && !self.stdout.lines().any(&mut is_meant);
        lacks.then(|| Absent::seen("no such line in what the program listed"))
    }

    /// The last line of what it complained of, or else of what it printed: a
    /// reason fit for an error.
    pub fn reason(&self) -> String {
        let last = |text: &str| {
            text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
        };
        last(&self.stderr)
            .or_else(|| last(&self.stdout))
            .unwrap_or_else(|| format!("exit code {}", self.code))
    }
}

/// Where the program lies: in PATH, then in the system's own places. A place
/// that is not named from the root on is none.
pub fn find(root: &Path, name: &str) -> Result<PathBuf, Missing> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    std::env::split_paths(&search_path())
        .filter_map(|dir| Some(root.join(dir.strip_prefix("/").ok()?).join(name)))
        .find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok())
        .ok_or_else(|| Missing(name.to_owned()))
}

/// PATH with the system's own places at its end.
fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(PLACES);
    path
}

/// The command as a person would type it, for messages.
pub fn shown<S: AsRef<OsStr>>(name: &str, args: &[S]) -> String {
    let words = args.iter().map(|arg| secret::masked(&arg.as_ref().to_string_lossy()));
    std::iter::once(name.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Runs the program to its end or to the deadline, whichever is earlier.
///
/// The child stays in our process group, so that a cluster manager that kills
/// the group gets it too, and it dies with us. At the deadline it is killed
/// with all that it started.
pub fn run<S: AsRef<OsStr>>(path: &Path, args: &[S], deadline: Deadline) -> Result<Output> {
    run_with(path, args, deadline, &Surroundings::default())
}

/// What a child gets besides its words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Surroundings<'a> {
    /// Variables of the environment, besides ours.
    pub(crate) env: &'a [(&'a str, &'a str)],
    /// One of our descriptors that it keeps open.
    pub(crate) kept: Option<RawFd>,
}

/// The same, with surroundings of its own.
pub(crate) fn run_with<S: AsRef<OsStr>>(
    path: &Path,
    args: &[S],
    deadline: Deadline,
    surroundings: &Surroundings<'_>,
) -> Result<Output> {
    heard(spawn(path, args, surroundings)?, deadline)
}

/// Runs it once for each of these, side by side, a few at a time.
pub(crate) fn run_side_by_side<S: AsRef<OsStr>>(
    path: &Path,
    orders: &[impl AsRef<[S]>],
    deadline: Deadline,
    surroundings: &Surroundings<'_>,
) -> Vec<Result<Output>> {
    /// What waits for its turn to be heard waits in its pipes.
    const AT_ONCE: usize = 8;
    let mut done = Vec::with_capacity(orders.len());
    for some in orders.chunks(AT_ONCE) {
        let children: Vec<Result<Child>> =
            some.iter().map(|args| spawn(path, args.as_ref(), surroundings)).collect();
        done.extend(children.into_iter().map(|child| heard(child?, deadline)));
    }
    done
}

fn spawn<S: AsRef<OsStr>>(
    path: &Path,
    args: &[S],
    &Surroundings { env, kept }: &Surroundings<'_>,
) -> Result<Child> {
    let mut command = Command::new(path);
    command
        .args(args)
        .envs(env.iter().copied())
        .current_dir("/")
        .env("LC_ALL", "C")
        .env_remove("LANG")
        .env_remove("LANGUAGE")
        .env("PATH", search_path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    die_with_parent(&mut command);
    if let Some(fd) = kept {
        keep_open(&mut command, fd);
    }
    Ok(command.spawn()?)
}

/// Hears it to its end.
fn heard(mut child: Child, deadline: Deadline) -> Result<Output> {
    let (stdout, stderr) = match listen(&mut child, deadline) {
        Ok(heard) => heard,
        Err(mut err) => {
            if let Some(place) = process::stuck_at(child.id().cast_signed()) {
                err = err.context(format!("stuck in the kernel, in {place}"));
            }
            kill_tree(&mut child);
            return Err(err);
        }
    };
    let status = child.wait()?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let whole = stdout.len() < KEPT;
    Ok(Output { code, stdout, stderr, whole })
}

/// Starts this binary again, detached: a session of its own, so that the end
/// of the action does not end it, and no stream of the caller's. Of the
/// environment it keeps what says where to log. Returns its process id.
#[allow(unsafe_code)]
pub fn background(words: &[String], handed: Option<OwnedFd>) -> Result<u32> {
    let kept = std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"HA_"));
    let mut command = Command::new("/proc/self/exe");
    // A person who lists the processes shall see whose it is.
    command.arg0(std::env::args_os().next().unwrap_or_default());
    command
        .arg("--background")
        .args(words)
        .current_dir("/")
        .env_clear()
        .envs(kept)
        .stdin(handed.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: setsid is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?));
    }
    Ok(command.spawn()?.id())
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are made.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // The parent may have gone before the line above.
            if nix::unistd::getppid() != parent {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            // Rust programs ignore SIGPIPE and children would inherit that.
            nix::sys::signal::signal(
                nix::sys::signal::Signal::SIGPIPE,
                nix::sys::signal::SigHandler::SigDfl,
            )?;
            Ok(())
        });
    }
}

/// Leaves a descriptor open in the child alone.
#[allow(unsafe_code)]
fn keep_open(command: &mut Command, fd: RawFd) {
    // SAFETY: fcntl is async-signal-safe, and the descriptor is only named.
    unsafe {
        command.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

/// Reads both streams until the child has ended. Something it left behind may
/// hold them open; that is no reason to wait.
fn listen(child: &mut Child, deadline: Deadline) -> Result<(String, String)> {
    let end = PidFd::of_child(child.id().cast_signed())?;
    let mut stdout = Stream::new(child.stdout.take());
    let mut stderr = Stream::new(child.stderr.take());
    loop {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        fds.extend(end.signals_end().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(stdout.waiting().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(stderr.waiting().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, end.patience(deadline)) {
            Ok(0) if deadline.has_passed() => bail!("no end before the deadline"),
            Err(Errno::EINTR) => continue,
            polled => polled?,
        };
        drop(fds);
        // Before the streams are emptied: what it has said is in them by then.
        let ended = end.has_ended();
        stdout.drain()?;
        stderr.drain()?;
        if ended {
            return Ok((stdout.text(), stderr.text()));
        }
    }
}

/// One stream of a child, and what was heard on it.
struct Stream<R> {
    pipe: Option<R>,
    heard: Vec<u8>,
}

impl<R: Read + AsFd> Stream<R> {
    fn new(pipe: Option<R>) -> Self {
        Self { pipe, heard: Vec::new() }
    }

    /// What to poll, until the stream has ended.
    fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there, without waiting for more.
    fn drain(&mut self) -> Result<()> {
        // A child that never stops writing must not keep us here.
        for _ in 0..32 {
            let Some(pipe) = &mut self.pipe else { break };
            let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::ZERO)? == 0 {
                break;
            }
            let mut chunk = [0; 4096];
            let count = pipe.read(&mut chunk)?;
            let room = KEPT.saturating_sub(self.heard.len());
            self.heard.extend_from_slice(&chunk[..count.min(room)]);
            if count == 0 {
                self.pipe = None;
            }
        }
        Ok(())
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}

/// Kills the child and all that descends from it, and sees the child gone.
/// What is stuck in the kernel cannot be waited for, but for a moment.
fn kill_tree(child: &mut Child) {
    let mut doomed = vec![child.id()];
    let mut seen = 0;
    while seen < doomed.len() {
        let tasks = format!("/proc/{0}/task/{0}/children", doomed[seen]);
        let children = std::fs::read_to_string(tasks).unwrap_or_default();
        doomed.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        seen += 1;
    }
    for pid in doomed {
        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    let moment = Deadline::after(Duration::from_millis(200));
    let mut pace = Pace::new();
    while matches!(child.try_wait(), Ok(None)) && !moment.has_passed() {
        pace.rest(moment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn run_it(words: &[&str], limit: Duration) -> Result<Output> {
        let path = find(Path::new("/"), words[0]).unwrap();
        run(&path, &words[1..], Deadline::after(limit))
    }

    #[test]
    fn a_program_is_heard_on_both_streams() {
        let output = run_it(&["ls", "/", "/does-not-exist"], Duration::from_secs(5)).unwrap();
        assert_eq!(output.code, 2);
        assert!(output.stdout.contains("proc"), "{output:?}");
        assert!(output.reason().contains("/does-not-exist"), "{output:?}");
    }

    #[test]
    fn a_program_that_hangs_is_ended_at_the_deadline() {
        let begun = Instant::now();
        let refused = run_it(&["sleep", "60"], Duration::from_millis(50)).unwrap_err();
        assert_eq!(refused.to_string(), "no end before the deadline");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_daemon_that_keeps_the_streams_is_not_waited_for() {
        let begun = Instant::now();
        let output = run_it(&["sh", "-c", "sleep 5 & echo up"], Duration::from_secs(20)).unwrap();
        assert_eq!(output.stdout, "up\n");
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn what_cannot_be_run_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let places = ["usr/sbin/tool", "usr/bin/tool", "sbin/tool"].map(|at| root.path().join(at));
        for place in &places {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        }
        std::fs::create_dir(&places[0]).unwrap();
        std::fs::write(&places[1], "").unwrap();
        assert!(find(root.path(), "tool").is_err());
        std::os::unix::fs::symlink("/bin/true", &places[2]).unwrap();
        assert_eq!(find(root.path(), "tool").unwrap(), places[2]);
    }

    #[test]
    fn what_is_not_installed_is_missing() {
        let missing = find(Path::new("/"), "no-such-program").unwrap_err();
        assert_eq!(missing.to_string(), "no-such-program is not installed");
    }
}
