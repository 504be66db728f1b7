//! What lvm reports of its groups and volumes, in the form it makes for
//! programs. Each of these runs lvm, which reads the disks.

use super::scope::Scope;
use crate::host::block::{self, Number};
use crate::host::program::Output;
use crate::host::system::View;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use super::complaint::why;

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
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Its volumes that are not parts of others.
    pub volumes: Vec<Volume>,
}

/// A physical volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Where it is; nowhere that exists, if it is not to be seen.
    pub path: PathBuf,
    /// Which device that is; none if it is not to be seen.
    pub number: Option<Number>,
    /// Its identity, as lvm writes it.
    pub id: String,
    /// Whether the group has to do without it. It may be to be seen all the
    /// same: one that was away while the group was changed is not used again
    /// before somebody says that it may.
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
    /// Whether there is a name for it in /dev then. A thin pool has none.
    pub is_named: bool,
}

impl Group {
    /// The disks that it has to do without.
    pub fn missing(&self) -> impl Iterator<Item = &Disk> {
        self.disks.iter().filter(|disk| disk.missing)
    }
}

const GROUP: &str = "vg_name,vg_uuid,vg_systemid,vg_tags,vg_lock_type,vg_exported";
/// Known from 2.03.12 on.
const AUTOACTIVATION: &str = ",vg_autoactivation";
const DISK: &str = "pv_name,pv_uuid,pv_missing,pv_major,pv_minor";
const VOLUME: &str = "lv_name,lv_uuid,lv_layout,lv_skip_activation,lv_path";

/// The group of this name, whoever owns it, or what lvm says instead.
pub fn group(view: &View, scope: &Scope, name: &str) -> Result<Result<Group, String>> {
    let output = groups_of(view, scope, Some(name))?;
    // 5 is also the code of a group that is there and misses a disk.
    let found = parse_groups(&output.stdout).unwrap_or_default();
    let found = found.into_iter().find(|group| group.name == name).ok_or_else(|| why(&output));
    Ok(found.map(|group| with_duplicates(view, group, &output.stderr)))
}

/// All groups that lvm sees.
pub fn groups(view: &View) -> Result<Vec<Group>> {
    let output = groups_of(view, &Scope::Configured, None)?;
    let found = parse_groups(&output.stdout)?;
    if !output.success() && found.is_empty() {
        bail!("lvm cannot list the volume groups: {}", why(&output));
    }
    Ok(found.into_iter().map(|group| with_duplicates(view, group, &output.stderr)).collect())
}

/// All of a group in one report, since for each lvm reads the disks anew.
fn groups_of(view: &View, scope: &Scope, name: Option<&str>) -> Result<Output> {
    let report = |group: &str| {
        let reports = [
            ("vg", group),
            ("pv", DISK),
            ("lv", VOLUME),
            // There is no way to leave them out.
            ("pvseg", "pv_uuid"),
            ("seg", "lv_uuid"),
        ];
        let mut words = vec!["fullreport", "--foreign", "--shared", "--nolocking"];
        words.extend(["--reportformat", "json"]);
        words.extend(reports.iter().flat_map(|(of, fields)| ["--configreport", of, "-o", fields]));
        let shown = scope.words(None);
        words.extend(shown.iter().map(String::as_str).chain(name));
        view.query("lvm", &words).map(with_log)
    };
    let output = report(&format!("{GROUP}{AUTOACTIVATION}"))?;
    if output.stderr.contains("Unrecognised field") {
        return report(GROUP);
    }
    Ok(output)
}

