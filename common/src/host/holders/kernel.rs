//! What in the kernel itself uses files and devices: each list as the kernel
//! has it. What cannot be read is passed over.

use crate::host::mount::table::unescaped;
use crate::host::system::View;
use std::path::PathBuf;

/// Files and devices that are swapped to: the first column of /proc/swaps,
/// below the heading.
pub(super) fn swaps(view: &View) -> Vec<PathBuf> {
    let text = view.read("/proc/swaps").unwrap_or_default();
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescaped).collect()
}

/// Loop devices, and what they lie on.
pub(super) fn loops(view: &View) -> Vec<(String, PathBuf)> {
    let devices = view.list("/sys/block").unwrap_or_default();
    let devices = devices.into_iter().filter(|name| name.starts_with("loop"));
    let backing = |name: String| {
        let file = view.read(format!("/sys/block/{name}/loop/backing_file")).ok()?;
        Some((format!("/dev/{name}"), PathBuf::from(file.trim_end())))
    };
    devices.filter_map(backing).collect()
}

/// Directories that are exported by NFS: lines of the form
/// `/srv/data<tab>client(options)`.
pub(super) fn exports(view: &View) -> Vec<PathBuf> {
    let text = view.read("/proc/fs/nfsd/exports").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with('/'));
    lines.filter_map(|line| line.split(['\t', ' ']).next()).map(unescaped).collect()
}

/// The backstores of the kernel's iSCSI target, and what they serve from.
pub(super) fn backstores(view: &View) -> Vec<(String, PathBuf)> {
    const CORE: &str = "/sys/kernel/config/target/core";
    let mut found = Vec::new();
    for plugin in view.list(CORE).unwrap_or_default() {
        for store in view.list(format!("{CORE}/{plugin}")).unwrap_or_default() {
            if let Ok(path) = view.read(format!("{CORE}/{plugin}/{store}/udev_path")) {
                found.push((store, PathBuf::from(path.trim_end())));
            }
        }
    }
    found
}

/// Sockets with a name: the name keeps the mount of its directory busy.
pub(super) fn sockets(view: &View) -> Vec<PathBuf> {
    let text = view.read("/proc/net/unix").unwrap_or_default();
    let named = text.lines().filter_map(|line| line.split_whitespace().nth(7));
    named.filter(|name| name.starts_with('/')).map(PathBuf::from).collect()
}
