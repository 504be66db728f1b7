//! What the script `xenHA` was used for in haresources: all guests of Xen whose
//! files lie in /etc/xen/ha.d, as [`DomainGroup`](crate::domain_group) has them.
//!
//! The script was a change of xendomains: its start first stops what the backup
//! machine runs meanwhile, and its stop stops all.

use crate::domain_group::{ACTIONS, DomainGroup, DomainGroupParams, Foreign, State};
use anyhow::Result;
use common::{Agent, Extras, Fact, Plan, Request, Status, View};
use ocf_meta::{Examples, Meta, Params, Words};

static META: Meta = Meta {
    name: "xenHA",
    shortdesc: "All guests of Xen in /etc/xen/ha.d, in place of what runs besides",
    longdesc: "Starts all guests whose files lie in /etc/xen/ha.d, once the guests that run here besides have been \
        shut down, and takes all guests down at a stop. A backup machine may so have work of its own, which yields.\n\n\
        Guests of the directory that run already are left running. A stop where no guest of the group is there leaves \
        the others alone. The parameters are those of DomainGroup.",
    params: DomainGroupParams::TABLE,
    words: Words::Positions,
    actions: ACTIONS,
    examples: Examples {
        pacemaker: "guests ocf:sturdy:xenHA",
        haresources: "drbddisk::r1 LVM::vg xenHA",
        by_hand: "start",
    },
    differences: &[
        "Saved images are not restored, and nothing is saved or migrated; xendomains does each, as its file of \
         settings has it.",
        "All guests are asked to shut down at once and have one time together; xendomains asks one after the other.",
        "A guest's file that is Python, which xl does not read, is named with its line before anything is stopped.",
        "A lock file tells nothing: what runs is told by xenstore.",
        "A stop leaves the guests of others alone where none of the group is there.",
    ],
};

/// The group, which stops what runs besides.
pub struct XenHa(DomainGroup);

impl Agent for XenHa {
    const META: &'static Meta = &META;
    type Params = DomainGroupParams;
    type State = State;

    fn new(params: DomainGroupParams, request: &Request) -> Result<Self> {
        Ok(Self(DomainGroup::called(META.name, Foreign::Stop, params, request)))
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

impl Extras for XenHa {
    fn suits(&self, view: &View) -> Result<()> {
        self.0.suits(view)
    }

    fn started<'a>(&'a self, view: &View, state: &State) -> Result<Plan<'a>> {
        self.0.started(view, state)
    }

    fn upkeep<'a>(&'a self, view: &View, state: &State, level: u32) -> Result<Plan<'a>> {
        self.0.upkeep(view, state, level)
    }
}
