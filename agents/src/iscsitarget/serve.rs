//! Making the targets, and taking them apart.
//!
//! To an initiator that lost its session, "there is no such target" is final,
//! while "not now" is not. So no address is listened at before all targets are
//! there, and a target goes only when no address is listened at any more.

use super::beside::Beside;
use super::disk;
use super::ietd::{self, Ietd, Mode, digest};
use super::{Iscsitarget, State};
use anyhow::{Context, Result};
use common::host::lio::build::{self, Model, NewStore};
use common::host::lio::{Lio, Store, Target, discovery};
use common::{Plan, System};

impl Iscsitarget {
    /// The steps that make and open the targets.
    pub(super) fn bring_up<'a>(&'a self, plan: &mut Plan<'a>, file: Ietd, beside: Beside) {
        let names: Vec<String> = file.targets.iter().map(|target| target.iqn.clone()).collect();
        let note = file.targets.iter().map(record_line).collect::<String>();
        plan.step(format!("note what is ours: {}", names.join(", ")), move |system| {
            system.write_record(&self.record_name(), &note)
        });
        plan.step("load the kernel's iSCSI target", build::load);
        for remark in file.ignored {
            plan.step(format!("pass over {remark}"), move |system| {
                system.warn(format_args!("{} {remark}", self.config.display()));
                Ok(())
            });
        }
        if let Some(incoming) = file.incoming {
            let outgoing = file.outgoing;
            plan.step("ask for a user and a password at discovery", move |system| {
                system.write_record(&self.discovery_record_name(), "guarded\n")?;
                discovery::guard(system, &incoming, outgoing.as_ref())
            });
        }
        for target in file.targets {
            let luns: Vec<String> = target
                .luns
                .iter()
                .map(|lun| format!("LUN {} of {}", lun.number, lun.path))
                .collect();
            let what = format!("make target {} with {}", target.iqn, luns.join(", "));
            plan.step(what, move |system| self.make(system, &target));
        }
        let portals = beside.portals();
        let listeners = names.clone();
        plan.step(format!("listen at {}", portals.join(" or at ")), move |system| {
            listeners.iter().try_for_each(|iqn| listen(system, iqn, &portals))
        });
        plan.step(format!("open {}", names.join(", ")), move |system| {
            names.iter().try_for_each(|iqn| build::open(system, iqn, true))
        });
    }

    fn make(&self, system: &System<'_>, target: &ietd::Target) -> Result<()> {
        let iqn = &target.iqn;
        build::target(system, iqn)?;
        for lun in &target.luns {
            let store = build::store(system, &self.wanted(system, iqn, lun)?, |_| Ok(()))
                .with_context(|| format!("line {}", lun.line))?;
            build::lun(system, iqn, lun.number, &store, &self.mark)?;
        }
        for (name, value) in &target.parameters {
            build::parameter(system, iqn, name, value)?;
        }
        build::ask(system, iqn, target.incoming.as_ref(), target.outgoing.as_ref())?;
        build::admit_all(system, iqn, true)
    }

    fn wanted(&self, system: &System<'_>, iqn: &str, lun: &ietd::Lun) -> Result<NewStore> {
        let kind = disk::kind(system, lun)?;
        Ok(NewStore {
            name: format!("{}-{:08x}-{}", self.mark, digest(iqn) as u32, lun.number),
            kind,
            path: lun.path.clone(),
            is_read_only: lun.mode == Mode::ReadOnly,
            serial: lun.serial(iqn),
            vendor: Some("IET".into()),
            model: Model::Named("VIRTUAL-DISK".into()),
            block_size: lun.block_size,
            attributes: Vec::new(),
            maker: None,
        })
    }

    /// The steps that end and remove what there is of ours.
    pub(super) fn take_down<'a>(&'a self, plan: &mut Plan<'a>, from: &State) {
        let names: Vec<String> = from.found.iter().map(|target| target.iqn.clone()).collect();
        if !names.is_empty() {
            let all = names.join(", ");
            let closed = names.clone();
            plan.step(format!("close {all}, which ends its sessions"), move |system| {
                closed.iter().try_for_each(|iqn| build::open(system, iqn, false))?;
                closed.iter().try_for_each(|iqn| build::until_alone(system, iqn))
            });
            plan.step(format!("listen at no address for {all}"), move |system| {
                names.iter().try_for_each(|iqn| build::remove_portals(system, iqn))
            });
        }
        let stores = |target: &Target| -> Vec<Store> {
            target.luns.iter().filter_map(|lun| Some(lun.store.as_ref()?.1.clone())).collect()
        };
        for target in &from.found {
            let (iqn, stores) = (target.iqn.clone(), stores(target));
            plan.step(format!("remove target {iqn}"), move |system| {
                build::remove_target(system, &iqn)?;
                stores.iter().try_for_each(|store| build::remove_store(system, store))
            });
        }
        for store in from.loose.clone() {
            plan.step(format!("remove store {}", store.name), move |system| {
                build::remove_store(system, &store)
            });
        }
        if !from.noted.is_empty() || from.is_damaged {
            plan.step("forget what was noted", |system| self.forget(system));
        }
    }

    /// Once nothing of ours is there any more.
    fn forget(&self, system: &System<'_>) -> Result<()> {
        if !matches!(system.record_text(&self.discovery_record_name()), Ok(None)) {
            if Lio::open(system)?.is_ok() {
                discovery::open(system)?;
            }
            system.remove_record(&self.discovery_record_name())?;
        }
        match common::Agent::observe(self, system)?.absent {
            Some(_) => system.remove_record(&self.record_name()),
            None => Ok(()),
        }
    }

    fn discovery_record_name(&self) -> String {
        format!("{}.discovery", self.record_name())
    }
}

/// At the first of the places that this host has.
fn listen(system: &System<'_>, iqn: &str, portals: &[String]) -> Result<()> {
    let mut refused = None;
    for portal in portals {
        match build::portal(system, iqn, portal) {
            Ok(()) => return Ok(()),
            Err(err) => refused = Some(err),
        }
    }
    refused.map_or(Ok(()), Err).with_context(|| format!("{iqn} cannot listen"))
}

fn record_line(target: &ietd::Target) -> String {
    let luns: String = target.luns.iter().map(|lun| format!(" {}", lun.number)).collect();
    format!("{}{luns}\n", target.iqn)
}
