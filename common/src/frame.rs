//! What the cluster is told, and when: the part of a resource agent that is
//! the same in all of them.

pub mod agent;
pub mod background;
pub mod by_hand;
pub mod call;
pub mod explain;
pub mod fault;
pub mod lifecycle;
pub mod lock;
pub mod log;
pub mod report;
pub mod request;
pub mod trace;

#[cfg(test)]
mod tests;
use agent::Agent;
use call::Call;
use report::Report;
use std::ffi::OsString;
use std::process::ExitCode;

/// The whole of an agent's binary.
pub fn main<A: Agent>() -> ExitCode {
    report::reason_on_panic();
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "--background") {
        return background::run::<A>(&args[2..]);
    }
    // What is made shall be readable, and no directory shall be kept busy.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = nix::unistd::chdir("/");

    match Call::read(A::META, &args, &call::environment()) {
        Call::Print(text) => report::print(&text),
        Call::Refuse(report) => report.send(),
        Call::Act(invocation) => lifecycle::run::<A>(&invocation).send(),
    }
}

/// The end of an action that the frame itself refuses.
fn refusal(dialect: call::Dialect, code: ocf_meta::Code, reason: impl Into<String>) -> Report {
    Report::new(dialect, code).because(reason)
}
