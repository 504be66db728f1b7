//! Making the store and showing it.

use super::{ACLS, Backstore, Found, ISCSILogicalUnit, ISCSILogicalUnitParams, MAKER};
use crate::iscsi::DISK;
use anyhow::{Context, Result, bail};
use common::host::lio::build::{self, Attribute, Kind, Model, NewStore};
use common::host::lio::{Lio, acl, name, reservation};
use common::{Plan, System, View, configured, installed, unless_silent};
use md5::{Digest, Md5};
use std::path::Path;

impl ISCSILogicalUnit {
    pub(super) fn plan_start<'a>(&'a self, view: &View, from: &Found) -> Result<Plan<'a>> {
        let iqn = self.check_target(view)?;
        if let Some(rival) = &from.rival {
            bail!(
                "{} shows store {}/{} of somebody else's: choose another number, or remove that",
                self.lun(),
                rival.adapter,
                rival.name
            );
        }
        let mut plan = Plan::new();
        if !from.is_shown() {
            self.plan_store(view, from, &iqn, &mut plan)?;
        }
        plan.step(format!("let initiators see {}", self.lun()), move |system| {
            self.show_to_initiators(system, &iqn)
        });
        Ok(plan)
    }

    fn check_target(&self, view: &View) -> Result<String> {
        let wanted = &self.params.target_iqn.0;
        if let Ok(lio) = Lio::open(view)? {
            let iqn = self.iqn(&lio)?;
            if lio.group(&iqn)?.flatten().is_some() {
                return Ok(iqn);
            }
        }
        bail!("there is no target {wanted}: its iSCSITarget has to be started first")
    }

    fn plan_store<'a>(
        &'a self,
        view: &View,
        from: &Found,
        iqn: &str,
        plan: &mut Plan<'a>,
    ) -> Result<()> {
        let wanted = self.wanted(view)?;
        self.check_identity(view, from, &wanted)?;
        self.clear_away(plan, from);
        if self.params.write_cache == 1 && wanted.kind != Kind::BufferedFile {
            plan.step("pass over write_cache, which is for fileio", |system| {
                system.warn(format_args!("write_cache is for liot_bstype=fileio; ignored"));
                Ok(())
            });
        }
        let path = self.path.display();
        let serial = wanted.serial.clone();
        plan.step(format!("open {path} as store {}", self.name), move |system| {
            let note = |adapter: &str| system.write_record(&self.record_name(), adapter);
            *self.made.borrow_mut() = Some(build::store(system, &wanted, note)?);
            Ok(())
        });
        if self.params.liot_bstype != Backstore::Pscsi {
            let file = reservation::file(view, &serial);
            plan.step(format!("restore reservations that {file} has"), move |system| {
                let replayed = reservation::replay(system, &self.made()?, &serial)?;
                if replayed > 0 {
                    system.info(format_args!("{replayed} registrations restored from {file}"));
                }
                Ok(())
            });
        }
        let iqn = iqn.to_owned();
        plan.step(format!("show it as {}", self.lun()), move |system| {
            build::lun(system, &iqn, self.params.lun, &self.made()?, DISK)
        });
        Ok(())
    }

    fn made(&self) -> Result<common::host::lio::Store> {
        self.made.borrow().clone().context("the store has not been made")
    }

    /// Initiators that are named, or else all that the target lists.
    fn show_to_initiators(&self, system: &System<'_>, iqn: &str) -> Result<()> {
        let _alone = system.hold(ACLS)?;
        let listed;
        let whom = match &self.params.allowed_initiators {
            Some(named) => {
                for initiator in &named.names {
                    acl::admit_as_target(system, iqn, initiator, MAKER)?;
                }
                &named.names
            }
            None => {
                listed = acl::initiators(system, iqn)?;
                &listed
            }
        };
        whom.iter().try_for_each(|initiator| acl::show(system, iqn, initiator, self.params.lun))
    }

    fn wanted(&self, view: &View) -> Result<NewStore> {
        let params = &self.params;
        let given = |name: &str, value: Option<u8>, is_optional| {
            let value = value?.to_string();
            Some(Attribute { name: name.into(), value, is_optional })
        };
        let switches = [
            given("emulate_tpu", params.emulate_tpu, true),
            given("emulate_3pc", params.emulate_3pc, false),
            given("emulate_caw", params.emulate_caw, false),
        ];
        let further = params.additional_parameters.iter().flat_map(|list| &list.0);
        let further = further.map(|(name, value)| {
            Some(Attribute { name: name.clone(), value: value.clone(), is_optional: false })
        });
        Ok(NewStore {
            name: self.name.clone(),
            kind: self.kind(view)?,
            path: self.path.to_string_lossy().into_owned(),
            is_read_only: false,
            serial: self.serial(),
            vendor: params.vendor_id.clone(),
            model: params.product_id.clone().map_or(Model::Store, Model::Named),
            block_size: params.block_size,
            attributes: switches.into_iter().chain(further).flatten().collect(),
            maker: Some(self.mark.clone()),
        })
    }

    /// As the shell agent makes it, so that the names that clients have for the
    /// disk stay.
    pub(super) fn serial(&self) -> String {
        let made =
            || Md5::digest(&self.resource)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        self.params.scsi_sn.clone().unwrap_or_else(made)
    }

    /// Fails where another disk that is served has the same identity.
    fn check_identity(&self, view: &View, from: &Found, wanted: &NewStore) -> Result<()> {
        if wanted.kind == Kind::Passthrough {
            return Ok(());
        }
        let Ok(lio) = Lio::open(view)? else { return Ok(()) };
        let identity = name::identity(&wanted.serial);
        for store in lio.stores()?.iter().filter(|store| !from.loose.contains(store)) {
            // One that has no number yet is about to be made.
            let Ok(serial) = lio.serial(store) else { continue };
            if !serial.is_empty() && name::identity(&serial) == identity {
                return Err(configured(format!(
                    "store {}/{} has the serial number {serial}, and clients would take this disk, \
                     with {}, for the same: set another scsi_sn",
                    store.adapter, store.name, wanted.serial
                )));
            }
        }
        Ok(())
    }
}

/// How LIO is to reach the disk.
pub(super) fn kind(view: &View, params: &ISCSILogicalUnitParams, path: &Path) -> Result<Kind> {
    let shown = path.display();
    let found = build::kind_of(view, path).map_err(|err| unless_silent(err, installed))?;
    match (params.liot_bstype, found) {
        (Backstore::Block, Kind::Block) => Ok(Kind::Block),
        (Backstore::Pscsi, Kind::Block) => Ok(Kind::Passthrough),
        (Backstore::Fileio, _) if params.write_cache == 1 => Ok(Kind::BufferedFile),
        (Backstore::Fileio, _) => Ok(Kind::File),
        (Backstore::Block, _) => {
            Err(installed(format!("{shown} is a file: set liot_bstype=fileio to serve it")))
        }
        (Backstore::Pscsi, _) => {
            Err(installed(format!("{shown} is a file, and liot_bstype=pscsi is for SCSI disks")))
        }
    }
}
