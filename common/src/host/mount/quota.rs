//! Whether a file system counts what its users and groups have.
//!
//! An option of the mount asks for it, and does not get it everywhere: xfs counts
//! from then on, ext4 where it was made with the feature `quota`. Elsewhere nothing
//! is counted until somebody runs quotaon(8), and no limit holds.

use super::Mount;
use crate::host::system::View;
use nix::errno::Errno;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The kernel's numbers of whose files are counted, and what asks for it.
const KINDS: [(libc::c_int, &[&str]); 3] = [
    (0, &["usrquota", "uquota", "quota", "usrjquota"]),
    (1, &["grpquota", "gquota", "grpjquota"]),
    (2, &["prjquota", "pquota"]),
];

/// The options that ask for what is not counted on this mount.
pub fn in_vain<'o>(view: &View, mount: &Mount, options: &'o str) -> Vec<&'o str> {
    let Some(device) = mount.source.as_deref().filter(|_| view.is_real()) else {
        return Vec::new();
    };
    let is_in_vain = |(option, kind): &(&str, libc::c_int)| {
        let is_counted = is_counted(Path::new(device), *kind);
        view.note(format_args!("{option} of {device} is counted = {is_counted:?}"));
        is_counted == Some(false)
    };
    asked_for(options).filter(is_in_vain).map(|(option, _)| option).collect()
}

/// The options that ask for it, and of whose files.
fn asked_for(options: &str) -> impl Iterator<Item = (&str, libc::c_int)> {
    options.split(',').map(str::trim).filter_map(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, "file"));
        let (kind, _) = KINDS.iter().find(|(_, names)| names.contains(&name))?;
        // `usrjquota=` switches it off.
        (!value.is_empty()).then_some((option, *kind))
    })
}

/// By the kernel; none where it does not tell.
#[allow(unsafe_code)]
fn is_counted(device: &Path, kind: libc::c_int) -> Option<bool> {
    let device = CString::new(device.as_os_str().as_bytes()).ok()?;
    // More than the kernel has to say of a quota: 24 bytes.
    let mut about = [0u64; 8];
    let command = libc::QCMD(libc::Q_GETINFO, kind);
    // SAFETY: the path ends with a zero, and the room is larger than what is
    // written.
    let told = unsafe { libc::quotactl(command, device.as_ptr(), 0, about.as_mut_ptr().cast()) };
    match Errno::result(told) {
        Ok(_) => Some(true),
        Err(Errno::ESRCH | Errno::ENOSYS) => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_ask_for_quota_are_known() {
        let asked: Vec<_> =
            asked_for("nosuid,usrquota, grpjquota=aquota.group,usrjquota=,noquota").collect();
        assert_eq!(asked, [("usrquota", 0), ("grpjquota=aquota.group", 1)]);
    }
}
