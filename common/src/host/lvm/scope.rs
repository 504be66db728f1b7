//! Which disks lvm is shown. It looks at all that its configuration lets it
//! see, and refuses to change a group of which it sees a disk twice.

use super::settings::Settings;
use std::path::PathBuf;

/// The disks that lvm is shown, for the length of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those of its own configuration.
    #[default]
    Configured,
    /// These alone, by a filter in the place of the configured one.
    Filtered(Vec<PathBuf>),
    /// These alone, in the place of its list of devices: where lvm keeps one,
    /// it applies no filter.
    Listed(Vec<PathBuf>),
}

impl Scope {
    /// These disks alone.
    pub fn only(disks: Vec<PathBuf>, settings: &Settings) -> Self {
        match settings.is_on("use_devicesfile") {
            true => Self::Listed(disks),
            false => Self::Filtered(disks),
        }
    }

    /// The words for lvm's command line, along with a setting that the call
    /// needs besides: lvm takes `--config` once.
    pub fn words(&self, setting: Option<&str>) -> Vec<String> {
        let filter = match self {
            Self::Filtered(disks) => Some(filter(disks)),
            Self::Configured | Self::Listed(_) => None,
        };
        let settings: Vec<&str> = filter.as_deref().into_iter().chain(setting).collect();
        let mut words = Vec::new();
        if !settings.is_empty() {
            words.extend(["--config".to_owned(), settings.join(" ")]);
        }
        if let Self::Listed(disks) = self {
            let shown = disks.iter().map(|disk| disk.display().to_string());
            words.extend(shown.flat_map(|disk| ["--devices".to_owned(), disk]));
        }
        words
    }
}

/// A filter that lets these pass and nothing else. All names of a device are
/// held against it, so what is not to be seen has to be rejected by any name.
fn filter(disks: &[PathBuf]) -> String {
    // What has a meaning in a pattern is matched by the sign for any.
    let plain = |c: char| if c.is_ascii_alphanumeric() || "/_-".contains(c) { c } else { '.' };
    let pattern = |disk: &PathBuf| -> String {
        let path: String = disk.to_string_lossy().chars().map(plain).collect();
        format!("\"a|^{path}$|\",")
    };
    let accepted: String = disks.iter().map(pattern).collect();
    format!("devices/filter=[{accepted}\"r|.*|\"]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_and_a_setting_are_one_word() {
        let only = Scope::Filtered(vec!["/dev/drbd0".into(), "/dev/disk/by-id/a+b".into()]);
        assert_eq!(
            only.words(Some("a/b=1")),
            [
                "--config",
                r#"devices/filter=["a|^/dev/drbd0$|","a|^/dev/disk/by-id/a.b$|","r|.*|"] a/b=1"#
            ]
        );
        assert_eq!(Scope::Configured.words(Some("a/b=1")), ["--config", "a/b=1"]);
        assert!(Scope::Configured.words(None).is_empty());
    }

    #[test]
    fn where_lvm_has_a_list_of_devices_a_filter_is_none() {
        let settings = |text: &str| Settings::parse(text);
        let disks = || vec!["/dev/drbd0".into()];
        let listed = Scope::only(disks(), &settings("use_devicesfile=1"));
        assert_eq!(listed.words(None), ["--devices", "/dev/drbd0"]);
        let filtered = Scope::only(disks(), &settings("use_devicesfile=0"));
        assert_eq!(filtered, Scope::Filtered(disks()));
    }
}
