//! `cargo xtask lab`: two nodes and a client as virtual machines, with real
//! DRBD, heartbeat and Pacemaker from the distribution's packages, and
//! scenarios that cut their power and their networks while a client counts.
//!
//! From the ground up: [`place`] says where files lie, [`image`] builds the
//! root disk once, [`qemu`] finds the emulator, [`machine`] starts one
//! machine, [`boot`] all of them, [`switch`] is a network between them, [`keeper`] owns them all in
//! the background, [`wire`] is the language spoken with [`guest`], the
//! program inside, and [`client`] is what commands and scenarios hold in hand.
//!
//! On that stand the scenarios: an [`article`] is a published configuration
//! and a [`service`] what its group serves to the client, a [`setting`] has it under an engine with
//! somebody's agents, a [`cluster`] puts that on the machines with [`heartbeat`] or [`pacemaker`],
//! a [`scenario`] is a list of steps, [`play`] takes them and judges what
//! [`observe`] and [`journal`] saw, [`chronicle`] and [`report`] show it, and
//! [`run`] is the command that does all this. Where the cluster has a guest, [`libvirt`] has
//! all that is its own.
//!
//! [`drill`] does without an engine and calls the agents itself.

mod archive;
mod article;
pub mod boot;
mod chronicle;
pub mod client;
mod cluster;
mod debian;
mod disk;
mod drill;
pub mod guest;
mod hash;
mod heartbeat;
mod hypervisor;
mod image;
mod jfsutils;
mod journal;
mod keeper;
mod libvirt;
pub mod machine;
mod observe;
mod pacemaker;
pub mod place;
mod play;
pub mod progress;
mod qemu;
mod random;
mod report;
mod run;
mod scenario;
mod service;
pub mod setting;
mod shell;
mod strike;
mod switch;
mod wire;

use anyhow::{Context, Result, bail};
use client::{Lab, Machine};
use image::Extra;
use keeper::Verb;
use machine::{Choice, PLANS};
use packaging::host;
use place::Place;
use progress::Progress;
use std::time::Duration;

const USAGE: &str = "Usage: cargo xtask lab VERB

  up [SETTING | MACHINE...] [--debian 12|13] [--with libvirt|xen] [--counted]
                          boots node1, node2 and client, or the machines that are named; the
                          first time builds their image. With a setting, such as
                          heartbeat/nfs, its group runs in the end. --with: nodes for guests.
                          --counted: an emulated machine's clock counts instructions
  run WHAT... [--debian 12|13] [--agents stock|sturdy|both] [--seed N] [--seeds ROUNDS] [--keep]
                          plays scenarios on fresh machines: core, all, strikes, or by name
  list                    the scenarios
  drill WHAT... [--debian 12|13] [--kills N] [--seed N] [--keep]
                          single agents on real kernel modules: core, all, or by name;
                          --list names them
  shell MACHINE [COMMAND] a shell in a machine, or one command
  fault VERB MACHINE ...  power-off, power-on, freeze, thaw, cut NETWORK [carrier],
                          mend NETWORK, slow DISK BYTES, fail-disk, repair-disk,
                          fill DIRECTORY, empty DIRECTORY, kill AGENT ACTION [MILLISECONDS]
  logs [MACHINE]          what the machines and the cluster in them wrote down
  down                    ends the machines";

/// The task.
pub fn run(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if wants_help(&words) {
        println!("{USAGE}");
        return Ok(());
    }
    match words.split_first() {
        Some((&"up", rest)) => {
            let (settings, machines): (Vec<_>, Vec<_>) =
                rest.iter().copied().partition(|word| word.contains('/'));
            match settings[..] {
                [] => up(&machines, None),
                [setting] => up(&machines, Some(setting)),
                _ => bail!("one setting at a time"),
            }
        }
        Some((&"down", [])) => down(),
        Some((&"shell", [machine, command @ ..])) => shell::run(&lab()?, machine, command),
        Some((&"run", rest)) => {
            root(&words)?;
            run::run(rest)
        }
        Some((&"drill", rest)) => {
            root(&words)?;
            drill::run(rest)
        }
        Some((&"list", [])) => {
            run::list();
            Ok(())
        }
        Some((&"fault", rest)) => fault(rest),
        Some((&"logs", rest)) => logs(rest),
        Some((&"keeper", machines)) => keep(machines),
        _ => bail!("{USAGE}"),
    }
}

/// Whether help is asked for; behind `shell` the words are somebody else's.
fn wants_help(words: &[&str]) -> bool {
    match words {
        ["help", ..] => true,
        ["shell", word, ..] => is_help(word),
        _ => words.iter().copied().any(is_help),
    }
}

fn is_help(word: &str) -> bool {
    matches!(word, "-h" | "--help")
}

