//! What the agents of the kernel's own targets do before they look.

use common::host::configfs::{self, ROOT};
use common::{Plan, View};

/// Mounts configfs where the module is in the kernel and nobody has done so, as
/// on a machine without systemd: whatever the module serves cannot be seen.
pub(crate) fn mount<'a>(view: &View, module: &str) -> Plan<'a> {
    let mut plan = Plan::new();
    if configfs::is_covered(view, module) {
        plan.step(format!("mount configfs on {ROOT}"), configfs::mount);
    }
    plan
}
