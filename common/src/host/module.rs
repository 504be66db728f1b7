//! Whether a part of the kernel is there: loaded, or built in.

use crate::host::absence::Absent;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::io::ErrorKind;

/// Proof that this kernel lacks the module; nothing where it has it. A module
/// is told by what it has in /proc, too, since one that is built in may not be
/// listed.
pub(crate) fn absent(
    view: &View,
    module: &str,
    shown: &str,
    in_proc: &str,
) -> Result<Option<Absent>> {
    let doubt = || format!("cannot tell whether {shown} is loaded");
    if view.exists(in_proc).with_context(doubt)?
        || view.exists(format!("/sys/module/{module}")).with_context(doubt)?
    {
        return Ok(None);
    }
    // Where there is no list of modules, or an empty one, it proves nothing that
    // one is not on it.
    let modules = match view.list("/sys/module") {
        Err(err) if err.kind() != ErrorKind::NotFound => return Err(err).with_context(doubt),
        modules => modules.unwrap_or_default(),
    };
    if !view.exists("/proc/self").with_context(doubt)? || modules.is_empty() {
        bail!("{}: /proc or /sys is not mounted", doubt());
    }
    Ok(Some(Absent::seen(format!("none of the kernel's {} modules is {module}", modules.len()))))
}

/// Whether the kernel's own list of what is built into it has the module. Where
/// there is no list, nothing is known of any.
pub(crate) fn is_built_in(view: &View, module: &str) -> bool {
    let Ok(release) = view.read("/proc/sys/kernel/osrelease") else { return false };
    let list = format!("/lib/modules/{}/modules.builtin", release.trim());
    let end = format!("/{module}.ko");
    view.read(list).is_ok_and(|text| text.lines().any(|line| line.trim_end().ends_with(&end)))
}

/// The kernel has no such module, and none can be loaded into it.
#[derive(Debug)]
pub struct Lacking {
    pub(crate) module: String,
    pub(crate) reason: String,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this kernel has no {}: {}", self.module, self.reason)
    }
}

impl std::error::Error for Lacking {}

/// Loads the module, or says why that cannot be: it is [`Lacking`], or it is there
/// and could not be loaded now.
pub fn load(system: &System<'_>, module: &str) -> Result<()> {
    let state = system.read(format!("/sys/module/{module}/initstate")).unwrap_or_default();
    if state.trim() == "live" {
        return Ok(());
    }
    let done = system.change("modprobe", &[module])?;
    if done.success() {
        return Ok(());
    }
    let reason = done.reason();
    match is_offered(system, module) {
        Ok(false) => Err(Lacking { module: module.to_owned(), reason }.into()),
        _ => bail!("cannot load the module {module}: {reason}"),
    }
}

/// Whether modprobe would find it.
fn is_offered(view: &View, module: &str) -> Result<bool> {
    Ok(view.query("modprobe", &["--dry-run", "--quiet", module])?.success())
}

/// Fails where the module is not loaded and could not be.
pub fn can_load(view: &View, module: &str) -> Result<()> {
    if view.exists(format!("/sys/module/{module}"))? {
        return Ok(());
    }
    match is_offered(view, module)? {
        true => Ok(()),
        false => bail!("this kernel has no module {module}"),
    }
}
