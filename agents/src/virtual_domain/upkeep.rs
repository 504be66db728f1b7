//! What a recurring monitor does besides looking: the scripts, the one resume
//! after an I/O error, and the cluster's figures of what the guest takes.

use super::VirtualDomain;
use super::config;
use super::look::State;
use super::record::Record;
use crate::utilization::{self, Figure};
use anyhow::{Context, Result};
use common::host::clock;
use common::host::libvirt::{self, Connection, Domain, Seen};
use common::{Plan, System, View};

impl VirtualDomain {
    /// Notes which guest it is, where it runs and that is not noted: its file may lie
    /// on what is not there tomorrow.
    pub(super) fn plan_note(&self, state: &State) -> Plan<'_> {
        let mut plan = Plan::new();
        if let Some(news) = state.news() {
            plan.step("note the guest", move |system| {
                // Without it the next look takes longer, and that is all.
                if let Err(err) = self.note(system, &news) {
                    system.warn(format_args!("{err:#}"));
                }
                Ok(())
            });
        }
        plan
    }

    pub(super) fn plan_upkeep<'a>(&'a self, view: &View, state: &State) -> Result<Plan<'a>> {
        let mut plan = self.plan_note(state);
        let Some(seen) = state.seen() else { return Ok(plan) };
        if state.is_to_be_resumed(self.params.on_io_error) {
            let seen = seen.clone();
            plan.step(format!("resume {} if its disks read", seen.identity), move |system| {
                if let Err(err) = self.resume(system, &seen) {
                    system.warn(format_args!("{} stays paused: {err:#}", seen.identity));
                }
                Ok(())
            });
            return Ok(plan);
        }
        if self.params.monitor_scripts.is_some() {
            plan.step("call the monitor scripts", |system| self.call_scripts(system));
        }
        if self.are_figures_stale(view, seen) {
            let seen = seen.clone();
            plan.step(format!("tell the cluster what {} takes", seen.identity), move |system| {
                if let Err(err) = self.tell_figures(system, &seen) {
                    system.warn(format_args!("the utilization stays as it is: {err:#}"));
                }
                Ok(())
            });
        }
        Ok(plan)
    }

    pub(super) fn call_scripts(&self, system: &System<'_>) -> Result<()> {
        let scripts = self.params.monitor_scripts.iter().flat_map(|scripts| &scripts.0);
        scripts.into_iter().try_for_each(|script| config::call(system, script))
    }

    /// Resumes the guest once all of its disks read. That it was is noted
    /// before: a second time would be one too many.
    fn resume(&self, system: &System<'_>, seen: &Seen) -> Result<()> {
        let definition = libvirt::definition(system, &seen.identity.name)?;
        for disk in definition.disks.iter().filter_map(|disk| disk.path.as_deref()) {
            config::reads(system, disk)?;
        }
        let domain = Domain::known(&seen.identity).context("its UUID is not known")?;
        let mut line = Connection::open(system, self.hypervisor(), libvirt::prompt(system))?;
        let resumed = Some(clock::since_boot().as_secs());
        self.note(system, &Record { resumed, ..Record::of(seen) })?;
        line.resume(system, &domain)?;
        system.info(format_args!("{}: its disks read again, and it was resumed", seen.identity));
        Ok(())
    }

    /// What the guest takes, as it was written last.
    pub(super) fn figures_record(&self) -> String {
        format!("VirtualDomain-{}.utilization", self.request.instance)
    }

    /// The attributes that are to be written: their names and values.
    fn figures(&self, vcpus: Option<u32>, memory: Option<u64>) -> Vec<Figure> {
        let params = &self.params;
        let vcpus = vcpus.map(u64::from);
        [
            ("cpu", params.autoset_utilization_cpu, params.unset_utilization_cpu, vcpus),
            (
                "host_memory",
                params.autoset_utilization_host_memory,
                params.unset_utilization_host_memory,
                memory,
            ),
            (
                "hv_memory",
                params.autoset_utilization_hv_memory,
                params.unset_utilization_hv_memory,
                memory,
            ),
        ]
        .into_iter()
        .filter_map(|(name, is_set, is_unset, value)| match (is_set, value) {
            (true, Some(value)) => Some((name, Some(value))),
            (false, _) if is_unset => Some((name, None)),
            _ => None,
        })
        .collect()
    }

    /// Whether the guest's definition may be another than the one of which the
    /// figures were written: libvirt's file of it is.
    fn are_figures_stale(&self, view: &View, seen: &Seen) -> bool {
        if !self.hypervisor().has_processes() || self.figures(Some(0), Some(0)).is_empty() {
            return false;
        }
        libvirt::status_file(view, &seen.identity.name)
            .is_some_and(|file| utilization::are_stale(view, &self.figures_record(), file))
    }

    fn tell_figures(&self, system: &System<'_>, seen: &Seen) -> Result<()> {
        let file = libvirt::status_file(system, &seen.identity.name).unwrap_or(0);
        let definition = libvirt::definition(system, &seen.identity.name)?;
        let figures = self.figures(definition.vcpus, definition.memory);
        utilization::tell(system, &self.request, &self.figures_record(), file, &figures)
    }
}
