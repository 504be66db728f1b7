//! Guests as processes: each of qemu's is one, and says in its words which.
//!
//! That is what is left when the daemon is not there, or its files. The list of
//! processes is the kernel's, and who is not on it does not run: a guest that is
//! being moved here has its process as long as that takes.

use super::identity::{Identity, Uuid};
use crate::host::absence::{Absent, Whole};
use crate::host::clock::Pace;
use crate::host::process::{self, Process};
use crate::host::system::View;
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Where the files of guests lie that a person runs beside the system's: they
/// may be called as those are.
const OF_A_PERSON: [&str; 2] = ["/.config/libvirt/qemu/", "/.cache/libvirt/qemu/"];

/// A process that is a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The process.
    pub process: Process,
    /// Which guest it is; none of one that is on its way out, and has let go of
    /// its memory, in which that stood, and maybe not of its disks yet.
    pub identity: Option<Identity>,
    /// Whether it was made to be moved here.
    pub is_incoming: bool,
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.identity.as_ref().map_or(&self.process.name, |identity| &identity.name);
        write!(f, "{name} (pid {})", self.process.pid)
    }
}

impl Guest {
    /// Whether it is the one that is meant, or may be.
    pub fn may_be(&self, meant: &Identity) -> bool {
        self.identity.as_ref().is_none_or(|identity| identity.is(meant))
    }
}

/// The guests of this machine, all of them.
pub(super) fn all(view: &View) -> Result<Whole<Guest>> {
    let names = view.list("/proc").context("cannot list the processes")?;
    // Of those that are hidden from whoever is not root, this is one.
    ensure!(names.iter().any(|name| name == "1"), "the list of processes lacks the first one");
    let mut found = Vec::new();
    for pid in names.iter().filter_map(|name| name.parse().ok()) {
        found.extend(one(view, pid)?);
    }
    let shown: Vec<String> = found.iter().map(Guest::to_string).collect();
    view.note(format_args!("guests = {}", shown.join(", ")));
    Ok(Whole::told("guests", found))
}

/// The same, once none of them is on its way out any more, as far as that ends in
/// time: a guest with much memory takes seconds to let go of it, and nobody can
/// tell which it is.
pub fn settled(view: &View) -> Result<Whole<Guest>> {
    let end = view.deadline().at_most(view.deadline().left() / 3);
    let mut pace = Pace::new();
    loop {
        let found = all(view)?;
        if found.iter().all(|guest| guest.identity.is_some()) || end.has_passed() {
            return Ok(found);
        }
        pace.rest(end);
    }
}

/// The guest that the process is, if it is one.
pub(super) fn one(view: &View, pid: i32) -> Result<Option<Guest>> {
    let proc = view.path("/proc");
    let home = proc.join(pid.to_string());
    let what = || format!("cannot tell what process {pid} is");
    let mut words = words(&home.join("cmdline")).with_context(what)?;
    if words.is_empty() {
        // One of the kernel's has none, and one that has let go of its memory.
        // Where its first thread has ended before the others, they have them.
        words = of_threads(&home).with_context(what)?;
    }
    if !words.is_empty() {
        let Some((identity, is_incoming)) = parse(&words) else { return Ok(None) };
        let process = Process::find(&proc, pid);
        let identity = Some(identity);
        return Ok(process.map(|process| Guest { process, identity, is_incoming }));
    }
    let process = Process::find(&proc, pid);
    let is_qemu = |process: &Process| process.name.starts_with("qemu") && !process.is_zombie;
    Ok(process.filter(is_qemu).map(|process| Guest { process, identity: None, is_incoming: false }))
}

/// Nothing where there is no such process, or it has let go of its memory.
fn words(file: &Path) -> io::Result<Vec<u8>> {
    match fs::read(file) {
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
            Ok(Vec::new())
        }
        read => read,
    }
}

fn of_threads(home: &Path) -> io::Result<Vec<u8>> {
    for thread in fs::read_dir(home.join("task")).into_iter().flatten().flatten() {
        let words = words(&thread.path().join("cmdline"))?;
        if !words.is_empty() {
            return Ok(words);
        }
    }
    Ok(Vec::new())
}

/// Which guest the words of a process make, and whether it is to be moved here.
fn parse(words: &[u8]) -> Option<(Identity, bool)> {
    // Few processes have this word at all.
    let is_there = words.windows(7).any(|part| part == b"\0-uuid\0");
    let words = is_there.then(|| String::from_utf8_lossy(words))?;
    if OF_A_PERSON.iter().any(|place| words.contains(place)) {
        return None;
    }
    let all: Vec<&str> = words.split('\0').collect();
    let after = |option: &str| {
        let at = all.iter().position(|word| *word == option)?;
        all.get(at + 1).copied()
    };
    let uuid = Uuid::parse(after("-uuid")?)?;
    let name = name(after("-name")?);
    let is_incoming = after("-incoming").is_some();
    Some((Identity { name, uuid: Some(uuid) }, is_incoming))
}

/// `guest=a,,b,debug-threads=on`, in which a comma of the name stands twice; or
/// the name alone.
fn name(word: &str) -> String {
    let word = word.strip_prefix("guest=").unwrap_or(word);
    let mut name = String::new();
    let mut parts = word.split(',').peekable();
    while let Some(part) = parts.next() {
        name.push_str(part);
        match parts.next_if(|next| next.is_empty()) {
            Some(_) if parts.peek().is_some() => name.push(','),
            _ => break,
        }
    }
    name
}

