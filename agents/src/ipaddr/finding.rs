//! Finding the address: by a glance, which costs the same however many
//! addresses there are, and by a look at all of them.

use super::Ipaddr;
use super::holding::{Holding, State};
use anyhow::Result;
use common::host::address::{self, Address, Uniqueness, in_network};
use common::host::ifreq::Questions;
use common::host::link::{self, LONGEST_NAME};
use common::host::route::{self, Route};
use common::{Plan, View};
use std::net::{IpAddr, Ipv6Addr};

/// What a glance has found.
struct Glance {
    found: Holding,
    /// Whether its prefix is that of the network it is in, for certain.
    is_in_network: bool,
}

impl Ipaddr {
    /// A plain yes, or nothing: whatever is not as it should be takes a look.
    pub(super) fn glance(&self, view: &View) -> Result<Option<State>> {
        let Ok(questions) = Questions::open(view) else { return Ok(None) };
        let glanced = match self.ip {
            IpAddr::V4(_) => self.glance_v4(view, &questions)?,
            IpAddr::V6(ip) => self.glance_v6(view, &questions, ip)?,
        };
        let Some(Glance { found, is_in_network }) = glanced else { return Ok(None) };
        let has_wanted_prefix = match self.params.cidr_netmask {
            None if is_in_network => true,
            _ => self.has_wanted_prefix(view, found.index, found.prefix)?,
        };
        if !has_wanted_prefix
            || !questions.runs(&found.nic).unwrap_or(false)
            || found.uniqueness != Uniqueness::Settled
        {
            return Ok(None);
        }
        view.note(format_args!("{found}, at a glance"));
        Ok(Some(State::at(found)))
    }

    /// The kernel's routing table knows at once on which interface a local
    /// address is. Prefix and label it tells only in a list of all addresses
    /// of the interface. Where that was too long, there is a hint of what was
    /// verified: an address that is where it was is taken to be as it was.
    fn glance_v4(&self, view: &View, ask: &Questions) -> Result<Option<Glance>> {
        let own = |route: &Route| route.is_of_address(self.ip);
        let Some(route) = route::toward(view, self.ip)?.filter(own) else { return Ok(None) };
        let Ok(nic) = ask.name(route.index) else { return Ok(None) };
        if !self.may_be_on(&nic, route.index, ask) {
            return Ok(None);
        }
        if let Some(found) = self.verified(view, route.index) {
            return Ok(Some(Glance { found, is_in_network: true }));
        }
        let Some(few) = address::few_v4(view, route.index)? else { return Ok(None) };
        let labelled = |found: &Holding| self.wrong_label(found).is_none();
        let ours = few.iter().filter(|address| address.ip == self.ip);
        Ok(ours
            .map(|address| (address, Holding::new(address, &nic, true)))
            .find(|(_, found)| labelled(found))
            .map(|(address, found)| Glance { found, is_in_network: is_among(address, &few) }))
    }

    fn glance_v6(&self, view: &View, ask: &Questions, ip: Ipv6Addr) -> Result<Option<Glance>> {
        let index = match &self.nic {
            Some(nic) => match ask.index(nic) {
                Ok(index) => index,
                Err(_) => return Ok(None),
            },
            None => 0,
        };
        let Some(address) = address::one_v6(view, ip, index)? else { return Ok(None) };
        let Ok(nic) = ask.name(address.index) else { return Ok(None) };
        let fits = self.may_be_on(&nic, address.index, ask);
        let found = Holding::new(&address, &nic, true);
        Ok(fits.then_some(Glance { found, is_in_network: false }))
    }

    /// Whether the address counts on this interface.
    fn may_be_on(&self, nic: &str, index: u32, ask: &Questions) -> bool {
        match &self.nic {
            Some(wanted) if wanted == nic => true,
            Some(wanted) => {
                // It may be the other name of the same interface.
                wanted.len() <= LONGEST_NAME && ask.index(wanted).is_ok_and(|named| named == index)
            }
            // On lo it serves nobody, but for an address that lives there.
            None => nic != "lo" || self.ip.is_loopback(),
        }
    }

    /// What was verified last, if it is the same interface still.
    fn verified(&self, view: &View, index: u32) -> Option<Holding> {
        let found = Holding::recall(self.ip, &view.hint(&self.hint_name())?)?;
        (found.index == index && self.wrong_label(&found).is_none()).then_some(found)
    }

    /// The name of the hint that says what was verified.
    pub(super) fn hint_name(&self) -> String {
        format!("IPaddr-{}.verified", self.request.instance)
    }

