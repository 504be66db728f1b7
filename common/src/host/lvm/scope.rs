//! Which disks lvm is shown. It looks at all that its configuration lets it
//! see, and refuses to change a group of which it sees a disk twice.

use super::settings::Settings;
use crate::host::system::View;
use anyhow::Result;
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
    pub fn only(view: &View, disks: Vec<PathBuf>) -> Result<Self> {
        Ok(match Settings::has_devices_file(view)? {
            true => Self::Listed(disks),
            false => Self::Filtered(disks),
        })
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
    use crate::testing::Files;

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
    fn lvm_is_asked_for_its_list_of_devices_only_where_it_may_have_one() {
        // Nobody can be asked on this machine.
        let only = |conf: &str, has_file: bool| {
            let machine = Files::new();
            machine.file("/etc/lvm/lvm.conf", conf);
            if has_file {
                machine.file("/etc/lvm/devices/system.devices", "");
            }
            Scope::only(&machine.view(), vec!["/dev/drbd0".into()]).ok()
        };
        let filtered = Some(Scope::Filtered(vec!["/dev/drbd0".into()]));
        assert_eq!(only("", false), filtered);
        assert_eq!(only("devices { use_devicesfile = 1 }\n", false), filtered);
        assert_eq!(only("devices { use_devicesfile = 0 }\n", true), filtered);
        assert_eq!(only("devices { use_devicesfile = 1 }\n", true), None);
        assert_eq!(only("", true), None);
        assert_eq!(only("devices { devicesfile = \"own\" }\n", false), None);
    }
}
