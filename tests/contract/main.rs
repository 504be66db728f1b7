//! Every binary as its callers see it: Pacemaker, crmsh, pcs, ocf-tester,
//! heartbeat, a person. Nothing here knows how an agent does its work.

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

mod binary;
mod clients;
mod codes;
mod dialects;
mod documents;
mod heartbeat;
mod input;
mod metadata;
mod reactor;
mod readme;
mod sample;
mod tester;

fn main() -> std::process::ExitCode {
    harness::tier("contract", |cases| {
        for meta in agents::ALL {
            binary::cases(cases, meta);
            metadata::cases(cases, meta);
            documents::cases(cases, meta);
            dialects::cases(cases, meta);
            codes::cases(cases, meta);
            clients::cases(cases, meta);
            tester::cases(cases, meta);
            reactor::cases(cases, meta);
        }
        clients::lists(cases);
        input::cases(cases);
        heartbeat::cases(cases);
        readme::cases(cases);
    })
}