    /// Adds the keeping of what was seen, where it saves the next look.
    pub(super) fn plan_remember<'a>(&'a self, view: &View, plan: &mut Plan<'a>, seen: &Holding) {
        let is_dear = || address::few_v4(view, seen.index).is_ok_and(|few| few.is_none());
        let text = seen.remembered();
        if self.ip.is_ipv6()
            || view.hint(&self.hint_name()).is_some_and(|hint| hint == text)
            || !is_dear()
        {
            return;
        }
        plan.step(format!("remember that {seen} was verified"), move |system| {
            // Without it a monitor is slower, not wrong.
            if let Err(err) = system.keep_hint(&self.hint_name(), &text) {
                system.note(format_args!("{err:#}"));
            }
            Ok(())
        });
    }

    /// Every place where the address is, and which of them is the one wanted.
    pub(super) fn look(&self, view: &View) -> Result<State> {
        let wanted = match &self.nic {
            Some(nic) => match link::by_name(view, nic)? {
                Some(link) => Some(link),
                None => return self.look_without_nic(view, nic),
            },
            None => None,
        };
        let mut state = State { thorough: true, ..State::default() };
        let places = address::holding(view, self.ip)?;
        let mut counting = Vec::new();
        for address in places.iter() {
            // An interface that goes away while we look takes its addresses along.
            let Some(link) = link::by_index(view, address.index)? else { continue };
            let holding = Holding::new(address, &link.name, link.carries());
            let counts = match &wanted {
                Some(wanted) => wanted.index == link.index,
                None => !link.is_loopback() || self.ip.is_loopback(),
            };
            let counts = counts && self.has_wanted_prefix(view, link.index, address.prefix)?;
            counting.extend(counts.then_some(link.index));
            match &state.found {
                _ if !counts => state.others.push(holding),
                None => state.found = Some(holding),
                // Of two that count, the one with the right label.
                Some(first) if self.wrong_label(first).is_some() => {
                    state.again.extend(state.found.replace(holding));
                }
                Some(_) => state.again.push(holding),
            }
        }
        state.absent = places.lacks(|address| counting.contains(&address.index));
        Ok(state)
    }

    fn look_without_nic(&self, view: &View, nic: &str) -> Result<State> {
        let places = address::holding(view, self.ip)?;
        let absent = places.lacks(|_| false);
        let mut state = State::nowhere(format!("there is no interface {nic}"), absent);
        for address in places.iter() {
            if let Some(link) = link::by_index(view, address.index)? {
                state.others.push(Holding::new(address, &link.name, link.carries()));
            }
        }
        Ok(state)
    }

    /// Whether the prefix is the one given, or else that of the network that
    /// the interface is in. Where no route tells (a link that is down has
    /// none) the address counts with any prefix.
    fn has_wanted_prefix(&self, view: &View, index: u32, prefix: u8) -> Result<bool> {
        if let Some(wanted) = self.params.cidr_netmask {
            return Ok(wanted.bits == prefix);
        }
        let wanted = self.network_at(view, index)?.map(|network| network.prefix);
        Ok(wanted.is_none_or(|wanted| wanted == prefix))
    }
}

/// Whether other addresses of the interface make a network of this prefix, and
/// none a smaller one. It saves asking for the routes, of which there is one
/// for each address of the machine.
fn is_among(address: &Address, few: &[Address]) -> bool {
    let others = few.iter().filter(|other| {
        other.ip != address.ip
            && other.flags & address::NO_ROUTE == 0
            && in_network(address.ip, other.ip, other.prefix)
    });
    others.map(|other| other.prefix).max() == Some(address.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ip: &str, prefix: u8) -> Address {
        let ip = ip.parse().unwrap();
        let (label, broadcast) = (None, None);
        Address { ip, prefix, index: 2, label, broadcast, flags: 0, scope: 0 }
    }

    #[test]
    fn the_smallest_network_of_the_others_counts() {
        let ours = address("10.0.0.9", 24);
        let among = |others: &[Address]| is_among(&ours, others);
        assert!(among(&[ours.clone(), address("10.0.0.1", 24)]));
        assert!(!among(std::slice::from_ref(&ours)));
        assert!(!among(&[address("10.0.0.1", 24), address("10.0.0.2", 28)]));
        assert!(!among(&[address("10.0.1.1", 24)]));
        assert!(!among(&[address("10.0.1.1", 16)]));
        let silent = Address { flags: address::NO_ROUTE, ..address("10.0.0.1", 24) };
        assert!(!among(&[silent]));
    }
}
