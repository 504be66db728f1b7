//! What start has added, for the stop to take away: by the number of the
//! interface, whatever that is called by then, and with the prefix that it was
//! given, whatever the routes say by then. It is a record, and counts only for
//! what the kernel still has.

use super::Ipaddr;
use super::state::Assignment;
use anyhow::Result;
use common::host::address::Address;
use common::host::netns::{self, Identity};
use common::host::record::Damaged;
use common::{Plan, System, View};
use std::net::IpAddr;

/// What an instance has noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A stop has taken away all there was.
    Nothing,
    /// A start has added this.
    Added(Added),
}

/// The address on an interface, as it was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) prefix: u8,
    pub(super) index: u32,
    /// What the interface was called.
    pub(super) nic: String,
    /// Where that is, if it is not where the agent is called.
    pub(super) namespace: Option<Identity>,
    /// Whether the interface has so many addresses that to ask it for this one
    /// is dear.
    pub(super) among_many: bool,
}

const NONE: &str = "-";
const MANY: &str = " many";
const SUFFIX: &str = ".added";

impl Record {
    fn text(&self, ip: IpAddr) -> String {
        match self {
            Self::Nothing => format!("1 {ip} {NONE}\n"),
            Self::Added(Added { prefix, index, nic, namespace, among_many }) => {
                let namespace = namespace.map_or(NONE.into(), |identity| identity.to_string());
                let many = if *among_many { MANY } else { "" };
                format!("1 {ip} {prefix} {index} {nic} {namespace}{many}\n")
            }
        }
    }

    /// What was noted, and of which address.
    fn parse(text: &str) -> Option<(IpAddr, Self)> {
        let (text, among_many) = match text.trim_end().strip_suffix(MANY) {
            Some(text) => (text, true),
            None => (text, false),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (of, record) = match *words {
            ["1", of, NONE] => (of, Self::Nothing),
            ["1", of, prefix, index, nic, namespace] => (
                of,
                Self::Added(Added {
                    prefix: prefix.parse().ok()?,
                    index: index.parse().ok()?,
                    nic: nic.to_owned(),
                    namespace: match namespace {
                        NONE => None,
                        identity => Some(identity.parse().ok()?),
                    },
                    among_many,
                }),
            ),
            _ => return None,
        };
        Some((of.parse().ok()?, record))
    }

    pub(super) fn added(&self) -> Option<&Added> {
        match self {
            Self::Nothing => None,
            Self::Added(added) => Some(added),
        }
    }
}

impl Added {
    pub(super) fn is(&self, address: &Address) -> bool {
        (self.index, self.prefix) == (address.index, address.prefix)
    }
}

impl Ipaddr {
    fn record_name(&self) -> String {
        format!("IPaddr-{}{SUFFIX}", self.request.instance)
    }

    /// What this instance has noted of this address.
    pub(super) fn record(&self, view: &View) -> Result<Option<Record>, Damaged> {
        let noted = view.record(&self.record_name(), Record::parse)?;
        Ok(noted.filter(|(of, _)| *of == self.ip).map(|(_, record)| record))
    }

    fn note(&self, system: &System<'_>, record: &Record) -> Result<()> {
        system.write_record(&self.record_name(), &record.text(self.ip))
    }

    /// Notes what is about to be added. Without the note a stop takes away
    /// every copy of the address.
    pub(super) fn note_added(&self, system: &System<'_>, prefix: u8, index: u32, nic: &str) {
        if let Err(err) = self.try_note_added(system, prefix, index, nic) {
            system.warn(format_args!("{err:#}"));
        }
    }

    fn try_note_added(&self, system: &System<'_>, prefix: u8, index: u32, nic: &str) -> Result<()> {
        let is_elsewhere = self.params.network_namespace.is_some();
        let namespace = is_elsewhere.then(|| netns::current(system)).transpose()?;
        let (nic, among_many) = (nic.to_owned(), false);
        let added = Added { prefix, index, nic, namespace, among_many };
        self.note(system, &Record::Added(added))
    }

    /// Notes that nothing is this instance's. Without the note a stop takes
    /// too much, but leaves nothing.
    pub(super) fn note_nothing(&self, system: &System<'_>) {
        if let Err(err) = self.note(system, &Record::Nothing) {
            system.warn(format_args!("{err:#}"));
        }
    }

    /// Adds the noting of an address that is there already, if it was not.
    pub(super) fn plan_note<'a>(&'a self, view: &View, plan: &mut Plan<'a>, found: &Assignment) {
        let record = self.record(view).unwrap_or_default();
        let noted = record.as_ref().and_then(Record::added);
        if noted.is_some_and(|added| (added.index, added.prefix) == (found.index, found.prefix)) {
            return;
        }
        let found = found.clone();
        plan.step(format!("note that {found} is ours"), move |system| {
            self.note_added(system, found.prefix, found.index, &found.nic);
            Ok(())
        });
    }

    /// Adds the noting that the address is one of many, as was noticed.
    pub(super) fn plan_note_many<'a>(
        &'a self,
        view: &View,
        plan: &mut Plan<'a>,
        found: &Assignment,
    ) {
        let Ok(Some(Record::Added(mut added))) = self.record(view) else { return };
        if added.among_many || !added.is(&found.address()) {
            return;
        }
        added.among_many = true;
        plan.step(format!("note that {} has many addresses", found.nic), move |system| {
            // Without the note a monitor is slower, not wrong.
            if let Err(err) = self.note(system, &Record::Added(added)) {
                system.note(format_args!("{err:#}"));
            }
            Ok(())
        });
    }

    /// Adds the noting that nothing is left, if all that was to go has gone.
    pub(super) fn plan_note_nothing<'a>(&'a self, plan: &mut Plan<'a>) {
        plan.step(format!("note that nothing of {} is left", self.ip), move |system| {
            if !self.leaves.get() {
                self.note_nothing(system);
            }
            Ok(())
        });
    }

    /// Whether another instance has noted this copy of the address as its own.
    pub(super) fn is_of_another(&self, view: &View, held: &Assignment) -> bool {
        let ours = self.record_name();
        let is_noted = |name: &String| match view.record(name, Record::parse) {
            Ok(noted) => noted.is_some_and(|(of, record)| {
                of == self.ip && record.added().is_some_and(|added| added.is(&held.address()))
            }),
            // Whose it is is not known then, and it would serve nobody to keep it.
            Err(damaged) => {
                view.warn(format_args!("{damaged}"));
                false
            }
        };
        let names = view.records("IPaddr-", SUFFIX).unwrap_or_else(|err| {
            view.warn(format_args!("{err:#}"));
            Vec::new()
        });
        names.iter().any(|name| *name != ours && is_noted(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_address_is_read_as_it_was_noted() {
        let ip: IpAddr = "10.0.0.9".parse().unwrap();
        let namespace = "4:4026532008:17".parse().ok();
        for namespace in [None, namespace] {
            let (nic, among_many) = ("eth0".into(), namespace.is_none());
            let added = Added { prefix: 24, index: 3, nic, namespace, among_many };
            for record in [Record::Added(added), Record::Nothing] {
                let text = record.text(ip);
                assert_eq!(Record::parse(&text), Some((ip, record)));
            }
        }
        for torn in ["", "1 10.0.0.9", "1 10.0.0.9 24 3", "2 10.0.0.9 -", "1 10.0.0.9 24 3 eth0 4:"]
        {
            assert_eq!(Record::parse(torn), None, "{torn}");
        }
    }
}
