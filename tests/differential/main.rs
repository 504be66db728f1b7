//! Debian's shell agents and ours, side by side: the same environment, the
//! same words, on two machines that are alike. Exit codes and the kernel's
//! state have to be the same after each step, but for the differences that
//! `intended.txt` lists, each with its reason.
//!
//! `STURDY_SHOW=1` prints both sides of every case. `STURDY_ITSELF=1` compares
//! the shell agents with themselves: a difference then is the test's own.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests look with their own eyes, and fail loudly"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod cases;
mod intended;
mod pair;

use harness::{Case, Cases};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    harness::tier("differential", list)
}

fn list(cases: &mut Cases) {
    let pairs = cases::all();
    let intended = Arc::new(intended::List::read(include_str!("intended.txt"), pairs.len()));
    let names: Vec<_> = pairs.iter().map(|pair| pair.name.clone()).collect();
    let list = Arc::clone(&intended);
    cases.push(Case::free("every intended difference names a case", move || list.known(&names)));
    for pair in pairs {
        let intended = Arc::clone(&intended);
        let needs: Vec<_> = pair.needs().collect();
        cases.push(Case::free(pair.name.clone(), move || pair.run(&intended)).needs(&needs));
    }
    // A difference that is gone must leave the list. It takes all cases to know.
    let compares_itself = std::env::var_os("STURDY_ITSELF").is_some();
    if !cases.are_filtered() && !compares_itself {
        cases.push(Case::free("every intended difference still occurs", move || {
            intended.all_occur()
        }));
    }
}
