//! What the demo's processes say to one another: a line of JSON each, over
//! standard input and output.

use super::haresources::Word;
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use story::ledger::Ack;
use story::timeline::{Action, Story};

/// What the stage is asked to play.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Script {
    /// The group, as the file has it.
    pub line: super::haresources::Line,
    /// The directory of the agents' binaries.
    pub agents: PathBuf,
    /// Where the disk image and the logs are copied to in the end, if at all.
    pub keep: Option<PathBuf>,
}

/// A network interface of a node or of the client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nic {
    /// Its name there.
    pub name: String,
    /// Its own addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// What a node is told when it is switched on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boot {
    /// Its name (`uname -n`).
    pub node: String,
    /// Its place among the lanes of the story.
    pub lane: usize,
    /// An empty directory its root file system is built on.
    pub root: PathBuf,
    /// The directory of the agents' binaries.
    pub agents: PathBuf,
    /// Directories that must be there as mount points.
    pub directories: Vec<PathBuf>,
    /// Its network.
    pub nics: Vec<Nic>,
    /// Its own address and its peer's, for the heartbeats.
    pub beats: (IpAddr, IpAddr),
    /// The group.
    pub words: Vec<Word>,
    /// Where the ledger lies and where its service listens.
    pub ledger: (PathBuf, std::net::SocketAddr),
}

/// What a node is told to do, one at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// The shared disk is primary here: this device node leads to it.
    Disk {
        /// The device's path as the group names it.
        path: PathBuf,
        /// The loop device's number.
        number: u32,
    },
    /// Bring the group up.
    Take,
    /// Bring the group down.
    Give,
}

/// What a node says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Saying {
    /// It is up, and so is its network.
    Ready,
    /// Its peer's heartbeats arrive.
    PeerBack,
    /// No heartbeat has arrived for the dead time.
    PeerSilent {
        /// When the last one came.
        last: Duration,
    },
    /// An agent was called; times count from the machine's boot.
    Acted {
        /// The action.
        action: Action,
        /// All that the agent said.
        output: String,
    },
    /// It is no more, and this the last that is heard of it.
    Gone,
    /// The order was carried out, or why it was not.
    Done {
        /// Why not.
        failure: Option<String>,
    },
}

/// What the client is told in the beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Errand {
    /// Its network.
    pub nics: Vec<Nic>,
    /// The ledger's service.
    pub service: std::net::SocketAddr,
    /// The addresses whose announcements are of interest.
    pub addresses: Vec<IpAddr>,
}

/// What the client says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// Its network is up and it listens.
    Ready,
    /// How many records are acknowledged, a few times a second.
    Progress(u64),
    /// All it has seen, once it is told to end.
    End {
        /// Every acknowledgement.
        acks: Vec<Ack>,
        /// Every announcement.
        frames: Vec<Frame>,
    },
}

/// A gratuitous ARP frame or unsolicited neighbour advertisement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// When the client received it.
    pub at: Duration,
    /// The address that is announced.
    pub address: IpAddr,
    /// The hardware address it is announced at.
    pub mac: [u8; 6],
    /// `request`, `reply` or `advertisement`.
    pub form: String,
}

/// What the stage tells those who watch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Scene {
    /// A step of the story.
    Step {
        /// When, from the story's begin; none while the stage is built.
        at: Option<Duration>,
        /// Whose, or nobody's.
        who: String,
        /// What.
        text: String,
    },
    /// How many records are acknowledged.
    Acknowledged(u64),
    /// A loop device that is to be gone in the end.
    Loop(u32),
    /// The whole of it.
    End(Box<Story>),
}

/// Writes one line.
pub fn say(to: &mut impl Write, what: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line).and_then(|()| to.flush()).context("nobody listens any more")
}

/// Reads one line; none at the end of the input.
pub fn hear<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<Option<T>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).with_context(|| format!("not understood: {line}"))
}
