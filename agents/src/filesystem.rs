//! A mounted file system.
//!
//! The state comes from the kernel's mount table, never from the directory's
//! content, and a mount is ours when it shows the right thing: the device's
//! number for block devices, the device and the directory on it for binds, the
//! source for network file systems. A name that merely looks right proves
//! nothing, and a name that has vanished disproves nothing.
//!
//! | file          | what is in it                                           |
//! |---------------|---------------------------------------------------------|
//! | `fstype.rs`   | what is known of the types                              |
//! | `device.rs`   | the forms of the device parameter                       |
//! | `force.rs`    | what a stop may do to those who use the mount           |
//! | `jfs.rs`      | the one journal that the kernel does not replay         |
//! | `identity.rs` | whether a mount on the directory is ours                |
//! | `survey.rs`   | which mounts are ours, wherever they are                |
//! | `record.rs`   | what start remembers for a time when names have vanished |
//! | `start.rs`    | the way up                                              |
//! | `refusal.rs`  | why a mount was refused, as the device itself tells     |
//! | `stop.rs`     | the way down                                            |
//! | `unmount.rs`  | taking one mount down, whoever uses it                  |
//! | `check_level.rs` | monitors that try the file system out                   |
//!
//! The shell agent mounts over whatever is on the directory, takes any mount
//! there for its own unless it is of a block device, and turns a whole file
//! system read-only for `options=bind,ro`. This one does not; see
//! [`META`](Agent::META) for the list.

mod check_level;
mod device;
mod force;
mod fstype;
mod identity;
mod jfs;
mod record;
mod refusal;
mod start;
mod stop;
mod survey;
mod unmount;

use anyhow::Result;
use common::host::mount::options::MountOptions;
use common::host::mount::{self, Mount, Table, statmount};
use common::host::record::Damaged;
use common::{Absent, Agent, Extras, Fact, Plan, Request, Role, Status, System, View, configured};
use device::Device;
use force::{Force, Signals};
use fstype::{Backing, FsType};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params as _, Words};
use record::Record;
use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

ocf_meta::params! {
    /// What is mounted, where and how.
    pub struct Params {
        /// Device to mount.
        ///
        /// A block device, UUID=X or LABEL=X (also -U X, -L X), what the type
        /// takes in its place (server:/export, //server/share), or the
        /// directory to bind.
        [required, position = 1] device: Option<Device>,
        /// Mount point.
        ///
        /// An absolute path; made at start if it is not there.
        [required, names, position = 2] directory: PathBuf,
        /// Type of the file system.
        ///
        /// As mount(8) takes it; none for a bind.
        [position = 3] fstype: Option<String>,
        /// Mount options.
        ///
        /// What mount(8) takes after -o. A bind with more options than bind
        /// applies them to the bind alone.
        [position = 4] options: Option<String>,
        /// Where the status file of a monitor of depth 20 lies.
        ///
        /// In front of the file's name, below the mount point.
        [] statusfile_prefix: String = ".Filesystem_status/",
        /// Whether to check the file system before it is mounted.
        ///
        /// auto leaves out the types that need none because the kernel replays
        /// their journal, and those that others may have mounted. A jfs that
        /// was not unmounted is checked, since only fsck.jfs replays its
        /// journal; and only by one that can, which Debian's cannot.
        [] run_fsck: Check = "auto",
        /// Whether a stop gives up after six seconds.
        ///
        /// Otherwise it tries for as long as the stop operation may take.
        [] fast_stop: bool = "no",
        /// Whether clones of a local file system are allowed.
        ///
        /// Only where something else makes sure that it is never mounted
        /// twice for writing: two nodes that write destroy it.
        [] force_clones: bool = "false",
        /// What a stop does to processes that use the mount.
        ///
        /// true and safe: end them. false: leave them alone. With move, the
        /// mount is first moved out of reach of those who would come anew.
        [] force_unmount: Force = "true",
        /// Signals for the first half of a stop.
        ///
        /// Names or numbers; each further round sends the next of them.
        [] term_signals: Signals = "TERM",
        /// Signals for the second half of a stop.
        [] kill_signals: Signals = "KILL",
        /// Pause between two rounds of signals.
        ///
        /// In seconds. A round ends early when all who were signalled are
        /// gone.
        [] signal_delay: Duration = "1",
    }
}

ocf_meta::choices! {
    /// When to check a file system before it is mounted.
    pub enum Check {
        /// Where the type needs it.
        Auto = "auto",
        /// Always.
        Force = "force",
        /// Never.
        No = "no",
    }
}

