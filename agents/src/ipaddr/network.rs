//! Which network an address belongs to: what the kernel's routes say.

use super::Ipaddr;
use super::values::Broadcast;
use anyhow::{Result, anyhow};
use common::host::address::{Address, width};
use common::host::link::{self, Link};
use common::host::route::{self, Route};
use common::{View, installed};
use std::net::IpAddr;

/// Where the address is to go.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) link: Link,
    pub(super) address: Address,
    /// The metric of the route that has led here.
    pub(super) metric: Option<u32>,
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
                        "no network of {} on {nic}: give cidr_netmask, or {nic} an address of it",
                        self.ip
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
        let derived = network.as_ref().map(|network| network.prefix);
        let prefix = given.or(derived).unwrap_or(width(self.ip));
        let broadcast = match self.ip {
            IpAddr::V4(ip) if !link.is_loopback() => {
                Broadcast::of(self.params.broadcast, ip, prefix)
            }
            _ => None,
        };
        let scope = if self.ip.is_loopback() { scope::HOST } else { scope::UNIVERSE };
        let (ip, index, label) = (self.ip, link.index, self.label(&link.name));
        let address = Address { ip, prefix, index, label, broadcast, flags: 0, scope };
        Ok(Place { link, address, metric: network.map(|network| network.metric) })
    }

    /// A network wider than the one the interface is in would put neighbours
    /// there that are elsewhere.
    fn check_width(&self, network: &Route, link: &Link, given: Option<u8>) -> Result<()> {
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
    fn network(&self, view: &View) -> Result<Route> {
        let chosen = route::toward(view, self.ip)?;
        let right = |route: &Route| route.is_next_door() && route.prefix < width(self.ip);
        if let Some(route) = chosen.clone().filter(right)
            && self.has_origin(&route)
        {
            return Ok(route);
        }
        if self.ip.is_loopback()
            && let Some(route) = chosen.clone().filter(Route::is_local)
        {
            return Ok(route);
        }
        // The address may be local already, or the choice be a gateway by some
        // rule; there may be a network all the same.
        if let Some(route) = self.networks(view, 0)?.into_iter().next() {
            return Ok(route);
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
    pub(super) fn network_at(&self, view: &View, index: u32) -> Result<Option<Route>> {
        if self.ip.is_loopback() {
            let route = route::toward(view, self.ip)?;
            let whole = |r: &Route| r.is_local() && r.index == index && r.prefix < width(self.ip);
            return Ok(route.filter(whole));
        }
        Ok(self.networks(view, index)?.into_iter().next())
    }

    fn networks(&self, view: &View, index: u32) -> Result<Vec<Route>> {
        let mut found = route::networks_of(view, self.ip, index)?;
        found.retain(|route| self.has_origin(route));
        Ok(found)
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
