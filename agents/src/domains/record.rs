//! What a start has noted of each guest: its name and its UUID before it is
//! made, and its domain and its xl once it runs.

use super::{Found, Life};
use anyhow::Result;
use common::host::record::Damaged;
use common::host::xen::{Guest, Noted, is_uuid};
use common::{System, View};

/// Raised when the lines change.
const HEAD: &str = "guests 1\n";

/// One guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) guest: Guest,
    /// Its domain, and its xl by its process's number and begin.
    kept: Option<(u32, i32, u64)>,
}

impl Entry {
    /// One that is about to be made.
    pub(crate) fn begun(guest: Guest) -> Self {
        Self { guest, kept: None }
    }

    /// By what a glance is sure of it.
    pub(crate) fn noted(&self) -> Option<Noted> {
        let (id, pid, started) = self.kept?;
        Some(Noted { guest: self.guest.clone(), id, keeper: (pid, started) })
    }

    fn line(&self) -> String {
        let uuid = self.guest.uuid.as_deref().unwrap_or("-");
        let (id, pid, started) = self.kept.unwrap_or_default();
        format!("{uuid} {id} {pid} {started} {}\n", self.guest.name)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        let uuid = words.next().filter(|word| *word == "-" || is_uuid(word))?;
        let (id, pid, started) =
            (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let name = words.next().filter(|name| !name.is_empty())?.to_owned();
        let uuid = (uuid != "-").then(|| uuid.to_owned());
        Some(Self { guest: Guest { name, uuid }, kept: (id != 0).then_some((id, pid, started)) })
    }
}

/// All guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) entries: Vec<Entry>,
}

impl Record {
    /// What was left under this name; nothing where nothing was.
    pub(crate) fn read(view: &View, name: &str) -> Result<Option<Self>, Damaged> {
        view.record(name, Self::parse)
    }

    /// One whose last line has no end was cut short.
    fn parse(text: &str) -> Option<Self> {
        let lines = text.strip_prefix(HEAD)?;
        let whole = lines.is_empty() || lines.ends_with('\n');
        let entries = lines.lines().map(Entry::parse).collect::<Option<_>>()?;
        whole.then_some(Self { entries })
    }

    /// Leaves it for later.
    pub(crate) fn write(&self, system: &System<'_>, name: &str) -> Result<()> {
        let lines: String = self.entries.iter().map(Entry::line).collect();
        system.write_record(name, &format!("{HEAD}{lines}"))
    }

    /// The guests.
    pub(crate) fn guests(&self) -> impl Iterator<Item = &Guest> {
        self.entries.iter().map(|entry| &entry.guest)
    }

    /// Takes a guest on in place of what was known under its name.
    pub(crate) fn put(&mut self, entry: Entry) {
        self.entries.retain(|old| old.guest.name != entry.guest.name);
        self.entries.push(entry);
    }

    /// The same with what was found: guests that run, by their domains now.
    pub(crate) fn with(&self, found: &[Found]) -> Self {
        let mut new = self.clone();
        for one in found {
            let Life::Running { domain, keeper: Some(keeper) } = &one.life else { continue };
            let guest = Guest { name: one.guest.name.clone(), uuid: domain.uuid.clone() };
            let (pid, started) = keeper.key();
            let place = new.entries.iter().position(|old| old.guest.name == guest.name);
            let entry = Entry { guest, kept: Some((domain.id, pid, started)) };
            match place {
                Some(place) => new.entries[place] = entry,
                None => new.entries.push(entry),
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let uuid = Some("6e82951e-eb72-11f1-840f-ffbeb24a467b".to_owned());
        let kept = Entry { guest: Guest { name: "a b".into(), uuid }, kept: Some((3, 7, 70)) };
        let begun = Entry::begun(Guest { name: "db".into(), uuid: None });
        let record = Record { entries: vec![kept, begun] };
        let lines: String = record.entries.iter().map(Entry::line).collect();
        let text = format!("{HEAD}{lines}");
        assert_eq!(Record::parse(&text), Some(record));
        assert_eq!(Record::parse(&text[..text.len() - 1]), None);
        assert_eq!(Record::parse(HEAD), Some(Record::default()));
        assert_eq!(Record::parse("guests 2\n"), None);
        assert_eq!(Record::parse(&format!("{HEAD}- x 0 0 a\n")), None);
    }
}
