//! `iSCSILogicalUnit`: a disk that an iSCSI target of the kernel's LIO shows; or of
//! tgt, where that is asked for (`on_tgt.rs`).
//!
//! What start has made is known by what nobody can change: the number of the LUN
//! in its target, and the text that start leaves in the store. The path of the
//! device is only told to LIO and opened once. A volume that has been renamed
//! since is still served, and where another one has taken its name the monitor
//! says so.
//!
//! The shell agent takes a disk whose path is gone for stopped, while LIO still
//! has the device open; and a store that a start has left behind makes every
//! later start fail.

mod on_tgt;
mod start;

use crate::covered;
use crate::iscsi::{DISK, Implementation, Initiators, Iqn, Settings};
use anyhow::Result;
use common::host::lio::build::{self, Kind};
use common::host::lio::{self, Backing, Lio, Lun, Store, acl};
use common::host::tasks::Tasks;
use common::host::{block, configfs};
use common::{
    Absent, Agent, Extras, Fact, Plan, Request, Role, Status, View, configured, file_name,
};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words, choices, params};
use std::cell::RefCell;
use std::path::PathBuf;

choices! {
    /// How LIO reaches the disk.
    pub enum Backstore {
        /// As a block device.
        Block = "block",
        /// As a file.
        Fileio = "fileio",
        /// By handing commands through to it.
        Pscsi = "pscsi",
    }
}

choices! {
    /// What SCST would use.
    pub enum ScstType {
        /// Its default.
        Blockio = "vdisk_blockio",
        /// By way of the page cache.
        Fileio = "vdisk_fileio",
    }
}

params! {
    /// What the agent is given.
    pub struct ISCSILogicalUnitParams {
        /// Name of the target.
        ///
        /// That of the iSCSITarget resource.
        [required, names, position = 1] target_iqn: Iqn,
        /// Number of the LUN.
        ///
        /// From 0 to 16383; for tgt from 1.
        [required, names, position = 2] lun: u64,
        /// Block device or file to serve.
        ///
        /// A file needs liot_bstype=fileio, but for tgt.
        [required, position = 3] path: Option<PathBuf>,
        /// Serial number of the disk.
        ///
        /// What clients know it by, on whichever node it is: their names for the disk are made of its hexadecimal digits, so no two disks may have the same. By default the first 8 digits of the MD5 sum of the resource's name.
        [unique] scsi_sn: Option<String>,
        /// Identity of the disk in tgt.
        ///
        /// By default the first 16 letters of the resource's name. LIO has no such field.
        [unique] scsi_id: Option<String>,
        /// Vendor that the disk says it is of.
        ///
        /// Up to 8 letters. By default LIO-ORG. Part of some of the names that clients have for it.
        [] vendor_id: Option<String>,
        /// Model that the disk says it is.
        ///
        /// Up to 16 letters. By default the first 15 letters of the resource's name.
        [] product_id: Option<String>,
        /// Initiators that see the disk.
        ///
        /// Their names, with blanks between them, for a target that does not admit everyone. By default all that are listed in the target.
        [] allowed_initiators: Option<Initiators>,
        /// How the disk is reached.
        ///
        /// block passes the page cache by; fileio serves a file, or a device by way of the page cache; pscsi hands commands through to a SCSI disk, with that disk's own identity.
        [] liot_bstype: Backstore = "block",
        /// Whether what is in this node's memory counts as written.
        ///
        /// For fileio: 0 or 1. With 1 a client that does not ask for it to be flushed loses what it was told is written, when the node fails.
        [] write_cache: u8 = "0",
        /// Bytes in a block.
        ///
        /// 512, 1024, 2048 or 4096. By default those of the device, and 512 for a file.
        [] block_size: Option<u32>,
        /// Whether clients may discard blocks.
        ///
        /// SCSI UNMAP: 0 or 1. A device that cannot do it is served all the same, and the log says so.
        [] emulate_tpu: Option<u8>,
        /// Whether clients may have blocks copied on the target.
        ///
        /// SCSI EXTENDED COPY: 0 or 1.
        [] emulate_3pc: Option<u8>,
        /// Whether clients may compare and write in one.
        ///
        /// SCSI COMPARE AND WRITE: 0 or 1.
        [] emulate_caw: Option<u8>,
        /// Further settings of the disk.
        ///
        /// As name=value, with blanks between them: the names are those of the files that LIO has for a disk below attrib. What it does not have is passed over, and the log says so.
        [] additional_parameters: Option<Settings>,
        /// Which target.
        ///
        /// lio-t is the kernel's LIO, and lio the same; tgt is the program tgtd.
        [] implementation: Implementation = "lio-t",
        /// Taken and not used: a number that is free is found.
        [] lio_iblock: u32 = "0",
        /// How tgtd reaches the disk.
        ///
        /// rdwr, aio, sg and others that tgtd was built with. By default rdwr, by way of the page cache: a client is told that there is a cache, and has it flushed.
        [] tgt_bstype: Option<String>,
        /// Flags with which tgtd opens it.
        ///
        /// direct or sync. direct is passed over for aio, which has nothing else.
        [] tgt_bsoflags: Option<String>,
        /// Options of how tgtd reaches it.
        [] tgt_bsopts: Option<String>,
        /// What tgtd shows it as.
        ///
        /// disk, cd, tape, changer, osd, or pt to hand commands through.
        [] tgt_device_type: Option<String>,
        /// Taken and not used: for SCST.
        [] scst_bstype: ScstType = "vdisk_blockio",
    }
}

