//! `portblock`: ports that are closed to clients while the service behind them
//! comes or goes.
//!
//! A group begins with a block, so that nobody is told "nobody is there" while
//! the address is up and the service is not, and ends with an unblock. The
//! packets are held back by rules in a table of nf_tables that is ours alone,
//! known by what is written on them; the table also says what was started. One
//! change of the kernel's takes it from one state to the next.
//!
//! What differs from the shell agent: nothing is told from a program's text, so
//! that a rule that was made is found again; a monitor starts no program; a stop
//! and a probe need no directory and no firewall tool.

mod clients;
mod leftovers;
mod name;
mod params;
mod record;
mod wall;

use anyhow::Result;
use common::host::record::Damaged;
use common::host::tasks::Tasks;
use common::host::tickle;
use common::{
    Absent, Agent, Extras, Fact, Plan, Promotion, Request, Role, Status, System, View, installed,
};
use name::{Name, Stage};
use ocf_meta::action::{DEMOTE, META_DATA, MONITOR, PROMOTE, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Words};
use params::{Effect, PortblockParams, StatusCheck};
use std::time::Duration;
use wall::{Seen, Wall, Wanted};

/// The promotion score of an instance that is not promoted, and of one that is:
/// it stays where it is.
const SCORES: (u32, u32) = (5, 10);

/// The agent.
pub struct Portblock {
    params: PortblockParams,
    name: Name,
    /// Whether the cluster promotes instances of this one.
    is_promotable: bool,
    promotion: Option<Promotion>,
}

/// What was seen.
#[derive(Debug)]
pub struct State {
    seen: Seen,
    /// How far this resource has come.
    stage: Option<Stage>,
    /// Why that is not known, and is taken for a start.
    damaged: Option<Damaged>,
    /// Whether an unblock of the same ports has been started.
    is_opened: bool,
}

