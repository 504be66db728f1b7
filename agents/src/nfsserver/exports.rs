//! The entries of /etc/exports, each for itself.
//!
//! `exportfs -r` would take down what other resources have exported, and one
//! directory that is missing makes it fail for all.

use crate::advice::haresources;
use anyhow::{Result, bail};
use common::host::mount::Table;
use common::{System, View};
use std::fmt;
use std::io;
use std::path::Path;

/// The administrator's list, and what packages add to it.
const FILE: &str = "/etc/exports";
const BESIDE: &str = "/etc/exports.d";

/// A directory, for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) client: String,
    pub(super) options: String,
}

impl Entry {
    pub(super) fn new(path: &str, client: &str, options: &str) -> Self {
        Self { path: path.into(), client: client.into(), options: options.into() }
    }

    /// As exportfs takes it.
    fn word(&self) -> String {
        format!("{}:{}", self.client, self.path)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.path, &self.client) == (&other.path, &other.client)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.path, self.client)
    }
}

/// All entries. A list that is not there is empty; one that cannot be read, or
/// is a link that leads nowhere, is an error.
pub(super) fn entries(view: &View) -> Result<Vec<Entry>> {
    let mut entries = parse(&text(view, FILE)?)?;
    let names = match view.list(BESIDE) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    for name in names.iter().filter(|name| name.ends_with(".exports") && !name.starts_with('.')) {
        entries.extend(parse(&text(view, &format!("{BESIDE}/{name}"))?)?);
    }
    Ok(entries)
}

fn text(view: &View, file: &str) -> Result<String> {
    match view.read(file) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => match view.read_link(file) {
            Ok(to) => bail!("{file} leads to {}, and there is nothing", to.display()),
            Err(_) => Ok(String::new()),
        },
        Err(err) => bail!("cannot read {file}: {err}"),
        Ok(text) => Ok(text),
    }
}

/// Lines of a path and its clients, each with options in brackets: a backslash
/// at the end goes on, quotes and octal numbers hold blanks.
fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let mut words = words(line)?.into_iter();
        let Some(path) = words.next() else { continue };
        if !path.starts_with('/') {
            bail!("{FILE} has no path at the begin of `{line}`");
        }
        let (mut common, mut clients) = (String::new(), Vec::new());
        for word in words {
            if let Some(options) = word.strip_prefix('-') {
                options.clone_into(&mut common);
                continue;
            }
            let (client, options) = word.split_once('(').unwrap_or((&word, ""));
            let client = if client.is_empty() { "*" } else { client };
            let own = options.trim_end_matches(')');
            let parts = [common.as_str(), own].into_iter().filter(|part| !part.is_empty());
            let options = parts.collect::<Vec<_>>().join(",");
            clients.push(Entry { path: path.clone(), client: client.to_owned(), options });
        }
        match clients.is_empty() {
            true => entries.push(Entry { path, client: "*".into(), options: common }),
            false => entries.extend(clients),
        }
    }
    Ok(entries)
}

fn words(line: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut is_quoted, mut is_word) =
        (Vec::new(), String::new(), false, false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => (is_quoted, is_word) = (!is_quoted, true),
            '#' if !is_quoted && !is_word => break,
            ' ' | '\t' if !is_quoted => {
                if std::mem::take(&mut is_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            '\\' => {
                let digits: String = rest.clone().take(3).collect();
                is_word = true;
                match u8::from_str_radix(&digits, 8) {
                    Ok(code) if digits.len() == 3 && code.is_ascii() => {
                        word.push(char::from(code));
                        rest.nth(2);
                    }
                    _ => word.push('\\'),
                }
            }
            c => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_quoted {
        bail!("{FILE} has a quotation without an end: `{line}`");
    }
    if is_word {
        words.push(word);
    }
    Ok(words)
}

/// Exports one.
pub(super) fn export(system: &System<'_>, entry: &Entry) -> Result<()> {
    if !system.is_dir(Path::new(&entry.path))? {
        bail!("cannot export {entry}: there is no such directory");
    }
    if let Some(directory) = missing_mount(system, &entry.path)? {
        bail!(
            "cannot export {entry}: nothing is mounted on {directory}, and haresources has a file system there"
        );
    }
    let (options, word) = (entry.options.as_str(), entry.word());
    let words = match options.is_empty() {
        true => vec![word.as_str()],
        false => vec!["-o", options, word.as_str()],
    };
    let done = system.change("exportfs", &words)?;
    if !done.success() {
        bail!("cannot export {entry}: {}", done.reason());
    }
    Ok(())
}

/// The directory above on which heartbeat is to have mounted something, and has
/// not: clients of an empty mount point hold handles that nobody knows later.
fn missing_mount(view: &View, path: &str) -> Result<Option<String>> {
    let above: Vec<String> = haresources::mount_points(view)
        .into_iter()
        .filter(|directory| Path::new(path).starts_with(directory))
        .collect();
    if above.is_empty() {
        return Ok(None);
    }
    let table = Table::read(view)?;
    let is_missing = |directory: &String| table.uppermost(Path::new(directory)).is_none();
    Ok(above.into_iter().find(is_missing))
}

/// Takes one back, as far as it is there.
pub(super) fn unexport(system: &System<'_>, entry: &Entry) -> Result<()> {
    let done = system.change("exportfs", &["-u", &entry.word()])?;
    if !done.success() && !done.reason().contains("Could not find") {
        bail!("cannot unexport {entry}: {}", done.reason());
    }
    Ok(())
}

/// What is exported here, as nfs-utils keeps it. Nothing is decided by it but
/// which entries were there before.
pub(super) fn known(view: &View) -> Vec<Entry> {
    let table = view.read("/var/lib/nfs/etab").unwrap_or_default();
    let entry = |line: &str| {
        let (path, rest) = line.split_once('\t')?;
        let client = rest.split_once('(')?.0;
        let path = words(path).ok()?.into_iter().next()?;
        Some(Entry::new(&path, client, ""))
    };
    table.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_articles_entries_are_read() {
        let text = "\
# a comment
/redundantstorage/web_files 10.10.0.0/24(rw,async,no_root_squash,no_subtree_check,fsid=1)
\"/srv/a b\" -ro,fsid=7 one(rw) \\
  [fd00::]/64
/srv/c\\040d # nobody named
";
        let entries = parse(text).unwrap();
        assert_eq!(
            entries,
            [
                Entry::new(
                    "/redundantstorage/web_files",
                    "10.10.0.0/24",
                    "rw,async,no_root_squash,no_subtree_check,fsid=1"
                ),
                Entry::new("/srv/a b", "one", "ro,fsid=7,rw"),
                Entry::new("/srv/a b", "[fd00::]/64", "ro,fsid=7"),
                Entry::new("/srv/c d", "*", ""),
            ]
        );
        assert!(parse("srv one(rw)\n").is_err());
        assert!(parse("\"/srv one(rw)\n").is_err());
    }
}
