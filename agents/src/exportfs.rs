//! Directories that the kernel's NFS server serves to clients.
//!
//! The server asks rpc.mountd whether a client may have a directory, and mountd
//! answers from a table, `/var/lib/nfs/etab`. That table is what is exported,
//! together with what the kernel has cached of it; an entry is compared whole,
//! and no name is resolved to find it. The table outlives the machine: as long
//! as no server runs, an entry that no start has made since the machine is up
//! is a leftover.
//!
//! | file        | what is in it                                             |
//! |-------------|-----------------------------------------------------------|
//! | `values.rs` | the forms of the parameters                               |
//! | `place.rs`  | where the directories lie, and what start remembers       |
//! | `look.rs`   | what is exported                                          |
//! | `start.rs`  | the way up, and the proof that the file system is there   |
//! | `stop.rs`   | the way down, and what clients still hold                 |
//! | `advice.rs` | what an fsid is for, and what will happen without         |
//!
//! The shell agent believes a file of its own before the table, so that one
//! export which is gone leaves the others where they are, and waits without an
//! end for an fsid that another resource exports as well.

mod advice;
mod look;
mod place;
mod start;
mod stop;
mod values;

use anyhow::Result;
use common::host::nfs::exports::Export;
use common::host::nfs::exports::client::Client;
use common::host::nfs::tasks;
use common::host::record::Damaged;
use common::host::tasks::Tasks;
use common::{Absent, Agent, Extras, Fact, Plan, Request, Role, Status, View, configured};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params as _, Words};
use place::Record;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use values::{Clients, Directories, Fsid, Options};

ocf_meta::params! {
    /// What is exported, to whom and how.
    pub struct Params {
        /// Directories to export.
        ///
        /// Absolute paths with blanks between them; a blank in a name is
        /// written \040.
        [required, names, position = 1] directory: Directories,
        /// Who may mount them.
        ///
        /// A host, an address, a network, @netgroup, a pattern or *, as
        /// exports(5) has it; several with blanks between them. IPv6 may stand
        /// in brackets. A stop without it goes by what the start has recorded.
        [required, position = 2] clientspec: Option<Clients>,
        /// Export options.
        ///
        /// What exportfs(8) takes after -o.
        [position = 3] options: Option<Options>,
        /// What identifies the file system to clients.
        ///
        /// A number, a UUID, or root, which is 0 and the root of what NFSv4
        /// clients see. The same on all nodes, and of no other export. With
        /// several directories it is the number of the first, and the others
        /// count on. It wins over one among the options.
        [position = 4] fsid: Option<Fsid>,
        /// Whether a stop takes locks from clients.
        ///
        /// Of the file system, once nothing of it is exported any more. What
        /// NFSv4 clients hold goes with them since Linux 6.9.
        [] unlock_on_stop: bool = "1",
        /// Whether a stop waits until leases have run out.
        ///
        /// For kernels before 6.9: what NFSv4 clients hold keeps the file
        /// system busy until then. The wait ends when nobody holds anything;
        /// a client that still does in the end, since it uses another export,
        /// is expired, and loses what it holds there as well.
        [] wait_for_leasetime_on_stop: bool = "0",
        /// Where the clients of NFSv3 are written down.
        ///
        /// A file below each directory; none for nowhere.
        [] rmtab_backup: String = ".rmtab",
        [doc = crate::drain::DOC] drain_timeout: Duration = "0",
    }
}

/// One directory to one client, as it was asked for.
#[derive(Clone, Debug)]
struct Asked {
    directory: PathBuf,
    client: Client,
    fsid: Option<Fsid>,
}

/// The same as it was found.
#[derive(Clone, Debug)]
pub struct Seen {
    asked: Asked,
    /// The directory without links.
    path: PathBuf,
    /// Its entry in the table.
    entry: Option<Export>,
}

