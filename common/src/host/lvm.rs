//! LVM's volume groups: what of them is active, as the device-mapper tells,
//! what they consist of, as lvm tells, and what their metadata was when this
//! machine last saw it.

pub mod complaint;
pub mod label;
pub mod metadata;
pub mod report;
pub mod scope;
pub mod settings;
mod settings_file;

use crate::host::absence::Whole;
use crate::host::block::Number;
use crate::host::dm::{Mapper, Prefix};
use anyhow::Result;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// What the identity of each of LVM's devices begins with.
const MARK: &str = "LVM-";
/// The length of an identity of a group or of a volume, without dashes.
const ID: usize = 32;

/// What LVM puts into the names of volumes that it keeps for itself, and
/// refuses in those of others.
const RESERVED: &[&str] = &[
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog",
    "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
];

/// The identity of a group or a volume, without dashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id([u8; ID]);

impl Id {
    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As it is written in lists.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is it.
    pub fn is(&self, id: &str) -> bool {
        self.0 == id.as_bytes()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A logical volume that is active, at least in part. There may be hundreds,
/// and each monitor makes them anew: little is allocated for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name, without the group's.
    pub name: String,
    /// Its identity.
    pub id: Id,
    /// The group's identity.
    pub group: Id,
    /// Its devices: the one that people use, if it has one, comes first.
    pub devices: Devices,
    is_layer: bool,
}

/// The devices of a volume, of which nearly each has one: that takes no memory
/// of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    first: [Number; 1],
    /// All, if there are several.
    all: Vec<Number>,
}

impl Devices {
    fn one(number: Number) -> Self {
        Self { first: [number], all: Vec::new() }
    }

    fn extend(&mut self, others: &Self) {
        if self.all.is_empty() {
            self.all.extend(self.first);
        }
        self.all.extend(others.iter());
    }
}

impl std::ops::Deref for Devices {
    type Target = [Number];

    fn deref(&self) -> &[Number] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }
}

impl Volume {
    /// Whether it is part of another volume, and nothing that people use.
    pub fn is_hidden(&self) -> bool {
        is_hidden(&self.name)
    }
}

/// Whether a volume of this name is part of another one.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with("pvmove") || RESERVED.iter().any(|part| name.contains(part))
}

/// Whether a volume of this name is part of the other one: `web_rimage_0` of
/// `web`, and not of `we`. Parts of a pool or a cache are called after that.
pub fn is_part(name: &str, whole: &str) -> bool {
    let rest = name.strip_prefix(whole);
    rest.is_some_and(|rest| RESERVED.iter().any(|part| rest.starts_with(part)))
}

/// The volumes of the group that are active and whose names begin so, sorted by
/// their names; about as many as are expected.
pub fn active(
    mapper: &Mapper<'_>,
    group: &str,
    beginning: &str,
    expected: usize,
) -> Result<Whole<Volume>> {
    let name = format!("{}-{}", escaped(group), escaped(beginning));
    let mut volumes = Volumes(Vec::with_capacity(expected));
    mapper.devices(Prefix { name: &name, uuid: MARK, expected }, |number, name, uuid| {
        if let Some((of, name)) = split(name)
            && of == group
        {
            volumes.add(&name, uuid, number);
        }
    })?;
    Ok(Whole::told("active volumes", volumes.sorted()))
}

/// What is active of a group that is known by its identity.
#[derive(Debug)]
pub struct Identified {
    /// The volumes.
    pub volumes: Whole<Volume>,
    /// What the group is called, if that is another name than the one given.
    pub renamed: Option<String>,
}

/// The volumes of the group of this identity that are active, whatever it is
/// called by now. LVM renames devices while they are in use.
pub fn identified(
    mapper: &Mapper<'_>,
    group: &str,
    name: &str,
    expected: usize,
) -> Result<Identified> {
    let uuid = format!("{MARK}{group}");
    let mut volumes = Volumes(Vec::with_capacity(expected));
    let mut renamed = None;
    mapper.devices(Prefix { name: "", uuid: &uuid, expected }, |number, device, uuid| {
        if let Some((of, volume)) = split(device) {
            if of != name {
                renamed = Some(of.into_owned());
            }
            volumes.add(&volume, uuid, number);
        }
    })?;
    Ok(Identified { volumes: Whole::told("active volumes", volumes.sorted()), renamed })
}

