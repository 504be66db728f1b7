//! Agents that are killed in the middle of an action.

use super::call::{self, Call};
use super::order::{Order, Subject, Victim};
use super::stand::{DOUBLE, GROUP, PLAIN, Stand, VOLUMES};
use crate::guest::SELF;
use crate::machine::NODES;
use anyhow::{Context, Result, bail, ensure};
use std::thread;

/// Kills `agent`'s `action` as often as the stand says: a resource of one
/// volume on the first node, and of two on the second at the same time.
pub fn kills(stand: &Stand, agent: &str, action: &str) -> Result<String> {
    for node in stand.nodes() {
        node.pretend("/usr/sbin/crm_attribute", "#!/bin/sh\nexit 0\n")?;
    }
    if agent == "LVM" {
        stand.node(0).shell("drbdadm primary r0")?;
        let subject = Subject::Volumes { group: GROUP.into(), count: VOLUMES.len() };
        return of_one(stand, agent, action, GROUP, subject);
    }
    let plain = victim(NODES[0], agent, action, PLAIN, Subject::Drbd(vec![0]));
    let double = victim(NODES[1], agent, action, DOUBLE, Subject::Drbd(vec![2, 3]));
    follow(stand, vec![plain, double])
}

/// The same for one object, on the first node.
pub fn of_one(
    stand: &Stand,
    agent: &str,
    action: &str,
    object: &str,
    subject: Subject,
) -> Result<String> {
    follow(stand, vec![victim(NODES[0], agent, action, object, subject)])
}

/// The same for a call that has more to say.
pub fn of_call(stand: &Stand, call: Call, action: &str, subject: Subject) -> Result<String> {
    follow(stand, vec![victim_of(call, action, subject)])
}

/// Two calls, each on a node of its own, at the same time.
pub fn of_two(stand: &Stand, calls: [(Call, Subject); 2], action: &str) -> Result<String> {
    follow(stand, calls.map(|(call, subject)| victim_of(call, action, subject)).to_vec())
}

/// Each victim on its node, all at once, with its share of the kills.
fn follow(stand: &Stand, victims: Vec<Victim>) -> Result<String> {
    let count = victims.len() as u32;
    let told = thread::scope(|scope| {
        let show = stand.show;
        let running: Vec<_> = (0..)
            .zip(&victims)
            .map(|(number, victim)| {
                let order = Order {
                    victim: victim.clone(),
                    rounds: (stand.kills + count - 1 - number) / count,
                    seed: stand.seed,
                };
                let node = stand.node(number as usize);
                scope.spawn(move || {
                    let order = serde_json::to_string(&order)?;
                    node.follow(&[SELF, "drill-kill", &order], show)
                })
            })
            .collect();
        let ended = running.into_iter().map(|thread| match thread.join() {
            Ok(told) => told,
            Err(_) => bail!("a helper thread died"),
        });
        ended.collect::<Vec<Result<String>>>()
    });
    let told = told.into_iter().collect::<Result<Vec<String>>>()?;
    for node in stand.nodes() {
        ensure!(
            !node.shell("dmesg")?.contains("Split-Brain detected"),
            "a kill has led to a split brain"
        );
    }
    stand.check().context("after the last kill")?;
    Ok(told.join("; "))
}

fn victim(node: &str, agent: &str, action: &str, object: &str, subject: Subject) -> Victim {
    let name = call::object(agent);
    let call = Call {
        agent: agent.into(),
        params: vec![(name.into(), object.into())],
        node: node.into(),
        limit: 120,
    };
    victim_of(call, action, subject)
}

fn victim_of(call: Call, action: &str, subject: Subject) -> Victim {
    let (before, after): (&[&str], &[&str]) = match (call.agent.as_str(), action) {
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
