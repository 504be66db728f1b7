//! Faults that strike in the middle of an agent's action, at a moment that
//! looks random and comes again with the same seed.

use super::article::Article;
use super::client::{Events, Lab};
use super::keeper::Verb;
use super::libvirt;
use super::scenario::Fault;
use anyhow::{Result, bail};
use std::thread;
use std::time::Duration;
use story::timeline::now;

/// When an armed fault struck, and what it was.
pub struct Struck {
    /// When.
    pub at: Duration,
    /// What happened.
    pub what: String,
    /// The agent had ended before.
    pub late: bool,
}

/// A fault that waits for its moment.
#[derive(Clone, Copy)]
pub struct Armed {
    /// Where.
    pub node: &'static str,
    /// Whose power is cut, if it is a power cut.
    pub victim: &'static str,
    /// Whom it strikes.
    pub agent: &'static str,
    /// In which action.
    pub action: &'static str,
    /// What it is.
    pub fault: Fault,
    /// How long after the action's begin.
    pub delay: Duration,
}

impl Armed {
    /// Waits for the call and strikes; a kill is done in the machine itself.
    pub fn strike(&self, lab: &Lab, article: &Article, events: Events) -> Result<Struck> {
        let Armed { node, victim, agent, action, fault, delay } = *self;
        for event in events {
            let words: Vec<&str> = event.words.iter().map(String::as_str).collect();
            let [told, _, called, what, ..] = words[..] else { continue };
            if event.machine != node || called != action || !what.starts_with(agent) {
                continue;
            }
            let at = event.at;
            match (fault, told) {
                (Fault::PowerCut | Fault::PeerPowerCut, "begin") => {
                    thread::sleep(delay);
                    let at = now();
                    lab.tell(&Verb::PowerOff { machine: victim.into() })?;
                    let what = format!("{victim} loses power {delay:.1?} into {agent} {action}");
                    return Ok(Struck { at, what, late: false });
                }
                (Fault::DaemonKill | Fault::PeerDaemonKill, "begin") => {
                    thread::sleep(delay);
                    let at = now();
                    libvirt::kill_daemon(&lab.machine(victim), article)?;
                    let what =
                        format!("{victim}'s libvirt is killed {delay:.1?} into {agent} {action}");
                    return Ok(Struck { at, what, late: false });
                }
                (Fault::Kill, "kill") => {
                    let what = format!("{agent} {action} is killed after {delay:.1?}");
                    return Ok(Struck { at, what, late: false });
                }
                (Fault::Kill, "late") => {
                    let what = format!("{agent} {action} was over before {delay:.1?}");
                    return Ok(Struck { at, what, late: true });
                }
                _ => {}
            }
        }
        bail!("the lab ended before the fault could strike")
    }
}

/// Has the recorder kill the agent's next such action that long after its
/// begin.
pub fn trap(lab: &Lab, node: &str, agent: &str, action: &str, delay: Duration) -> Result<()> {
    let trap = format!("{agent} {action} {}\n", delay.as_micros());
    lab.machine(node).put("/run/lab/traps", 0o644, trap.as_bytes())
}
