//! The entries of /etc/exports, each for itself.
//!
//! `exportfs -r` would take down what other resources have exported, and one
//! directory that is missing makes it fail for all.

use super::Nfsserver;
use super::record::{Made, Record};
use crate::advice::haresources;
use anyhow::{Context, Result, anyhow, bail};
use common::host::mount::Table;
use common::host::nfs::exports::client::Client;
use common::host::nfs::exports::{self, Export, change};
use common::{System, View};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The administrator's list, and what packages add to it.
const FILE: &str = "/etc/exports";
const BESIDE: &str = "/etc/exports.d";

/// A directory, for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) client: String,
    options: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.path.display(), self.client)
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
        if !path.starts_with(b"/") {
            bail!("{FILE} has no path at the begin of `{line}`");
        }
        let path = PathBuf::from(OsString::from_vec(path));
        let (mut common, mut clients) = (String::new(), Vec::new());
        for word in words {
            let word = String::from_utf8(word)
                .map_err(|_| anyhow!("{FILE} has a client that is no text: `{line}`"))?;
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

/// The words of a line. A number may stand for any byte of a name.
fn words(line: &str) -> Result<Vec<Vec<u8>>> {
    let (mut words, mut word, mut is_quoted, mut is_word) = (Vec::new(), Vec::new(), false, false);
    let mut rest = line.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'"' => (is_quoted, is_word) = (!is_quoted, true),
            b'#' if !is_quoted && !is_word => break,
            b' ' | b'\t' if !is_quoted => {
                if std::mem::take(&mut is_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            b'\\' => {
                let digits = after.first_chunk::<3>();
                let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                let code = text.and_then(|digits| u8::from_str_radix(digits, 8).ok());
                word.push(code.unwrap_or(b'\\'));
                rest = if code.is_some() { &after[3..] } else { after };
                is_word = true;
            }
            byte => {
                word.push(*byte);
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

impl Nfsserver {
    /// Exports one. Before the table has it, it is known whose it is.
    pub(super) fn export(&self, system: &System<'_>, entry: &Entry) -> Result<()> {
        let why = || format!("cannot export {entry}");
        if !system.is_dir(&entry.path).with_context(why)? {
            bail!("{}: there is no such directory", why());
        }
        if let Some(directory) = haresources::missing_mount(system, &entry.path)? {
            bail!(
                "{}: nothing is mounted on {directory}, and haresources has a file system there",
                why()
            );
        }
        let client = Client::parse(&entry.client)
            .map_err(|what| anyhow!("{}: the client is {what}", why()))?;
        let path = Table::read(system)?.resolve(system, &entry.path).with_context(why)?;
        let mut made = Made { path, client: client.to_string() };
        let mut record = Record::of(system, &self.record)?.unwrap_or_default();
        let is_listed = exports::of(system, &[&made.path])?.iter().any(|export| made.is(export));
        if !is_listed && !record.exports.contains(&made) {
            record.exports.push(made.clone());
            system.write_record(&self.record, &record.text())?;
        }
        let options = Some(entry.options.as_str()).filter(|options| !options.is_empty());
        let listed = change::put_in(system, &made.path, &client, options).with_context(why)?;
        if let Some(ours) = record.exports.iter_mut().find(|one| **one == made)
            && !made.is(&listed)
        {
            made.client = listed.client;
            *ours = made;
            system.write_record(&self.record, &record.text())?;
        }
        Ok(())
    }
}

/// Takes back what a start has exported, as far as it is there, and has the
/// kernel forget it. Needs no program.
pub(super) fn unexport(system: &System<'_>, made: &[Made]) -> Result<()> {
    let paths: Vec<&Path> = made.iter().map(|made| &*made.path).collect();
    let listed = exports::of(system, &paths)?;
    let is_made = |export: &&Export| made.iter().any(|made| made.is(export));
    let doomed: Vec<Export> = listed.iter().filter(is_made).cloned().collect();
    let share = system.deadline().left() / 3;
    if !doomed.is_empty() {
        change::take_out(system, &doomed, system.deadline().at_most(share))?;
    }
    change::flush(system, system.deadline().at_most(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_exported_is_found_as_the_table_has_it() {
        let is = |path: &str, client: &str, line: (&str, &str)| {
            let made = Made { path: path.into(), client: client.into() };
            let (path, client) = (line.0.into(), line.1.to_owned());
            made.is(&Export { path, client, options: String::new() })
        };
        assert!(is("/srv/a", "10.0.0.0/24", ("/srv/a", "10.0.0.0/24")));
        assert!(is("/srv/a", "node7", ("/srv/a", "node7.example.org")));
        assert!(!is("/srv/a", "node7", ("/srv/ab", "node7")));
        assert!(!is("/srv/a", "10.0.0.0/24", ("/srv/a", "10.0.0.0/25")));
    }

    #[test]
    fn the_articles_entries_are_read() {
        let text = "\
# a comment
/redundantstorage/web_files 10.10.0.0/24(rw,async,no_root_squash,no_subtree_check,fsid=1)
\"/srv/a b\" -ro,fsid=7 one(rw) \\
  [fd00::]/64
/srv/c\\040d # nobody named
";
        let entry = |path: &str, client: &str, options: &str| Entry {
            path: path.into(),
            client: client.into(),
            options: options.into(),
        };
        let entries = parse(text).unwrap();
        assert_eq!(
            entries,
            [
                entry(
                    "/redundantstorage/web_files",
                    "10.10.0.0/24",
                    "rw,async,no_root_squash,no_subtree_check,fsid=1"
                ),
                entry("/srv/a b", "one", "ro,fsid=7,rw"),
                entry("/srv/a b", "[fd00::]/64", "ro,fsid=7"),
                entry("/srv/c d", "*", ""),
            ]
        );
        let named = parse("/srv/f\\303\\274r *(ro)\n/srv/für *(ro)\n").unwrap();
        assert_eq!(named, [entry("/srv/für", "*", "ro"), entry("/srv/für", "*", "ro")]);
        assert!(parse("srv one(rw)\n").is_err());
        assert!(parse("\"/srv one(rw)\n").is_err());
    }
}
