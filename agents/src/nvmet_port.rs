//! `nvmet-port`: an address at which the kernel's NVMe target listens, and what
//! it shows there.
//!
//! A port is known by its address, which is one machine-wide, and not by its
//! number: two resources that both were given none have two ports, and two with
//! one address share a port. It runs when it shows each subsystem that it was to
//! show, and a socket listens at the address.
//!
//! The shell agent has 0 for a number where none is set, and takes a port of
//! that number for its own, whatever its address is; it does not notice when a
//! subsystem could not be shown or the address not be had.

use crate::covered;
use crate::nvmet::Nqns;
use anyhow::{Result, bail};
use common::host::nvmet::{self, Address, Nvmet, Port, build};
use common::host::record::Damaged;
use common::host::{configfs, sockets, tasks::Tasks};
use common::{Absent, Agent, Extras, Fact, Plan, Request, Role, Status, View, configured};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Kind, Meta, Params, Value, Words, choices, params};
use std::cell::Cell;
use std::net::IpAddr;

choices! {
    /// How commands travel.
    pub enum Transport {
        /// Over TCP.
        Tcp = "tcp",
        /// Over InfiniBand, RoCE, iWARP.
        Rdma = "rdma",
        /// Over Fibre Channel.
        Fc = "fc",
        /// Within this machine.
        Loop = "loop",
    }
}

choices! {
    /// What kind of address.
    pub enum Family {
        /// IPv4.
        Ipv4 = "ipv4",
        /// IPv6.
        Ipv6 = "ipv6",
        /// Fibre Channel.
        Fc = "fc",
    }
}

impl Transport {
    fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Rdma => "rdma",
            Self::Fc => "fc",
            Self::Loop => "loop",
        }
    }
}

/// An address as text: a part of a file's name, among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl Value for Place {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        /// As the protocol has room.
        const LONGEST: usize = 255;
        let text = text.trim().trim_start_matches('[').trim_end_matches(']');
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        match text.bytes().all(is_plain) && !text.is_empty() && text.len() <= LONGEST {
            true => Ok(Self(text.to_owned())),
            false => Err("no address".into()),
        }
    }
}

params! {
    /// What the agent is given.
    pub struct NvmetPortParams {
        /// Address to listen at.
        ///
        /// For tcp and rdma an IPv4 or IPv6 address of this machine, which has to be started before; for fc the WWNs.
        [required, names, position = 1] addr: Place,
        /// Subsystems to show.
        ///
        /// Their NQNs, with blanks between them.
        [required, names, position = 2] nqns: Nqns,
        /// Number of the port.
        ///
        /// Up to 65535. Unset, the first that is free. Where the address has a port already, that one is used, whatever its number.
        [unique] port_id: Option<u16>,
        /// How commands travel.
        [names] r#type: Transport = "tcp",
        /// Kind of address.
        ///
        /// Unset, it is seen from the address.
        [] addr_fam: Option<Family>,
        /// TCP or RDMA port.
        [names] svcid: u16 = "4420",
    }
}

static META: Meta = Meta {
    name: "nvmet-port",
    shortdesc: "An address at which the kernel's NVMe target listens",
    longdesc: "Has the kernel's NVMe over Fabrics target listen at an address and show subsystems there. These are resources of the agent nvmet-subsystem, whose manual says how they are grouped.\n\n\
        The address has to be on this machine before; one that comes within half of the start's time is waited for, as one of IPv6 that is still checked for a duplicate.\n\n\
        A port is known by its address. Two resources with one address share a port: each shows its own subsystems, and the port goes with the last.\n\n\
        A stop ends the connections to its subsystems. Clients try again until they are let in, here or on another node.",
    params: NvmetPortParams::TABLE,
    words: Words::Positions,
    actions: &[
        START.timeout(20),
        STOP.timeout(20),
        MONITOR.timeout(20).every(10),
        VALIDATE_ALL,
        META_DATA,
    ],
    examples: Examples {
        pacemaker: "p_port ocf:sturdy:nvmet-port params addr=10.0.0.9 nqns=nqn.2014-08.com.example:storage",
        haresources: "nvmet-port::10.0.0.9::nqn.2014-08.com.example:storage",
        by_hand: "10.0.0.9 nqn.2014-08.com.example:storage start",
    },
    differences: &[
        "Running means that each subsystem of nqns is shown at this address, and that with tcp a socket listens there. The shell agent looks for a directory with the port's number.",
        "port_id unset means a number that is free; to the shell agent it is 0, and a second resource takes the first one's port for its own. A number that another address has is refused.",
        "A start whose address is not there, or whose subsystem is not, fails and says which.",
        "addr_fam unset is seen from addr; to the shell agent it is ipv4, also for an address of IPv6.",
        "Resources with one address share a port, and a stop leaves what others show there.",
        "The module is loaded by a start. Without it a probe answers 7 and a stop 0; the shell agent answers 5 to each action, and 2 also to a stop where a value is wrong.",
        "type=loop is offered.",
    ],
};

