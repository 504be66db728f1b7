//! What the cluster is told, and when: the part of a resource agent that is
//! the same in all of them.

pub mod agent;
pub mod background;
pub mod call;
pub mod command_line;
pub mod entry;
pub mod explain;
pub mod fault;
pub mod handler;
pub mod instance_lock;
pub mod lifecycle;
pub mod log;
pub mod promotion;
pub mod report;
pub mod request;
pub mod trace;

#[cfg(test)]
mod tests;

use crate::host;
use agent::Extras;
use call::Call;
use report::Report;
use std::ffi::OsString;

/// All that an agent's binary does, from its words to its exit code.
pub fn run<A: Extras>(words: &[OsString]) -> u8 {
    entry::settle();
    report::reason_on_panic();
    if words.get(1).is_some_and(|word| word == "--background") {
        return background::run::<A>(&words[2..]);
    }
    if words.get(1).is_some_and(|word| word == host::child::WORD) {
        return host::child::serve(|| host::tasks::carry_out(&words[2..]));
    }
    // What is made shall be readable, and no directory shall be kept busy.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = nix::unistd::chdir("/");

    if words.iter().skip(1).any(|word| word == "status") {
        report::await_state();
    }
    match Call::read(A::META, words, &call::environment()) {
        Call::Print(text) => report::print(&text),
        Call::Refuse(report) => report.send(),
        Call::Act(invocation) => lifecycle::run::<A>(&invocation).send(),
    }
}

/// The end of an action that the frame itself refuses.
fn refusal(dialect: call::Dialect, code: ocf_meta::Code, reason: impl Into<String>) -> Report {
    Report::new(dialect, code).because(reason)
}
