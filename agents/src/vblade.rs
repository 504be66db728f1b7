//! `vblade`: devices exported by ATA over Ethernet, each by a process of the
//! program of that name. All lines of /etc/vblade.conf are one resource, or one
//! export is, by parameters, which are those of AoEtarget.
//!
//! What is served is told by the kernel: a packet socket for that protocol,
//! bound to the interface by its number, whose process has the device open. A
//! process is known to be ours by a mark in its environment. So neither the
//! configuration nor what start has noted is needed to find it: heartbeat
//! unmounts what the configuration lies on before it stops what was made of it.
//!
//! The script of 2009 ended by `kill -9` whatever numbers it found in its
//! files, and AoEtarget takes for running whatever has a number that it wrote
//! down before it knew whether vblade would go on.

mod advice;
mod exports;
mod look;
mod network;
mod record;
mod start;

use anyhow::Result;
use common::host::aoe::Address;
use common::host::daemon::{self, Found};
use common::host::pidlock::PidLock;
use common::{Agent, Extras, Fact, Plan, Request, Status, System, View, configured, file_name};
use exports::{Export, Masks, Shelf, Slot};
use look::{Seen, State};
use network::some;
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words, params};
use record::Noted;
use start::PATIENCE;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

params! {
    /// What the agent is given.
    pub struct VbladeParams {
        /// Device or file to export.
        ///
        /// One export by parameters, which shelf and slot name. Without any of the three, all lines of config are exported.
        [names, position = 1] device: Option<PathBuf>,
        /// Interface to export it on.
        [names, position = 2] nic: String = "eth0",
        /// Shelf, the first number of the export's name.
        ///
        /// From 0 to 65534. With slot it names the export for the clients: e0.1 for shelf 0, slot 1.
        [names, position = 3] shelf: Option<Shelf>,
        /// Slot, the second number of the export's name.
        ///
        /// From 0 to 254.
        [names, position = 4] slot: Option<Slot>,
        /// File with the exports.
        ///
        /// One a line: interface, shelf, slot, path, and where not everybody may use it the hardware addresses that may, with commas between them. Only start reads it.
        [names] config: PathBuf = "/etc/vblade.conf",
        /// Hardware addresses that may use the export.
        ///
        /// With commas between them. In the file they stand in the line.
        [] macs: Option<Masks>,
        /// Whether clients can only read.
        [] read_only: bool = "false",
        /// Whether the page cache is passed by.
        ///
        /// Otherwise a power cut loses what clients were told is written: vblade -d. A file is served with -s as well.
        [] direct: bool = "true",
        /// Whether each write waits for the disk's own cache.
        ///
        /// For disks that lose that cache with the power: vblade -s. A client that asks for it to be emptied is told that it was.
        [] sync: bool = "false",
        /// Program that serves.
        [] binary: PathBuf = "/usr/sbin/vblade",
        /// Seconds from the first announcements to the second; 0 for none.
        ///
        /// A switch may still have been learning at the time of the first.
        [] announce_again: Duration = "5",
        /// Taken and not used: no file with a number tells what is served.
        [] pid: Option<PathBuf>,
    }
}

/// The exports of one file, or one export.
pub struct Vblade {
    params: VbladeParams,
    request: Request,
    /// The export that the parameters name.
    export: Option<Export>,
    /// What our processes say that they serve. By the exports and not by the
    /// instance: whoever stops them may call it by another name than whoever
    /// has started them.
    mark: String,
    /// The same, as a part of a file's name.
    file: String,
    /// What was started and does not serve yet.
    begun: RefCell<Vec<(Noted, Child)>>,
    silence: Cell<Option<PidLock>>,
}

static META: Meta = Meta {
    name: "vblade",
    shortdesc: "Block devices exported by ATA over Ethernet",
    longdesc: "Exports devices or files by ATA over Ethernet (AoE), one process of vblade for each: all lines of \
        /etc/vblade.conf as one resource, or one export by the parameters of AoEtarget, under which name the agent \
        is there as well.\n\n\
        An export that somebody else on the network answers for is not started; a peer that is about to end is waited \
        for until the action's time is over. Once started, the network is told of it, and told again.\n\n\
        Clients lose a device that is away for longer than their aoe_deadsecs (180 s by default), and the kernels of \
        some do not survive it: a takeover has to be shorter.",
    params: VbladeParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(40),
        STOP.timeout(20),
        MONITOR.timeout(20).every(10),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "p_aoe ocf:sturdy:vblade params device=/dev/drbd1 nic=bond0 shelf=0 slot=1",
        haresources: "vblade",
        by_hand: "/dev/drbd1 bond0 0 1 start",
    },
    differences: &[
        "The page cache is passed by unless direct=no: what a client was told is written survives a power cut.",
        "Running means that each export has a process with a socket on its interface and its device open. The scripts \
         look at a number in a file, or not at all.",
        "start succeeds when everything is served, and says which line is wrong; AoEtarget succeeds when vblade was \
         called, and the script of 2009 always.",
        "stop ends the processes that start has begun and no others, without the configuration and without the device, \
         which AoEtarget needs for that. It waits for their end.",
        "An export that is answered for by another host, or by another vblade here, is refused.",
        "A device that is mounted here or part of something else is refused unless read_only is set.",
        "A start with a line more in the file exports that as well; what is exported already is not interrupted.",
        "pid is taken and not used. There is no action reload.",
    ],
};

impl Agent for Vblade {
    const META: &'static Meta = &META;
    type Params = VbladeParams;
    type State = State;

