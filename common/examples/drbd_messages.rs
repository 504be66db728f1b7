//! Prints what the kernel's DRBD answers about a resource, a message a line:
//! the number of the command, and the message in hexadecimal. The files
//! `messages-*` in `tests/data/drbd` were made with it, on real DRBD.
//!
//! Meant for resources without a shared secret: it would be in there.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use anyhow::{Context, Result};
use common::host::clock::Deadline;
use common::host::genl::{Attributes, Genl};
use std::time::Duration;

fn main() -> Result<()> {
    let name = std::env::args().nth(1).context("the name of a resource is missing")?;
    let (mut context, mut question) = (Attributes::new(), Attributes::new());
    context.text(2, &name);
    question.nest(2, &context);
    let payload = [&u32::MAX.to_ne_bytes()[..], &[0; 4], question.bytes()].concat();
    for command in [2, 30, 31, 32, 33] {
        let mut genl = Genl::open(Deadline::after(Duration::from_secs(5)))?;
        let family = genl.family("drbd")?.context("there is no DRBD in this kernel")?;
        // An error, like a name that is not known, is said without end.
        let is_error = |message: &[u8]| message.get(4..8) != Some(&101i32.to_ne_bytes());
        match genl.dump(family, command, &payload, is_error) {
            Ok(told) => told.iter().for_each(|message| {
                let digits: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("{command} {digits}");
            }),
            Err(err) => println!("# command {command}: {err:#}"),
        }
    }
    Ok(())
}
