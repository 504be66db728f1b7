//! Kernels from before a call, or built without something: a filter that has the
//! running one refuse, as those would, what they do not have.

use nix::libc::{self, c_long, sock_filter, sock_fprog};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Names the version of the kernel that programs shall find, such as `4.18`.
const VERSION: &str = "STURDY_KERNEL";

/// Of a kernel: 4.18 is `(4, 18)`.
pub type Version = (u32, u32);

/// System calls that some supported kernel lacks, and which was the first to
/// have them. Those without a name in libc have one number everywhere.
const CALLS: &[(c_long, Version)] = &[
    (libc::SYS_pidfd_send_signal, (5, 1)),
    (libc::SYS_open_tree, (5, 2)),
    (libc::SYS_move_mount, (5, 2)),
    (libc::SYS_fsopen, (5, 2)),
    (libc::SYS_fsconfig, (5, 2)),
    (libc::SYS_fsmount, (5, 2)),
    (libc::SYS_fspick, (5, 2)),
    (libc::SYS_pidfd_open, (5, 3)),
    (libc::SYS_clone3, (5, 3)),
    (libc::SYS_openat2, (5, 6)),
    (libc::SYS_pidfd_getfd, (5, 6)),
    (libc::SYS_faccessat2, (5, 8)),
    (libc::SYS_close_range, (5, 9)),
    (libc::SYS_mount_setattr, (5, 12)),
    (libc::SYS_quotactl_fd, (5, 14)),
    (STATMOUNT, (6, 8)),
    (LISTMOUNT, (6, 8)),
];
const STATMOUNT: c_long = 457;
const LISTMOUNT: c_long = 458;

/// What statx is asked for. A filter cannot have it answered without these, as
/// a kernel does that does not know them; so it is refused with them.
const STATX_MASKS: &[(u32, Version)] =
    &[(libc::STATX_MNT_ID, (5, 8)), (libc::STATX_MNT_ID_UNIQUE, (6, 8))];

/// Options of netlink sockets.
const NETLINK_OPTIONS: &[(i32, Version)] = &[(libc::NETLINK_GET_STRICT_CHK, (4, 20))];

/// The version that programs are to find; none for the running kernel's own.
pub fn kernel() -> Option<Version> {
    let text = std::env::var(VERSION).ok().filter(|text| !text.is_empty())?;
    let (major, minor) = text.split_once('.').unwrap_or((&text, "0"));
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{VERSION} is no version"));
    Some((number(major), number(minor)))
}

/// Has the program, and all that it starts, find the kernel asked for.
#[allow(unsafe_code)]
pub(super) fn before(command: &mut Command, wanted: Option<Version>) {
    let Some(version) = wanted.or_else(kernel) else { return };
    let filter = filter(version);
    // SAFETY: between fork and exec there are only system calls, and the
    // filter lives in the closure.
    unsafe {
        command.pre_exec(move || load(&filter));
    }
}

/// Has the program, and all that it starts, find a kernel without netfilter's
/// netlink, and so without nf_tables.
#[allow(unsafe_code)]
pub(super) fn without_nf_tables(command: &mut Command) {
    let filter = vec![
        load_word(NUMBER),
        unless_equal(libc::SYS_socket as u32, 5),
        load_word(word(0)),
        unless_equal(libc::AF_NETLINK as u32, 3),
        load_word(word(2)),
        unless_equal(libc::NETLINK_NETFILTER as u32, 1),
        refuse(libc::EPROTONOSUPPORT),
        ALLOW,
    ];
    // SAFETY: as above.
    unsafe {
        command.pre_exec(move || load(&filter));
    }
}

#[allow(unsafe_code)]
fn load(filter: &[sock_filter]) -> io::Result<()> {
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which outlives the calls. Without
    // root it wants the promise that nobody gains rights below the filter.
    let done = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
            || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
                    == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The places in what the kernel shows to the filter: the call's number, and
/// the lower half of each of its words.
const NUMBER: u32 = 0;
const fn word(place: u32) -> u32 {
    16 + 8 * place + if cfg!(target_endian = "big") { 4 } else { 0 }
}

fn filter(version: Version) -> Vec<sock_filter> {
    let later = |since: Version| since > version;
    let mut filter = vec![load_word(NUMBER)];
    for (number, _) in CALLS.iter().filter(|(_, since)| later(*since)) {
        filter.extend([unless_equal(*number as u32, 1), refuse(libc::ENOSYS)]);
    }
    let masks = STATX_MASKS.iter().filter(|(_, since)| later(*since));
    let newer = masks.fold(0, |all, (mask, _)| all | mask);
    filter.extend([
        unless_equal(libc::SYS_statx as u32, 4),
        load_word(word(3)),
        unless_any(newer, 1),
        refuse(libc::ENOSYS),
        ALLOW,
    ]);
    for (option, _) in NETLINK_OPTIONS.iter().filter(|(_, since)| later(*since)) {
        filter.extend([
            load_word(NUMBER),
            unless_equal(libc::SYS_setsockopt as u32, 6),
            load_word(word(1)),
            unless_equal(libc::SOL_NETLINK as u32, 4),
            load_word(word(2)),
            unless_equal(*option as u32, 2),
            refuse(libc::ENOPROTOOPT),
            ALLOW,
        ]);
    }
    filter.push(ALLOW);
    filter
}

const ALLOW: sock_filter = instruction(libc::BPF_RET, 0, libc::SECCOMP_RET_ALLOW);

fn refuse(errno: i32) -> sock_filter {
    instruction(libc::BPF_RET, 0, libc::SECCOMP_RET_ERRNO | errno as u32)
}

fn load_word(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, at)
}

/// Skips this many instructions unless the word loaded is that.
fn unless_equal(value: u32, skip: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, skip, value)
}

/// Skips this many instructions unless one of the bits is set.
fn unless_any(bits: u32, skip: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, skip, bits)
}

const fn instruction(code: u32, otherwise: u8, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: otherwise, k: value }
}