static META: Meta = Meta {
    name: "iSCSILogicalUnit",
    shortdesc: "A disk of an iSCSI target of the kernel's LIO, or of tgt",
    longdesc: "Serves a block device or a file as a disk (a LUN) of an iSCSI target. The target is a resource of the agent iSCSITarget, whose manual says how they are grouped, with portblock around them.\n\n\
        What clients know the disk by is the same on each node, and the same as with the shell agent: the serial number and the model follow from the resource's name unless they are set. So names below /dev/disk/by-id stay when the provider is changed. Two disks of one identity would be taken for two ways to one disk, and written to from both: a start refuses that.\n\n\
        Reservations that clients have asked to be kept over a loss of power are read from where the kernel keeps them, /var/target/pr or pr below what dbroot says, before the disk is shown. To have them on the other node as well, let that directory be a link onto the volume that moves.\n\n\
        A stop needs neither the target nor the device. It waits for what is under way on this disk, and leaves the target's other disks alone.",
    params: ISCSILogicalUnitParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(20),
        STOP.timeout(20),
        MONITOR.timeout(20).every(10),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "p_lun1 ocf:sturdy:iSCSILogicalUnit params target_iqn=iqn.2001-04.com.example:storage lun=1 path=/dev/drbd1",
        haresources: "iSCSILogicalUnit::iqn.2001-04.com.example:storage::1::/dev/drbd1",
        by_hand: "iqn.2001-04.com.example:storage 1 /dev/drbd1 start",
    },
    differences: &[
        "implementation unset means LIO, whatever programs are installed; iet and scst are refused by a start, with code 6.",
        "No program is called, tgtadm neither. targetcli may be used beside it; the lock under which it numbers its stores is held.",
        "A disk whose path is gone still runs as long as LIO shows it, and is taken down by a stop; the shell agent takes it for stopped.",
        "A path that leads to another device than the one that is served is reported (code 190, or the log).",
        "A start clears away what an earlier one has left half made.",
        "A disk with the identity of another one that is served is refused.",
        "Every initiator that is listed in the target, or in allowed_initiators, sees the disk; the shell agent shows an initiator no second disk.",
        "An initiator that allowed_initiators adds to a target with a password is asked for the same one.",
        "vendor_id is said where the kernel can be told (Linux 5.0); the shell agent passes it over with LIO. additional_parameters are set.",
        "With tgt, a LUN is known by its target, its number and what it shows; the shell agent takes any LUN of any target with that path for it. One whose path is gone runs as long as tgtd shows it. Which device tgtd has opened it does not tell. write_cache, allowed_initiators and emulate_ parameters are for LIO, and passed over.",
        "scsi_sn set empty means the default. There is no action reload.",
    ],
};

/// One disk of a target.
pub struct ISCSILogicalUnit {
    params: ISCSILogicalUnitParams,
    /// What is served; empty where a stop is not told.
    path: PathBuf,
    /// The resource's name.
    resource: String,
    /// What its store is called.
    name: String,
    /// What is left in the store. By what is served and not by the instance:
    /// whoever stops it may call it by another name than whoever has started it.
    mark: String,
    made: RefCell<Option<Store>>,
}

/// What was seen.
#[derive(Debug)]
pub enum State {
    /// In LIO.
    Lio(Found),
    /// In tgt.
    Tgt(on_tgt::Seen),
}

