//! System calls that may hang, made by a process of their own.
//!
//! A file system whose device or server is gone can hold a caller in the
//! kernel where no signal reaches it. A thread would not help: a process
//! whose thread is stuck cannot end, and whoever waits for the agent would
//! wait for the disk. So this binary runs itself again with `--child`, waits
//! until the deadline, and ends in time with something to say, whatever has
//! become of the child.
//!
//! A child that changes something holds the instance's lock for as long as it
//! lives. An agent that is killed while its child still mounts cannot be
//! followed by a stop that finds nothing mounted, and believes it.

use crate::host::clock::Deadline;
use crate::host::system::View;
use crate::host::{mark, program};
use anyhow::{Result, anyhow};
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The word by which the binary knows that it is a child.
pub const WORD: &str = "--child";

/// What the child has to say.
#[derive(Debug)]
pub struct Failure {
    /// The error of the system call; none where the deadline came first.
    pub errno: Option<Errno>,
    text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Which error of the system's an error comes down to.
pub fn errno(err: &anyhow::Error) -> Option<Errno> {
    let failure = err.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    failure.and_then(|failure| failure.errno)
}

/// A failure as if a system call had met somebody's use.
pub(crate) fn busy(text: String) -> anyhow::Error {
    Failure { errno: Some(Errno::EBUSY), text }.into()
}

/// Has a task of [`tasks`](super::tasks) done by a child, until the deadline.
pub(crate) fn run<S: AsRef<OsStr>>(
    view: &View,
    task: &str,
    words: &[S],
    deadline: Deadline,
) -> Result<()> {
    ask(view, task, words, deadline).map(drop)
}

/// The same, and returns what the child has found: what it printed.
pub(crate) fn ask<S: AsRef<OsStr>>(
    view: &View,
    task: &str,
    words: &[S],
    deadline: Deadline,
) -> Result<String> {
    let mut args: Vec<OsString> = vec![WORD.into(), task.into()];
    args.extend(words.iter().map(|word| word.as_ref().to_owned()));
    let shown = program::shown(task, words);
    view.note(format_args!("child {shown}"));
    let lock = view.lock();
    // Whoever only looks changes nothing when it gets to it.
    let looks =
        ["read", "block", "look", "answer", "lease", "nfsd-look", "text", "names", "configfs-look"];
    let changes = !looks.contains(&task);
    let kept = lock.as_ref().filter(|_| changes).map(|lock| lock.as_raw_fd());
    if deadline.has_passed() {
        return Err(Failure { errno: None, text: "no time is left".into() }.into());
    }
    let mark = view.mark();
    let env: &[(&str, &str)] = if changes { &[(mark::VARIABLE, &mark)] } else { &[] };
    let surroundings = program::Surroundings { kept, env };
    let ended = program::run_with(Path::new("/proc/self/exe"), &args, deadline, &surroundings);
    let output = match ended {
        Ok(output) => output,
        Err(err) => {
            view.note(format_args!("child {shown} = {err:#}"));
            return Err(Failure { errno: None, text: format!("{err:#}") }.into());
        }
    };
    view.note(format_args!("child {shown} = {} {}", output.code, output.stderr.trim_end()));
    if output.success() {
        return Ok(output.stdout);
    }
    Err(Failure { errno: Some(Errno::from_raw(output.code)), text: output.reason() }.into())
}

/// The child's whole life, of which `task` is what it is for; the result is its
/// exit code.
pub(crate) fn serve(task: impl FnOnce() -> Result<()>) -> u8 {
    let done = task();
    // What has no line feed at its end is kept back, and nobody else brings it.
    let _ = std::io::Write::flush(&mut std::io::stdout());
    let Err(err) = done else { return 0 };
    let errno = err.chain().find_map(|cause| {
        let system = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        system.or_else(|| cause.downcast_ref::<Errno>().map(|errno| *errno as i32))
    });
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{err:#}\n").as_bytes());
    errno.and_then(|errno| u8::try_from(errno).ok()).unwrap_or(1)
}

/// The words of a task, as many as it takes.
pub(crate) fn take<const N: usize>(words: &[OsString]) -> Result<&[OsString; N]> {
    words.try_into().map_err(|_| anyhow!("{N} words are needed, not {}", words.len()))
}
