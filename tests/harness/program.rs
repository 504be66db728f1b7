//! One run of one program: a bare environment, no input, an end.

use super::older::Version;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The search path of everything the harness starts.
pub const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/heartbeat";

/// No program of a test runs longer.
const LONGEST: Duration = Duration::from_secs(60);

/// A program about to be run.
pub struct Program {
    command: Command,
    limit: Duration,
    closed_stdin: bool,
    kernel: Option<Version>,
}

/// A program that has ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    /// Whether it was killed because it took too long.
    pub timed_out: bool,
}

/// A program that runs while the case goes on.
pub struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    since: Instant,
}

impl Program {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
        // Its own group, like execd's children: a time limit ends them all.
        command.process_group(0);
        Self { command, limit: LONGEST, closed_stdin: false, kernel: None }
    }

    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn arg0(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.arg0(name);
        self
    }

    pub fn user(mut self, uid: u32) -> Self {
        self.command.uid(uid).gid(uid);
        self
    }

    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.command.current_dir(directory.into());
        self
    }

    /// Ends the run, and everything in its process group, after this time.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it with no file descriptor 0 at all.
    pub fn closed_stdin(mut self) -> Self {
        self.closed_stdin = true;
        self
    }

    /// Runs it as on an older kernel.
    pub fn on_kernel(mut self, version: Version) -> Self {
        self.kernel = Some(version);
        self
    }

    /// Runs it as on a kernel that was built without nf_tables.
    pub fn without_nf_tables(mut self) -> Self {
        super::older::without_nf_tables(&mut self.command);
        self
    }

    pub fn run(self) -> Output {
        let limit = self.limit;
        self.spawn().wait(limit)
    }

    /// Starts it.
    ///
    /// Its output goes to files, not pipes: what it leaves running in the
    /// background then cannot keep the case waiting.
    pub fn spawn(mut self) -> Running {
        if self.closed_stdin {
            self = self.through_a_shell_that_closes_stdin();
        }
        let stdout = tempfile::tempfile().expect("the machine has a /tmp");
        let stderr = tempfile::tempfile().expect("the machine has a /tmp");
        let handle = |file: &File| Stdio::from(file.try_clone().expect("a spare descriptor"));
        self.command.stdin(Stdio::null()).stdout(handle(&stdout)).stderr(handle(&stderr));
        super::older::before(&mut self.command, self.kernel);
        let since = Instant::now();
        let child = match self.command.spawn() {
            Ok(child) => child,
            Err(err) => panic!("cannot run {}: {err}", self.command.get_program().display()),
        };
        Running { child, stdout, stderr, since }
    }

    fn through_a_shell_that_closes_stdin(self) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" <&-", "sh"]).arg(self.command.get_program());
        shell.args(self.command.get_args()).env_clear().current_dir("/").process_group(0);
        for (name, value) in self.command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        Self { command: shell, closed_stdin: false, ..self }
    }
}

impl Running {
    /// The process id as the test process sees it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("own child").is_some()
    }

    /// SIGKILL to the whole group, as execd does when time is up; returns when
    /// the last of it is gone.
    ///
    /// # Panics
    /// When something of the group stays in the kernel for ten seconds.
    pub fn kill(mut self) -> Output {
        self.kill_group();
        let status = self.child.wait().expect("own child");
        let end = Instant::now() + Duration::from_secs(10);
        while killpg(self.group(), None).is_ok() {
            assert!(Instant::now() < end, "a child of the killed program does not die");
            std::thread::sleep(Duration::from_micros(100));
        }
        self.output(status, false)
    }

    /// SIGKILL to the whole group, and waits for the program itself only: what
    /// it has in the kernel may stay there.
    pub fn abandon(mut self) -> Output {
        self.kill_group();
        let status = self.child.wait().expect("own child");
        self.output(status, false)
    }

    /// Waits for the end, which comes at `limit` at the latest.
    pub fn wait(mut self, limit: Duration) -> Output {
        let end = self.since + limit;
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait().expect("own child") {
                return self.output(status, false);
            }
            if Instant::now() >= end {
                self.kill_group();
                let status = self.child.wait().expect("own child");
                return self.output(status, true);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    fn kill_group(&self) {
        let _ = killpg(self.group(), Signal::SIGKILL);
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn output(&mut self, status: ExitStatus, timed_out: bool) -> Output {
        let took = self.since.elapsed();
        Output {
            code: status.code(),
            signal: status.signal(),
            stdout: content(&mut self.stdout),
            stderr: content(&mut self.stderr),
            took,
            timed_out,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The machine's first process cannot end before all others are waited
        // for, and the last to do so is the one that has started them.
        if !self.child.try_wait().is_ok_and(|status| status.is_some()) {
            self.kill_group();
            let _ = self.child.wait();
        }
    }
}

fn content(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("own file");
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            _ if self.timed_out => write!(f, "killed after {:?}", self.took)?,
            (Some(code), _) => write!(f, "exit {code}")?,
            (None, signal) => write!(f, "signal {}", signal.unwrap_or_default())?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n  {name}: {}", text.trim_end().replace('\n', "\n          "))?;
            }
        }
        Ok(())
    }
}

/// A value that need not be text, for the environment.
pub fn bytes(value: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(value.to_vec())
}
