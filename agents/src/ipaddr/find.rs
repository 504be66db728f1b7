//! Finding the address: by a glance, which costs the same however many
//! addresses there are, and by a look at all of them.
//!
//! What counts is what was asked for, by nic and cidr_netmask where they are
//! given, and what a start has added. What the routes say has no part in it:
//! they may have changed since.

use super::Ipaddr;
use super::record::{Added, Record};
use super::state::{Assignment, State, Stray};
use anyhow::{Result, bail};
use common::host::address::{self, Address, Uniqueness};
use common::host::clock;
use common::host::ifreq::Questions;
use common::host::link::{self, Link};
use common::host::netns::{self, Entered};
use common::host::record::Damaged;
use common::host::route::{self, Route};
use common::{Absent, View};
use std::net::IpAddr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

/// To ask an interface for an address may cost this much of the processor's
/// time; it has some thousands if it costs more.
const DEAR: Duration = Duration::from_micros(200);

/// So often it has to cost more, each time, before that is noted.
const TRIES: u32 = 5;

/// Which interface was asked for.
enum Wanted {
    /// Any but the loopback.
    Any,
    /// This one.
    One(Link),
    /// One that is not there.
    Lost,
}

impl Ipaddr {
    /// A plain yes, or nothing: whatever is not as it should be takes a look.
    pub(super) fn glance(&self, view: &View) -> Option<State> {
        let questions = Questions::open(view).ok()?;
        let mut dear = false;
        let found = match self.ip {
            IpAddr::V4(ip) => match self.as_noted(view, &questions) {
                Some(found) => found,
                None => {
                    let measured = || {
                        let begun = clock::spent();
                        let found = self.glance_v4(view, &questions, ip);
                        (found, clock::spent() - begun > DEAR)
                    };
                    let (found, is_slow) = measured();
                    // It is asked again, since a busy machine is slow by the way.
                    dear = found.is_some() && is_slow && (1..TRIES).all(|_| measured().1);
                    found?
                }
            },
            IpAddr::V6(ip) => self.glance_v6(view, &questions, ip)?,
        };
        let is_plain = self.has_wanted_prefix(found.prefix)
            && questions.runs(&found.nic).unwrap_or(false)
            && found.uniqueness == Uniqueness::Settled;
        is_plain.then(|| State { dear, ..State::at(found) })
    }

    /// One of thousands on its interface, as a monitor that is asked again and
    /// again finds it: the kernel's routing table knows at once that the
    /// address is local, and on which interface. Prefix and label, for which
    /// the kernel goes through all of them, are those that it was added with;
    /// a check level of 10 or more asks for them all the same.
    fn as_noted(&self, view: &View, ask: &Questions<'_>) -> Option<Assignment> {
        if self.request.probe || self.request.level >= 10 {
            return None;
        }
        let Ok(Some(Record::Added(added))) = self.record(view) else { return None };
        if !added.among_many || added.namespace.is_some() {
            return None;
        }
        let index = route::toward(view, self.ip).ok()?.filter(|r| r.is_of_address(self.ip))?.index;
        let asked_for = self.nic.as_ref().map(|nic| ask.index(nic)).transpose().ok()?;
        if index != added.index || asked_for.is_some_and(|asked_for| asked_for != index) {
            return None;
        }
        let nic = ask.name(index).ok().filter(|nic| self.may_be_on(nic))?;
        let label = self.label(&nic).unwrap_or_else(|| nic.clone());
        let address = Address { label: Some(label), ..Address::new(self.ip, added.prefix, index) };
        Some(Assignment::carried(&address, &nic))
    }

    /// The interface is asked for the address, with the label that it is to
    /// have. Where no interface was named, the kernel's routing table knows at
    /// once on which one a local address is.
    fn glance_v4(&self, view: &View, ask: &Questions<'_>, ip: Ipv4Addr) -> Option<Assignment> {
        let index = match &self.nic {
            Some(nic) => ask.index(nic).ok()?,
            None => {
                let own = |route: &Route| route.is_of_address(self.ip);
                route::toward(view, self.ip).ok()?.filter(own)?.index
            }
        };
        // What was asked for may be another name of the same interface.
        let nic = ask.name(index).ok().filter(|nic| self.may_be_on(nic))?;
        let label = self.label(&nic).unwrap_or_else(|| nic.clone());
        let prefix = ask.prefix(&label, ip).ok()??;
        let address = Address { label: Some(label), ..Address::new(self.ip, prefix, index) };
        Some(Assignment::carried(&address, &nic))
    }

    fn glance_v6(&self, view: &View, ask: &Questions<'_>, ip: Ipv6Addr) -> Option<Assignment> {
        let index = match &self.nic {
            Some(nic) => ask.index(nic).ok()?,
            None => 0,
        };
        let address = address::one_v6(view, ip, index).ok()??;
        let nic = ask.name(address.index).ok().filter(|nic| self.may_be_on(nic))?;
        Some(Assignment::carried(&address, &nic))
    }

    /// Whether an interface that is none by name may be this one. On lo the
    /// address serves nobody, unless it is one that lives there.
    fn may_be_on(&self, nic: &str) -> bool {
        self.nic.is_some() || nic != "lo" || self.ip.is_loopback()
    }

