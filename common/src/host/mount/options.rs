//! The words after `-o`, sorted by who understands them.

use super::option_words::{IGNORED, attribute, is_userspace};
use crate::host::secret;
use libc::{
    MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME, MOUNT_ATTR_STRICTATIME,
};

/// Mount options, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Whether another directory is to be shown, and with what is below it.
    pub bind: Option<Bind>,
    /// Attributes of the mount that are set.
    pub set: u64,
    /// Attributes of the mount that are cleared first.
    pub clear: u64,
    /// What the file system itself is told, values apart.
    pub own: Vec<(String, Option<String>)>,
    /// What only mount(8) understands.
    pub userspace: Vec<String>,
}

/// What of a directory is shown elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// The one file system it lies on.
    One,
    /// That, and the mounts below it.
    All,
}

impl MountOptions {
    /// Reads a comma-separated list. A comma in double quotes is part of a
    /// value, and so may one of a password be.
    pub fn parse(text: &str) -> Self {
        let mut options = Self::default();
        for word in secret::options(text) {
            options.add(word.trim());
        }
        options
    }

    /// Whether nothing shall be written.
    pub fn wants_read_only(&self) -> bool {
        self.set & MOUNT_ATTR_RDONLY != 0
    }

    /// The words for what a mount with these attributes is to refuse, and does not.
    pub fn missing(&self, attributes: u64) -> Option<String> {
        const WORDS: [(u64, &str); 4] = [
            (MOUNT_ATTR_RDONLY, "ro"),
            (MOUNT_ATTR_NOSUID, "nosuid"),
            (MOUNT_ATTR_NODEV, "nodev"),
            (MOUNT_ATTR_NOEXEC, "noexec"),
        ];
        let is_missing = |(one, _): &&(u64, &str)| self.set & one != 0 && attributes & one == 0;
        let words: Vec<&str> = WORDS.iter().filter(is_missing).map(|(_, word)| *word).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// As mount(2) takes them: the flags, and the rest as a text.
    pub(crate) fn at_once(&self) -> (libc::c_ulong, String) {
        const ATTRIBUTES: [(u64, libc::c_ulong); 8] = [
            (MOUNT_ATTR_RDONLY, libc::MS_RDONLY),
            (MOUNT_ATTR_NOSUID, libc::MS_NOSUID),
            (MOUNT_ATTR_NODEV, libc::MS_NODEV),
            (MOUNT_ATTR_NOEXEC, libc::MS_NOEXEC),
            (MOUNT_ATTR_NOATIME, libc::MS_NOATIME),
            (MOUNT_ATTR_STRICTATIME, libc::MS_STRICTATIME),
            (MOUNT_ATTR_NODIRATIME, libc::MS_NODIRATIME),
            (MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
        ];
        let set = ATTRIBUTES.iter().filter(|(attribute, _)| self.set & attribute != 0);
        let mut flags = set.fold(0, |flags, (_, flag)| flags | flag);
        let mut data: Vec<String> = Vec::new();
        for (key, value) in &self.own {
            match (key.as_str(), value) {
                ("ro" | "rw", None) => {}
                ("sync", None) => flags |= libc::MS_SYNCHRONOUS,
                ("async", None) => flags &= !libc::MS_SYNCHRONOUS,
                ("dirsync", None) => flags |= libc::MS_DIRSYNC,
                ("lazytime", None) => flags |= libc::MS_LAZYTIME,
                ("nolazytime", None) => flags &= !libc::MS_LAZYTIME,
                ("mand", None) => flags |= libc::MS_MANDLOCK,
                ("nomand", None) => flags &= !libc::MS_MANDLOCK,
                (key, None) => data.push(key.to_owned()),
                (key, Some(value)) => data.push(format!("{key}={value}")),
            }
        }
        (flags, data.join(","))
    }

    fn add(&mut self, word: &str) {
        match word {
            "bind" | "--bind" => self.bind = Some(Bind::One),
            "rbind" | "--rbind" => self.bind = Some(Bind::All),
            _ if IGNORED.contains(&word) => {}
            _ => {
                if let Some((attribute, on)) = attribute(word) {
                    self.attribute(attribute, on);
                    // These two are also a state of the whole file system.
                    if attribute == MOUNT_ATTR_RDONLY {
                        self.own.retain(|(key, _)| key != "ro" && key != "rw");
                        self.own.push((word.to_owned(), None));
                    }
                } else if is_userspace(word) {
                    self.userspace.push(word.to_owned());
                } else {
                    let (key, value) = match word.split_once('=') {
                        Some((key, value)) => (key, Some(value.to_owned())),
                        None => (word, None),
                    };
                    self.own.push((key.to_owned(), value));
                }
            }
        }
    }

    fn attribute(&mut self, attribute: u64, on: bool) {
        // How access times are kept is one setting with several values.
        let timekeeping = attribute & MOUNT_ATTR__ATIME != 0 || attribute == MOUNT_ATTR_RELATIME;
        if timekeeping {
            self.clear |= MOUNT_ATTR__ATIME;
            self.set &= !MOUNT_ATTR__ATIME;
        }
        if on {
            self.set |= attribute;
        } else {
            self.set &= !attribute;
            self.clear |= if timekeeping { 0 } else { attribute };
        }
    }
}

/// Linux 5.10; the C library has no name for it.
const MS_NOSYMFOLLOW: libc::c_ulong = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn own(options: &MountOptions) -> Vec<&str> {
        options.own.iter().map(|(key, _)| key.as_str()).collect()
    }

    #[test]
    fn the_kernels_words_are_told_apart_from_the_file_systems() {
        let options = MountOptions::parse("nosuid,usrquota,noatime,data=journal");
        assert_eq!(options.set, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME);
        assert_eq!(own(&options), ["usrquota", "data"]);
        assert!(options.userspace.is_empty() && !options.wants_read_only());
    }

    #[test]
    fn read_only_is_told_to_the_mount_and_to_the_file_system() {
        let options = MountOptions::parse("ro");
        assert!(options.wants_read_only());
        assert_eq!(own(&options), ["ro"]);
        assert!(!MountOptions::parse("ro,rw").wants_read_only());
    }

    #[test]
    fn of_two_ways_to_keep_access_times_the_later_wins() {
        assert_eq!(MountOptions::parse("noatime,relatime").set, 0);
        assert_eq!(MountOptions::parse("relatime,strictatime").set, MOUNT_ATTR_STRICTATIME);
        assert_eq!(MountOptions::parse("noatime").clear, MOUNT_ATTR__ATIME);
    }

    #[test]
    fn what_needs_mount_8_is_seen() {
        for text in ["loop", "x-systemd.automount", "_netdev", "uid=www-data", "context=\"a,b\""] {
            let options = MountOptions::parse(text);
            assert_eq!(options.userspace.len(), 1, "{text}: {options:?}");
        }
        assert_eq!(own(&MountOptions::parse("uid=33")), ["uid"]);
    }

    #[test]
    fn the_older_call_is_told_the_same() {
        let options =
            MountOptions::parse("ro,nosuid,noatime,sync,usrquota,data=journal,nosymfollow");
        let (flags, data) = options.at_once();
        let wanted = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NOATIME | libc::MS_SYNCHRONOUS;
        assert_eq!((flags, data.as_str()), (wanted | 256, "usrquota,data=journal"));
        assert_eq!(MountOptions::parse("rw,relatime,defaults").at_once(), (0, String::new()));
    }

    #[test]
    fn a_password_is_no_option() {
        assert_eq!(MountOptions::parse("password=x,,bind,ro").bind, None);
        assert!(MountOptions::parse("password=x,,bind,ro").wants_read_only());
    }

    #[test]
    fn what_was_asked_for_and_is_not_there_is_named() {
        let options = MountOptions::parse("bind,ro,nosuid,noatime");
        assert_eq!(options.missing(MOUNT_ATTR_NODEV).as_deref(), Some("ro, nosuid"));
        assert_eq!(options.missing(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID), None);
        assert_eq!(MountOptions::parse("bind,ro,rw").missing(0), None);
    }

    #[test]
    fn a_bind_is_told_apart_from_one_with_its_submounts() {
        assert_eq!(MountOptions::parse("rw,bind").bind, Some(Bind::One));
        assert_eq!(MountOptions::parse("rbind,ro").bind, Some(Bind::All));
    }
}
