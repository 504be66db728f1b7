//! /var/lib/nfs, where the server's daemons keep what has to outlive them, and
//! how a directory that travels with the data takes its place.
//!
//! The directory gets what the node's own has, with the same owners, modes and
//! labels. Some of it belongs to statd's user, who may have put anything there:
//! no link is followed, and no file but a plain one is touched.

use crate::host::absence::Absent;
use crate::host::block::Number;
use crate::host::mount::attach::{self, Wanted};
use crate::host::mount::unmount::{self, Force, Unmounted};
use crate::host::mount::{Mount, Table};
use crate::host::system::{System, View};
use crate::host::{beneath, child, fuser, holders, statx};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where every daemon looks for it.
pub const DIRECTORY: &str = "/var/lib/nfs";

/// What is in it: directories, each after the one it lies in.
const DIRECTORIES: [&str; 9] = [
    "sm",
    "sm.bak",
    "statd",
    "statd/sm",
    "statd/sm.bak",
    "v4recovery",
    "nfsdcld",
    "nfsdcltrack",
    "rpc_pipefs",
];

/// Those that are made also where the node has none.
const ALWAYS: [&str; 1] = ["v4recovery"];

/// And files; those of statd where the node has them.
const FILES: [&str; 4] = ["etab", "rmtab", "state", "statd/state"];
const OF_STATD: [&str; 2] = ["state", "statd/state"];

/// A directory, as mounts show it: what a bind of it is known by, whatever the
/// names are by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file system's device.
    pub device: Number,
    /// The directory on it.
    pub root: PathBuf,
}

impl Origin {
    /// Of a directory as the path leads to it now.
    pub fn of(view: &View, table: &Table, directory: &Path) -> Result<Self> {
        let resolved = table
            .resolve(view, directory)
            .with_context(|| format!("cannot find {}", directory.display()))?;
        let mount = table.holding(&resolved).context("there is no root file system")?;
        let below = resolved.strip_prefix(&mount.directory).unwrap_or(Path::new(""));
        Ok(Self { device: mount.device, root: mount.root.join(below) })
    }

    /// Whether the mount has it in the place of /var/lib/nfs.
    pub fn is_shown_by(&self, mount: &Mount) -> bool {
        mount.directory == Path::new(DIRECTORY)
            && mount.device == self.device
            && mount.root == self.root
    }

    /// Whether /var/lib/nfs is the directory, whose number on its file system this
    /// is; not so where the file system shows mounts another device than paths.
    pub fn is_in_place(&self, view: &View, inode: u64) -> bool {
        directory_in_place(view) == Some((self.device, inode))
    }

    /// The mount that has it in the place of /var/lib/nfs.
    pub fn bound<'t>(&self, table: &'t Table) -> Option<&'t Mount> {
        table.iter().rfind(|mount| self.is_shown_by(mount))
    }

    /// Proof that it is not there.
    pub fn is_unbound(&self, table: &Table) -> Option<Absent> {
        table.lacks(|mount| self.is_shown_by(mount))
    }
}

/// The device and the number of what is in the place of /var/lib/nfs now.
pub fn directory_in_place(view: &View) -> Option<(Number, u64)> {
    let path = view.path(DIRECTORY);
    let found = statx::statx_at(libc::AT_FDCWD, &path, libc::AT_SYMLINK_NOFOLLOW, libc::STATX_INO);
    let found = found.ok()?;
    let device = Number { major: found.stx_dev_major, minor: found.stx_dev_minor };
    Some((device, found.stx_ino))
}

/// Has the directory hold what the node's own holds, and this node's table of
/// exports.
pub fn prepare(system: &System<'_>, directory: &Path) -> Result<()> {
    let table = Table::read(system)?;
    if !system.is_dir(directory)? {
        let root = table.uppermost(Path::new("/")).map(|root| root.device);
        if Some(Origin::of(system, &table, directory)?.device) == root {
            bail!("{} is not there, and nothing is mounted on the way to it", directory.display());
        }
        system.make_dir(directory)?;
    }
    let resolved = table.resolve(system, directory)?;
    child::run(system, "nfs-state", &[Path::new(DIRECTORY), &resolved], system.deadline())
        .with_context(|| format!("cannot prepare {}", directory.display()))
}