    fn has_wanted_prefix(&self, prefix: u8) -> bool {
        self.params.cidr_netmask.is_none_or(|wanted| wanted.bits == prefix)
    }

    /// Every place where the address is, and which of them count.
    pub(super) fn look(&self, view: &View) -> Result<State> {
        let (record, damaged) = Damaged::apart(self.record(view));
        let added = record.as_ref().and_then(Record::added);
        let mut state = State { recorded: record.is_some(), ..State::default() };
        let entered = self.enter_namespace(view)?;
        let here = match &entered {
            Entered::Inside => self.look_here(view, added, &mut state)?,
            Entered::Absent(absent) => {
                state.gone = Some(self.no_namespace());
                Some(absent.clone())
            }
        };
        let elsewhere = match added.and_then(|added| Some((added, added.namespace?))) {
            Some((added, identity)) if !is_current(view, &entered, &identity)? => {
                self.look_elsewhere(view, added, &identity, &mut state)?
            }
            _ => here.clone(),
        };
        state.absent = here.zip(elsewhere).map(|(here, elsewhere)| here.and(elsewhere));
        // Every copy counts where nothing is noted; but a network namespace that
        // has lost its name is found by the note alone.
        if let Some(damaged) = damaged
            && state.absent.is_some()
            && let Some(name) = &self.params.network_namespace
        {
            let what = format!("{} may be in a namespace that was {name}", self.ip);
            bail!("{}", damaged.doubt(what));
        }
        Ok(state)
    }

    /// The places of the address in this network namespace; proof where none
    /// of them counts.
    fn look_here(
        &self,
        view: &View,
        added: Option<&Added>,
        state: &mut State,
    ) -> Result<Option<Absent>> {
        let wanted = self.wanted(view)?;
        if let (Wanted::Lost, Some(nic)) = (&wanted, &self.nic) {
            state.gone = Some(format!("there is no interface {nic}"));
        }
        let places = address::holding(view, self.ip)?;
        // Where the prefix has been changed since, it is still the same address.
        let is_as_added = added.is_some_and(|added| places.iter().any(|place| added.is(place)));
        let is_added = |place: &Address| {
            added.filter(|added| added.is(place) || (!is_as_added && added.index == place.index))
        };
        let mut ours = Vec::new();
        for address in places.iter() {
            // An interface that goes away while we look takes its addresses along.
            let Some(link) = link::by_index(view, address.index)? else { continue };
            let held = Assignment::new(address, &link);
            let is_local = link.is_loopback() && !self.ip.is_loopback();
            let is_asked_for = match &wanted {
                Wanted::Any => !is_local,
                Wanted::One(wanted) => wanted.index == link.index,
                Wanted::Lost => false,
            } && self.has_wanted_prefix(address.prefix);
            if is_asked_for {
                state.add(held, |held| self.wrong_label(held).is_none());
            } else if let Some(added) = is_added(address) {
                state.strays.push(Stray { held, was: added.nic.clone(), within: None });
            } else {
                let besides = if is_local { &mut state.local } else { &mut state.others };
                besides.push(held);
                continue;
            }
            ours.push((address.index, address.prefix));
        }
        Ok(places.lacks(|address| ours.contains(&(address.index, address.prefix))))
    }

    /// What start has added in another network namespace than this one: the
    /// name of that may be gone, or another's by now.
    fn look_elsewhere(
        &self,
        view: &View,
        added: &Added,
        identity: &netns::Identity,
        state: &mut State,
    ) -> Result<Option<Absent>> {
        let namespace = match netns::find(view, identity)? {
            Ok(namespace) => Rc::new(namespace),
            Err(absent) => return Ok(Some(absent)),
        };
        let (places, link) = namespace.inside(view, || {
            (address::holding(view, self.ip), link::by_index(view, added.index))
        })?;
        let (places, link) = (places?, link?);
        let Some(link) = link else { return Ok(places.lacks(|address| added.is(address))) };
        for address in places.iter().filter(|address| added.is(address)) {
            let held = Assignment::new(address, &link);
            let (was, within) = (added.nic.clone(), Some(Rc::clone(&namespace)));
            state.strays.push(Stray { held, was, within });
        }
        Ok(places.lacks(|address| added.is(address)))
    }

    fn wanted(&self, view: &View) -> Result<Wanted> {
        let Some(nic) = &self.nic else { return Ok(Wanted::Any) };
        Ok(link::by_name(view, nic)?.map_or(Wanted::Lost, Wanted::One))
    }
}

/// Whether that is the network namespace that this process looks from.
fn is_current(view: &View, entered: &Entered, identity: &netns::Identity) -> Result<bool> {
    Ok(matches!(entered, Entered::Inside) && netns::current(view)?.is(identity))
}

impl State {
    /// Adds a place that counts. Of several, the one that `is_right` is the
    /// one that is judged.
    fn add(&mut self, held: Assignment, is_right: impl Fn(&Assignment) -> bool) {
        match &self.found {
            None => self.found = Some(held),
            Some(first) if !is_right(first) => self.again.extend(self.found.replace(held)),
            Some(_) => self.again.push(held),
        }
    }
}
