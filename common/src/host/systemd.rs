//! The service manager, where it is systemd.

use crate::host::file;
use crate::host::system::{System, View};
use anyhow::{Context, Result};
use std::path::Path;

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
