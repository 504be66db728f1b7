//! The part of the benchmark that runs in a machine: commands take turns, and
//! what they cost goes back to the host.

use crate::measure::Turns;
use anyhow::{Context, Result};
use std::process::ExitCode;

/// Its name in a machine of the lab.
pub const PART: &str = "bench";

/// Takes the turns that standard input describes, and prints the row.
pub fn run() -> ExitCode {
    match row() {
        Ok(row) => {
            println!("{row}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

fn row() -> Result<String> {
    let turns: Turns =
        serde_json::from_reader(std::io::stdin()).context("these are no turns to take")?;
    Ok(serde_json::to_string(&turns.take()?)?)
}
