//! What DRBD answers by netlink, byte for byte: the tests of the agents keep
//! such answers. A line for each message: the command that asked, and the
//! payload from DRBD's own header on, in hexadecimal digits.

use anyhow::{Context, Result};
use common::host::clock::Deadline;
use common::host::genl::{Attributes, Genl};
use std::process::ExitCode;
use std::time::Duration;

/// What DRBD 8.4 is asked for a resource's state.
const GET_STATUS: u8 = 2;

/// Where a question names the resource.
const CONTEXT: u16 = 2;
const CONTEXT_RESOURCE: u16 = 2;

/// Prints the answers about the resource named.
pub fn print(words: &[String]) -> ExitCode {
    let Some(name) = words.first() else { return ExitCode::from(2) };
    match ask(name) {
        Ok(lines) => {
            print!("{lines}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

fn ask(name: &str) -> Result<String> {
    let mut genl = Genl::open(Deadline::after(Duration::from_secs(10)))?;
    let family = genl.family("drbd")?.context("there is no DRBD in this kernel")?;
    let mut context = Attributes::new();
    context.text(CONTEXT_RESOURCE, name);
    let mut question = Attributes::new();
    question.nest(CONTEXT, &context);
    // Any minor, no flags.
    let payload = [&u32::MAX.to_ne_bytes()[..], &0u32.to_ne_bytes(), question.bytes()].concat();
    let told = genl.dump(family, GET_STATUS, &payload, |_| false)?;
    let digits = |message: &Vec<u8>| -> String {
        message.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    Ok(told.iter().map(|message| format!("{GET_STATUS} {}\n", digits(message))).collect())
}