/// What one resource shows at one address.
pub struct NvmetPort {
    params: NvmetPortParams,
    address: Address,
    /// The port that is found or made by a step, for those after it.
    made: Cell<Option<u16>>,
}

/// What was seen.
#[derive(Debug)]
pub enum State {
    /// Nothing of ours is shown, by a look that has proven it.
    Gone(Absent),
    /// There is something.
    There {
        /// The ports that show something of ours, the one that shows most first, and
        /// one that a start has begun.
        ports: Vec<Found>,
        /// Whether somebody listens at the first; nothing where that is not told.
        is_heard: Option<bool>,
    },
}

/// A port, and what it shows.
#[derive(Clone, Debug)]
pub struct Found {
    /// The port.
    port: Port,
    /// Which of our subsystems it does not show.
    missing: Vec<String>,
}

impl Agent for NvmetPort {
    const META: &'static Meta = &META;
    type Params = NvmetPortParams;
    type State = State;

    fn new(params: NvmetPortParams, _request: &Request) -> Result<Self> {
        let address = Address {
            transport: params.r#type.word().into(),
            family: family(&params).into(),
            address: params.addr.0.clone(),
            service: params.svcid.to_string(),
        };
        Ok(Self { params, address, made: Cell::new(None) })
    }

    fn observe(&self, view: &View) -> Result<State> {
        let nvmet = match Nvmet::open(view)? {
            Ok(nvmet) => nvmet,
            Err(absent) => return Ok(State::Gone(absent)),
        };
        // The record says where to look first, and which empty port is ours.
        let noted = build::noted(view, &self.record_name());
        if let Ok(Some(id)) = noted
            && let Some(port) = nvmet.port(id)?
            && port.address.is(&self.address)
            && let missing = self.missing(&nvmet, id)?
            && missing.is_empty()
        {
            return self.there(view, vec![Found { port, missing }]);
        }
        let ports = nvmet.ports()?;
        let (noted, damaged) = Damaged::apart(noted);
        let begun = build::begun(&nvmet, &self.address, noted)?;
        let mut ours = Vec::new();
        for port in ports.iter() {
            let missing = match port.address.is(&self.address) {
                true => self.missing(&nvmet, port.id)?,
                false => self.nqns().to_vec(),
            };
            if missing.len() < self.nqns().len() || begun == Some(port.id) {
                ours.push(Found { port: port.clone(), missing });
            } else if let Some(damaged) = &damaged
                && build::begun(&nvmet, &self.address, Some(port.id))?.is_some()
            {
                let what = format!("port {}, which shows nothing, may be in it", port.id);
                bail!(damaged.doubt(what));
            }
        }
        ours.sort_by_key(|found| found.missing.len());
        match ports.lacks(|port| ours.iter().any(|found| found.port.id == port.id)) {
            Some(absent) => Ok(State::Gone(absent)),
            None => self.there(view, ours),
        }
    }

