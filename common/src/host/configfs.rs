//! configfs, by which parts of the kernel are configured: a directory makes an
//! object, a link joins two, a file sets a value.
//!
//! Whatever opens a disk or ends a session is done by a child, since the call
//! returns when the kernel is done with it, which may be never. A value that is
//! a secret is written by ourselves: a child's words are there for all to read.
//!
//! While the kernel is at such a change it holds the directory above, and whoever
//! lists that directory waits as long, where no signal reaches it. So a child
//! that changes something holds a lock of ours, which looks ask for first: as
//! long as nobody has it they are made here, and otherwise by a child, until a
//! deadline.

mod clear;

pub use clear::clear;

use crate::host::absence::Absent;
use crate::host::child;
use crate::host::clock::Pace;
use crate::host::file;
use crate::host::module;
use crate::host::pidlock::whole;
use crate::host::stuck;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where it is mounted, by systemd or by whoever needs it first.
pub const ROOT: &str = "/sys/kernel/config";

/// Mounts it where it is not mounted.
pub fn mount(system: &System<'_>) -> Result<()> {
    if !seems_unmounted(system) {
        return Ok(());
    }
    let done = system.change("mount", &["-t", "configfs", "configfs", ROOT])?;
    // Somebody may have been faster, or there may be nothing in it yet.
    match done.success() || done.reason().contains("already mounted") {
        true => Ok(()),
        false => bail!("cannot mount configfs on {ROOT}: {}", done.reason()),
    }
}

/// Whether the module is in the kernel and configfs is not mounted: then nothing
/// shows what it serves, which outlives the mount.
pub fn is_covered(view: &View, module: &str) -> bool {
    seems_unmounted(view)
        && (view.exists(format!("/sys/module/{module}")).unwrap_or(false)
            || module::is_built_in(view, module))
}

/// Each module that is loaded has a directory in it. Where it cannot be listed,
/// whoever mounts it is told why.
fn seems_unmounted(view: &View) -> bool {
    list(view, ROOT).ok().flatten().unwrap_or_default().is_empty()
}

/// Makes the object; one that is there is made already.
pub fn make(system: &System<'_>, path: &str) -> Result<()> {
    match act(system, &["make", path]) {
        Err(err) if errno(&err) == Some(Errno::EEXIST) => Ok(()),
        made => made.with_context(|| format!("cannot make {path}")),
    }
}

/// Makes an object that must not be there yet.
pub fn make_new(system: &System<'_>, path: &str) -> Result<()> {
    act(system, &["make", path]).with_context(|| format!("cannot make {path}"))
}

/// Joins the object to another one, under a name of one's own.
pub fn link(system: &System<'_>, to: &str, path: &str) -> Result<()> {
    match act(system, &["link", path, to]) {
        Err(err) if errno(&err) == Some(Errno::EEXIST) => Ok(()),
        made => made.with_context(|| format!("cannot link {path} to {to}")),
    }
}

/// Removes the object. One that is still in use is tried again, until the
/// deadline.
pub fn remove(system: &System<'_>, path: &str) -> Result<()> {
    patiently(system, &format!("remove {path}"), || act(system, &["remove", path]))
}

/// Takes two objects apart.
pub fn unlink(system: &System<'_>, path: &str) -> Result<()> {
    patiently(system, &format!("unlink {path}"), || act(system, &["unlink", path]))
}

/// Sets a value whose setting takes its time.
pub fn set_apart(system: &System<'_>, path: &str, value: &str) -> Result<()> {
    act(system, &["set", path, value]).with_context(|| format!("cannot set {path} to {value}"))
}

/// Sets a value. No line feed is added: some would keep it.
pub fn set(system: &System<'_>, path: &str, value: &str) -> Result<()> {
    system.write(path, value)
}

/// Sets a value that is nobody's business.
pub fn set_secret(system: &System<'_>, path: &str, secret: &str) -> Result<()> {
    let written = file::write_existing(&system.path(path), secret);
    let outcome = written.as_ref().map_err(ToString::to_string);
    system.note(format_args!("write {path} <- *** = {outcome:?}"));
    written.with_context(|| format!("cannot set {path}"))
}

/// A value, without the line feed at its end.
pub fn get(view: &View, path: &str) -> Result<String> {
    let read = read(view, path).with_context(|| format!("cannot read {path}"))?;
    Ok(read.trim_end().to_owned())
}

/// The same; nothing where there is no such value.
pub fn find(view: &View, path: &str) -> Result<Option<String>> {
    match read(view, path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err).with_context(|| format!("cannot read {path}")),
    }
}