    fn new(params: VbladeParams, request: &Request) -> Result<Self> {
        let export = export(&params)?;
        let mark = match &export {
            Some(export) => export.place(),
            None => format!("exports of {}", params.config.display()),
        };
        let (file, request) = (file_name(&mark), request.clone());
        let (begun, silence) = Default::default();
        Ok(Self { params, request, export, mark, file, begun, silence })
    }

    fn observe(&self, view: &View) -> Result<State> {
        self.look(view)
    }

    fn status(&self, state: &State) -> Status {
        state.status(self.request.probe)
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        const SHOWN: usize = 16;
        let shown = |Seen { noted, fault }: &Seen| {
            let by = match (fault, noted.server) {
                (Some(fault), _) => fault.clone(),
                (None, Some(server)) => format!("by process {}", server.pid),
                (None, None) => "by nobody".into(),
            };
            Fact::new("export", format!("{}: {}, {by}", noted.place(), noted.path.display()))
        };
        let mut facts: Vec<Fact> = state.exports().iter().take(SHOWN).map(shown).collect();
        if state.exports().len() > SHOWN {
            facts.push(Fact::new("exports", format!("{} in all", state.exports().len())));
        }
        facts.extend(state.strays.iter().map(|stray| Fact::new("besides", stray.shown())));
        if state.absent.is_none() && state.exports().is_empty() && state.strays.is_empty() {
            facts.push(Fact::new("doubt", state.doubt()));
        }
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.plan_start(from, self.prospects(view, from)?)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if from.has_some() || self.is_announcing(view) {
            plan.step("end the announcements", |system| {
                self.silence.set(Some(self.silence(system)?));
                Ok(())
            });
        }
        if from.has_some() {
            let served: Vec<Address> = from.servers().map(|(noted, _)| noted.address).collect();
            let what = match served.is_empty() {
                true => "end what is left of vblade".to_owned(),
                false => format!("end vblade for {}", some(&served)),
            };
            plan.step(what, |system| self.end(system));
        }
        if from.has_record {
            plan.step("forget what was served", |system| {
                match self.look_closely(system, None)?.has_some() {
                    true => Ok(()),
                    false => self.forget(system),
                }
            });
        }
        Ok(plan)
    }
}

impl Extras for Vblade {
    fn validate(&self) -> Result<()> {
        let Some(export) = &self.export else { return Ok(()) };
        if self.params.device.is_none() {
            return Err(configured("parameter device is required with shelf and slot"));
        }
        if !exports::is_nic(&export.nic) {
            let nic = &export.nic;
            return Err(configured(format!(
                "parameter nic is not the name of an interface: `{nic}`"
            )));
        }
        Ok(())
    }

    fn suits(&self, view: &View) -> Result<()> {
        self.prospects(view, &self.look(view)?).map(drop)
    }

    fn advice(&self, view: &View, state: &State) -> Vec<Fact> {
        advice::advice(self, view, state)
    }

    /// What the file has more by now is exported as well. A file that is not
    /// there says nothing about what is.
    fn started<'a>(&'a self, view: &View, state: &State) -> Result<Plan<'a>> {
        match self.wanted(view) {
            Ok(_) => self.plan_start(state, self.prospects(view, state)?),
            Err(err) => {
                view.warn(format_args!("{err:#}; what is exported already stays so"));
                Ok(Plan::new())
            }
        }
    }

    fn upkeep<'a>(&'a self, _view: &View, state: &State, _level: u32) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if !state.is_noted {
            let noted: Vec<Noted> = state.exports().iter().map(|seen| seen.noted.clone()).collect();
            plan.step("note what is served", move |system| {
                // Without it the next look takes longer, and that is all.
                if let Err(err) = self.remember(system, &noted) {
                    system.warn(format_args!("{err:#}"));
                }
                Ok(())
            });
        }
        Ok(plan)
    }

    fn background(words: &[String], system: &System<'_>) -> Result<()> {
        network::background(words, system)
    }
}

/// The export that the parameters name, if they name one: by its shelf and slot,
/// without the device, which only a start needs.
fn export(params: &VbladeParams) -> Result<Option<Export>> {
    let (shelf, slot) = match (params.shelf, params.slot) {
        (Some(shelf), Some(slot)) => (shelf, slot),
        (None, None) if params.device.is_none() => return Ok(None),
        (shelf, _) => {
            let (lacking, other) =
                if shelf.is_none() { ("shelf", "slot") } else { ("slot", "shelf") };
            let given = if params.device.is_some() { "device" } else { other };
            return Err(configured(format!("parameter {lacking} is required with {given}")));
        }
    };
    Ok(Some(Export {
        line: None,
        nic: params.nic.clone(),
        address: Address { shelf: shelf.0, slot: slot.0 },
        path: params.device.clone().unwrap_or_default(),
        masks: params.macs.clone().unwrap_or_default().0,
    }))
}

impl Vblade {
    /// What the kernel calls a process of it.
    fn program_name(&self) -> &str {
        self.params.binary.file_name().and_then(|name| name.to_str()).unwrap_or("vblade")
    }

    /// Ends what is ours, and waits for what is on its way out.
    fn end(&self, system: &System<'_>) -> Result<()> {
        let find = || daemon::find(system, &self.mark, self.program_name());
        let ours: Vec<Found> =
            find()?.iter().filter(|found| found.note.is_some()).cloned().collect();
        daemon::end(system, &ours, PATIENCE)?;
        let record = self.record(system).unwrap_or_default().and_then(|record| record.exports());
        system.until("vblade to end", || {
            let state = self.look_closely(system, record.clone())?;
            Ok(match state.has_some() {
                true => Err(state.status(true).to_string()),
                false => Ok(()),
            })
        })
    }
}
