//! What a start or a migration has noted of its guest: who it is, though the
//! configuration may be gone, and which process it is. It is a record, and
//! counts only for what the kernel still has.

use super::{State, VirtualDomain};
use anyhow::Result;
use common::host::libvirt::{Daemon, Identity, Seen, Uuid};
use common::host::record::Damaged;
use common::{System, View};

/// What was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(super) identity: Identity,
    /// Its process, by number and start.
    pub(super) process: Option<(i32, u64)>,
    /// The daemon that was told to start it, until it has been seen.
    pub(super) told: Option<Daemon>,
    /// When it was resumed after an I/O error, in seconds since the boot.
    pub(super) resumed: Option<u64>,
}

impl Record {
    /// Of a guest that was seen.
    pub(super) fn of(seen: &Seen) -> Self {
        Self {
            identity: seen.identity.clone(),
            process: seen.process.as_ref().map(|process| (process.pid, process.started)),
            told: None,
            resumed: None,
        }
    }

    fn text(&self) -> String {
        let pair = |word: &str, first: i32, second: u64| format!("{word} {first} {second}\n");
        let mut text = format!("VirtualDomain 1\nname {}\n", self.identity.name);
        text.extend(self.identity.uuid.map(|uuid| format!("uuid {uuid}\n")));
        text.extend(self.process.map(|(pid, started)| pair("process", pid, started)));
        text.extend(self.told.as_ref().map(|told| pair("told", told.pid, told.started)));
        text.extend(self.resumed.map(|at| format!("resumed {at}\n")));
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix("VirtualDomain 1\nname ")?.lines();
        let identity = Identity { name: lines.next()?.to_owned(), uuid: None };
        let mut record = Self { identity, process: None, told: None, resumed: None };
        for line in lines {
            let (word, rest) = line.split_once(' ')?;
            let pair = || {
                let (first, second) = rest.split_once(' ')?;
                Some((first.parse().ok()?, second.parse().ok()?))
            };
            match word {
                "uuid" => record.identity.uuid = Some(Uuid::parse(rest)?),
                "process" => record.process = Some(pair()?),
                "told" => record.told = pair().map(|(pid, started)| Daemon { pid, started }),
                "resumed" => record.resumed = Some(rest.parse().ok()?),
                _ => return None,
            }
        }
        text.ends_with('\n').then_some(record)
    }
}

impl VirtualDomain {
    /// Notes the guest that was seen, where something else is noted of it.
    pub(crate) fn note_seen(&self, system: &System<'_>, state: &State) -> Result<()> {
        state.news().map_or(Ok(()), |news| self.note(system, &news))
    }

    /// Forgets the guest.
    pub(crate) fn forget(&self, system: &System<'_>) -> Result<()> {
        system.remove_record(&self.record)
    }

    pub(super) fn noted(&self, view: &View) -> Result<Option<Record>, Damaged> {
        view.record(&self.record, Record::parse)
    }

    pub(super) fn note(&self, system: &System<'_>, record: &Record) -> Result<()> {
        system.write_record(&self.record, &record.text())
    }
}

impl State {
    /// What is to be noted of the guest, if that is another thing than is.
    pub(crate) fn news(&self) -> Option<Record> {
        let resumed = self.record.as_ref().and_then(|record| record.resumed);
        let now = Record { resumed, ..Record::of(self.seen()?) };
        (self.record.as_ref() != Some(&now)).then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_as_it_was_written() {
        let uuid = Uuid::parse("1dabca37-df6d-4a77-9034-301704a00951");
        let identity = Identity { name: "a b".into(), uuid };
        let told = Some(Daemon { pid: 1, started: 2 });
        let full = Record { identity, process: Some((7, 70)), told, resumed: Some(5) };
        let identity = Identity { name: "a".into(), uuid: None };
        let bare = Record { identity, process: None, told: None, resumed: None };
        for record in [full, bare] {
            let text = record.text();
            assert_eq!(Record::parse(&text), Some(record));
            assert_eq!(Record::parse(&text[..text.len() - 1]), None, "cut short");
        }
        for damaged in ["", "VirtualDomain 2\nname a\n", "VirtualDomain 1\nname a\nprocess x\n"] {
            assert_eq!(Record::parse(damaged), None, "{damaged}");
        }
    }
}
