//! The rules that hold packets back, and what was started: both in a table of
//! our own, which one change of the kernel's takes from one state to another.

use super::name::{IN, Name, OUT, Purpose, Side, Stage};
use super::params::Effect;
use anyhow::{Result, bail};
use common::host::absence::Whole;
use common::host::nftables::{self, Change, Family, Of, Rule, Table, Verdict};
use common::host::traffic::{Protocol, Traffic};
use common::{Absent, System, View};

/// Both IPv4 and IPv6 are in it.
pub(super) const TABLE: Table = Table { family: Family::Inet, name: "sturdy_portblock" };

/// A chain that no packet ever meets.
const MARKS: &str = "started";

/// One instance at a time changes the table.
const LOCK: &str = "portblock";

/// Whether packets are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wall {
    /// All that were meant.
    Closed(Absent),
    /// Some of them, or in another way; and which.
    Gap(String),
    /// None.
    Open(Absent),
}

/// What the kernel has of a name.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) wall: Wall,
    /// How far a block and an unblock have come, by the marks.
    pub(super) block: Option<Stage>,
    pub(super) unblock: Option<Stage>,
    /// Proof that the one has no mark, and the other.
    pub(super) no_block: Option<Absent>,
    pub(super) no_unblock: Option<Absent>,
    /// How many rules there are that an earlier action was about to remove.
    pub(super) strays: usize,
}

impl Seen {
    /// How far this action's resource has come.
    pub(super) fn stage(&self, action: Effect) -> Option<Stage> {
        match action {
            Effect::Block => self.block,
            Effect::Unblock => self.unblock,
        }
    }

    /// Proof that it has no mark.
    pub(super) fn unmarked(&self, action: Effect) -> Option<Absent> {
        match action {
            Effect::Block => self.no_block.clone(),
            Effect::Unblock => self.no_unblock.clone(),
        }
    }
}

/// Looks.
pub(super) fn look(view: &View, name: &Name) -> Result<Seen> {
    match nftables::rules(view, TABLE)? {
        Ok(rules) => {
            let mut seen = seen(&rules, name);
            if let Wall::Closed(_) = seen.wall
                && nftables::sleeps(view, TABLE)?
            {
                seen.wall = Wall::Gap("its table is dormant".into());
            }
            Ok(seen)
        }
        Err(absent) => Ok(Seen {
            wall: Wall::Open(absent.clone()),
            block: None,
            unblock: None,
            no_block: Some(absent.clone()),
            no_unblock: Some(absent),
            strays: 0,
        }),
    }
}

fn has(rule: &Rule, comment: &str) -> bool {
    rule.comment.as_deref() == Some(comment)
}

fn seen(rules: &Whole<Rule>, name: &Name) -> Seen {
    let block = name.comment(Purpose::Block);
    let strays = [Purpose::Drain, Purpose::Reset].map(|purpose| name.comment(purpose));
    let marks =
        |action| Stage::ALL.map(|stage| (stage, name.comment(Purpose::Mark(stage, action))));
    let stage = |action| {
        let marked = |(_, mark): &(Stage, String)| rules.iter().any(|rule| has(rule, mark));
        marks(action).into_iter().find(marked).map(|(stage, _)| stage)
    };
    let unmarked =
        |action| rules.lacks(|rule| marks(action).iter().any(|(_, mark)| has(rule, mark)));
    Seen {
        wall: wall(rules, name, &block),
        block: stage(Effect::Block),
        unblock: stage(Effect::Unblock),
        no_block: unmarked(Effect::Block),
        no_unblock: unmarked(Effect::Unblock),
        strays: rules.iter().filter(|rule| strays.iter().any(|stray| has(rule, stray))).count(),
    }
}

