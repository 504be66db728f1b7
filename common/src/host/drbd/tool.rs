//! The programs that change DRBD: `drbdadm`, and `drbdsetup` where the
//! configuration is broken.

use super::{Resource, Role};
use crate::host::program::Output;
use crate::host::system::System;
use anyhow::{Result, anyhow};
use std::time::Duration;

/// DRBD's programs: the configuration is broken, or lacks the resource.
pub const NOT_CONFIGURED: i32 = 10;
/// The kernel refuses the change: the device is in use, or the peer is Primary.
pub const REFUSED: i32 = 11;
/// There is no disk with up-to-date data, or the peer could not be fenced.
pub const NO_DATA: i32 = 17;

/// Why a change was refused.
#[derive(Debug)]
pub struct Refusal {
    /// The program's exit code.
    pub code: i32,
    /// Its last words.
    pub reason: String,
    words: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.words, self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Whether someone has the device open.
    pub fn is_held_open(&self) -> bool {
        self.code == REFUSED && (self.reason.contains("-12") || self.reason.contains("held open"))
    }
}

/// Runs one of the programs; what it says no to is a [`Refusal`].
pub fn run(system: &System<'_>, program: &str, words: &[&str]) -> Result<()> {
    refused(system.change(program, words)?, program, words)
}

fn refused(said: Output, program: &str, words: &[&str]) -> Result<()> {
    if said.success() {
        return Ok(());
    }
    let words = format!("{program} {}", words.join(" "));
    Err(Refusal { code: said.code, reason: reason(&said), words }.into())
}

/// The line that says why: not the advice or the command line after it.
fn reason(said: &Output) -> String {
    let telling = |line: &&str| {
        ["State change failed", "Failure:", "not defined", "error", "Permission"]
            .iter()
            .any(|mark| line.contains(mark))
    };
    let line = said.stderr.lines().map(str::trim).find(telling);
    line.map_or_else(|| said.reason(), str::to_owned)
}

/// Sets the role of a resource through its configuration, or past it where
/// that is broken and the kernel has the resource.
pub fn set_role(
    system: &System<'_>,
    name: &str,
    role: Role,
    known: Option<&Resource>,
) -> Result<()> {
    let verb = if role == Role::Primary { "primary" } else { "secondary" };
    let asked = run(system, "drbdadm", &[verb, name]);
    let (Err(err), Some(known)) = (&asked, known) else { return asked };
    if !is_about_the_configuration(err) {
        return asked;
    }
    system.warn(format_args!("{err:#}; going past the configuration"));
    let past = past_the_configuration(system, known, verb)?
        .iter()
        .try_for_each(|words| run(system, "drbdsetup", &words.each_ref().map(String::as_str)));
    past.map_err(|past| anyhow!("{past:#}, and before that {err:#}"))
}

/// Whether `drbdadm` failed before it asked the kernel.
pub fn is_about_the_configuration(err: &anyhow::Error) -> bool {
    let refusal = err.downcast_ref::<Refusal>();
    refusal.is_none_or(|refusal| refusal.code == NOT_CONFIGURED || refusal.code == 1)
}

/// The words that make `drbdsetup` do it, for each object it takes: a resource
/// since 9, its minors in 8.4, their devices before.
pub fn past_the_configuration(
    system: &System<'_>,
    resource: &Resource,
    verb: &str,
) -> Result<Vec<[String; 2]>> {
    let version = super::version(system)?;
    if version >= (9, 0) {
        return Ok(vec![[verb.into(), resource.name.clone()]]);
    }
    let minors = resource.volumes.iter().filter_map(|volume| volume.minor);
    let words = |minor: u32| match version >= (8, 4) {
        true => [verb.into(), minor.to_string()],
        false => [format!("/dev/drbd{minor}"), verb.into()],
    };
    Ok(minors.map(words).collect())
}

/// Tries up to `times`, a second apart, for as long as the deadline lets it.
pub fn persist(
    system: &System<'_>,
    times: u32,
    mut attempt: impl FnMut() -> Result<()>,
) -> Result<()> {
    /// Long enough for DRBD to notice that a peer is gone.
    const PAUSE: Duration = Duration::from_secs(1);
    let mut tried = 1;
    loop {
        let err = match attempt() {
            Ok(()) => return Ok(()),
            Err(err) => err,
        };
        if tried == times || system.deadline().left() <= PAUSE {
            return Err(err.context(format!("gave up after {tried} tries")));
        }
        tried += 1;
        std::thread::sleep(PAUSE);
    }
}