/// What is exported.
#[derive(Debug, Default)]
pub struct State {
    /// What was asked for.
    exports: Vec<Seen>,
    /// What an earlier start has made that is not asked for any more.
    others: Vec<Export>,
    /// Proof that none of these is in the table, and that the kernel has none in
    /// its cache; or, of entries that are left from before the machine was up,
    /// that there is no server.
    absent: Option<Absent>,
    /// What the kernel has cached and should not: clauses.
    outlived: Vec<String>,
    /// That a directory does not lie where it did: a clause.
    moved: Option<String>,
    record: Option<Record>,
    /// What the record is called, if another instance has left it.
    noted_as: Option<String>,
    /// Why it is not known what start has recorded.
    damaged: Option<Damaged>,
    /// Why it is not known what the directories lead to.
    unknown: Option<String>,
}

/// Directories exported to clients.
pub struct Exportfs {
    params: Params,
    options: Options,
    request: Request,
}

impl Agent for Exportfs {
    const META: &'static Meta = &Meta {
        name: "exportfs",
        shortdesc: "Directories that the NFS server exports",
        longdesc: "Exports directories to clients by the kernel's NFS server, which is not the \
            agent's concern: nfsserver, or the distribution's service, has it run.\n\n\
            A start makes sure that each directory lies on the file system that is meant and not \
            on the empty directory beneath. A stop takes the exports out of the table, has the \
            kernel forget them, and takes from clients what they hold of the file system, unless \
            another resource exports some of it. What still keeps it busy then is named.\n\n\
            Between the start of the server and that of an export a client hears that its file is \
            gone, and loses its locks. So let the exports come before the server, which takes them \
            over, or keep the port closed meanwhile, by portblock.",
        params: Params::TABLE,
        words: Words::Positions,
        actions: &[
            START.timeout(40),
            STOP.timeout(120),
            MONITOR.timeout(20).every(10),
            VALIDATE_ALL.timeout(30),
            META_DATA,
        ],
        examples: Examples {
            pacemaker: "export ocf:sturdy:exportfs params directory=/srv/data \
                clientspec=10.0.0.0/24 options=rw,no_root_squash fsid=17",
            haresources: "exportfs::/srv/data::10.0.0.0/24::rw::17",
            by_hand: "/srv/data 10.0.0.0/24 rw 17 start",
        },
        differences: &[
            "The state is read from the table of exports and the kernel's cache, not from a file of the agent's own: \
                each export is stopped whatever has become of the others.",
            "An entry is compared whole: IPv6 networks, patterns, and directories whose names begin alike.",
            "A stop needs neither exportfs(8) nor a resolver. It has the kernel forget what it has cached, and \
                waits for that; not for an fsid that another resource exports as well.",
            "Start refuses a directory where nothing is mounted and something should be: by fstab or haresources, by \
                where it lay before, or since it is an empty directory of the root file system.",
            "A monitor fails where the directory does not lie on the file system any more that was exported.",
            "Locks are taken from clients only of the file system that was exported, and only with its last export.",
            "A directory that is not there makes start fail with 5, not 6: it may be there on another node.",
            "wait_for_leasetime_on_stop ends as soon as no client holds anything of the file system.",
            "Several clients may be given. An IPv6 address needs no brackets.",
            "/etc/exports is left out: an entry there for the same client adds no options.",
            "The list of NFSv3 clients is written when it has changed, and not by every monitor. What clients have put in its \
                place is not followed.",
            "An export with another fsid than was asked for is degraded, where the cluster knows that.",
        ],
    };
    type Params = Params;
    type State = State;

    fn new(params: Params, request: &Request) -> Result<Self> {
        let options = params.options.clone().unwrap_or_default();
        Ok(Self { params, options, request: request.clone() })
    }

    fn observe(&self, view: &View) -> Result<State> {
        self.look(view)
    }

    fn status(&self, state: &State) -> Status {
        let failed = |why: String| Status::Failed(Role::Started, why);
        if let Some(absent) = &state.absent {
            return Status::Stopped(absent.clone());
        }
        let told = |seen: &Seen| format!("{} to {}", seen.path.display(), seen.asked.client);
        let missing = state.exports.iter().find(|seen| seen.entry.is_none());
        let there = state.exports.iter().find(|seen| seen.entry.is_some());
        match (missing, there) {
            (None, _) => {}
            (Some(missing), Some(there)) => {
                return failed(format!(
                    "{} is exported, and {} is not",
                    told(there),
                    told(missing)
                ));
            }
            (Some(_), None) => {
                return failed(match (state.outlived.first(), state.others.first()) {
                    (Some(outlived), _) => outlived.clone(),
                    (None, Some(other)) => format!(
                        "{} is still exported to {}, as it was once asked for",
                        other.path.display(),
                        other.client
                    ),
                    (None, None) => "it is not exported, and there is no proof of it".into(),
                });
            }
        }
        if let Some(moved) = &state.moved {
            return failed(moved.clone());
        }
        match state.exports.iter().find_map(|seen| self.changed(seen)) {
            Some(why) => Status::Degraded(Role::Started, why),
            None => Status::Running(Role::Started),
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let seen = |seen: &Seen| {
            let path = seen.path.display();
            match &seen.entry {
                Some(entry) => format!("{path} to {}({})", entry.client, entry.options),
                None => format!("{path} not to {}", seen.asked.client),
            }
        };
        let mut facts: Vec<Fact> =
            state.exports.iter().map(|export| Fact::new("export", seen(export))).collect();
        for made in state.record.iter().flat_map(|record| &record.made) {
            let place = &made.place;
            let lies =
                format!("{} on {} ({})", made.path.display(), place.mount.display(), place.device);
            facts.push(Fact::new("lies", lies));
        }
        facts.extend(state.outlived.iter().map(|clause| Fact::new("cached", clause.clone())));
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.bring_up(view, from)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.bring_down(view, from)
    }
}

