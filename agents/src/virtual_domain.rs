//! `VirtualDomain`: a guest of libvirt's, by the file with its definition.
//!
//! A guest of qemu runs as long as its process does, and what it does is in the
//! daemon's own files: a monitor asks nobody and spawns nothing. The daemon is
//! asked where they may be of the past, and told to shut a guest down; virsh is
//! called to start and to move one. Who the guest is, start notes, so that
//! neither the configuration nor the daemon is needed to find it.
//!
//! The shell agent believes virsh, whose daemon may be restarting, and ends a
//! stop well that finds no configuration, without a look.

mod config;
mod look;
mod migrate;
mod record;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod upkeep;
mod values;

use anyhow::Result;
use common::host::libvirt::Hypervisor;
use common::{Agent, Extras, Fact, Plan, Request, Status, View, configured, file_name};
pub(crate) use look::{Found, State};
use ocf_meta::action::{META_DATA, MIGRATE_FROM, MIGRATE_TO, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words, params};
pub(crate) use start::outlast;
use std::path::{Path, PathBuf};
pub(crate) use stop::{AGAIN, listens};
use values::{Mode, OnIoError, Scripts, Uri};

params! {
    /// What the agent is given.
    pub struct VirtualDomainParams {
        /// File with the guest's definition, in libvirt's XML.
        ///
        /// An absolute path. Only a start needs it: what runs is told without.
        [required, names, unique, position = 1] config: PathBuf,
        /// Hypervisor, as a URI of libvirt's.
        ///
        /// One of this machine. Guests of qemu:///system are watched without asking libvirt.
        [names, position = 2] hypervisor: Uri = "qemu:///system",
        /// Whether a stop destroys the guest without asking it to shut down.
        [] force_stop: bool = "false",
        /// Transport to the other node's libvirt for a migration.
        ///
        /// ssh, tls, tcp: what comes after the plus in remoteuri. By default libvirt's own choice.
        [] migration_transport: Option<String>,
        /// User on the other node for a migration.
        ///
        /// Not used where remoteuri is set.
        [] migration_user: Option<String>,
        /// For how long a migration may have the guest stand still, in milliseconds.
        ///
        /// 0 leaves it to libvirt.
        [] migration_downtime: u64 = "0",
        /// How fast a migration may be, in MiB a second.
        ///
        /// 0 leaves it to libvirt.
        [] migration_speed: u64 = "0",
        /// What to add to the other node's name for a network of its own.
        ///
        /// In front of the first point, if the name has one. For qemu and Xen.
        [] migration_network_suffix: Option<String>,
        /// URI for the data of a migration.
        ///
        /// With %n for the other node's name. It counts before migration_network_suffix, migrateport, and --migrateuri in migrate_options.
        [] migrateuri: Option<String>,
        /// Words for virsh migrate besides.
        ///
        /// With blanks between them. --migrateuri=URI is taken as the parameter of that name.
        [] migrate_options: Option<String>,
        /// Programs that say whether what runs in the guest is well.
        ///
        /// Paths with blanks between them. Each is called by a start, by migrate_from and by each recurring monitor, and says so with 0.
        [] monitor_scripts: Option<Scripts>,
        /// Whether the utilization attribute cpu is set to the number of processors.
        [] autoset_utilization_cpu: bool = "true",
        /// Whether the utilization attribute host_memory is set to the guest's memory in MiB.
        [] autoset_utilization_host_memory: bool = "true",
        /// Whether the utilization attribute hv_memory is set to the guest's memory in MiB.
        [] autoset_utilization_hv_memory: bool = "true",
        /// Whether the utilization attribute cpu is removed.
        [] unset_utilization_cpu: bool = "false",
        /// Whether the utilization attribute host_memory is removed.
        [] unset_utilization_host_memory: bool = "false",
        /// Whether the utilization attribute hv_memory is removed.
        [] unset_utilization_hv_memory: bool = "false",
        /// Port for the data of a migration.
        ///
        /// With migration_network_suffix. By default libvirt's choice.
        [] migrateport: Option<u16>,
        /// URI of the other node's libvirt for a migration.
        ///
        /// With %n for the other node's name.
        [] remoteuri: Option<String>,
        /// Whether what was changed on the running guest is saved into config.
        ///
        /// Before a stop and before and after a migration.
        [] save_config_on_stop: bool = "false",
        /// Whether what was saved is sent to the other nodes by csync2 -x.
        ///
        /// Includes save_config_on_stop.
        [] sync_config_on_stop: bool = "false",
        /// Directory for the guest's memory.
        ///
        /// A stop saves it there, and a start goes on from it. Not with force_stop.
        [] snapshot: Option<PathBuf>,
        /// Image that the guest's own is made from.
        ///
        /// The own one lies beside config, with the ending qcow2, and has what differs.
        [] backingfile: Option<PathBuf>,
        /// Whether each start makes the guest's image anew from backingfile.
        [] stateless: bool = "false",
        /// Directories that are copied into a new image.
        ///
        /// With blanks between them, by virt-copy-in.
        [] copyindirs: Option<String>,
        /// How the guest is asked to shut down.
        ///
        /// Of acpi, agent, initctl, signal and paravirt, with commas between them. By default libvirt's choice.
        [] shutdown_mode: Option<Mode>,
        /// Whether the storage pools and networks of the guest are started before it.
        ///
        /// And on the other node before a migration.
        [] start_resources: bool = "false",
        /// What a guest is that an I/O error of a disk has paused.
        ///
        /// failed: it is started anew, maybe elsewhere. degraded: it is reported, and left. resume: it is reported, and resumed once when its disks read again.
        [] on_io_error: OnIoError = "failed",
    }
}

