//! The rules that hold packets back, and what was started: both in a table of
//! our own, which one change of the kernel's takes from one state to another.
//! In a kernel without nf_tables they stand in the chains of iptables, first
//! where they hold something back.

use super::name::{IN, Name, OUT, Purpose, Side, Stage};
use super::params::Effect;
use anyhow::Result;
use common::host::absence::Whole;
use common::host::iptables;
use common::host::nftables::{self, Change, Family, Of, Rule, Table, Verdict};
use common::host::traffic::{Protocol, Traffic};
use common::{Absent, System, View, installed};

/// Both IPv4 and IPv6 are in it.
pub(super) const TABLE: Table = Table { family: Family::Inet, name: "sturdy_portblock" };

/// A chain that no packet ever meets.
const MARKS: &str = "started";

/// One instance at a time changes the table.
const LOCK: &str = "portblock";

/// What iptables is to do, for the moment in which it reads it.
const ORDERS: &str = "portblock.rules";

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

/// Where the rules are, and those there are; nowhere yet where nobody has made
/// any with iptables.
enum Found {
    /// And whether their table has been put to sleep.
    Tables(Whole<Rule>, bool),
    Chains(Whole<Rule>),
    Nothing(Absent),
}

fn find(view: &View, name: &Name) -> Result<Found> {
    let absent = match nftables::rules_and_sleep(view, TABLE)? {
        Ok((rules, sleeps)) => return Ok(Found::Tables(rules, sleeps)),
        Err(absent) => absent,
    };
    Ok(match iptables::rules(view, name.family())? {
        Ok(rules) => Found::Chains(rules),
        Err(either) => Found::Nothing(absent.and(either)),
    })
}

/// Fails where nothing here can hold packets back.
pub(super) fn check(view: &View, name: &Name) -> Result<()> {
    let Err(absent) = nftables::rules(view, TABLE)? else { return Ok(()) };
    match iptables::program(view, name.family(), iptables::RESTORE) {
        Ok(_) => Ok(()),
        Err(missing) => {
            Err(installed(format!("nothing here holds packets back: {absent}, and {missing}")))
        }
    }
}

/// Looks.
pub(super) fn look(view: &View, name: &Name) -> Result<Seen> {
    match find(view, name)? {
        Found::Tables(rules, sleeps) => {
            let mut seen = seen(&rules, name);
            if let Wall::Closed(_) = seen.wall
                && sleeps
            {
                seen.wall = Wall::Gap("its table is dormant".into());
            }
            Ok(seen)
        }
        Found::Chains(rules) => Ok(seen(&rules, name)),
        Found::Nothing(absent) => Ok(Seen {
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
    let marked = |action| {
        let marks = Stage::ALL.map(|stage| (stage, name.comment(Purpose::Mark(stage, action))));
        let is_there = |(_, mark): &&(Stage, String)| rules.iter().any(|rule| has(rule, mark));
        let stage = marks.iter().find(is_there).map(|(stage, _)| *stage);
        (stage, rules.lacks(|rule| marks.iter().any(|(_, mark)| has(rule, mark))))
    };
    let (blocks, no_block) = marked(Effect::Block);
    let (unblocks, no_unblock) = marked(Effect::Unblock);
    Seen {
        wall: wall(rules, name, &block),
        block: blocks,
        unblock: unblocks,
        no_block,
        no_unblock,
        strays: rules.iter().filter(|rule| strays.iter().any(|stray| has(rule, stray))).count(),
    }
}

fn wall(rules: &Whole<Rule>, name: &Name, comment: &str) -> Wall {
    let is_meant = |rule: &Rule| has(rule, comment);
    if let Some(absent) = rules.lacks(is_meant) {
        return Wall::Open(absent);
    }
    if let Some(before) = lets_through(rules, is_meant) {
        return Wall::Gap(format!("a rule of somebody else's stands before them in {before}"));
    }
    let mut missing = 0;
    for side in name.sides() {
        for traffic in name.traffic(*side) {
            missing += usize::from(
                !rules
                    .iter()
                    .any(|rule| is_meant(rule) && side.is(&rule.chain) && holds(rule, &traffic)),
            );
        }
    }
    let wanted = name.sides().len() * name.ports.len();
    match rules.excludes("the ports are blocked", is_meant) {
        Some(absent) if missing == 0 => Wall::Closed(absent),
        _ => Wall::Gap(format!("{} of {wanted} rules are there", wanted - missing)),
    }
}

/// The chain in which a rule stands before what is meant that may let packets
/// through: iptables' chains are everybody's.
fn lets_through(rules: &[Rule], is_meant: impl Fn(&Rule) -> bool) -> Option<&'static str> {
    let stands_behind = |side: &Side| {
        let mut here = rules.iter().filter(|rule| side.is(&rule.chain));
        here.any(|rule| rule.sense.verdict.is_none()) && here.any(&is_meant)
    };
    [IN, OUT].into_iter().find(stands_behind).map(|side| side.chain)
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
    let purposes = [Purpose::Block, Purpose::Drain, Purpose::Reset];
    let marks = Stage::ALL.map(|stage| Purpose::Mark(stage, action));
    let ours: Vec<String> =
        purposes.into_iter().chain(marks).map(|purpose| name.comment(purpose)).collect();
    let is_ours = |rule: &&Rule| ours.iter().any(|comment| has(rule, comment));
    let new = New::of(name, action, stage, wanted);
    match find(system, name)? {
        Found::Tables(rules, _) => in_table(system, &rules, is_ours, &new),
        Found::Chains(rules) => in_chains(system, &rules, is_ours, &new, name.family()),
        Found::Nothing(_) => in_chains(system, &[], is_ours, &new, name.family()),
    }
}

/// The rules that are to be there.
#[derive(Default)]
struct New {
    walls: Vec<(Side, String, Traffic, Of, Verdict)>,
    mark: Option<String>,
}

impl New {
    fn of(name: &Name, action: Effect, stage: Option<Stage>, wanted: Wanted) -> Self {
        let mut new = Self::default();
        let mut add = |side: Side, purpose: Purpose, of: Of, verdict: Verdict| {
            let rule = |traffic| (side, name.comment(purpose), traffic, of, verdict);
            new.walls.extend(name.traffic(side).map(rule));
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
        new.mark = stage.map(|stage| name.comment(Purpose::Mark(stage, action)));
        new
    }

    fn is_empty(&self) -> bool {
        self.walls.is_empty() && self.mark.is_none()
    }
}

fn in_table(
    system: &System<'_>,
    rules: &[Rule],
    is_ours: impl Fn(&&Rule) -> bool,
    new: &New,
) -> Result<()> {
    let mut change = Change::new();
    if new.is_empty() {
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
    for (side, comment, traffic, of, verdict) in &new.walls {
        change.rule(TABLE, side.chain, comment, Some((traffic, *of)), *verdict);
    }
    if let Some(mark) = &new.mark {
        change.rule(TABLE, MARKS, mark, None, Verdict::Continue);
    }
    change.make(system)
}

fn in_chains(
    system: &System<'_>,
    rules: &[Rule],
    is_ours: impl Fn(&&Rule) -> bool,
    new: &New,
    family: Family,
) -> Result<()> {
    let mut change = iptables::Change::new();
    rules.iter().filter(is_ours).try_for_each(|rule| change.delete(rule))?;
    for (side, comment, traffic, of, verdict) in &new.walls {
        change.rule(side.hook, comment, Some((traffic, *of)), *verdict);
    }
    if let Some(mark) = &new.mark {
        change.rule(IN.hook, mark, None, Verdict::Continue);
    }
    change.make(system, family, ORDERS)
}
