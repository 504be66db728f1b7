//! `iscsitarget`: the targets of an `/etc/ietd.conf`, served by the kernel.
//!
//! The file was written for the iSCSI Enterprise Target, a module that is in no
//! kernel any more. LIO, which is, has no such file: it is configured by
//! directories. This agent makes them, and takes down what it has made without
//! the file, which in the published set-up lies on a file system that is
//! unmounted before.
//!
//! | file | what is in it |
//! |---|---|
//! | `ietd.rs` | the file, read line by line |
//! | `beside.rs` | the files beside it: defaults, and who may log in |
//! | `disk.rs` | whether a disk is there, and how it is served |
//! | `serve.rs` | making the targets, and taking them apart |
//!
//! A target is known as ours by the mark in the links of its LUNs, and by the
//! record that start leaves before it makes the first. Nothing of LIO can be
//! renamed.

mod beside;
mod disk;
mod ietd;
mod serve;

use crate::covered;
use anyhow::Result;
use beside::Beside;
use common::host::configfs;
use common::host::lio::{self, Lio, Store, Target};
use common::host::reading;
use common::host::record::Damaged;
use common::host::tasks::Tasks;
use common::{
    Absent, Agent, Extras, Fact, Plan, Request, Role, Status, View, configured, installed,
    unless_silent,
};
use ietd::{Ietd, digest};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words, params};
use std::path::PathBuf;

params! {
    /// Which file.
    pub struct IscsitargetParams {
        /// Configuration file.
        ///
        /// As the iSCSI Enterprise Target had it. It may be a link to a file that is there only while the resource runs: a start reads it, nothing else needs it.
        [names, unique, position = 1] config: PathBuf = "/etc/ietd.conf",
    }
}

static META: Meta = Meta {
    name: "iscsitarget",
    shortdesc: "Serves the iSCSI targets of an ietd.conf with the kernel's target",
    longdesc: "Serves the targets of /etc/ietd.conf, the configuration of the iSCSI Enterprise Target, which no kernel has any more, with LIO, which each has. A wrong line is named by its number before anything is changed; `iscsitarget explain start` says what would be made, and which lines have no effect.\n\nDisks and users come first, then the addresses, and the switch last, so that whoever logs in early is told to try again and not that there is no target. A stop goes the other way, ends what sessions there are, and needs no file.\n\nEvery initiator that knows the user and password of a target may log in, as before. An IncomingUser before the first Target guards discovery.",
    params: IscsitargetParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(60),
        STOP.timeout(60),
        MONITOR.timeout(20).every(20),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "p_target ocf:sturdy:iscsitarget",
        haresources: "drbddisk::iscsi.target.0 iscsitarget",
        by_hand: "start",
    },
    differences: &[
        "The targets are made in LIO, not in the iSCSI Enterprise Target, which no kernel has any more. tgt is not offered here: it keeps LUN 0 of each target for itself, and that is the disk of nearly each ietd.conf.",
        "LIO holds one user a target and one for discovery: a second IncomingUser is refused, by its line.",
        "LIO does not know who may log in by address: an entry of initiators.allow or initiators.deny that is more than ALL is refused, by its line; a firewall can do that.",
        "The serial number of a disk is its ScsiSN, else its ScsiId, else made of the target's name and the number, and so the same on each node. Links in /dev/disk/by-id begin with scsi-36001405 instead of scsi-1IET, as LIO has an identity that udev prefers; UUIDs and labels of file systems stay.",
        "Type=fileio on a block device is served as a block device: with IOMode=wt nothing is acknowledged that is not on disk. IOMode=wb acknowledges what is in memory, as it did.",
        "Where no IncomingUser stands before the first Target, LIO turns away initiators that want to give a password at discovery; IET let them in.",
        "MaxSessions, NOPInterval, NOPTimeout, QueuedCommands, Wthreads and iSNS are read and have no effect; explain lists them.",
        "A start where nothing can be served fails: the init script ended well with ISCSITARGET_ENABLE=false, and without the file.",
    ],
};

