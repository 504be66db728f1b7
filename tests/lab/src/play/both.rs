//! What must hold where both nodes write at once, and what is waited for there:
//!
//! 1. a node that is fenced says nothing more, and the other goes on only then;
//! 2. DRBD never finds that the data have gone two ways;
//! 3. in the end both nodes write again, DRBD is connected, both its disks are
//!    up to date, and nobody is barred from promotion.

use super::Play;
use crate::client::{Event, Lab};
use crate::journal::Journal;
use crate::machine::NODES;
use crate::pacemaker;
use anyhow::Result;
use std::time::Duration;
use story::ledger::Ack;
use story::timeline::now;

/// The fencings since `begin`: of which node, and when it was known to be off.
fn fenced(journal: &Journal, begin: Duration) -> Vec<(usize, Event)> {
    let node = |event: &Event| NODES.iter().position(|node| *node == event.machine);
    let events = journal.events(begin).into_iter().filter(|event| event.is("fenced"));
    events.filter_map(|event| Some((node(&event)?, event))).collect()
}

/// The fencings as marks.
pub fn fencings(journal: &Journal, begin: Duration) -> Vec<(Duration, String, bool)> {
    let mark = |(_, event): (usize, Event)| {
        (event.at, format!("{} is {}", event.machine, event.words.join(" ")), true)
    };
    fenced(journal, begin).into_iter().map(mark).collect()
}

/// What of the above was broken since `begin`, in words, and whether a node
/// was fenced for nothing.
pub fn broken(lab: &Lab, journal: &Journal, begin: Duration, expected: bool) -> Vec<String> {
    let mut broken = Vec::new();
    let mut before = [begin; 2];
    for (node, event) in fenced(journal, begin) {
        if !expected {
            broken.push(format!("{} was fenced, and nothing was wrong with it", event.machine));
        }
        let ups = journal.events(event.at);
        let back = ups.iter().find(|up| up.machine == event.machine && up.is("up"));
        let until = back.map_or(Duration::MAX, |up| up.at);
        let since = |from: Duration, node: usize| -> Vec<Ack> {
            journal.acks_of(NODES[node]).into_iter().filter(|ack| ack.at >= from).collect()
        };
        let silenced = since(before[node], node);
        before[node] = event.at;
        // Fenced once more before it wrote again: nobody waits for that.
        if silenced.first().is_none_or(|ack| ack.at > until) {
            continue;
        }
        let survivor = since(begin, 1 - node);
        broken.extend(order(event.at, until, &silenced, &survivor).err().map(|what| {
            let [gone, other] = [NODES[node], NODES[1 - node]];
            what.replace("GONE", gone).replace("OTHER", other)
        }));
    }
    for node in NODES {
        let look = "dmesg | grep -c 'Split-Brain detected'";
        match lab.machine(node).run(&["/bin/sh", "-c", look], Duration::from_secs(60)) {
            Ok(output) if output.stdout.trim() == "0" => {}
            Ok(output) if output.stdout.is_empty() => {
                broken.push(format!("{node} does not say whether DRBD has found a split brain"));
            }
            Ok(_) => broken.push(format!("{node}'s DRBD has found a split brain")),
            Err(err) => broken.push(format!("{node} cannot be asked for a split brain: {err:#}")),
        }
    }
    broken
}

/// Whether a fencing at `at`, of a node that came back at `until`, parts what
/// it wrote from what the survivor went on to write.
fn order(at: Duration, until: Duration, silenced: &[Ack], survivor: &[Ack]) -> Result<(), String> {
    if let Some(late) = silenced.iter().find(|ack| ack.at > at && ack.at < until) {
        return Err(format!("GONE wrote record {} after it had been fenced", late.number));
    }
    // Between the fault and the fencing the survivor stands still, as nobody
    // may write before it is known who goes on. How long that takes is not
    // judged, only that it is the longest of its pauses.
    let pauses = survivor.windows(2).filter(|pair| pair[0].at < until);
    match pauses.max_by_key(|pair| pair[1].at - pair[0].at) {
        Some(pair) if pair[0].at <= at && at <= pair[1].at => Ok(()),
        Some(pair) => Err(format!(
            "OTHER paused from record {} to {}, which is not when GONE was fenced",
            pair[0].number, pair[1].number
        )),
        None => Err("OTHER wrote nothing".into()),
    }
}

impl Play<'_> {
    pub(super) fn await_fenced(&mut self) -> Result<()> {
        self.await_true("a node is fenced", |play| Ok(!fenced(play.journal, play.began).is_empty()))
    }

    /// Until the node that is left has written something new.
    pub(super) fn await_writer(&mut self) -> Result<()> {
        let gone = fenced(self.journal, self.began).pop();
        let from = gone.as_ref().map_or(now(), |(_, event)| event.at);
        self.await_true("a node writes on", |play| {
            let writes = |node: usize| {
                let acks = play.journal.acks_of(NODES[node]);
                acks.last().is_some_and(|ack| ack.at > from)
            };
            Ok(match &gone {
                Some((node, _)) => writes(1 - node),
                None => (0..NODES.len()).any(writes),
            })
        })
    }

    /// Until the handler lets only `owner` be promoted, or anyone.
    pub(super) fn await_barred(&mut self, owner: Option<&str>) -> Result<()> {
        let wanted = match owner {
            Some(owner) => format!("only {owner} may be promoted"),
            None => "nobody is barred from promotion".into(),
        };
        self.await_true(&wanted, |play| Ok(pacemaker::barred_by(play.lab)?.as_deref() == owner))?;
        self.mark(wanted, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(seconds: &[u64]) -> Vec<Ack> {
        let ack = |(at, number): (&u64, u64)| Ack { number, at: Duration::from_secs(*at) };
        seconds.iter().zip(1..).map(ack).collect()
    }

    fn judged(silenced: &[u64], survivor: &[u64]) -> Result<(), String> {
        let [at, until] = [20, 40].map(Duration::from_secs);
        order(at, until, &acks(silenced), &acks(survivor))
    }

    #[test]
    fn who_is_fenced_is_silent_and_the_other_waits_for_that() {
        assert_eq!(judged(&[1, 2, 3, 41, 42], &[1, 2, 4, 21, 22, 23, 39, 40]), Ok(()));
        let late = judged(&[1, 2, 21], &[1, 2, 22]).unwrap_err();
        assert!(late.contains("record 3 after it had been fenced"), "{late}");
        let early = judged(&[1, 2], &[1, 2, 18, 19, 20, 21, 22]).unwrap_err();
        assert!(early.contains("from record 2 to 3"), "{early}");
        assert!(judged(&[1, 2], &[]).is_err());
    }
}