/// What was seen in LIO.
#[derive(Debug, Default)]
pub struct Found {
    /// The LUN of our number, if it is ours or nobody's.
    lun: Option<Lun>,
    /// What it has open.
    backing: Option<Backing>,
    /// What is wrong with what is shown.
    fault: Option<String>,
    /// What the path means now, where that is another device.
    moved: Option<String>,
    /// The store that our LUN shows for somebody else.
    rival: Option<Store>,
    /// Stores of ours that nothing shows.
    loose: Vec<Store>,
    /// The adapter that a start was to make, if it has no store.
    bare: Option<String>,
    /// Whether there is a record of it.
    has_record: bool,
    /// Initiators that see nothing any more, and were listed for a disk's sake.
    /// Nothing is open for them.
    idle: Vec<String>,
    absent: Option<Absent>,
}

impl Agent for ISCSILogicalUnit {
    const META: &'static Meta = &META;
    type Params = ISCSILogicalUnitParams;
    type State = State;

    fn new(params: ISCSILogicalUnitParams, request: &Request) -> Result<Self> {
        let resource = request.resource.clone();
        // It becomes the name of a directory.
        let name = match resource.contains('/') || resource.len() > 200 {
            true => file_name(&resource),
            false => resource.clone(),
        };
        let mark = format!("{MAKER} {} {}", params.target_iqn.0, params.lun);
        let path = params.path.clone().unwrap_or_default();
        Ok(Self { params, path, resource, name, mark, made: RefCell::default() })
    }

    fn observe(&self, view: &View) -> Result<State> {
        if self.is_tgt() {
            return self.observe_tgt(view).map(State::Tgt);
        }
        let lio = match Lio::open(view)? {
            Ok(lio) => lio,
            Err(absent) => {
                return Ok(State::Lio(Found { absent: Some(absent), ..Found::default() }));
            }
        };
        let mut state = Found::default();
        let iqn = self.iqn(&lio)?;
        if let Some(lun) = lio.lun(&iqn, self.params.lun, DISK)? {
            self.take_lun(view, &lio, &iqn, lun, &mut state)?;
        }
        if state.is_shown() {
            return Ok(State::Lio(state));
        }
        state.idle = acl::idle(view, &iqn, MAKER)?;
        self.take_record(view, &mut state)?;
        self.look_for_stores(&lio, &mut state)?;
        Ok(State::Lio(state))
    }

    fn status(&self, state: &State) -> Status {
        let state = match state {
            State::Lio(state) => state,
            State::Tgt(seen) => return self.status_tgt(seen),
        };
        if let Some(absent) = &state.absent {
            return Status::Stopped(absent.clone());
        }
        match (&state.fault, &state.moved) {
            (Some(fault), _) => Status::Failed(Role::Started, fault.clone()),
            (None, Some(moved)) => Status::Degraded(Role::Started, moved.clone()),
            (None, None) if state.is_shown() => Status::Running(Role::Started),
            (None, None) => Status::Failed(Role::Started, self.left_over(state)),
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let state = match state {
            State::Lio(state) => state,
            State::Tgt(seen) => return self.facts_tgt(seen),
        };
        let mut facts = Vec::new();
        if let Some((_, store)) = state.lun.as_ref().and_then(|lun| lun.store.as_ref()) {
            let device = state.backing.as_ref().and_then(|backing| backing.device);
            let what = device.map(|device| format!(" of {device}")).unwrap_or_default();
            let shown = format!("{} is {}/{}{what}", self.lun(), store.adapter, store.name);
            facts.push(Fact::new("disk", shown));
        }
        if let Some(rival) = &state.rival {
            let shown = format!("{} is {}/{}", self.lun(), rival.adapter, rival.name);
            facts.push(Fact::new("somebody else's", shown));
        }
        let store = |store: &Store| {
            Fact::new("store", format!("{}/{}, which nothing shows", store.adapter, store.name))
        };
        facts.extend(state.loose.iter().map(store));
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        match from {
            State::Lio(from) => self.plan_start(view, from),
            State::Tgt(seen) => self.start_tgt(view, seen),
        }
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let from = match from {
            State::Lio(from) => from,
            State::Tgt(seen) => return Ok(self.stop_tgt(seen)),
        };
        let mut plan = Plan::new();
        let iqn = match Lio::open(view)? {
            Ok(lio) => self.iqn(&lio)?,
            Err(_) => return Ok(plan),
        };
        if let Some(lun) = &from.lun {
            let (number, name) = (lun.number, iqn.clone());
            plan.step(format!("hide {} from its initiators", self.lun()), move |system| {
                acl::hide(system, &name, number)
            });
            let name = iqn.clone();
            plan.step(format!("remove {}", self.lun()), move |system| {
                build::remove_lun(system, &name, number)
            });
            if let Some((_, store)) = lun.store.clone() {
                self.close(&mut plan, store);
            }
        }
        self.clear_away(&mut plan, from);
        if from.lun.is_some() || !from.idle.is_empty() {
            plan.step("dismiss initiators that were listed for its sake alone", move |system| {
                let _alone = system.hold(ACLS)?;
                let idle = acl::idle(system, &iqn, MAKER)?;
                idle.iter().try_for_each(|initiator| acl::dismiss(system, &iqn, initiator))
            });
        }
        if from.has_record || from.lun.is_some() {
            plan.step("forget its adapter", |system| system.remove_record(&self.record_name()));
        }
        Ok(plan)
    }
}

impl Extras for ISCSILogicalUnit {
    const TASKS: Tasks = configfs::carry_out;