/// The targets of one file.
pub struct Iscsitarget {
    config: PathBuf,
    /// What tells our links and stores from others'.
    mark: String,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct State {
    /// The targets that a start was to make, as it has noted.
    noted: Vec<Noted>,
    /// Whether what it has noted cannot be read.
    is_damaged: bool,
    /// Why it cannot be told then whether one that is there is ours.
    doubt: Option<String>,
    /// Those of ours that are there.
    found: Vec<Target>,
    /// Stores of ours that no target shows.
    loose: Vec<Store>,
    /// Proof that there is none of either.
    absent: Option<Absent>,
}

/// A target that a start was to make, with the numbers of its LUNs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Noted {
    iqn: String,
    luns: Vec<u64>,
}

impl Agent for Iscsitarget {
    const META: &'static Meta = &META;
    type Params = IscsitargetParams;
    type State = State;

    fn new(params: IscsitargetParams, _request: &Request) -> Result<Self> {
        Ok(Self::of(params.config))
    }

    fn observe(&self, view: &View) -> Result<State> {
        let (noted, damaged) = Damaged::apart(self.noted(view));
        let mut state = State { noted, is_damaged: damaged.is_some(), ..State::default() };
        let lio = match Lio::open(view)? {
            Ok(lio) => lio,
            Err(absent) => return Ok(State { absent: Some(absent), ..state }),
        };
        let names = lio.targets()?;
        for iqn in names.iter() {
            // Another's disks may be many.
            let is_noted = state.noted.iter().any(|noted| noted.iqn == *iqn);
            if !is_noted && damaged.is_none() && !lio.is_marked(iqn, &self.mark)? {
                continue;
            }
            let Some(target) = lio.target(iqn, &self.mark)? else { continue };
            if self.is_ours(&target, &state.noted) {
                state.found.push(target);
            } else if let Some(damaged) = &damaged
                && target.luns.iter().all(|lun| lun.store.is_none())
            {
                let what = format!("{iqn}, which has no disk, may be in it");
                state.doubt = Some(damaged.doubt(what));
            }
        }
        if !state.found.is_empty() && state.is_whole() {
            return Ok(state);
        }
        let stores = lio.stores()?;
        let is_shown = |store: &Store| {
            let luns = state.found.iter().flat_map(|target| &target.luns);
            luns.filter_map(|lun| lun.store.as_ref()).any(|(_, shown)| shown == store)
        };
        let ours = |store: &&Store| self.has_made(store);
        state.loose =
            stores.iter().filter(ours).filter(|store| !is_shown(store)).cloned().collect();
        let no_target = names.lacks(|iqn| state.found.iter().any(|target| target.iqn == *iqn));
        let no_store = stores.lacks(|store| self.has_made(store));
        let no_target = no_target.filter(|_| state.doubt.is_none());
        state.absent = no_target.zip(no_store).map(|(target, store)| target.and(store));
        Ok(state)
    }

    fn status(&self, state: &State) -> Status {
        if let Some(absent) = &state.absent {
            return Status::Stopped(absent.clone());
        }
        match state.fault() {
            Some(reason) => Status::Failed(Role::Started, reason),
            None => Status::Running(Role::Started),
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let mut facts = Vec::new();
        for target in &state.found {
            let switch = if target.is_enabled { "open" } else { "closed" };
            let luns = target.luns.len();
            let places = target.portals.join(", ");
            let seen = format!("{}: {switch}, {luns} LUN at {places}", target.iqn);
            facts.push(Fact::new("target", seen));
        }
        facts.extend(state.loose.iter().map(|store| Fact::new("store", store.name.clone())));
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let (file, beside) = self.read(view)?;
        if file.targets.is_empty() {
            return Err(configured(format!("{} has no Target", self.config.display())));
        }
        for target in &file.targets {
            let is_ours = from.found.iter().any(|found| found.iqn == target.iqn);
            if !is_ours
                && let Ok(lio) = Lio::open(view)?
                && lio.group(&target.iqn)?.is_some()
            {
                return Err(installed(format!(
                    "{} is served already, and not by us: end that first (targetcli, target.service)",
                    target.iqn
                )));
            }
        }
        disk::check_all(view, &file)?;
        let mut plan = Plan::new();
        // What a start that was cut short has left, or what is not as it should
        // be.
        self.take_down(&mut plan, from);
        self.bring_up(&mut plan, file, beside);
        Ok(plan)
    }

    fn stop<'a>(&'a self, _: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        self.take_down(&mut plan, from);
        Ok(plan)
    }
}

impl Extras for Iscsitarget {
    const TASKS: Tasks = configfs::carry_out;