/// What is on the directory.
#[derive(Debug)]
pub enum State {
    /// Nothing, and the file system is not parked beside it either.
    Unmounted(Absent),
    /// What belongs there, and nothing upon it.
    Mounted(Box<Mount>),
    /// What belongs there, in a state of which the text is a clause.
    Failed(Box<Mount>, String),
    /// Something else; and the proof that ours is not beneath it.
    Foreign(Box<Mount>, Absent),
    /// No mount of ours, but the kernel has the file system still, as the clause
    /// tells.
    Lingering(String),
    /// Nothing here; others still have the file system mounted at the end of a
    /// stop, as the clause tells.
    HeldElsewhere(String),
}

/// A file system that is to be mounted on a directory.
#[derive(Debug)]
pub struct Filesystem {
    params: Params,
    /// As it was given, or else as the start has recorded it.
    device: OnceCell<Device>,
    kind: FsType,
    options: MountOptions,
    request: Request,
    /// Why the record could not be read when it was last looked at.
    damaged: RefCell<Option<Damaged>>,
    /// Who still held the file system when this stop was through with it here.
    held: RefCell<Option<String>>,
}

impl Agent for Filesystem {
    const META: &'static Meta = &Meta {
        name: "Filesystem",
        shortdesc: "A mounted file system",
        longdesc: "Mounts a file system on a directory and keeps it mounted: local ones on a \
            block device, network and cluster file systems through their helpers, binds and \
            tmpfs.\n\n\
            A stop unmounts what is mounted below, and other mounts of the same device, first. \
            Processes that keep a mount busy are ended, first by TERM, then by KILL, within the \
            time the stop may take; never the cluster's own daemons, never those of another \
            mount. What in the kernel keeps it busy is named.",
        params: Params::TABLE,
        words: Words::Positions,
        actions: &[
            START.timeout(60),
            STOP.timeout(60),
            MONITOR.timeout(40).every(20),
            VALIDATE_ALL.timeout(5),
            META_DATA,
        ],
        examples: Examples {
            pacemaker: "data ocf:sturdy:Filesystem params device=/dev/drbd0 directory=/srv/data \
                fstype=ext4",
            haresources: "Filesystem::/dev/drbd0::/srv/data::ext4",
            by_hand: "/dev/drbd0 /srv/data ext4 start",
        },
        differences: &[
            "What is mounted on the directory and is not what was asked for is reported and left \
                alone; start refuses to mount over it.",
            "Binds, network file systems and devices named by UUID or label are compared with what \
                is mounted, not taken on trust.",
            "The passwords among the options of cifs, commas in them included, and a secret among those of ceph are in no \
                process's words: the helper gets them by its environment, or from a file without \
                a name.",
            "options=bind,ro makes the bind read-only, not the file system behind it. A bind that lacks the ro, \
                nosuid, nodev or noexec it was to have has failed.",
            "A file system that the kernel has turned read-only or shut down fails the monitor at \
                every depth.",
            "start fails with 1, not 6, where something is mounted below the directory.",
            "A check level in between counts as the next lower one, as the standard has it.",
            "A depth of 10 reads at three places, past the cache; on what has no device it asks \
                the file system itself.",
            "The status file of depth 20 is compared with what was written, and removed by stop. No \
                link that a user of the mount has put in its way is followed.",
            "force_unmount=safe finds the same processes as true: both go by the mount itself.",
            "All that a stop has to unmount shares the time of the stop.",
            "A mount is known by its number: it is ours when its source, its directory or one above \
                is renamed, and a monitor fails where no path leads to it any more.",
            "A stop takes all of ours that are stacked on the directory, and reaches what another \
                file system on a directory above hides; what other resources have mounted is left.",
            "A stop fails while the kernel still has the file system on the device: mounted in \
                another mount namespace, on a directory of another resource's, or detached and in \
                use.",
            "A block device that cannot be written is not silently mounted read-only.",
            "A start that is refused says what the device carries, that a device with the same UUID \
                is mounted, or that the disk is write-protected.",
            "An image is known by the file that it is, whatever path leads to it.",
            "After a power cut a jfs is checked, without which the kernel refuses it; not by a \
                fsck.jfs that loses the journal, as Debian's does.",
        ],
    };
    type Params = Params;
    type State = State;

    fn new(params: Params, request: &Request) -> Result<Self> {
        let options = MountOptions::parse(params.options.as_deref().unwrap_or_default());
        let device = params.device.clone().map_or_else(OnceCell::new, OnceCell::from);
        let kind = FsType::new(params.fstype.as_deref(), &options);
        let name = params.directory.as_os_str().to_string_lossy();
        // Nothing can have been started there: no start mounts over the root.
        if params.directory == Path::new("/") {
            return Err(configured("parameter directory is the root directory"));
        }
        if name.trim() != name {
            return Err(configured("parameter directory begins or ends with a blank"));
        }
        let (damaged, held) = Default::default();
        Ok(Self { params, device, kind, options, request: request.clone(), damaged, held })
    }

    fn observe(&self, view: &View) -> Result<State> {
        if let Some(who) = self.held.borrow().as_ref() {
            return Ok(State::HeldElsewhere(who.clone()));
        }
        let record = self.known(view);
        if let Some(mount) = self.quick(view, record.as_ref())
            && self.is_ours(view, &mount, record.as_ref())
        {
            return Ok(self.condition(mount, record.as_ref()));
        }
        self.thorough(view, record.as_ref())
    }

    fn status(&self, state: &State) -> Status {
        match state {
            State::Unmounted(absent) => Status::Stopped(absent.clone()),
            State::Mounted(_) => Status::Running(Role::Started),
            State::Failed(_, why) | State::Lingering(why) | State::HeldElsewhere(why) => {
                Status::Failed(Role::Started, why.clone())
            }
            // Where the cluster asks if it happens to run here, it does not.
            State::Foreign(_, absent) if self.request.probe => Status::Stopped(absent.clone()),
            State::Foreign(other, _) => Status::Failed(Role::Started, self.foreign(other)),
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let mut facts = vec![
            Fact::new("directory", self.params.directory.display().to_string()),
            Fact::new("device", self.device().to_string()),
        ];
        match state {
            State::Unmounted(_) => facts.push(Fact::new("mounted", "nothing")),
            State::Lingering(who) | State::HeldElsewhere(who) => {
                facts.push(Fact::new("held", who.clone()))
            }
            State::Mounted(mount) | State::Failed(mount, _) | State::Foreign(mount, _) => {
                facts.push(Fact::new("mounted", mount.what()));
                facts.push(Fact::new("type", mount.fstype.clone()));
                facts.push(Fact::new("options", mount.super_options.clone()));
            }
        }
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.bring_up(view, from)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.bring_down(view, from)
    }
}

