//! Where the exported directories lie, and what is remembered of it.
//!
//! An export is a path, and serves whatever is there. Where the file system
//! that was meant is not mounted any more, clients see the empty directory
//! beneath, and their handles are stale; and locks that are taken away by the
//! path are those of the root file system. So start writes down on which mount
//! each directory lies, and everything that comes later is held against that.

use anyhow::{Context, Result};
use common::host::block::Number;
use common::host::mount::table::unescaped;
use common::host::mount::{Mount, Table, statmount};
use common::host::nfs::exports::Export;
use common::host::record::Damaged;
use common::{System, View};
use std::path::{Path, PathBuf};

/// The mount that a directory lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number that is never given again, since Linux 6.8.
    unique: Option<u64>,
    /// The number in the table.
    pub(super) id: u64,
    pub(super) device: Number,
    pub(super) mount: PathBuf,
    source: String,
}

impl Place {
    /// Of a directory without links.
    pub(super) fn of(table: &Table, path: &Path) -> Result<Self> {
        let shown = path.display();
        let mount = table.holding(path).with_context(|| format!("{shown} lies on no mount"))?;
        Ok(Self {
            unique: statmount::unique_below(path),
            id: mount.id,
            device: mount.device,
            mount: mount.directory.clone(),
            source: mount.source.clone().unwrap_or_default(),
        })
    }

    /// Whether the directory still lies there, without a look at the table.
    fn is_unchanged(&self, path: &Path) -> bool {
        self.unique.is_some() && self.unique == statmount::unique_below(path)
    }

    /// Whether the mount is of the same file system. Numbers that the kernel
    /// makes up are given again.
    pub(super) fn is_same(&self, mount: &Mount) -> bool {
        let source = mount.source.as_deref().unwrap_or_default();
        self.device == mount.device
            && (self.device.major != 0 || self.mount == mount.directory && self.source == source)
    }

    /// Where the directory lies now, if that is somewhere else: a clause.
    pub(super) fn left(&self, view: &View, path: &Path) -> Result<Option<String>> {
        if self.is_unchanged(path) {
            return Ok(None);
        }
        let table = Table::read(view)?;
        let now = table.holding(path);
        if now.is_some_and(|mount| self.is_same(mount)) {
            return Ok(None);
        }
        let now = now.map_or("nothing".into(), |mount| {
            format!("{} on {}", mount.what(), mount.directory.display())
        });
        Ok(Some(format!(
            "{} lies on {now}, and was exported from {} ({}) on {}: clients get stale handles",
            path.display(),
            self.source,
            self.device,
            self.mount.display(),
        )))
    }
}

/// An export that start has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// The directory as it was asked for.
    pub(super) directory: PathBuf,
    /// The same without links.
    pub(super) path: PathBuf,
    /// The client as it was asked for.
    pub(super) asked: String,
    /// The client as the table has it.
    pub(super) client: String,
    pub(super) place: Place,
}

/// What start remembers, for as long as the machine is up: the table of exports
/// outlives that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) made: Vec<Made>,
}

/// Raised when the lines change; a file of another version is no record.
const VERSION: &str = "1";

impl Record {
    /// What the instance has recorded since the machine is up.
    pub(super) fn of(view: &View, instance: &str) -> Result<Option<Self>, Damaged> {
        Self::read(view, &name(instance))
    }

    pub(super) fn keep(&self, system: &System<'_>, instance: &str) -> Result<()> {
        let text = self.text(&life(system));
        system.write_record(&name(instance), &text)?;
        system.write_record(&place_name(instance), &text)
    }

    /// Where the directories lay is kept.
    pub(super) fn forget(system: &System<'_>, instance: &str) -> Result<()> {
        system.remove_record(&name(instance))
    }

    /// What other instances have recorded since the machine is up, as far as it
    /// can be read.
    pub(super) fn beside(view: &View, instance: &str) -> Result<Vec<(String, Self)>> {
        let life = life(view);
        let beside = view
            .records_beside(&name(instance), RECORDS, |text| Self::parse(text, &life))?
            .into_iter();
        Ok(beside.filter_map(|(name, record)| Some((name, record.ok()??))).collect())
    }

    /// What was recorded under that name is this instance's from now on.
    pub(super) fn adopt(system: &System<'_>, from: &str, instance: &str) -> Result<()> {
        system.rename_record(from, &name(instance))?;
        let stem = from.strip_suffix(RECORDS.1).unwrap_or(from);
        system.remove_record(&format!("{stem}.rmtab"))
    }

    /// Where the directory lay when it was exported last, since the machine is up:
    /// by this instance, or else by any.
    pub(super) fn place_before(view: &View, instance: &str, path: &Path) -> Option<Place> {
        let own = place_name(instance);
        let mut names = vec![own.clone()];
        names.extend(view.records(PLACES.0, PLACES.1).unwrap_or_default());
        let place = |name: &String| {
            let record = Self::read(view, name).unwrap_or_else(|damaged| {
                if *name == own {
                    view.warn(format_args!(
                        "{damaged}: where the directory lay before is not known"
                    ));
                }
                None
            });
            Some(record?.made.into_iter().find(|made| made.path == path)?.place)
        };
        names.iter().find_map(place)
    }