    fn uncover<'a>(&'a self, view: &View) -> Plan<'a> {
        covered::mount(view, lio::MODULE)
    }

    fn suits(&self, view: &View) -> Result<()> {
        let (file, _) = self.read(view)?;
        disk::check_all(view, &file)
    }

    fn advice(&self, view: &View, _: &State) -> Vec<Fact> {
        let Ok((file, beside)) = self.read(view) else { return Vec::new() };
        let of_file = file
            .ignored
            .iter()
            .map(|remark| Fact::new("no effect", format!("{} {remark}", self.config.display())));
        let open = (file.incoming.is_none() && !file.targets.is_empty()).then(|| {
            Fact::new(
                "discovery",
                "asks for no password, and LIO turns away an initiator that wants to give one, as \
                 open-iscsi does wherever its iscsid.conf has discovery.sendtargets.auth.username: \
                 take that out there, or put its user before the first Target here, as IncomingUser",
            )
        });
        of_file
            .chain(open)
            .chain(beside.ignored.into_iter().map(|text| Fact::new("no effect", text)))
            .collect()
    }
}

impl State {
    /// Whether everything that a start has noted serves.
    fn is_whole(&self) -> bool {
        self.fault().is_none()
    }

    /// What is not as a start has left it.
    fn fault(&self) -> Option<String> {
        for noted in &self.noted {
            let found = self.found.iter().find(|target| target.iqn == noted.iqn);
            let Some(found) = found else { return Some(format!("{} is gone", noted.iqn)) };
            let shows = |number: u64| {
                found.luns.iter().any(|lun| lun.number == number && lun.store.is_some())
            };
            if let Some(lun) = noted.luns.iter().find(|number| !shows(**number)) {
                return Some(format!("{} has no LUN {lun} any more", noted.iqn));
            }
        }
        for target in &self.found {
            let iqn = &target.iqn;
            if !self.noted.iter().any(|noted| noted.iqn == *iqn) {
                return Some(format!("{iqn} is there, and no start has noted it"));
            }
            if target.portals.is_empty() {
                return Some(format!("{iqn} listens at no address"));
            }
            if !target.is_enabled {
                return Some(format!("{iqn} is closed"));
            }
        }
        if self.doubt.is_some() {
            return self.doubt.clone();
        }
        let store = self.loose.first();
        store.map(|store| format!("store {} is left, and no target shows it", store.name))
    }
}

impl Iscsitarget {
    fn of(config: PathBuf) -> Self {
        let mark = format!("ietd-{:08x}", digest(&config.to_string_lossy()) as u32);
        Self { config, mark }
    }

    /// Both files, or what is wrong with them.
    fn read(&self, view: &View) -> Result<(Ietd, Beside)> {
        let shown = self.config.display();
        let text = reading::text(view, &self.config);
        let text = text.map_err(|err| unless_silent(err, installed))?.ok_or_else(|| {
            installed(format!("{shown} is not there: is the file system mounted on which it lies?"))
        })?;
        let file = Ietd::parse(&text).map_err(|fault| configured(format!("{shown} {fault}")))?;
        Ok((file, Beside::read(view, &self.config)?))
    }

    fn record_name(&self) -> String {
        format!("iscsitarget.{}", self.mark)
    }

    /// What a start has noted: a line for each target, its name and the numbers
    /// of its LUNs.
    fn noted(&self, view: &View) -> Result<Vec<Noted>, Damaged> {
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let iqn = words.next()?.to_owned();
            let luns = words.map(str::parse).collect::<Result<_, _>>().ok()?;
            Some(Noted { iqn, luns })
        };
        let parse = |text: &str| text.lines().map(line).collect();
        Ok(view.record(&self.record_name(), parse)?.unwrap_or_default())
    }

    /// One with our mark, or one that we have noted and that nobody else has
    /// marked.
    fn is_ours(&self, target: &Target, noted: &[Noted]) -> bool {
        let marks = || target.luns.iter().filter_map(|lun| lun.store.as_ref());
        let is_noted = noted.iter().any(|noted| noted.iqn == target.iqn);
        marks().any(|(mark, _)| *mark == self.mark) || (is_noted && marks().next().is_none())
    }

    fn has_made(&self, store: &Store) -> bool {
        store.name.strip_prefix(&self.mark).is_some_and(|rest| rest.starts_with('-'))
    }
}

#[cfg(test)]
mod tests;
