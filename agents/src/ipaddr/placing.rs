//! Bringing the address up.

use super::Ipaddr;
use super::holding::{Holding, State};
use super::network::Place;
use super::removing;
use anyhow::{Context, Result, anyhow, bail};
use common::host::address::{self, Address, Extras, Uniqueness};
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
        let place = match &from.found {
            Some(found) => self.place_of(view, found)?,
            None => self.place(view)?,
        };
        for other in &from.others {
            let (ip, nic) = (place.address.ip, &place.link.name);
            view.warn(format_args!("{other}, while {ip} is to be on {nic}; it is left there"));
        }
        let mut plan = Plan::new();
        self.plan_link(&mut plan, &place.link);
        self.plan_off_loopback(view, &mut plan)?;
        self.plan_script(&mut plan, self.params.local_start_script.as_deref());
        if let Some(share) = &self.share {
            share.plan_start(&mut plan, self.ip, &place.link);
        }
        match &from.found {
            Some(found) if self.wrong_label(found).is_some() => {
                self.plan_remove(&mut plan, found);
                self.plan_add(&mut plan, &place);
            }
            Some(_) => {}
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
        self.plan_remember(view, &mut plan, &Holding::new(&place.address, &place.link.name, true));
        self.plan_announce(&mut plan, &place.link, place.address.prefix);
        Ok(plan)
    }

    /// The place of an address that is there already, though not yet as it
    /// should be.
    fn place_of(&self, view: &View, found: &Holding) -> Result<Place> {
        let all = address::holding(view, self.ip)?;
        let same = |a: &Address| (a.index, a.prefix) == (found.index, found.prefix);
        let address = all.into_items().into_iter().find(same);
        let mut address = address.ok_or_else(|| anyhow!("{found} has just gone away"))?;
        let link = link::by_index(view, found.index)?;
        let link = link.ok_or_else(|| anyhow!("{} has just gone away", found.nic))?;
        address.label = self.label(&link.name).or(address.label);
        Ok(Place { link, address, metric: None })
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
        let (address, extras) = (place.address.clone(), self.extras(place));
        let link = place.link.clone();
        plan.step(removing::words("add", &address, "to", &place.link.name), move |system| {
            if self.ip.is_ipv6() && link.has_neighbours() {
                // Whoever objects to the address is to be heard.
                self.line.replace(Line::open(system, self.ip, &link).ok());
            }
            address::add(system, &address, &extras)
        });
    }

    fn extras(&self, place: &Place) -> Extras {
        let is_v6 = self.ip.is_ipv6();
        let nodad = self.params.nodad || self.share.is_some();
        let mut flags = 0;
        if is_v6 && nodad {
            flags |= address::NO_DETECTION;
        }
        if self.params.noprefixroute {
            flags |= address::NO_ROUTE;
        }
        // The address must not make a better route to its network than the one
        // that has led here.
        let metric = place.metric.filter(|metric| is_v6 && *metric > 0);
        Extras { flags, preferred: self.params.preferred_lft.0.filter(|_| is_v6), metric }
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
