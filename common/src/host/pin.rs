//! What keeps a mount or its device in use besides processes: it has no
//! process to be ended, so it is named.

use crate::host::block::Number;
use crate::host::mount::table::unescaped;
use crate::host::mount::{Mount, Table};
use crate::host::system::View;
use crate::host::{process, user};
use std::path::{Path, PathBuf};

/// Everything in the kernel that uses a file below one of the directories, a
/// clause each: `swap on /srv/data/swap`.
pub fn in_kernel(view: &View, directories: &[&Path]) -> Vec<String> {
    let below = |path: &Path| directories.iter().any(|directory| path.starts_with(directory));
    let mut found = Vec::new();
    let mut add = |what: &str, path: PathBuf| {
        if below(&path) {
            found.push(format!("{what} {}", path.display()));
        }
    };
    for path in swaps(view) {
        add("swap on", path);
    }
    for (device, file) in loops(view) {
        add(&format!("{device} on"), file);
    }
    for path in exports(view) {
        add("NFS export", path);
    }
    for path in backstores(view) {
        add("iSCSI backstore", path);
    }
    for path in sockets(view) {
        add("socket", path);
    }
    found
}

/// First column of /proc/swaps, below the heading.
fn swaps(view: &View) -> Vec<PathBuf> {
    let text = view.read("/proc/swaps").unwrap_or_default();
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescaped).collect()
}

fn loops(view: &View) -> Vec<(String, PathBuf)> {
    let devices = view.list("/sys/block").unwrap_or_default();
    let devices = devices.into_iter().filter(|name| name.starts_with("loop"));
    let backing = |name: String| {
        let file = view.read(format!("/sys/block/{name}/loop/backing_file")).ok()?;
        Some((format!("/dev/{name}"), PathBuf::from(file.trim_end())))
    };
    devices.filter_map(backing).collect()
}

/// Lines of the form `/srv/data<tab>client(options)`.
fn exports(view: &View) -> Vec<PathBuf> {
    let text = view.read("/proc/fs/nfsd/exports").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with('/'));
    lines.filter_map(|line| line.split(['\t', ' ']).next()).map(unescaped).collect()
}

/// What the kernel's iSCSI target serves from.
fn backstores(view: &View) -> Vec<PathBuf> {
    const CORE: &str = "/sys/kernel/config/target/core";
    let mut found = Vec::new();
    for plugin in view.list(CORE).unwrap_or_default() {
        for store in view.list(format!("{CORE}/{plugin}")).unwrap_or_default() {
            let path = view.read(format!("{CORE}/{plugin}/{store}/udev_path"));
            found.extend(path.ok().map(|path| PathBuf::from(path.trim_end())));
        }
    }
    found
}

/// A socket with a name keeps the mount busy through the name's directory.
fn sockets(view: &View) -> Vec<PathBuf> {
    let text = view.read("/proc/net/unix").unwrap_or_default();
    let named = text.lines().filter_map(|line| line.split_whitespace().nth(7));
    named.filter(|name| name.starts_with('/')).map(PathBuf::from).collect()
}

/// Who else still has the file system mounted once it is gone here: processes
/// of other mount namespaces, and mounts that have it as a layer.
pub fn elsewhere(view: &View, table: &Table, device: Number, directory: &Path) -> Vec<String> {
    let mut found: Vec<String> = user::other_namespaces(view)
        .iter()
        .filter_map(|(process, table)| {
            let mount = table.iter().find(|mount| mount.device == device)?;
            let unit = process::unit(view, process.pid).map(|unit| format!(" of {unit}"));
            Some(format!(
                "{} (pid {}{}) has it mounted on {} in a mount namespace of its own",
                process.name,
                process.pid,
                unit.unwrap_or_default(),
                mount.directory.display()
            ))
        })
        .collect();
    let layered = table.iter().filter(|mount| mount.fstype == "overlay");
    let layered = layered.filter(|mount| layers(mount).any(|path| path.starts_with(directory)));
    found.extend(layered.map(|mount| format!("the overlay on {}", mount.directory.display())));
    found
}

fn layers(overlay: &Mount) -> impl Iterator<Item = PathBuf> {
    let layers = overlay.super_options.split(',').filter_map(|option| {
        ["lowerdir=", "upperdir=", "workdir=", "lowerdir+="]
            .iter()
            .find_map(|key| option.strip_prefix(key))
    });
    layers.flat_map(|paths| paths.split(':')).map(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::fs;
    use std::time::Duration;

    #[test]
    fn what_holds_a_directory_is_named() {
        let root = tempfile::tempdir().unwrap();
        let view = View::below(root.path(), Deadline::after(Duration::from_secs(1)));
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("proc/swaps", "Filename Type Size Used Priority\n/srv/my\\040data/swap file 1 0 -2\n");
        file("sys/block/loop3/loop/backing_file", "/srv/my data/disk.img\n");
        file("sys/block/loop4/loop/backing_file", "/var/other.img\n");
        file("proc/fs/nfsd/exports", "# Version 1.1\n/srv/my\\040data\t10.0.0.0/8(rw,fsid=1)\n");
        file("proc/net/unix", "Num RefCount\n0: 2 0 0 1 1 123 /srv/my\n");
        let held = in_kernel(&view, &[Path::new("/srv/my data")]);
        assert_eq!(
            held,
            [
                "swap on /srv/my data/swap",
                "/dev/loop3 on /srv/my data/disk.img",
                "NFS export /srv/my data"
            ]
        );
    }
}
