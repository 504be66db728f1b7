//! What lvm reports of its groups and volumes, in the form it makes for
//! programs. Each of these runs lvm, which reads the disks.

use crate::host::program::Output;
use crate::host::system::View;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A volume group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its identity, without dashes.
    pub id: String,
    /// The machine that owns it, by its system ID; empty if none does.
    pub owner: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whose locks it needs, `dlm` or `sanlock`; empty if none.
    pub lock_type: String,
    /// Whether it has been exported, for another system to import.
    pub exported: bool,
    /// Whether it is activated as soon as its disks are seen, where lvm knows
    /// such a thing.
    pub autoactivation: Option<bool>,
    /// How many of its disks are not to be seen.
    pub missing: usize,
    /// Its disks.
    pub disks: Vec<Disk>,
}

/// A physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where it is; nowhere that exists, if it is missing.
    pub path: PathBuf,
    /// Its identity.
    pub id: String,
    /// Whether it is not to be seen.
    pub missing: bool,
    /// Whether this is a second place where the same disk is seen, which lvm
    /// does not use.
    pub duplicate: bool,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its identity, without dashes.
    pub id: String,
    /// Whether activating the group makes a device of it.
    pub is_wanted: bool,
}

const GROUP: &str = "vg_name,vg_uuid,vg_systemid,vg_tags,vg_lock_type,vg_missing_pv_count,\
    vg_exported,pv_name,pv_uuid,pv_missing";
/// Known from 2.03.12 on.
const AUTOACTIVATION: &str = ",vg_autoactivation";
const VOLUME: &str = "lv_name,lv_uuid,lv_layout,lv_skip_activation";

/// The group of this name, whoever owns it, or what lvm says instead.
pub fn group(view: &View, name: &str) -> Result<Result<Group, String>> {
    let output = groups_of(view, &[name])?;
    // 5 is also the code of a group that is there and misses a disk.
    let mut found = parse_groups(&output.stdout).unwrap_or_default();
    found.iter_mut().for_each(|group| add_duplicates(group, &output.stderr));
    Ok(found.into_iter().find(|group| group.name == name).ok_or_else(|| why(&output)))
}

/// All groups that lvm sees.
pub fn groups(view: &View) -> Result<Vec<Group>> {
    let output = groups_of(view, &[])?;
    let found = parse_groups(&output.stdout);
    match found {
        Ok(found) if output.success() || !found.is_empty() => Ok(found),
        Ok(_) => bail!("lvm cannot list the volume groups: {}", why(&output)),
        Err(err) => Err(err),
    }
}

fn groups_of(view: &View, names: &[&str]) -> Result<Output> {
    let report = |fields: String| {
        let mut words = vec!["vgs", "--foreign", "--shared", "--nolocking"];
        words.extend(["--reportformat", "json", "-o", &fields]);
        words.extend(names);
        view.query("lvm", &words)
    };
    let output = report(format!("{GROUP}{AUTOACTIVATION}"))?;
    if output.stderr.contains("Unrecognised field") {
        return report(GROUP.to_owned());
    }
    Ok(output)
}

/// Every disk that lvm looks at, whether it has put something there or not:
/// what its filters, its list of devices and its own judgement leave.
pub fn looked_at(view: &View) -> Result<Vec<PathBuf>> {
    let words = ["pvs", "--all", "--foreign", "--shared", "--nolocking"];
    let words = [&words[..], &["--reportformat", "json", "-o", "pv_name"]].concat();
    let output = view.query("lvm", &words)?;
    if !output.success() {
        bail!("lvm cannot list the disks: {}", why(&output));
    }
    let path = |row: BTreeMap<String, String>| row.get("pv_name").map(PathBuf::from);
    Ok(rows(&output.stdout)?.into_iter().filter_map(path).collect())
}

/// The volumes of the group that are not parts of others.
pub fn volumes(view: &View, group: &str) -> Result<Vec<Volume>> {
    let mut words = vec!["lvs", "--foreign", "--shared", "--nolocking"];
    words.extend(["--reportformat", "json", "-o", VOLUME, group]);
    let output = view.query("lvm", &words)?;
    if !output.success() {
        bail!("lvm cannot list the logical volumes of {group}: {}", why(&output));
    }
    parse_volumes(&output.stdout)
}