    fn uncover<'a>(&'a self, view: &View) -> Plan<'a> {
        if self.is_tgt() {
            return Plan::new();
        }
        covered::mount(view, lio::MODULE)
    }

    fn validate(&self) -> Result<()> {
        let params = &self.params;
        params.implementation.check()?;
        if self.is_tgt() {
            self.validate_for_tgt()?;
        } else if let Some(initiators) = &params.allowed_initiators {
            initiators.check_for_lio()?;
        }
        let wrong = |name: &str, what: &str| Err(configured(format!("parameter {name} {what}")));
        // What SCSI can address without further ado.
        if params.lun > 16383 {
            return wrong("lun", "is not a number from 0 to 16383");
        }
        let switches = [
            ("write_cache", Some(params.write_cache)),
            ("emulate_tpu", params.emulate_tpu),
            ("emulate_3pc", params.emulate_3pc),
            ("emulate_caw", params.emulate_caw),
        ];
        if let Some((name, _)) = switches.iter().find(|(_, value)| value.unwrap_or(0) > 1) {
            return wrong(name, "is neither 0 nor 1");
        }
        if params.block_size.is_some_and(|size| ![512, 1024, 2048, 4096].contains(&size)) {
            return wrong("block_size", "is not 512, 1024, 2048 or 4096");
        }
        if params.scst_bstype != ScstType::Blockio {
            return wrong("scst_bstype", "is for SCST, which is not offered");
        }
        let texts = [
            ("scsi_sn", &params.scsi_sn, 254),
            ("vendor_id", &params.vendor_id, 8),
            ("product_id", &params.product_id, 16),
        ];
        for (name, text, longest) in texts {
            let fits = |text: &String| {
                text.len() <= longest && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            };
            if !text.as_ref().is_none_or(fits) {
                return wrong(name, &format!("takes up to {longest} letters and digits"));
            }
        }
        let settings = params.additional_parameters.iter().flat_map(|list| &list.0);
        // What is said of a cache and what there is of one are set together.
        if settings.clone().any(|(name, _)| name == "emulate_write_cache") {
            return wrong("additional_parameters", "has emulate_write_cache: set write_cache");
        }
        Ok(())
    }

    fn suits(&self, view: &View) -> Result<()> {
        if self.is_tgt() {
            return self.suits_tgt(view);
        }
        self.kind(view).map(drop)
    }
}

/// With which the text begins that is left in a store, and what is left in an
/// initiator's entry.
const MAKER: &str = "iSCSILogicalUnit";

/// What is locked while an entry has no LUN, and may be about to get one.
const ACLS: &str = "iSCSILogicalUnit.initiators";

impl Found {
    /// Whether the LUN shows a store of ours.
    fn is_shown(&self) -> bool {
        self.lun.as_ref().is_some_and(|lun| lun.store.is_some())
    }
}

impl ISCSILogicalUnit {
    /// What it is, in words.
    fn lun(&self) -> String {
        format!("LUN {} of {}", self.params.lun, self.params.target_iqn.0)
    }

    /// The target's name as the kernel has it.
    fn iqn(&self, lio: &Lio<'_>) -> Result<String> {
        let wanted = &self.params.target_iqn.0;
        Ok(lio.spelled(wanted)?.unwrap_or_else(|_| wanted.clone()))
    }

    /// What is at our number in the target.
    fn take_lun(
        &self,
        view: &View,
        lio: &Lio<'_>,
        iqn: &str,
        lun: Lun,
        state: &mut Found,
    ) -> Result<()> {
        let Some((_, store)) = lun.store.clone() else {
            // Between the making of the one and the other.
            state.lun = Some(lun);
            return Ok(());
        };
        if store.name != self.name && !self.is_ours(lio, &store)? {
            state.rival = Some(store);
            return Ok(());
        }
        let backing = lio.backing(&store)?;
        state.fault = self.fault(view, iqn, &backing)?;
        state.moved = self.moved(view, &backing);
        state.backing = Some(backing);
        state.lun = Some(lun);
        Ok(())
    }

