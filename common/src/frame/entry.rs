//! The first instructions of every agent.
//!
//! Rust's own start-up reads /proc/self/maps to guard the main thread's stack
//! and makes a second stack for a message about an overflow. A monitor need
//! not pay for either, so an agent does without both. What else that start-up
//! does is done here.

use std::ffi::{CStr, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;

/// The words of the command line, the name first.
///
/// # Safety
///
/// `words` points to `count` pointers to C strings, as main is given them.
#[allow(unsafe_code)]
pub unsafe fn words(count: i32, words: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(count).unwrap_or(0);
    (0..count)
        .map(|number| {
            // SAFETY: the caller vouches for `count` pointers to C strings.
            let word = unsafe { CStr::from_ptr(*words.add(number)) };
            OsStr::from_bytes(word.to_bytes()).to_owned()
        })
        .collect()
}

/// Puts the process into the state that Rust's library expects: no standard
/// stream closed, or the next file would be taken for it, and a reader that
/// went away an error rather than our end.
#[allow(unsafe_code)]
pub(crate) fn settle() {
    let closed = libc::pollfd { fd: 0, events: 0, revents: 0 };
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, ..closed });
    // SAFETY: plain system calls on arrays that outlive them; nobody else runs
    // yet, so that a number that is free stays free until it is opened.
    unsafe {
        libc::poll(streams.as_mut_ptr(), 3, 0);
        for stream in streams {
            if stream.revents & libc::POLLNVAL != 0 {
                libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            }
        }
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}
