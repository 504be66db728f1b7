//! `lab run`: plays scenarios, each setting on fresh machines, and reports.

use super::client::Lab;
use super::debian::{self, Debian};
use super::hash::hash;
use super::journal::Journal;
use super::machine::Choice;
use super::machine::NODES;
use super::place::Place;
use super::play::{self, Outcome};
use super::progress::Progress;
use super::report::{self, Entry};
use super::scenario::{self, Scenario};
use super::setting::{Agents, Setting};
use super::{boot, chronicle, cluster};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::IsTerminal;
use std::time::Duration;

/// What the words of the command ask for.
struct Order {
    wanted: Vec<String>,
    agents: Vec<Agents>,
    /// Each scenario is played once with each.
    seeds: Vec<u64>,
    keep: bool,
    /// What runs in the machines.
    debian: Debian,
    /// Report as a test program does, for `cargo xtask test`.
    as_tests: bool,
}

/// The command.
pub fn run(words: &[&str]) -> Result<()> {
    let order = Order::read(words)?;
    let plan = order.plan()?;
    let place = Place::of_workspace();
    ensure!(
        Lab::running(&place).is_none(),
        "a lab is up already, and a run needs machines of its own; end it with \
         `cargo xtask lab down`"
    );
    let count: usize = plan.iter().map(|(_, scenarios)| scenarios.len()).sum();
    let count = count * order.seeds.len();
    eprintln!(
        "{count} scenarios under {} settings on Debian {}, {}",
        plan.len(),
        order.debian.number(),
        order.seeds_in_words()
    );
    let archive = if order.agents.contains(&Agents::Sturdy) {
        eprintln!("  building the agents");
        cluster::pack_agents()?
    } else {
        Vec::new()
    };
    let mut entries = Vec::new();
    for (setting, scenarios) in &plan {
        let wrecked = play_setting(setting, scenarios, &archive, &order, &mut entries)?;
        if wrecked && order.keep {
            eprintln!("The wreck is kept: `cargo xtask lab shell node1`, then `lab down`.");
            break;
        }
    }
    conclude(&entries, &place, count, order.as_tests)
}

/// Plays the scenarios of one setting; after a failure the rest get fresh
/// machines. Returns whether the last one failed.
fn play_setting(
    setting: &Setting,
    scenarios: &[Scenario],
    archive: &[u8],
    order: &Order,
    entries: &mut Vec<Entry>,
) -> Result<bool> {
    let rounds = order.seeds.iter().flat_map(|seed| scenarios.iter().map(move |it| (*seed, it)));
    let mut rest = rounds.peekable();
    let mut wrecked = false;
    while rest.peek().is_some() {
        let place = Place::of_workspace();
        eprintln!("\n{}: {}", setting.name(), setting.article.about);
        let choice = Choice::of(&[], order.debian, setting.article.extra())?;
        let (lab, lease, progress) = boot::up(&place, &choice)?;
        progress.show("set-up", "DRBD, file system, engine");
        setting
            .set_up(&lab, archive)
            .with_context(|| format!("cannot set up {}", setting.name()))?;
        progress.done("set-up", &format!("ready after {:.0} s", progress.seconds()));
        let journal = Journal::begin(&lab, setting)?;
        wrecked = false;
        for (seed, scenario) in rest.by_ref() {
            let mut entry = play_one(&lab, setting, scenario, &journal, seed, &progress);
            if order.seeds.len() > 1 {
                entry.tag_seed(seed);
            }
            order.show(&entry);
            wrecked = !entry.passed();
            entries.push(entry);
            if wrecked {
                break;
            }
        }
        if wrecked && order.keep {
            lease.keep()?;
            return Ok(true);
        }
        drop((journal, lease));
        boot::down(&place)?;
    }
    Ok(wrecked)
}

fn play_one(
    lab: &Lab,
    setting: &Setting,
    scenario: &Scenario,
    journal: &Journal,
    seed: u64,
    progress: &Progress,
) -> Entry {
    let mut outcome = play::play(lab, setting, scenario, journal, seed, progress);
    // A fault that came too late has tried nothing; another moment is chosen.
    for again in 1..4u64 {
        if !outcome.late || !outcome.broken.is_empty() {
            break;
        }
        progress.done("scenario", "the agent was faster than the fault; once more");
        let seed = seed.wrapping_add(again << 32);
        outcome = play::play(lab, setting, scenario, journal, seed, progress);
    }
    if outcome.late {
        outcome.broken.push("the agent was faster than the fault four times".into());
    }
    let figures = chronicle::measure(setting, journal, &outcome);
    let story = chronicle::tell(setting, scenario, journal, &outcome, &figures);
    let logs = if outcome.broken.is_empty() { String::new() } else { wreckage(lab, &outcome) };
    Entry { setting: *setting, scenario: scenario.clone(), story, figures, logs }
}

