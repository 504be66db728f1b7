//! Which network an address belongs to: what the kernel's routes say, and where
//! they say nothing, the other addresses of the interfaces.

use super::Ipaddr;
use super::values::Broadcast;
use anyhow::{Result, anyhow};
use common::host::address::{self, Address, Lifetimes, width};
use common::host::link::{self, Link};
use common::host::route::{self, Route};
use common::{View, installed};
use std::net::IpAddr;

/// Where the address is to go.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) link: Link,
    pub(super) address: Address,
}

/// A network right at an interface.
#[derive(Clone, Debug)]
struct Network {
    index: u32,
    prefix: u8,
    /// The metric of the route to it; 0 where there is none.
    metric: u32,
}

impl From<Route> for Network {
    fn from(route: Route) -> Self {
        Self { index: route.index, prefix: route.prefix, metric: route.metric }
    }
}

impl Ipaddr {
    /// Decides on interface, prefix and broadcast.
    pub(super) fn place(&self, view: &View) -> Result<Place> {
        let given = self.params.cidr_netmask.map(|prefix| prefix.bits);
        let (link, network) = match &self.nic {
            Some(nic) => {
                let link = link::by_name(view, nic)?;
                let link = link.ok_or_else(|| installed(format!("there is no interface {nic}")))?;
                let network = self.network_at(view, link.index)?;
                if network.is_none() && given.is_none() {
                    return Err(installed(format!(
                        "no network of {} on {nic}, which is {}: give cidr_netmask, or {nic} an address of it",
                        self.ip,
                        link.state()
                    )));
                }
                (link, network)
            }
            None => {
                let network = self.network(view)?;
                let link = link::by_index(view, network.index)?;
                let link = link.ok_or_else(|| anyhow!("the interface has just gone away"))?;
                self.check_width(&network, &link, given)?;
                (link, Some(network))
            }
        };
        self.has_v6(view, &link)?;
        let derived = network.as_ref().map(|network| network.prefix);
        let prefix = given.or(derived).unwrap_or(width(self.ip));
        let broadcast = match self.ip {
            IpAddr::V4(ip) if !link.is_loopback() => {
                Broadcast::of(self.params.broadcast, ip, prefix)
            }
            _ => None,
        };
        let scope = if self.ip.is_loopback() { scope::HOST } else { scope::UNIVERSE };
        // The address must not make a better route to its network than the one
        // that has led here.
        let metric = network.filter(|_| self.ip.is_ipv6()).map_or(0, |network| network.metric);
        let (label, flags) = (self.label(&link.name), self.wanted_flags());
        let lifetimes = self.wanted_lifetimes();
        let new = Address::new(self.ip, prefix, link.index);
        let address = Address { label, broadcast, flags, scope, lifetimes, metric, ..new };
        Ok(Place { link, address })
    }

    fn wanted_flags(&self) -> u32 {
        let (nodad, noprefixroute) = (self.params.nodad, self.params.noprefixroute);
        let mut flags = 0;
        if self.ip.is_ipv6() && (nodad || self.share.is_some()) {
            flags |= address::NO_DETECTION;
        }
        if noprefixroute {
            flags |= address::NO_ROUTE;
        }
        flags
    }

    pub(super) fn wanted_lifetimes(&self) -> Lifetimes {
        let preferred = self.params.preferred_lft.0.filter(|_| self.ip.is_ipv6());
        Lifetimes { preferred, valid: None }
    }