/// Puts the directory in the place of /var/lib/nfs.
pub fn bind(system: &System<'_>, directory: &Path) -> Result<()> {
    let table = Table::read(system)?;
    let resolved = table.resolve(system, directory)?;
    let wanted = Wanted {
        source: resolved.as_os_str(),
        directory: Path::new(DIRECTORY),
        fstype: Some("none"),
        options: "bind",
    };
    attach::mount(system, wanted)
        .with_context(|| format!("cannot bind {} on {DIRECTORY}", directory.display()))
}

/// Takes it away again, with what is mounted upon it. The error names who is in
/// the way.
pub fn unbind(system: &System<'_>, origin: &Origin) -> Result<()> {
    system.until(&format!("{DIRECTORY} to be free"), || {
        let table = Table::read(system)?;
        let Some(bound) = origin.bound(&table) else { return Ok(Ok(())) };
        for mount in table.upon(bound).into_iter().chain([bound]) {
            match unmount::unmount(system, &mount.directory, Force::No, system.deadline())? {
                Unmounted::Done => {}
                Unmounted::Busy => return Ok(Err(in_use(system, mount))),
            }
        }
        Ok(Ok(()))
    })
}

fn in_use(view: &View, mount: &Mount) -> String {
    let targets = fuser::Targets::of(view, &[mount], false);
    let found = fuser::search(view, &targets);
    let mut who: Vec<String> = found.users.iter().map(ToString::to_string).collect();
    who.extend(holders::below(view, &[&mount.directory]));
    if who.is_empty() {
        who.push("something that cannot be found".into());
    }
    format!("{} in use by {}", mount.directory.display(), who.join(", "))
}

/// In the child.
pub(crate) fn prepare_in_child(words: &[OsString]) -> Result<()> {
    let [local, shared] = child::take(words)?;
    let (local, shared) = (Path::new(local), Path::new(shared));
    let root = reopened(&beneath::exactly(shared)?)?;
    alike(&root, local)?;
    for name in DIRECTORIES {
        if local.join(name).is_dir() || ALWAYS.contains(&name) {
            let made = directory(&root, Path::new(name)).context(name)?;
            alike(&made, &local.join(name))?;
        }
    }
    for name in FILES {
        if !local.join(name).is_file() && OF_STATD.contains(&name) {
            continue;
        }
        let (above, last) = name.rsplit_once('/').unwrap_or(("", name));
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NONBLOCK | NEVER_A_LINK;
        let mode = Mode::from_bits_truncate(0o644);
        let file = directory(&root, Path::new(above))
            .and_then(|above| Ok(openat(&above, last, flags, mode)?))
            .with_context(|| format!("cannot open {name}"))?;
        let found = fstat(&file)?;
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        ensure!(kind == SFlag::S_IFREG && found.st_nlink == 1, "{name} is no plain file");
        alike(&file, &local.join(name))?;
        if name == "etab" {
            // What another node has exported is not exported here.
            let here = fs::read(local.join(name)).unwrap_or_default();
            let mut file = File::from(file);
            file.set_len(0).and_then(|()| file.write_all(&here)).context("cannot write etab")?;
        }
    }
    Ok(())
}

/// A copy of statd's list of hosts, beside the hints, for a program that takes
/// off the list whom it has told. It belongs to statd's user, as the list does.
pub fn copy_of_hosts(system: &System<'_>, name: &str) -> Result<PathBuf> {
    drop_copy(system, name)?;
    let copy = system.run_dir().join(name);
    child::run(system, "nfs-hosts", &[Path::new(DIRECTORY), &copy], system.deadline())?;
    Ok(copy)
}

/// Removes such a copy, if it is there.
pub fn drop_copy(system: &System<'_>, name: &str) -> Result<()> {
    let copy = system.run_dir().join(name);
    match fs::remove_dir_all(&copy) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(err).with_context(|| format!("cannot remove {}", copy.display()))
        }
        _ => Ok(()),
    }
}

