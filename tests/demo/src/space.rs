//! Processes in namespaces of their own, that do not outlive who started them.

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Starts this program again in one of its parts, as process 1 of a new pid
/// namespace and with mount, network, uts and ipc namespaces of its own.
///
/// When its process 1 dies, the kernel kills all others of a pid namespace,
/// those in namespaces below it included; and process 1 dies with the thread
/// that called this. So nothing needs to be cleaned up by a living process.
pub fn spawn(part: &str) -> Result<Child> {
    let own = File::open("/proc/self/ns/pid").context("cannot open /proc/self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID).context("cannot make a pid namespace")?;
    let child = command(part).spawn();
    setns(&own, CloneFlags::CLONE_NEWPID).context("cannot return to the own pid namespace")?;
    child.with_context(|| format!("cannot start the part {part}"))
}

fn command(part: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["demo", part]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let enter = || {
        set_pdeathsig(Signal::SIGKILL)?;
        unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC,
        )?;
        nix::unistd::setsid()?;
        // A child inherits what is blocked, and the task blocks much.
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes four system calls and
    // neither allocates nor takes a lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(enter);
    }
    command
}
