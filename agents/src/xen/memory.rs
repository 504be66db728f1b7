//! What guests take of the machine: memory that is shared out among them, and the
//! cluster's figures.

use super::{State, Xen};
use crate::domains::Found;
use crate::utilization::{self, Figure};
use anyhow::{Context, Result};
use common::host::xen::{self, Guest};
use common::{Plan, System, View};

impl Xen {
    /// Shares the machine's memory out among the guests, one that is to come with
    /// them; the share of each, where memory is shared out at all.
    pub(super) fn share(&self, system: &System<'_>, coming: Option<&Guest>) -> Result<Option<u64>> {
        if !self.params.allow_mem_management {
            return Ok(None);
        }
        let domains = xen::domains(system)?;
        let here = domains.iter().filter(|one| coming.is_none_or(|guest| !one.is(guest)));
        let here: Vec<u32> = here.map(|domain| domain.id).collect();
        let guests = here.len() as u64 + u64::from(coming.is_some());
        let (total, reserved) = (xen::total_memory(system)?, self.params.reserved_Dom0_memory);
        let Some(share) = share(total, reserved, guests) else { return Ok(None) };
        let share = share.with_context(|| {
            format!("of {total} MiB nothing is left for {guests} guests, with {reserved} reserved")
        })?;
        system.info(format_args!("{share} MiB of memory for each of {guests} guests"));
        for id in here {
            if let Err(err) = xen::set_memory(system, id, share) {
                system.warn(format_args!("{err:#}"));
            }
        }
        Ok(Some(share))
    }

    /// The same among those that are left. It is no reason to fail.
    pub(super) fn plan_sharing<'a>(&'a self, plan: &mut Plan<'a>) {
        if self.params.allow_mem_management {
            plan.step("share the memory out among the guests", |system| {
                if let Err(err) = self.share(system, None) {
                    system.warn(format_args!("{err:#}"));
                }
                Ok(())
            });
        }
    }

    /// Tells the cluster what the guest takes, where that has changed.
    pub(super) fn plan_figures<'a>(&'a self, view: &View, plan: &mut Plan<'a>, state: &State) {
        let params = &self.params;
        if !params.autoset_utilization_cpu && !params.autoset_utilization_hv_memory {
            return;
        }
        let noted = state.noted();
        let id = state.found.iter().find_map(|one: &Found| one.domain_id(&noted));
        let size = match id.map(|id| xen::size(view, id)).transpose() {
            Ok(Some(Some(size))) => size,
            Ok(_) => return,
            Err(err) => return view.warn(format_args!("{err:#}")),
        };
        let source = size.vcpus << 40 | size.memory;
        let record = format!("Xen-{}.utilization", self.request.instance);
        if !utilization::are_stale(view, &record, source) {
            return;
        }
        let figures: Vec<Figure> = [
            ("cpu", params.autoset_utilization_cpu, size.vcpus),
            ("hv_memory", params.autoset_utilization_hv_memory, size.memory),
        ]
        .into_iter()
        .filter_map(|(name, is_set, value)| is_set.then_some((name, Some(value))))
        .collect();
        plan.step("tell the cluster what it takes", move |system| {
            if let Err(err) = utilization::tell(system, &self.request, &record, source, &figures) {
                system.warn(format_args!("the utilization stays as it is: {err:#}"));
            }
            Ok(())
        });
    }
}

/// The share of each; nothing where there is no guest, and nothing in it where
/// nothing is left for them.
fn share(total: u64, reserved: u64, guests: u64) -> Option<Option<u64>> {
    let left = total.saturating_sub(reserved);
    let each = left.checked_div(guests)?;
    Some((each > 0).then_some(each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_out_evenly() {
        assert_eq!(share(4096, 512, 2), Some(Some(1792)));
        assert_eq!(share(4096, 512, 0), None);
        assert_eq!(share(400, 512, 1), Some(None));
    }
}
