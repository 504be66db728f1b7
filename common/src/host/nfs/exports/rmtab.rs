//! Who has mounted by NFSv3, as mountd keeps it: `host:/directory:0xcount`. A
//! part of it can be kept with the data, for the node that serves them next.
//!
//! The copy lies where clients can write. So it is reached without links, no
//! more of it is read than can be meant, and of that what looks like an entry
//! of the directory.

use crate::host::beneath::{Missing, Place};
use crate::host::child;
use crate::host::clock::Deadline;
use crate::host::reading;
use crate::host::system::{System, View};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The list.
pub const LIST: &str = "/var/lib/nfs/rmtab";

/// No copy is longer: 16,384 clients with long names.
const LONGEST: u64 = 4 << 20;

/// Keeps the entries of the directory in a file below it.
pub fn keep(system: &System<'_>, directory: &Path, file: &str, deadline: Deadline) -> Result<()> {
    let words = [directory.as_os_str().to_owned(), file.into()];
    child::run(system, "keep-rmtab", &words, deadline)
}

/// Adds what was kept to the list.
pub fn restore(
    system: &System<'_>,
    directory: &Path,
    file: &str,
    deadline: Deadline,
) -> Result<()> {
    let words = [directory.as_os_str().to_owned(), file.into()];
    child::run(system, "restore-rmtab", &words, deadline)
}

/// The entries of these directories; none where there is no list.
pub fn entries(view: &View, directories: &[PathBuf]) -> Result<String> {
    let text = |file: &mut dyn Read| {
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let list = reading::read(view, Path::new(LIST), text)?.unwrap_or_default();
    let is_meant = |line: &&str| directories.iter().any(|directory| is_of(line, directory));
    Ok(list.lines().filter(is_meant).map(|line| format!("{line}\n")).collect())
}

/// In the child.
pub(crate) fn keep_in_child(words: &[OsString]) -> Result<()> {
    let [directory, file] = child::take(words)?;
    let directory = Path::new(directory);
    let list = match std::fs::read(LIST) {
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        read => String::from_utf8_lossy(&read.context("cannot read rmtab")?).into_owned(),
    };
    let kept: Vec<&str> = list.lines().filter(|line| is_of(line, directory)).collect();
    let place = Place::walk(directory, Path::new(file), Missing::Made)?;
    let text: String = kept.iter().map(|line| format!("{line}\n")).collect();
    let mut copy = place.overwritten().context("cannot write the copy of rmtab")?;
    copy.write_all(text.as_bytes()).context("cannot write the copy of rmtab")
}

/// In the child.
pub(crate) fn restore_in_child(words: &[OsString]) -> Result<()> {
    let [directory, file] = child::take(words)?;
    let directory = Path::new(directory);
    let place = match Place::walk(directory, Path::new(file), Missing::Refused) {
        Err(_) => return Ok(()),
        Ok(place) => place,
    };
    let Some(copy) = place.opened().context("cannot read the copy of rmtab")? else {
        return Ok(());
    };
    let mut bytes = Vec::new();
    copy.take(LONGEST).read_to_end(&mut bytes).context("cannot read the copy of rmtab")?;
    let text = String::from_utf8_lossy(&bytes);
    let list = match std::fs::read(LIST) {
        Err(err) if err.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.context("cannot read rmtab")?,
    };
    let list = String::from_utf8_lossy(&list);
    let known: BTreeSet<&str> = list.lines().map(host_and_directory).collect();
    let missed = text.lines().filter(|line| is_of(line, directory));
    let missed: String = missed
        .filter(|line| !known.contains(host_and_directory(line)))
        .map(|line| format!("{line}\n"))
        .collect();
    if missed.is_empty() {
        return Ok(());
    }
    // At its end: what mountd adds in this moment is not lost.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(LIST)
        .and_then(|mut list| list.write_all(missed.as_bytes()))
        .context("cannot write rmtab")
}

/// Whether it is an entry of the directory.
fn is_of(line: &str, directory: &Path) -> bool {
    let Some((entry, count)) = line.rsplit_once(':') else { return false };
    let digits = count.strip_prefix("0x").unwrap_or_default();
    let host =
        entry.strip_suffix(&*directory.to_string_lossy()).and_then(|host| host.strip_suffix(':'));
    let is_host = |host: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".:-_%[]".contains(c);
        !host.is_empty() && host.len() < 256 && host.chars().all(fits)
    };
    let is_count = (1..=8).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit());
    is_count && host.is_some_and(is_host)
}

fn host_and_directory(line: &str) -> &str {
    line.rsplit_once(':').map_or(line, |(entry, _)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_that_of_one_directory_and_nothing_else() {
        let of = |line: &str| is_of(line, Path::new("/srv/a"));
        assert!(of("10.0.0.5:/srv/a:0x00000001") && of("fd00::5:/srv/a:0x00000002"));
        for other in [
            "10.0.0.5:/srv/ab:0x00000001",
            "10.0.0.5:/x/srv/a:0x00000001",
            "10.0.0.5:/srv/a:1",
            "10.0.0.5:/srv/a",
            ":/srv/a:0x00000001",
            "ho st:/srv/a:0x00000001",
            "",
        ] {
            assert!(!of(other), "{other}");
        }
    }
}
