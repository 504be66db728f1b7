//! What an agent has to say: what it sees, what that means, how to move.

use crate::frame::fault::unimplemented;
use crate::frame::request::Request;
use crate::host::absence::Absent;
use crate::host::system::{System, View};
use crate::host::tasks::{self, Tasks};
use anyhow::Result;
use ocf_meta::{Meta, Params};
use std::fmt;

/// One resource type. An agent says what it sees and how to move; when to
/// move, and what the cluster is told, is decided in
/// [`lifecycle`](crate::frame::lifecycle).
///
/// Looking and planning take a [`View`], which cannot change the machine. Only
/// the steps of a [`Plan`] are handed a [`System`].
///
/// Whatever else may be asked of an agent is in [`Extras`], which most leave as
/// it is: `impl Extras for NAME {}`.
pub trait Agent: Sized {
    /// What the agent declares about itself.
    const META: &'static Meta;
    /// Its parameters, made by [`params!`](ocf_meta::params).
    type Params: Params;
    /// What may be found on the machine.
    type State: fmt::Debug;

    /// Builds the agent from its parameters. Touches nothing.
    fn new(params: Self::Params, request: &Request) -> Result<Self>;

    /// Looks at the machine. An error means that the state is in doubt.
    fn observe(&self, view: &View) -> Result<Self::State>;

    /// What the observed state means to the cluster.
    fn status(&self, state: &Self::State) -> Status;

    /// What was seen, for people.
    fn facts(&self, state: &Self::State) -> Vec<Fact>;

    /// How to bring the resource up from a state that is not running.
    fn start<'a>(&'a self, view: &View, from: &Self::State) -> Result<Plan<'a>>;

    /// How to bring the resource down, and to clear what it may have left
    /// behind where it is down already.
    fn stop<'a>(&'a self, view: &View, from: &Self::State) -> Result<Plan<'a>>;
}

/// What some agents have to say besides.
pub trait Extras: Agent {
    /// What its children can be told to do besides what those of all agents can.
    const TASKS: Tasks = tasks::none;

    /// Checks the parameters against each other and against what the cluster
    /// says of the resource, not against the machine.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Checks whether this machine could run the resource.
    fn suits(&self, _view: &View) -> Result<()> {
        Ok(())
    }

    /// What has to be done before a look can tell anything, and changes nothing of
    /// what is looked for. A start and a stop do it; a monitor, which changes
    /// nothing, is in doubt without it.
    fn uncover<'a>(&'a self, _view: &View) -> Plan<'a> {
        Plan::new()
    }

    /// What `explain` says besides: what will be in the way one day. Takes its
    /// time.
    fn advice(&self, _view: &View, _state: &Self::State) -> Vec<Fact> {
        Vec::new()
    }

    /// What a start does to a resource that runs already: the rest of what an
    /// earlier start was cut short of, or a role that nobody has asked for.
    fn started<'a>(&'a self, _view: &View, _state: &Self::State) -> Result<Plan<'a>> {
        Ok(Plan::new())
    }

    /// What a monitor of this check level does to a running resource besides
    /// looking. A step that fails makes the monitor fail.
    fn upkeep<'a>(&'a self, _view: &View, _state: &Self::State, _level: u32) -> Result<Plan<'a>> {
        Ok(Plan::new())
    }

    /// What a recurring monitor does about a resource that it finds stopped.
    /// Nothing of it can change what the monitor reports.
    fn found_stopped<'a>(&'a self, _view: &View, _state: &Self::State) -> Plan<'a> {
        Plan::new()
    }

    /// How to promote an instance. One that is not running fails here; of one
    /// that is promoted already it is what is left to do.
    fn promote<'a>(&'a self, _view: &View, _from: &Self::State) -> Result<Plan<'a>> {
        Err(unimplemented("promote"))
    }

    /// How to demote a promoted instance.
    fn demote<'a>(&'a self, _view: &View, _from: &Self::State) -> Result<Plan<'a>> {
        Err(unimplemented("demote"))
    }

    /// What to do about what the cluster does to the other instances. The
    /// request given to [`Agent::new`] tells which and what.
    fn notify<'a>(&'a self, _view: &View, _state: &Self::State) -> Result<Plan<'a>> {
        Err(unimplemented("notify"))
    }

    /// How to take new values of reloadable parameters while running.
    fn reload<'a>(&'a self, _view: &View, _from: &Self::State) -> Result<Plan<'a>> {
        Err(unimplemented("reload-agent"))
    }

    /// How to move a running resource to the node that the request names. Once
    /// it is done, a look of this node finds it stopped.
    fn migrate_to<'a>(&'a self, _view: &View, _from: &Self::State) -> Result<Plan<'a>> {
        Err(unimplemented("migrate_to"))
    }

    /// How to take over a resource that another node has moved here, and may
    /// not have moved whole yet.
    fn migrate_from<'a>(&'a self, _view: &View, _from: &Self::State) -> Result<Plan<'a>> {
        Err(unimplemented("migrate_from"))
    }

    /// A fixed word in brackets after `running` or `stopped`, for agents whose
    /// callers have always seen one: `running (Primary)`.
    fn word(&self, _state: &Self::State) -> Option<&'static str> {
        None
    }

    /// Why `status` in words has no answer, and the exit code that says so.
    fn no_status(&self) -> Option<(u8, &'static str)> {
        None
    }

    /// What [`System::background`] starts: the words it was given, of which the
    /// first is the instance's name.
    fn background(_words: &[String], _system: &System<'_>) -> Result<()> {
        Err(unimplemented("--background"))
    }
}