    /// Whether we have made the store, or the shell agent has, which leaves
    /// nothing in it.
    fn is_ours(&self, lio: &Lio<'_>, store: &Store) -> Result<bool> {
        let maker = lio.maker(store)?;
        if !maker.is_empty() || store.name != self.name {
            return Ok(maker == self.mark);
        }
        let told = lio.told(store)?;
        Ok(told.is_empty() || told == self.path.to_string_lossy())
    }

    /// What is wrong with what is shown.
    fn fault(&self, view: &View, iqn: &str, backing: &Backing) -> Result<Option<String>> {
        if !backing.is_ready {
            return Ok(Some(format!("{} is there, and its disk was never opened", self.lun())));
        }
        if let Some(device) = backing.device
            && !block::is_there(view, device)?
        {
            return Ok(Some(format!(
                "{} shows a disk that is gone: {device}, once {}",
                self.lun(),
                self.path.display()
            )));
        }
        for initiator in self.params.allowed_initiators.iter().flat_map(|list| &list.names) {
            if !acl::sees(view, iqn, initiator, self.params.lun)? {
                return Ok(Some(format!("{initiator} does not see {}", self.lun())));
            }
        }
        Ok(None)
    }

    /// What the path means now, where that is another device than is served.
    /// Only what lies below /dev is looked at: there nobody has to be asked.
    fn moved(&self, view: &View, backing: &Backing) -> Option<String> {
        let (served, path) = (backing.device?, &self.path);
        if !path.starts_with("/dev") {
            return None;
        }
        let now = block::number(view, path).ok()??;
        (now != served).then(|| {
            format!("{} serves {served}, and {} is {now} by now", self.lun(), path.display())
        })
    }

    /// Stores of ours that nothing shows, or the proof that there are none.
    fn look_for_stores(&self, lio: &Lio<'_>, state: &mut Found) -> Result<()> {
        let stores = lio.stores()?;
        for store in stores.iter() {
            if self.is_ours(lio, store)? && !self.is_rival(lio, store, state)? {
                state.loose.push(store.clone());
            }
        }
        if state.lun.is_none() {
            state.absent = stores.lacks(|store| state.loose.contains(store));
        }
        Ok(())
    }

    /// Whether somebody else shows a store that has our name by chance.
    fn is_rival(&self, lio: &Lio<'_>, store: &Store, state: &Found) -> Result<bool> {
        if state.rival.as_ref() == Some(store) {
            return Ok(true);
        }
        if lio.maker(store)? == self.mark {
            return Ok(false);
        }
        for iqn in lio.targets()?.iter() {
            let shows = |lun: &Lun| lun.store.as_ref().is_some_and(|(_, shown)| shown == store);
            if lio.luns(iqn, DISK)?.iter().any(shows) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a start or a stop that was cut short has left.
    fn left_over(&self, state: &Found) -> String {
        match (state.loose.first(), &state.lun) {
            (Some(store), _) => {
                format!("store {}/{} is left, and no LUN shows it", store.adapter, store.name)
            }
            (None, _) => format!("{} shows nothing", self.lun()),
        }
    }

    /// The adapter that a start has noted before it made it: whether that has no
    /// store. It has nothing open, so a record that cannot be read leaves no
    /// doubt: it is forgotten.
    fn take_record(&self, view: &View, state: &mut Found) -> Result<()> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let parse = |text: &str| {
            let adapter = text.trim().to_owned();
            (!adapter.is_empty() && adapter.bytes().all(is_plain)).then_some(adapter)
        };
        let noted = view.record(&self.record_name(), parse);
        state.has_record = !matches!(noted, Ok(None));
        if let Ok(Some(adapter)) = noted
            && build::is_bare(view, &adapter)?
        {
            state.bare = Some(adapter);
        }
        Ok(())
    }

    fn record_name(&self) -> String {
        format!("{}.store", file_name(&self.mark))
    }

    fn close(&self, plan: &mut Plan<'_>, store: Store) {
        plan.step(format!("close store {}/{}", store.adapter, store.name), move |system| {
            build::remove_store(system, &store)
        });
    }

    /// The steps that remove what was left half made.
    fn clear_away(&self, plan: &mut Plan<'_>, from: &Found) {
        for store in &from.loose {
            self.close(plan, store.clone());
        }
        if let Some(adapter) = from.bare.clone() {
            plan.step(format!("remove adapter {adapter}, which has no store"), move |system| {
                build::remove_adapter(system, &adapter)
            });
        }
    }

    /// How LIO is to reach the disk.
    fn kind(&self, view: &View) -> Result<Kind> {
        start::kind(view, &self.params, &self.path)
    }
}

#[cfg(test)]
mod tests;
