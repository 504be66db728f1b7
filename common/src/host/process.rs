//! Processes: what they are called, and which of them nobody may end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Without these the node is no longer part of its cluster, or is reset.
const OF_THE_CLUSTER: &[&str] = &[
    "pacemaker",
    "corosync",
    "sbd",
    "dlm_controld",
    "heartbeat",
    "ha_logd",
    "ccm",
    "ipfail",
    "stonithd",
    "fenced",
    "cib",
    "crmd",
    "lrmd",
    "attrd",
    "pengine",
    "drbd-reactor",
    "lvmlockd",
    "sanlock",
    "wdmd",
    "booth",
    "watchdog",
];

/// A process as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// What it is called, at most 15 bytes.
    pub name: String,
    /// The number of its parent.
    pub parent: i32,
    /// The number of its process group.
    pub group: i32,
    /// When it was started, in ticks since the system was: tells it from a
    /// later one with the same number.
    pub started: u64,
    /// Whether it has ended, the last of its threads too, and waits for its parent
    /// to look.
    pub is_zombie: bool,
}

/// What a process does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It runs, or waits for something.
    Running,
    /// It stands still until somebody has it go on: it was stopped by a signal, or
    /// is being traced.
    Halted,
    /// It has let go of its memory: it is about to end, and holds what it had open
    /// for a moment more.
    Leaving,
}

impl Process {
    /// The process with this number; none if there is none.
    pub fn find(proc: &Path, pid: i32) -> Option<Self> {
        Self::parse(&Self::stat(proc, pid)?)
    }

    /// The same, and what it does, by one look: the kernel takes its time for it.
    pub fn with_doing(proc: &Path, pid: i32) -> Option<(Self, Doing)> {
        let stat = Self::stat(proc, pid)?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let doing = match rest.split_whitespace().nth(20)? {
            _ if rest.starts_with(['T', 't']) => Doing::Halted,
            "0" => Doing::Leaving,
            _ => Doing::Running,
        };
        Some((Self::parse(&stat)?, doing))
    }

    fn stat(proc: &Path, pid: i32) -> Option<String> {
        /// More than fifty numbers and a name take: one read has all of it.
        const ROOM: usize = 2048;
        let mut stat = [0; ROOM];
        let mut file = File::open(proc.join(pid.to_string()).join("stat")).ok()?;
        let length = file.read(&mut stat).ok()?;
        Some(String::from_utf8_lossy(&stat[..length]).into_owned())
    }

    /// Reads /proc/PID/stat. The name may hold anything, brackets included.
    pub(super) fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            // The first thread is one as long as any other has not ended.
            is_zombie: matches!(*fields.first()?, "Z" | "X")
                && fields.get(17)?.parse::<u32>().ok()? <= 1,
        })
    }
}

/// Where in the kernel a process sleeps that no signal reaches.
pub(crate) fn stuck_at(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    let place = if matches!(place.as_str(), "" | "0") { "the kernel".into() } else { place };
    rest.starts_with('D').then_some(place)
}

/// Whether a process stands still until somebody has it go on: it was stopped
/// by a signal, or is being traced.
pub fn is_halted(proc: &Path, pid: i32) -> bool {
    Process::with_doing(proc, pid).is_some_and(|(_, doing)| doing == Doing::Halted)
}

/// The numbers of all processes, the youngest last.
pub fn all(proc: &Path) -> Vec<i32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut pids: Vec<i32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// This process and those above it, up to the first.
pub fn ancestors(proc: &Path) -> BTreeSet<i32> {
    let mut line = BTreeSet::from([1]);
    let mut pid = std::process::id().cast_signed();
    while pid > 0 && line.insert(pid) {
        pid = Process::find(proc, pid).map_or(0, |process| process.parent);
    }
    line
}

/// Whether it is a part of the cluster, or of the system's own service
/// manager. The name alone proves nothing, anybody can take one: the program
/// has to lie where only the system's programs do.
pub fn is_vital(proc: &Path, process: &Process) -> bool {
    let name = process.name.as_str();
    let named = OF_THE_CLUSTER.iter().any(|vital| {
        name == *vital
            || name.strip_prefix(vital).is_some_and(|rest| rest.starts_with(['-', ':', 'd']))
    });
    if !named && !name.starts_with("systemd") {
        return false;
    }
    let program = fs::read_link(proc.join(process.pid.to_string()).join("exe"));
    let places = ["/usr/", "/sbin/", "/bin/", "/lib/"];
    program.is_ok_and(|path| places.iter().any(|place| path.starts_with(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets_and_blanks() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9876 1 1";
        let process = Process::parse(stat).unwrap();
        assert_eq!((process.pid, process.parent, process.started), (42, 7, 9876));
        assert_eq!(process.name, "a) b (c)");
        assert!(!process.is_zombie);
    }

    #[test]
    fn the_first_process_and_this_one_are_in_the_line() {
        let line = ancestors(Path::new("/proc"));
        assert!(line.contains(&1) && line.contains(&std::process::id().cast_signed()));
    }

    #[test]
    fn a_name_alone_protects_nobody() {
        let proc = tempfile::tempdir().unwrap();
        let exe = |pid: i32, target: &str| {
            let dir = proc.path().join(pid.to_string());
            fs::create_dir_all(&dir).unwrap();
            std::os::unix::fs::symlink(target, dir.join("exe")).unwrap();
        };
        exe(5, "/usr/libexec/pacemaker/pacemaker-execd");
        exe(6, "/srv/data/pacemaker-execd");
        exe(7, "/usr/bin/cibola");
        let named = |pid, name: &str| Process {
            pid,
            name: name.into(),
            parent: 1,
            group: 1,
            started: 0,
            is_zombie: false,
        };
        assert!(is_vital(proc.path(), &named(5, "pacemaker-execd")));
        assert!(is_vital(proc.path(), &named(5, "pacemakerd")));
        assert!(!is_vital(proc.path(), &named(6, "pacemaker-execd")));
        assert!(!is_vital(proc.path(), &named(7, "cibola")));
    }
}
