//! What start leaves for later: which volumes it wanted, and what lay beneath
//! them. A hint; what is there is the kernel's to say.

use common::host::block::Number;
use std::fmt::Write;

/// The first line, so that a later release knows what it reads.
const VERSION: &str = "lvm 1";

/// What start wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The group's identity: another group may have its name by now.
    pub(crate) group: String,
    /// The volumes' identities and names.
    pub(crate) volumes: Vec<(String, String)>,
    /// The disks beneath them; none until they were active.
    pub(crate) disks: Vec<Number>,
}

impl Record {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(VERSION) {
            return None;
        }
        let mut record = Self::default();
        for line in lines {
            match line.split_once(' ')? {
                ("group", id) => record.group = id.to_owned(),
                ("volume", rest) => {
                    let (id, name) = rest.split_once(' ')?;
                    record.volumes.push((id.to_owned(), name.to_owned()));
                }
                ("disk", number) => record.disks.push(Number::parse(number)?),
                // A later release may know more.
                _ => {}
            }
        }
        Some(record)
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{VERSION}\ngroup {}\n", self.group);
        for (id, name) in &self.volumes {
            // Writing to a string does not fail.
            let _ = writeln!(text, "volume {id} {name}");
        }
        for disk in &self.disks {
            let _ = writeln!(text, "disk {disk}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            group: "G".into(),
            volumes: vec![("id".into(), "web".into())],
            disks: vec![Number { major: 147, minor: 1 }],
        };
        assert_eq!(Record::parse(&record.text()), Some(record));
    }

    #[test]
    fn a_record_of_another_version_is_none() {
        assert_eq!(Record::parse("lvm 2\ngroup G\n"), None);
        assert_eq!(Record::parse(""), None);
        let later = "lvm 1\ngroup G\ncolour red\n";
        assert_eq!(Record::parse(later).unwrap().group, "G");
    }
}
