//! Telling the network where the address lives: the first time within start,
//! then from a process in the background, which holds a lock that stop takes
//! from it.

use super::state::{Assignment, State};
use super::values::AnnounceForm;
use super::{Ipaddr, clusterip};
use anyhow::{Context, Result, anyhow, bail};
use common::host::address::{self, Uniqueness};
use common::host::announce::{Form, Line};
use common::host::clock::Deadline;
use common::host::link::{self, Link};
use common::host::pidlock;
use common::{Plan, System, View};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a predecessor may take to let go of the lock.
const PATIENCE: Duration = Duration::from_secs(1);

/// What one process in the background has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Errand {
    instance: String,
    ip: IpAddr,
    prefix: u8,
    index: u32,
    form: Form,
    /// Between two announcements.
    interval: Duration,
    /// How many are left of the first burst.
    left: u32,
    /// When, counted from the first announcement, the second burst begins.
    again: Duration,
    /// How many announcements that has; with 0 there is none.
    count: u32,
}

/// The name of the lock.
fn lock_name(instance: &str) -> String {
    format!("IPaddr-{instance}.announcing")
}

impl Ipaddr {
    fn form(&self) -> Form {
        let options = self.params.send_arp_opts.as_deref().unwrap_or_default();
        let asks = |option: &str| options.split_whitespace().any(|word| word == option);
        match self.params.announce_form {
            AnnounceForm::Request => Form::Request,
            AnnounceForm::Reply => Form::Reply,
            AnnounceForm::Both if asks("-A") => Form::Reply,
            AnnounceForm::Both if asks("-U") => Form::Request,
            AnnounceForm::Both => Form::Both,
        }
    }

    fn errand(&self, prefix: u8, index: u32, count: u32) -> Errand {
        Errand {
            instance: self.request.instance.clone(),
            ip: self.ip,
            prefix,
            index,
            form: self.form(),
            interval: Duration::from_millis(self.params.arp_interval.into()),
            left: count.saturating_sub(1),
            again: Duration::ZERO,
            count: 0,
        }
    }

