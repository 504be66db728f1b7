//! An address that several nodes have at once. All of them hear each packet,
//! since it comes to a hardware address that is a group's; each takes those of
//! its own part of the clients, by a hash of the client's address.
//!
//! The table of nftables that does this carries a rule for each part that this
//! node answers for, and a last one that drops the rest.

use super::params::IpaddrParams;
use super::state::{ShareState, State};
use super::values::Firewall;
use anyhow::{Context, Result};
use common::host::ifreq::Questions;
use common::host::link::{self, Link};
use common::host::pidlock::{self, PidLock};
use common::host::program::Missing;
use common::{Plan, Request, System, View, installed};
use std::net::IpAddr;

/// What the clone says of this instance's part.
#[derive(Clone, Debug)]
pub(super) struct Share {
    ip: IpAddr,
    /// Which part, from 1.
    number: u32,
    /// Of how many.
    of: u32,
    seed: u32,
    mac: [u8; 6],
    mangle: bool,
    firewall: Firewall,
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    Some(rest.split_once(end)?.0)
}

impl Share {
    /// This instance's part, if the clone is one that shares.
    pub(super) fn of(params: &IpaddrParams, request: &Request) -> Option<Self> {
        let clone = request.clone.filter(|clone| clone.globally_unique && clone.max > 1)?;
        if params.unique_clone_address {
            return None;
        }
        // Every node has to come to the same numbers.
        let sum = hash(&params.ip.to_string());
        let [a, b, c, d, e, ..] = sum.to_be_bytes();
        let derived = match params.ip {
            IpAddr::V4(_) => [0x03, a, b, c, d, e],
            IpAddr::V6(_) => [0x33, 0x33, a, b, c, d],
        };
        Some(Self {
            ip: params.ip,
            number: clone.number + 1,
            of: clone.max,
            seed: params.clusterip_hash_seed.map_or(sum as u32, |seed| seed.0),
            mac: params.mac.and_then(|mac| mac.0).unwrap_or(derived),
            mangle: params.clusterip_mac_mangle,
            firewall: params.clusterip_firewall,
        })
    }

    /// The hardware address that the nodes share.
    pub(super) fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Whether neighbours are told the shared hardware address.
    pub(super) fn has_own_mac(&self) -> bool {
        self.mangle
    }

    /// Whether this node could take part.
    pub(super) fn suits(&self, view: &View) -> Result<()> {
        if self.firewall == Firewall::Iptables {
            return Err(installed(
                "clusterip_firewall=iptables: its target CLUSTERIP has gone from the kernel, use nft",
            ));
        }
        view.program("nft").map(drop).with_context(|| format!("cannot share {}", self.ip))
    }

