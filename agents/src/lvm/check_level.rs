//! Monitors that read from the volumes.

use super::look::State;
use anyhow::Context;
use common::Plan;
use common::host::io_test;
use std::path::Path;

/// As many volumes are read from in each monitor; of more, others each time.
const FEW: usize = 4;

/// From level 10 on.
pub(super) fn try_out<'a>(state: &State, level: u32) -> Plan<'a> {
    let mut plan = Plan::new();
    if level < 10 {
        return plan;
    }
    let visible: Vec<_> = state.active.iter().filter(|volume| !volume.is_hidden()).collect();
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis() as usize);
    let first = now % visible.len().max(1);
    for volume in visible.iter().cycle().skip(first).take(FEW.min(visible.len())) {
        let Some(device) = volume.devices.first() else { continue };
        let node = Path::new("/dev").join(format!("dm-{}", device.minor));
        let name = volume.name.clone();
        plan.step(format!("read from {name} ({})", node.display()), move |system| {
            io_test::read_device(system, &node, system.deadline())
                .with_context(|| format!("cannot read from {name} ({})", node.display()))
        });
    }
    plan
}
