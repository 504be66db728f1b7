//! The commands with which the Xen article tries its scripts before heartbeat calls
//! them, and the answers that heartbeat would look for.

use super::{Machine, Result, Setting};
use crate::client::Output;
use anyhow::{Context, ensure};
use std::time::Duration;

/// For one command: a guest is started and shut down in it.
const LIMIT: Duration = Duration::from_secs(300);

/// Leaves the node as it was found, with DRBD secondary and nothing active.
///
/// What the article does with `vgchange` before, today's LVM refuses: with its filter
/// the group is seen on DRBD and on the disk beneath as well.
pub fn play(machine: &Machine, setting: &Setting) -> Result<()> {
    let article = setting.article;
    let group = article.group.as_ref().context("the article has no volume group")?;
    let disk = ["drbddisk", article.resource];
    let volumes = ["LVM", group.name];
    let guests = ["xenHA"];
    let all: [&[&str]; 3] = [&disk, &volumes, &guests];
    for agent in all {
        call(machine, setting, agent, "start")?;
        let said = status(machine, setting, agent)?;
        ensure!(said == "running", "{} is {said:?} after its start", agent[0]);
    }
    for agent in all.into_iter().rev() {
        call(machine, setting, agent, "stop")?;
        let said = status(machine, setting, agent)?;
        ensure!(said == "stopped", "{} is {said:?} after its stop", agent[0]);
    }
    Ok(())
}

/// Calls an agent as heartbeat does, and as people do.
fn call(machine: &Machine, setting: &Setting, agent: &[&str], verb: &str) -> Result<String> {
    let output = called(machine, setting, agent, verb)?;
    output.success(&format!("{} {verb}", agent.join(" ")))
}

/// The first word of what its status prints, which is what heartbeat goes by.
fn status(machine: &Machine, setting: &Setting, agent: &[&str]) -> Result<String> {
    let output = called(machine, setting, agent, "status")?;
    Ok(output.stdout.split_whitespace().next().unwrap_or_default().to_owned())
}

fn called(machine: &Machine, setting: &Setting, agent: &[&str], verb: &str) -> Result<Output> {
    let path = setting.agent_path(agent[0]);
    let words = [&[path.as_str()], &agent[1..], &[verb]].concat();
    machine.run(&words, LIMIT)
}