    fn family(&self) -> &'static str {
        if self.ip.is_ipv4() { "ip" } else { "ip6" }
    }

    fn table(&self) -> String {
        let name: String = self
            .ip
            .to_string()
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '_' })
            .collect();
        format!("sturdy_share_{name}")
    }

    /// Adds what this node has of the address to what was seen of it.
    pub(super) fn observe(&self, view: &View, mut state: State) -> Result<State> {
        state.share = Some(self.standing(view)?);
        Ok(state)
    }

    fn standing(&self, view: &View) -> Result<ShareState> {
        let table = self.table();
        match view.query("nft", &["-a", "list", "table", self.family(), &table]) {
            Ok(output) if output.success() => {
                let ours = format!("comment \"part {}\"", self.number);
                let absent = output.without_line(|line| line.contains(&ours));
                Ok(ShareState { absent, ..read(&output.stdout, self.number) })
            }
            // nft has no other way to say that there is no such table.
            Ok(output) if output.stderr.contains("No such file") => Ok(ShareState::default()),
            Ok(output) => {
                let unknown = format!("nft cannot tell who is answered: {}", output.reason());
                Ok(ShareState { unknown: Some(unknown), ..ShareState::default() })
            }
            // A stop has to go on without.
            Err(err) if err.downcast_ref::<Missing>().is_some() => {
                Ok(ShareState { unknown: Some(err.to_string()), ..ShareState::default() })
            }
            Err(err) => Err(err),
        }
    }

    /// Adds this instance's part to a start. It comes before the address:
    /// until then there is nothing to drop, and from then on nobody is
    /// answered twice.
    pub(super) fn plan_start<'a>(&'a self, plan: &mut Plan<'a>, ip: IpAddr, link: &Link) {
        let nic = link.name.clone();
        let (number, of) = (self.number, self.of);
        plan.step(
            format!("answer for part {number} of {of} of the clients of {ip}"),
            move |system| {
                self.suits(system)?;
                let _lock = self.lock(system)?;
                let standing = self.standing(system)?;
                if !standing.is_whole() {
                    self.nft(system, &self.rules(&standing))?;
                }
                Questions::open(system)?
                    .join(system, &nic, self.mac)
                    .with_context(|| format!("{nic} cannot hear {}", link::shown(&self.mac)))
            },
        );
    }

    /// What is lacking, as one transaction.
    fn rules(&self, standing: &ShareState) -> String {
        let (family, table, ip) = (self.family(), self.table(), self.ip);
        let mut rules = vec![
            format!("add table {family} {table}"),
            format!(
                "add chain {family} {table} share {{ type filter hook prerouting priority -300; }}"
            ),
        ];
        let add = |rule: &str| format!("add rule {family} {table} share {rule}");
        if !standing.rest {
            // Nobody finds a neighbour whose advertisements are dropped.
            if self.ip.is_ipv6() {
                let kinds = "{ nd-neighbor-solicit, nd-neighbor-advert }";
                rules.push(add(&format!("ip6 daddr {ip} icmpv6 type {kinds} accept")));
            }
            let from_outside = format!("{family} daddr {ip} iifname != \"lo\"");
            rules.push(add(&format!("{from_outside} drop comment \"rest\"")));
            if self.mangle {
                rules.extend(self.mangling());
            }
        }
        if standing.ours.is_none() {
            let (of, part, seed) = (self.of, self.number - 1, self.seed);
            // TCP does not take what was sent to a group.
            let taken = "meta pkttype set host accept";
            let ours = format!("jhash {family} saddr mod {of} seed 0x{seed:x} {part}");
            rules.push(format!(
                "insert rule {family} {table} share {family} daddr {ip} {ours} {taken} comment \"part {}\"",
                self.number
            ));
        }
        rules.join("; ")
    }

    /// Rules by which ARP names the shared hardware address.
    fn mangling(&self) -> [String; 3] {
        let (table, ip, mac) = (self.table(), self.ip, link::shown(&self.mac));
        [
            format!("add table arp {table}"),
            format!("add chain arp {table} output {{ type filter hook output priority 0; }}"),
            format!("add rule arp {table} output arp saddr ip {ip} arp saddr ether set {mac}"),
        ]
    }

    /// Gives up this instance's part. If it was this node's last one, `remove`
    /// takes the address away, and the rules go after it.
    pub(super) fn leave(
        &self,
        system: &System<'_>,
        nics: &[String],
        remove: impl FnOnce(&System<'_>) -> Result<()>,
    ) -> Result<()> {
        let _lock = self.lock(system)?;
        let standing = self.standing(system)?;
        let (family, table) = (self.family(), self.table());
        if standing.others > 0 {
            let Some(handle) = standing.ours else { return Ok(()) };
            return self
                .nft(system, &format!("delete rule {family} {table} share handle {handle}"));
        }
        remove(system)?;
        for nic in nics {
            let left = Questions::open(system)?.leave(system, nic, self.mac);
            system.note(format_args!("{nic} hears the group no more = {left:?}"));
        }
        if standing.table {
            self.nft(system, &format!("delete table {family} {table}"))?;
        }
        if standing.table && self.mangle {
            // It may be gone already.
            let gone = self.nft(system, &format!("delete table arp {table}"));
            system.note(format_args!("table for ARP removed = {gone:?}"));
        }
        Ok(())
    }

    /// Whether there is anything to give up.
    pub(super) fn is_left(standing: &ShareState) -> bool {
        standing.ours.is_some() || (standing.table && standing.others == 0)
    }

    /// One instance at a time: several of them may run on one node.
    fn lock(&self, system: &System<'_>) -> Result<PidLock> {
        pidlock::take_over(system, &format!("IPaddr-{}.share", self.table()), system.deadline())
    }

    fn nft(&self, system: &System<'_>, rules: &str) -> Result<()> {
        let output = system.change("nft", &[rules])?;
        if output.success() {
            return Ok(());
        }
        Err(installed(format!("nft cannot share {}: {}", self.ip, first_line(&output.stderr))))
    }
}

/// nft repeats the rule below what it has to say.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("no reason given").trim()
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What the listing of the table says of part `number`.
fn read(listing: &str, number: u32) -> ShareState {
    let mut standing = ShareState { table: true, ..ShareState::default() };
    for line in listing.lines() {
        let comment = between(line, "comment \"", "\"");
        let handle = line.rsplit_once("# handle ").and_then(|(_, n)| n.trim().parse().ok());
        match comment.map(|comment| comment.strip_prefix("part ").ok_or(comment)) {
            Some(Ok(part)) if part.parse() == Ok(number) => standing.ours = handle,
            Some(Ok(_)) => standing.others += 1,
            Some(Err("rest")) => standing.rest = true,
            _ => {}
        }
    }
    standing
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Status;

    const LISTING: &str = include_str!("../../../tests/data/nft-share.txt");

    #[test]
    fn the_parts_of_this_node_are_told_apart() {
        let standing = read(LISTING, 2);
        assert!(standing.is_whole() && standing.others == 1, "{standing:?}");
        let standing = read(LISTING, 3);
        assert!(standing.ours.is_none() && standing.others == 2, "{standing:?}");
    }

    #[test]
    fn without_the_last_rule_every_client_is_answered() {
        let cut: String = LISTING.lines().filter(|line| !line.contains("rest")).collect();
        let standing = read(&cut, 1);
        assert!(!standing.is_whole());
        assert!(matches!(standing.status("x"), Status::Failed(..)));
    }
}
