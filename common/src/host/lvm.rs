//! LVM's volume groups: what of them is active, as the device-mapper tells,
//! what they consist of, as lvm tells, and what their metadata was when this
//! machine last saw it.

pub mod metadata;
pub mod report;
pub mod settings;

use crate::host::dm::{Device, Mapper, Prefix};
use anyhow::Result;
use std::collections::BTreeMap;

/// What the identity of each of LVM's devices begins with.
const MARK: &str = "LVM-";
/// The length of an identity of a group or of a volume, without dashes.
const ID: usize = 32;

/// What LVM puts into the names of volumes that it keeps for itself, and
/// refuses in those of others.
const RESERVED: &[&str] = &[
    "_cdata", "_cmeta", "_corig", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare",
    "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
];

/// A logical volume that is active, at least in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name, without the group's.
    pub name: String,
    /// Its identity, without dashes.
    pub id: String,
    /// The group's identity, without dashes.
    pub group: String,
    /// Its devices: the one that people use, if it has one, comes first.
    pub devices: Vec<Device>,
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

/// The volumes of the group that are active, sorted by their names.
pub fn active(mapper: &Mapper<'_>, group: &str) -> Result<Vec<Volume>> {
    let name = format!("{}-", escaped(group));
    let devices = mapper.devices(Prefix { name: &name, uuid: MARK })?;
    let mut volumes = sorted(devices);
    volumes.retain(|(of, _)| of == group);
    Ok(volumes.into_iter().map(|(_, volume)| volume).collect())
}

/// All that is active, with the groups' names.
pub fn all_active(mapper: &Mapper<'_>) -> Result<Vec<(String, Volume)>> {
    Ok(sorted(mapper.devices(Prefix { name: "", uuid: MARK })?))
}

/// The devices as volumes with their groups' names, sorted.
fn sorted(devices: Vec<Device>) -> Vec<(String, Volume)> {
    let mut volumes: BTreeMap<(String, String, String), Volume> = BTreeMap::new();
    for device in devices {
        let Some((group_id, id, layer)) = identity(&device.uuid) else { continue };
        let Some((group, name)) = split(&device.name) else { continue };
        let (group_id, id, layered) = (group_id.to_owned(), id.to_owned(), !layer.is_empty());
        let volume = volumes.entry((group, name.clone(), id.clone())).or_insert_with(|| Volume {
            name,
            id,
            group: group_id,
            devices: Vec::new(),
        });
        let place = if layered { volume.devices.len() } else { 0 };
        volume.devices.insert(place, device);
    }
    volumes.into_iter().map(|((group, ..), volume)| (group, volume)).collect()
}

/// The identities of group and volume, and what is added for a layer beneath
/// the volume.
pub fn identity(uuid: &str) -> Option<(&str, &str, &str)> {
    let ids = uuid.strip_prefix(MARK)?;
    if !ids.is_ascii() || ids.len() < 2 * ID {
        return None;
    }
    Some((&ids[..ID], &ids[ID..2 * ID], ids[2 * ID..].trim_start_matches('-')))
}

/// A name as it is part of a device's: each dash doubled.
pub fn escaped(name: &str) -> String {
    name.replace('-', "--")
}

/// The names of group and volume in that of a device; what is added for a
/// layer is left out.
pub fn split(device: &str) -> Option<(String, String)> {
    let mut parts = vec![String::new()];
    let mut rest = device.chars().peekable();
    while let Some(c) = rest.next() {
        let last = parts.last_mut()?;
        match c {
            '-' if rest.peek() == Some(&'-') => {
                rest.next();
                last.push('-');
            }
            '-' => parts.push(String::new()),
            c => last.push(c),
        }
    }
    let mut parts = parts.into_iter();
    let names = (parts.next()?, parts.next()?);
    (!names.0.is_empty() && !names.1.is_empty()).then_some(names)
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

#[cfg(test)]
mod tests;
