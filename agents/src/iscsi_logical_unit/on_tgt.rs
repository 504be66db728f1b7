//! The same on tgt, where it is asked for.
//!
//! A LUN is known as ours by its number in its target and what start has told
//! tgtd: the path, or the serial number. tgtd opens the path once. Which device
//! that was it does not tell, so that a path which means another one by now is
//! not noticed.

use super::ISCSILogicalUnit;
use crate::iscsi::check_for_tgt;
use anyhow::{Result, bail};
use common::host::io_test;
use common::host::lio::build;
use common::host::tgt::change::{self, DEVICE_TYPES, NewLun};
use common::host::tgt::{self, Lun, Target};
use common::{Absent, Fact, Plan, Role, Status, View, configured, installed, unless_silent};

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Whether its target is there.
    has_target: bool,
    /// The LUN of our number, if it is ours.
    lun: Option<Lun>,
    /// The LUN of our number, if it is somebody else's.
    rival: Option<Lun>,
    /// A LUN that clients would take for ours: its target and its number.
    double: Option<(String, u64)>,
    absent: Option<Absent>,
}

/// How tgtd reaches what it serves where the path is none of a file.
const NOT_PATHS: &[&str] = &["rbd", "glfs", "sheepdog", "null"];

impl ISCSILogicalUnit {
    pub(super) fn is_tgt(&self) -> bool {
        self.params.implementation.is_tgt()
    }

    pub(super) fn observe_tgt(&self, view: &View) -> Result<Seen> {
        let targets = match tgt::targets(view)? {
            Ok(targets) => targets,
            Err(absent) => return Ok(Seen { absent: Some(absent), ..Seen::default() }),
        };
        let mut seen = Seen::default();
        let ours = &self.params.target_iqn.0;
        let (id, serial) = (self.scsi_id(), self.serial());
        for target in targets.iter() {
            let is_target = target.is_called(ours);
            seen.has_target |= is_target;
            for lun in &target.luns {
                if is_target && lun.number == self.params.lun {
                    let place = if self.has_made(lun) { &mut seen.lun } else { &mut seen.rival };
                    *place = Some(lun.clone());
                } else if lun.id == id || lun.serial == serial {
                    seen.double = Some((target.iqn.clone(), lun.number));
                }
            }
        }
        let is_ours = |target: &Target| {
            let is_lun = |lun: &Lun| lun.number == self.params.lun && self.has_made(lun);
            target.is_called(ours) && target.luns.iter().any(is_lun)
        };
        seen.absent = targets.lacks(is_ours);
        Ok(seen)
    }

    /// Whether a start of ours has made it, by what it has told tgtd.
    fn has_made(&self, lun: &Lun) -> bool {
        let is_path =
            lun.path.as_deref() == self.params.path.as_ref().and_then(|path| path.to_str());
        lun.serial == self.serial() || (lun.path.is_some() && is_path)
    }

    pub(super) fn status_tgt(&self, seen: &Seen) -> Status {
        match (&seen.absent, &seen.lun) {
            (Some(absent), _) => Status::Stopped(absent.clone()),
            (None, Some(lun)) => match self.fault_tgt(lun) {
                Some(fault) => Status::Failed(Role::Started, fault),
                None => Status::Running(Role::Started),
            },
            (None, None) => Status::Failed(Role::Started, format!("{} is in doubt", self.lun())),
        }
    }

    /// What is not as a start has left it.
    fn fault_tgt(&self, lun: &Lun) -> Option<String> {
        let shown = self.lun();
        let path = self.path.to_string_lossy();
        match lun.path.as_deref() {
            None => return Some(format!("{shown} shows nothing")),
            Some(served) if served != path && self.params.path.is_some() => {
                return Some(format!("{shown} shows {served}, not {path}"));
            }
            Some(_) => {}
        }
        if !lun.is_online {
            return Some(format!("{shown} is offline in tgtd"));
        }
        let told =
            [("serial number", &lun.serial, self.serial()), ("identity", &lun.id, self.scsi_id())];
        let other = told.iter().find(|(_, found, wanted)| *found != wanted);
        other.map(|(what, found, wanted)| {
            format!("{shown} tells clients the {what} {found:?} instead of {wanted:?}")
        })
    }

    /// As the shell agent makes it, so that the names that clients have for the
    /// disk stay.
    fn scsi_id(&self) -> String {
        let made = || self.resource.chars().take(16).collect();
        self.params.scsi_id.clone().filter(|id| !id.is_empty()).unwrap_or_else(made)
    }

