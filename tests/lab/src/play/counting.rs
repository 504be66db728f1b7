//! What must hold of a guest that counts on its disk and says each number:
//!
//! 1. no number is said twice, and none after a higher one on the same node: two
//!    copies would count the same numbers, and so would one that has lost some;
//! 2. the disk has the last number that was said, or a higher one;
//! 3. where it is moved while it runs, it boots only if its node lost power, or an
//!    action of its agent was struck;
//! 4. in the end it runs on exactly one node, and counts.

use super::Play;
use crate::article::Domain;
use crate::journal::Count;
use crate::libvirt;
use crate::machine::NODES;
use crate::pacemaker;
use crate::scenario::{Scenario, Step};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use story::ledger::{Ack, longest_silence};
use story::timeline::{grouped, human, now};

/// What of the first is broken, by what was heard in this order.
fn order(counts: &[Count]) -> Result<()> {
    let mut said = BTreeSet::new();
    let mut last = [0; NODES.len()];
    for Count { node, ack: Ack { number, .. }, .. } in counts {
        ensure!(said.insert(*number), "the guest said {number} twice, the second time on {node}");
        let Some(place) = NODES.iter().position(|name| name == node) else { continue };
        let before = std::mem::replace(&mut last[place], *number);
        ensure!(before < *number, "the guest on {node} said {number} after {before}");
    }
    Ok(())
}

impl Play<'_> {
    /// Until the guest runs on that node, or on any, and nowhere else, has counted there
    /// since, and the cluster is through with what it did. The node on which it runs.
    pub(super) fn await_guest(&mut self, wanted: Option<usize>) -> Result<usize> {
        let guest = self.setting.article.domain.as_ref().context("there is no guest")?.name;
        let place = wanted.map_or("one node", |node| NODES[node]);
        let look = self.await_look(&format!("the guest runs on {place}"), |look| {
            let [one, other] = [look.nodes[0].guest, look.nodes[1].guest];
            one != other && wanted.is_none_or(|node| look.nodes[node].guest)
        })?;
        let place = usize::from(!look.nodes[0].guest);
        let node = NODES[place];
        let begin = now();
        self.await_true(&format!("the guest counts on {node}"), |play| {
            let counts = play.journal.counts_of(guest);
            Ok(counts.iter().rev().any(|count| count.node == node && count.ack.at >= begin))
        })?;
        self.mark(format!("the guest counts on {node}"), false);
        pacemaker::settle(&self.lab.machine(node))?;
        Ok(place)
    }

    /// Holds what was heard of each guest and what is on its disk against what must be,
    /// and says in a sentence what each has done.
    pub(super) fn check_counting(
        &self,
        scenario: &Scenario,
        broken: &mut Vec<String>,
    ) -> Vec<String> {
        let domains = self.setting.article.domains();
        domains.map(|domain| self.check_guest(domain, scenario, broken)).collect()
    }

    fn check_guest(
        &self,
        domain: &Domain,
        scenario: &Scenario,
        broken: &mut Vec<String>,
    ) -> String {
        let name = domain.name;
        let counts = self.journal.counts_of(name);
        broken.extend(order(&counts).err().map(|err| format!("{name}: {err:#}")));
        let highest = counts.iter().map(|count| count.ack.number).max().unwrap_or_default();
        let number = self.holding().and_then(|node| {
            let group = self.setting.article.group.as_ref().context("there is no volume group")?;
            libvirt::number(&self.lab.machine(NODES[node]), domain, group)
        });
        match number {
            Ok(number) if number >= highest => {}
            Ok(number) => {
                broken.push(format!("{name} said {highest}, and its disk has {number}"));
            }
            Err(err) => broken.push(format!("{name}'s disk cannot be read: {err:#}")),
        }
        let events = self.journal.events(self.began);
        let boots = events.iter().filter(|event| event.words == ["booted", name]).count();
        if boots > 0 && !self.may_boot(scenario) {
            broken.push(format!("{name} booted {boots} times, and was only to be moved"));
        }
        let acks: Vec<Ack> = counts.into_iter().map(|count| count.ack).collect();
        let since = acks.iter().filter(|ack| ack.at >= self.began).count();
        let pause = longest_silence(&acks, self.began, now())
            .map_or_else(|| "nothing".to_owned(), |(from, to)| human(to - from));
        format!(
            "{name} counted {} numbers, to {}, booted {boots} times, its longest pause was {pause}",
            grouped(since as u64),
            grouped(highest)
        )
    }

    fn may_boot(&self, scenario: &Scenario) -> bool {
        let strikes =
            |step: &Step| matches!(step, Step::PowerOff(_) | Step::AwaitFenced | Step::Arm { .. });
        self.setting.article.domain.is_none() || scenario.steps.iter().any(strikes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn two_copies_say_a_number_twice() {
        let heard = |words: &[(usize, u64)]| {
            let count = |(node, number): &(usize, u64)| Count {
                guest: "counter".into(),
                node: NODES[*node].into(),
                ack: Ack { number: *number, at: Duration::ZERO },
            };
            order(&words.iter().map(count).collect::<Vec<_>>()).map_err(|err| err.to_string())
        };
        assert_eq!(heard(&[(0, 1), (0, 2), (1, 4), (1, 5), (0, 6)]), Ok(()));
        // The last word of a node may be heard after the first of the other.
        assert_eq!(heard(&[(0, 1), (1, 3), (0, 2), (1, 4)]), Ok(()));
        assert!(heard(&[(0, 1), (0, 2), (1, 2)]).unwrap_err().contains("2 twice"));
        assert!(heard(&[(0, 1), (0, 3), (0, 2)]).unwrap_err().contains("2 after 3"));
    }
}
