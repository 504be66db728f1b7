//! What is known of the types of file systems.

use anyhow::{Result, bail};
use common::host::mount::options::MountOptions;
use common::{View, installed};

/// What the device parameter names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// A block device.
    Device,
    /// A file that mount(8) makes a block device of.
    Image,
    /// A directory.
    Bind,
    /// Something on another machine, which may be gone.
    Server,
    /// Nothing on this machine: a name to tell it by.
    Name,
}

/// A type, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct FsType {
    /// As mount(8) takes it; none to have it found out.
    pub(super) name: Option<String>,
    /// What stands behind it.
    pub(super) backing: Backing,
}

/// Whose server or peers may be gone.
const SERVED: &[&str] = &[
    "9p",
    "afs",
    "aznfs",
    "ceph",
    "cifs",
    "cvfs",
    "davfs",
    "efs",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "nfs",
    "nfs4",
    "rozofs",
    "smb3",
    "smbfs",
];

/// Whose device parameter is but a name.
const NAMED: &[&str] =
    &["efivarfs", "hugetlbfs", "overlay", "overlayfs", "proc", "ramfs", "sysfs", "tmpfs", "zfs"];

/// Which several nodes may have mounted at the same time.
const SHARED: &[&str] = &[
    "aznfs",
    "ceph",
    "cifs",
    "cvfs",
    "efs",
    "gfs2",
    "glusterfs",
    "lustre",
    "nfs",
    "nfs4",
    "none",
    "ocfs2",
    "overlay",
    "overlayfs",
    "smb3",
    "smbfs",
    "tmpfs",
];

/// Which write to their journal even where they are mounted read-only.
const JOURNALLED: &[&str] =
    &["ext3", "ext4", "ext4dev", "jfs", "nss", "reiser4", "reiserfs", "xfs"];

/// Whose journal only their check program replays: after a power cut the kernel
/// refuses to mount them for writing until it has run.
const REPLAYED_BY_CHECK: &[&str] = &["jfs"];

/// Which need no check before they are mounted, besides those with a journal.
const UNCHECKED: &[&str] = &["fat", "gfs2", "ocfs2", "vfat"];

/// Whether nothing is ever written to it.
pub(super) fn is_never_written(fstype: &str) -> bool {
    matches!(fstype, "cramfs" | "erofs" | "iso9660" | "romfs" | "squashfs")
}

impl FsType {
    pub(super) fn new(fstype: Option<&str>, options: &MountOptions) -> Self {
        let name = fstype.filter(|name| *name != "auto").map(str::to_owned);
        let is = |list: &[&str]| name.as_deref().is_some_and(|name| list.contains(&name));
        let fuse = name.as_deref().is_some_and(|name| name == "fuse" || name.starts_with("fuse."));
        let uses_loop = options.userspace.iter().any(|word| word.split('=').next() == Some("loop"));
        let backing = if options.bind.is_some() || name.as_deref() == Some("none") {
            Backing::Bind
        } else if is(SERVED) {
            Backing::Server
        } else if is(NAMED) || fuse {
            Backing::Name
        } else if uses_loop {
            Backing::Image
        } else {
            Backing::Device
        };
        Self { name, backing }
    }

    pub(super) fn is(&self, list: &[&str]) -> bool {
        self.name.as_deref().is_some_and(|name| list.contains(&name))
    }

    /// Whether several nodes may have it mounted at the same time.
    pub(super) fn is_shared(&self) -> bool {
        self.backing == Backing::Bind || self.is(SHARED)
    }

    /// Whether it writes even where it is mounted read-only.
    pub(super) fn is_journalled(&self) -> bool {
        self.is(JOURNALLED)
    }

    /// Whether to check it before it is mounted, unless told otherwise.
    pub(super) fn wants_check(&self) -> bool {
        let replays_by_itself = self.is(JOURNALLED) && !self.is_replayed_by_check();
        self.backing == Backing::Device && !replays_by_itself && !self.is(UNCHECKED)
    }

    /// Whether its journal is replayed by its check program and nothing else.
    pub(super) fn is_replayed_by_check(&self) -> bool {
        self.is(REPLAYED_BY_CHECK)
    }

    /// Whether its users are lost with the server, so that requests under way
    /// may be made to fail.
    pub(super) fn can_be_forced(&self) -> bool {
        self.is(&["nfs", "nfs4", "cifs", "smb3", "smbfs", "efs", "aznfs"])
    }