/// A value as it is.
pub fn read(view: &View, path: &str) -> io::Result<String> {
    match is_held(view) {
        true => look(view, "read", path),
        false => view.read(path),
    }
}

/// Whether there is such an object or such a value.
pub fn exists(view: &View, path: &str) -> io::Result<bool> {
    if !is_held(view) {
        return view.exists(path);
    }
    match look(view, "exists", path) {
        Ok(_) => Ok(true),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err),
    }
}

/// Where a link leads; nothing where there is none of that name.
pub fn linked(view: &View, path: &str) -> io::Result<Option<PathBuf>> {
    let read = match is_held(view) {
        true => look(view, "link", path).map(PathBuf::from),
        false => view.read_link(path),
    };
    match read {
        Ok(to) => Ok(Some(to)),
        // Nothing, a directory, or a value.
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Ok(None),
        Err(err) => Err(err),
    }
}

/// What is below the object; nothing where it is not there.
pub fn list(view: &View, path: &str) -> Result<Option<Vec<String>>> {
    let listed = match is_held(view) {
        true => look(view, "list", path).map(|text| text.lines().map(str::to_owned).collect()),
        false => view.list(path),
    };
    match listed {
        Ok(names) => Ok(Some(names)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err).with_context(|| format!("cannot list {path}")),
    }
}

/// Proof that the kernel lacks what its `module` would show here, `entry` among
/// it; nothing where it is there. It is not loaded by asking.
pub(crate) fn absent(
    view: &View,
    module: &str,
    shown: &str,
    root: &str,
    entry: &str,
) -> Result<Option<Absent>> {
    if exists(view, &format!("{root}/{entry}"))? {
        return Ok(None);
    }
    let absent = module::absent(view, module, shown, root)?;
    // One that is built in is in no list of modules.
    let is_unmounted =
        || Ok::<_, anyhow::Error>(list(view, ROOT)?.is_some_and(|all| all.is_empty()));
    if absent.is_none() || is_unmounted()? && module::is_built_in(view, module) {
        // Its objects outlive the mount.
        bail!(
            "{shown} is in the kernel, and what it serves cannot be seen: mount -t configfs configfs {ROOT}"
        );
    }
    Ok(absent)
}

/// The lock that a child holds as long as it changes something.
fn lock(view: &View) -> PathBuf {
    view.run_dir().join("configfs.changes")
}