impl Extras for Exportfs {
    const TASKS: Tasks = tasks::carry_out;

    fn validate(&self) -> Result<()> {
        let count = self.params.directory.0.len();
        if let Some(fsid) = self.fsid()
            && fsid.next(count - 1).is_none()
        {
            return Err(configured(format!(
                "parameter fsid is {fsid}, and {count} directories need a number to count from"
            )));
        }
        let file = Path::new(&self.params.rmtab_backup);
        let is_below = file.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_below || self.params.rmtab_backup.ends_with('/') {
            return Err(configured(
                "parameter rmtab_backup is not the name of a file below the directory",
            ));
        }
        Ok(())
    }

    fn suits(&self, view: &View) -> Result<()> {
        view.program("exportfs")?;
        Ok(())
    }

    fn advice(&self, view: &View, state: &State) -> Vec<Fact> {
        self.warnings(view, state).into_iter().map(|text| Fact::new("mind", text)).collect()
    }

    fn started<'a>(&'a self, view: &View, state: &State) -> Result<Plan<'a>> {
        self.complete(view, state)
    }

    fn upkeep<'a>(&'a self, view: &View, state: &State, _level: u32) -> Result<Plan<'a>> {
        Ok(self.keep_clients(view, state))
    }
}

impl Exportfs {
    /// The one that the first directory has.
    fn fsid(&self) -> Option<&Fsid> {
        self.params.fsid.as_ref().or(self.options.fsid.as_ref())
    }

    /// Each directory to each client; where no client was given, to those that
    /// start has recorded.
    fn asked(&self, record: Option<&Record>) -> Vec<Asked> {
        let recorded = |directory: &PathBuf| -> Vec<Client> {
            let made = record.iter().flat_map(|record| &record.made);
            let made = made.filter(|made| made.directory == *directory);
            made.filter_map(|made| Client::parse(&made.asked).ok()).collect()
        };
        let directories = self.params.directory.0.iter().enumerate();
        let to_each = |(place, directory): (usize, &PathBuf)| -> Vec<Asked> {
            let fsid = self.fsid().and_then(|fsid| fsid.next(place));
            let one = |client: &Client| Asked {
                directory: directory.clone(),
                client: client.clone(),
                fsid: fsid.clone(),
            };
            match &self.params.clientspec {
                Some(clients) => clients.0.iter().map(one).collect(),
                None => recorded(directory).iter().map(one).collect(),
            }
        };
        directories.flat_map(to_each).collect()
    }

    /// Whether the list of NFSv3 clients is kept, and below which name.
    fn backup(&self) -> Option<&str> {
        let file = self.params.rmtab_backup.as_str();
        (file != "none").then_some(file)
    }
}
