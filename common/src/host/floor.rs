//! The oldest that is served: Linux 4.18, as EL 8 has it, and DRBD 8.4. What is
//! older is told so, and nothing is concluded from how it answers.

use std::fmt;

/// The first two numbers of a release: 4, 18 of `4.18.0-553.el8.x86_64`.
pub type Version = (u32, u32);

/// The oldest Linux.
pub const LINUX: Version = (4, 18);

/// The oldest DRBD.
pub const DRBD: Version = (8, 4);

/// A part of the kernel, or all of it, is older than what is served.
#[derive(Debug)]
pub struct TooOld {
    what: &'static str,
    found: String,
    needed: Version,
}

impl fmt::Display for TooOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, found, needed: (major, minor) } = self;
        write!(f, "this kernel's {what} is {found}; {major}.{minor} or later is needed")
    }
}

impl std::error::Error for TooOld {}

/// The version of a release, if it begins with one.
pub fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether the release is new enough; one that is not understood is taken for
/// new.
pub fn check(what: &'static str, found: &str, needed: Version) -> Result<(), TooOld> {
    match version(found) {
        Some(version) if version < needed => Err(TooOld { what, found: found.to_owned(), needed }),
        _ => Ok(()),
    }
}

/// Whether the running kernel is new enough.
pub fn check_kernel() -> Result<(), TooOld> {
    let release = nix::sys::utsname::uname();
    match release {
        Ok(names) => check("Linux", &names.release().to_string_lossy(), LINUX),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_is_named_with_what_is_needed() {
        let old = check("Linux", "3.10.0-1160.el7.x86_64", LINUX).unwrap_err();
        assert_eq!(
            old.to_string(),
            "this kernel's Linux is 3.10.0-1160.el7.x86_64; 4.18 or later is needed"
        );
        assert!(check("Linux", "4.9.0", LINUX).is_err() && check("DRBD", "8.3.13", DRBD).is_err());
    }

    #[test]
    fn what_is_served_passes_and_so_does_what_has_no_numbers() {
        for release in ["4.18.0-553.el8_10.x86_64", "6.1.0-56-amd64", "10.0", "next"] {
            assert!(check("Linux", release, LINUX).is_ok(), "{release}");
        }
        for release in ["8.4.11", "9.0.28-1"] {
            assert!(check("DRBD", release, DRBD).is_ok(), "{release}");
        }
        check_kernel().unwrap();
    }
}
