//! Which way the kernel would send a packet.

use super::address::{in_network, width};
use super::netlink::{Attributes, Message, Netlink, errno, family, ip, octets, u16_at, u32_at};
use super::system::View;
use anyhow::{Context, Result};
use nix::errno::Errno;
use std::net::IpAddr;

const MAIN: u32 = libc::RT_TABLE_MAIN as u32;

/// A route, as far as it says where a network is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network; none is everywhere.
    pub network: Option<IpAddr>,
    /// The length of the network's prefix.
    pub prefix: u8,
    /// The number of the interface it goes through; 0 if there is none.
    pub index: u32,
    /// Who passes the packets on; none where the network is next door.
    pub gateway: Option<IpAddr>,
    /// `RTN_*`.
    pub kind: u8,
    /// `RTPROT_*`: who has made it.
    pub origin: u8,
    /// The lower, the better.
    pub metric: u32,
}

impl Route {
    /// Whether the network is right at the interface.
    pub fn is_next_door(&self) -> bool {
        self.kind == libc::RTN_UNICAST
            && self.gateway.is_none()
            && self.index != 0
            && self.prefix > 0
    }

    /// Whether it leads to an address of this machine.
    pub fn is_local(&self) -> bool {
        self.kind == libc::RTN_LOCAL
    }

    /// Whether the kernel has made it because an interface has this address.
    pub fn is_of_address(&self, ip: IpAddr) -> bool {
        const KERNEL: u8 = 2;
        self.is_local() && self.prefix == width(ip) && self.origin == KERNEL
    }

    /// Whether it covers more than the one address.
    fn is_network(&self, ip: IpAddr) -> bool {
        self.prefix < width(ip)
    }
}

/// The route the kernel itself would take to `ip`; none if it would take none.
pub fn toward(view: &View, wanted: IpAddr) -> Result<Option<Route>> {
    let header = header(&wanted, width(wanted), libc::RTM_F_FIB_MATCH, 0);
    let question =
        Message::new(libc::RTM_GETROUTE, 0, &header).with(libc::RTA_DST, &octets(&wanted));
    let found = match Netlink::open().and_then(|line| line.ask(question, read)) {
        Ok(route) => Ok(Some(route)),
        // What an unreachable, prohibit or blackhole route answers, and none.
        Err(err)
            if matches!(
                errno(&err),
                Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL)
            ) =>
        {
            Ok(None)
        }
        Err(err) => Err(err),
    };
    view.note(format_args!("route to {wanted} = {found:?}"));
    found.with_context(|| format!("cannot ask for the route to {wanted}"))
}

/// The routes of the main table to networks that `ip` belongs to and that are
/// right at an interface (this one, or any for 0), in the order in which the
/// kernel prefers them. Routes to the one address alone are not among them.
pub fn networks_of(view: &View, wanted: IpAddr, index: u32) -> Result<Vec<Route>> {
    let header = header(&wanted, 0, 0, libc::RT_TABLE_MAIN);
    let link = index.to_ne_bytes();
    let question = || {
        Message::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &header)
            .with(libc::RTA_TABLE, &MAIN.to_ne_bytes())
            .with_some(libc::RTA_OIF, (index != 0).then_some(&link[..]))
    };
    let covering = |body: &[u8]| {
        let in_main = table(body)? == MAIN;
        let route = read(body).filter(|_| in_main)?;
        let at_link = index == 0 || route.index == index;
        let covers = in_network(wanted, route.network?, route.prefix) && route.is_network(wanted);
        (route.is_next_door() && at_link && covers).then_some(route)
    };
    let found = match Netlink::open().and_then(|line| line.list(question, covering)) {
        // IPv6 has no main table before its first route.
        Err(err) if errno(&err) == Some(Errno::ENOENT) => Ok(Vec::new()),
        found => found.map(in_order),
    };
    view.note(format_args!("networks of {wanted} on link {index} = {found:?}"));
    found.context("cannot list the routes")
}

fn in_order(mut routes: Vec<Route>) -> Vec<Route> {
    routes.sort_by_key(|route| (u8::MAX - route.prefix, route.metric, route.index));
    routes
}

/// A `struct rtmsg`.
fn header(ip: &IpAddr, length: u8, flags: u32, table: u8) -> [u8; 12] {
    let [a, b, c, d] = flags.to_ne_bytes();
    [family(ip), length, 0, 0, table, 0, 0, 0, a, b, c, d]
}

fn table(body: &[u8]) -> Option<u32> {
    let named = Attributes(body.get(12..)?).find(|(kind, _)| *kind == libc::RTA_TABLE);
    named.and_then(|(_, value)| u32_at(value, 0)).or(Some(u32::from(*body.get(4)?)))
}

fn read(body: &[u8]) -> Option<Route> {
    let mut route = Route {
        network: None,
        prefix: *body.get(1)?,
        index: 0,
        gateway: None,
        kind: *body.get(7)?,
        origin: *body.get(5)?,
        metric: 0,
    };
    for (kind, value) in Attributes(body.get(12..)?) {
        match kind {
            libc::RTA_DST => route.network = ip(value),
            libc::RTA_OIF => route.index = u32_at(value, 0)?,
            libc::RTA_GATEWAY => route.gateway = ip(value),
            // A gateway of the other family: its number, then its address.
            libc::RTA_VIA => route.gateway = ip(value.get(2..)?),
            libc::RTA_PRIORITY => route.metric = u32_at(value, 0)?,
            libc::RTA_MULTIPATH => first_of_many(value, &mut route)?,
            _ => {}
        }
    }
    Some(route)
}

/// Of several ways that the kernel takes in turn, the first will do: any of
/// them is next door if this one is.
fn first_of_many(value: &[u8], route: &mut Route) -> Option<()> {
    let length = usize::from(u16_at(value, 0)?);
    route.index = u32_at(value, 4)?;
    for (kind, value) in Attributes(value.get(8..length)?) {
        if kind == libc::RTA_GATEWAY {
            route.gateway = ip(value);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: u8, metric: u32, index: u32) -> Route {
        let network = Some("10.0.0.0".parse().unwrap());
        Route { network, prefix, index, gateway: None, kind: libc::RTN_UNICAST, origin: 2, metric }
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let order: Vec<_> =
            in_order(vec![route(16, 0, 1), route(24, 100, 2), route(24, 0, 4), route(24, 0, 3)])
                .iter()
                .map(|route| route.index)
                .collect();
        assert_eq!(order, [3, 4, 2, 1]);
    }

    #[test]
    fn a_way_through_a_gateway_is_not_next_door() {
        assert!(route(24, 0, 1).is_next_door());
        let through = Route { gateway: "10.0.0.1".parse().ok(), ..route(24, 0, 1) };
        assert!(!through.is_next_door());
        assert!(!Route { prefix: 0, ..route(24, 0, 1) }.is_next_door());
        assert!(!Route { kind: libc::RTN_UNREACHABLE, ..route(24, 0, 1) }.is_next_door());
    }
}