    /// Adds the announcing of a new address to a start.
    pub(super) fn plan_announce<'a>(&'a self, plan: &mut Plan<'a>, link: &Link, prefix: u8) {
        if !link.has_neighbours() || !self.may_announce() {
            return;
        }
        let count = self.params.arp_count.max(1);
        let mut errand = self.errand(prefix, link.index, count);
        if !self.params.announce_again.is_zero() {
            (errand.again, errand.count) = (self.params.announce_again, count);
        }
        let more = match errand.count {
            0 => String::new(),
            _ => format!(", and again after {:?}", errand.again),
        };
        let what = format!("announce {} on {}, {count} times{more}", self.ip, link.name);
        plan.step(what, move |system| {
            let _ = pidlock::take_over(system, &lock_name(&errand.instance), soon(system));
            let sent = self.announce(system, errand);
            match sent {
                // The address is up. That somebody has not heard of it shall
                // not take it down again, unless it was to be waited for.
                Err(err) if self.params.arp_bg => system.warn(format_args!("{err:#}")),
                sent => sent?,
            }
            Ok(())
        });
    }

    /// A shared address is announced only if it has a hardware address of its
    /// own: with this interface's, one node would get all the clients.
    fn may_announce(&self) -> bool {
        self.share.as_ref().is_none_or(clusterip::Share::has_own_mac)
    }

    /// Adds the announcements that a monitor was asked to make.
    pub(super) fn plan_refresh<'a>(&'a self, view: &View, plan: &mut Plan<'a>, state: &State) {
        let count = self.params.arp_count_refresh;
        let Some(found) = state.found.as_ref().filter(|_| count > 0 && self.may_announce()) else {
            return;
        };
        if self.is_announcing(view) {
            view.note(format_args!("announcements are under way"));
            return;
        }
        let Assignment { nic, prefix, index, .. } = found.clone();
        let what = format!("announce {} on {nic}, {count} times", self.ip);
        plan.step(what, move |system| {
            if let Err(err) = self.announce(system, self.errand(prefix, index, count)) {
                system.warn(format_args!("{err:#}"));
            }
            Ok(())
        });
    }

    /// Makes the first announcement and leaves the others to the background,
    /// or makes the whole first burst if that is wanted.
    fn announce(&self, system: &System<'_>, mut errand: Errand) -> Result<()> {
        let Some(mut link) = errand.link(system)? else { bail!("the interface has gone away") };
        if !link.has_neighbours() {
            return Ok(());
        }
        let line = match self.line.take() {
            Some(line) => line,
            None => Line::open(system, self.ip, &link)?,
        };
        let begun = Instant::now();
        self.wear_shared_mac(&mut link);
        errand.say(system, &line, &link)?;
        if !self.params.arp_bg {
            let mut known = Vec::new();
            for number in 1..=errand.left {
                let pause = (errand.interval * number).saturating_sub(begun.elapsed());
                let until = system.deadline().at_most(pause);
                errand.listen(system, &line, until, &mut known)?;
                errand.say(system, &line, &link)?;
            }
            errand.left = 0;
        }
        errand.again = errand.again.saturating_sub(begun.elapsed());
        // Also with nothing left to say: to close the socket takes longer than
        // all of start.
        let handed = Some(line.into_socket());
        system.background(&errand.words(), handed)?;
        Ok(())
    }

    fn wear_shared_mac(&self, link: &mut Link) {
        if let Some(share) = &self.share {
            link.address = share.mac().to_vec();
        }
    }

    /// Adds the end of all announcements to a stop. The lock is kept until
    /// this process ends, so that a successor that comes late finds it taken.
    pub(super) fn plan_silence<'a>(&'a self, plan: &mut Plan<'a>) {
        plan.step(format!("end the announcements of {}", self.ip), move |system| {
            let name = lock_name(&self.request.instance);
            let lock = pidlock::take_over(system, &name, soon(system))?;
            self.silence.replace(Some(lock));
            Ok(())
        });
    }

    /// Whether a process in the background still announces.
    pub(super) fn is_announcing(&self, view: &View) -> bool {
        pidlock::holder(view, &lock_name(&self.request.instance)).is_some()
    }

    /// Adds the question whether somebody has the address already.
    pub(super) fn plan_probe<'a>(&'a self, plan: &mut Plan<'a>, link: Link) {
        let what = format!("ask the network on {} who has {}", link.name, self.ip);
        plan.step(what, move |system| {
            let line = Line::open(system, self.ip, &link)?;
            for pause in PROBES {
                line.probe(system, &link)?;
                let until = system.deadline().at_most(pause);
                while !until.has_passed() {
                    line.wait(until)?;
                    if let Some(rival) = line.rival(&link, true) {
                        return Err(self.taken_by(&link, &rival.mac));
                    }
                }
            }
            self.line.replace(Some(line));
            Ok(())
        });
    }

    pub(super) fn taken_by(&self, link: &Link, mac: &str) -> anyhow::Error {
        anyhow!("{} is already in use on the network of {}, by {mac}", self.ip, link.name)
    }
}

/// Three probes, and the time for an answer to each; less than a second.
const PROBES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(250), Duration::from_millis(400)];

fn soon(view: &View) -> Deadline {
    view.deadline().at_most(PATIENCE)
}

impl Ipaddr {
    /// What the process in the background does.
    pub(super) fn announce_in_background(words: &[String], system: &System<'_>) -> Result<()> {
        let errand = Errand::read(words).context("these words make no sense in the background")?;
        // Whoever holds the lock says what is to be said, or has it silent.
        let Some(_lock) = pidlock::take(system, &lock_name(&errand.instance))? else {
            return Ok(());
        };
        let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
        errand.run(system, &Line::resume(socket, errand.ip))
    }
}

impl Errand {
    fn words(&self) -> Vec<String> {
        let form = match self.form {
            Form::Request => "request",
            Form::Reply => "reply",
            Form::Both => "both",
        };
        let numbers = [
            u128::from(self.prefix),
            self.index.into(),
            self.interval.as_millis(),
            self.left.into(),
            self.again.as_millis(),
            self.count.into(),
        ];
        let mut words = vec![self.instance.clone(), self.ip.to_string(), form.into()];
        words.extend(numbers.map(|number| number.to_string()));
        words
    }