fn lab() -> Result<Lab> {
    Lab::running(&Place::of_workspace())
        .context("no lab runs here; start one with `cargo xtask lab up`")
}

fn root(words: &[&str]) -> Result<()> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    host::become_root("lab", &words, "a Debian is installed into a directory, owned by root")
}

fn up(machines: &[&str], setting: Option<&str>) -> Result<()> {
    let choice = Choice::read(machines)?;
    let words: Vec<&str> =
        ["up"].into_iter().chain(machines.iter().copied()).chain(setting).collect();
    root(&words)?;
    let setting = setting.map(scenario::setting).transpose()?;
    let needed = setting.map(|setting| setting.article.extra()).unwrap_or_default();
    let extra = if needed == Extra::Nothing { choice.extra } else { needed };
    let choice = Choice { extra, ..choice };
    let archive = setting.map(|_| cluster::pack_agents()).transpose()?;
    let place = Place::of_workspace();
    if Lab::running(&place).is_some() {
        eprintln!("The lab is up already; `cargo xtask lab down` ends it.");
        return Ok(());
    }
    let (lab, lease, progress) = boot::up(&place, &choice)?;
    if let (Some(setting), Some(archive)) = (setting, archive) {
        progress.show("set-up", &setting.name());
        setting.set_up(&lab, &archive)?;
        progress.done("set-up", &format!("{} is on its way up", setting.name()));
    }
    lease.keep()?;
    eprintln!(
        "\nUp after {:.0} s. Try `cargo xtask lab shell {}`; end it with `cargo xtask lab down`.",
        progress.seconds(),
        choice.plans[0].name
    );
    Ok(())
}

fn keep(machines: &[&str]) -> Result<()> {
    let choice = Choice::read(machines)?;
    let place = Place::of_workspace();
    let mut progress = Progress::begin();
    let (image, mut qemu) = boot::prepared(&place, &choice, &mut progress)?;
    qemu.counted = choice.counted;
    keeper::run(place, image, qemu, &choice.plans)
}

fn down() -> Result<()> {
    let place = Place::of_workspace();
    boot::down(&place)?;
    eprintln!("The machines are gone; the image stays in {}.", place.files.display());
    Ok(())
}

fn fault(words: &[&str]) -> Result<()> {
    let machine_of =
        |lab: &Lab, name: &str, act: fn(&Machine) -> Result<()>| act(&lab.machine(name));
    match words {
        ["fail-disk", name] => return machine_of(&lab()?, name, disk::fail),
        ["repair-disk", name] => return machine_of(&lab()?, name, disk::repair),
        ["fill", name, directory] => return disk::fill(&lab()?.machine(name), directory),
        ["empty", name, directory] => return disk::empty(&lab()?.machine(name), directory),
        ["kill", name, agent, action, delay @ ..] => {
            let delay =
                delay.first().map_or(Ok(5), |text| text.parse()).context("a number of ms")?;
            return strike::trap(&lab()?, name, agent, action, Duration::from_millis(delay));
        }
        _ => {}
    }
    let own = |word: &&str| (*word).to_owned();
    let verb = match words {
        ["power-off", machine] => Verb::PowerOff { machine: own(machine) },
        ["power-on", machine] => Verb::PowerOn { machine: own(machine) },
        ["freeze", machine] => Verb::Freeze { machine: own(machine) },
        ["thaw", machine] => Verb::Thaw { machine: own(machine) },
        ["cut", machine, network, how @ ..] => Verb::Cut {
            machine: own(machine),
            network: own(network),
            silent: !how.contains(&"carrier"),
        },
        ["unplug", machine, card] => Verb::Unplug {
            machine: own(machine),
            card: card.parse().context("the card is not a number")?,
        },
        ["mend", machine, network] => Verb::Mend { machine: own(machine), network: own(network) },
        ["slow", machine, disk, bytes] => {
            Verb::Slow { machine: own(machine), disk: disk.parse()?, bytes: bytes.parse()? }
        }
        _ => bail!("{USAGE}"),
    };
    lab()?.tell(&verb)
}

/// The logs worth reading, of one machine or of all.
fn logs(words: &[&str]) -> Result<()> {
    let lab = lab()?;
    let place = Place::of_workspace();
    for plan in PLANS.iter().filter(|plan| words.is_empty() || words.contains(&plan.name)) {
        println!("== {}: console", plan.name);
        println!("{}", std::fs::read_to_string(plan.console(&place)).unwrap_or_default());
        for log in ["/var/log/ha-log", "/var/log/ha-debug", "/var/log/pacemaker/pacemaker.log"] {
            if let Ok(bytes) = lab.machine(plan.name).read(log) {
                println!("== {}: {log}", plan.name);
                println!("{}", String::from_utf8_lossy(&bytes));
            }
        }
    }
    Ok(())
}
