//! What the init script `nfs-kernel-server` was used for in haresources: the
//! kernel's NFS server with what /etc/exports has, as in
//! [`nfsserver`](crate::nfsserver).
//!
//! The script starts nothing and is content where there are no exports, and its
//! stop ends threads by a signal that today's kernels do not hear. On a machine
//! with systemd it asks the unit of that name, which drops what others export.

use crate::nfsserver::{ACTIONS, Nfsserver, NfsserverParams, State};
use anyhow::Result;
use common::host::nfs::tasks;
use common::host::tasks::Tasks;
use common::{Agent, Extras, Fact, Plan, Request, Status, View};
use ocf_meta::{Examples, Meta, Params, Words};

static META: Meta = Meta {
    name: "nfs-kernel-server",
    shortdesc: "The kernel's NFS server with what /etc/exports has",
    longdesc: "Exports what /etc/exports has and starts the kernel's NFS server, as the init script of this name did \
        in haresources: after the file systems and after nfs-common. stop ends the server first, so that the file \
        systems can be unmounted.\n\n\
        Every entry has to be exported, or start fails. Under Pacemaker, nfsserver and exportfs are to be preferred; \
        the parameters are those of nfsserver.",
    params: NfsserverParams::TABLE,
    words: Words::Positions,
    actions: ACTIONS,
    examples: Examples {
        pacemaker: "server ocf:sturdy:nfs-kernel-server",
        haresources: "Filesystem::/dev/drbd0::/srv/data::ext4 nfs-common nfs-kernel-server",
        by_hand: "start",
    },
    differences: &[
        "stop ends the threads by the kernel's own call; the init script sends them a signal that kernels ignore by \
         now, so that the file systems stay in use.",
        "Entries are exported and unexported one by one. What others export stays; the init script and the unit run \
         exportfs -au.",
        "start fails where an entry cannot be exported, or /etc/exports is a link that leads nowhere; status is told by \
         the kernel and needs no file.",
        "start without any entry starts the server; the init script does nothing and says that it did.",
    ],
};

/// The server, for what /etc/exports has.
pub struct NfsKernelServer(Nfsserver);

impl Agent for NfsKernelServer {
    const META: &'static Meta = &META;
    type Params = NfsserverParams;
    type State = State;

    fn new(params: NfsserverParams, request: &Request) -> Result<Self> {
        Ok(Self(Nfsserver::called(META.name, params, request)))
    }

    fn observe(&self, view: &View) -> Result<State> {
        self.0.observe(view)
    }

    fn status(&self, state: &State) -> Status {
        self.0.status(state)
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        self.0.facts(state)
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.0.start(view, from)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.0.stop(view, from)
    }
}

impl Extras for NfsKernelServer {
    const TASKS: Tasks = tasks::carry_out;

    fn validate(&self) -> Result<()> {
        self.0.validate()
    }

    fn suits(&self, view: &View) -> Result<()> {
        self.0.suits(view)
    }

    fn advice(&self, view: &View, state: &State) -> Vec<Fact> {
        self.0.advice(view, state)
    }

    fn started<'a>(&'a self, view: &View, state: &State) -> Result<Plan<'a>> {
        self.0.started(view, state)
    }
}
