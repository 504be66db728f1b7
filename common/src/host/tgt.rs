//! tgt, the iSCSI target that is a program: what its daemon, tgtd, serves.
//!
//! All that it serves is in the daemon's memory. It tells and takes it over a
//! socket, and ends with it: where no tgtd runs nothing of it is served.
//!
//! | file | what is in it |
//! |---|---|
//! | `request.rs` | how the daemon is asked |
//! | `listing.rs` | the text in which it answers what there is |
//! | `change.rs` | making and removing |

pub mod change;
mod listing;
mod request;

pub use listing::{Lun, Target};

use crate::host::absence::{Absent, Whole};
use crate::host::opened;
use crate::host::pidlock;
use crate::host::process::Process;
use crate::host::system::View;
use anyhow::{Context, Result, bail};
use request::{Mode, Operation, Request};
use std::fs::File;
use std::io;
use std::path::Path;

/// Where the daemon listens.
const SOCKET: &str = "/var/run/tgtd/socket.0";

/// What it holds a lock on as long as it lives, so that there is one only.
const LOCK: &str = "/var/run/tgtd/socket.0.lock";

/// The daemon's program.
pub const PROGRAM: &str = "tgtd";

/// All targets, with what is in them; or proof that no daemon runs.
pub fn targets(view: &View) -> Result<Result<Whole<Target>, Absent>> {
    let request = Request::of(Mode::Target, Operation::Show);
    let told = match request.ask(view) {
        Ok(told) => told?,
        Err(err) => return none_runs(view, err).map(Err),
    };
    let targets = listing::targets(&told)
        .with_context(|| format!("tgtd at {SOCKET} lists what makes no sense"))?;
    view.note(format_args!("tgtd serves {targets:?}"));
    Ok(Ok(Whole::told("targets of tgtd", targets)))
}

/// The target of this name; or proof that there is none.
pub fn target(view: &View, iqn: &str) -> Result<Result<Target, Absent>> {
    let targets = match targets(view)? {
        Ok(targets) => targets,
        Err(absent) => return Ok(Err(absent)),
    };
    let is_it = |target: &Target| target.is_called(iqn);
    match targets.lacks(is_it) {
        Some(absent) => Ok(Err(absent)),
        None => targets.into_items().into_iter().find(is_it).context("a target was lost").map(Ok),
    }
}

/// The connections to a target, as tgtd numbers them: session and connection.
pub fn connections(view: &View, tid: u32) -> Result<Vec<(u64, u32)>> {
    let request = Request::of(Mode::Connection, Operation::Show).target(tid);
    let told = request.ask(view).with_context(unreachable)??;
    listing::connections(&told).with_context(|| format!("tgtd at {SOCKET} lists nonsense"))
}

/// The users whose password opens discovery.
pub fn discovery_users(view: &View) -> Result<Vec<String>> {
    let told = Request::of(Mode::System, Operation::Show).ask(view).with_context(unreachable)??;
    Ok(listing::discovery_users(&told))
}

fn unreachable() -> String {
    format!("cannot reach tgtd at {SOCKET}")
}

/// Proof that no tgtd runs that would listen there, or why it cannot be told.
///
/// A socket that is not there proves nothing: a daemon goes on without. The lock
/// it does not let go of, and where that file is gone as well it has a process.
fn none_runs(view: &View, refused: anyhow::Error) -> Result<Absent> {
    let errno = refused.downcast_ref::<nix::errno::Errno>();
    let nobody = [nix::errno::Errno::ENOENT, nix::errno::Errno::ECONNREFUSED];
    if !errno.is_some_and(|errno| nobody.contains(errno)) {
        return Err(refused.context(unreachable()));
    }
    let lock = match File::open(view.path(LOCK)) {
        Ok(lock) => lock,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return no_process(view),
        Err(err) => return Err(err).with_context(|| format!("cannot look at {LOCK}")),
    };
    let is_held = pidlock::is_held(&lock).with_context(|| format!("cannot look at {LOCK}"))?;
    view.note(format_args!("{LOCK} is held = {is_held}"));
    if is_held {
        bail!("a tgtd runs, since it holds {LOCK}, and does not listen at {SOCKET}");
    }
    Ok(Absent::seen("no tgtd holds its lock"))
}

fn no_process(view: &View) -> Result<Absent> {
    if view.is_real() {
        // One in another network is not the one that would listen for us.
        let network = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net"));
        let ours = network("self").context("cannot tell which network this is")?;
        for pid in opened::processes()? {
            let process = Process::find(Path::new("/proc"), pid);
            let is_one = process.is_some_and(|one| one.name == PROGRAM && !one.is_zombie);
            let is_elsewhere = || match network(&pid.to_string()) {
                Ok(network) => network != ours,
                // It has ended meanwhile. What else keeps the look from its end is doubt.
                Err(err) => matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
            };
            if is_one && !is_elsewhere() {
                bail!("tgtd runs (process {pid}), and {SOCKET} is gone, by which it is reached");
            }
        }
    }
    Ok(Absent::seen("no tgtd among the processes"))
}

#[cfg(test)]
mod tests;
