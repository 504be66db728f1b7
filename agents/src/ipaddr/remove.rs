//! Taking the address away, and nothing but the address.

use super::Ipaddr;
use super::clusterip::Share;
use super::state::{Assignment, State, Stray};
use anyhow::{Result, bail};
use common::host::address::{self, Address};
use common::host::link;
use common::host::netns::Entered;
use common::{Plan, System, View};
use std::net::IpAddr;

impl Ipaddr {
    pub(super) fn plan_stop<'a>(&'a self, view: &View, from: &State) -> Plan<'a> {
        let mut plan = Plan::new();
        // All of its places count now, not only the first.
        let looked = self.look(view);
        let seen = looked.as_ref().unwrap_or_else(|err| {
            view.warn(format_args!("{err:#}"));
            from
        });
        let strangers = self.strangers(view, seen);
        let held: Vec<&Assignment> =
            seen.found.iter().chain(&seen.again).chain(strangers).collect();
        let is_there = !held.is_empty() || !seen.strays.is_empty();
        if is_there || self.is_announcing(view) {
            self.plan_silence(&mut plan);
            self.plan_script(&mut plan, self.params.local_stop_script.as_deref());
        }
        let is_inside = matches!(self.enter_namespace(view), Ok(Entered::Inside));
        if is_inside && self.params.lvs_ipv6_addrlabel {
            self.plan_unlabel(view, &mut plan);
        }
        match (&self.share, &from.share) {
            (Some(share), Some(standing)) => {
                if !held.is_empty() || Share::is_left(standing) {
                    self.plan_leave(&mut plan, share, &held);
                }
            }
            _ => held.iter().for_each(|held| self.plan_remove(&mut plan, held)),
        }
        self.plan_recall(&mut plan, &seen.strays);
        if is_inside {
            self.plan_onto_loopback(view, &mut plan);
        }
        if is_there || self.has_note(view) {
            self.plan_note_nothing(&mut plan);
        }
        plan
    }

    /// What has to go where it is not known what start has added: every copy
    /// of the address but those on a loopback, and those that another instance
    /// has noted as its own. Link-local addresses are of each link alone.
    fn strangers<'s>(&self, view: &View, seen: &'s State) -> Vec<&'s Assignment> {
        let is_of_link =
            matches!(self.ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) && seen.gone.is_none();
        if seen.recorded || is_of_link {
            return Vec::new();
        }
        seen.others.iter().filter(|held| !self.is_of_another(view, held)).collect()
    }

    /// Adds the removal of what a start has put where it is not looked for any
    /// more.
    pub(super) fn plan_recall<'a>(&'a self, plan: &mut Plan<'a>, strays: &[Stray]) {
        for stray in strays.iter().cloned() {
            plan.step(format!("remove {stray}"), move |system| match &stray.within {
                Some(within) => within.inside(system, || self.remove(system, &stray.held))?,
                None => self.remove(system, &stray.held),
            });
        }
    }

    /// Adds the removal of what keeps an IPv6 address from being a source. It
    /// comes before that of the address: a stop that is killed in between is
    /// followed by one that finds the address.
    fn plan_unlabel<'a>(&'a self, view: &View, plan: &mut Plan<'a>) {
        let IpAddr::V6(ip) = self.ip else { return };
        let label = self.params.lvs_ipv6_addrlabel_value;
        if !address::has_source_label(view, ip, label).unwrap_or(false) {
            return;
        }
        let what = format!("remove the label {label} of {ip} for source address selection");
        plan.step(what, move |system| {
            if let Err(err) = address::drop_source_label(system, ip, label) {
                system.warn(format_args!("{err:#}"));
            }
            Ok(())
        });
    }

    pub(super) fn plan_remove<'a>(&'a self, plan: &mut Plan<'a>, held: &Assignment) {
        let held = held.clone();
        let what = words("remove", &held.address(), "from", &held.nic);
        plan.step(what, move |system| self.remove(system, &held));
    }

    fn remove(&self, system: &System<'_>, held: &Assignment) -> Result<()> {
        let removed = remove(system, held);
        self.leaves.set(self.leaves.get() || removed.is_err());
        removed
    }

    fn plan_leave<'a>(&'a self, plan: &mut Plan<'a>, share: &'a Share, held: &[&Assignment]) {
        let held: Vec<Assignment> = held.iter().map(|held| (*held).clone()).collect();
        let nics: Vec<String> = held.iter().map(|held| held.nic.clone()).collect();
        plan.step(format!("give up our part of the clients of {}", self.ip), move |system| {
            share.leave(system, &nics, |system| {
                held.iter().map(|held| self.remove(system, held)).fold(Ok(()), Result::and)
            })
        });
    }

    /// Adds the taking off lo of an address that a real server has there.
    pub(super) fn plan_off_loopback<'a>(&'a self, view: &View, plan: &mut Plan<'a>) -> Result<()> {
        if !self.params.lvs_support {
            return Ok(());
        }
        let Some(lo) = link::by_name(view, "lo")? else { return Ok(()) };
        let held = address::holding(view, self.ip)?;
        let real = held.iter().find(|a| a.index == lo.index && a.prefix == 32).cloned();
        let Some(address) = real else { return Ok(()) };
        plan.step(words("remove", &address, "from", "lo"), move |system| {
            // Said before it is done: a stop after a crash finds the record.
            let label = address.label.as_deref().unwrap_or("lo");
            system
                .write_record(&self.loopback_record(), &format!("1 {} {label}\n", address.scope))?;
            address::remove(system, &address)
        });
        Ok(())
    }

    /// Adds the putting back of what a start has taken off lo.
    fn plan_onto_loopback<'a>(&'a self, view: &View, plan: &mut Plan<'a>) {
        let record = self.loopback_record();
        let noted = view.record_text(&record).unwrap_or_else(|damaged| {
            view.warn(format_args!("{damaged}; nothing is put back on lo"));
            None
        });
        let Some(text) = noted.filter(|_| self.params.lvs_support) else { return };
        let mut words = text.split_whitespace().skip(1);
        let scope = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let label = words.next().filter(|label| *label != "lo").map(str::to_owned);
        plan.step(format!("put {}/32 back on lo", self.ip), move |system| {
            if let Some(lo) = link::by_name(system, "lo")? {
                let address = Address { label, scope, ..Address::new(self.ip, 32, lo.index) };
                address::add(system, &address)?;
            }
            system.remove_record(&record)
        });
    }

    /// Whether it is noted that something was added, or not known.
    fn has_note(&self, view: &View) -> bool {
        self.record(view)
            .map_or(true, |record| record.is_some_and(|record| record.added().is_some()))
    }

    fn loopback_record(&self) -> String {
        format!("IPaddr-{}.loopback", self.request.instance)
    }
}

