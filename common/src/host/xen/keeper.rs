//! The xl of each guest: the process that stays when it has made one, makes it
//! again where it reboots, and takes it away when it has ended.
//!
//! It is told by its log, which is its output for as long as it lives and has the
//! guest's name: whoever has made the guest, by hand, here, or by a migration,
//! it is the same.

use crate::host::absence::Whole;
use crate::host::opened;
use crate::host::pidfd;
use crate::host::process::Process;
use crate::host::signal::{self, Signal};
use crate::host::system::{System, View};
use anyhow::{Context, Result};
use std::fs;
use std::io;
use std::time::Duration;

/// The xl of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// The name of the guest.
    pub guest: String,
    /// The process.
    pub process: Process,
    /// The words that it was called with, the guest's file among them.
    pub words: Vec<String>,
}

impl Keeper {
    /// By what it is known at the next look.
    pub fn key(&self) -> (i32, u64) {
        (self.process.pid, self.process.started)
    }
}

/// All of them.
pub fn all(view: &View) -> Result<Whole<Keeper>> {
    let mut found = Vec::new();
    let pids = match view.is_real() {
        true => opened::processes()?,
        false => Vec::new(),
    };
    for pid in pids {
        let proc = view.path("/proc");
        let Some(process) =
            Process::find(&proc, pid).filter(|one| one.name == "xl" && !one.is_zombie)
        else {
            continue;
        };
        let output = fs::read_link(proc.join(format!("{pid}/fd/1")));
        let output = match output {
            Ok(output) => output,
            // It has ended meanwhile.
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound) => continue,
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => continue,
            Err(err) => {
                return Err(err).with_context(|| format!("cannot tell whose xl process {pid} is"));
            }
        };
        let name = output.file_name().map(|name| name.to_string_lossy().into_owned());
        let words = fs::read(proc.join(format!("{pid}/cmdline"))).unwrap_or_default();
        let words = words.split(|byte| *byte == 0);
        let words = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        found.extend(name.as_deref().and_then(guest).map(|guest| Keeper { guest, process, words }));
    }
    view.note(format_args!("xl processes = {found:?}"));
    Ok(Whole::told("xl processes", found))
}

/// The guest's name in `xl-NAME.log`, or `.log.1` where the next guest of that
/// name has a log already.
fn guest(log: &str) -> Option<String> {
    let rest = log.strip_prefix("xl-")?;
    let (name, _) = rest.rsplit_once(".log")?;
    Some(super::plain(name).0.to_owned())
}

/// Ends them, so that none makes a guest again that is to go.
pub(super) fn end(system: &System<'_>, keepers: &[&Keeper]) -> Result<()> {
    /// A signal that cannot be caught.
    const MOMENT: Duration = Duration::from_secs(5);
    for keeper in keepers {
        signal::send(system, &keeper.process, Signal::KILL, || true)?;
    }
    let processes = keepers.iter().map(|keeper| &keeper.process);
    pidfd::await_processes(processes, system.deadline().at_most(MOMENT));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_read_from_the_log() {
        for (log, name) in [
            ("xl-web.log", Some("web")),
            ("xl-web.log.1", Some("web")),
            ("xl-a.b.log", Some("a.b")),
            ("xl-web--incoming.log", Some("web")),
            ("qemu-dm-web.log", None),
            ("null", None),
        ] {
            assert_eq!(guest(log).as_deref(), name, "{log}");
        }
    }
}