impl Agent for Portblock {
    const META: &'static Meta = &Meta {
        name: "portblock",
        shortdesc: "Closes ports to clients until the service behind them is ready",
        longdesc: "\
Holds back the packets to TCP or UDP ports, and lets them through again.

A group begins with a portblock with action=block, and ends with one with action=unblock and otherwise \
the same parameters; the address and the service stand between them. So a client that asks while the \
address is there and the service is not yet, or not any more, hears nothing and asks again, instead of \
hearing that nobody is there. A stop of the unblock closes the ports, a stop of the block opens them.

With tickle_dir, clients of a service that has moved hear of it at once, and connect again, instead of \
waiting for their own timers.

As a promotable clone, action is what a promotion does; instances that are not promoted do the opposite.",
        params: PortblockParams::TABLE,
        words: Words::Positions,
        actions: &[
            START.timeout(20),
            STOP.timeout(20),
            PROMOTE.timeout(10),
            DEMOTE.timeout(10),
            MONITOR.timeout(10).every(10),
            MONITOR.timeout(10).every(9).role("Promoted"),
            VALIDATE_ALL.timeout(5),
            META_DATA,
        ],
        examples: Examples {
            pacemaker: "p_block ocf:sturdy:portblock params ip=10.10.0.10 protocol=tcp portno=2049 action=block",
            haresources: "portblock::tcp::2049::block",
            by_hand: "tcp 2049 block 10.10.0.10 start",
        },
        differences: &[
            "nf_tables is spoken to directly, in a table of our own: neither nft nor iptables has to be \
             installed, and what others do with those, a reload of firewalld included, does not touch it. \
             firewall chooses nothing any more. In a kernel without nf_tables the rules stand in \
             iptables' own chains, changed by its iptables-restore; what somebody puts before them that \
             lets packets through is a failure of monitor.",
            "Lists and ranges of ports, IPv6, networks, and reject for UDP work.",
            "Rules are known by what is written on them and read back from the kernel: a block of which \
             rules are missing, or that were changed, is a failure of monitor.",
            "An unblock runs only while the ports are open. If they are blocked again afterwards by a \
             block that is started once more, it has failed.",
            "A stop of an unblock that was not started here does not close the ports.",
            "A stop or a probe does not look at tickle_dir; values that only a start needs are passed over.",
            "A start removes what a shell agent has left of the same ports, with iptables in either \
             form or with nft.",
            "Connections are asked of the kernel, and ended there for reset_local_on_unblock_stop; neither \
             ss nor netstat nor tickle_tcp is needed. The list is written when it has changed.",
            "sync_script is run when the list has changed, not with each monitor.",
            "drain_timeout is new: a stop of an unblock lets connections finish, and takes no new ones.",
        ],
    };
    type Params = PortblockParams;
    type State = State;

    fn new(params: PortblockParams, request: &Request) -> Result<Self> {
        let meta = |name| request.meta(name).is_some();
        Ok(Self {
            name: Name::of(&params),
            params,
            is_promotable: meta("promoted_max") || meta("master_max"),
            promotion: Promotion::of(request),
        })
    }

    fn observe(&self, view: &View) -> Result<State> {
        let seen = wall::look(view, &self.name)?;
        let action = self.params.action;
        // Records count only where there is no mark, and where it matters.
        let of = |action| match seen.stage(action) {
            Some(stage) => Ok(Some(stage)),
            None => record::read(view, &self.name, action),
        };
        let (stage, damaged) = match of(action) {
            Ok(stage) => (stage, None),
            // As one that was started it is taken down, and not left as it is.
            Err(damaged) => (Some(Stage::Started), Some(damaged)),
        };
        let asks_other = action == Effect::Block && matches!(seen.wall, Wall::Open(_));
        let is_opened = asks_other && of(Effect::Unblock).unwrap_or_default().is_some();
        Ok(State { seen, stage, damaged, is_opened })
    }

    fn status(&self, state: &State) -> Status {
        if let Some(damaged) = &state.damaged {
            let why = format!("{damaged}: it is not known whether it was started; stop it");
            return Status::Failed(Role::Started, why);
        }
        let has_role = matches!(state.stage, Some(Stage::Unpromoted | Stage::Promoted));
        // A caller that names no clone promotes all the same.
        if self.is_promotable || has_role {
            return self.role(state);
        }
        let failed = |reason: String| Status::Failed(Role::Started, reason);
        let ports = self.name.shown();
        let by_rule = self.params.status_check == StatusCheck::Rule;
        match (self.params.action, &state.seen.wall) {
            (Effect::Block, Wall::Closed(_)) => Status::Running(Role::Started),
            (Effect::Block, Wall::Gap(gap)) => failed(format!("{ports}: blocked in part: {gap}")),
            (Effect::Block, Wall::Open(_))
                if !by_rule && state.stage.is_some() && state.is_opened =>
            {
                Status::Running(Role::Started)
            }
            (Effect::Block, Wall::Open(absent)) => Status::Stopped(absent.clone()),
            (Effect::Unblock, Wall::Open(_)) if by_rule || state.stage.is_some() => {
                Status::Running(Role::Started)
            }
            (Effect::Unblock, Wall::Closed(absent)) if state.stage.is_none() => {
                Status::Stopped(absent.clone())
            }
            (Effect::Unblock, Wall::Closed(_)) => {
                failed(format!("{ports}: blocked again since the start"))
            }
            (Effect::Unblock, Wall::Gap(gap)) if state.stage.is_some() => {
                failed(format!("{ports}: blocked in part: {gap}"))
            }
            (Effect::Unblock, _) => self.not_started(state),
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let wall = match &state.seen.wall {
            Wall::Closed(_) => "blocked".to_owned(),
            Wall::Gap(gap) => format!("blocked in part: {gap}"),
            Wall::Open(absent) => format!("open ({absent})"),
        };
        let begun = match state.stage {
            Some(stage) => stage.word(),
            None => "not started here",
        };
        let mut facts = vec![
            Fact::new("ports", self.name.shown()),
            Fact::new("found", wall),
            Fact::new("here", format!("{}: {begun}", self.params.action.word())),
        ];
        if state.is_opened {
            facts.push(Fact::new("opened", "by an unblock that was started after it"));
        }
        facts
    }

    fn start<'a>(&'a self, view: &View, _from: &State) -> Result<Plan<'a>> {
        wall::check(view, &self.name)?;
        self.check_directory(view)?;
        let mut plan = Plan::new();
        let (effect, stage) = match self.is_promotable {
            true => (self.params.action.turned(), Stage::Unpromoted),
            false => (self.params.action, Stage::Started),
        };
        self.plan_effect(&mut plan, effect, Some(stage));
        leftovers::plan(view, &mut plan, &self.name);
        if effect == Effect::Unblock {
            self.plan_tickle(&mut plan);
        }
        self.plan_score(&mut plan, Some(SCORES.0), "started");
        Ok(plan)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let effect = self.params.action.turned();
        let by_rule = !self.is_promotable && self.params.status_check == StatusCheck::Rule;
        let runs = from.stage.is_some() || by_rule;
        match (effect, &from.seen.wall) {
            (Effect::Block, Wall::Open(_)) if runs => self.plan_closing(&mut plan, from.stage),
            // What was never opened here is not closed.
            (Effect::Block, Wall::Open(_)) if from.seen.strays == 0 => {}
            (Effect::Block, Wall::Gap(_)) if !runs => {}
            (Effect::Block, Wall::Closed(_)) if from.stage.is_none() && from.seen.strays == 0 => {}
            (Effect::Block, Wall::Open(_)) => self.plan_effect(&mut plan, Effect::Unblock, None),
            (Effect::Block, _) => self.plan_effect(&mut plan, Effect::Block, None),
            (Effect::Unblock, wall) => {
                let is_open = matches!(wall, Wall::Open(_)) && from.seen.strays == 0;
                if from.stage.is_some() || !is_open {
                    self.plan_effect(&mut plan, Effect::Unblock, None);
                }
                leftovers::plan(view, &mut plan, &self.name);
            }
        }
        self.plan_score(&mut plan, None, "stopped");
        Ok(plan)
    }
}