/// `add 10.0.0.9/24 to eth0 as eth0:web`.
pub(super) fn words(verb: &str, address: &Address, where_: &str, nic: &str) -> String {
    let label = address.label.as_deref().filter(|label| *label != nic);
    let label = label.map(|label| format!(" as {label}")).unwrap_or_default();
    let broadcast = address.broadcast.filter(|_| verb == "add");
    let broadcast = broadcast.map(|ip| format!(" with broadcast {ip}")).unwrap_or_default();
    format!("{verb} {}/{} {where_} {nic}{label}{broadcast}", address.ip, address.prefix)
}

/// Removes the address from where it is, and sees to it that the others of its
/// network stay.
fn remove(system: &System<'_>, held: &Assignment) -> Result<()> {
    let address = held.address();
    if address.ip.is_ipv6() {
        return address::remove(system, &address);
    }
    let siblings = siblings(system, &address)?;
    if siblings.is_empty() {
        return address::remove(system, &address);
    }
    let promotion = Promotion::allow(system, &held.nic);
    let removed = address::remove(system, &address);
    if let Some(promotion) = promotion {
        promotion.forbid_again(system);
    }
    bring_back(system, &siblings)?;
    removed
}

/// The other addresses that the kernel may remove together with this one.
fn siblings(view: &View, address: &Address) -> Result<Vec<Address>> {
    let all = address::all_v4(view, address.index)?;
    let is_ours = |other: &&Address| other.ip == address.ip && other.prefix == address.prefix;
    if all.iter().find(is_ours).is_some_and(Address::is_secondary) {
        return Ok(Vec::new());
    }
    Ok(all.into_iter().filter(|other| other.is_sibling(address)).collect())
}

/// Adds again what has gone with the address.
fn bring_back(system: &System<'_>, siblings: &[Address]) -> Result<()> {
    let Some(first) = siblings.first() else { return Ok(()) };
    let left = address::all_v4(system, first.index)?;
    let is_left = |lost: &Address| left.iter().any(|a| (a.ip, a.prefix) == (lost.ip, lost.prefix));
    let mut failed = Vec::new();
    for lost in siblings.iter().filter(|sibling| !is_left(sibling)) {
        system.warn(format_args!("{}/{} went with its network; added again", lost.ip, lost.prefix));
        if let Err(err) = address::add(system, lost) {
            failed.push(format!("{err:#}"));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

/// The kernel's leave to promote a secondary address when the primary goes.
struct Promotion {
    path: String,
}

impl Promotion {
    /// Gives leave, unless the kernel has it already.
    fn allow(system: &System<'_>, nic: &str) -> Option<Self> {
        let path = |nic: &str| format!("/proc/sys/net/ipv4/conf/{nic}/promote_secondaries");
        let has = |nic: &str| system.read(path(nic)).is_ok_and(|text| text.trim() != "0");
        if has("all") || has(nic) {
            return None;
        }
        // Without leave, what is lost is added again afterwards.
        system.write(path(nic), "1").ok().map(|()| Self { path: path(nic) })
    }

    fn forbid_again(self, system: &System<'_>) {
        if let Err(err) = system.write(&self.path, "0") {
            system.warn(format_args!("{err:#}"));
        }
    }
}
