//! Playing a scenario and judging it. How long anything took is reported;
//! only what must hold on a machine of any speed decides:
//!
//! 1. no acknowledged record is missing or damaged;
//! 2. the group is never active on both nodes;
//! 3. in the end the group is on one node, nothing of it on the other, and
//!    DRBD is connected with both disks up to date;
//! 4. the client is served again;
//! 5. every armed fault has struck, so nothing passed untried.
//!
//! Where both nodes write, [`both`] takes the place of the second and third; where
//! there is a guest, [`counting`] has what must hold of it besides.

mod both;
mod by_hand;
mod counting;

use super::article::Service;
use super::client::{Lab, Machine};
use super::disk;
use super::journal::{Call, Journal, Look};
use super::keeper::Verb;
use super::machine::NODES;
use super::machine::Network;
use super::observe::Node;
use super::progress::Progress;
use super::random::Random;
use super::scenario::{Fault, Scenario, Side, Step};
use super::setting::{Engine, Setting};
use super::strike::{self, Armed, Struck};
use anyhow::{Context, Result, bail, ensure};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;
use story::ledger::Verdict;
use story::timeline::{grouped, now};

/// A state that is not reached by then is not reached: generous, since a slow
/// machine must not fail a scenario.
const LIMIT: Duration = Duration::from_secs(300);

/// How a scenario went.
pub struct Outcome {
    /// When it began and ended.
    pub window: (Duration, Duration),
    /// What was done when; `true` for a fault.
    pub marks: Vec<(Duration, String, bool)>,
    /// What the ledgers hold, in words.
    pub verdict: String,
    /// The invariants that broke, in words.
    pub broken: Vec<String>,
    /// The agent had ended before the fault struck: nothing was tried.
    pub late: bool,
}

/// One scenario under way.
struct Play<'a> {
    lab: &'a Lab,
    setting: &'a Setting,
    journal: &'a Journal,
    progress: &'a Progress,
    /// The label shown with the progress.
    label: String,
    /// Where the group was in the beginning.
    first: usize,
    random: Random,
    fault: Option<Receiver<Result<Struck>>>,
    marks: Vec<(Duration, String, bool)>,
    /// Nodes that are switched off at the moment.
    off: [bool; 2],
    late: bool,
    /// When the group was well and the scenario could begin.
    began: Duration,
    /// When a node's services were last started.
    started: [Duration; 2],
}

/// Plays one scenario. What goes wrong is part of the outcome.
pub fn play(
    lab: &Lab,
    setting: &Setting,
    scenario: &Scenario,
    journal: &Journal,
    seed: u64,
    progress: &Progress,
) -> Outcome {
    let begin = now();
    let mut broken = Vec::new();
    let mut play = Play {
        lab,
        setting,
        journal,
        progress,
        label: format!("{} {}", setting.name(), scenario.name),
        first: 0,
        random: Random::new(seed, &scenario.name),
        fault: None,
        marks: Vec::new(),
        off: [false; 2],
        late: false,
        began: begin,
        started: [begin; 2],
    };
    let done = play.all(scenario);
    if let Err(err) = done {
        broken.push(format!("{err:#}"));
    }
    if setting.article.is_shared() {
        play.marks.extend(both::fencings(journal, play.began));
        play.marks.sort_by_key(|(at, ..)| *at);
        let expected = scenario.steps.iter().any(|step| matches!(step, Step::AwaitFenced));
        broken.extend(both::broken(lab, journal, play.began, expected));
    } else {
        let looks = journal.looks(begin);
        if let Some(look) = looks.iter().find(|look| look.nodes.iter().all(Node::active)) {
            broken.push(format!("the group was active on both nodes at {:?}", look.at - begin));
        }
    }
    let mut verdict: Vec<String> = play.check_ledgers(&mut broken).into_iter().collect();
    verdict.extend(play.check_lock(&mut broken));
    verdict.extend(play.check_disk(&mut broken).map(str::to_owned));
    verdict.extend(play.check_counting(scenario, &mut broken));
    let verdict = verdict.join("; ");
    Outcome { window: (play.began, now()), marks: play.marks, verdict, broken, late: play.late }
}

