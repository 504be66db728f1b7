//! What a resource's rules and records are called. A block and the unblock that
//! belongs to it have one name: they speak of the same ports.

use super::params::{Direction, Effect, PortblockParams};
use common::host::nftables::{Family, Hook};
use common::host::traffic::{End, Network, Ports, Protocol, Traffic, ports_text};
use std::fmt;

/// Ports of an address, and the packets that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) protocol: Protocol,
    pub(super) ports: Vec<Ports>,
    pub(super) network: Network,
    pub(super) direction: Direction,
}

/// Of what is held back: the chain, and the end that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) chain: &'static str,
    pub(super) hook: Hook,
    pub(super) end: End,
}

pub(super) const IN: Side = Side { chain: "input", hook: Hook::In, end: End::Destination };
pub(super) const OUT: Side = Side { chain: "output", hook: Hook::Out, end: End::Source };

impl Side {
    /// Whether this is its chain, be it ours or the one of iptables.
    pub(super) fn is(self, chain: &str) -> bool {
        chain.eq_ignore_ascii_case(self.chain)
    }
}

impl Name {
    pub(super) fn of(params: &PortblockParams) -> Self {
        Self {
            protocol: params.protocol.into(),
            ports: params.portno.0.clone(),
            network: params.ip.0,
            direction: params.direction,
        }
    }

    /// Which table of iptables' is its.
    pub(super) fn family(&self) -> Family {
        if self.network.ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }

    pub(super) fn sides(&self) -> &'static [Side] {
        match self.direction {
            Direction::In => &[IN],
            Direction::Out => &[OUT],
            Direction::Both => &[IN, OUT],
        }
    }

    /// What is meant on one side: one traffic for each of the ports.
    pub(super) fn traffic(&self, side: Side) -> impl Iterator<Item = Traffic> + '_ {
        self.ports.iter().map(move |ports| Traffic {
            protocol: self.protocol,
            end: side.end,
            network: self.network,
            ports: *ports,
        })
    }

    /// What is written on a rule: what it is for, and whose it is.
    pub(super) fn comment(&self, purpose: Purpose) -> String {
        format!("{purpose} {self}")
    }

    /// What a record of an action is called.
    pub(super) fn record(&self, action: Effect) -> String {
        let name: String =
            self.to_string().chars().map(|c| if "/ ".contains(c) { '_' } else { c }).collect();
        format!("portblock-{name}.{}", action.word())
    }

    /// As errors name them: `tcp port 2049 of 10.0.0.9`.
    pub(super) fn shown(&self) -> String {
        let is_one = matches!(self.ports.as_slice(), [one] if one.first == one.last);
        let ports = if is_one { "port" } else { "ports" };
        let Self { protocol, network, .. } = self;
        format!("{} {ports} {} of {network}", protocol.word(), ports_text(&self.ports))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, network, direction, ports } = self;
        write!(f, "{} {} {network} {}", protocol.word(), ports_text(ports), direction.word())
    }
}

/// What a rule of ours is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It holds packets back.
    Block,
    /// It holds new connections back while old ones may end.
    Drain,
    /// It keeps clients from hearing of connections that are ended.
    Reset,
    /// It says what was started.
    Mark(Stage, Effect),
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block => f.write_str("block"),
            Self::Drain => f.write_str("drain"),
            Self::Reset => f.write_str("reset"),
            Self::Mark(stage, action) => write!(f, "{} {}", stage.word(), action.word()),
        }
    }
}

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has been started, and there is nothing more.
    Started,
    /// It has been started, or demoted.
    Unpromoted,
    /// It has been promoted.
    Promoted,
}

impl Stage {
    pub(super) const ALL: [Self; 3] = [Self::Started, Self::Unpromoted, Self::Promoted];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Unpromoted => "unpromoted",
            Self::Promoted => "promoted",
        }
    }

    pub(super) fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.word() == word)
    }
}
