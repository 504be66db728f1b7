//! Where an agent is tempted to say what it has not seen: the same scene for
//! ours and for Debian's shell agents, and the kernel asked what is true. Ours
//! has to hold in each; what the other does is recorded. The table of both is
//! `docs/truth.md`, and has to be what was seen.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests look with their own eyes, and fail loudly"
)]

mod exports;
mod filesystem;
#[path = "../harness/mod.rs"]
mod harness;
mod heartbeat;
mod ipaddr;
mod lvm;
mod ports;
mod suite;
mod table;
mod virtual_domain;

use harness::{Case, Cases};
use std::process::ExitCode;
use std::sync::Arc;
use suite::{Scene, Suite};
use table::{Row, Table};

fn main() -> ExitCode {
    harness::tier("truth", list)
}

fn list(cases: &mut Cases) {
    let scenes: Vec<_> = [
        filesystem::scenes(),
        ipaddr::scenes(),
        lvm::scenes(),
        heartbeat::scenes(),
        exports::scenes(),
        ports::scenes(),
        virtual_domain::scenes(),
    ]
    .concat();
    let table = Arc::new(Table::of(scenes.len()));
    for (place, scene) in scenes.into_iter().enumerate() {
        let table = Arc::clone(&table);
        let case = Case::free(scene.sentence, move || table.fill(place, both(scene)));
        cases.push(case.needs(scene.needs).needs(suite::NEEDS));
    }
    // It takes all cases to know the table.
    if !cases.are_filtered() {
        cases.push(Case::free("docs/truth.md says what was seen", move || table.is_published()));
    }
}

fn both(scene: Scene) -> Result<Row, String> {
    let on = |suite: Suite| {
        harness::on_its_own_machine(move |machine| (scene.run)(machine, suite))
            .map_err(|err| format!("{suite:?}: {err}"))
    };
    Ok(Row { sentence: scene.sentence, ours: on(Suite::Ours)?, shell: on(Suite::Shell)? })
}