/// Whether somebody changes something, and a look may have to wait for it.
fn is_held(view: &View) -> bool {
    /// For so long an answer is good: many looks are made in a row.
    const FRESH: Duration = Duration::from_millis(5);
    thread_local! {
        static FREE: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    if !view.is_real() {
        return false;
    }
    if FREE.get().is_some_and(|then| then.elapsed() < FRESH) {
        return false;
    }
    // Most changes are over in less.
    const PATIENCE: u32 = 10;
    let held = (0..PATIENCE).all(|_| {
        let held = is_locked(&lock(view));
        if held {
            std::thread::sleep(Duration::from_millis(1));
        }
        held
    });
    FREE.set((!held).then(Instant::now));
    held
}

fn is_locked(lock: &Path) -> bool {
    // Without the file nobody has changed anything since the machine is up.
    let Ok(file) = File::open(lock) else { return false };
    let mut asked = whole(libc::F_WRLCK);
    let answered = fcntl(&file, FcntlArg::F_OFD_GETLK(&mut asked));
    answered.is_err() || i32::from(asked.l_type) != libc::F_UNLCK
}

/// A look by a child, which may not come to its end.
fn look(view: &View, what: &str, path: &str) -> io::Result<String> {
    /// Of the time that is left: as much again for another try, and for what
    /// is to be said.
    const SHARE: u32 = 3;
    let silence = || {
        let holders = stuck::shown(view, &stuck::keepers(view, &lock(view)));
        let told = format!("the kernel is still at a change that holds it: {holders}");
        io::Error::new(ErrorKind::TimedOut, told)
    };
    if view.is_silent(ROOT) {
        return Err(silence());
    }
    let deadline = view.deadline().at_most(view.deadline().left() / SHARE);
    let words = [OsStr::new(what), OsStr::new(path)];
    child::ask(view, "configfs-look", &words, deadline).map_err(|err| match child::errno(&err) {
        Some(errno) => errno.into(),
        None => {
            view.remember_silent(ROOT.to_owned());
            silence()
        }
    })
}

/// What is in use is tried again until the deadline, and what is gone is done.
fn patiently(system: &System<'_>, what: &str, act: impl Fn() -> Result<()>) -> Result<()> {
    let mut pace = Pace::new();
    loop {
        let err = match act() {
            Ok(()) => return Ok(()),
            Err(err) => err,
        };
        match errno(&err) {
            Some(Errno::ENOENT) => return Ok(()),
            Some(Errno::EBUSY | Errno::ENOTEMPTY) if !system.deadline().has_passed() => {}
            _ => return Err(err).with_context(|| format!("cannot {what}")),
        }
        pace.rest(system.deadline());
    }
}

/// Does the task of this name, if it is one of this file.
pub fn carry_out(task: &str, words: &[OsString]) -> Option<Result<()>> {
    match task {
        "configfs" => Some(act_in_child(words)),
        "configfs-look" => Some(look_in_child(words)),
        _ => None,
    }
}

fn act(system: &System<'_>, words: &[&str]) -> Result<()> {
    if system.is_real() {
        file::trusted_dir(system.run_dir())?;
        let lock = lock(system);
        let words = words.iter().map(OsStr::new).chain([lock.as_os_str()]);
        let words: Vec<&OsStr> = words.collect();
        return child::run(system, "configfs", &words, system.deadline());
    }
    let rooted = |word: &&str| match word.starts_with('/') {
        true => system.path(word).into_os_string(),
        false => OsString::from(word),
    };
    act_here(&words.iter().map(rooted).collect::<Vec<_>>())
}

/// In the child: the last word is the lock's file.
fn act_in_child(words: &[OsString]) -> Result<()> {
    let (lock, words) = words.split_last().context("which change?")?;
    let held = file::open_lock(Path::new(lock))?;
    fcntl(&held, FcntlArg::F_OFD_SETLK(&whole(libc::F_RDLCK)))?;
    act_here(words)
}

fn look_in_child(words: &[OsString]) -> Result<()> {
    let [what, path] = child::take(words)?;
    let path = Path::new(path);
    let text = match what.to_str().unwrap_or_default() {
        "list" => {
            let mut names = std::fs::read_dir(path)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()?;
            names.sort_unstable();
            names.join("\n")
        }
        "read" => file::read(path)?,
        "link" => std::fs::read_link(path)?.to_string_lossy().into_owned(),
        _ => std::fs::symlink_metadata(path).map(|_| String::new())?,
    };
    io::stdout().write_all(text.as_bytes()).context("nobody takes it")
}

fn act_here(words: &[OsString]) -> Result<()> {
    let word = words.first().and_then(|word| word.to_str()).unwrap_or_default();
    let (path, value) = (words.get(1), words.get(2));
    let path = Path::new(path.context("which object?")?);
    match (word, value) {
        ("clear", _) => clear::all(&words[1..])?,
        ("make", None) => std::fs::create_dir(path)?,
        ("remove", None) => std::fs::remove_dir(path)?,
        ("unlink", None) => std::fs::remove_file(path)?,
        ("link", Some(to)) => std::os::unix::fs::symlink(to, path)?,
        ("set", Some(value)) => {
            file::write_existing(path, value.to_str().context("not a text")?)?;
        }
        _ => bail!("there is no such change: {}", word),
    }
    Ok(())
}

fn errno(err: &anyhow::Error) -> Option<Errno> {
    child::errno(err).or_else(|| {
        let io = err.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
        io.and_then(io::Error::raw_os_error).map(Errno::from_raw)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::soon;

    #[test]
    fn a_change_that_is_under_way_is_seen_by_others_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("changes");
        assert!(!is_locked(&path));
        let first = file::open_lock(&path).unwrap();
        assert!(!is_locked(&path));
        fcntl(&first, FcntlArg::F_OFD_SETLK(&whole(libc::F_RDLCK))).unwrap();
        // Two may be under way at once.
        let second = file::open_lock(&path).unwrap();
        fcntl(&second, FcntlArg::F_OFD_SETLK(&whole(libc::F_RDLCK))).unwrap();
        assert!(is_locked(&path));
        drop(first);
        assert!(is_locked(&path));
        drop(second);
        assert!(soon(|| !is_locked(&path)));
    }

    #[test]
    fn a_look_by_a_child_finds_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("value"), "1\n").unwrap();
        std::os::unix::fs::symlink("there", at("link")).unwrap();
        let look =
            |what: &str, name: &str| look_in_child(&[what.into(), at(name).into_os_string()]);
        for (what, name) in [("list", ""), ("read", "value"), ("link", "link"), ("exists", "link")]
        {
            look(what, name).unwrap();
        }
        let missing = look("exists", "other").unwrap_err();
        assert_eq!(errno(&missing), Some(Errno::ENOENT));
        assert_eq!(errno(&look("link", "value").unwrap_err()), Some(Errno::EINVAL));
    }
}
