//! Asking a network whether somebody serves an address already, and telling it
//! who serves it now.
//!
//! Two targets of one address are the end of what is on either. A peer that is
//! about to end is waited for, as long as the start may take. Announcements are
//! what vblade sends when it starts, once; a switch may still be learning then,
//! and who has lost a target looks for it once a minute.

use super::Vblade;
use super::exports::Mac;
use super::record::{Noted, of_file};
use super::start::{Prospect, links_of};
use anyhow::{Context, Result, bail};
use common::host::aoe::{self, Address, Detail, Line, Target};
use common::host::link::{self, Link, shown};
use common::host::pidlock::{self, PidLock};
use common::{Plan, System, View};
use std::time::{Duration, Instant};

/// How often the network is asked, and how long it has for an answer each time.
const QUESTIONS: u32 = 3;
const ANSWER: Duration = Duration::from_millis(250);

/// vblade's own number of buffers.
const BUFFERS: u16 = 16;

/// How long a predecessor may take to let go of the claim.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is left of a start's time for the rest of it.
const REST: Duration = Duration::from_secs(2);

fn claim_name(file: &str) -> String {
    format!("vblade-{file}.announcing")
}

impl Vblade {
    /// Adds the question who serves these addresses. Those that we serve on
    /// another interface of the same network are no rivals.
    pub(super) fn plan_question<'a>(
        &'a self,
        plan: &mut Plan<'a>,
        fresh: &[Prospect],
        kept: &[Noted],
    ) {
        let ours: Vec<(Address, Mac)> =
            kept.iter().map(|noted| (noted.address, noted.mac)).collect();
        for (index, link) in links_of(fresh) {
            let here = fresh.iter().filter(|prospect| prospect.noted.index == index);
            let wanted: Vec<Address> = here.map(|prospect| prospect.noted.address).collect();
            let what = format!("ask the network on {} who serves {}", link.name, some(&wanted));
            let ours = ours.clone();
            plan.step(what, move |system| nobody_serves(system, &link, &wanted, &ours));
        }
    }

    /// Tells of what is served: once now, and again from the background. That
    /// somebody has not heard of it is no reason not to serve it.
    pub(super) fn announce(&self, system: &System<'_>, exports: &[Noted]) {
        let told = self.tell_and_go_on(system, exports);
        if let Err(err) = told {
            system.warn(format_args!("{err:#}"));
        }
    }

    fn tell_and_go_on(&self, system: &System<'_>, exports: &[Noted]) -> Result<()> {
        let deadline = system.deadline().at_most(PATIENCE);
        drop(pidlock::take_over(system, &claim_name(&self.file), deadline)?);
        tell(system, exports)?;
        let again = self.params.announce_again.as_millis();
        let words = [self.request.instance.clone(), self.file.clone(), again.to_string()];
        system.background(&words, None)?;
        Ok(())
    }

    /// Ends all announcements. The claim is kept until this process ends, so
    /// that a successor that comes late finds it taken.
    pub(super) fn silence(&self, system: &System<'_>) -> Result<PidLock> {
        let deadline = system.deadline().at_most(PATIENCE);
        pidlock::take_over(system, &claim_name(&self.file), deadline)
    }

    pub(super) fn is_announcing(&self, view: &View) -> bool {
        pidlock::holder(view, &claim_name(&self.file)).is_some()
    }
}

/// `e0.1, e0.2 and 498 more`.
pub(super) fn some<T: ToString>(all: &[T]) -> String {
    const SHOWN: usize = 4;
    let first: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = all.len().saturating_sub(SHOWN);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    first.join(", ") + &more
}

