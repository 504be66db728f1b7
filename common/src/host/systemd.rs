//! The service manager, where it is systemd.

use crate::host::file;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Pacemaker's units are ordered after this one.
const TARGET: &str = "/run/systemd/system/resource-agents-deps.target.d";

/// Whether it runs.
pub fn is_running(view: &View) -> bool {
    view.is_dir("/run/systemd/system").unwrap_or(false)
}

/// Has the cluster stopped before `unit` when the machine goes down: what the
/// cluster runs needs it.
pub fn stop_cluster_before(system: &System<'_>, name: &str, unit: &str) -> Result<()> {
    let path = system.path(Path::new(TARGET).join(format!("{name}.conf")));
    if system.exists(&path)? {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(Path::new(TARGET));
    file::trusted_dir(dir)?;
    file::replace(&path, &format!("[Unit]\nAfter={unit}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let output = system.change("systemctl", &["daemon-reload"])?;
    if !output.success() {
        system.warn(format_args!("systemctl daemon-reload: {}", output.reason()));
    }
    Ok(())
}

/// A unit, as the service manager knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name: `nfs-server.service`.
    pub name: String,
    /// Whether there is such a unit, and nobody has forbidden it.
    pub is_there: bool,
    /// Whether it runs, or has run.
    pub is_active: bool,
}

/// What the service manager knows of these.
pub fn units(view: &View, names: &[&str]) -> Result<Vec<Unit>> {
    let properties = ["show", "--property=Id,LoadState,ActiveState", "--"];
    let told = view.query("systemctl", &[&properties[..], names].concat())?;
    if !told.success() {
        bail!("systemctl show: {}", told.reason());
    }
    Ok(told.stdout.split("\n\n").filter_map(Unit::parse).collect())
}

impl Unit {
    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        Some(Self {
            name: value("Id=")?.to_owned(),
            is_there: value("LoadState=") == Some("loaded"),
            is_active: matches!(value("ActiveState="), Some("active" | "activating" | "reloading")),
        })
    }
}

/// Has units started, and waits until they have.
pub fn start(system: &System<'_>, names: &[&str]) -> Result<()> {
    ask(system, "start", names)
}

/// Has units stopped, and waits until they have.
pub fn stop(system: &System<'_>, names: &[&str]) -> Result<()> {
    ask(system, "stop", names)
}

fn ask(system: &System<'_>, verb: &str, names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let done = system.change("systemctl", &[&[verb, "--"], names].concat())?;
    if !done.success() {
        bail!("systemctl {verb} {}: {}", names.join(" "), done.reason());
    }
    Ok(())
}

/// What is said of a unit besides its own file, until the next boot.
#[derive(Clone, Copy, Debug)]
pub struct DropIn<'a> {
    /// The unit.
    pub unit: &'a str,
    /// The file's name, without its ending.
    pub name: &'a str,
}

impl DropIn<'_> {
    fn path(self, view: &View) -> PathBuf {
        view.path(format!("/run/systemd/system/{}.d/{}.conf", self.unit, self.name))
    }

    /// Whether it is there.
    pub fn is_there(self, view: &View) -> bool {
        self.path(view).exists()
    }

    /// Puts it there, for [`reload`] to bring into force.
    pub fn put(self, system: &System<'_>, text: &str) -> Result<()> {
        let path = self.path(system);
        system.note(format_args!("drop-in {} <- {text:?}", path.display()));
        file::trusted_dir(path.parent().unwrap_or(Path::new("/run/systemd/system")))?;
        file::replace(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes it away, and its directory if nothing else is in it. Whether it
    /// was there.
    pub fn remove(self, system: &System<'_>) -> Result<bool> {
        let path = self.path(system);
        match std::fs::remove_file(&path) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            removed => {
                removed.with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        system.note(format_args!("drop-in {} removed", path.display()));
        if let Some(directory) = path.parent() {
            // Others may have theirs there.
            let _ = std::fs::remove_dir(directory);
        }
        Ok(true)
    }
}

/// Has all units read again.
pub fn reload(system: &System<'_>) -> Result<()> {
    let done = system.change("systemctl", &["daemon-reload"])?;
    if !done.success() {
        bail!("systemctl daemon-reload: {}", done.reason());
    }
    Ok(())
}

/// The same, without waiting for it: nothing that follows needs it.
pub fn reload_soon(system: &System<'_>) -> Result<()> {
    use nix::sys::signal::{Signal, kill};
    system.note(format_args!("SIGHUP to the service manager"));
    kill(nix::unistd::Pid::from_raw(1), Signal::SIGHUP)
        .context("cannot have the service manager read its units again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_is_forbidden_is_not_there() {
        let told = "Id=a.service\nLoadState=loaded\nActiveState=active\n\nId=b.service\nLoadState=masked\nActiveState=inactive\n";
        let units: Vec<Unit> = told.split("\n\n").filter_map(Unit::parse).collect();
        let seen = |unit: &Unit| (unit.is_there, unit.is_active);
        assert_eq!(units.iter().map(seen).collect::<Vec<_>>(), [(true, true), (false, false)]);
    }
}