    fn read(view: &View, name: &str) -> Result<Option<Self>, Damaged> {
        let life = life(view);
        Ok(view.record(name, |text| Self::parse(text, &life))?.flatten())
    }

    /// What any instance has made since the machine is up, as far as the records
    /// can be read; and whether all of them can.
    pub(super) fn claims(view: &View) -> Result<(Vec<Made>, bool)> {
        let (mut made, mut is_whole) = (Vec::new(), true);
        for name in view.records(RECORDS.0, RECORDS.1)? {
            match Self::read(view, &name) {
                Ok(record) => made.extend(record.unwrap_or_default().made),
                Err(damaged) => {
                    view.note(format_args!("{damaged}"));
                    is_whole = false;
                }
            }
        }
        Ok((made, is_whole))
    }

    /// What the lines say; nothing of what is from before the machine was up.
    fn parse(text: &str, life: &str) -> Option<Option<Self>> {
        let mut lines = text.lines();
        (lines.next()? == VERSION).then_some(())?;
        if lines.next()? != life {
            return Some(None);
        }
        let made = lines.map(|line| {
            let mut fields = line.split('\t').map(unescaped);
            let mut path = || fields.next();
            let (directory, real) = (path()?, path()?);
            let mut word = || Some(path()?.to_string_lossy().into_owned());
            Some(Made {
                directory,
                path: real,
                asked: word()?,
                client: word()?,
                place: Place {
                    unique: word()?.parse().ok(),
                    id: word()?.parse().ok()?,
                    device: Number::parse(&word()?)?,
                    mount: word()?.into(),
                    source: word()?,
                },
            })
        });
        Some(Some(Self { made: made.collect::<Option<_>>()? }))
    }

    fn text(&self, life: &str) -> String {
        let line = |made: &Made| {
            let Place { unique, id, device, mount, source } = &made.place;
            let unique = unique.map(|unique| unique.to_string()).unwrap_or_default();
            let fields = [
                &made.directory.to_string_lossy(),
                &*made.path.to_string_lossy(),
                &made.asked,
                &made.client,
                &unique,
                &id.to_string(),
                &device.to_string(),
                &mount.to_string_lossy(),
                source,
            ];
            fields.map(escaped).join("\t") + "\n"
        };
        let lines: String = self.made.iter().map(line).collect();
        format!("{VERSION}\n{life}\n{lines}")
    }
}

/// What would end a field or a line, as three octal digits.
fn escaped(text: &str) -> String {
    let written = |c: char| match c {
        '\t' | '\n' | '\\' => format!("\\{:03o}", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(written).collect()
}

/// Which boot this is.
fn life(view: &View) -> String {
    view.read("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_end().to_owned()
}

impl Made {
    pub(super) fn is(&self, export: &Export) -> bool {
        self.path == export.path && self.client == export.client
    }
}

/// How all records are called: what precedes the instance, and what follows it.
const RECORDS: (&str, &str) = ("exportfs-", ".state");

/// The same of where the directories lay when they were last exported: kept also
/// when they are not any more.
const PLACES: (&str, &str) = ("exportfs-", ".place");

/// What the record of an instance is called.
fn name(instance: &str) -> String {
    format!("{}{instance}{}", RECORDS.0, RECORDS.1)
}

fn place_name(instance: &str) -> String {
    format!("{}{instance}{}", PLACES.0, PLACES.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Made {
        let place = Place {
            unique: Some(77),
            id: 40,
            device: Number { major: 147, minor: 0 },
            mount: "/srv/with blank".into(),
            source: "/dev/drbd0".into(),
        };
        Made {
            directory: "/srv/link\\x".into(),
            path: "/srv/with blank/a".into(),
            asked: "node1".into(),
            client: "node1.example.org".into(),
            place,
        }
    }

    #[test]
    fn a_record_reads_as_it_was_written_and_holds_for_one_boot() {
        let mut record = Record { made: vec![made(), made()] };
        record.made[1].place.unique = None;
        let text = record.text("boot");
        assert_eq!(Record::parse(&text, "boot"), Some(Some(record)));
        assert_eq!(Record::parse(&text, "later"), Some(None));
        assert_eq!(Record::parse("0\nboot\n", "boot"), None);
        assert_eq!(Record::parse(&format!("{text}cut\tshort"), "boot"), None);
    }

    #[test]
    fn a_number_that_the_kernel_makes_up_counts_in_its_place_alone() {
        let line = |device: &str, place: &str| {
            let text = format!("40 21 {device} / {place} rw - btrfs /dev/sdb rw\n");
            Table::parse(&text).unwrap().iter().next().unwrap().clone()
        };
        let mut place = made().place;
        assert!(place.is_same(&line("147:0", "/elsewhere")) && !place.is_same(&line("147:1", "/")));
        place.device = Number { major: 0, minor: 50 };
        place.source = "/dev/sdb".into();
        assert!(place.is_same(&line("0:50", "/srv/with\\040blank")));
        assert!(!place.is_same(&line("0:50", "/elsewhere")));
    }
}
