//! configfs, by which parts of the kernel are configured: a directory makes an
//! object, a link joins two, a file sets a value.
//!
//! Whatever opens a disk or ends a session is done by a child, since the call
//! returns when the kernel is done with it, which may be never. A value that is
//! a secret is written by ourselves: a child's words are there for all to read.

use crate::host::child;
use crate::host::clock::Pace;
use crate::host::file;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Where it is mounted, by systemd or by whoever needs it first.
pub const ROOT: &str = "/sys/kernel/config";

/// Mounts it where it is not mounted.
pub fn mount(system: &System<'_>) -> Result<()> {
    if !system.list(ROOT).unwrap_or_default().is_empty() {
        return Ok(());
    }
    let done = system.change("mount", &["-t", "configfs", "configfs", ROOT])?;
    // Somebody may have been faster, or there may be nothing in it yet.
    match done.success() || done.reason().contains("already mounted") {
        true => Ok(()),
        false => bail!("cannot mount configfs on {ROOT}: {}", done.reason()),
    }
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
    patiently(system, &["remove", path])
}

/// Takes two objects apart.
pub fn unlink(system: &System<'_>, path: &str) -> Result<()> {
    patiently(system, &["unlink", path])
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
    let read = view.read(path).with_context(|| format!("cannot read {path}"))?;
    Ok(read.trim_end().to_owned())
}

/// What is below the object; nothing where it is not there.
pub fn list(view: &View, path: &str) -> Result<Option<Vec<String>>> {
    match view.list(path) {
        Ok(names) => Ok(Some(names)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err).with_context(|| format!("cannot list {path}")),
    }
}

fn patiently(system: &System<'_>, words: &[&str]) -> Result<()> {
    let mut pace = Pace::new();
    loop {
        let err = match act(system, words) {
            Ok(()) => return Ok(()),
            Err(err) => err,
        };
        match errno(&err) {
            Some(Errno::ENOENT) => return Ok(()),
            Some(Errno::EBUSY | Errno::ENOTEMPTY) if !system.deadline().has_passed() => {}
            _ => return Err(err).with_context(|| format!("cannot {} {}", words[0], words[1])),
        }
        pace.rest(system.deadline());
    }
}

/// Does the task of this name, if it is the one of this file.
pub fn carry_out(task: &str, words: &[OsString]) -> Option<Result<()>> {
    (task == "configfs").then(|| act_in_child(words))
}

fn act(system: &System<'_>, words: &[&str]) -> Result<()> {
    if system.is_real() {
        return child::run(system, "configfs", words, system.deadline());
    }
    let rooted = |word: &&str| match word.starts_with('/') {
        true => system.path(word).into_os_string(),
        false => OsString::from(word),
    };
    act_here(&words.iter().map(rooted).collect::<Vec<_>>())
}

/// In the child.
pub(crate) fn act_in_child(words: &[OsString]) -> Result<()> {
    act_here(words)
}

fn act_here(words: &[OsString]) -> Result<()> {
    let word = words.first().and_then(|word| word.to_str()).unwrap_or_default();
    let (path, value) = (words.get(1), words.get(2));
    let path = Path::new(path.context("which object?")?);
    match (word, value) {
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
