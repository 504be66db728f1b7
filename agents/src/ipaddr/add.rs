//! Bringing the address up.

use super::Ipaddr;
use super::network::Place;
use super::remove;
use super::state::{Assignment, State};
use anyhow::{Context, Result, anyhow, bail};
use common::host::address::{self, Address, Uniqueness};
use common::host::announce::Line;
use common::host::link::{self, Link};
use common::host::netlink::Watch;
use common::{Plan, System, View};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How long a link that was set up may take to find its other end.
const CARRIER: Duration = Duration::from_secs(5);

/// How long duplicate address detection may take. It takes one to two seconds
/// as the kernel comes.
const DETECTION: Duration = Duration::from_secs(10);

impl Ipaddr {
    pub(super) fn plan_start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let seen = self.look(view)?;
        let place = match &from.found {
            Some(found) => self.place_of(view, found)?,
            None => self.place(view)?,
        };
        for other in &seen.others {
            let (ip, nic) = (place.address.ip, &place.link.name);
            view.warn(format_args!("{other}, while {ip} is to be on {nic}; it is left there"));
        }
        let mut plan = Plan::new();
        if !seen.recorded && !seen.others.is_empty() {
            // A start that fails is cleared up after.
            plan.step(format!("note that {} is not ours there", self.ip), |system| {
                self.note_nothing(system);
                Ok(())
            });
        }
        self.plan_link(&mut plan, &place.link);
        self.plan_off_loopback(view, &mut plan)?;
        self.plan_script(&mut plan, self.params.local_start_script.as_deref());
        if let Some(share) = &self.share {
            share.plan_start(&mut plan, self.ip, &place.link);
        }
        self.plan_recall(&mut plan, &seen.strays);
        match &from.found {
            Some(found) if self.wrong_label(found).is_some() => {
                self.plan_remove(&mut plan, found);
                self.plan_add(&mut plan, &place);
            }
            Some(found) => {
                self.plan_note(view, &mut plan, found);
                self.plan_renew(&mut plan, &place);
            }
            None => {
                if self.params.run_arping && self.ip.is_ipv4() && place.link.has_neighbours() {
                    self.plan_probe(&mut plan, place.link.clone());
                }
                self.plan_add(&mut plan, &place);
            }
        }
        if let IpAddr::V6(ip) = self.ip {
            self.plan_v6(&mut plan, &place.link, ip);
        }
        self.plan_announce(&mut plan, &place.link, place.address.prefix);
        Ok(plan)
    }

    /// What is left for a start to do where the address is there already: it
    /// may not be this agent that has added it.
    pub(super) fn plan_settle<'a>(&'a self, view: &View) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let seen = self.look(view)?;
        let Some(found) = &seen.found else { return Ok(plan) };
        self.plan_recall(&mut plan, &seen.strays);
        self.plan_note(view, &mut plan, found);
        self.plan_renew(&mut plan, &self.place_of(view, found)?);
        Ok(plan)
    }

    /// The place of an address that is there already, though not yet as it
    /// should be.
    fn place_of(&self, view: &View, found: &Assignment) -> Result<Place> {
        let all = address::holding(view, self.ip)?;
        let same = |a: &&Address| (a.index, a.prefix) == (found.index, found.prefix);
        let address = all.iter().find(same).cloned();
        let mut address = address.ok_or_else(|| anyhow!("{found} has just gone away"))?;
        let link = link::by_index(view, found.index)?;
        let link = link.ok_or_else(|| anyhow!("{} has just gone away", found.nic))?;
        address.label = self.label(&link.name).or(address.label);
        Ok(Place { link, address })
    }

    /// Adds the lifetimes that were asked for, if an address that is there has
    /// others: it would be gone one day.
    fn plan_renew<'a>(&'a self, plan: &mut Plan<'a>, place: &Place) {
        let (wanted, held) = (self.wanted_lifetimes(), place.address.lifetimes);
        let is_preferred_enough = match (wanted.preferred, held.preferred) {
            (None, held) => held.is_none(),
            // The kernel counts it down.
            (Some(wanted), held) => held.is_some_and(|held| held <= wanted),
        };
        if held.valid.is_none() && is_preferred_enough {
            return;
        }
        let expires = match held.valid {
            Some(seconds) => format!(", which would be gone in {seconds} s"),
            None => String::new(),
        };
        let Place { link, address } = place.clone();
        let what = format!(
            "set the lifetimes of {}/{} on {}{expires}",
            address.ip, address.prefix, link.name
        );
        plan.step(what, move |system| address::renew(system, &address, wanted));
    }

    fn plan_link<'a>(&'a self, plan: &mut Plan<'a>, link: &Link) {
        let (up, checked) = (link.clone(), link.clone());
        let was_down = !link.is_up();
        if was_down {
            plan.step(format!("set {} up", link.name), move |system| link::set_up(system, &up));
        }
        if self.params.check_link_status && !link.carries() {
            let patience = if was_down { CARRIER } else { Duration::ZERO };
            plan.step(format!("wait for {} to have a carrier", link.name), move |system| {
                wait_for_carrier(system, &checked, patience)
            });
        }
    }

    fn plan_add<'a>(&'a self, plan: &mut Plan<'a>, place: &Place) {
        let Place { link, address } = place.clone();
        plan.step(remove::words("add", &address, "to", &link.name), move |system| {
            if self.ip.is_ipv6() && link.has_neighbours() {
                // Whoever objects to the address is to be heard.
                self.line.replace(Line::open(system, self.ip, &link).ok());
            }
            // Said before it is done: a stop after a crash finds the note.
            self.note_added(system, address.prefix, address.index, &link.name);
            let added = address::add(system, &address);
            if added.is_err() {
                self.note_nothing(system);
            }
            added
        });
    }

    fn plan_v6<'a>(&'a self, plan: &mut Plan<'a>, link: &Link, ip: Ipv6Addr) {
        if self.params.lvs_ipv6_addrlabel {
            let label = self.params.lvs_ipv6_addrlabel_value;
            plan.step(format!("label {ip} with {label} for source address selection"), move |s| {
                // It is a help to others, not what the address is for.
                if let Err(err) = address::set_source_label(s, ip, label) {
                    s.warn(format_args!("{err:#}"));
                }
                Ok(())
            });
        }
        let link = link.clone();
        plan.step(format!("wait until {ip} is known to be the only one"), move |system| {
            self.wait_for_detection(system, &link, ip)
        });
    }

    fn wait_for_detection(&self, system: &System<'_>, link: &Link, ip: Ipv6Addr) -> Result<()> {
        let watch = Watch::addresses_v6().context("cannot watch the addresses")?;
        let deadline = system.deadline().at_most(DETECTION);
        loop {
            let found = address::one_v6(system, ip, link.index)?;
            let found = found.ok_or_else(|| anyhow!("{ip} has vanished from {}", link.name))?;
            match found.uniqueness() {
                Uniqueness::Settled => return Ok(()),
                Uniqueness::Duplicate => return Err(self.duplicate(link)),
                Uniqueness::Tentative if !self.params.check_link_status && !link.carries() => {
                    return Ok(());
                }
                Uniqueness::Tentative => {}
            }
            if deadline.has_passed() {
                bail!("duplicate address detection of {ip} on {} does not end", link.name);
            }
            watch.wait(deadline)?;
        }
    }

    /// Duplicate address detection has failed; perhaps it was heard by whom.
    fn duplicate(&self, link: &Link) -> anyhow::Error {
        let rival = self.line.borrow().as_ref().and_then(|line| line.rival(link, false));
        self.taken_by(link, rival.as_ref().map_or("another host", |rival| &rival.mac))
    }

    /// Runs a program of the administrator's. Whether it succeeds is not what
    /// the address hangs on.
    pub(super) fn plan_script<'a>(
        &'a self,
        plan: &mut Plan<'a>,
        script: Option<&'a std::path::Path>,
    ) {
        let Some(script) = script else { return };
        plan.step(format!("run {}", script.display()), move |system| {
            let name = script.display();
            match system.script(script) {
                Ok(output) if output.success() => {}
                Ok(output) => system.warn(format_args!("{name}: {}", output.reason())),
                Err(err) => system.warn(format_args!("{err:#}")),
            }
            Ok(())
        });
    }
}

fn wait_for_carrier(system: &System<'_>, link: &Link, patience: Duration) -> Result<()> {
    let watch = Watch::links().context("cannot watch the links")?;
    let deadline = system.deadline().at_most(patience);
    loop {
        let found = link::by_index(system, link.index)?;
        let found = found.ok_or_else(|| anyhow!("{} has gone away", link.name))?;
        if found.carries() {
            return Ok(());
        }
        if deadline.has_passed() {
            bail!("{} is {}, wanted one that carries", found.name, found.state());
        }
        watch.wait(deadline)?;
    }
}