/// Proof that none of the guests is the one that is meant, or may be.
pub fn lacks(guests: &Whole<Guest>, meant: &Identity) -> Option<Absent> {
    guests.lacks(|guest| guest.may_be(meant))
}

/// Whether the guest's process is there still, and not another with its number.
pub(super) fn is_there(view: &View, process: &Process) -> bool {
    Process::find(&view.path("/proc"), process.pid)
        .is_some_and(|now| now.started == process.started && !now.is_zombie)
}

/// Whether the process stands still, since a signal has stopped it.
pub(super) fn is_halted(view: &View, process: &Process) -> bool {
    process::is_halted(&view.path("/proc"), process.pid)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::testing::Files;

    pub(crate) const UUID: &str = "1dabca37-df6d-4a77-9034-301704a00951";

    /// Makes a process; the file of its words has a blank between two.
    pub(crate) fn process(machine: &Files, pid: i32, name: &str, state: char, words: &str) {
        let home = format!("/proc/{pid}");
        let stat =
            format!("{pid} ({name}) {state} 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 {pid}0 1 1");
        machine.file(&format!("{home}/stat"), &stat);
        machine.file(&format!("{home}/task/{pid}/stat"), &stat);
        let words: String = words.split_whitespace().map(|word| format!("{word}\0")).collect();
        machine.file(&format!("{home}/cmdline"), &words);
    }

    pub(crate) fn machine() -> Files {
        let machine = Files::new();
        process(&machine, 1, "init", 'S', "/sbin/init");
        process(&machine, 2, "kthreadd", 'S', "");
        machine
    }

    fn meant(name: &str) -> Identity {
        Identity { name: name.into(), uuid: Uuid::parse(UUID) }
    }

    #[test]
    fn a_guest_is_known_by_the_words_of_its_process() {
        let machine = machine();
        let words = format!("/usr/libexec/qemu-kvm -name guest=web,debug-threads=on -uuid {UUID}");
        process(&machine, 7, "qemu-kvm", 'S', &format!("{words} -incoming defer"));
        process(&machine, 8, "grep", 'S', "grep -- -uuid");
        let view = machine.view();
        let found = all(&view).unwrap();
        let [guest] = &found[..] else { panic!("{found:?}") };
        assert_eq!((guest.identity.clone(), guest.is_incoming), (Some(meant("web")), true));
        assert_eq!(guest.to_string(), "web (pid 7)");
        assert_eq!(lacks(&found, &meant("other")), None);
        let other = Identity { name: "other".into(), uuid: None };
        assert!(lacks(&found, &other).is_some());
        assert!(is_there(&view, &guest.process));
    }

    #[test]
    fn one_that_is_on_its_way_out_may_be_the_one_that_is_meant() {
        let machine = machine();
        process(&machine, 7, "qemu-system-x86", 'D', "");
        assert_eq!(lacks(&all(&machine.view()).unwrap(), &meant("web")), None);
        // It has ended, and its parent has not looked.
        process(&machine, 7, "qemu-system-x86", 'Z', "");
        assert!(lacks(&all(&machine.view()).unwrap(), &meant("web")).is_some());
    }

    #[test]
    fn what_is_on_its_way_out_is_waited_for() {
        let machine = machine();
        process(&machine, 7, "qemu-system-x86", 'D', "");
        let soon = machine.view_for(std::time::Duration::from_millis(150));
        assert_eq!(lacks(&settled(&soon).unwrap(), &meant("web")), None, "it does not end");
        let view = machine.view();
        let (home, away) = (machine.path("/proc/7"), machine.path("/ended"));
        let ending = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            // At once, as the kernel does it.
            std::fs::rename(home, away)
        });
        assert!(lacks(&settled(&view).unwrap(), &meant("web")).is_some());
        ending.join().unwrap().unwrap();
    }

    #[test]
    fn one_of_which_a_thread_is_left_that_waits_for_a_disk_is_there() {
        let machine = machine();
        process(&machine, 7, "qemu-system-x86", 'Z', "");
        let stat = "7 (qemu-system-x86) Z 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 2 0 70 1 1";
        machine.file("/proc/7/stat", stat);
        machine.file("/proc/7/task/9/stat", "");
        machine.file("/proc/7/task/9/cmdline", &format!("q\0-name\0guest=web\0-uuid\0{UUID}\0"));
        let found = all(&machine.view()).unwrap();
        assert_eq!(found[0].identity, Some(meant("web")));
        assert!(is_there(&machine.view(), &found[0].process));
    }

    #[test]
    fn a_guest_that_a_person_runs_is_none_of_the_systems() {
        let machine = machine();
        let file = "{\"file\":\"/home/joe/.config/libvirt/qemu/lib/domain-1-web/master-key.aes\"}";
        process(
            &machine,
            7,
            "qemu",
            'S',
            &format!("q -name guest=web -object {file} -uuid {UUID}"),
        );
        assert!(lacks(&all(&machine.view()).unwrap(), &meant("web")).is_some());
    }

    #[test]
    fn processes_that_are_not_all_shown_prove_nothing() {
        let machine = Files::new();
        process(&machine, 7, "sleep", 'S', "sleep 1");
        assert!(all(&machine.view()).is_err());
        assert!(all(&Files::new().view()).is_err());
    }

    #[test]
    fn a_comma_of_a_name_stands_twice() {
        assert_eq!(name("guest=a,,b,debug-threads=on"), "a,b");
        assert_eq!(name("guest=a,debug-threads=on"), "a");
        assert_eq!(name("old"), "old");
    }
}