impl Extras for Portblock {
    const TASKS: Tasks = tickle::carry_out;

    fn validate(&self) -> Result<()> {
        self.params.check()
    }

    fn suits(&self, view: &View) -> Result<()> {
        wall::check(view, &self.name)?;
        self.check_directory(view)?;
        match clients::script(&self.params) {
            Some((program, _)) => Ok(view.program(program).map(drop)?),
            None => Ok(()),
        }
    }

    fn upkeep<'a>(&'a self, view: &View, state: &State, _level: u32) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let is_open = matches!(state.seen.wall, Wall::Open(_));
        let serves = match state.stage {
            Some(Stage::Unpromoted) => self.params.action == Effect::Block,
            _ => self.params.action == Effect::Unblock,
        };
        if is_open && serves {
            self.plan_upkeep(view, &mut plan)?;
        }
        let (score, why) = match state.stage {
            Some(Stage::Promoted) => (SCORES.1, "promoted"),
            _ => (SCORES.0, "started"),
        };
        let is_stale = |promotion: &&Promotion| promotion.is_stale(view, Some(score));
        if self.is_promotable && self.promotion.as_ref().filter(is_stale).is_some() {
            self.plan_score(&mut plan, Some(score), why);
        }
        Ok(plan)
    }

    fn promote<'a>(&'a self, _view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        anyhow::ensure!(from.stage.is_some(), "{}: not started here", self.name.shown());
        if self.role(from).is_promoted() {
            return Ok(plan);
        }
        self.plan_effect(&mut plan, self.params.action, Some(Stage::Promoted));
        if self.params.action == Effect::Unblock {
            self.plan_tickle(&mut plan);
        }
        self.plan_score(&mut plan, Some(SCORES.1), "promoted");
        Ok(plan)
    }

    fn demote<'a>(&'a self, _view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let (effect, stage) = (self.params.action.turned(), Some(Stage::Unpromoted));
        match (effect, &from.seen.wall) {
            (Effect::Block, Wall::Open(_)) => {
                self.plan_parting(&mut plan, from.stage);
                self.plan_effect(&mut plan, effect, stage);
            }
            _ => self.plan_effect(&mut plan, effect, stage),
        }
        self.plan_score(&mut plan, Some(SCORES.0), "demoted");
        Ok(plan)
    }

    fn background(words: &[String], system: &System<'_>) -> Result<()> {
        clients::background(words, system)
    }
}