/// In the child.
pub(crate) fn copy_hosts_in_child(words: &[OsString]) -> Result<()> {
    let [state, copy] = child::take(words)?;
    let (state, copy) = (Path::new(state), Path::new(copy));
    let own = state.join("statd");
    let from = if own.is_dir() { own } else { state.to_owned() };
    fs::create_dir(copy)?;
    let to = reopened(&beneath::exactly(copy)?)?;
    for name in ["sm", "sm.bak"] {
        let made = directory(&to, Path::new(name))?;
        let list = match File::open(from.join(name)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            opened => OwnedFd::from(opened?),
        };
        for host in fs::read_dir(from.join(name))? {
            let host = host?.file_name();
            copy_plain(&list, &made, &host).with_context(|| format!("{}", host.display()))?;
        }
        alike(&made, &from.join(name))?;
    }
    let list = OwnedFd::from(File::open(&from)?);
    match copy_plain(&list, &to, OsStr::new("state")) {
        Err(err) if err.downcast_ref() == Some(&Errno::ENOENT) => {}
        copied => copied?,
    }
    alike(&to, &from.join("sm"))
}

/// One small file, which belongs to whom the old one does.
fn copy_plain(from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> Result<()> {
    /// What statd writes of a host is a line.
    const LARGEST: u64 = 64 << 10;
    let old =
        openat(from, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK | NEVER_A_LINK, Mode::empty())?;
    let found = fstat(&old)?;
    let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
    ensure!(kind == SFlag::S_IFREG, "no plain file");
    let mut text = Vec::new();
    File::from(old).take(LARGEST).read_to_end(&mut text)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | NEVER_A_LINK;
    let new = openat(to, name, flags, Mode::from_bits_truncate(0o600))?;
    fchown(&new, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))?;
    File::from(new).write_all(&text)?;
    Ok(())
}

const NEVER_A_LINK: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC);

/// For more than to be asked about.
fn reopened(found: &OwnedFd) -> Result<OwnedFd> {
    Ok(File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?.into())
}

/// Opens a directory below the root, each part of the way for itself; made if
/// it is not there.
fn directory(root: &OwnedFd, below: &Path) -> Result<OwnedFd> {
    let mut last = root.try_clone()?;
    for name in below.iter() {
        let flags = OFlag::O_DIRECTORY | NEVER_A_LINK;
        let open = |last: &OwnedFd| openat(last, name, flags, Mode::empty());
        last = match open(&last) {
            Err(Errno::ENOENT) => {
                mkdirat(&last, name, Mode::from_bits_truncate(0o755))?;
                open(&last)?
            }
            opened => opened?,
        };
    }
    Ok(last)
}

/// Gives what was opened the owner, the mode and the label of a model, as far
/// as there is one.
fn alike(opened: &OwnedFd, model: &Path) -> Result<()> {
    let Ok(wanted) = fs::symlink_metadata(model) else { return Ok(()) };
    let found = fstat(opened)?;
    if (found.st_uid, found.st_gid) != (wanted.uid(), wanted.gid()) {
        let owner = (Uid::from_raw(wanted.uid()), Gid::from_raw(wanted.gid()));
        fchown(opened, Some(owner.0), Some(owner.1)).context("cannot change the owner")?;
    }
    if found.st_mode & 0o7777 != wanted.mode() & 0o7777 {
        fchmod(opened, Mode::from_bits_truncate(wanted.mode() & 0o7777))
            .context("cannot change the mode")?;
    }
    match label(model.as_os_str()) {
        Some(label) => set_label(opened, &label),
        None => Ok(()),
    }
}

const LABEL: &std::ffi::CStr = c"security.selinux";

#[allow(unsafe_code)]
fn label(path: &OsStr) -> Option<Vec<u8>> {
    let path = CString::new(path.as_bytes()).ok()?;
    let mut text = vec![0; 256];
    // SAFETY: path and name end with a zero, and the room is as large as the
    // kernel is told.
    let length = unsafe {
        libc::lgetxattr(path.as_ptr(), LABEL.as_ptr(), text.as_mut_ptr().cast(), text.len())
    };
    text.truncate(usize::try_from(length).ok()?);
    Some(text)
}

