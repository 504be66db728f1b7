//! Who uses a mount, as fuser(1) tells it: found by the mount's number, never by
//! a path that only looks like it.

use crate::host::block::Number;
use crate::host::mount::{Mount, Table};
use crate::host::process::{self, Process};
use crate::host::statx;
use crate::host::system::View;
use anyhow::Result;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// A process that keeps a mount busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Which.
    pub process: Process,
    /// How.
    pub by: By,
    /// Whether it must not be ended: the first process, we and our callers,
    /// the cluster's daemons.
    pub is_protected: bool,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Process { pid, name, .. } = &self.process;
        let protected = if self.is_protected { ", protected" } else { "" };
        write!(f, "{name} (pid {pid}, {}{protected})", self.by)
    }
}

/// What of a process lies on the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// An open file, by its descriptor.
    File(i32),
    /// Its working directory.
    Directory,
    /// Its root directory.
    Root,
    /// Its program.
    Program,
    /// A file in its memory.
    Memory,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(fd) => write!(f, "open file {fd}"),
            Self::Directory => f.write_str("working directory"),
            Self::Root => f.write_str("root directory"),
            Self::Program => f.write_str("program"),
            Self::Memory => f.write_str("mapped file"),
        }
    }
}

/// The mounts whose users are wanted.
#[derive(Clone, Debug)]
pub struct Targets {
    ids: BTreeSet<u64>,
    devices: BTreeSet<Number>,
    directories: BTreeSet<PathBuf>,
    /// Whether the file systems may be asked, or their server may be gone.
    silent: bool,
    /// The mounts that some namespace still has, where those are meant that
    /// none has.
    attached: Option<BTreeSet<u64>>,
}

impl Targets {
    /// These mounts, and their copies in other mount namespaces that are
    /// unmounted together with them: whoever uses such a copy is in the way.
    ///
    /// `silent` file systems are never asked anything. Who uses them by other
    /// means than an open file is told by the path.
    pub fn of(view: &View, mounts: &[&Mount], silent: bool) -> Self {
        let mut targets = Self {
            ids: mounts.iter().map(|mount| mount.id).collect(),
            devices: mounts.iter().map(|mount| mount.device).collect(),
            directories: mounts.iter().map(|mount| mount.directory.clone()).collect(),
            silent,
            attached: None,
        };
        if mounts.iter().any(|mount| mount.peers.is_some()) {
            for (_, table) in other_namespaces(view) {
                for copy in table.iter().filter(|copy| mounts.iter().any(|own| follows(copy, own)))
                {
                    targets.ids.insert(copy.id);
                    targets.directories.insert(copy.directory.clone());
                }
            }
        }
        targets
    }

    /// Mounts of the device that are in no namespace's table any more, since
    /// they were taken out while somebody used them: `umount -l`.
    pub fn detached(view: &View, device: Number) -> Result<Self> {
        let mut attached: BTreeSet<u64> = Table::read(view)?.iter().map(|mount| mount.id).collect();
        for (_, table) in other_namespaces(view) {
            attached.extend(table.iter().map(|mount| mount.id));
        }
        Ok(Self {
            ids: BTreeSet::new(),
            devices: BTreeSet::from([device]),
            directories: BTreeSet::new(),
            silent: false,
            attached: Some(attached),
        })
    }

    /// Whether the mount is meant, of which `link` of /proc leads to something.
    fn has(&self, id: u64, link: &Path) -> bool {
        match &self.attached {
            None => self.ids.contains(&id),
            Some(attached) => {
                let on_device = |device: Number| self.devices.contains(&device);
                !attached.contains(&id) && statx::device_of(link).is_ok_and(on_device)
            }
        }
    }

    fn may_hold(&self, path: &Path) -> bool {
        if self.attached.is_some() {
            return true;
        }
        self.directories.iter().any(|directory| path.starts_with(directory))
    }
}

/// Whether what happens to `own` happens to the copy.
fn follows(copy: &Mount, own: &Mount) -> bool {
    copy.device == own.device
        && own.peers.is_some()
        && (copy.peers == own.peers || copy.master == own.peers)
}

/// One process of each of the other mount namespaces, with what it sees.
pub fn other_namespaces(view: &View) -> Vec<(Process, Table)> {
    let proc = view.path("/proc");
    let namespace = |pid: &str| fs::read_link(proc.join(pid).join("ns/mnt")).ok();
    let mut seen: BTreeSet<PathBuf> = namespace("self").into_iter().collect();
    let mut found = Vec::new();
    for pid in process::all(&proc) {
        let new = namespace(&pid.to_string()).is_some_and(|namespace| seen.insert(namespace));
        if let Some(process) = new.then(|| Process::find(&proc, pid)).flatten()
            && let Ok(table) = Table::of_process(view, pid)
        {
            found.push((process, table));
        }
    }
    found
}

/// What a search has found.
#[derive(Debug, Default)]
pub struct Search {
    /// Who uses one of the mounts.
    pub users: Vec<User>,
    /// Which processes the kernel would not tell about: they hang in it.
    pub stuck: Vec<i32>,
}