fn wall(rules: &Whole<Rule>, name: &Name, comment: &str) -> Wall {
    let is_meant = |rule: &Rule| has(rule, comment);
    if let Some(absent) = rules.lacks(is_meant) {
        return Wall::Open(absent);
    }
    let mut missing = 0;
    for side in name.sides() {
        for traffic in name.traffic(*side) {
            missing +=
                usize::from(!rules.iter().any(|rule| {
                    is_meant(rule) && rule.chain == side.chain && holds(rule, &traffic)
                }));
        }
    }
    let wanted = name.sides().len() * name.ports.len();
    match rules.excludes("the ports are blocked", is_meant) {
        Some(absent) if missing == 0 => Wall::Closed(absent),
        _ => Wall::Gap(format!("{} of {wanted} rules are there", wanted - missing)),
    }
}

/// Whether the rule holds this traffic back, and all of it.
fn holds(rule: &Rule, traffic: &Traffic) -> bool {
    let sense = &rule.sense;
    !sense.is_strange
        && !sense.states
        && sense.of() == Of::All
        && sense.protocol == Some(traffic.protocol)
        && sense.network_or_all(traffic.end) == Some(traffic.network)
        && sense
            .ports
            .as_ref()
            .is_some_and(|(end, ports)| *end == traffic.end && ports.as_slice() == [traffic.ports])
        && matches!(sense.verdict, Some(Verdict::Drop | Verdict::Reject))
}

/// What is to be there of a name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// What becomes of the packets that are held back; none of them are without.
    pub(super) wall: Option<Verdict>,
    /// Whether new connections are held back.
    pub(super) drain: bool,
    /// Whether clients are kept from hearing that their connections end.
    pub(super) reset: bool,
}

/// Takes the table from what it has of the name to what is wanted, and the
/// marks of this action to the stage, all in one: whoever looks sees the one or
/// the other.
pub(super) fn change(
    system: &System<'_>,
    name: &Name,
    action: Effect,
    stage: Option<Stage>,
    wanted: Wanted,
) -> Result<()> {
    let _lock = system.hold(LOCK)?;
    let rules = match nftables::rules(system, TABLE)? {
        Ok(rules) => rules,
        Err(absent) => bail!("{absent}"),
    };
    let purposes = [Purpose::Block, Purpose::Drain, Purpose::Reset];
    let marks = Stage::ALL.map(|stage| Purpose::Mark(stage, action));
    let ours: Vec<String> =
        purposes.into_iter().chain(marks).map(|purpose| name.comment(purpose)).collect();
    let is_ours = |rule: &&Rule| ours.iter().any(|comment| has(rule, comment));
    let mut change = Change::new();
    if wanted.wall.is_none() && !wanted.drain && stage.is_none() {
        if rules.iter().all(|rule| is_ours(&rule)) {
            // Nobody needs the table any more, if there is one.
            if !rules.is_empty() {
                change.delete_table(TABLE);
            }
            return change.make(system);
        }
    } else {
        change.table(TABLE);
        for side in [IN, OUT] {
            change.chain(TABLE, side.chain, Some(side.hook));
        }
        change.chain(TABLE, MARKS, None);
    }
    rules.iter().filter(is_ours).for_each(|rule| change.delete(TABLE, rule));
    let mut add = |side: Side, purpose: Purpose, of: Of, verdict: Verdict| {
        for traffic in name.traffic(side) {
            change.rule(TABLE, side.chain, &name.comment(purpose), Some((&traffic, of)), verdict);
        }
    };
    if let Some(verdict) = wanted.wall {
        name.sides().iter().for_each(|side| add(*side, Purpose::Block, Of::All, verdict));
    }
    let is_tcp = name.protocol == Protocol::Tcp;
    if wanted.drain && is_tcp {
        add(IN, Purpose::Drain, Of::Beginnings, Verdict::Drop);
    }
    if wanted.reset && is_tcp {
        add(OUT, Purpose::Reset, Of::All, Verdict::Reject);
    }
    if let Some(stage) = stage {
        let comment = name.comment(Purpose::Mark(stage, action));
        change.rule(TABLE, MARKS, &comment, None, Verdict::Continue);
    }
    change.make(system)
}