#[allow(unsafe_code)]
fn set_label(opened: &OwnedFd, label: &[u8]) -> Result<()> {
    // SAFETY: the name ends with a zero, and the text is as long as the kernel
    // is told.
    let set = unsafe {
        let fd = opened.as_fd().as_raw_fd();
        libc::fsetxattr(fd, LABEL.as_ptr(), label.as_ptr().cast(), label.len(), 0)
    };
    match Errno::result(set) {
        // A file system that has no labels is mounted with one for all.
        Ok(_) | Err(Errno::ENOTSUP) => Ok(()),
        Err(err) => Err(io::Error::from(err)).context("cannot change the label"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Files;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn words(local: &Path, shared: &Path) -> [OsString; 2] {
        [local.as_os_str().to_owned(), shared.as_os_str().to_owned()]
    }

    #[test]
    fn what_is_in_its_place_is_known_by_its_number() {
        let machine = Files::new();
        machine.file(&format!("{DIRECTORY}/etab"), "");
        let view = machine.view();
        let (device, inode) = directory_in_place(&view).unwrap();
        let origin = Origin { device, root: "/nfs".into() };
        assert!(origin.is_in_place(&view, inode));
        let place = view.path(DIRECTORY);
        fs::rename(&place, place.with_extension("before")).unwrap();
        assert!(!origin.is_in_place(&view, inode));
        fs::create_dir(&place).unwrap();
        assert!(!origin.is_in_place(&view, inode));
        // A link to it is none of ours.
        fs::remove_dir(&place).unwrap();
        symlink(place.with_extension("before"), &place).unwrap();
        assert!(!origin.is_in_place(&view, inode));
    }

    #[test]
    fn the_directory_becomes_like_the_nodes_own() {
        let (local, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shared_path = shared.path().canonicalize().unwrap();
        fs::create_dir_all(local.path().join("sm")).unwrap();
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(local.path().join("sm"), mode).unwrap();
        fs::write(local.path().join("etab"), "/a here(rw)\n").unwrap();
        fs::write(shared.path().join("etab"), "/b elsewhere, and a longer line(rw)\n").unwrap();
        fs::write(shared.path().join("rmtab"), "kept\n").unwrap();
        prepare_in_child(&words(local.path(), &shared_path)).unwrap();
        let read = |name| fs::read_to_string(shared.path().join(name)).unwrap();
        assert_eq!((read("etab").as_str(), read("rmtab").as_str()), ("/a here(rw)\n", "kept\n"));
        let sm = fs::metadata(shared.path().join("sm")).unwrap();
        assert_eq!(sm.mode() & 0o7777, 0o700);
        assert!(shared.path().join("v4recovery").is_dir());
        assert!(!shared.path().join("statd").exists(), "the node has none");
    }

    #[test]
    fn what_somebody_has_put_there_is_not_followed() {
        let (local, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shared_path = shared.path().canonicalize().unwrap();
        let precious = tempfile::tempdir().unwrap();
        fs::write(precious.path().join("file"), "precious").unwrap();
        fs::create_dir(local.path().join("sm")).unwrap();
        symlink(precious.path(), shared.path().join("sm")).unwrap();
        assert!(prepare_in_child(&words(local.path(), &shared_path)).is_err());
        fs::remove_file(shared.path().join("sm")).unwrap();
        symlink(precious.path().join("file"), shared.path().join("etab")).unwrap();
        assert!(prepare_in_child(&words(local.path(), &shared_path)).is_err());
        fs::remove_file(shared.path().join("etab")).unwrap();
        fs::hard_link(precious.path().join("file"), shared.path().join("etab")).unwrap();
        assert!(prepare_in_child(&words(local.path(), &shared_path)).is_err());
        let kept = fs::read_to_string(precious.path().join("file")).unwrap();
        assert_eq!(kept, "precious");
    }

    #[test]
    fn a_bind_is_known_by_what_it_shows() {
        let text = "\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
30 21 147:0 / /srv/data rw - ext4 /dev/drbd0 rw
31 21 147:0 /nfs /var/lib/nfs rw - ext4 /dev/drbd0 rw
";
        let table = Table::parse(text).unwrap();
        let device = Number { major: 147, minor: 0 };
        let origin = |root: &str| Origin { device, root: root.into() };
        assert_eq!(origin("/nfs").bound(&table).map(|mount| mount.id), Some(31));
        assert!(origin("/").bound(&table).is_none());
    }
}
