//! Taking the address away, and nothing but the address.

use super::Ipaddr;
use super::cluster::Share;
use super::holding::{Holding, State};
use anyhow::{Result, bail};
use common::host::address::{self, Address, Extras};
use common::host::link;
use common::{Plan, System, View};
use std::net::IpAddr;

impl Ipaddr {
    pub(super) fn plan_stop<'a>(&'a self, view: &View, from: &State) -> Plan<'a> {
        let mut plan = Plan::new();
        if self.entered.get() == Some(false) {
            return plan;
        }
        // All of its places count now, not only the first.
        let seen = self.look(view).unwrap_or_else(|err| {
            view.warn(format_args!("{err:#}"));
            from.clone()
        });
        let held: Vec<&Holding> = seen.found.iter().chain(&seen.again).collect();
        if !held.is_empty() || self.is_announcing(view) {
            self.plan_silence(&mut plan);
            self.plan_script(&mut plan, self.params.local_stop_script.as_deref());
        }
        if self.params.lvs_ipv6_addrlabel {
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
        self.plan_onto_loopback(view, &mut plan);
        if view.hint(&self.hint_name()).is_some() {
            plan.step(format!("forget where {} was", self.ip), move |system| {
                system.drop_hint(&self.hint_name())
            });
        }
        plan
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

    pub(super) fn plan_remove<'a>(&'a self, plan: &mut Plan<'a>, held: &Holding) {
        let held = held.clone();
        let what = words("remove", &held.address(), "from", &held.nic);
        plan.step(what, move |system| remove(system, &held));
    }

    fn plan_leave<'a>(&'a self, plan: &mut Plan<'a>, share: &'a Share, held: &[&Holding]) {
        let held: Vec<Holding> = held.iter().map(|held| (*held).clone()).collect();
        let nics: Vec<String> = held.iter().map(|held| held.nic.clone()).collect();
        plan.step(format!("give up our part of the clients of {}", self.ip), move |system| {
            share.leave(system, &nics, |system| {
                held.iter().try_for_each(|held| remove(system, held))
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
        let Some(address) =
            held.into_items().into_iter().find(|a| a.index == lo.index && a.prefix == 32)
        else {
            return Ok(());
        };
        plan.step(words("remove", &address, "from", "lo"), move |system| {
            // Said before it is done: a stop after a crash finds the hint.
            let label = address.label.as_deref().unwrap_or("lo");
            system.keep_hint(&self.loopback_hint(), &format!("1 {} {label}\n", address.scope))?;
            address::remove(system, &address)
        });
        Ok(())
    }

    /// Adds the putting back of what a start has taken off lo.
    fn plan_onto_loopback<'a>(&'a self, view: &View, plan: &mut Plan<'a>) {
        let hint = self.loopback_hint();
        let Some(text) = view.hint(&hint).filter(|_| self.params.lvs_support) else { return };
        let mut words = text.split_whitespace().skip(1);
        let scope = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let label = words.next().filter(|label| *label != "lo").map(str::to_owned);
        plan.step(format!("put {}/32 back on lo", self.ip), move |system| {
            if let Some(lo) = link::by_name(system, "lo")? {
                let (ip, index) = (self.ip, lo.index);
                let (broadcast, flags) = (None, 0);
                let address = Address { ip, prefix: 32, index, label, broadcast, flags, scope };
                address::add(system, &address, &Extras::default())?;
            }
            system.drop_hint(&hint)
        });
    }

    fn loopback_hint(&self) -> String {
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
fn remove(system: &System<'_>, held: &Holding) -> Result<()> {
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
        let flags = lost.flags & address::NO_ROUTE;
        if let Err(err) = address::add(system, lost, &Extras { flags, ..Extras::default() }) {
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
