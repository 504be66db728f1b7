//! Starting and ending the server's threads.
//!
//! Both may never return: a thread that hangs on a dead disk holds up whoever
//! waits for it. So a child does them, and while a child is at it the server
//! is neither up nor down.

use crate::host::child;
use crate::host::nfs::wanted::Wanted;
use crate::host::nfs::{netlink, proc};
use crate::host::system::System;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::time::Duration;

pub use proc::DIRECTORY;

/// A look at what hangs takes no longer, on a busy machine either.
const LOOK: Duration = Duration::from_secs(3);

/// Starts the server, which has no threads.
pub fn start(system: &System<'_>, wanted: &Wanted) -> Result<()> {
    child::run(system, "nfsd-start", &wanted.words(), system.deadline())
        .context("cannot start the kernel's NFS server")
}

/// Ends the server: requests under way are answered, what clients hold is let
/// go of, and their connections are closed.
pub fn stop(system: &System<'_>) -> Result<()> {
    // What is in the way is looked for afterwards.
    child::run::<&str>(system, "nfsd-stop", &[], system.deadline().sooner(LOOK))
        .context("cannot stop the kernel's NFS server")
}

/// In the child.
pub(crate) fn start_in_child(words: &[OsString]) -> Result<()> {
    let wanted = Wanted::parse(words)?;
    match netlink::start(&wanted)? {
        true => Ok(()),
        false => proc::start(&wanted),
    }
}

/// In the child.
pub(crate) fn stop_in_child() -> Result<()> {
    match netlink::stop()? {
        true => Ok(()),
        false => proc::stop(),
    }
}