/// What an instance does while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Running, of a resource without roles.
    Started,
    /// Running, not promoted.
    Unpromoted,
    /// Running, promoted.
    Promoted,
}

/// What a state means to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Cleanly down, by a look that proves it.
    Stopped(Absent),
    /// Up.
    Running(Role),
    /// Up, with a fault that calls for a person. The reason is a clause.
    Degraded(Role, String),
    /// Up in part, or broken. The reason is a clause.
    Failed(Role, String),
}

impl Status {
    /// Whether the resource does what it is there for.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Running(_) | Self::Degraded(..))
    }

    /// Whether it is cleanly down.
    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped(_))
    }

    /// Whether the resource does it in the promoted role.
    pub fn is_promoted(&self) -> bool {
        matches!(self, Self::Running(Role::Promoted) | Self::Degraded(Role::Promoted, _))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Running(role) | Self::Degraded(role, _) | Self::Failed(role, _)) = self else {
            return f.write_str("stopped");
        };
        let (word, reason) = match self {
            Self::Degraded(_, reason) => ("degraded", Some(reason)),
            Self::Failed(_, reason) => ("failed", Some(reason)),
            _ => ("running", None),
        };
        f.write_str(word)?;
        match role {
            Role::Started => {}
            Role::Unpromoted => f.write_str(" unpromoted")?,
            Role::Promoted => f.write_str(" promoted")?,
        }
        reason.map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// One thing that was seen: `device: /dev/drbd0 (147:0)`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fact {
    /// What it is about.
    pub what: &'static str,
    /// What was seen.
    pub seen: String,
}

impl Fact {
    /// A fact.
    pub fn new(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, seen: seen.into() }
    }
}

type Act<'a> = Box<dyn FnOnce(&System<'_>) -> Result<()> + 'a>;

/// A step: what it does, in words a person reads before it is done, and the
/// doing.
pub struct Step<'a> {
    pub(crate) what: String,
    pub(crate) act: Act<'a>,
}

impl fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Steps in order.
///
/// A start ends at the first step that fails; a stop goes on and reports what
/// failed, since each thing it takes down is one less in the way.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    pub(crate) steps: Vec<Step<'a>>,
}

impl<'a> Plan<'a> {
    /// Nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step: `mount /dev/drbd0 on /srv`, in the imperative.
    pub fn step(
        &mut self,
        what: impl Into<String>,
        act: impl FnOnce(&System<'_>) -> Result<()> + 'a,
    ) -> &mut Self {
        self.steps.push(Step { what: what.into(), act: Box::new(act) });
        self
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