    /// Refuses an interface that takes no IPv6 address: the kernel would say
    /// no more than that it is not permitted.
    fn has_v6(&self, view: &View, link: &Link) -> Result<()> {
        const SWITCHES: &str = "/proc/sys/net/ipv6/conf";
        if self.ip.is_ipv4() || !view.is_dir("/proc/sys/net").unwrap_or(false) {
            return Ok(());
        }
        let nic = &link.name;
        let switch = format!("{SWITCHES}/{nic}/disable_ipv6");
        match view.read(&switch) {
            Ok(text) if text.trim() == "0" => Ok(()),
            Ok(_) => Err(installed(format!(
                "IPv6 is switched off on {nic}: net.ipv6.conf.{nic}.disable_ipv6 is 1"
            ))),
            Err(_) if !view.is_dir(SWITCHES).unwrap_or(true) => {
                Err(installed("IPv6 is switched off in this kernel"))
            }
            Err(_) => {
                Err(installed(format!("{nic} takes no IPv6 addresses: that needs an MTU of 1280")))
            }
        }
    }

    /// A network wider than the one the interface is in would put neighbours
    /// there that are elsewhere.
    fn check_width(&self, network: &Network, link: &Link, given: Option<u8>) -> Result<()> {
        match given {
            Some(given) if given < network.prefix => Err(installed(format!(
                "{}/{given} is wider than the network on {}, which is a /{}: name nic to have it so",
                self.ip, link.name, network.prefix
            ))),
            _ => Ok(()),
        }
    }

    /// The network right at an interface that the kernel would look for the
    /// address in.
    fn network(&self, view: &View) -> Result<Network> {
        let chosen = route::toward(view, self.ip)?;
        let right = |route: &Route| route.is_next_door() && route.prefix < width(self.ip);
        if let Some(route) = chosen.clone().filter(right)
            && self.has_origin(&route)
        {
            return Ok(route.into());
        }
        if self.ip.is_loopback()
            && let Some(route) = chosen.clone().filter(Route::is_local)
        {
            return Ok(route.into());
        }
        // The address may be local already, or the choice be a gateway by some
        // rule; there may be a network all the same.
        if let Some(network) = self.network_on(view, 0)? {
            return Ok(network);
        }
        let instead = match chosen {
            Some(Route { gateway: Some(gateway), .. }) => {
                format!("the kernel would send to it through {gateway}")
            }
            _ => "no route leads to it".into(),
        };
        Err(installed(format!("no interface is in the network of {}: {instead}", self.ip)))
    }

    /// The network of the address on this interface.
    fn network_at(&self, view: &View, index: u32) -> Result<Option<Network>> {
        if self.ip.is_loopback() {
            let route = route::toward(view, self.ip)?;
            let whole = |r: &Route| r.is_local() && r.index == index && r.prefix < width(self.ip);
            return Ok(route.filter(whole).map(Network::from));
        }
        self.network_on(view, index)
    }

    /// The network of the address on this interface, or any for 0.
    fn network_on(&self, view: &View, index: u32) -> Result<Option<Network>> {
        let mut routes = route::networks_of(view, self.ip, index)?;
        routes.retain(|route| self.has_origin(route));
        match routes.into_iter().next() {
            Some(route) => Ok(Some(route.into())),
            // The origin that was asked for is one of routes.
            None if self.params.proto.is_some() => Ok(None),
            None => self.network_of_others(view, index),
        }
    }

    /// The network that another address of an interface is in. Of several
    /// networks the smallest is taken; one whose link is up comes first.
    fn network_of_others(&self, view: &View, index: u32) -> Result<Option<Network>> {
        let mut first = None;
        for other in address::covering(view, self.ip, index)? {
            let Some(link) = link::by_index(view, other.index)? else { continue };
            if link.is_loopback() && index == 0 {
                continue;
            }
            let network = Network { index: other.index, prefix: other.prefix, metric: 0 };
            if link.is_up() {
                return Ok(Some(network));
            }
            first = first.or(Some(network));
        }
        Ok(first)
    }

    fn has_origin(&self, route: &Route) -> bool {
        self.params.proto.is_none_or(|wanted| wanted.0 == route.origin)
    }
}

/// `RT_SCOPE_*`.
mod scope {
    pub(super) const UNIVERSE: u8 = 0;
    pub(super) const HOST: u8 = 254;
}
