//! Who keeps a block device open: for the reason of an action that failed
//! because of it. Nothing is decided by this, so what cannot be read is passed
//! over.

use crate::host::system::View;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A reason is one line; whoever has found four can find the fifth.
const ENOUGH: usize = 4;

/// What holds the device of this name (`drbd1`) open, a clause for each.
pub fn of(view: &View, device: &str) -> Vec<String> {
    let mut found = stacked(view, device);
    let number = view.read(format!("/sys/class/block/{device}/dev")).unwrap_or_default();
    found.extend(mounts(view, number.trim()));
    found.extend(swap(view, device));
    found.extend(targets(view, device));
    if found.is_empty() {
        found.extend(processes(view, device));
    }
    found.truncate(ENOUGH);
    found
}

/// Device-mapper, RAID and loop devices on top of it.
pub fn stacked(view: &View, device: &str) -> Vec<String> {
    let above = view.list(format!("/sys/class/block/{device}/holders")).unwrap_or_default();
    let mut found: Vec<String> = above.iter().map(|name| described(view, name)).collect();
    let path = format!("/dev/{device}");
    for name in view.list("/sys/class/block").unwrap_or_default() {
        let backing = name.starts_with("loop").then(|| {
            view.read(format!("/sys/class/block/{name}/loop/backing_file")).unwrap_or_default()
        });
        if backing.is_some_and(|backing| backing.trim_end() == path) {
            found.push(format!("loop device {name}"));
        }
    }
    found
}

fn described(view: &View, name: &str) -> String {
    let read = |what: &str| {
        let text = view.read(format!("/sys/class/block/{name}/dm/{what}")).unwrap_or_default();
        text.trim_end().to_owned()
    };
    let (mapped, uuid) = (read("name"), read("uuid"));
    match (mapped.as_str(), uuid.starts_with("LVM-")) {
        ("", _) => name.to_owned(),
        (_, true) => format!("logical volume {}", volume(&mapped)),
        (_, false) => format!("device-mapper {mapped}"),
    }
}

/// `vg-lv` as `vg/lv`; a dash in either name is doubled.
fn volume(mapped: &str) -> String {
    let marked = mapped.replace("--", "\0");
    marked.replacen('-', "/", 1).replace('\0', "-")
}

/// Where it is mounted, in whichever mount namespace.
fn mounts(view: &View, number: &str) -> Vec<String> {
    if number.is_empty() {
        return Vec::new();
    }
    let ours = view.link("/proc/self/ns/mnt").unwrap_or_default();
    let exports = view.read("/proc/fs/nfsd/exports").unwrap_or_default();
    let mut seen = BTreeSet::from([ours]);
    let mut found = Vec::new();
    let here = view.read("/proc/self/mountinfo").unwrap_or_default();
    for directory in mounted(&here, number) {
        let exported = exports.lines().any(|line| {
            line.split_whitespace()
                .next()
                .is_some_and(|path| Path::new(path).starts_with(&directory))
        });
        let and = if exported { ", exported by NFS" } else { "" };
        found.push(format!("mount on {directory}{and}"));
    }
    for pid in pids(view) {
        let Ok(namespace) = view.link(format!("/proc/{pid}/ns/mnt")) else { continue };
        if !seen.insert(namespace) {
            continue;
        }
        let there = view.read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        for directory in mounted(&there, number) {
            let owner = named(view, &pid);
            found.push(format!("mount on {directory} in the mount namespace of {owner}"));
        }
    }
    found
}

/// The directories that the device of this number is mounted on.
fn mounted(mountinfo: &str, number: &str) -> Vec<String> {
    let directory = |line: &str| {
        let mut fields = line.split(' ');
        (fields.nth(2)? == number).then(|| fields.nth(1).unwrap_or_default().replace("\\040", " "))
    };
    mountinfo.lines().filter_map(directory).collect()
}

fn swap(view: &View, device: &str) -> Option<String> {
    let swaps = view.read("/proc/swaps").unwrap_or_default();
    let path = format!("/dev/{device}");
    let used = swaps.lines().any(|line| line.split_whitespace().next() == Some(path.as_str()));
    used.then(|| "swap".to_owned())
}

/// Block devices that the kernel's SCSI target exports.
fn targets(view: &View, device: &str) -> Vec<String> {
    const CORE: &str = "/sys/kernel/config/target/core";
    let path = format!("/dev/{device}");
    let mut found = Vec::new();
    for group in view.list(CORE).unwrap_or_default() {
        for name in view.list(format!("{CORE}/{group}")).unwrap_or_default() {
            let used = view.read(format!("{CORE}/{group}/{name}/udev_path")).unwrap_or_default();
            if used.trim_end() == path {
                found.push(format!("SCSI target backstore {name}"));
            }
        }
    }
    found
}

