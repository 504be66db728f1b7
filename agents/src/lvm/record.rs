//! What start leaves for later: which volumes it wanted, and what lay beneath
//! them. What is there now, the kernel alone says.

use common::host::block::Number;
use common::host::lvm::Volume;
use std::fmt::Write;

/// The first line, so that a later release knows what it reads.
const VERSION: &str = "lvm 1\n";
/// What the line of a volume begins with, the end of the one before it included.
const VOLUME: &str = "\nvolume ";

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

    /// With the disks beneath the volumes, which are known once they are active,
    /// and come last.
    pub(crate) fn with_disks(mut self, disks: impl Iterator<Item = Number>) -> Self {
        for disk in disks {
            let _ = writeln!(self.0, "disk {disk}");
        }
        self
    }

    pub(crate) fn parse(text: String) -> Option<Self> {
        (text.starts_with(VERSION) && text.ends_with('\n')).then_some(Self(text))
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

    /// Whether each volume that it names is one of these, by identity and name.
    /// That is quick to tell, and told, where both are in the same order, as they
    /// are unless one has been renamed.
    pub(crate) fn finds_all_among(&self, volumes: &[Volume]) -> bool {
        let Some(at) = self.0.find(VOLUME) else { return true };
        let mut rest = &self.0.as_bytes()[at + 1..];
        let begin = &VOLUME.as_bytes()[1..];
        for volume in volumes {
            let id =
                rest.strip_prefix(begin).and_then(|rest| rest.strip_prefix(volume.id.as_bytes()));
            let name =
                id.and_then(|rest| rest.strip_prefix(b" ")?.strip_prefix(volume.name.as_bytes()));
            if let Some(after) = name.and_then(|rest| rest.strip_prefix(b"\n")) {
                rest = after;
            }
        }
        !rest.split(|byte| *byte == b'\n').any(|line| line.starts_with(begin))
    }

    /// How many volumes there are, and no fewer.
    pub(crate) fn count_at_most(&self) -> usize {
        // The shortest line of one.
        self.0.len() / "volume ozULf2Gm860tVZiqq0w0tOGtrRjB8IMi x\n".len()
    }

    /// None until the volumes were active.
    pub(crate) fn disks(&self) -> impl Iterator<Item = Number> {
        // Behind the volumes, of which there may be hundreds.
        let at = self.0.rfind(VOLUME).unwrap_or(0);
        self.0[at..].lines().filter_map(|line| Number::parse(line.strip_prefix("disk ")?))
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
    use common::host::lvm::testing;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let disk = Number { major: 147, minor: 1 };
        let record =
            Record::new("G", &[("id".into(), "web".into())]).with_disks([disk].into_iter());
        let read = Record::parse(record.text().to_owned()).unwrap();
        assert_eq!(read.group(), "G");
        assert_eq!(read.volumes().collect::<Vec<_>>(), [("id", "web")]);
        assert_eq!(read.disks().collect::<Vec<_>>(), [disk]);
    }

    #[test]
    fn what_is_active_covers_what_is_recorded() {
        let active: Vec<Volume> = ["data", "data_rimage_0", "web"]
            .map(|name| testing::volume(name, &[Number { major: 253, minor: 0 }]))
            .into();
        let id =
            |name: &str| active.iter().find(|one| one.name == name).unwrap().id.as_str().to_owned();
        let of = |names: &[(&str, &str)]| {
            let volumes: Vec<_> =
                names.iter().map(|(of, name)| (id(of), (*name).to_owned())).collect();
            Record::new("G", &volumes).with_disks([Number { major: 147, minor: 1 }].into_iter())
        };
        let (data, web) = (("data", "data"), ("web", "web"));
        for covered in [&[data, web][..], &[data], &[web], &[]] {
            assert!(of(covered).finds_all_among(&active), "{covered:?}");
        }
        let all = of(&[data, web]);
        for few in [&active[..0], &active[..2], &active[1..]] {
            assert!(!all.finds_all_among(few), "{few:?}");
        }
        // Another volume by that name, the same by another name, and the begin of a name.
        for other in [("data", "web"), ("web", "web2"), ("web", "we")] {
            assert!(!of(&[other]).finds_all_among(&active), "{other:?}");
        }
        assert!(!of(&[web, data]).finds_all_among(&active), "in another order it is not told");
        let disks = |record: &Record| record.disks().count();
        assert_eq!((disks(&all), disks(&of(&[]))), (1, 1));
    }

    #[test]
    fn a_record_of_another_version_or_cut_short_is_none() {
        for text in ["lvm 2\ngroup G\n", "", "lvm 1\ngroup G\nvolume id we"] {
            assert_eq!(Record::parse(text.to_owned()), None);
        }
        let later = Record::parse("lvm 1\ngroup G\ncolour red\n".to_owned()).unwrap();
        assert_eq!((later.group(), later.volumes().count()), ("G", 0));
    }
}
