//! Taking entries out of the table, and what the kernel has cached of it with
//! them.
//!
//! Whoever writes the table holds two locks of nfs-utils, in this order:
//! `export-lock` for as long as exportfs(8) runs, and `.etab.lock` while the
//! table is read and put in its place. They are record locks, which the kernel
//! lets go of when the process ends. The new table is written beside the old
//! one and renamed: mountd sees by the inode that it is another.

use crate::host::child;
use crate::host::clock::{Deadline, Pace};
use crate::host::process;
use crate::host::program::Output;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::{CStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::client::{Client, is_name};
use super::{Export, TABLE};

/// Where the table lies. Not root's alone: on Debian it is statd's directory.
const DIRECTORY: &str = "/var/lib/nfs";

/// The locks, in the order in which they are taken.
const LOCKS: [&str; 2] = ["export-lock", ".etab.lock"];

/// The caches that hang on the table, in the order in which exportfs(8) flushes
/// them.
const CACHES: [&str; 4] = ["auth.unix.ip", "auth.unix.gid", "nfsd.fh", "nfsd.export"];

/// Exports the directory, which is without links, to the client, and nothing
/// else; the entry as the table has it then. What exportfs(8) ends with tells
/// nothing: it is 0 where a name could not be resolved, and 1 where a table was
/// not there before.
pub fn put_in(
    system: &System<'_>,
    path: &Path,
    client: &Client,
    options: Option<&str>,
) -> Result<Export> {
    let before = super::of(system, &[path])?;
    let mut export = OsString::from(client.argument());
    export.push(":");
    export.push(path);
    let mut words: Vec<OsString> = vec!["-i".into()];
    words.extend(options.into_iter().flat_map(|options| ["-o".into(), options.into()]));
    words.push(export);
    // Who is in the way is looked for afterwards.
    let limit = system.deadline().left().mul_f32(0.7);
    let output =
        system.change_within(limit, &[], "exportfs", &words).map_err(|err| {
            match silent(system) {
                None => err,
                Some(why) => {
                    err.context(format!("exportfs asks for all that is exported, and {why}"))
                }
            }
        })?;
    let after = super::of(system, &[path])?;
    let same = |export: &&Export| client.is_listed_as(&export.client);
    // The resolver may have another name for it.
    let renamed = || {
        let is_new = |export: &&Export| before.iter().all(|old| old.client != export.client);
        let mut new = after.iter().filter(|export| is_name(&export.client)).filter(is_new);
        new.next().filter(|_| client.is_name() && new.next().is_none())
    };
    match after.iter().find(same).or_else(renamed) {
        Some(entry) => Ok(entry.clone()),
        None => bail!(
            "exportfs has not put {} to {client} into the table: {}",
            path.display(),
            complaint(&output)
        ),
    }
}

/// Why one of the exported directories cannot be looked at: the file system that
/// does not answer.
fn silent(view: &View) -> Option<String> {
    let mut all = super::all(view).ok()?.into_items();
    all.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    all.dedup_by(|one, other| one.path == other.path);
    all.iter().find_map(|export| {
        let silence = view.is_dir(&export.path).err()?;
        Some(format!("of {} {silence}", export.path.display()))
    })
}

/// What exportfs(8) complained of, but for the table that it has made itself.
fn complaint(output: &Output) -> String {
    let lines = output.stderr.lines().map(str::trim);
    let lines = lines.map(|line| line.strip_prefix("exportfs: ").unwrap_or(line));
    let mut told = lines.filter(|line| !line.is_empty() && !line.contains(TABLE));
    told.next().map_or_else(|| output.reason(), str::to_owned)
}

/// Takes the entries out of the table, by path and client as they are listed;
/// what is not there is out already. Needs neither exportfs(8) nor a resolver.
pub fn take_out(system: &System<'_>, entries: &[Export], deadline: Deadline) -> Result<()> {
    let patience = deadline.left().mul_f32(0.8).as_millis().to_string();
    let mut words: Vec<OsString> = vec![patience.into()];
    for entry in entries {
        words.push(entry.path.clone().into());
        words.push(entry.client.clone().into());
    }
    child::run(system, "unexport", &words, deadline)
}

/// Has the kernel forget what it has cached of the table: the files it keeps
/// open for NFSv3 are closed, and clients are asked for anew.
pub fn flush(system: &System<'_>, deadline: Deadline) -> Result<()> {
    child::run::<&str>(system, "flush-exports", &[], deadline)
}

/// In the child.
pub(crate) fn take_out_in_child(words: &[OsString]) -> Result<()> {
    let (patience, entries) = words.split_first().context("no patience")?;
    let patience = patience.to_str().and_then(|text| text.parse().ok()).context("no patience")?;
    let deadline = Deadline::after(Duration::from_millis(patience));
    let _held: Vec<File> = LOCKS.iter().map(|name| lock(name, deadline)).collect::<Result<_>>()?;
    let old = match File::open(TABLE) {
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.with_context(|| format!("cannot read {TABLE}"))?,
    };
    let text = std::fs::read(TABLE).with_context(|| format!("cannot read {TABLE}"))?;
    let kept = without(&text, entries)?;
    if kept.len() == text.len() {
        return Ok(());
    }
    let new = Path::new(DIRECTORY).join("etab.tmp");
    let written = write(&new, &kept, &old)
        .and_then(|()| std::fs::rename(&new, TABLE))
        .with_context(|| format!("cannot write {}", new.display()));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// The table without the entries: path and client of each.
fn without(table: &[u8], entries: &[OsString]) -> Result<Vec<u8>> {
    ensure!(table.is_empty() || table.ends_with(b"\n"), "{TABLE} ends in the middle of a line");
    let mut kept = Vec::with_capacity(table.len());
    for line in table.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let is_meant = Export::parse(text.trim_end()).is_some_and(|export| {
            entries
                .chunks(2)
                .any(|pair| pair[0] == export.path.as_os_str() && pair[1] == export.client.as_str())
        });
        if !is_meant {
            kept.extend_from_slice(line);
        }
    }
    Ok(kept)
}

/// Writes a new file with the old one's owner, mode and label.
fn write(path: &Path, text: &[u8], old: &File) -> io::Result<()> {
    // Left by one that was killed; a link is removed and not followed.
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let found = old.metadata()?;
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    file.write_all(text)?;
    fchown(&file, Some(found.uid()), Some(found.gid()))?;
    copy_label(old, &file);
    file.set_permissions(std::fs::Permissions::from_mode(found.mode() & 0o7777))
}

/// SELinux would give it the label of files that are made here.
#[allow(unsafe_code)]
fn copy_label(from: &File, to: &File) {
    const NAME: &CStr = c"security.selinux";
    let mut label = [0u8; 1024];
    // SAFETY: the name ends with a NUL, the buffer has the size that is told,
    // and what is set is as long as what was read into it.
    unsafe {
        let read = libc::fgetxattr(
            from.as_raw_fd(),
            NAME.as_ptr(),
            label.as_mut_ptr().cast(),
            label.len(),
        );
        if let Ok(length @ 1..) = usize::try_from(read) {
            let label = label.as_ptr().cast();
            // Where it is refused, what is there by default has to do.
            let _ = libc::fsetxattr(to.as_raw_fd(), NAME.as_ptr(), label, length, 0);
        }
    }
}

/// Takes one of the locks; the error names who has it.
fn lock(name: &str, deadline: Deadline) -> Result<File> {
    let path = PathBuf::from(DIRECTORY).join(name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    ensure!(file.metadata()?.is_file(), "{} is no file", path.display());
    let mut pace = Pace::new();
    while try_record(&file, libc::F_SETLK)?.is_some() {
        if deadline.has_passed() {
            bail!("{} is held by {}", path.display(), holder(&file));
        }
        pace.rest(deadline);
    }
    Ok(file)
}

fn holder(file: &File) -> String {
    match try_record(file, libc::F_GETLK) {
        Ok(Some(pid)) => {
            let name = process::Process::find(Path::new("/proc"), pid).map(|found| found.name);
            format!("{} (pid {pid})", name.unwrap_or_else(|| "a process".into()))
        }
        _ => "somebody".into(),
    }
}

/// Locks the whole file for writing, or asks whose it is: none where it is ours
/// or nobody's. Of a lock that is refused it is not known whose.
#[allow(unsafe_code)]
fn try_record(file: &File, command: libc::c_int) -> Result<Option<i32>> {
    // SAFETY: all-zero is a valid value of this plain struct, which means the
    // whole file, and it outlives the call.
    unsafe {
        let mut record: libc::flock = std::mem::zeroed();
        record.l_type = libc::F_WRLCK as libc::c_short;
        record.l_whence = libc::SEEK_SET as libc::c_short;
        if libc::fcntl(file.as_raw_fd(), command, &raw mut record) == 0 {
            let is_held =
                command == libc::F_GETLK && record.l_type != libc::F_UNLCK as libc::c_short;
            return Ok(is_held.then_some(record.l_pid));
        }
    }
    match io::Error::last_os_error() {
        err if matches!(err.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(Some(0)),
        err => Err(err).context("cannot lock"),
    }
}

/// In the child. The server's own lock is taken on the way, for which whoever
/// starts or stops it is waited for.
pub(crate) fn flush_in_child() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for cache in CACHES {
        let path = format!("/proc/net/rpc/{cache}/flush");
        let flushed = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{}\n", now + 1).as_bytes()));
        match flushed {
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            flushed => flushed.with_context(|| format!("cannot write to {path}"))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_entry_that_is_meant_goes() {
        let table = b"/srv/a\t*(rw,fsid=1)\n/srv/ab\t*(rw,fsid=2)\n# x\n/srv/a\t@g(ro)\n\
            /srv/with\\040blank\t*(ro)\n";
        let entries = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let left =
            |words: &[&str]| String::from_utf8(without(table, &entries(words)).unwrap()).unwrap();
        let whole = String::from_utf8_lossy(table).into_owned();
        assert_eq!(left(&["/srv/a", "*"]), whole.replace("/srv/a\t*(rw,fsid=1)\n", ""));
        assert_eq!(left(&["/srv/a", "10.0.0.1"]), whole);
        let both = left(&["/srv/with blank", "*", "/srv/a", "@g"]);
        assert_eq!(both, "/srv/a\t*(rw,fsid=1)\n/srv/ab\t*(rw,fsid=2)\n# x\n");
        assert!(without(b"/srv/a\t*(rw", &[]).is_err());
    }

    #[test]
    fn a_table_keeps_its_mode_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("etab"), dir.path().join("etab.tmp"));
        std::fs::write(&old, "x\n").unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o644)).unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "kept").unwrap();
        std::os::unix::fs::symlink(&precious, &new).unwrap();
        write(&new, b"y\n", &File::open(&old).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "kept");
        assert_eq!(std::fs::read_to_string(&new).unwrap(), "y\n");
        assert_eq!(std::fs::metadata(&new).unwrap().mode() & 0o7777, 0o644);
    }
}