static META: Meta = Meta {
    name: "VirtualDomain",
    shortdesc: "A guest of libvirt's",
    longdesc: "Keeps a virtual machine running that is defined by a file in libvirt's XML, and moves it to another \
        node while it runs.\n\n\
        A monitor looks at the guest's process and at what libvirt has noted of it. It runs on, and is reported so, \
        where libvirt's daemon is down or is being restarted. A guest that starts itself anew is running.\n\n\
        A start waits for a file that cannot be read yet, as on GFS2 after the loss of a node.\n\n\
        A stop asks the guest to shut down, and destroys it when a third of the time is left, 20 s at the most. It \
        needs neither the file nor the daemon: what libvirt does not end is ended by signals.\n\n\
        Set allow-migrate=true on the resource to have it moved while it runs.",
    params: VirtualDomainParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(90),
        STOP.timeout(90),
        MONITOR.timeout(30).every(10),
        MIGRATE_FROM.timeout(60),
        MIGRATE_TO.timeout(120),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "web ocf:sturdy:VirtualDomain params config=/srv/web.xml",
        haresources: "VirtualDomain::/srv/web.xml",
        by_hand: "/srv/web.xml start",
    },
    differences: &[
        "A guest runs as long as its process does, whatever has become of libvirt's daemon; the shell agent asks virsh, \
         and looks at the process table where that cannot connect.",
        "A stop without the configuration finds the guest by what start has noted, or by the file's name, and ends it; the \
         shell agent succeeds without a look.",
        "A guest that an I/O error has paused is failed, or what on_io_error says; the shell agent takes it for running. \
         One that a person has paused is degraded.",
        "A migration that virsh reports as failed has succeeded if the guest is found on the other node and not here. One \
         that outlasts its time is ended.",
        "hypervisor is qemu:///system unless it is set, and not what virsh guesses.",
        "shutdown_mode reaches the guest.",
        "A guest is destroyed 20 s before the end of a stop's time, since libvirt takes 15 s for that; the shell agent \
         leaves it 5 s.",
        "A definition of the guest in libvirt's own directory is not removed before start, and NVRAM never is.",
        "Utilization is written where it has changed, and never by a probe. Probes do not call monitor_scripts either.",
        "The configuration is saved by stop, migrate_to and migrate_from, in one piece; by monitors it is not.",
        "The image that is made from backingfile is there whole or not at all.",
    ],
};

/// One guest.
pub struct VirtualDomain {
    params: VirtualDomainParams,
    request: Request,
    record: String,
}

impl Agent for VirtualDomain {
    const META: &'static Meta = &META;
    type Params = VirtualDomainParams;
    type State = State;

    fn new(params: VirtualDomainParams, request: &Request) -> Result<Self> {
        let record = record_of(&params.config);
        Ok(Self { params, request: request.clone(), record })
    }

    fn observe(&self, view: &View) -> Result<State> {
        self.look(view)
    }

    fn status(&self, state: &State) -> Status {
        state.status(self.params.on_io_error)
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let mut facts = vec![Fact::new("guest", state.meant.to_string())];
        let Some(seen) = state.seen() else { return facts };
        facts.extend(seen.identity.uuid.map(|uuid| Fact::new("UUID", uuid.to_string())));
        facts.push(Fact::new("state", seen.condition.to_string()));
        facts.extend(seen.process.as_ref().map(|process| {
            Fact::new("process", format!("{} (pid {})", process.name, process.pid))
        }));
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.plan_start(view, from)
    }

    fn stop<'a>(&'a self, _view: &View, from: &State) -> Result<Plan<'a>> {
        Ok(self.plan_stop(from))
    }
}

impl Extras for VirtualDomain {
    fn validate(&self) -> Result<()> {
        let params = &self.params;
        if params.force_stop && params.snapshot.is_some() {
            return Err(configured("force_stop and snapshot exclude each other"));
        }
        if params.stateless && params.backingfile.is_none() {
            return Err(configured("stateless needs backingfile"));
        }
        Ok(())
    }

    fn suits(&self, view: &View) -> Result<()> {
        self.prospects(view).map(drop)
    }

    fn advice(&self, view: &View, _state: &State) -> Vec<Fact> {
        start::advice(self, view)
    }

    fn started<'a>(&'a self, _view: &View, state: &State) -> Result<Plan<'a>> {
        Ok(self.plan_note(state))
    }

    fn upkeep<'a>(&'a self, view: &View, state: &State, _level: u32) -> Result<Plan<'a>> {
        match self.request.probe {
            true => Ok(Plan::new()),
            false => self.plan_upkeep(view, state),
        }
    }

    fn migrate_to<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.plan_migrate_to(view, from)
    }

    fn migrate_from<'a>(&'a self, _view: &View, from: &State) -> Result<Plan<'a>> {
        self.plan_migrate_from(from)
    }
}

impl VirtualDomain {
    /// The same kind of guest by another file.
    pub(crate) fn by(&self, config: &Path) -> Self {
        let params = VirtualDomainParams { config: config.to_owned(), ..self.params.clone() };
        Self { params, request: self.request.clone(), record: record_of(config) }
    }

    fn hypervisor(&self) -> &Hypervisor {
        &self.params.hypervisor.0
    }

    fn saves_config(&self) -> bool {
        self.params.save_config_on_stop || self.params.sync_config_on_stop
    }
}

/// The name of the record of the guest with this file.
fn record_of(config: &Path) -> String {
    format!("VirtualDomain-{}.state", file_name(&config.to_string_lossy()))
}