    fn status(&self, state: &State) -> Status {
        match state {
            State::Gone(absent) => Status::Stopped(absent.clone()),
            State::There { ports, is_heard } => {
                let missing = ports.first().and_then(|found| found.missing.first());
                match (missing, is_heard) {
                    (Some(nqn), _) => {
                        let reason = format!("{nqn} is not shown at {}", self.address);
                        Status::Failed(Role::Started, reason)
                    }
                    (None, Some(false)) => {
                        let reason = format!("nobody listens at {}", self.address);
                        Status::Failed(Role::Started, reason)
                    }
                    (None, _) => Status::Running(Role::Started),
                }
            }
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let State::There { ports, is_heard } = state else { return Vec::new() };
        let fact = |found: &Found| {
            let is_shown = |nqn: &&String| !found.missing.contains(nqn);
            let shown: Vec<&str> =
                self.nqns().iter().filter(is_shown).map(String::as_str).collect();
            let what = if shown.is_empty() { "nothing".into() } else { shown.join(", ") };
            let deaf = if *is_heard == Some(false) { ", where nobody listens" } else { "" };
            let Port { id, address } = &found.port;
            Fact::new("port", format!("{id} at {address}{deaf}: {what}"))
        };
        ports.iter().map(fact).collect()
    }

    fn start<'a>(&'a self, _: &View, _: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        plan.step("load the kernel's NVMe target", move |system| {
            build::load(system)?;
            build::load_transport(system, &self.address.transport)
        });
        plan.step(format!("have a port for {}", self.address), move |system| {
            let record = self.record_name();
            let id = build::port(system, &self.address, self.params.port_id, &record)?;
            self.made.set(Some(id));
            Ok(())
        });
        for nqn in self.nqns() {
            plan.step(format!("show {nqn} there"), move |system| match self.made.get() {
                Some(id) => build::show(system, id, &self.address, nqn),
                None => bail!("there is no port to show it at"),
            });
        }
        Ok(plan)
    }

    fn stop<'a>(&'a self, _: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let State::There { ports, .. } = from else { return Ok(plan) };
        for Found { port, missing } in ports {
            let id = port.id;
            for nqn in self.nqns().iter().filter(|nqn| !missing.contains(nqn)) {
                plan.step(format!("show {nqn} no longer at {}", self.address), move |system| {
                    build::hide(system, id, nqn)
                });
            }
            plan.step(format!("remove port {id}, unless it shows others'"), move |system| {
                if !build::remove_port(system, id, &self.record_name())? {
                    system.info(format_args!("port {id} stays, for what others show there"));
                }
                Ok(())
            });
        }
        Ok(plan)
    }
}

impl Extras for NvmetPort {
    const TASKS: Tasks = configfs::carry_out;

    fn uncover<'a>(&'a self, view: &View) -> Plan<'a> {
        covered::mount(view, nvmet::MODULE)
    }

    fn validate(&self) -> Result<()> {
        let params = &self.params;
        if !matches!(params.r#type, Transport::Tcp | Transport::Rdma) {
            return Ok(());
        }
        let text = &params.addr.0;
        let Some(ip) = ip(text) else {
            return Err(configured(format!(
                "parameter addr is neither an IPv4 nor an IPv6 address: `{text}`"
            )));
        };
        match (params.addr_fam, ip) {
            (Some(Family::Ipv4), IpAddr::V6(_)) | (Some(Family::Ipv6), IpAddr::V4(_)) => {
                Err(configured(format!(
                    "parameter addr_fam does not go with addr {text}: leave it unset"
                )))
            }
            (Some(Family::Fc), _) => {
                Err(configured("parameter addr_fam=fc is for type=fc: leave it unset"))
            }
            _ => Ok(()),
        }
    }
}

fn ip(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

fn family(params: &NvmetPortParams) -> &'static str {
    match (params.addr_fam, ip(&params.addr.0), params.r#type) {
        (Some(Family::Ipv4), ..) => "ipv4",
        (Some(Family::Ipv6), ..) => "ipv6",
        (Some(Family::Fc), ..) | (None, _, Transport::Fc) => "fc",
        (None, _, Transport::Loop) => "loop",
        (None, Some(IpAddr::V6(_)), _) => "ipv6",
        (None, ..) => "ipv4",
    }
}

impl NvmetPort {
    fn nqns(&self) -> &[String] {
        &self.params.nqns.0
    }

    fn record_name(&self) -> String {
        let Address { transport, address, service, .. } = &self.address;
        format!("nvmet-port.{transport}-{address}-{service}")
    }

    /// Those of our subsystems that the port does not show.
    fn missing(&self, nvmet: &Nvmet<'_>, id: u16) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for nqn in self.nqns() {
            if !nvmet.shows(id, nqn)? {
                missing.push(nqn.clone());
            }
        }
        Ok(missing)
    }

    fn there(&self, view: &View, ports: Vec<Found>) -> Result<State> {
        let is_told = self.params.r#type == Transport::Tcp && view.is_real();
        let whole = ports.first().filter(|found| is_told && found.missing.is_empty());
        let is_heard = match whole {
            Some(found) => Some(found.port.address.is_heard(&sockets::listeners()?)),
            None => None,
        };
        Ok(State::There { ports, is_heard })
    }
}

#[cfg(test)]
mod tests;
