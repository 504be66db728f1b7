//! What is there, and what start and stop would do, in words.

use crate::frame::agent::{Extras, Fact, Plan};
use crate::frame::output::clean;
use crate::host::system::View;
use anyhow::Result;
use ocf_meta::Invalid;
use serde::Serialize;
use std::fmt::Write;

/// A plan, looked at and not carried out.
#[derive(Debug, Serialize)]
struct Prospect {
    /// What it would do, in order.
    steps: Vec<String>,
    /// Why it would do nothing but fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

/// Everything `explain` says.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    agent: &'static str,
    instance: String,
    state: String,
    #[serde(serialize_with = "as_map")]
    facts: Vec<Fact>,
    start: Prospect,
    stop: Prospect,
}

/// What was seen of one kind: a list where there is more than one.
#[derive(Serialize)]
#[serde(untagged)]
enum Seen {
    One(String),
    Many(Vec<String>),
}

fn as_map<S: serde::Serializer>(facts: &[Fact], serializer: S) -> Result<S::Ok, S::Error> {
    let mut kinds: Vec<&str> = facts.iter().map(|fact| fact.what).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let all = |kind: &&str| {
        let seen: Vec<&str> =
            facts.iter().filter(|fact| fact.what == *kind).map(|fact| fact.seen.as_str()).collect();
        match seen[..] {
            [one] => Seen::One(one.to_owned()),
            _ => Seen::Many(seen.into_iter().map(str::to_owned).collect()),
        }
    };
    serializer.collect_map(kinds.iter().map(|kind| (*kind, all(kind))))
}

fn prospect(plan: Result<Plan<'_>>) -> Prospect {
    match plan {
        Ok(plan) => {
            let steps = plan.steps.into_iter().map(|step| step.what).collect();
            Prospect { steps, refusal: None }
        }
        Err(err) => Prospect { steps: Vec::new(), refusal: Some(format!("{err:#}")) },
    }
}

/// Looks, plans, and writes it all down. `refused` is why a start would not get
/// so far as to look.
pub(crate) fn explain<A: Extras>(
    agent: &A,
    view: &View,
    instance: &str,
    refused: Result<(), Invalid>,
) -> Result<Explanation> {
    let state = agent.observe(view)?;
    let status = agent.status(&state);
    let is_right = refused.map_err(anyhow::Error::from).and_then(|()| agent.validate());
    let start = prospect(is_right.and_then(|()| match status.is_active() {
        true => agent.started(view, &state),
        false => agent.start(view, &state),
    }));
    Ok(Explanation {
        agent: A::META.name,
        instance: instance.to_owned(),
        state: status.to_string(),
        facts: agent.facts(&state).into_iter().chain(agent.advice(view, &state)).collect(),
        start,
        stop: prospect(agent.stop(view, &state)),
    })
}

impl Explanation {
    /// For a program.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{} {}: {}", self.agent, clean(&self.instance), clean(&self.state))?;
        let width = self.facts.iter().map(|fact| fact.what.len()).max().unwrap_or(0);
        for Fact { what, seen } in &self.facts {
            writeln!(out, "  {what:width$}  {}", clean(seen))?;
        }
        for (verb, prospect) in [("start", &self.start), ("stop", &self.stop)] {
            match &prospect.refusal {
                Some(refusal) => writeln!(out, "{verb} would refuse: {}", clean(refusal))?,
                None if prospect.steps.is_empty() => writeln!(out, "{verb} would do nothing")?,
                None => writeln!(out, "{verb} would")?,
            }
            for (number, step) in prospect.steps.iter().enumerate() {
                writeln!(out, "  {}. {}", number + 1, clean(step))?;
            }
        }
        Ok(())
    }
}