/// This machine's system ID; empty if it has none.
pub fn system_id(view: &View) -> Result<String> {
    let output = view.query("lvm", &["systemid"])?;
    if !output.success() {
        bail!("lvm cannot tell this machine's system ID: {}", why(&output));
    }
    let id = output.stdout.trim().strip_prefix("system ID:").unwrap_or_default();
    Ok(id.trim().to_owned())
}

/// What lvm complains of: the first line, since those that follow only say
/// what became of it. Warnings are passed over if there is more.
pub fn why(output: &Output) -> String {
    // It also complains of open descriptors that are the caller's.
    let is_said = |line: &&str| !line.is_empty() && !line.starts_with("File descriptor ");
    let lines = || output.stderr.lines().map(str::trim).filter(is_said);
    let found = lines().find(|line| !line.starts_with("WARNING:")).or_else(|| lines().next());
    found.map_or_else(|| output.reason(), str::to_owned)
}

#[derive(Deserialize)]
struct Reports {
    report: Vec<Report>,
}

#[derive(Deserialize)]
struct Report {
    #[serde(default, alias = "vg", alias = "lv", alias = "pv")]
    rows: Vec<BTreeMap<String, String>>,
}

fn rows(text: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let reports: Reports = serde_json::from_str(text).context("lvm's report makes no sense")?;
    Ok(reports.report.into_iter().flat_map(|report| report.rows).collect())
}

/// Reads what `vgs` reports: a row for each disk of each group.
fn parse_groups(text: &str) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for row in rows(text)? {
        let field = |name: &str| row.get(name).map(String::as_str).unwrap_or_default();
        let id = field("vg_uuid").replace('-', "");
        if groups.last().is_none_or(|last| last.id != id) {
            groups.push(Group {
                name: field("vg_name").to_owned(),
                id,
                owner: field("vg_systemid").to_owned(),
                tags: list(field("vg_tags")),
                lock_type: Some(field("vg_lock_type"))
                    .filter(|kind| *kind != "none")
                    .unwrap_or_default()
                    .to_owned(),
                exported: !field("vg_exported").is_empty(),
                autoactivation: row.get("vg_autoactivation").map(|word| !word.is_empty()),
                missing: field("vg_missing_pv_count").trim().parse().unwrap_or(0),
                disks: Vec::new(),
            });
        }
        let group = groups.last_mut().context("just pushed")?;
        group.disks.push(Disk {
            path: field("pv_name").into(),
            id: field("pv_uuid").to_owned(),
            missing: !field("pv_missing").is_empty(),
            duplicate: false,
        });
    }
    Ok(groups)
}

/// Adds the places where lvm has seen a disk of the group once more. It tells
/// of them in warnings alone.
fn add_duplicates(group: &mut Group, warnings: &str) {
    for line in warnings.lines() {
        let told = line.trim().strip_prefix("WARNING: Not using device ");
        let Some((path, id)) = told.and_then(|told| told.split_once(" for PV ")) else { continue };
        let id = id.trim_end_matches('.');
        if group.disks.iter().any(|disk| disk.id == id) {
            let (path, id) = (path.into(), id.to_owned());
            group.disks.push(Disk { path, id, missing: false, duplicate: true });
        }
    }
}

fn parse_volumes(text: &str) -> Result<Vec<Volume>> {
    let volume = |row: BTreeMap<String, String>| {
        let field = |name: &str| row.get(name).map(String::as_str).unwrap_or_default();
        let layout = list(field("lv_layout"));
        let has = |word: &str| layout.iter().any(|found| found == word);
        Volume {
            name: field("lv_name").to_owned(),
            id: field("lv_uuid").replace('-', ""),
            is_wanted: field("lv_skip_activation").is_empty() && !(has("cache") && has("pool")),
        }
    };
    Ok(rows(text)?.into_iter().map(volume).collect())
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