/// Returns once the network has been silent for a while.
fn nobody_serves(
    system: &System<'_>,
    link: &Link,
    wanted: &[Address],
    ours: &[(Address, Mac)],
) -> Result<()> {
    let begun = Instant::now();
    let line = Line::hearing(link)?;
    let mut silent = 0;
    let mut told = false;
    while silent < QUESTIONS {
        for address in wanted {
            line.ask(*address)
                .with_context(|| format!("cannot ask the network on {}", link.name))?;
        }
        let until = system.deadline().at_most(ANSWER);
        let answers = line.answers(until).context("cannot hear the network")?;
        let rival =
            answers.into_iter().find(|answer| wanted.contains(&answer.0) && !ours.contains(answer));
        system.note(format_args!("asked on {} = {rival:?}", link.name));
        let Some((address, mac)) = rival else {
            silent += 1;
            continue;
        };
        silent = 0;
        let by = format!("{address} is served by {} on the network of {}", shown(&mac), link.name);
        if system.deadline().left() < REST {
            bail!("{by}, after {:.0?} still; wanted nobody", begun.elapsed());
        }
        if !told {
            system.warn(format_args!("{by}; waiting for its end"));
            told = true;
        }
        system.pause(ANSWER);
    }
    Ok(())
}

/// Says once of each export that it is served here.
fn tell(system: &System<'_>, exports: &[Noted]) -> Result<()> {
    let mut lines: Vec<(Link, Line, usize)> = Vec::new();
    for noted in exports {
        if !lines.iter().any(|(link, ..)| link.index == noted.index) {
            let Some(link) = link::by_index(system, noted.index)? else { continue };
            if !link.carries() {
                continue;
            }
            let line = Line::speaking(&link)?;
            // A bond that sends through its members in turn is to send through
            // each of them: every switch has to hear of it.
            let times = if link.takes_turns { link::members(system, link.index)? } else { 1 };
            lines.push((link, line, times.max(1)));
        }
        let line = lines.iter().find(|(link, ..)| link.index == noted.index);
        let Some((link, line, times)) = line else { continue };
        let (address, mtu, to) = (noted.address, link.mtu, noted.masks.as_slice());
        let target = Target { address, buffers: BUFFERS, mtu, to };
        for _ in 0..*times {
            line.tell(system, &target)
                .with_context(|| format!("cannot announce {} on {}", noted.address, link.name))?;
        }
    }
    Ok(())
}

/// What the process in the background does: it tells of what is still served
/// by what start had left serving it.
pub(super) fn background(words: &[String], system: &System<'_>) -> Result<()> {
    let [_, file, again] = words else { bail!("these words make no sense in the background") };
    let again = Duration::from_millis(again.parse().context("not a number")?);
    // Whoever holds the claim says what is to be said, or has it silent.
    let Some(_claim) = pidlock::take(system, &claim_name(file))? else { return Ok(()) };
    let begun = Instant::now();
    for time in times(again) {
        system.pause(time.saturating_sub(begun.elapsed()));
        let Some(noted) = of_file(system, file) else { return Ok(()) };
        // Asked before every frame: a node that has lost a target must not
        // claim it.
        let sockets = aoe::sockets(system, Detail::State)?;
        let is_served = |noted: &Noted| {
            noted.server.is_some_and(|server| {
                sockets.iter().any(|socket| socket.is_running && socket.inode == server.inode)
            })
        };
        let served: Vec<Noted> = noted.into_iter().filter(is_served).collect();
        if served.is_empty() {
            return Ok(());
        }
        tell(system, &served)?;
    }
    Ok(())
}

/// When to tell again, counted from the first time.
fn times(again: Duration) -> Vec<Duration> {
    let first = [200, 400, 600].map(Duration::from_millis);
    let begin = again.max(Duration::from_millis(800));
    let second = first.map(|time| begin + time);
    let all = first.into_iter().chain(second.into_iter().filter(|_| !again.is_zero()));
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_burst_comes_when_it_was_asked_for() {
        let ms = |again| {
            times(Duration::from_secs(again)).iter().map(Duration::as_millis).collect::<Vec<_>>()
        };
        assert_eq!(ms(5), [200, 400, 600, 5200, 5400, 5600]);
        assert_eq!(ms(0), [200, 400, 600]);
    }

    #[test]
    fn a_long_list_is_cut_in_a_message() {
        assert_eq!(some(&[1, 2]), "1, 2");
        assert_eq!(some(&[1, 2, 3, 4, 5, 6]), "1, 2, 3, 4 and 2 more");
    }
}