impl Extras for Filesystem {
    fn validate(&self) -> Result<()> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(name) = self.params.fstype.as_deref()
            && (name.starts_with(['.', '-']) || !name.chars().all(fits))
        {
            return Err(configured(format!(
                "parameter fstype is not the name of a type: `{name}`"
            )));
        }
        // It becomes a word to modprobe and a part of the names of helpers.
        let is_name = |name: &str| !name.contains(['/', ' ']) && !name.starts_with('-');
        if !self.params.fstype.as_deref().is_none_or(is_name) {
            return Err(configured("parameter fstype is not the name of a file system's type"));
        }
        let prefix = Path::new(&self.params.statusfile_prefix);
        if prefix.components().any(|part| part.as_os_str() == "..") {
            return Err(configured("parameter statusfile_prefix leads out of the mount"));
        }
        if self.kind.backing == Backing::Bind && !self.device().is_path() {
            return Err(configured("parameter device is not a directory that can be bound"));
        }
        self.may_be_cloned()
    }

    fn suits(&self, view: &View) -> Result<()> {
        self.kind.is_supported(view).map(drop)
    }

    fn upkeep<'a>(&'a self, view: &View, state: &State, level: u32) -> Result<Plan<'a>> {
        let mut plan = self.try_out(view, state, level);
        if let State::Mounted(mount) = state {
            self.plan_repair(mount, &mut plan);
        }
        Ok(plan)
    }
}

impl Filesystem {
    /// The mount on the directory without a look at the whole table, if the
    /// kernel can be asked without the risk of asking the file system.
    fn quick(&self, view: &View, record: Option<&Record>) -> Option<Mount> {
        match self.kind.backing {
            // The path may lead to a server that is gone. The mount that start
            // has made is known by its number, and the path is followed as far
            // as the kernel knows it by heart.
            Backing::Server | Backing::Bind => {
                let mount = record.and_then(|record| record.mount())?;
                let same = statmount::unique(&self.params.directory) == mount.unique;
                Some(mount).filter(|mount| same && !statmount::has_upon(mount))
            }
            _ => statmount::at(view, &self.params.directory),
        }
    }

