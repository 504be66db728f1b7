//! Signals, and sending one to the process that was meant and no other.

use crate::host::pidfd::PidFd;
use crate::host::process::Process;
use crate::host::system::System;
use anyhow::{Context, Result};

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(nix::sys::signal::Signal);

impl Signal {
    /// The one that asks to end.
    pub const TERM: Self = Self(nix::sys::signal::Signal::SIGTERM);
    /// The one that nobody can ignore.
    pub const KILL: Self = Self(nix::sys::signal::Signal::SIGKILL);

    /// `TERM`, `SIGTERM` or `15`.
    pub fn named(text: &str) -> Option<Self> {
        let number = text.parse::<i32>().ok().and_then(|number| number.try_into().ok());
        let upper = text.to_ascii_uppercase();
        let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
        number.or_else(|| name.parse().ok()).map(Self)
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Signals the process, if it is still the one that was found and `still`
/// holds. Whether it did is the answer.
pub fn send(
    system: &System<'_>,
    process: &Process,
    signal: Signal,
    still: impl FnOnce() -> bool,
) -> Result<bool> {
    let proc = system.path("/proc");
    let same = || {
        let now = Process::find(&proc, process.pid);
        now.is_some_and(|now| now.started == process.started && !now.is_zombie)
    };
    let what = || format!("cannot send {signal} to {} (pid {})", process.name, process.pid);
    let handle = PidFd::open(process.pid);
    if !same() || !still() {
        return Ok(false);
    }
    let sent = handle.and_then(|handle| handle.signal(signal.0)).with_context(what);
    system.note(format_args!("{signal} to {} (pid {}) = {sent:?}", process.name, process.pid));
    sent.map(|()| true)
}