    pub(super) fn start_tgt<'a>(&'a self, view: &View, seen: &Seen) -> Result<Plan<'a>> {
        self.suits_tgt(view)?;
        let iqn = &self.params.target_iqn.0;
        if !seen.has_target {
            bail!("there is no target {iqn}: its iSCSITarget has to be started first");
        }
        if let Some(rival) = &seen.rival {
            bail!(
                "{} shows {} of somebody else's: choose another number, or remove that",
                self.lun(),
                rival.path.as_deref().unwrap_or("nothing")
            );
        }
        if let Some((target, number)) = &seen.double {
            return Err(configured(format!(
                "LUN {number} of {target} has the serial number {} or the identity {}, and \
                 clients would take this disk for the same: set another scsi_sn and scsi_id",
                self.serial(),
                self.scsi_id()
            )));
        }
        let mut plan = Plan::new();
        let number = self.params.lun;
        let fits = |lun: &Lun| lun.path.as_deref() == self.path.to_str() && lun.is_online;
        if !seen.lun.as_ref().is_some_and(fits) {
            self.remove_tgt(&mut plan, seen);
            if self.is_path() {
                plan.step(format!("see that nobody else uses {}", self.path.display()), |system| {
                    // tgtd opens what is mounted as well.
                    match io_test::is_released(system, &self.path, system.deadline())? {
                        true => Ok(()),
                        false => bail!(
                            "{} is in use: it is mounted, or another device lies on it",
                            self.path.display()
                        ),
                    }
                });
            }
            let lun = self.wanted_tgt();
            plan.step(format!("open {} as {}", self.path.display(), self.lun()), move |system| {
                change::lun(system, iqn, &lun)
            });
        }
        let fields = self.identity_tgt();
        let shown: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        plan.step(format!("tell clients {}", shown.join(", ")), move |system| {
            change::identity(system, iqn, number, &fields)
        });
        Ok(plan)
    }

    fn wanted_tgt(&self) -> NewLun {
        let params = &self.params;
        let store = params.tgt_bstype.clone();
        // A store that has nothing but direct access does not take it as an option.
        let is_direct = store.as_deref() == Some("aio");
        let flags = params.tgt_bsoflags.clone().filter(|flags| !(is_direct && flags == "direct"));
        let options = [
            ("bstype", store),
            ("bsoflags", flags),
            ("bsopts", params.tgt_bsopts.clone()),
            ("blocksize", params.block_size.map(|size| size.to_string())),
        ];
        NewLun {
            number: params.lun,
            path: self.path.to_string_lossy().into_owned(),
            device_type: self.device_type().unwrap_or(0),
            options: options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        }
    }

    /// Whether what is served is a file or a device.
    fn is_path(&self) -> bool {
        !NOT_PATHS.contains(&self.params.tgt_bstype.as_deref().unwrap_or_default())
    }

    fn device_type(&self) -> Option<u32> {
        let Some(wanted) = &self.params.tgt_device_type else { return Some(0) };
        DEVICE_TYPES.iter().find(|(word, _)| word == wanted).map(|(_, number)| *number)
    }

    fn identity_tgt(&self) -> Vec<(String, String)> {
        let params = &self.params;
        let fields = [
            ("scsi_id", Some(self.scsi_id())),
            ("scsi_sn", Some(self.serial())),
            ("vendor_id", params.vendor_id.clone()),
            ("product_id", params.product_id.clone()),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
        let further = params.additional_parameters.iter().flat_map(|list| list.0.clone());
        fields.chain(further).collect()
    }

    pub(super) fn stop_tgt<'a>(&'a self, seen: &Seen) -> Plan<'a> {
        let mut plan = Plan::new();
        self.remove_tgt(&mut plan, seen);
        plan
    }

    fn remove_tgt<'a>(&'a self, plan: &mut Plan<'a>, seen: &Seen) {
        let Some(lun) = seen.lun.clone() else { return };
        plan.step(format!("remove {}", self.lun()), move |system| {
            change::remove_lun(system, &self.params.target_iqn.0, &lun)
        });
    }

    pub(super) fn facts_tgt(&self, seen: &Seen) -> Vec<Fact> {
        let shown = |lun: &Lun| {
            format!(
                "{} is {} ({}), serial number {}",
                self.lun(),
                lun.path.as_deref().unwrap_or("empty"),
                lun.store,
                lun.serial
            )
        };
        let ours = seen.lun.iter().map(|lun| Fact::new("disk", shown(lun)));
        ours.chain(seen.rival.iter().map(|lun| Fact::new("somebody else's", shown(lun)))).collect()
    }

    pub(super) fn validate_for_tgt(&self) -> Result<()> {
        let params = &self.params;
        let wrong = |name: &str, what: &str| Err(configured(format!("parameter {name} {what}")));
        if params.lun == 0 {
            return wrong("lun", "is 0, which tgtd keeps for each target itself: count from 1");
        }
        if self.device_type().is_none() {
            let words: Vec<&str> = DEVICE_TYPES.iter().map(|(word, _)| *word).collect();
            return wrong("tgt_device_type", &format!("is none of {}", words.join(", ")));
        }
        // They are cut off in silence.
        for (name, text, longest) in
            [("scsi_id", self.scsi_id(), 36), ("scsi_sn", self.serial(), 36)]
        {
            if text.len() > longest {
                return wrong(name, &format!("takes up to {longest} letters with tgt"));
            }
        }
        let path = self.path.to_string_lossy();
        let values = [
            ("path", Some(path.as_ref())),
            ("scsi_id", params.scsi_id.as_deref()),
            ("scsi_sn", params.scsi_sn.as_deref()),
            ("vendor_id", params.vendor_id.as_deref()),
            ("product_id", params.product_id.as_deref()),
            ("tgt_bstype", params.tgt_bstype.as_deref()),
            ("tgt_bsoflags", params.tgt_bsoflags.as_deref()),
            ("tgt_bsopts", params.tgt_bsopts.as_deref()),
        ];
        check_for_tgt(values.into_iter().filter_map(|(name, value)| Some((name, value?))))?;
        let settings = params.additional_parameters.iter().flat_map(|list| &list.0);
        check_for_tgt(settings.map(|(_, value)| ("additional_parameters", value.as_str())))
    }

    pub(super) fn suits_tgt(&self, view: &View) -> Result<()> {
        crate::iscsi::suits_tgt(view)?;
        if !self.is_path() {
            return Ok(());
        }
        build::kind_of(view, &self.path).map(drop).map_err(|err| unless_silent(err, installed))
    }
}
