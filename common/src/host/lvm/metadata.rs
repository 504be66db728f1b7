//! LVM's metadata as text: what a group is made of. It is on the group's disks,
//! and LVM leaves a copy in /etc/lvm/backup whenever it has changed or activated
//! a group. The copy can be read while the disks cannot; it may be old, and
//! nothing but advice is made of it.

use crate::host::system::View;
use std::path::{Path, PathBuf};

/// A copy of a group's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The group's identity, without dashes.
    pub id: String,
    /// The machine that owns it, by its system ID; empty if none does.
    pub owner: String,
    /// The disks it lay on, as they were called then.
    pub disks: Vec<PathBuf>,
    /// Its volumes, also those that are parts of others.
    pub volumes: Vec<Volume>,
}

/// A logical volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its identity, without dashes.
    pub id: String,
}

/// The copy that this machine has, if it has one that can be read.
pub fn copy(view: &View, group: &str) -> Option<Metadata> {
    let text = view.read(Path::new("/etc/lvm/backup").join(group)).ok()?;
    parse(&text, group)
}

/// Reads the text; none if it is not about this group.
pub fn parse(text: &str, group: &str) -> Option<Metadata> {
    let root = Section::parse(text)?;
    let found = root.section(group)?;
    let id = |section: &Section<'_>| section.value("id").replace('-', "");
    let disks = found.section("physical_volumes").into_iter().flat_map(Section::sections);
    let volumes = found.section("logical_volumes").into_iter().flat_map(Section::sections);
    let volume =
        |(name, section): (&str, &Section<'_>)| Volume { name: name.to_owned(), id: id(section) };
    Some(Metadata {
        id: id(found),
        owner: found.value("system_id").to_owned(),
        disks: disks.filter_map(|(_, disk)| Some(disk.text("device")?.into())).collect(),
        volumes: volumes.map(volume).collect(),
    })
}

/// A section: names with values, and sections within.
#[derive(Debug, Default)]
struct Section<'t> {
    values: Vec<(&'t str, &'t str)>,
    sections: Vec<(&'t str, Section<'t>)>,
}

impl<'t> Section<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        let mut lines = text.lines().map(without_comment).map(str::trim).filter(|l| !l.is_empty());
        Self::read(&mut lines)
    }

    /// Reads up to the closing brace, or to the end.
    fn read(lines: &mut impl Iterator<Item = &'t str>) -> Option<Self> {
        let mut section = Self::default();
        while let Some(line) = lines.next() {
            if line == "}" {
                break;
            }
            if let Some(name) = line.strip_suffix('{') {
                section.sections.push((name.trim(), Self::read(lines)?));
                continue;
            }
            let (name, value) = line.split_once('=')?;
            let value = value.trim();
            section.values.push((name.trim(), value));
            // A list that is too long for its line.
            if value.starts_with('[') && !value.ends_with(']') {
                lines.find(|line| line.ends_with(']'))?;
            }
        }
        Some(section)
    }

    fn section(&self, name: &str) -> Option<&Self> {
        self.sections.iter().find(|(found, _)| *found == name).map(|(_, section)| section)
    }

    fn sections(&self) -> impl Iterator<Item = (&'t str, &Self)> {
        self.sections.iter().map(|(name, section)| (*name, section))
    }

    /// The value as it is written, quotes included; empty if there is none.
    fn raw(&self, name: &str) -> &'t str {
        self.values.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }

    fn text(&self, name: &str) -> Option<&'t str> {
        Some(self.raw(name).trim_matches('"')).filter(|text| !text.is_empty())
    }

    fn value(&self, name: &str) -> &'t str {
        self.text(name).unwrap_or_default()
    }
}

/// The line up to a `#` that is not within quotes.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}
