//! `lab drill`: single agents on real kernel modules, without a cluster that
//! calls them. Each drill is a sentence that can be false; it is tried on a
//! stand that is as it should be, whatever the drill before has done to it.

pub mod call;
mod catalogue;
mod chain;
mod disk;
mod exports;
mod group;
mod held;
mod journal;
mod kill;
mod layers;
mod lun;
mod module;
mod nfsserver;
mod node;
mod nvmet;
pub mod order;
mod peer;
mod score;
mod split;
mod stacked;
mod stand;
mod target;
mod tester;
mod units;

use super::client::Lab;
use super::debian::{self, Debian};
use super::hash::hash;
use super::image::Extra;
use super::machine::Choice;
use super::machine::NODES;
use super::place::Place;
use super::progress::Progress;
use super::{boot, cluster};
use anyhow::{Context, Result, bail, ensure};
use stand::Stand;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// A sentence, and how it is tried.
pub struct Drill {
    /// A short name for a command line: `kill/drbd-start`.
    pub name: &'static str,
    /// What is claimed.
    pub claim: &'static str,
    /// Whether it belongs to the bounded subset.
    pub core: bool,
    /// How many minutes it may take.
    pub minutes: u64,
    /// Ends well if the claim is true, with a word on what was seen.
    pub act: fn(&Stand) -> Result<String>,
}

/// Kills in a drill of the bounded subset, and otherwise.
const KILLS: (u32, u32) = (12, 200);

/// What the words of the command ask for.
struct Order {
    wanted: Vec<String>,
    kills: Option<u32>,
    seed: u64,
    keep: bool,
    debian: Debian,
}

/// The command.
pub fn run(words: &[&str]) -> Result<()> {
    if words == ["--list"] {
        list();
        return Ok(());
    }
    let order = Order::read(words)?;
    let drills: Vec<&Drill> = catalogue::ALL.iter().filter(|drill| order.wants(drill)).collect();
    ensure!(!drills.is_empty(), "no drill is called {}", order.wanted.join(" or "));
    let place = Place::of_workspace();
    ensure!(
        Lab::running(&place).is_none(),
        "a lab is up already, and drills need machines of their own; end it with \
         `cargo xtask lab down`"
    );
    eprintln!("{} drills, seed {}\n  building the agents", drills.len(), order.seed);
    let agents = cluster::pack_agents()?;
    let (lab, lease, progress) =
        boot::up(&place, &Choice::of(&NODES, order.debian, Extra::default())?)?;
    let failed = play(&lab, &agents, &drills, &order, &progress)?;
    if order.keep {
        lease.keep()?;
        eprintln!("The machines stay: `cargo xtask lab shell node1`, then `lab down`.");
    } else {
        drop(lease);
        boot::down(&place)?;
    }
    println!("\n{} passed, {failed} failed", drills.len() - failed);
    ensure!(failed == 0, "{failed} of {} drills failed", drills.len());
    Ok(())
}

/// Tries each in turn; how many failed.
fn play(
    lab: &Lab,
    agents: &[u8],
    drills: &[&Drill],
    order: &Order,
    progress: &Progress,
) -> Result<usize> {
    let show = |what: &str| progress.show("drill", what);
    let say = |what: &str| progress.done("reset", what);
    let stand = Stand {
        lab,
        seed: order.seed,
        kills: order.kills(),
        show: &show,
        say: &say,
        end: Cell::new(Instant::now() + Duration::from_secs(600)),
        is_overwritten: Cell::new(false),
    };
    progress.show("set-up", "agents, DRBD, a volume group");
    stand.set_up(agents).context("cannot set the machines up")?;
    progress.done("set-up", &format!("ready after {:.0} s", progress.seconds()));
    let mut failed = 0;
    for drill in drills {
        if let Err(err) = stand.reset() {
            failed += 1;
            println!("  not tried {}: {err:#}\n{}", drill.name, stand.wreckage());
            continue;
        }
        progress.show("drill", drill.name);
        let begun = Instant::now();
        stand.end.set(begun + Duration::from_secs(60 * drill.minutes));
        let ended = (drill.act)(&stand).and_then(|seen| stand.check().map(|()| seen));
        let took = begun.elapsed().as_secs_f64();
        match ended {
            Ok(seen) => {
                let seen = if seen.is_empty() { seen } else { format!(": {seen}") };
                progress.done("passed", &format!("{} ({took:.0} s){seen}", drill.claim));
            }
            Err(err) => {
                failed += 1;
                progress.done("FAILED", &format!("{} ({took:.0} s)", drill.claim));
                println!("    {}: {err:#}\n{}", drill.name, stand.wreckage());
            }
        }
        if failed > 0 && order.keep {
            eprintln!("  stopping here, with the machines as the drill has left them");
            break;
        }
    }
    Ok(failed)
}

fn list() {
    for drill in catalogue::ALL {
        let core = if drill.core { "core" } else { "" };
        println!("{:<26} {core:<5} {}", drill.name, drill.claim);
    }
}

impl Order {
    fn read(words: &[&str]) -> Result<Self> {
        let mut order = Self {
            wanted: Vec::new(),
            kills: None,
            seed: 1,
            keep: false,
            debian: Debian::default(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--keep" => order.keep = true,
                debian::OPTION => order.debian = Debian::read(words.next().copied())?,
                "--seed" => {
                    let seed = words.next().context("--seed wants a number")?;
                    order.seed = seed.parse().unwrap_or_else(|_| hash(seed.as_bytes()));
                }
                "--kills" => {
                    let kills = words.next().context("--kills wants a number")?;
                    order.kills = Some(kills.parse().context("--kills wants a number")?);
                }
                flag if flag.starts_with('-') => bail!("no option {flag}"),
                name => order.wanted.push(name.to_owned()),
            }
        }
        ensure!(
            !order.wanted.is_empty(),
            "which drills? `core`, `all`, or names or their beginnings; `cargo xtask lab drill --list` has them"
        );
        Ok(order)
    }

    fn kills(&self) -> u32 {
        let is_core = self.wanted == ["core"];
        self.kills.unwrap_or(if is_core { KILLS.0 } else { KILLS.1 })
    }

    fn wants(&self, drill: &Drill) -> bool {
        self.wanted.iter().any(|word| match word.as_str() {
            "all" => true,
            "core" => drill.core,
            name => {
                let rest = drill.name.strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '-']))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drill_has_a_name_of_its_own_and_some_are_core() {
        let mut names: Vec<&str> = catalogue::ALL.iter().map(|drill| drill.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let core = catalogue::ALL.iter().filter(|drill| drill.core).count();
        assert!(core > 0 && core < count);
    }

    #[test]
    fn a_name_means_itself_and_what_is_below_it() {
        let order = |word: &str| Order::read(&[word]).unwrap();
        let drill =
            |name| Drill { name, claim: "", core: true, minutes: 1, act: |_| Ok("".into()) };
        assert!(order("kill").wants(&drill("kill/drbd-start")));
        assert!(order("kill/drbd-start").wants(&drill("kill/drbd-start")));
        assert!(order("kill/drbd").wants(&drill("kill/drbd-start")));
        assert!(!order("kill/drbd").wants(&drill("kill/drbddisk-start")));
        assert_eq!(order("core").kills(), KILLS.0);
        assert_eq!(order("kill").kills(), KILLS.1);
    }
}
