//! One mount, asked for by itself: two system calls, however many mounts there
//! are. Linux 6.8 and later; the layout is the kernel's `struct statmount`.

use crate::host::block::Number;
use crate::host::mount::Mount;
use crate::host::openat2;
use crate::host::statx::statx_at;
use crate::host::system::View;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const SYS_STATMOUNT: libc::c_long = 457;
const SYS_LISTMOUNT: libc::c_long = 458;

const SB_BASIC: u64 = 0x01;
const MNT_BASIC: u64 = 0x02;
const MNT_ROOT: u64 = 0x08;
const MNT_POINT: u64 = 0x10;
const FS_TYPE: u64 = 0x20;
const MNT_OPTS: u64 = 0x80;
const FS_SUBTYPE: u64 = 0x100;
const SB_SOURCE: u64 = 0x200;
const WANTED: u64 =
    SB_BASIC | MNT_BASIC | MNT_ROOT | MNT_POINT | FS_TYPE | MNT_OPTS | FS_SUBTYPE | SB_SOURCE;
/// Without these an answer is of no use. A string that is empty is left out of
/// the answer, as the options of a file system that has none.
const NEEDED: u64 = SB_BASIC | MNT_BASIC | MNT_ROOT | MNT_POINT | FS_TYPE;

const SB_RDONLY: u32 = 1;

#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    id: u64,
    mask: u64,
}

/// Room for the answer's strings; overlays with many layers need more, and
/// are found in the table instead.
const ROOM: usize = 4096;

#[repr(C, align(8))]
struct Answer {
    size: u32,
    options: u32,
    mask: u64,
    major: u32,
    minor: u32,
    magic: u64,
    sb_flags: u32,
    fs_type: u32,
    id: u64,
    parent: u64,
    id_old: u32,
    parent_old: u32,
    attributes: u64,
    propagation: u64,
    peers: u64,
    master: u64,
    propagate_from: u64,
    root: u32,
    point: u32,
    ns: u64,
    fs_subtype: u32,
    source: u32,
    rest: [u64; 48],
    strings: [u8; ROOM],
}

/// The mount whose root the path leads to. None if it is no such root, or if
/// the kernel is too old; ask the table then.
pub fn at(view: &View, directory: &Path) -> Option<Mount> {
    let unique = unique(&view.path(directory))?;
    let found = by_id(unique);
    view.note(format_args!("statmount {} = {found:?}", directory.display()));
    found
}

/// The mount with this number, which is never given twice.
pub fn by_id(unique: u64) -> Option<Mount> {
    find(unique).ok().flatten()
}