/// Processes that have it open.
fn processes(view: &View, device: &str) -> Vec<String> {
    let path = format!("/dev/{device}");
    // The action has mostly failed for want of time, and the reason is wanted.
    let deadline = view.deadline().at_least(Duration::from_millis(500));
    let mut found = Vec::new();
    for pid in pids(view) {
        let open = view.list(format!("/proc/{pid}/fd")).unwrap_or_default();
        let holds = |fd: &String| {
            view.link(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|link| link == Path::new(&path))
        };
        if open.iter().any(holds) {
            found.push(named(view, &pid));
        }
        if found.len() == ENOUGH || deadline.has_passed() {
            break;
        }
    }
    found
}

fn pids(view: &View) -> Vec<String> {
    let names = view.list("/proc").unwrap_or_default();
    names.into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

fn named(view: &View, pid: &str) -> String {
    let name = view.read(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {} ({pid})", name.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::os::unix::fs::symlink;

    struct Fake(tempfile::TempDir);

    impl Fake {
        fn new() -> Self {
            let fake = Self(tempfile::tempdir().unwrap());
            fake.file("/sys/class/block/drbd1/dev", "147:1\n");
            fake
        }

        fn path(&self, path: &str) -> std::path::PathBuf {
            let path = self.0.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        fn file(&self, path: &str, text: &str) -> &Self {
            std::fs::write(self.path(path), text).unwrap();
            self
        }

        fn link(&self, path: &str, to: &str) -> &Self {
            symlink(to, self.path(path)).unwrap();
            self
        }

        fn holders(&self) -> Vec<String> {
            of(&View::below(self.0.path(), Deadline::after(Duration::from_secs(5))), "drbd1")
        }
    }

    const MOUNT: &str = "36 25 147:1 / /srv/my\\040data rw - ext4 /dev/drbd1 rw\n";

    #[test]
    fn a_logical_volume_and_a_loop_device_are_named() {
        let fake = Fake::new();
        fake.file("/sys/class/block/drbd1/holders/dm-0", "")
            .file("/sys/class/block/dm-0/dm/name", "my--vg-web\n")
            .file("/sys/class/block/dm-0/dm/uuid", "LVM-abc\n")
            .file("/sys/class/block/loop3/loop/backing_file", "/dev/drbd1\n");
        assert_eq!(fake.holders(), ["logical volume my-vg/web", "loop device loop3"]);
    }

    #[test]
    fn a_mount_is_named_also_in_another_namespace() {
        let fake = Fake::new();
        fake.link("/proc/self/ns/mnt", "mnt:[1]").file("/proc/self/mountinfo", MOUNT);
        fake.link("/proc/77/ns/mnt", "mnt:[2]").file("/proc/77/mountinfo", MOUNT);
        fake.link("/proc/78/ns/mnt", "mnt:[2]").file("/proc/78/mountinfo", MOUNT);
        fake.file("/proc/77/comm", "container\n");
        fake.file("/proc/fs/nfsd/exports", "/srv/my data\t*(rw)\n");
        let other = "mount on /srv/my data in the mount namespace of process container (77)";
        assert_eq!(fake.holders(), ["mount on /srv/my data", other]);
    }

    #[test]
    fn an_exported_mount_says_so() {
        let fake = Fake::new();
        let plain = MOUNT.replace("/srv/my\\040data", "/srv");
        fake.file("/proc/self/mountinfo", &plain).file("/proc/fs/nfsd/exports", "/srv/a\t*(rw)\n");
        assert_eq!(fake.holders(), ["mount on /srv, exported by NFS"]);
    }

    #[test]
    fn a_process_is_named_where_nothing_else_is() {
        let fake = Fake::new();
        fake.link("/proc/4711/fd/3", "/dev/drbd1").file("/proc/4711/comm", "qemu\n");
        fake.link("/proc/4712/fd/3", "/dev/drbd10").file("/proc/4712/comm", "dd\n");
        assert_eq!(fake.holders(), ["process qemu (4711)"]);
    }

    #[test]
    fn swap_and_a_scsi_target_are_named() {
        let fake = Fake::new();
        fake.file("/proc/swaps", "Filename\n/dev/drbd1 partition 1 0 -2\n")
            .file("/sys/kernel/config/target/core/iblock_0/disk/udev_path", "/dev/drbd1\n");
        assert_eq!(fake.holders(), ["swap", "SCSI target backstore disk"]);
    }
}
