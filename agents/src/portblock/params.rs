//! The parameters, and what they must not be.

use anyhow::Result;
use common::configured;
use common::host::nftables::Verdict;
use common::host::traffic::{Network, Ports, Protocol, ports_of, ports_text};
use ocf_meta::{Kind, Value, choices};
use std::path::PathBuf;
use std::time::Duration;

/// As many ports as iptables takes in one rule; a range counts twice.
const MOST_PORTS: usize = 15;

ocf_meta::params! {
    /// What the agent is given.
    pub struct PortblockParams {
        /// tcp or udp.
        [required, names, position = 1] protocol: Transport,
        /// Ports.
        ///
        /// One, or several with commas; 8000:8010 is a range. At most 15, of which a range counts as two.
        [required, names, position = 2] portno: PortList,
        /// What a start does to the ports.
        ///
        /// Of a promotable resource: what a promotion does. There a start and a demotion do the opposite.
        [required, names, position = 3] action: Effect,
        /// Address whose ports are meant.
        ///
        /// IPv4 or IPv6, in digits, or a network with the length of its prefix. By default all IPv4 addresses of this machine; `::/0` are all IPv6 addresses.
        [names, position = 4] ip: Place = "0.0.0.0/0",
        /// Which packets are held back.
        ///
        /// in: those to the ports. out: those from them. both: all.
        [names] direction: Direction = "in",
        /// What becomes of them.
        ///
        /// drop: nobody hears of them again, and the other end goes on trying. reject: the other end is told that nobody is there, TCP by a reset.
        [] method: Method = "drop",
        /// What holds them back.
        ///
        /// Taken, and of no effect: it is nf_tables, in a table of our own, for which neither nft nor iptables has to be installed. Rules of iptables are held to beside it.
        [] firewall: Firewall = "auto",
        /// What tells whether a resource runs.
        ///
        /// pseudo: a block also runs while an unblock that was started after it holds it open, and an unblock runs only where it was started. rule: only what the firewall holds back counts. A promotable resource needs none.
        [] status_check: StatusCheck = "pseudo",
        /// Whether a stop of an unblock ends our side of the connections.
        ///
        /// Their clients do not hear of it. Servers in the kernel, as that of NFS, keep connections when they stop, and those are in the way when the address comes back.
        [] reset_local_on_unblock_stop: bool = "false",
        /// Directory for the list of connections.
        ///
        /// An unblock keeps a list of the TCP connections of ip there, and when it is started has the clients on it look at once whether they are still connected. On storage that moves with the service, or else with sync_script. It needs ip to be one address.
        [] tickle_dir: Option<PathBuf>,
        /// Program that takes that list to the other nodes.
        ///
        /// With its options; it is given the file as its last word, in the background, when the list has changed: `csync2 -xv`.
        [] sync_script: Option<String>,
        [doc = crate::drain::DOC] drain_timeout: Duration = "0",
    }
}

choices! {
    /// What is done to the ports.
    pub enum Effect {
        /// They are closed.
        Block = "block",
        /// They are open.
        Unblock = "unblock",
    }
}

choices! {
    /// The protocol.
    pub enum Transport {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

choices! {
    /// Which packets.
    pub enum Direction {
        /// To the ports.
        In = "in",
        /// From them.
        Out = "out",
        /// Both.
        Both = "both",
    }
}

choices! {
    /// What becomes of packets.
    pub enum Method {
        /// Nobody hears of them.
        Drop = "drop",
        /// Their sender hears of it.
        Reject = "reject",
    }
}

choices! {
    /// What the shell agent works with.
    pub enum Firewall {
        /// Whichever is installed.
        Auto = "auto",
        /// nft.
        Nft = "nft",
        /// iptables.
        Iptables = "iptables",
    }
}

choices! {
    /// What counts.
    pub enum StatusCheck {
        /// What was started as well.
        Pseudo = "pseudo",
        /// The rules.
        Rule = "rule",
    }
}

impl Effect {
    /// The opposite.
    pub fn turned(self) -> Self {
        match self {
            Self::Block => Self::Unblock,
            Self::Unblock => Self::Block,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Unblock => "unblock",
        }
    }
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

impl From<Method> for Verdict {
    fn from(method: Method) -> Self {
        match method {
            Method::Drop => Self::Drop,
            Method::Reject => Self::Reject,
        }
    }
}

impl Direction {
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }
}

/// The ports, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortList(pub Vec<Ports>);

impl Value for PortList {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let ports = ports_of(text)?;
        let counted: usize = ports.iter().map(|of| if of.first == of.last { 1 } else { 2 }).sum();
        match counted > MOST_PORTS {
            true => Err(format!("a list of more than {MOST_PORTS} ports")),
            false => Ok(Self(ports)),
        }
    }

    fn canonical(text: &str) -> String {
        ports_of(text).map_or_else(|_| text.to_owned(), |ports| ports_text(&ports))
    }
}

/// The address or network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub Network);

impl Value for Place {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|()| "neither an address nor a network".into())
    }

    fn canonical(text: &str) -> String {
        text.parse::<Network>().map_or_else(|()| text.to_owned(), |network| network.to_string())
    }
}

impl PortblockParams {
    /// Refuses what cannot be right on any node.
    pub fn check(&self) -> Result<()> {
        if self.action == Effect::Block {
            let only = "is for action=unblock only";
            if self.tickle_dir.is_some() {
                return Err(configured(format!("parameter tickle_dir {only}")));
            }
            if self.reset_local_on_unblock_stop {
                return Err(configured(format!("parameter reset_local_on_unblock_stop {only}")));
            }
        }
        Ok(())
    }
}