/// The same, and what the kernel says: none where it knows no such mount here,
/// an error where it was not to be asked.
pub fn find(unique: u64) -> io::Result<Option<Mount>> {
    let answer = match ask(unique) {
        Ok(answer) => answer,
        Err(err) if err.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(err) => return Err(err),
    };
    if answer.mask & NEEDED != NEEDED {
        // One that no path from our root leads to has no directory.
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let path = |offset: u32| PathBuf::from(std::ffi::OsStr::from_bytes(answer.text(offset)));
    let word = |offset: u32| String::from_utf8_lossy(answer.text(offset)).into_owned();
    let has = |bit: u64| answer.mask & bit != 0;
    let access = if answer.sb_flags & SB_RDONLY != 0 { "ro" } else { "rw" };
    let mut fstype = word(answer.fs_type);
    if has(FS_SUBTYPE) {
        fstype = format!("{fstype}.{}", word(answer.fs_subtype));
    }
    let group = |group: u64| (group != 0).then_some(group);
    Ok(Some(Mount {
        id: answer.id_old.into(),
        unique: Some(unique),
        parent: answer.parent_old.into(),
        device: Number { major: answer.major, minor: answer.minor },
        root: path(answer.root),
        directory: path(answer.point),
        attributes: answer.attributes,
        fstype,
        source: has(SB_SOURCE).then(|| word(answer.source)),
        super_options: match has(MNT_OPTS) {
            true => format!("{access},{}", word(answer.options)),
            false => access.to_owned(),
        },
        peers: group(answer.peers),
        master: group(answer.master),
    }))
}

/// Whether anything is mounted on the mount, or the kernel will not say.
#[allow(unsafe_code)]
pub fn has_upon(mount: &Mount) -> bool {
    let Some(unique) = mount.unique else { return true };
    let Ok(size) = u32::try_from(size_of::<Request>()) else { return true };
    let request = Request { size, spare: 0, id: unique, mask: 0 };
    let mut found = [0u64; 1];
    // SAFETY: the kernel reads the request and writes at most the one number
    // there is room for; both outlive the call.
    let count = unsafe {
        libc::syscall(SYS_LISTMOUNT, &raw const request, found.as_mut_ptr(), found.len(), 0)
    };
    count != 0
}

impl Answer {
    fn text(&self, offset: u32) -> &[u8] {
        let from = self.strings.get(offset as usize..).unwrap_or_default();
        CStr::from_bytes_until_nul(from).map(CStr::to_bytes).unwrap_or_default()
    }
}

/// The number of the mount that the path leads to the root of; none where the
/// kernel would have to ask a file system on the way.
pub fn unique(path: &Path) -> Option<u64> {
    number(path).filter(|(_, is_root)| *is_root).map(|(unique, _)| unique)
}

/// The number of the mount that the path lies on, on the same terms.
pub fn unique_below(path: &Path) -> Option<u64> {
    number(path).map(|(unique, _)| unique)
}

/// The number, and whether the path leads to the mount's root.
fn number(path: &Path) -> Option<(u64, bool)> {
    let there = openat2::cached(path)?;
    let (fd, mask) = (there.as_raw_fd(), libc::STATX_MNT_ID_UNIQUE);
    let found = statx_at(fd, Path::new(""), libc::AT_EMPTY_PATH, mask).ok()?;
    let is_root = found.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0;
    let is_told = found.stx_mask & libc::STATX_MNT_ID_UNIQUE != 0;
    is_told.then_some((found.stx_mnt_id, is_root))
}

#[allow(unsafe_code)]
fn ask(unique: u64) -> io::Result<Box<Answer>> {
    let size = u32::try_from(size_of::<Request>()).map_err(io::Error::other)?;
    let request = Request { size, spare: 0, id: unique, mask: WANTED };
    // SAFETY: both structs are plain data in the kernel's layout, for which
    // all-zero is a valid value; the kernel is told their sizes, and they
    // outlive the call.
    unsafe {
        let mut answer: Box<Answer> = Box::new(std::mem::zeroed());
        let done = libc::syscall(
            SYS_STATMOUNT,
            &raw const request,
            &raw mut *answer,
            size_of::<Answer>(),
            0,
        );
        if done == 0 { Ok(answer) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use crate::host::journal::Journal;
    use crate::host::mount::Table;
    use crate::host::system::ViewOptions;
    use std::time::Duration;

    #[test]
    fn the_strings_begin_where_the_kernel_has_them() {
        assert_eq!(std::mem::offset_of!(Answer, strings), 512);
    }

    #[test]
    fn one_mount_reads_as_in_the_table() {
        let view = View::new(ViewOptions {
            deadline: Deadline::after(Duration::from_secs(5)),
            journal: Journal::default(),
            owner: String::new(),
            run_dir: "/run".into(),
            without_programs: false,
        });
        let Some(proc) = at(&view, Path::new("/proc")) else {
            assert!(unique(Path::new("/proc")).is_none(), "statx knows, statmount does not");
            return;
        };
        let table = Table::read(&view).unwrap();
        let listed = table.uppermost(Path::new("/proc")).unwrap();
        let mut comparable = proc.clone();
        comparable.unique = None;
        comparable.super_options.clone_from(&listed.super_options);
        comparable.source.clone_from(&listed.source);
        assert_eq!(&comparable, listed);
        assert!(proc.super_options.starts_with("rw"), "{proc:?}");
    }
}
