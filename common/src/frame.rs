//! What the cluster is told, and when: the part of a resource agent that is
//! the same in all of them.

pub mod agent;
pub mod background;
pub mod call;
pub mod command_line;
pub mod dialect;
pub mod entry;
pub mod explain;
pub mod fault;
pub mod handler;
pub mod instance_lock;
pub mod invocation;
pub mod lifecycle;
pub mod log;
pub(crate) mod output;
pub mod promotion;
pub mod report;
pub mod request;
pub mod trace;

#[cfg(test)]
mod tests;

use crate::host;
use agent::Extras;
use call::Call;
use std::ffi::OsString;

/// Makes the binary of an agent: `common::main!(agents::filesystem::Filesystem);`
/// in a file that begins with `#![no_main]`.
#[macro_export]
macro_rules! main {
    ($agent:ty) => {
        /// Where the C library hands over to us.
        ///
        /// # Safety
        ///
        /// Nobody else calls it.
        #[allow(unsafe_code, reason = "the name is the C library's")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(count: i32, words: *const *const std::ffi::c_char) -> i32 {
            // SAFETY: the C library passes the words as the kernel made them.
            let words = unsafe { $crate::frame::entry::words(count, words) };
            $crate::frame::run::<$agent>(&words).into()
        }
    };
}

/// All that an agent's binary does, from its words to its exit code.
pub fn run<A: Extras>(words: &[OsString]) -> u8 {
    entry::settle();
    report::reason_on_panic();
    if words.get(1).is_some_and(|word| word == "--background") {
        return background::run::<A>(&words[2..]);
    }
    if words.get(1).is_some_and(|word| word == host::child::WORD) {
        return host::child::serve(|| host::tasks::carry_out(&words[2..], A::TASKS));
    }
    // What is made shall be readable, and no directory shall be kept busy.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = nix::unistd::chdir("/");

    if words.iter().skip(1).any(|word| word == "status") {
        report::await_state();
    }
    match dialect::read(A::META, words, &invocation::environment()) {
        Call::Print(text) => report::print(&text),
        Call::Refuse(report) => report.send(),
        Call::Act(invocation) => lifecycle::run::<A>(&invocation).send(),
    }
}