impl Play<'_> {
    fn all(&mut self, scenario: &Scenario) -> Result<()> {
        self.first = self.settled("before the scenario")?;
        if self.setting.article.is_shared() {
            self.first = match self.setting.article.domain {
                Some(_) => self.await_guest(None)?,
                None => self.random.below(2) as usize,
            };
        }
        self.began = now();
        // A stretch of plain work, for the timeline and the ledger.
        thread::sleep(Duration::from_secs(1));
        for step in &scenario.steps {
            self.step(step).with_context(|| format!("{step:?}"))?;
        }
        self.heal()?;
        self.settled("in the end")?;
        if self.setting.article.has_handler() {
            self.await_barred(None)?;
        }
        if self.setting.article.domain.is_some() {
            self.await_guest(None)?;
        }
        self.await_client()?;
        thread::sleep(Duration::from_secs(1));
        Ok(())
    }

    fn node(&self, side: Side) -> usize {
        match side {
            Side::First => self.first,
            Side::Second => 1 - self.first,
        }
    }

    fn name(&self, side: Side) -> &'static str {
        NODES[self.node(side)]
    }

    /// The machine that has the file system mounted.
    fn holder(&self) -> Result<Machine<'_>> {
        Ok(self.lab.machine(NODES[self.holding()?]))
    }

    fn freeze(&mut self, machine: &str, seconds: u64) -> Result<()> {
        self.mark(format!("{machine} stands still"), true);
        self.lab.tell(&Verb::Freeze { machine: machine.into() })?;
        thread::sleep(Duration::from_secs(seconds));
        self.mark(format!("{machine} goes on"), false);
        self.lab.tell(&Verb::Thaw { machine: machine.into() })
    }

    fn slow_disk(&mut self, machine: &str, bytes: u64) -> Result<()> {
        let how = if bytes == 0 { "fast again" } else { "very slow" };
        self.mark(format!("{machine}'s disk is {how}"), bytes != 0);
        // The root is disk 0, and DRBD lies on the next.
        self.lab.tell(&Verb::Slow { machine: machine.into(), disk: 1, bytes })
    }

    fn mark(&mut self, what: String, grave: bool) {
        self.marks.push((now(), what, grave));
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match *step {
            Step::HandOver(side) => {
                let (from, to) = (NODES[1 - self.node(side)], NODES[self.node(side)]);
                self.mark(format!("hand over to {to}"), false);
                let asked = self.setting.hand_over(self.lab, from, to);
                // A node that lost power in the middle cannot answer any more.
                if self.off.contains(&true) { Ok(()) } else { asked }
            }
            Step::TakeOver(side) => {
                let (from, to) = (NODES[1 - self.node(side)], NODES[self.node(side)]);
                self.mark(format!("{to} takes over"), false);
                self.setting.take_over(self.lab, from, to)
            }
            Step::PowerOff(side) => {
                let node = self.node(side);
                self.mark(format!("{} loses power", NODES[node]), true);
                self.off[node] = true;
                self.lab.tell(&Verb::PowerOff { machine: NODES[node].into() })
            }
            Step::PowerOn(side) => self.power_on(self.node(side)),
            Step::Cut { side, network, silent } => self.cut(self.node(side), network, silent),
            Step::Unplug { side, card } => {
                let machine = self.name(side);
                self.mark(format!("{machine}: eth{card} has no carrier"), true);
                self.lab.tell(&Verb::Unplug { machine: machine.into(), card })
            }
            Step::Mend => self.mend(),
            Step::Freeze(side, seconds) => self.freeze(self.name(side), seconds),
            Step::FailDisk(side) => {
                self.mark(format!("{}'s disk fails", self.name(side)), true);
                disk::fail(&self.lab.machine(self.name(side)))
            }
            Step::RepairDisk(side) => {
                self.mark(format!("{}'s disk works again", self.name(side)), false);
                disk::repair(&self.lab.machine(self.name(side)))
            }
            Step::SlowDisk(side, bytes) => self.slow_disk(self.name(side), bytes),
            Step::Fill => {
                self.mark("the file system is filled".into(), true);
                disk::fill(&self.holder()?, self.setting.article.mounts[0].directory)
            }
            Step::Grow => {
                self.mark("the disks grow".into(), false);
                for node in NODES {
                    disk::grow(&self.lab.machine(node))?;
                }
                disk::use_all(&self.holder()?, self.setting.article)?;
                self.mark("what lies on them has grown".into(), false);
                Ok(())
            }
            Step::Enlarge => {
                let client = self.lab.machine("client");
                self.setting.article.service.enlarge(&client)?;
                self.mark("the client's file system has grown".into(), false);
                Ok(())
            }
            Step::Spoil(side) => {
                self.mark(format!("{}: the first line cannot be had", self.name(side)), true);
                self.settings_resource(self.name(side), "down")
            }
            Step::Restore(side) => {
                self.mark(format!("{}: the first line can be had again", self.name(side)), false);
                self.settings_resource(self.name(side), "up")
            }
            Step::AwaitRefusal(side) => self.await_refusal(self.node(side)),
            Step::Empty => disk::empty(&self.holder()?, self.setting.article.mounts[0].directory),
            Step::Wait(seconds) => {
                thread::sleep(Duration::from_secs(seconds));
                Ok(())
            }
            Step::Arm { side, agent, action, fault } => {
                self.arm(self.node(side), agent, action, fault)
            }
            Step::AwaitFault => self.await_fault(),
            Step::AwaitGroup(side) => self.await_group(side.map(|side| self.node(side))),
            Step::AwaitReturn(side) => self.await_return(self.node(side)),
            Step::AwaitClient => self.await_client(),
            Step::CleanUp => self.clean_up(),
            Step::StopNode(side) => {
                self.mark(format!("{} leaves the cluster", self.name(side)), false);
                self.setting.stop_node(self.lab, self.name(side))
            }
            Step::StartNode(side) => self.start_services(self.node(side)),
            Step::ByHand(side) => {
                self.mark(format!("{}: the agents are called by hand", self.name(side)), false);
                by_hand::play(&self.lab.machine(self.name(side)), self.setting)
            }
            Step::AwaitFenced => self.await_fenced(),
            Step::AwaitWriter => self.await_writer(),
            Step::AwaitBarred(side) => self.await_barred(Some(self.name(side))),
            Step::AwaitUnbarred => self.await_barred(None),
            Step::AwaitGuest(side) => self.await_guest(side.map(|side| self.node(side))).map(drop),
        }
    }

    /// An administrator's hand on the resource that has the service's settings.
    fn settings_resource(&self, node: &str, verb: &str) -> Result<()> {
        let settings = self.setting.article.settings.as_ref().context("there are no settings")?;
        let command = format!("drbdadm {verb} {} 2>&1", settings.resource);
        self.lab.machine(node).shell(&command, Duration::from_secs(60)).map(drop)
    }

    /// Waits until the agent that serves has failed to start on a node since the
    /// scenario began; at no moment may it have served there.
    fn await_refusal(&mut self, node: usize) -> Result<()> {
        let serving = *self.setting.serving().last().context("no agent serves")?;
        self.await_true(&format!("{serving} refuses to start"), |play| {
            Ok(play.journal.calls(play.began).iter().any(|call| {
                let failed = call.code.is_some_and(|code| code != 0);
                call.node == node && call.action == "start" && call.what == serving && failed
            }))
        })?;
        // heartbeat takes down what it could start of the line.
        self.await_look("nothing of the group is left there", |look| look.nodes[node].idle())?;
        let served = self.journal.looks(self.began).iter().any(|look| look.nodes[node].service);
        ensure!(!served, "{serving} served without its settings on {}", NODES[node]);
        Ok(())
    }

    /// What an administrator does where the engine has given up: Pacemaker
    /// waits for the failure to be forgotten, and heartbeat leaves a group
    /// down whose own node could not start it.
    fn clean_up(&mut self) -> Result<()> {
        thread::sleep(Duration::from_secs(5));
        if self.setting.engine == Engine::Pacemaker {
            self.mark("the failure is forgotten".into(), false);
            return self.setting.clean_up(self.lab);
        }
        let begin = now();
        while now() - begin < Duration::from_secs(60) {
            let look = self.journal.latest(begin);
            if look.is_some_and(|look| look.nodes.iter().any(Node::active)) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        self.step(&Step::HandOver(Side::First))
    }

    fn power_on(&mut self, node: usize) -> Result<()> {
        if !self.off[node] {
            return Ok(());
        }
        self.mark(format!("{} is switched on", NODES[node]), false);
        self.lab.tell(&Verb::PowerOn { machine: NODES[node].into() })?;
        self.off[node] = false;
        self.start_services(node)
    }

    fn start_services(&mut self, node: usize) -> Result<()> {
        self.mark(format!("{}'s services start", NODES[node]), false);
        self.started[node] = now();
        self.setting.start_node(self.lab, NODES[node])
    }

    fn cut(&mut self, node: usize, network: Network, silent: bool) -> Result<()> {
        let how = if silent { "is silent" } else { "has no carrier" };
        self.mark(format!("{}: {} network {how}", NODES[node], network.name()), true);
        self.lab.tell(&Verb::Cut {
            machine: NODES[node].into(),
            network: network.name().into(),
            silent,
        })
    }

    fn mend(&mut self) -> Result<()> {
        self.mark("networks whole again".into(), false);
        for node in NODES {
            for network in Network::ALL {
                self.lab
                    .tell(&Verb::Mend { machine: node.into(), network: network.name().into() })?;
            }
        }
        Ok(())
    }

    /// Whatever a scenario left broken is mended before the final look.
    fn heal(&mut self) -> Result<()> {
        for node in 0..NODES.len() {
            self.power_on(node)?;
        }
        // A node may have restarted by itself, which heartbeat does on
        // purpose, or been fenced; its services come up as at any boot.
        for (node, name) in NODES.into_iter().enumerate() {
            let events = self.journal.events(self.started[node]);
            let said =
                |word: &str| events.iter().any(|event| event.machine == name && event.is(word));
            if said("restart") {
                self.mark(format!("{name} restarted by itself"), true);
            } else if !said("fenced") {
                continue;
            }
            self.lab.tell(&Verb::PowerOn { machine: name.into() })?;
            self.start_services(node)?;
        }
        // A move's preference would hold the group in the next scenario.
        self.setting.clean_up(self.lab)
    }

    fn arm(
        &mut self,
        node: usize,
        agent: &'static str,
        action: &'static str,
        fault: Fault,
    ) -> Result<()> {
        let usual = self.usual(agent, action).as_micros() as u64;
        let delay = Duration::from_micros(self.random.below(usual.max(1000)));
        let is_peers = matches!(fault, Fault::PeerPowerCut | Fault::PeerDaemonKill);
        let victim = if is_peers { 1 - node } else { node };
        let armed = Armed { node: NODES[node], victim: NODES[victim], agent, action, fault, delay };
        let events = self.lab.events()?;
        let (send, receive) = mpsc::channel();
        match fault {
            Fault::Kill => strike::trap(self.lab, NODES[node], agent, action, delay)?,
            Fault::PowerCut | Fault::PeerPowerCut => self.off[victim] = true,
            Fault::DaemonKill | Fault::PeerDaemonKill => {}
        }
        let (lab, article) = (self.lab.clone(), self.setting.article);
        thread::spawn(move || send.send(armed.strike(&lab, article, events)));
        self.fault = Some(receive);
        Ok(())
    }

    /// How long the action took the last time, so that the fault strikes in
    /// the middle of it on a machine of any speed.
    fn usual(&self, agent: &str, action: &str) -> Duration {
        let unseen = if action.starts_with("migrate") { 20_000 } else { 20 };
        self.journal
            .calls(Duration::ZERO)
            .iter()
            .rev()
            .filter(|call| call.action == action && call.what.starts_with(agent))
            .find_map(|call| Some(call.to? - call.from))
            .unwrap_or(Duration::from_millis(unseen))
    }

    fn await_fault(&mut self) -> Result<()> {
        let fault = self.fault.take().context("no fault is armed")?;
        match fault.recv_timeout(LIMIT) {
            Ok(struck) => {
                let Struck { at, what, late } = struck?;
                self.marks.push((at, what, true));
                self.late |= late;
                Ok(())
            }
            Err(_) => bail!("the armed fault did not strike within {LIMIT:?}"),
        }
    }

    fn await_group(&mut self, wanted: Option<usize>) -> Result<()> {
        self.await_look("the group runs", |look| {
            look.nodes
                .iter()
                .enumerate()
                .any(|(node, state)| state.active() && wanted.is_none_or(|wanted| wanted == node))
        })?;
        Ok(())
    }

    /// Waits until a node that has come back has the group again.
    ///
    /// heartbeat takes itself for alone, and asks nobody, where its last link is up
    /// before the other node's state has arrived: it begins to take what the other
    /// serves. DRBD refuses that, heartbeat gives up for good, and whoever runs it
    /// has it started anew. That counts for this alone: where the other node was
    /// asked, and still has the group, the wait goes on to its end.
    fn await_return(&mut self, node: usize) -> Result<()> {
        const TIMES: usize = 5;
        /// The other line's turn has come by then.
        const QUIET: Duration = Duration::from_secs(15);
        for _ in 0..TIMES {
            let since = self.started[node];
            let journal = &self.journal;
            let mut is_alone = false;
            self.await_look("the group runs where it belongs", |look| {
                let calls = journal.calls(since);
                let is_asked = calls.iter().any(|call| call.node != node);
                let is_refused = calls
                    .iter()
                    .any(|call| call.action == "start" && call.code.is_some_and(|code| code != 0));
                let has_ended = |call: &Call| call.to.is_some_and(|to| now() > to + QUIET);
                let is_over = look.nodes[node].idle() && calls.iter().all(has_ended);
                is_alone = is_refused && is_over && !is_asked;
                is_alone || look.nodes[node].active()
            })?;
            if !is_alone {
                return Ok(());
            }
            let name = NODES[node];
            self.mark(format!("{name}: heartbeat has not asked, and is started anew"), false);
            self.setting.stop_node(self.lab, name)?;
            self.start_services(node)?;
        }
        bail!("heartbeat has not asked the other node in {TIMES} starts")
    }

    /// Waits for an acknowledgement to each writer: a group that runs is of no use to
    /// a client that does not come back to it.
    fn await_client(&self) -> Result<()> {
        let begin = now();
        self.await_true("an answer for the client of the group that runs", |play| {
            let writers = play.setting.article.writers();
            let acks = |writer| play.journal.acks_of(writer);
            Ok(writers.into_iter().all(|it| acks(it).last().is_some_and(|ack| ack.at >= begin)))
        })
    }

    /// Waits for something that is not seen by looking at the nodes.
    fn await_true(&self, wanted: &str, is: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let begin = now();
        while !is(self)? {
            let waited = (now() - begin).as_secs();
            ensure!(now() - begin < LIMIT, "wanted: {wanted}; not so after {waited} s");
            self.progress.show("scenario", &format!("{}: {wanted} ({waited} s)", self.label));
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Waits until all is well, and says where the group is.
    fn settled(&self, when: &str) -> Result<usize> {
        let is_shared = self.setting.article.is_shared();
        let how = if is_shared { "both nodes" } else { "one node" };
        let mut well = 0;
        let look = self.await_look(&format!("{how} active, DRBD whole ({when})"), |look| {
            let [one, other] = &look.nodes;
            let active = match is_shared {
                true => one.active() && other.active(),
                false => (one.active() && other.idle()) || (other.active() && one.idle()),
            };
            let now = one.healthy() && other.healthy() && active;
            well = if now { well + 1 } else { 0 };
            well >= 3
        })?;
        Ok(usize::from(!look.nodes[0].active()))
    }

    /// Waits for a look that satisfies.
    fn await_look(&self, wanted: &str, mut enough: impl FnMut(&Look) -> bool) -> Result<Look> {
        let start = now();
        let (mut begin, mut seen) = (start, start);
        loop {
            if let Some(look) = self.journal.latest(seen) {
                seen = look.at;
                if enough(&look) {
                    return Ok(look);
                }
                let [one, other] = &look.nodes;
                if one.is_syncing() && now() - start < LIMIT * 4 {
                    // It gets on, however slowly.
                    begin = now();
                }
                ensure!(
                    now() - begin < LIMIT,
                    "wanted: {wanted}; found after {} s: node1 {one}; node2 {other}",
                    LIMIT.as_secs()
                );
            }
            ensure!(now() - begin < LIMIT * 2, "wanted: {wanted}; the nodes cannot be looked at");
            let waited = (now() - begin).as_secs();
            self.progress.show("scenario", &format!("{}: {wanted} ({waited} s)", self.label));
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Checks every writer's ledger, and says in a sentence what they hold. Guests that
    /// count have none: see [`counting`].
    fn check_ledgers(&self, broken: &mut Vec<String>) -> Option<String> {
        let mut verdicts = Vec::new();
        if matches!(self.setting.article.service, Service::Domains(_)) {
            return None;
        }
        for writer in self.setting.article.writers() {
            match self.check_ledger(writer) {
                Ok(verdict) if verdict.holds() || self.is_expected(&verdict) => {
                    verdicts.push((writer, verdict));
                }
                Ok(verdict) => broken.push(format!("{writer}: {}", verdict.sentence())),
                Err(err) => broken.push(format!("the ledger cannot be checked: {err:#}")),
            }
        }
        match &verdicts[..] {
            [] => None,
            [(_, verdict)] => Some(verdict.sentence()),
            several => {
                let count = |(writer, verdict): &(&str, Verdict)| {
                    format!("{writer} {}", grouped(verdict.acknowledged))
                };
                let counts: Vec<String> = several.iter().map(count).collect();
                Some(format!("all acknowledged records are on disk: {}", counts.join(", ")))
            }
        }
    }

    /// Where the server acknowledges what is in its memory, a power cut may lose
    /// that: it is told and not judged.
    fn is_expected(&self, verdict: &Verdict) -> bool {
        let had_power = self.marks.iter().all(|(_, what, _)| !what.ends_with("loses power"));
        self.setting.article.is_async() && !had_power && verdict.acknowledged > 0
    }

    /// Where the client has a file system of its own on the group's disk: no error
    /// has reached it, and fsck finds nothing.
    fn check_disk(&self, broken: &mut Vec<String>) -> Option<&'static str> {
        let service = self.setting.article.service;
        if !service.is_disk() {
            return None;
        }
        let refusals = self.journal.refusals();
        broken.extend(refusals.first().map(|why| format!("an error reached the client: {why}")));
        match service.faults(self.lab) {
            Ok(faults) if faults.is_empty() => {
                refusals.is_empty().then_some("no error reached the client, and fsck finds none")
            }
            Ok(faults) => {
                broken.extend(faults);
                None
            }
            Err(err) => {
                broken.push(format!("the client's file system cannot be checked: {err:#}"));
                None
            }
        }
    }

    /// What has become of the lock that the client holds. One that the server
    /// has no more, and of which the client has not heard, is a silent loss: by
    /// NFSv3 that is so where the list of its clients is not carried along.
    fn check_lock(&self, broken: &mut Vec<String>) -> Option<String> {
        let service = self.setting.article.service;
        service.locker()?;
        let seen = || -> Result<(bool, Vec<String>)> {
            let begin = now();
            self.await_true("a word of the client that holds the lock", |play| {
                Ok(play.journal.lock(begin).is_some_and(|said| said == "beat"))
            })?;
            let holder = NODES[self.holding()?];
            let is_there = service.has_lock(self.lab, holder, self.setting.article)?;
            Ok((is_there, self.journal.losses(self.began)))
        };
        let is_told = service != Service::Nfs("3") || self.setting.keeps_clients();
        match seen() {
            Ok((true, losses)) if losses.is_empty() => Some("the lock is held".into()),
            Ok((_, losses)) if !losses.is_empty() && self.setting.keeps_clients() => {
                broken.push(format!("the client has lost its lock: {}", losses[0]));
                None
            }
            Ok((true, losses)) => {
                Some(format!("the loss of the lock was told {} times: {}", losses.len(), losses[0]))
            }
            Ok((false, _)) if is_told => {
                broken.push("the server has lost the lock that the client believes to hold".into());
                None
            }
            Ok((false, _)) => Some("the lock is lost, and the client was not told".into()),
            Err(err) => {
                broken.push(format!("the lock cannot be looked at: {err:#}"));
                None
            }
        }
    }

    /// Reads a ledger from a node that has it, and holds it against its
    /// writer's acknowledgements.
    fn check_ledger(&self, writer: &str) -> Result<Verdict> {
        // Before the look: what is acknowledged later need not be there yet.
        let acks = self.journal.acks_of(writer);
        let holder = NODES[self.holding()?];
        self.setting.article.service.check(self.lab, holder, self.setting.article, writer, &acks)
    }

    /// The node that has the data; where both have them, the one that has not
    /// been away, or not as lately.
    fn holding(&self) -> Result<usize> {
        let last = self.journal.latest(Duration::ZERO).context("no node was looked at")?;
        let holders = (0..NODES.len()).filter(|node| last.nodes[*node].has_data());
        holders.min_by_key(|node| self.started[*node]).context("no node has the data")
    }
}
