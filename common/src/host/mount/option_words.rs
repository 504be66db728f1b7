//! The words of mount options that are not a file system's own.

use libc::{
    MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
};

/// What has no meaning for one mount alone, or none at all.
pub(super) const IGNORED: &[&str] = &[
    "", "auto", "defaults", "loud", "noauto", "nofail", "nogroup", "noowner", "nouser", "nousers",
    "silent",
];

/// The attribute that the word sets or clears.
pub(super) fn attribute(word: &str) -> Option<(u64, bool)> {
    Some(match word {
        "ro" => (MOUNT_ATTR_RDONLY, true),
        "rw" => (MOUNT_ATTR_RDONLY, false),
        "nosuid" => (MOUNT_ATTR_NOSUID, true),
        "suid" => (MOUNT_ATTR_NOSUID, false),
        "nodev" => (MOUNT_ATTR_NODEV, true),
        "dev" => (MOUNT_ATTR_NODEV, false),
        "noexec" => (MOUNT_ATTR_NOEXEC, true),
        "exec" => (MOUNT_ATTR_NOEXEC, false),
        "noatime" => (MOUNT_ATTR_NOATIME, true),
        "atime" => (MOUNT_ATTR_NOATIME, false),
        "relatime" => (MOUNT_ATTR_RELATIME, true),
        "norelatime" => (MOUNT_ATTR_RELATIME, false),
        "strictatime" => (MOUNT_ATTR_STRICTATIME, true),
        "nostrictatime" => (MOUNT_ATTR_STRICTATIME, false),
        "nodiratime" => (MOUNT_ATTR_NODIRATIME, true),
        "diratime" => (MOUNT_ATTR_NODIRATIME, false),
        "nosymfollow" => (MOUNT_ATTR_NOSYMFOLLOW, true),
        "symfollow" => (MOUNT_ATTR_NOSYMFOLLOW, false),
        _ => return None,
    })
}

/// What mount(8) acts on or keeps a record of, or translates for the kernel.
pub(super) fn is_userspace(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "_netdev",
        "comment",
        "context",
        "defcontext",
        "encryption",
        "fscontext",
        "group",
        "helper",
        "loop",
        "make",
        "move",
        "offset",
        "owner",
        "private",
        "remount",
        "rootcontext",
        "rprivate",
        "rshared",
        "rslave",
        "runbindable",
        "shared",
        "sizelimit",
        "slave",
        "uhelper",
        "unbindable",
        "user",
        "users",
    ];
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let named = matches!(key, "uid" | "gid") && value.contains(|c: char| !c.is_ascii_digit());
    let prefixed = ["x-", "X-", "verity."].iter().any(|prefix| key.starts_with(prefix));
    WORDS.contains(&key) || prefixed || named || word.contains('"')
}

/// Whether the word is one that every type takes.
pub(crate) fn is_generic(word: &str) -> bool {
    IGNORED.contains(&word)
        || matches!(word, "bind" | "--bind" | "rbind" | "--rbind")
        || attribute(word).is_some()
        || is_userspace(word)
}
