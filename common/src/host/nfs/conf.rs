//! nfs.conf: what the administrator wants of the server and its daemons.
//!
//! Sections in brackets, `key = value` below them, comments after `#` or `;`.
//! The files of the directory beside it come later and win, as with
//! nfs-utils' own programs.

use crate::host::system::View;
use std::io;

/// The places, each of which may be missing; later ones win.
const FILES: [&str; 2] = ["/usr/etc/nfs.conf", "/etc/nfs.conf"];

/// What the files say, in order.
#[derive(Clone, Debug, Default)]
pub struct Conf(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    section: String,
    key: String,
    value: String,
}

impl Conf {
    /// All of them. One that is not there says nothing.
    pub fn read(view: &View) -> io::Result<Self> {
        let mut conf = Self::default();
        for file in FILES {
            conf.add(view, file)?;
            let beside = format!("{file}.d");
            let names = match view.list(&beside) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
                names => names?,
            };
            for name in names.iter().filter(|name| is_conf(name)) {
                conf.add(view, &format!("{beside}/{name}"))?;
            }
        }
        Ok(conf)
    }

    fn add(&mut self, view: &View, file: &str) -> io::Result<()> {
        match view.read(file) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            text => {
                self.parse(&text?);
                Ok(())
            }
        }
    }

    fn parse(&mut self, text: &str) {
        let mut section = String::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(named) = line.strip_prefix('[') {
                let name = named.split([']', ' ', '"']).next().unwrap_or_default();
                section = name.to_ascii_lowercase();
            } else if let Some((key, value)) = line.split_once('=') {
                let value = value.split(" #").next().unwrap_or_default().trim();
                self.0.push(Entry {
                    section: section.clone(),
                    key: key.trim().to_ascii_lowercase(),
                    value: value.trim_matches('"').to_owned(),
                });
            }
        }
    }

    /// A value; an empty one is none.
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        let named = |entry: &&Entry| entry.section == section && entry.key == key;
        let found = self.0.iter().rev().find(named)?;
        Some(found.value.as_str()).filter(|value| !value.is_empty())
    }

    /// A number.
    pub fn number(&self, section: &str, key: &str) -> Option<u32> {
        self.get(section, key)?.parse().ok()
    }

    /// Yes or no.
    pub fn truth(&self, section: &str, key: &str) -> Option<bool> {
        match self.get(section, key)?.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "y" | "yes" | "on" => Some(true),
            "0" | "f" | "false" | "n" | "no" | "off" => Some(false),
            _ => None,
        }
    }
}

fn is_conf(name: &str) -> bool {
    name.ends_with(".conf") && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_section_counts() {
        let mut conf = Conf::default();
        conf.parse("[nfsd]\n# threads=4\n threads = 16 # many\nvers3=n\n[mountd]\nthreads=2\n");
        conf.parse("[NFSD]\nThreads=24\nhost=\n");
        assert_eq!(conf.number("nfsd", "threads"), Some(24));
        assert_eq!(conf.number("mountd", "threads"), Some(2));
        assert_eq!((conf.truth("nfsd", "vers3"), conf.truth("nfsd", "vers4")), (Some(false), None));
        assert_eq!(conf.get("nfsd", "host"), None);
    }
}
