//! What start leaves for later: which volumes it wanted, and what lay beneath
//! them. What is there now, the kernel alone says.

use common::host::block::Number;
use std::fmt::Write;

/// The first line, so that a later release knows what it reads.
const VERSION: &str = "lvm 1\n";

/// What start wanted: the text of the record, of which each monitor reads what
/// it needs. It may name hundreds of volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record(String);

impl Record {
    /// Of a group, by its identity, since another group may have its name by
    /// now; and of volumes, by their identities and names.
    pub(crate) fn new(group: &str, volumes: &[(String, String)]) -> Self {
        let mut text = format!("{VERSION}group {group}\n");
        for (id, name) in volumes {
            // Writing to a string does not fail.
            let _ = writeln!(text, "volume {id} {name}");
        }
        Self(text)
    }

    /// With the disks beneath the volumes, which are known once they are active.
    pub(crate) fn with_disks(mut self, disks: impl Iterator<Item = Number>) -> Self {
        for disk in disks {
            let _ = writeln!(self.0, "disk {disk}");
        }
        self
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.starts_with(VERSION) && text.ends_with('\n')).then(|| Self(text.to_owned()))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn group(&self) -> &str {
        self.values("group ").next().unwrap_or_default()
    }

    /// Identities and names.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values("volume ").filter_map(|volume| volume.split_once(' '))
    }

    /// How many volumes there are, and no fewer.
    pub(crate) fn count_at_most(&self) -> usize {
        // The shortest line of one.
        self.0.len() / "volume ozULf2Gm860tVZiqq0w0tOGtrRjB8IMi x\n".len()
    }

    /// None until the volumes were active.
    pub(crate) fn disks(&self) -> impl Iterator<Item = Number> {
        self.values("disk ").filter_map(Number::parse)
    }

    /// What follows the word in the lines that begin with it. A later release
    /// may know more words.
    fn values(&self, word: &str) -> impl Iterator<Item = &str> {
        self.0.lines().filter_map(move |line| line.strip_prefix(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let disk = Number { major: 147, minor: 1 };
        let record =
            Record::new("G", &[("id".into(), "web".into())]).with_disks([disk].into_iter());
        let read = Record::parse(record.text()).unwrap();
        assert_eq!(read.group(), "G");
        assert_eq!(read.volumes().collect::<Vec<_>>(), [("id", "web")]);
        assert_eq!(read.disks().collect::<Vec<_>>(), [disk]);
    }

    #[test]
    fn a_record_of_another_version_or_cut_short_is_none() {
        for text in ["lvm 2\ngroup G\n", "", "lvm 1\ngroup G\nvolume id we"] {
            assert_eq!(Record::parse(text), None);
        }
        let later = Record::parse("lvm 1\ngroup G\ncolour red\n").unwrap();
        assert_eq!((later.group(), later.volumes().count()), ("G", 0));
    }
}
