//! Programs of an earlier action that have not ended.
//!
//! An action that is killed, or ends at its deadline, may leave a program
//! behind that sleeps in the kernel where no signal reaches it: a mount(8), a
//! fsck, a vgchange, a drbdadm whose disk is frozen. Once the disk answers, it
//! does what it was told, whatever has been reported meanwhile. So a stop has
//! to know of it.
//!
//! Each program that changes the machine gets a mark in its environment: which
//! instance it works for, and in which process group. What it starts in turn
//! inherits the mark, and a daemon is told from it by having left the group, as
//! daemons do. A descriptor would be no mark: lvm closes all that it does not
//! know.

use crate::host::process::{self, Process};
use crate::host::system::View;
use crate::host::{child, mark, program};
use anyhow::{Context, Result};
use std::fs;
use std::io;
use std::path::Path;

/// Whether the process carries the mark of any instance of this agent's: one of
/// their actions has started it, as a daemon or otherwise.
pub(crate) fn is_marked(proc: &Path, pid: i32, agent: &str) -> bool {
    let environment = fs::read(proc.join(pid.to_string()).join("environ")).unwrap_or_default();
    let wanted = format!("{}={agent}-", mark::VARIABLE);
    environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(wanted.as_bytes()))
}

/// The programs of earlier actions that still work for the instance.
pub(crate) fn find(view: &View, instance: &str) -> Result<Vec<Process>> {
    let proc = view.path("/proc");
    if !view.is_real() {
        return Ok(Vec::new());
    }
    let listed = fs::read_dir(&proc).with_context(|| format!("cannot list {}", proc.display()))?;
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.with_context(|| format!("cannot list {}", proc.display()))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        found.extend(is_at_work(&proc, pid, instance)?);
    }
    view.note(format_args!("unfinished programs of {instance} = {}", shown(view, &found)));
    Ok(found)
}

fn is_at_work(proc: &Path, pid: i32, instance: &str) -> Result<Option<Process>> {
    let environment = match fs::read(proc.join(pid.to_string()).join("environ")) {
        Ok(environment) => environment,
        // It has ended meanwhile, or is somebody else's and none of root's.
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(err) => return Err(err).with_context(|| format!("cannot tell what process {pid} is")),
    };
    let wanted = format!("{}={instance} in ", mark::VARIABLE);
    let mut marks = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(wanted.as_bytes()))
        .filter_map(|group| std::str::from_utf8(group).ok()?.parse::<i32>().ok());
    let Some(group) = marks.next() else { return Ok(None) };
    let process = Process::find(proc, pid);
    Ok(process.filter(|process| process.group == group && !process.is_zombie))
}

/// The programs and where in the kernel they sleep, for a reason.
pub(crate) fn shown(view: &View, programs: &[Process]) -> String {
    let one = |process: &Process| {
        let proc = view.path("/proc").join(process.pid.to_string());
        let command = fs::read(proc.join("cmdline")).unwrap_or_default();
        let command = masked_command(&command).unwrap_or_else(|| process.name.clone());
        match process::stuck_at(process.pid) {
            Some(place) => format!("{command} (pid {}, stuck in {place})", process.pid),
            None => format!("{command} (pid {})", process.pid),
        }
    };
    match programs {
        [] => "none".into(),
        some => some.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// A running program's words, as /proc has them, fit for a message; none of
/// one that has ended.
fn masked_command(words: &[u8]) -> Option<String> {
    let mut words = words.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let name = words.next().filter(|name| !name.is_empty())?;
    let name = name.rsplit_once('/').map_or(&*name, |(_, name)| name).to_owned();
    let mut words: Vec<String> = words.map(|word| word.into_owned()).collect();
    // One of our own is better known by its task.
    if words.len() > 1 && words[0] == child::WORD {
        let task = words.drain(..2).nth(1)?;
        return Some(program::shown(&task, &words).trim_end().to_owned());
    }
    Some(program::shown(&name, &words).trim_end().to_owned())
}

/// The processes that have this file open, a lock, but for this one.
pub(crate) fn keepers(view: &View, file: &Path) -> Vec<Process> {
    let proc = view.path("/proc");
    let own = std::process::id().cast_signed();
    let keeps =
        |pid: &i32| {
            let descriptors = fs::read_dir(proc.join(pid.to_string()).join("fd"));
            // The link alone is read: to follow it would be to ask a file system.
            descriptors.into_iter().flatten().flatten().any(|descriptor| {
                fs::read_link(descriptor.path()).is_ok_and(|target| target == file)
            })
        };
    let others = process::all(&proc).into_iter().filter(|pid| *pid != own).filter(keeps);
    others.filter_map(|pid| Process::find(&proc, pid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use crate::host::system::ViewOptions;
    use crate::testing::soon;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn view() -> View {
        View::new(ViewOptions {
            deadline: Deadline::after(Duration::from_secs(5)),
            journal: crate::host::journal::Journal::default(),
            run_dir: "/nowhere".into(),
            owner: String::new(),
            without_programs: false,
        })
    }

    fn sleeper(mark: &str, daemon: bool) -> std::process::Child {
        let words: &[&str] = if daemon { &["setsid", "sleep", "60"] } else { &["sleep", "60"] };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env(mark::VARIABLE, mark).stdout(Stdio::null());
        command.spawn().unwrap()
    }

    #[test]
    fn a_program_that_still_runs_is_found_and_a_daemon_is_not_one() {
        let name = format!("test-{}", std::process::id());
        let mut at_work = sleeper(&mark::of(&name), false);
        let mut daemon = sleeper(&mark::of(&name), true);
        let mut of_another = sleeper(&mark::of("another"), false);
        // Until setsid has run, a daemon is none.
        let only = || {
            let found = find(&view(), &name).unwrap();
            found.iter().map(|process| process.pid).collect::<Vec<_>>()
        };
        assert!(soon(|| only() == [at_work.id().cast_signed()]), "{:?}", only());
        let told = shown(&view(), &find(&view(), &name).unwrap());
        assert_eq!(told, format!("sleep 60 (pid {})", at_work.id()));
        for child in [&mut at_work, &mut daemon, &mut of_another] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(find(&view(), &name).unwrap().is_empty());
    }
}