/// Searches all processes.
///
/// What the kernel tells of a process it may tell only when the process lets
/// go of its memory, which one that hangs on a dead disk never does. So the
/// search runs on a thread that is left behind where it gets stuck (signals
/// reach it there), and another one goes on with the next process.
pub fn search(view: &View, targets: &Targets) -> Search {
    /// As long as one process may take.
    const PATIENCE: Duration = Duration::from_secs(1);
    let proc = view.path("/proc");
    let protected = process::ancestors(&proc);
    let mut pids = process::all(&proc);
    pids.retain(|pid| *pid != std::process::id().cast_signed());
    let mut search = Search::default();
    while !pids.is_empty() && !view.deadline().has_passed() {
        let (sender, heard) = mpsc::channel();
        let (place, targets, list) = (proc.clone(), targets.clone(), pids.clone());
        std::thread::spawn(move || walk(&place, &list, &targets, &sender));
        let mut at = None;
        loop {
            match heard.recv_timeout(PATIENCE) {
                Ok(Heard::At(pid)) => at = Some(pid),
                Ok(Heard::User(process, by)) => {
                    let vital = process::is_vital(&proc, &process);
                    let is_protected = vital || protected.contains(&process.pid);
                    search.users.push(User { process, by, is_protected });
                }
                Err(RecvTimeoutError::Disconnected) => pids.clear(),
                Err(RecvTimeoutError::Timeout) => search.stuck.extend(at),
            }
            if pids.is_empty() || search.stuck.last() == at.as_ref() && at.is_some() {
                break;
            }
        }
        pids.retain(|pid| at.is_some_and(|at| *pid > at));
    }
    view.note(format_args!("users of {:?} = {search:?}", targets.ids));
    search
}

/// Whether the process still uses one of the mounts.
pub fn uses(view: &View, pid: i32, targets: &Targets) -> bool {
    how(&view.path("/proc").join(pid.to_string()), targets).is_some()
}

enum Heard {
    At(i32),
    User(Process, By),
}

fn walk(proc: &Path, pids: &[i32], targets: &Targets, sender: &Sender<Heard>) {
    for pid in pids {
        if sender.send(Heard::At(*pid)).is_err() {
            return;
        }
        if let Some(by) = how(&proc.join(pid.to_string()), targets)
            && let Some(process) = Process::find(proc, *pid)
            && !process.is_zombie
        {
            let _ = sender.send(Heard::User(process, by));
        }
    }
}

/// How a process uses one of the mounts; open files first, since the kernel
/// tells of them even where the process hangs.
fn how(process: &Path, targets: &Targets) -> Option<By> {
    if let Some(fd) = open_file(process, targets) {
        return Some(By::File(fd));
    }
    let links = [("cwd", By::Directory), ("root", By::Root), ("exe", By::Program)];
    let linked = links.into_iter().find(|(link, _)| leads_there(&process.join(link), targets));
    linked.map(|(_, by)| by).or_else(|| has_mapped(process, targets).then_some(By::Memory))
}

fn open_file(process: &Path, targets: &Targets) -> Option<i32> {
    let entries = fs::read_dir(process.join("fdinfo")).ok()?;
    entries.flatten().find_map(|entry| {
        let info = fs::read_to_string(entry.path()).ok()?;
        let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
        let link = process.join("fd").join(entry.file_name());
        let ours = targets.has(id.trim().parse().ok()?, &link);
        ours.then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    })
}

/// Whether a link of /proc leads to one of the mounts. The path it shows is
/// looked at first: following a link to a file system that is none of our
/// concern could hang on it.
fn leads_there(link: &Path, targets: &Targets) -> bool {
    let Ok(shown) = fs::read_link(link) else { return false };
    if !targets.may_hold(&shown) {
        return false;
    }
    if targets.silent {
        return true;
    }
    match statx::id_of(link) {
        Ok(id) => targets.has(id, link),
        Err(err) if err.kind() == io::ErrorKind::NotFound => false,
        // A file system that is past answering: there is only the path to go
        // by, and not even that to one that is detached.
        Err(_) => targets.attached.is_none(),
    }
}

fn has_mapped(process: &Path, targets: &Targets) -> bool {
    let Ok(maps) = fs::read(process.join("maps")) else { return false };
    let maps = String::from_utf8_lossy(&maps);
    let mut places = maps.lines().filter_map(|line| mapped(line, targets));
    places.any(|place| leads_there(&process.join("map_files").join(place), targets))
}

/// The place in memory that a line of maps is about, as map_files has it, if
/// it is a file of one of the devices:
/// `00400000-00410000 r-xp 0000 fd:00 1234 /srv/data/program`.
fn mapped(line: &str, targets: &Targets) -> Option<String> {
    let mut fields = line.split_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    let (major, minor) = fields.nth(2)?.split_once(':')?;
    let hex = |text| u32::from_str_radix(text, 16).ok();
    let device = Number { major: hex(major)?, minor: hex(minor)? };
    let is_file = fields.next()? != "0";
    let bare = |address: &str| address.trim_start_matches('0').to_owned();
    let place = || format!("{}-{}", bare(from), bare(to));
    (is_file && targets.devices.contains(&device)).then(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Targets {
        Targets {
            ids: BTreeSet::from([30]),
            devices: BTreeSet::from([Number { major: 253, minor: 0 }]),
            directories: BTreeSet::from([PathBuf::from("/srv/data")]),
            silent: true,
            attached: None,
        }
    }

    #[test]
    fn a_mapped_file_is_known_by_its_device() {
        let line = "00400000-00452000 r-xp 00000000 fd:00 1234   /srv/data/program";
        assert_eq!(mapped(line, &targets()).as_deref(), Some("400000-452000"));
        assert_eq!(mapped(&line.replace("fd:00", "fd:01"), &targets()), None);
        assert_eq!(mapped(&line.replace("1234", "0"), &targets()), None);
        assert_eq!(mapped("7ffd0000-7ffe0000 rw-p 0 00:00 0 [stack]", &targets()), None);
    }

    #[test]
    fn a_path_that_only_begins_like_the_mount_is_none_of_it() {
        assert!(targets().may_hold(Path::new("/srv/data/x (deleted)")));
        assert!(!targets().may_hold(Path::new("/srv/database")));
    }
}
