//! Agents that are killed in the middle of an action.

use super::call::Call;
use super::order::{Order, Subject, Victim};
use super::stand::{DOUBLE, GROUP, PLAIN, Stand, VOLUMES};
use crate::lab::guest::SELF;
use anyhow::{Context, Result};

/// Kills `agent`'s `action` on the first node, as often as the stand says.
pub fn kills(stand: &Stand, agent: &str, action: &str) -> Result<String> {
    let node = stand.node(0);
    for node in stand.nodes() {
        node.pretend("/usr/sbin/crm_attribute", "#!/bin/sh\nexit 0\n")?;
    }
    let victims = match agent {
        "LVM" => {
            node.shell("drbdadm primary r0")?;
            let subject = Subject::Volumes { group: GROUP.into(), count: VOLUMES.len() };
            vec![victim(node.machine.name, agent, action, GROUP, subject)]
        }
        _ => vec![
            victim(node.machine.name, agent, action, PLAIN, Subject::Drbd(vec![0])),
            victim(node.machine.name, agent, action, DOUBLE, Subject::Drbd(vec![2, 3])),
        ],
    };
    let order = Order { victims, rounds: stand.kills, seed: stand.seed };
    let order = serde_json::to_string(&order)?;
    let told = node.follow(&[SELF, "drill-kill", &order], stand.show)?;
    let log = node.shell("dmesg")?;
    anyhow::ensure!(!log.contains("Split-Brain detected"), "a kill has led to a split brain");
    stand.check().context("after the last kill")?;
    Ok(told)
}

fn victim(node: &str, agent: &str, action: &str, object: &str, subject: Subject) -> Victim {
    let name = if agent == "LVM" { "vgname" } else { "drbd_resource" };
    let call = Call {
        agent: agent.into(),
        params: vec![(name.into(), object.into())],
        node: node.into(),
        limit: 120,
    };
    let (before, after): (&[&str], &[&str]) = match (agent, action) {
        ("drbd", "start") => (&["stop"], &["stop", "start"]),
        ("drbd", "stop") => (&["start", "start promote"], &["stop", "start stop"]),
        ("drbd", "promote") => (&["start demote"], &["promote", "demote", "stop"]),
        ("drbd", _) => (&["start promote"], &["demote", "stop", "promote"]),
        (_, "start") => (&["stop"], &["stop", "start"]),
        _ => (&["start"], &["stop", "start"]),
    };
    let lists = |lists: &[&str]| {
        lists
            .iter()
            .map(|list| list.split_whitespace().map(str::to_owned).collect())
            .collect::<Vec<Vec<String>>>()
    };
    Victim { call, action: action.into(), before: lists(before), after: lists(after), subject }
}
