//! What a shell agent of this name has left in the firewall: with iptables in
//! either of its forms, or in a table of nft's. It is known by what it says, as
//! it bears no name: exactly these ports of this address, and nothing besides.

use super::name::Name;
use super::params::Direction;
use anyhow::{Result, ensure};
use common::host::iptables;
use common::host::nftables::{self, Change, Family, Rule, Table, Verdict};
use common::host::traffic::{End, Protocol, ports_text};
use common::{Plan, System, View};

/// Where iptables has its rules when it speaks to nf_tables, and where nft has
/// those of the shell agent.
fn tables(name: &Name) -> [Table; 2] {
    let family = name.family();
    [Table { family, name: "filter" }, Table { family: Family::Inet, name: "portblock" }]
}

/// Adds the removal of what is found.
pub(super) fn plan<'a>(view: &View, plan: &mut Plan<'a>, name: &'a Name) {
    for table in tables(name) {
        let found = found(view, table, name);
        if found.is_empty() {
            continue;
        }
        let what =
            format!("remove {} rules of a shell agent from table {}", found.len(), table.name);
        plan.step(what, move |system| {
            let mut change = Change::new();
            found.iter().for_each(|rule| change.delete(table, rule));
            change.make(system)
        });
    }
    if has_legacy(view, name) {
        let what = "remove what a shell agent has left with iptables";
        plan.step(what, move |system| remove_legacy(system, name));
    }
}

/// The rules in a table that are a shell agent's. None where the table cannot be
/// read: it is only an offer.
fn found(view: &View, table: Table, name: &Name) -> Vec<Rule> {
    let rules = nftables::rules(view, table).and_then(|rules| rules.map_err(anyhow::Error::msg));
    let rules = rules.map(|rules| rules.into_items()).unwrap_or_default();
    rules.into_iter().filter(|rule| is_left(rule, table.family, name)).collect()
}

fn is_left(rule: &Rule, family: Family, name: &Name) -> bool {
    let sense = rule.sense.clone().within(family);
    let end = match rule.chain.as_str() {
        "INPUT" => End::Destination,
        "OUTPUT" => End::Source,
        _ => return false,
    };
    // What its resets needed for a moment went out whatever the direction.
    let is_meant = match (end, sense.verdict) {
        (End::Destination, Some(Verdict::Drop | Verdict::Reject)) => {
            name.direction != Direction::Out
        }
        (End::Source, Some(Verdict::Drop)) => name.direction != Direction::In,
        (End::Source, Some(Verdict::Reject)) => true,
        _ => false,
    };
    is_meant
        && rule.comment.is_none()
        && !sense.is_strange
        && sense.protocol == Some(name.protocol)
        && sense.network_or_all(end) == Some(name.network)
        && sense.ports.as_ref().is_some_and(|(of, ports)| *of == end && *ports == name.ports)
}

/// Whether a shell agent's rules are among those of iptables of old. None where
/// the kernel cannot be asked for them: it is only an offer.
fn has_legacy(view: &View, name: &Name) -> bool {
    let family = name.family();
    let Ok(Ok(rules)) = iptables::rules(view, family) else { return false };
    rules.iter().any(|rule| is_left(rule, family, name))
}

/// Has iptables delete what is exactly so, as often as it is there.
fn remove_legacy(system: &System<'_>, name: &Name) -> Result<()> {
    let program = iptables::program(system, name.family(), "")?;
    let program = program.to_string_lossy();
    for rule in legacy_rules(name) {
        let words = |what: &'static str| {
            let rule = rule.iter().map(String::as_str);
            ["-w", what].into_iter().chain(rule).map(str::to_owned).collect::<Vec<_>>()
        };
        while system.query(&program, &words("-C"))?.success() {
            let deleted = system.change(&program, &words("-D"))?;
            ensure!(deleted.success(), "{program}: {}", deleted.reason());
        }
    }
    Ok(())
}

/// The rules that shell agents of all ages have made, in iptables' words.
fn legacy_rules(name: &Name) -> Vec<Vec<String>> {
    let rule = |chain: &str, ends: [&str; 2], rest: &[&str]| {
        let (protocol, network) = (name.protocol.word(), name.network.to_string());
        let ports = ports_text(&name.ports);
        let mut words =
            vec![chain, "-p", protocol, ends[0], &network, "-m", "multiport", ends[1], &ports];
        words.extend(rest);
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let (input, output) = (["-d", "--dports"], ["-s", "--sports"]);
    let drop = ["-j", "DROP"];
    let reject = ["-j", "REJECT", "--reject-with", "tcp-reset"];
    let states = ["-m", "conntrack", "--ctstate", "NEW,RELATED,ESTABLISHED"];
    let reject_states = [&states[..], &reject].concat();
    let mut rules = Vec::new();
    if name.direction != Direction::Out {
        rules.push(rule("INPUT", input, &drop));
    }
    if name.direction != Direction::In {
        rules.push(rule("OUTPUT", output, &drop));
    }
    if name.protocol == Protocol::Tcp {
        if name.direction != Direction::Out {
            rules.push(rule("INPUT", input, &reject_states));
        }
        rules.push(rule("OUTPUT", output, &reject_states));
        rules.push(rule("OUTPUT", output, &reject));
    }
    rules
}