    /// Whether a helper may put another source in the table than it was given.
    pub(super) fn has_free_source(&self) -> bool {
        !self.is(&["nfs", "nfs4", "cifs", "smb3", "smbfs", "overlay", "ramfs", "tmpfs", "zfs"])
    }

    /// Whether a mount of the type `found` can be of this type.
    pub(super) fn fits(&self, found: &str) -> bool {
        let Some(name) = self.name.as_deref() else { return true };
        match name {
            "nfs" | "nfs4" | "efs" | "aznfs" => found.starts_with("nfs"),
            "cifs" | "smbfs" | "smb3" => matches!(found, "cifs" | "smbfs" | "smb3"),
            "overlayfs" => found == "overlay",
            "glusterfs" | "rozofs" | "davfs" => found == name || found.starts_with("fuse"),
            "fuse" => found.starts_with("fuse"),
            _ => found == name,
        }
    }

    /// What the kernel calls the support for it.
    fn support(&self) -> Option<&str> {
        let name = self.name.as_deref()?;
        Some(match name {
            "none" => return None,
            "glusterfs" | "rozofs" | "davfs" => "fuse",
            "efs" | "aznfs" => "nfs4",
            "smbfs" | "smb3" => "cifs",
            "ext4dev" => "ext4",
            "ntfs" | "ntfs-3g" => "fuseblk",
            "overlayfs" => "overlay",
            _ if name.starts_with("fuse.") => "fuse",
            _ => name,
        })
    }

    /// The module to load before it can be mounted; none if the kernel knows
    /// the type. An error if there is nothing that could do it.
    pub(super) fn is_supported(&self, view: &View) -> Result<Option<&str>> {
        let name = self.name.as_deref().unwrap_or_default();
        if self.backing == Backing::Server {
            // Without the helper, the kernel cannot find the server.
            view.program(&format!("mount.{name}"))?;
        }
        let Some(support) = self.support() else { return Ok(None) };
        if is_known(view, support)? {
            return Ok(None);
        }
        if view.program("modprobe").is_err() && view.program(&format!("mount.{name}")).is_err() {
            return Err(installed(format!(
                "the kernel knows no file system {support}, and modprobe is not installed"
            )));
        }
        Ok(Some(support))
    }
}

/// Whether the kernel has the type right now.
pub(super) fn is_known(view: &View, fstype: &str) -> Result<bool> {
    let Ok(list) = view.read("/proc/filesystems") else {
        bail!("cannot read /proc/filesystems");
    };
    Ok(list.lines().filter_map(|line| line.split('\t').nth(1)).any(|known| known == fstype))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(fstype: &str, options: &str) -> FsType {
        FsType::new(Some(fstype).filter(|name| !name.is_empty()), &MountOptions::parse(options))
    }

    #[test]
    fn the_type_tells_what_the_device_is() {
        for (fstype, options, backing) in [
            ("ext4", "", Backing::Device),
            ("", "", Backing::Device),
            ("auto", "", Backing::Device),
            ("gfs2", "", Backing::Device),
            ("ext4", "loop", Backing::Image),
            ("none", "bind", Backing::Bind),
            ("none", "", Backing::Bind),
            ("nfs4", "vers=4.2", Backing::Server),
            ("tmpfs", "size=1m", Backing::Name),
            ("fuse.sshfs", "", Backing::Server),
            ("fuse.bindfs", "", Backing::Name),
        ] {
            assert_eq!(kind(fstype, options).backing, backing, "{fstype} {options}");
        }
    }

    #[test]
    fn the_check_is_for_types_that_need_it() {
        for fstype in ["ext2", "btrfs", "f2fs", "jfs", "ntfs", ""] {
            assert!(kind(fstype, "").wants_check(), "{fstype}");
        }
        for fstype in ["ext3", "ext4", "xfs", "vfat", "nfs", "gfs2", "tmpfs", "none"] {
            assert!(!kind(fstype, "").wants_check(), "{fstype}");
        }
    }

    #[test]
    fn what_a_helper_mounts_may_have_another_name() {
        assert!(kind("nfs", "").fits("nfs4"));
        assert!(kind("glusterfs", "").fits("fuse.glusterfs"));
        assert!(!kind("tmpfs", "").fits("ext4"));
    }
}
