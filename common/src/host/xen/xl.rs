//! xl: what the hypervisor says of a domain, in doubt; and what only it can do,
//! which is to make a domain, to destroy one, and to move one.

use super::keeper::{self, Keeper};
use super::{Domain, Guest};
use crate::host::absence::Whole;
use crate::host::program::Output;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// A question to the hypervisor takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the hypervisor says that a domain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It runs, or waits for something to do.
    Running,
    /// It stands still until somebody has it go on.
    Paused,
    /// It has ended, and is still there.
    Shutdown,
    /// It has crashed, and is still there.
    Crashed,
    /// It is being destroyed.
    Dying,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Shutdown => "shut down",
            Self::Crashed => "crashed",
            Self::Dying => "dying",
        })
    }
}

impl Condition {
    /// Reads the six letters, of which each is one thing or a dash.
    fn read(letters: &str) -> Option<Self> {
        let is_right = |(letter, wanted): (u8, u8)| letter == b'-' || letter == wanted;
        if letters.len() != 6 || !letters.bytes().zip(*b"rbpscd").all(is_right) {
            return None;
        }
        let worst =
            [('d', Self::Dying), ('c', Self::Crashed), ('s', Self::Shutdown), ('p', Self::Paused)];
        let found = worst.into_iter().find(|(letter, _)| letters.contains(*letter));
        Some(found.map_or(Self::Running, |(_, condition)| condition))
    }
}

/// One line of xl's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The domain.
    pub domain: Domain,
    /// What it does.
    pub condition: Condition,
}

/// What xl lists.
pub type Listed = Whole<Line>;

/// The domains that the hypervisor has, but for the one that we are in; those
/// without an entry in xenstore too, by their UUIDs.
pub fn list(view: &View) -> Result<Listed> {
    let told = view.query_within(PATIENCE.min(view.deadline().left()), "xl", &["list", "-v"])?;
    ensure!(told.success(), "xl list -v: {}", told.reason());
    let lines = parse(&told.stdout).context("cannot make sense of what xl list -v prints")?;
    Ok(Whole::told("domains of the hypervisor", lines))
}

/// Reads the list. Its head, and each line from its end: a name may have blanks.
fn parse(text: &str) -> Option<Vec<Line>> {
    let mut lines = text.lines();
    lines.next().filter(|head| head.starts_with("Name") && head.contains("UUID"))?;
    let mut found = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The state is what tells where in the line we are.
        let is_state = |word: &&str| Condition::read(word).is_some();
        let at = words.iter().rposition(is_state)?;
        let id: u32 = words.get(at.checked_sub(3)?)?.parse().ok()?;
        let uuid = words[at..].iter().find(|word| super::is_uuid(word))?;
        let name = line.split_whitespace().take(at - 3).collect::<Vec<_>>().join(" ");
        if id == 0 {
            continue;
        }
        found.push(Line {
            domain: Domain {
                id,
                name: Some(name).filter(|name| !name.is_empty() && name != "(null)"),
                uuid: Some(uuid.to_ascii_lowercase()),
            },
            condition: Condition::read(words[at])?,
        });
    }
    Some(found)
}

/// Makes a guest of its file, under this name and with this UUID, and with so much
/// memory, in MiB, where that is not left to the file.
pub fn create(system: &System<'_>, file: &Path, guest: &Guest, memory: Option<u64>) -> Result<()> {
    let mut words = vec!["create".to_owned(), file.display().to_string()];
    words.extend(memory.map(|memory| format!("memory={memory}")));
    words.push(format!("name=\"{}\"", guest.name));
    words.extend(guest.uuid.as_ref().map(|uuid| format!("uuid=\"{uuid}\"")));
    let done = system.change("xl", &words)?;
    match done.success() {
        true => Ok(()),
        false => bail!("xl cannot create {guest}: {}", complaint(&done)),
    }
}

/// The first line in which libxl or xl complains: those behind it say what that
/// has led to.
fn complaint(done: &Output) -> String {
    first_complaint(&done.stderr).map_or_else(|| done.reason(), str::to_owned)
}

fn first_complaint(said: &str) -> Option<&str> {
    const PROGRESS: [&str; 4] =
        ["Parsing config", "WARNING", "Saving to migration stream", "xc: info"];
    let is_progress = |line: &str| PROGRESS.iter().any(|begin| line.starts_with(begin));
    said.lines().map(str::trim).find(|line| !line.is_empty() && !is_progress(line))
}

/// How much memory the machine has, in MiB.
pub fn total_memory(view: &View) -> Result<u64> {
    let told = view.query_within(PATIENCE.min(view.deadline().left()), "xl", &["info"])?;
    ensure!(told.success(), "xl info: {}", told.reason());
    total(&told.stdout).context("xl info does not say how much memory there is")
}

fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("total_memory"))?;
    line.trim_start().strip_prefix(':')?.trim().parse().ok()
}

/// Has the guest in this domain make do with so much memory, in MiB.
pub fn set_memory(system: &System<'_>, id: u32, memory: u64) -> Result<()> {
    let done = system.change("xl", &["mem-set", &id.to_string(), &format!("{memory}m")])?;
    ensure!(done.success(), "domain {id} does not get {memory} MiB: {}", complaint(&done));
    Ok(())
}

/// Has an HVM guest without drivers of Xen's shut down, by its power button.
pub fn trigger_power(system: &System<'_>, id: u32) -> Result<()> {
    let done = system.change("xl", &["trigger", &id.to_string(), "power"])?;
    ensure!(done.success(), "xl trigger: {}", done.reason());
    Ok(())
}

/// Destroys these domains side by side, and ends their xl first: one that lives
/// would make the guest again. A domain that has gone meanwhile is no error.
pub fn destroy(system: &System<'_>, domains: &[u32], keepers: &[&Keeper]) -> Result<()> {
    keeper::end(system, keepers)?;
    let orders: Vec<[String; 2]> =
        domains.iter().map(|id| ["destroy".to_owned(), id.to_string()]).collect();
    let done = system.change_side_by_side("xl", &orders)?;
    let failed = domains.iter().zip(done).find_map(|(id, done)| {
        let why = match done {
            Ok(done) if done.success() => return None,
            Ok(done) => complaint(&done),
            Err(err) => format!("{err:#}"),
        };
        Some((id, why))
    });
    let Some((id, why)) = failed else { return Ok(()) };
    match list(system)?.iter().any(|line| line.domain.id == *id) {
        true => bail!("xl does not destroy domain {id}: {why}"),
        false => Ok(()),
    }
}

/// Moves the guest in this domain to another host, live.
pub fn migrate(system: &System<'_>, id: u32, host: &str) -> Result<()> {
    let id = id.to_string();
    let words = ["migrate", &id, host].map(OsStr::new);
    let done = system.change("xl", &words)?;
    match done.success() {
        true => Ok(()),
        false => bail!("xl cannot move domain {id} to {host}: {}", complaint(&done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label
Domain-0                                     0   512     1     r-----      67.0 00000000-0000-0000-0000-000000000000        -                -
g1                                           1   128     1     ------       6.6 6e82951e-eb72-11f1-840f-ffbeb24a467b        -                -
a b                                          2   128     1     -b-s--       6.6 6e82951e-eb72-11f1-840f-FFBEB24a467c        0                -
(null)                                       3     0     1     --ps-d       6.6 6e82951e-eb72-11f1-840f-ffbeb24a467d        3                -
";

    /// Of xl 4.17, where the hypervisor could not keep count of a guest's pages.
    const MOVED: &str = "\
Saving to migration stream new xl format (info 0x3/0x0/1024)
xc: info: Saving domain 2, type x86 PV
xc: error: Failed to enable logdirty: 95,22,0 (22 = Invalid argument): Internal error
migration sender: libxl_domain_suspend failed (rc=-8)
";

    #[test]
    fn what_a_move_says_of_its_progress_is_no_complaint() {
        let said = first_complaint(MOVED).unwrap();
        assert!(said.starts_with("xc: error: Failed to enable logdirty"), "{said}");
        assert_eq!(first_complaint("WARNING: x\n\n"), None);
    }

    #[test]
    fn the_hypervisors_list_is_read() {
        let listed = parse(LISTED).unwrap();
        let shown: Vec<String> =
            listed.iter().map(|line| format!("{}: {}", line.domain, line.condition)).collect();
        assert_eq!(
            shown,
            [
                "domain 1 (g1): running",
                "domain 2 (a b): shut down",
                "domain 3, which has no name: dying"
            ]
        );
        assert_eq!(listed[1].domain.uuid.as_deref(), Some("6e82951e-eb72-11f1-840f-ffbeb24a467c"));
    }

    #[test]
    fn the_machines_memory_is_read() {
        let told = "nr_cpus                : 1\ntotal_memory           : 1023\nfree_memory : 4\n";
        assert_eq!(total(told), Some(1023));
        assert_eq!(total("free_memory            : 498\n"), None);
    }

    #[test]
    fn a_list_that_is_none_is_no_list() {
        assert_eq!(parse(""), None);
        assert_eq!(parse(&LISTED.replace("128     1     ------", "128")), None);
        assert_eq!(parse("libxl: error\n"), None);
    }
}
