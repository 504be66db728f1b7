//! What earlier actions of the instance are still at.

use crate::host::clock::Pace;
use crate::host::process::Process;
use crate::host::signal::{self, Signal};
use crate::host::stuck;
use crate::host::system::View;
use anyhow::{Result, bail};

/// Whether nothing is, by now; the error names what is.
pub(super) fn by_now(view: &View, owner: &str) -> Result<()> {
    let found = stuck::find(view, owner)?;
    if !found.is_empty() {
        bail!("an earlier action on it is still under way: {}", stuck::shown(view, &found));
    }
    Ok(())
}

/// Kills what still works for the instance, without waiting for its end:
/// whether there was anything.
pub(super) fn end_at_once(view: &View, owner: &str) -> Result<bool> {
    let found = stuck::find(view, owner)?;
    found.iter().for_each(|process| kill(view, process));
    Ok(!found.is_empty())
}

/// Kills it and waits until it has ended, until the deadline: whether there was
/// anything. The error names what has not ended.
pub(super) fn end(view: &View, owner: &str) -> Result<bool> {
    let mut pace = Pace::new();
    let mut ended = false;
    while end_at_once(view, owner)? {
        ended = true;
        if view.deadline().has_passed() {
            by_now(view, owner)?;
            break;
        }
        pace.rest(view.deadline());
    }
    Ok(ended)
}

/// Ours it is by its mark: whoever started it has told what has become of it.
fn kill(view: &View, process: &Process) {
    let sent =
        view.with_write_access(|system| signal::send(system, process, Signal::KILL, || true));
    if let Err(err) = sent {
        view.warn(format_args!("{err:#}"));
    }
}