    /// What is ours: well, or not.
    fn condition(&self, mount: Mount, record: Option<&Record>) -> State {
        let broken = ["shutdown", "emergency_ro"].iter().find(|word| mount.has_super_option(word));
        let what = || format!("{} on {}", mount.what(), mount.directory.display());
        let why = match broken {
            Some(&"shutdown") => Some(format!("the kernel has shut down {}", what())),
            Some(_) => Some(format!("the kernel has turned {} read-only", what())),
            None if self.is_read_only_by_itself(&mount, record) => {
                Some(format!("{} has become read-only", what()))
            }
            None => self
                .unfinished(&mount)
                .map(|words| format!("{} was not mounted to the end: it is not {words}", what())),
        };
        match why {
            Some(why) => State::Failed(Box::new(mount), why),
            None => State::Mounted(Box::new(mount)),
        }
    }

    /// What a bind was to refuse and does not. Before Linux 5.12 its mount is made
    /// first and is told so after that; somebody may have been killed in between.
    fn unfinished(&self, mount: &Mount) -> Option<String> {
        match self.kind.backing {
            Backing::Bind => self.options.missing(mount.attributes),
            _ => None,
        }
    }

    fn is_read_only_by_itself(&self, mount: &Mount, record: Option<&Record>) -> bool {
        if self.options.wants_read_only() || fstype::is_never_written(&mount.fstype) {
            return false;
        }
        // Without an upper layer there is nowhere to write to.
        if mount.fstype == "overlay" && !mount.super_options.contains("upperdir=") {
            return false;
        }
        let whole = mount.has_super_option("ro");
        match self.kind.backing {
            Backing::Device | Backing::Image => mount.is_read_only() || whole,
            // A bind shows what is there, an overlay may have nothing to write
            // to: they can be read-only by rights from the start.
            _ => mount.is_read_only() || whole && record.is_some_and(|was| was.writable),
        }
    }

    fn foreign(&self, other: &Mount) -> String {
        let directory = self.params.directory.display();
        if other.fstype == "autofs" {
            let who = other.source.as_deref().unwrap_or("autofs");
            return format!(
                "{directory} is an automount point of {who}, which mounts at the first access: \
                 stop its automount unit, or take it out of autofs's maps"
            );
        }
        format!("{} is mounted on {directory}, wanted {}", other.what(), self.device())
    }

    /// What the instance has recorded; and from then on its device, where none
    /// was given.
    fn record(&self, view: &View) -> Result<Option<Record>, Damaged> {
        view.record(&self.record_name(), |text| {
            if self.device.get().is_none()
                && let Some(device) = Record::parse(text, "")?.device_asked_for()
            {
                self.device.get_or_init(|| device);
            }
            Record::parse(text, &self.asked_for())
        })
    }

    /// The same, where a damaged record is as good as none: what is found by its
    /// device and directory is ours all the same.
    fn known(&self, view: &View) -> Option<Record> {
        let (record, damaged) = Damaged::apart(self.record(view));
        self.damaged.replace(damaged);
        record
    }

    /// Adds the writing of the record where it was found damaged: from then on the
    /// mount is known by its number again.
    fn plan_repair<'a>(&'a self, mount: &Mount, plan: &mut Plan<'a>) {
        let Some(damaged) = self.damaged.borrow().clone() else { return };
        let mount = mount.clone();
        plan.step(format!("write the record anew: {damaged}"), move |system| {
            system.warn(format_args!("{damaged}; it is written anew"));
            self.remember(system, &mount)
        });
    }

    fn device(&self) -> &Device {
        static UNKNOWN: Device = Device::Unknown;
        self.device.get().unwrap_or(&UNKNOWN)
    }

    fn record_name(&self) -> String {
        format!("Filesystem-{}.state", self.request.instance)
    }

    /// Where a check program is tried out.
    fn scratch_name(&self) -> String {
        format!("Filesystem-{}.scratch", self.request.instance)
    }

    /// The parameters that make the mount what it is.
    fn asked_for(&self) -> String {
        let fstype = self.kind.name.as_deref().unwrap_or_default();
        format!("{}\t{}\t{fstype}", self.device(), self.params.directory.display())
    }

    /// Remembers the mount; a start without it is a start all the same.
    fn remember(&self, system: &System<'_>, mount: &Mount) -> Result<()> {
        let text = record::text(system, mount, &self.asked_for());
        system.write_record(&self.record_name(), &text)
    }

    /// What is mounted on the directory now, whatever it is.
    fn uppermost(&self, view: &View) -> Result<Option<Mount>> {
        match self.kind.backing {
            Backing::Server | Backing::Bind => {
                let table = Table::read(view)?;
                let directory = table.resolve(view, &self.params.directory)?;
                Ok(table.uppermost(&directory).cloned())
            }
            _ => mount::at(view, &self.params.directory),
        }
    }
}