    fn read(words: &[String]) -> Option<Self> {
        let [instance, ip, form, prefix, index, interval, left, again, count] = words else {
            return None;
        };
        let milliseconds = |text: &str| text.parse().ok().map(Duration::from_millis);
        Some(Self {
            instance: instance.clone(),
            ip: ip.parse().ok()?,
            prefix: prefix.parse().ok()?,
            index: index.parse().ok()?,
            form: match form.as_str() {
                "request" => Form::Request,
                "reply" => Form::Reply,
                _ => Form::Both,
            },
            interval: milliseconds(interval)?,
            left: left.parse().ok()?,
            again: milliseconds(again)?,
            count: count.parse().ok()?,
        })
    }

    /// When to speak, counted from now.
    fn times(&self) -> Vec<Duration> {
        let first = (1..=self.left).map(|number| self.interval * number);
        // A second burst never runs into the first.
        let begin = self.again.max(self.interval * (self.left + 1));
        let second = (0..self.count).map(|number| begin + self.interval * number);
        first.chain(second).collect()
    }

    fn run(&self, system: &System<'_>, line: &Line) -> Result<()> {
        let begun = Instant::now();
        let mut known = Vec::new();
        for time in self.times() {
            let until = Deadline::after(time.saturating_sub(begun.elapsed()));
            if !self.listen(system, line, until, &mut known)? {
                return Ok(());
            }
            let Some(link) = self.link(system)? else { return Ok(()) };
            if !self.is_ours(system)? {
                return Ok(());
            }
            // Where there is no carrier now, there may be one for the next.
            if link.carries() {
                self.say(system, line, &link)?;
            }
        }
        Ok(())
    }

    /// Listens for others who claim the address, until it is time to speak
    /// again. Whether there still is an interface.
    fn listen(
        &self,
        system: &System<'_>,
        line: &Line,
        until: Deadline,
        known: &mut Vec<String>,
    ) -> Result<bool> {
        loop {
            line.wait(until)?;
            let Some(link) = self.link(system)? else { return Ok(false) };
            if let Some(rival) = line.rival(&link, false)
                && !known.contains(&rival.mac)
            {
                system.warn(format_args!(
                    "{} on {} is claimed by {} as well",
                    self.ip, link.name, rival.mac
                ));
                // Once each: two that defend an address would never fall silent.
                if self.is_ours(system)? {
                    self.say(system, line, &link)?;
                }
                known.push(rival.mac);
            }
            if until.has_passed() {
                return Ok(true);
            }
        }
    }

    fn link(&self, view: &View) -> Result<Option<Link>> {
        link::by_index(view, self.index)
    }

    /// Whether the address is still here. It is asked before every frame: a
    /// node that has lost it must not claim it.
    fn is_ours(&self, view: &View) -> Result<bool> {
        let found = address::holding(view, self.ip)?;
        Ok(found.iter().any(|address| {
            (address.index, address.prefix) == (self.index, self.prefix)
                && address.uniqueness() == Uniqueness::Settled
        }))
    }

    fn say(&self, system: &System<'_>, line: &Line, link: &Link) -> Result<()> {
        let members = if link.takes_turns { link::members(system, link.index)? } else { 1 };
        line.announce(system, link, self.form, members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errand(left: u32, again: u64, count: u32) -> Errand {
        Errand {
            instance: "vip".into(),
            ip: "10.0.0.9".parse().unwrap(),
            prefix: 24,
            index: 3,
            form: Form::Reply,
            interval: Duration::from_millis(200),
            left,
            again: Duration::from_millis(again),
            count,
        }
    }

    #[test]
    fn an_errand_is_understood_by_whoever_gets_it() {
        let given = errand(4, 5000, 5);
        assert_eq!(Errand::read(&given.words()), Some(given));
        assert_eq!(Errand::read(&["vip".into()]), None);
    }

    #[test]
    fn the_second_burst_comes_when_it_was_asked_for_and_after_the_first() {
        let times =
            |errand: Errand| errand.times().iter().map(Duration::as_millis).collect::<Vec<_>>();
        assert_eq!(times(errand(2, 5000, 3)), [200, 400, 5000, 5200, 5400]);
        assert_eq!(times(errand(2, 100, 1)), [200, 400, 600]);
        assert_eq!(times(errand(0, 0, 0)), [0u128; 0]);
    }
}
