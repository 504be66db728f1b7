//! LVM's settings on this machine, as far as they decide who may activate what
//! and which disks are seen.

use super::complaint::why;
use super::settings_file;
use crate::host::system::View;
use anyhow::{Result, bail};

/// What is asked for.
const WANTED: &[&str] = &[
    "activation/volume_list",
    "activation/auto_activation_volume_list",
    "devices/filter",
    "devices/global_filter",
    "devices/multipath_component_detection",
    "devices/use_devicesfile",
    "global/event_activation",
    "global/locking_type",
    "global/system_id_source",
    "global/use_lvmetad",
    "global/use_lvmlockd",
];

/// Where lvm keeps the list of its devices, if it has one and is told of no other
/// place. Without the file it applies filters, whatever is set.
const DEVICES_FILE: &str = "/etc/lvm/devices/system.devices";

/// What every lvm takes for what is not set in its files; a list is unset then.
const DEFAULTS: &[(&str, &str)] = &[
    ("activation/volume_list", ""),
    ("global/system_id_source", "\"none\""),
    ("global/use_lvmlockd", "0"),
];

/// The settings in force: lvm.conf, what it includes, and lvm's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: Vec<(String, String)>,
}

impl Settings {
    /// Asks lvm. One of those that this lvm does not know is not set.
    pub fn read(view: &View) -> Result<Self> {
        let mut words = vec!["lvmconfig", "--typeconfig", "full"];
        words.extend(WANTED);
        let output = view.query("lvm", &words)?;
        let settings = Self::parse(&output.stdout);
        if settings.values.is_empty() {
            bail!("lvm cannot tell its settings: {}", why(&output));
        }
        Ok(settings)
    }

    /// Those that decide who may activate what, for a start: read from lvm's
    /// files, which takes no program, where these leave nothing open.
    pub fn of_access(view: &View) -> Result<Self> {
        let names: Vec<&str> = DEFAULTS.iter().map(|(name, _)| *name).collect();
        let Some(told) = settings_file::told(view, &names) else { return Self::read(view) };
        let value = |(name, default): &(&str, &str)| {
            let told = told.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
            let value = told.unwrap_or_else(|| (*default).to_owned());
            let (_, name) = name.split_once('/')?;
            (!value.is_empty()).then(|| (name.to_owned(), value))
        };
        Ok(Self { values: DEFAULTS.iter().filter_map(value).collect() })
    }

    /// Whether lvm keeps to a list of its devices and applies no filter. It is asked
    /// only where its files leave that open.
    pub fn has_devices_file(view: &View) -> Result<bool> {
        const SWITCH: &str = "devices/use_devicesfile";
        const PLACE: &str = "devices/devicesfile";
        if let Some(told) = settings_file::told(view, &[SWITCH, PLACE]) {
            let value = |wanted: &str| told.iter().find(|(name, _)| name == wanted);
            let is_off = value(SWITCH).is_some_and(|(_, value)| value == "0");
            if is_off || value(PLACE).is_none() && !view.exists(DEVICES_FILE)? {
                return Ok(false);
            }
        }
        Ok(Self::read(view)?.is_on("use_devicesfile"))
    }

    /// This machine's system ID, where that is its name as it is.
    pub fn system_id(&self, name: &str) -> Option<String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_taken = name.len() < 128
            && name.chars().all(fits)
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !name.to_ascii_lowercase().starts_with("localhost");
        (self.word("system_id_source") == "uname" && is_taken).then(|| name.to_owned())
    }

    pub(super) fn parse(text: &str) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.trim().split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        Self { values: text.lines().filter_map(pair).collect() }
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether a setting that is a number is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|value| value != "0")
    }

    /// A word; empty if it is not set.
    pub fn word(&self, name: &str) -> &str {
        self.raw(name).unwrap_or_default().trim_matches('"')
    }

    /// A list, if it is set; it may be set and empty.
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let raw = self.raw(name)?;
        let inner = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(raw);
        // What is in quotes lies between every other pair of them.
        let words = inner.split('"').skip(1).step_by(2);
        Some(words.map(str::to_owned).collect())
    }

    /// Whether `volume_list` is set and has no place for the group. Which
    /// tags this machine has is not known here: `@*` may stand for any.
    pub fn shuts_out(&self, group: &str, tags: &[String]) -> bool {
        let admits = |entry: &String| match entry.strip_prefix('@') {
            Some(tag) => tag == "*" || tags.iter().any(|has| has == tag),
            None => names(entry, group),
        };
        self.list("volume_list").is_some_and(|list| !list.iter().any(admits))
    }

    /// Whether the group may be activated as soon as its disks are seen.
    pub fn lets_autoactivate(&self, group: &str) -> bool {
        let list = self.list("auto_activation_volume_list");
        self.is_on("event_activation")
            && list.is_none_or(|list| list.iter().any(|entry| names(entry, group)))
    }
}

/// Whether an entry of a volume list speaks of the group by its name.
fn names(entry: &str, group: &str) -> bool {
    entry.split_once('/').map_or(entry, |(of, _)| of) == group
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = r#"use_lvmlockd=0
event_activation=1
volume_list=["rootvg","@node1","data/only"]
filter=["a|.*|"]
global_filter=["r|/dev/sda3|","a|/dev/drbd[0-9]+|"]
use_devicesfile=0
system_id_source="none"
"#;

    #[test]
    fn settings_are_read_as_lvm_prints_them() {
        let settings = Settings::parse(CAPTURED);
        assert_eq!(settings.word("system_id_source"), "none");
        assert!(settings.is_on("event_activation") && !settings.is_on("use_lvmlockd"));
        let filter = settings.list("global_filter").unwrap();
        assert_eq!(filter, ["r|/dev/sda3|", "a|/dev/drbd[0-9]+|"]);
        assert_eq!(settings.list("auto_activation_volume_list"), None);
    }

    #[test]
    fn a_volume_list_shuts_out_what_it_does_not_name() {
        let settings = Settings::parse(CAPTURED);
        assert!(settings.shuts_out("vg", &[]) && !settings.shuts_out("rootvg", &[]));
        assert!(!settings.shuts_out("data", &[]));
        assert!(!settings.shuts_out("vg", &["node1".to_owned()]));
        assert!(!Settings::parse("use_lvmlockd=0").shuts_out("vg", &[]));
    }

    #[test]
    fn an_empty_list_is_not_an_unset_one() {
        let shut = Settings::parse("event_activation=1\nauto_activation_volume_list=[]");
        assert!(!shut.lets_autoactivate("vg"));
        assert!(Settings::parse("event_activation=1").lets_autoactivate("vg"));
        assert!(!Settings::parse("event_activation=0").lets_autoactivate("vg"));
    }
}