/// Every disk that lvm looks at, whether it has put something there or not:
/// what its filters, its list of devices and its own judgement leave.
pub fn looked_at(view: &View) -> Result<Vec<PathBuf>> {
    let words = ["pvs", "--all", "--foreign", "--shared", "--nolocking"];
    let words = [&words[..], &["--reportformat", "json", "-o", "pv_name"]].concat();
    let output = view.query("lvm", &words).map(with_log)?;
    if !output.success() {
        bail!("lvm cannot list the disks: {}", why(&output));
    }
    let rows = reports(&output.stdout)?.into_iter().flat_map(|report| report.pv);
    Ok(rows.map(|row| PathBuf::from(field(&row, "pv_name"))).collect())
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

#[derive(Deserialize)]
struct Reports {
    report: Vec<Report>,
    #[serde(default)]
    log: Vec<Row>,
}

type Row = BTreeMap<String, String>;

/// What is told of one group, or of all disks.
#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    vg: Vec<Row>,
    #[serde(default)]
    pv: Vec<Row>,
    #[serde(default)]
    lv: Vec<Row>,
}

fn reports(text: &str) -> Result<Vec<Report>> {
    let reports: Reports = serde_json::from_str(text).context("lvm's report makes no sense")?;
    Ok(reports.report)
}

/// With errors and warnings where older ones have them: lvm 2.03.31 puts them
/// into a report in JSON and says nothing of them on stderr.
fn with_log(mut output: Output) -> Output {
    let log = serde_json::from_str(&output.stdout).map(|reports: Reports| reports.log);
    let is_said = |row: &Row| field(row, "log_type") != "status";
    for row in log.unwrap_or_default().into_iter().filter(is_said) {
        output.stderr.push_str(field(&row, "log_message"));
        output.stderr.push('\n');
    }
    output
}

fn field<'r>(row: &'r Row, name: &str) -> &'r str {
    row.get(name).map(String::as_str).unwrap_or_default()
}

/// Reads what `fullreport` says: a report for each group.
fn parse_groups(text: &str) -> Result<Vec<Group>> {
    let group = |report: Report| {
        // Disks that are in no group have a report without one.
        let row = report.vg.first()?;
        Some(Group {
            name: field(row, "vg_name").to_owned(),
            id: field(row, "vg_uuid").replace('-', ""),
            owner: field(row, "vg_systemid").to_owned(),
            tags: list(field(row, "vg_tags")),
            lock_type: Some(field(row, "vg_lock_type"))
                .filter(|kind| *kind != "none")
                .unwrap_or_default()
                .to_owned(),
            exported: !field(row, "vg_exported").is_empty(),
            autoactivation: row.get("vg_autoactivation").map(|word| !word.is_empty()),
            disks: report.pv.iter().map(disk).collect(),
            volumes: report.lv.iter().map(volume).collect(),
        })
    };
    Ok(reports(text)?.into_iter().filter_map(group).collect())
}

fn disk(row: &Row) -> Disk {
    let part = |name: &str| field(row, name).parse().ok();
    // One that is not to be seen has the number 0:0.
    let number = part("pv_major").filter(|major| *major > 0);
    let number = number.and_then(|major| Some(Number { major, minor: part("pv_minor")? }));
    Disk {
        path: field(row, "pv_name").into(),
        number,
        id: field(row, "pv_uuid").to_owned(),
        missing: !field(row, "pv_missing").is_empty(),
        duplicate: false,
    }
}

fn volume(row: &Row) -> Volume {
    let layout = list(field(row, "lv_layout"));
    let has = |word: &str| layout.iter().any(|found| found == word);
    Volume {
        name: field(row, "lv_name").to_owned(),
        id: field(row, "lv_uuid").replace('-', ""),
        is_wanted: field(row, "lv_skip_activation").is_empty() && !(has("cache") && has("pool")),
        is_named: !field(row, "lv_path").is_empty(),
    }
}

/// With the places where lvm has seen a disk of the group once more. It tells
/// of them in warnings alone.
fn with_duplicates(view: &View, mut group: Group, warnings: &str) -> Group {
    for line in warnings.lines() {
        let told = line.trim().strip_prefix("WARNING: Not using device ");
        let Some((path, id)) = told.and_then(|told| told.split_once(" for PV ")) else { continue };
        let id = id.trim_end_matches('.');
        if group.disks.iter().any(|disk| disk.id == id) {
            let number = block::number(view, path).ok().flatten();
            let (path, id) = (path.into(), id.to_owned());
            group.disks.push(Disk { path, number, id, missing: false, duplicate: true });
        }
    }
    group
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
