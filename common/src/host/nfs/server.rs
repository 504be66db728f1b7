//! The kernel's NFS server: one for each network namespace, which is there as
//! long as it has threads.
//!
//! Whoever asks it waits while somebody starts or ends it, for ever if one of
//! its threads hangs on a dead disk. So the first questions are those that the
//! kernel answers at once: is there such a module, has it any threads, does the
//! socket live that a start has seen. The others are asked by a child.

use crate::host::absence::Absent;
use crate::host::child;
use crate::host::module;
use crate::host::nfs::told::Told;
use crate::host::nfs::{netlink, proc};
use crate::host::process;
use crate::host::sockets;
use crate::host::system::View;
use anyhow::{Context, Result};
use std::io::{self, Write};
use std::time::Duration;

/// What there is of it.
#[derive(Clone, Debug)]
pub enum Found {
    /// It has no threads, and serves nobody.
    Down(Absent),
    /// It serves.
    Up(Server),
}

/// A server that has threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How many there may be.
    pub threads: u32,
    /// What clients of NFSv4 know it by, if the kernel tells.
    pub scope: Option<String>,
}

impl Server {
    /// Proof that the server is not the one with this scope; nothing where it
    /// may be.
    pub fn is_not(&self, scope: &str) -> Option<Absent> {
        let other = self.scope.as_deref().is_some_and(|own| own != scope);
        other.then(|| Absent::seen("the NFS server of this network namespace has another scope"))
    }
}

/// The counts that the kernel keeps; before Linux 6.8 in the first network
/// namespace only.
const COUNTS: &str = "/proc/net/rpc/nfsd";

/// The kernel's part of an answer takes no time, unless it takes for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Proof that the server is down, as far as no waiting for anybody gives one.
pub fn is_idle(view: &View) -> Result<Option<Absent>> {
    if let Some(absent) = no_module(view)? {
        return Ok(Some(absent));
    }
    let none = threads_anywhere(view)? == Some(0);
    Ok(none.then(|| Absent::seen("the kernel counts 0 threads of the NFS server")))
}

/// Proof that this kernel has no NFS server at all.
pub fn no_module(view: &View) -> Result<Option<Absent>> {
    module::absent(view, "nfsd", "the NFS server", "/proc/fs/nfs/exports")
}

/// The threads of all network namespaces, if the kernel counts them here.
pub fn threads_anywhere(view: &View) -> Result<Option<u32>> {
    let counts = match view.read(COUNTS) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        counts => counts.with_context(|| format!("cannot read {COUNTS}"))?,
    };
    let count = counts.lines().find_map(|line| line.strip_prefix("th "));
    Ok(count.and_then(|rest| rest.split(' ').next()?.parse().ok()))
}

/// Whether the server is the one that had a listening socket with this cookie,
/// and has threads; asks nobody who may not answer.
pub fn still_has(view: &View, cookie: u64) -> bool {
    view.is_real()
        && matches!(threads_anywhere(view), Ok(Some(1..)))
        && sockets::is_listening(cookie).unwrap_or(false)
}

/// What there is of it, whoever has to be waited for, within a part of the time
/// that is left.
pub fn find(view: &View) -> Result<Found> {
    if let Some(absent) = is_idle(view)? {
        return Ok(Found::Down(absent));
    }
    let told = match view.is_real() {
        true => {
            let share = (view.deadline().left() / 3).max(Duration::from_secs(1)).min(PATIENCE);
            let deadline = view.deadline().at_least(Duration::from_secs(1)).at_most(share);
            child::ask::<&str>(view, "nfsd-look", &[], deadline).with_context(|| {
                format!("the kernel's NFS server does not say what it is at{}", stuck(view))
            })?
        }
        false => proc::told(view)?.text(),
    };
    let told = Told::parse(&told).context("cannot make sense of what a child has seen")?;
    let of_whom = "the NFS server of this network namespace has no threads";
    match told {
        Told { threads: 0, .. } => Ok(Found::Down(Absent::seen(of_whom))),
        Told { threads, scope } => Ok(Found::Up(Server { threads, scope })),
    }
}

/// Which of its threads hang, and where, or nfsdcld, for which it waits when a
/// grace period ends: a clause for a reason.
pub fn stuck(view: &View) -> String {
    let proc = view.path("/proc");
    let place = |pid| {
        let name = process::Process::find(&proc, pid)?.name;
        let who = match name.as_str() {
            "nfsd" => format!("its thread {pid}"),
            "nfsdcld" => format!("nfsdcld (pid {pid})"),
            _ => return None,
        };
        Some(format!("{who} is stuck in {}", process::stuck_at(pid)?))
    };
    match process::all(&proc).into_iter().filter_map(place).collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        [first] => format!(", {first}"),
        [first, more @ ..] => format!(", {first}, and {} more", more.len()),
    }
}

/// In the child: asks the kernel, however it can be asked.
pub(crate) fn look_in_child() -> Result<()> {
    let told = match netlink::told()? {
        Some(told) => told,
        None => proc::told_here()?,
    };
    io::stdout().write_all(told.text().as_bytes()).context("nobody takes it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::path::Path;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, View) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let view = View::below(Path::new(root.path()), Deadline::after(Duration::from_secs(5)));
        (root, view)
    }

    const OTHER: (&str, &str) = ("/sys/module/loop/refcnt", "0");
    const SELF: (&str, &str) = ("/proc/self/stat", "");

    fn found(files: &[(&str, &str)]) -> Result<Found> {
        find(&machine(files).1)
    }

    #[test]
    fn a_kernel_without_the_module_has_no_server() {
        assert!(matches!(found(&[OTHER, SELF]), Ok(Found::Down(_))));
        assert!(found(&[SELF]).is_err(), "without a list of modules");
        assert!(found(&[OTHER]).is_err(), "without /proc");
    }

    #[test]
    fn the_kernels_count_is_believed_where_it_is_nought_alone() {
        let module = ("/sys/module/nfsd/refcnt", "0");
        let counts =
            |count| ("/proc/net/rpc/nfsd", if count == 0 { "th 0 0\n" } else { "th 8 0\n" });
        assert!(matches!(found(&[module, SELF, counts(0)]), Ok(Found::Down(_))));
        assert!(found(&[module, SELF, counts(8)]).is_err(), "whose threads these are is not told");
        assert!(found(&[module, SELF]).is_err(), "nobody tells anything");
        let none = ("/proc/fs/nfsd/threads", "0\n");
        assert!(matches!(found(&[module, SELF, counts(8), none]), Ok(Found::Down(_))));
        let some = ("/proc/fs/nfsd/threads", "8\n");
        let Ok(Found::Up(server)) = found(&[module, SELF, counts(8), some]) else { panic!() };
        assert_eq!(server, Server { threads: 8, scope: None });
    }
}
