//! Who keeps a device, a directory or a file system in use: for the reason of
//! an action that failed because of it. Nothing is decided by this, so what
//! cannot be read is passed over. Processes that could be ended are
//! [`user`](crate::host::fuser)'s to find.

mod kernel;
/// The service or container that a process belongs to, as its control group
/// tells.
fn unit(view: &View, pid: i32) -> Option<String> {
    let groups = view.read(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().last()?.rsplit_once(':')?.1;
    let part = path.rsplit('/').find(|part| !part.is_empty())?;
    Some(part.to_owned())
}

#[cfg(test)]
mod tests;

use crate::host::block::{self, Number};
use crate::host::drbd;
use crate::host::mount::table::unescaped;
use crate::host::mount::{Mount, Table};
use crate::host::system::View;
use crate::host::{fuser, process};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A reason is one line; whoever has found four can find the fifth.
const ENOUGH: usize = 4;

/// What holds the device of this name (`drbd1`) open, a clause for each.
pub fn of_device(view: &View, device: &str) -> Vec<String> {
    let path = Path::new("/dev").join(device);
    let mut found = above(view, device);
    if let Some(number) = view.read(format!("/sys/class/block/{device}/dev")).ok().as_deref() {
        found.extend(Number::parse(number).into_iter().flat_map(|number| mounts(view, number)));
    }
    found.extend(served(view, &path));
    if found.is_empty() {
        found.extend(processes(view, &path));
    }
    found.truncate(ENOUGH);
    found
}

/// What has the device of this name to itself and is no file system, a clause
/// for each: as long as there is one, the kernel lets no file system have it.
pub fn claims(view: &View, device: &str) -> Vec<String> {
    let mut found = stacked(view, device);
    found.extend(served(view, &Path::new("/dev").join(device)));
    found.truncate(ENOUGH);
    found
}

/// Who would not survive that somebody else writes to the device of this name:
/// what has it to itself, and whoever has it mounted.
pub fn owners(view: &View, device: &str) -> Vec<String> {
    let number = view.read(format!("/sys/class/block/{device}/dev")).ok();
    let number = number.as_deref().and_then(Number::parse);
    let mut found = claims(view, device);
    found.extend(number.into_iter().flat_map(|number| mounts(view, number)));
    found.truncate(ENOUGH);
    found
}

/// The devices on top of it: device-mapper, RAID, loop, DRBD.
pub fn above(view: &View, device: &str) -> Vec<String> {
    let path = Path::new("/dev").join(device);
    let mut found = stacked(view, device);
    let loops = kernel::loops(view).into_iter().filter(|(_, backing)| *backing == path);
    found.extend(loops.map(|(name, _)| format!("loop device {name}")));
    found
}

/// Those that claim it.
fn stacked(view: &View, device: &str) -> Vec<String> {
    let path = Path::new("/dev").join(device);
    let names = view.list(format!("/sys/class/block/{device}/holders")).unwrap_or_default();
    // DRBD 9 is among them, and is better known by its resource.
    let names = names.iter().filter(|name| !name.starts_with("drbd"));
    let mut found: Vec<String> = names.map(|name| described(view, name)).collect();
    let resources = drbd::known(view);
    let lies_here = |resource: &&drbd::Resource| {
        let disks = resource.volumes.iter().filter_map(|volume| volume.backing.as_deref());
        disks.into_iter().any(|disk| resolved(view, Path::new(disk)) == path)
    };
    let upon = resources.iter().filter(lies_here);
    found.extend(upon.map(|resource| format!("DRBD resource {}", resource.name)));
    found
}

/// Who serves from it without a device of its own.
fn served(view: &View, path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    if kernel::swaps(view).iter().any(|swap| swap == path) {
        found.push("swap".to_owned());
    }
    let stores = kernel::backstores(view).into_iter().filter(|(_, served)| served == path);
    found.extend(stores.map(|(name, _)| format!("iSCSI backstore {name}")));
    found
}

/// Where a name that udev has made for a device leads.
pub fn resolved(view: &View, path: &Path) -> PathBuf {
    match view.read_link(path) {
        Ok(to) if to.is_relative() => {
            // `/dev/drbd/by-res/r1/0` leads to `../../../drbd1`: in /dev only
            // the last name matters.
            Path::new("/dev").join(to.file_name().unwrap_or_default())
        }
        Ok(to) => to,
        Err(_) => path.to_owned(),
    }
}

fn described(view: &View, name: &str) -> String {
    let read = |what: &str| {
        let text = view.read(format!("/sys/class/block/{name}/dm/{what}")).unwrap_or_default();
        text.trim_end().to_owned()
    };
    let (mapped, uuid) = (read("name"), read("uuid"));
    match uuid.split('-').next().unwrap_or_default() {
        _ if mapped.is_empty() => name.to_owned(),
        "LVM" => format!("logical volume {}", volume(&mapped)),
        "mpath" => format!("{MULTIPATH}{mapped}"),
        _ => format!("device-mapper {mapped}"),
    }
}

/// How a clause begins that names a map of multipath's.
pub const MULTIPATH: &str = "multipath map ";

/// `vg-lv` as `vg/lv`; a dash in either name is doubled.
fn volume(mapped: &str) -> String {
    let marked = mapped.replace("--", "\0");
    marked.replacen('-', "/", 1).replace('\0', "-")
}

/// Where it is mounted, in whichever mount namespace.
fn mounts(view: &View, device: Number) -> Vec<String> {
    let exports = kernel::exports(view);
    let here = Table::read(view).ok();
    let here = here.iter().flat_map(Table::iter).filter(|mount| mount.device == device);
    let described = |mount: &Mount| {
        let directory = &mount.directory;
        let is_exported = exports.iter().any(|export| export.starts_with(directory));
        let and = if is_exported { ", exported by NFS" } else { "" };
        format!("mount on {}{and}", directory.display())
    };
    here.map(described).chain(in_other_namespaces(view, device)).collect()
}

/// Who has it mounted where only they see it.
fn in_other_namespaces(view: &View, device: Number) -> Vec<String> {
    let clause = |(process, table): &(process::Process, Table)| {
        let mount = table.iter().find(|mount| mount.device == device)?;
        let unit = unit(view, process.pid).map(|unit| format!(" of {unit}"));
        Some(format!(
            "{} (pid {}{}) has it mounted on {} in a mount namespace of its own",
            process.name,
            process.pid,
            unit.unwrap_or_default(),
            mount.directory.display()
        ))
    };
    fuser::other_namespaces(view).iter().filter_map(clause).collect()
}

/// Processes that have the device open, by whichever name it has in /dev.
fn processes(view: &View, path: &Path) -> Vec<String> {
    // The action has mostly failed for want of time, and the reason is wanted.
    let deadline = view.deadline().at_least(Duration::from_millis(500));
    let proc = view.path("/proc");
    let number = |path: &Path| block::number(view, path).ok().flatten();
    let wanted = number(path);
    let is_it = |link: PathBuf| {
        let named = || link.starts_with("/dev/mapper") && wanted.is_some();
        link == path || (named() && number(&link) == wanted)
    };
    let mut found = Vec::new();
    for pid in process::all(&proc) {
        let open = view.list(format!("/proc/{pid}/fd")).unwrap_or_default();
        let holds = |fd: &String| view.read_link(format!("/proc/{pid}/fd/{fd}")).is_ok_and(is_it);
        if open.iter().any(holds) {
            let name = process::Process::find(&proc, pid).map(|process| process.name);
            let unit = unit(view, pid).map(|unit| format!(" of {unit}"));
            found.push(format!(
                "process {} (pid {pid}{})",
                name.unwrap_or_default(),
                unit.unwrap_or_default()
            ));
        }
        if found.len() == ENOUGH || deadline.has_passed() {
            break;
        }
    }
    found
}

/// What in the kernel uses a file below one of the directories, a clause for
/// each: `swap on /srv/data/swap`. It has no process to be ended.
pub fn below(view: &View, directories: &[&Path]) -> Vec<String> {
    let below = |path: &Path| directories.iter().any(|directory| path.starts_with(directory));
    let mut found = Vec::new();
    let mut add = |what: &str, path: PathBuf| {
        if below(&path) {
            found.push(format!("{what} {}", path.display()));
        }
    };
    for path in kernel::swaps(view) {
        add("swap on", path);
    }
    for (device, file) in kernel::loops(view) {
        add(&format!("{device} on"), file);
    }
    for path in kernel::exports(view) {
        add("NFS export", path);
    }
    for (_, path) in kernel::backstores(view) {
        add("iSCSI backstore", path);
    }
    for path in kernel::sockets(view) {
        add("socket", path);
    }
    found
}

/// Who else still has the file system mounted once it is gone here: other
/// directories, processes of other mount namespaces, and mounts that have it
/// as a layer.
pub fn of_file_system(view: &View, table: &Table, device: Number, directory: &Path) -> Vec<String> {
    let here = table.iter().filter(|mount| mount.device == device);
    let mut found: Vec<String> =
        here.map(|mount| format!("it is mounted on {}", mount.directory.display())).collect();
    found.extend(in_other_namespaces(view, device));
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
