//! Secrets in option lists, kept out of argument lists, logs and traces.

use anyhow::{Context, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

/// The options whose value is nobody's business.
const SECRET: &[&str] = &["password", "password2", "passwd", "pass", "secret"];

/// Whether the option's name says that its value is a secret.
fn is_secret(option: &str) -> bool {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    SECRET.iter().any(|secret| name.trim().eq_ignore_ascii_case(secret))
}

/// The text with stars for the value of each secret in a comma-separated list.
pub fn masked(text: &str) -> String {
    let mask = |option: &str| match option.rsplit_once('=') {
        // The list may have something in front of it: `OCF_RESKEY_options=`.
        Some((names, _)) if is_secret(names.rsplit('=').next().unwrap_or(names)) => {
            format!("{names}=***")
        }
        _ => option.to_owned(),
    };
    if SECRET.iter().all(|secret| !text.contains(secret)) {
        return text.to_owned();
    }
    text.split(',').map(mask).collect::<Vec<_>>().join(",")
}

/// The list without the options of these names in it, and the value of the
/// last of them.
pub fn taken_out<'a>(options: &'a str, names: &[&str]) -> (String, Option<&'a str>) {
    let mut secret = None;
    let mut kept: Vec<&str> = Vec::new();
    for option in options.split(',') {
        match option.split_once('=') {
            Some((name, value)) if names.contains(&name) => secret = Some(value),
            _ => kept.push(option),
        }
    }
    (kept.join(","), secret)
}

/// A file without a name, for a program that takes a secret from a file and
/// runs while we wait for it. It is gone with us, however we end.
#[derive(Debug)]
pub struct Nameless(File);

impl Nameless {
    /// A file that holds this.
    pub fn holding(text: &str) -> Result<Self> {
        let fd = memfd_create(c"secret", MFdFlags::MFD_CLOEXEC).context("no memory file")?;
        let mut file = File::from(fd);
        file.write_all(text.as_bytes()).context("no room in a memory file")?;
        Ok(Self(file))
    }

    /// Where another process of the same user finds it, and nobody else.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_the_list_stands() {
        assert_eq!(masked("user=a,password=b,vers=3"), "user=a,password=***,vers=3");
        assert_eq!(masked("OCF_RESKEY_options=secret=b"), "OCF_RESKEY_options=secret=***");
        assert_eq!(masked("rw,noatime"), "rw,noatime");
    }

    #[test]
    fn a_password_is_taken_out_of_its_list() {
        let names = &["password", "pass"];
        let (kept, password) = taken_out("user=a,password=b=c,vers=3", names);
        assert_eq!((kept.as_str(), password), ("user=a,vers=3", Some("b=c")));
        assert_eq!(taken_out("rw", names), ("rw".to_owned(), None));
    }

    #[test]
    fn a_nameless_file_is_read_by_its_path_and_has_no_name() {
        let file = Nameless::holding("AQB=").unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "AQB=");
        let path = file.path();
        drop(file);
        assert!(std::fs::read_to_string(path).is_err());
    }
}
