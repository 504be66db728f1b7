//! Keeps Debian packages from starting services while they are installed.
//!
//! Debian asks `/usr/sbin/policy-rc.d` before any service is started. Ours
//! says no for as long as the process that wrote it lives and removes itself
//! when asked later, so that a killed run leaves no machine behind on which
//! nothing starts any more.

use anyhow::{Context, Result};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// As long as this value lives, nothing that is installed is started.
pub struct Quiet {
    ours: bool,
}

impl Quiet {
    /// Lays the policy down, unless the machine has one of its own.
    pub fn begin() -> Result<Self> {
        let mut file =
            match OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY) {
                Ok(file) => file,
                Err(err) if err.kind() == ErrorKind::AlreadyExists => {
                    return Ok(Self { ours: false });
                }
                Err(err) => return Err(err).context(format!("cannot write {POLICY}")),
            };
        let quiet = Self { ours: true };
        let pid = std::process::id();
        write!(file, "#!/bin/sh\n[ -d /proc/{pid} ] && exit 101\nrm -f {POLICY}\n")
            .context(format!("cannot write {POLICY}"))?;
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Keeps services that came with a package from starting at the next boot.
pub fn disable(units: &[&str]) {
    let systemctl = Path::new("/usr/bin/systemctl");
    if systemctl.exists() {
        let _ = Command::new(systemctl)
            .args(["--quiet", "disable"])
            .args(units)
            .env("SYSTEMD_OFFLINE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
