//! `cargo xtask`: everything a developer or an administrator does besides
//! `cargo build`.

mod new;
mod test;

use anyhow::Result;
use packaging::{dist, install};
use std::process::ExitCode;

/// One task: its name, what it is for, and the function that does it with the
/// words that follow the name.
struct Task {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const TASKS: &[Task] = &[
    Task {
        name: "install",
        about: "lay out what the packages ship, below a directory",
        run: install::run,
    },
    Task {
        name: "dist",
        about: "make the packages, for Debian and for distributions with rpm",
        run: dist::run,
    },
    Task {
        name: "test",
        about: "every tier of the tests, or those named, with what they need set up first",
        run: test::run,
    },
    Task {
        name: "new",
        about: "the skeleton of an agent, listed wherever it has to be",
        run: new::run,
    },
    Task {
        name: "bench",
        about: "what the agents cost, beside a no-op and the shell agents",
        run: bench::run,
    },
    Task {
        name: "demo",
        about: "show a failover between two nodes on this machine",
        run: demo::run,
    },
    Task {
        name: "lab",
        about: "a real cluster in virtual machines, and scenarios that cut its power",
        run: lab::run,
    },
];

fn main() -> ExitCode {
    // Inside the lab's machines this binary has other work.
    if let Some(code) = lab::guest::play(&[(bench::guest::PART, bench::guest::run)]) {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(task) = words.first().and_then(|name| TASKS.iter().find(|task| task.name == name))
    else {
        eprintln!("Usage: cargo xtask TASK [...]\n");
        for task in TASKS {
            eprintln!("  {:<10} {}", task.name, task.about);
        }
        return match words.first().map(String::as_str) {
            None | Some("help" | "-h" | "--help") => ExitCode::SUCCESS,
            Some(_) => ExitCode::from(2),
        };
    };
    match (task.run)(&words[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{}: {err:#}", task.name);
            ExitCode::FAILURE
        }
    }
}