impl Portblock {
    /// What a promotable instance is.
    fn role(&self, state: &State) -> Status {
        let (role, wanted) = match state.stage {
            Some(Stage::Promoted) => (Role::Promoted, self.params.action),
            Some(_) => (Role::Unpromoted, self.params.action.turned()),
            None => return self.not_started(state),
        };
        let ports = self.name.shown();
        match (wanted, &state.seen.wall) {
            (Effect::Block, Wall::Closed(_)) | (Effect::Unblock, Wall::Open(_)) => {
                Status::Running(role)
            }
            (_, Wall::Gap(gap)) => Status::Failed(role, format!("{ports}: blocked in part: {gap}")),
            (Effect::Block, _) => Status::Failed(role, format!("{ports}: not blocked")),
            (Effect::Unblock, _) => Status::Failed(role, format!("{ports}: blocked")),
        }
    }

    /// By the table, which has no mark.
    fn not_started(&self, state: &State) -> Status {
        let absent: Option<Absent> = state.seen.unmarked(self.params.action);
        match absent {
            Some(absent) => Status::Stopped(absent),
            None => Status::Failed(Role::Started, "it is not known whether it was started".into()),
        }
    }

    /// Adds the change of the firewall, and the record of it.
    fn plan_effect<'a>(&'a self, plan: &mut Plan<'a>, effect: Effect, stage: Option<Stage>) {
        let what = match (effect, stage) {
            (Effect::Block, _) => format!("block {}", self.name.shown()),
            (Effect::Unblock, _) => format!("open {}", self.name.shown()),
        };
        plan.step(what, move |system| {
            let wall = (effect == Effect::Block).then(|| self.params.method.into());
            self.change(system, stage, Wanted { wall, ..Wanted::default() })
        });
    }

    /// What is to be and how far that is, in the firewall and beside it. While
    /// there is no record, the mark counts; so a record goes before the mark.
    fn change(&self, system: &System<'_>, stage: Option<Stage>, wanted: Wanted) -> Result<()> {
        let action = self.params.action;
        if stage.is_none() {
            record::remove(system, &self.name, action)?;
        }
        wall::change(system, &self.name, action, stage, wanted)?;
        if let Some(stage) = stage {
            record::write(system, &self.name, action, stage);
        }
        Ok(())
    }

    fn plan_score<'a>(&'a self, plan: &mut Plan<'a>, score: Option<u32>, why: &'static str) {
        let Some(promotion) = self.promotion.as_ref().filter(|_| self.is_promotable) else {
            return;
        };
        plan.step("tell the promotion score", move |system| {
            promotion.set(system, score, why);
            Ok(())
        });
    }

    fn check_directory(&self, view: &View) -> Result<()> {
        let Some(directory) = &self.params.tickle_dir else { return Ok(()) };
        match view.is_dir(directory)? {
            true => Ok(()),
            false => Err(installed(format!(
                "tickle_dir {} is no directory here: is its file system mounted?",
                directory.display()
            ))),
        }
    }

    /// How much of the rest of the time something may take that must not keep
    /// the action from its end.
    fn share(system: &System<'_>) -> Duration {
        system.deadline().left() / 3
    }
}