/// What broke, and what the nodes logged last that sounds like trouble.
fn wreckage(lab: &Lab, outcome: &Outcome) -> String {
    let mut out = outcome.broken.join("\n");
    for node in NODES.into_iter().chain(["client"]) {
        out += &format!("\n\n{node}:\n");
        let script = "for log in /var/log/heartbeat-log /var/log/syslog /var/log/pacemaker/pacemaker.log; do \
             [ -f $log ] && grep -aiE 'error|crit|warn|fail|refus|cannot|split' $log | tail -n 12; done; \
             dmesg | grep -iE 'drbd|error|fail|scsi|aoe|jfs' | tail -n 8; cat /proc/drbd 2>/dev/null";
        match lab.machine(node).run(&["/bin/sh", "-c", script], Duration::from_secs(20)) {
            Ok(output) if output.code != 255 => out += &output.stdout,
            Ok(output) => out += &output.why.unwrap_or_default(),
            Err(err) => out += &format!("{err:#}"),
        }
    }
    out
}

fn conclude(entries: &[Entry], place: &Place, count: usize, as_tests: bool) -> Result<()> {
    let dir = place.files.join("report");
    fs::create_dir_all(&dir)?;
    let page = dir.join("index.html");
    report::write(entries, "sturdy: what the lab saw", &page)?;
    println!("{}", if as_tests { report::failures(entries) } else { report::summary(entries) });
    eprintln!("The page: {}", page.display());
    let broken = entries.iter().filter(|entry| !entry.passed()).count();
    ensure!(broken == 0, "{broken} of {} scenarios broke an invariant", entries.len());
    ensure!(entries.len() == count, "only {} of {count} scenarios were played", entries.len());
    Ok(())
}

fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(110)
}

impl Order {
    fn read(words: &[&str]) -> Result<Self> {
        let mut order = Self {
            wanted: Vec::new(),
            agents: vec![Agents::Stock, Agents::Sturdy],
            seeds: vec![1],
            keep: false,
            debian: Debian::default(),
            as_tests: false,
        };
        let (mut seed, mut rounds) = (1, 1);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--keep" => order.keep = true,
                debian::OPTION => order.debian = Debian::read(words.next().copied())?,
                "--as-tests" => order.as_tests = true,
                "--seed" => {
                    let word = words.next().context("--seed wants a number")?;
                    seed = word.parse().unwrap_or_else(|_| hash(word.as_bytes()));
                }
                "--seeds" => {
                    let word = words.next().context("--seeds wants a number of rounds")?;
                    rounds = word.parse().context("--seeds wants a number of rounds")?;
                    ensure!(rounds > 0, "no round is nothing");
                }
                "--agents" => {
                    order.agents = match words.next().copied() {
                        Some("stock") => vec![Agents::Stock],
                        Some("sturdy") => vec![Agents::Sturdy],
                        Some("both") => vec![Agents::Stock, Agents::Sturdy],
                        other => bail!("--agents wants stock, sturdy or both, not {other:?}"),
                    }
                }
                flag if flag.starts_with('-') => bail!("no option {flag}"),
                name => order.wanted.push(name.to_owned()),
            }
        }
        order.seeds = (0..rounds).map(|round| seed.wrapping_add(round)).collect();
        ensure!(
            !order.wanted.is_empty(),
            "which scenarios? `core`, `all`, `strikes`, a scenario's name, or \
             engine[/set-up[/agents[/scenario]]]; `cargo xtask lab list` names them"
        );
        Ok(order)
    }

    /// What a person reads of a scenario that is over, or a test program's line.
    fn show(&self, entry: &Entry) {
        if self.as_tests {
            let result = if entry.passed() { "ok" } else { "FAILED" };
            println!("test {}: {} ... {result}", entry.setting.name(), entry.scenario.name);
            return;
        }
        println!("{}", entry.story.terminal(width(), std::io::stdout().is_terminal()));
        if !entry.logs.is_empty() {
            println!("{}", entry.logs);
        }
    }

    fn seeds_in_words(&self) -> String {
        match &self.seeds[..] {
            [one] => format!("seed {one}"),
            all => format!("{} seeds from {}", all.len(), all[0]),
        }
    }

    /// The settings with the scenarios that are wanted of each.
    fn plan(&self) -> Result<Vec<(Setting, Vec<Scenario>)>> {
        let mut plan = Vec::new();
        for setting in scenario::settings(&self.agents) {
            let wanted: Vec<Scenario> = scenario::scenarios(&setting)
                .into_iter()
                .filter(|scenario| self.wanted.iter().any(|word| wants(word, &setting, scenario)))
                .collect();
            if !wanted.is_empty() {
                plan.push((setting, wanted));
            }
        }
        ensure!(!plan.is_empty(), "no scenario is called {}", self.wanted.join(" or "));
        Ok(plan)
    }
}

fn wants(word: &str, setting: &Setting, scenario: &Scenario) -> bool {
    match word {
        "all" => true,
        "core" => scenario.core && scenario::is_core(setting),
        "strikes" => scenario.strikes(),
        _ => {
            let name = format!("{}/{}", setting.name(), scenario.name);
            scenario.name == word
                || name == word
                || name.strip_prefix(word).is_some_and(|rest| rest.starts_with('/'))
        }
    }
}

/// `lab list`: every scenario there is.
pub fn list() {
    for setting in scenario::settings(&[Agents::Sturdy]) {
        println!("{}: {}", setting.name(), setting.article.about);
        for scenario in scenario::scenarios(&setting) {
            let core = if scenario.core && scenario::is_core(&setting) { "core" } else { "" };
            println!("  {:<28} {core:<5} {}", scenario.name, scenario.about);
        }
    }
}