/// All that is active, with the groups' names, sorted.
pub fn all_active(mapper: &Mapper<'_>) -> Result<Whole<(String, Volume)>> {
    let mut groups: BTreeMap<String, Volumes> = BTreeMap::new();
    mapper.devices(Prefix { name: "", uuid: MARK, expected: 0 }, |number, name, uuid| {
        if let Some((group, name)) = split(name) {
            groups.entry(group.into_owned()).or_default().add(&name, uuid, number);
        }
    })?;
    let named = |(group, volumes): (String, Volumes)| {
        volumes.sorted().into_iter().map(move |volume| (group.clone(), volume))
    };
    Ok(Whole::told("active volumes", groups.into_iter().flat_map(named).collect()))
}

/// Devices of one group becoming volumes.
#[derive(Default)]
struct Volumes(Vec<Volume>);

impl Volumes {
    /// Adds a device, if its identity is LVM's.
    fn add(&mut self, name: &str, uuid: &str, number: Number) {
        let Some((group, id, layer)) = identity(uuid) else { return };
        let (devices, is_layer) = (Devices::one(number), !layer.is_empty());
        let name = name.to_owned();
        self.0.push(Volume { name, id, group, devices, is_layer });
    }

    /// One volume for all devices of the same one, its layers last.
    fn sorted(mut self) -> Vec<Volume> {
        let order = |volume: &Volume| (volume.id, volume.is_layer);
        let compare =
            |a: &Volume, b: &Volume| a.name.cmp(&b.name).then_with(|| order(a).cmp(&order(b)));
        // Mostly the kernel has sorted them.
        if !self.0.is_sorted_by(|a, b| compare(a, b).is_le()) {
            self.0.sort_by(compare);
        }
        self.0.dedup_by(|later, first| {
            let is_same = later.id == first.id && later.name == first.name;
            if is_same {
                first.devices.extend(&later.devices);
            }
            is_same
        });
        self.0
    }
}

/// The identities of group and volume, and what is added for a layer beneath
/// the volume.
fn identity(uuid: &str) -> Option<(Id, Id, &str)> {
    let ids = uuid.strip_prefix(MARK).filter(|ids| ids.is_ascii())?;
    let (group, rest) = ids.as_bytes().split_first_chunk::<ID>()?;
    let (id, _) = rest.split_first_chunk::<ID>()?;
    Some((Id(*group), Id(*id), ids[2 * ID..].trim_start_matches('-')))
}

/// A name as it is part of a device's: each dash doubled.
pub fn escaped(name: &str) -> String {
    name.replace('-', "--")
}

/// The names of group and volume in that of a device; what is added for a
/// layer is left out.
pub fn split(device: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let at = lone_dash(device)?;
    let (group, rest) = (&device[..at], &device[at + 1..]);
    let name = lone_dash(rest).map_or(rest, |end| &rest[..end]);
    (!group.is_empty() && !name.is_empty()).then(|| (unescaped(group), unescaped(name)))
}

/// Where the first dash is that has no other beside it.
fn lone_dash(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'-', Some(b'-')) => at += 2,
            (b'-', _) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn unescaped(name: &str) -> Cow<'_, str> {
    match name.contains('-') {
        true => name.replace("--", "-").into(),
        false => name.into(),
    }
}

/// Whether LVM takes this as the name of a group or a volume.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '.' | '-');
    name.len() < 128
        && name.chars().all(fits)
        && !name.starts_with('-')
        && !matches!(name, "" | "." | "..")
}

/// Whether LVM takes this as a tag.
pub fn is_tag(tag: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+.-/=!:&#".contains(c);
    (1..=1024).contains(&tag.len()) && tag.chars().all(fits) && !tag.starts_with('-')
}

/// For unit tests of agents.
#[cfg(feature = "testing")]
pub mod testing {
    use super::{Devices, ID, Id, Number, Volume};

    /// A volume with these devices.
    pub fn volume(name: &str, numbers: &[Number]) -> Volume {
        let mut id = [b'x'; ID];
        id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        let devices = Devices { first: [numbers[0]], all: numbers.to_vec() };
        Volume {
            name: name.to_owned(),
            id: Id(id),
            group: Id([b'G'; ID]),
            devices,
            is_layer: false,
        }
    }
}

#[cfg(test)]
mod tests;
