//! The generic netlink family `drbd`: version 1 is DRBD 8.4, version 2 is
//! DRBD 9. Asking runs no program and needs no configuration.

use super::state::{DiskState, DrbdRole, Fencing, Peer, Resource, Volume};
use crate::host::absence::{Absent, Whole};
use crate::host::clock::Deadline;
use crate::host::genl::{Attributes, Genl, errno, find, i32_of, text_of, u32_of};
use anyhow::{Context, Result, anyhow, bail, ensure};

/// The newest version of the interface that is understood here.
const NEWEST: u8 = 2;

// linux/drbd_genl.h: commands, ...
const GET_STATUS: u8 = 2;
const GET_RESOURCES: u8 = 30;
const GET_DEVICES: u8 = 31;
const GET_CONNECTIONS: u8 = 32;
const GET_PEER_DEVICES: u8 = 33;

// ... groups of attributes, ...
const CONTEXT: u16 = 2;
const DISK_CONF: u16 = 3;
const NET_CONF: u16 = 5;
const STATE_INFO: u16 = 8;
const RESOURCE_INFO: u16 = 15;
const DEVICE_INFO: u16 = 16;
const CONNECTION_INFO: u16 = 17;
const PEER_DEVICE_INFO: u16 = 18;

// ... what is in them, ...
const CONTEXT_VOLUME: u16 = 1;
const CONTEXT_RESOURCE: u16 = 2;
const CONTEXT_CONNECTION: u16 = 5;
const CONTEXT_NODE: u16 = 6;
const BACKING_DEVICE: u16 = 1;
const DISK_FENCING: u16 = 7;
const NET_FENCING: u16 = 30;
const CURRENT_STATE: u16 = 2;
const DEVICE_CLIENT: u16 = 2;
const DEVICE_QUORUM: u16 = 3;
const FIRST: u16 = 1;
const SECOND: u16 = 2;

// ... and the answer codes.
const NO_ERROR: i32 = 101;
const RESOURCE_NOT_KNOWN: i32 = 158;

/// The states of a connection before DRBD 9, which has the first eight too.
const CONNECTIONS: [&str; 24] = [
    "StandAlone",
    "Disconnecting",
    "Unconnected",
    "Timeout",
    "BrokenPipe",
    "NetworkFailure",
    "ProtocolError",
    "TearDown",
    "WFConnection",
    "WFReportParams",
    "Connected",
    "StartingSyncS",
    "StartingSyncT",
    "WFBitMapS",
    "WFBitMapT",
    "WFSyncUUID",
    "SyncSource",
    "SyncTarget",
    "VerifyS",
    "VerifyT",
    "PausedSyncS",
    "PausedSyncT",
    "Ahead",
    "Behind",
];

/// A list that others change while it is told is asked for this often.
const TRIES: usize = 5;

/// Puts a command and its payload to the kernel, and gives the messages of the
/// answer.
type Ask = Box<dyn FnMut(u8, &[u8]) -> Result<Vec<Vec<u8>>>>;

/// The kernel's DRBD, asked directly.
pub(super) struct Drbd {
    version: u8,
    ask: Ask,
}

impl Drbd {
    /// The way to the kernel's DRBD, if there is one from this network
    /// namespace.
    pub(super) fn open(deadline: Deadline) -> Result<Option<Self>> {
        let mut genl = Genl::open(deadline)?;
        let Some(family) = genl.family("drbd")? else { return Ok(None) };
        let version = family.version;
        ensure!(
            (1..=NEWEST).contains(&version),
            "the kernel's DRBD speaks version {version} of its netlink interface, not 1 to {NEWEST}"
        );
        // What is an error, like a name that is not known, is said without end.
        let is_error = |message: &[u8]| code(message) != NO_ERROR;
        let ask = move |command, payload: &[u8]| genl.dump(family, command, payload, is_error);
        Ok(Some(Self { version, ask: Box::new(ask) }))
    }

    /// The resource of this name, or the kernel's plain word that it has none
    /// such: to be missing on a list is not enough. DRBD ends a list without an
    /// error where the resource it has just told of is taken away.
    pub(super) fn resource(&mut self, name: &str) -> Result<Result<Resource, Absent>> {
        for _ in 0..TRIES {
            let mut found = match self.turns(Some(name))? {
                Told::Found(found) => found,
                Told::NotKnown => return Ok(Err(not_known(name))),
            };
            match found.pop() {
                Some(resource) => return Ok(Ok(resource)),
                None if !self.knows(name)? => return Ok(Err(not_known(name))),
                None => {}
            }
        }
        bail!("the kernel's DRBD has {name} and does not tell of it")
    }

    /// Every resource: what two lists in a row have told alike.
    pub(super) fn resources(&mut self) -> Result<Whole<Resource>> {
        let mut before = None;
        for _ in 0..=TRIES {
            let Told::Found(found) = self.turns(None)? else { continue };
            let names: Vec<String> = found.iter().map(|found| found.name.clone()).collect();
            if before.as_ref() == Some(&names) {
                return Ok(Whole::told("DRBD resources", found));
            }
            before = Some(names);
        }
        bail!("the kernel's list of DRBD resources changes faster than it can be read")
    }

    /// Whether the kernel has the resource, by a question for it alone.
    fn knows(&mut self, name: &str) -> Result<bool> {
        let command = if self.version == 1 { GET_STATUS } else { GET_DEVICES };
        Ok(self
            .dump(command, Some(name))?
            .is_some_and(|told| told.iter().all(|message| code(message) != RESOURCE_NOT_KNOWN)))
    }

    fn turns(&mut self, name: Option<&str>) -> Result<Told> {
        let mut answers = Answers::new(self.version, name);
        let commands: &[u8] = match self.version {
            1 => &[GET_STATUS],
            _ => &[GET_RESOURCES, GET_DEVICES, GET_CONNECTIONS, GET_PEER_DEVICES],
        };
        for command in commands {
            let Some(told) = self.dump(*command, name)? else { return Ok(Told::NotKnown) };
            told.iter().try_for_each(|message| answers.take(*command, message))?;
            if answers.is_gone {
                return Ok(Told::NotKnown);
            }
            if answers.found.is_empty() {
                break;
            }
        }
        Ok(Told::Found(answers.found))
    }

    /// The messages; nothing where 8.4 does not know the name.
    fn dump(&mut self, command: u8, name: Option<&str>) -> Result<Option<Vec<Vec<u8>>>> {
        match (self.ask)(command, &question(name)) {
            Err(err) if name.is_some() && errno(&err) == Some(libc::ENODEV) => Ok(None),
            told => told.map(Some).context("cannot ask the kernel's DRBD"),
        }
    }
}

/// What the kernel has told of resources.
enum Told {
    /// These, perhaps not all.
    Found(Vec<Resource>),
    /// That it has none of the name.
    NotKnown,
}

fn not_known(name: &str) -> Absent {
    Absent::seen(format!("DRBD knows no resource {name}"))
}

fn question(name: Option<&str>) -> Vec<u8> {
    // The family's own header: no minor, no flags.
    let mut payload = [u32::MAX.to_ne_bytes(), [0; 4]].concat();
    if let Some(name) = name {
        let mut context = Attributes::new();
        context.text(CONTEXT_RESOURCE, name);
        let mut attributes = Attributes::new();
        attributes.nest(CONTEXT, &context);
        payload.extend(attributes.bytes());
    }
    payload
}

/// Resources put together from the kernel's messages.
#[derive(Debug)]
struct Answers<'a> {
    version: u8,
    wanted: Option<&'a str>,
    found: Vec<Resource>,
    /// The resource went away while it was asked for.
    is_gone: bool,
}

impl<'a> Answers<'a> {
    fn new(version: u8, wanted: Option<&'a str>) -> Self {
        Self { version, wanted, found: Vec::new(), is_gone: false }
    }

    fn take(&mut self, command: u8, message: &[u8]) -> Result<()> {
        let code = code(message);
        if code == RESOURCE_NOT_KNOWN {
            self.is_gone = true;
            return Ok(());
        }
        if code != NO_ERROR {
            bail!("the kernel's DRBD answers with code {code}");
        }
        let minor = u32_of(&message[..4]).filter(|minor| *minor != u32::MAX);
        let groups = &message[8..];
        let context = find(groups, CONTEXT).unwrap_or_default();
        let name = text_of(find(context, CONTEXT_RESOURCE).unwrap_or_default());
        if self.wanted.is_some_and(|wanted| wanted != name) {
            return Ok(());
        }
        let version = self.version;
        let taken = match command {
            GET_STATUS => status(self.named(name), context, minor, groups),
            GET_RESOURCES => {
                let role =
                    number(groups, RESOURCE_INFO, FIRST).and_then(|n| DrbdRole::of(n).known());
                role.map(|role| self.named(name).role = role)
            }
            GET_DEVICES => device(self.named(name), context, minor, groups, version),
            GET_CONNECTIONS => connection(self.named(name), context, groups),
            _ => peer_device(self.named(name), context, groups, version),
        };
        taken
            .ok_or_else(|| anyhow!("an answer of the kernel's DRBD (command {command}) is strange"))
    }

    fn named(&mut self, name: String) -> &mut Resource {
        let place = self.found.iter().position(|resource| resource.name == name);
        let place = place.unwrap_or_else(|| {
            self.found.push(Resource::new(name));
            self.found.len() - 1
        });
        &mut self.found[place]
    }
}

/// DRBD's own header has a minor and an answer code.
fn code(message: &[u8]) -> i32 {
    message.get(4..8).and_then(i32_of).unwrap_or(0)
}

fn number(groups: &[u8], group: u16, field: u16) -> Option<u32> {
    find(find(groups, group)?, field).and_then(u32_of)
}

fn flag(groups: &[u8], group: u16, field: u16) -> Option<bool> {
    Some(find(find(groups, group)?, field)?.first()? != &0)
}

fn backing(groups: &[u8]) -> Option<String> {
    find(find(groups, DISK_CONF)?, BACKING_DEVICE).map(text_of)
}

/// 8.4: one message has all that concerns a volume.
fn status(
    resource: &mut Resource,
    context: &[u8],
    minor: Option<u32>,
    groups: &[u8],
) -> Option<()> {
    // A resource without a volume has a message too.
    let Some(minor) = minor else { return Some(()) };
    let state = number(groups, STATE_INFO, CURRENT_STATE)?;
    let bits = |from: u32, count: u32| (state >> from) & ((1 << count) - 1);
    let volume = find(context, CONTEXT_VOLUME).and_then(u32_of)?;
    let fencing = number(groups, DISK_CONF, DISK_FENCING).and_then(Fencing::of);
    resource.fencing = resource.fencing.max(fencing);
    let peer_role = DrbdRole::of(bits(2, 2));
    let connection = *CONNECTIONS.get(bits(4, 5) as usize)?;
    resource.add(Volume {
        number: volume,
        minor: Some(minor),
        role: DrbdRole::of(bits(0, 2)).known()?,
        disk: DiskState::of(bits(9, 4), 1)?,
        backing: backing(groups),
        client: false,
        quorum: true,
    });
    let disk = (volume, DiskState::of(bits(13, 4), 1)?);
    match resource.peers.first_mut() {
        Some(peer) => {
            if peer_role == DrbdRole::Primary {
                peer.role = peer_role;
            }
            peer.disks.push(disk);
        }
        None => resource.peers.push(Peer {
            name: String::new(),
            node: 0,
            connection: connection.to_owned(),
            role: peer_role,
            disks: vec![disk],
        }),
    }
    Some(())
}

fn device(
    resource: &mut Resource,
    context: &[u8],
    minor: Option<u32>,
    groups: &[u8],
    version: u8,
) -> Option<()> {
    resource.volumes.push(Volume {
        number: find(context, CONTEXT_VOLUME).and_then(u32_of)?,
        minor,
        role: resource.role,
        disk: DiskState::of(number(groups, DEVICE_INFO, FIRST)?, version)?,
        backing: backing(groups),
        client: flag(groups, DEVICE_INFO, DEVICE_CLIENT).unwrap_or(false),
        quorum: flag(groups, DEVICE_INFO, DEVICE_QUORUM).unwrap_or(true),
    });
    Some(())
}

fn connection(resource: &mut Resource, context: &[u8], groups: &[u8]) -> Option<()> {
    let state = number(groups, CONNECTION_INFO, FIRST)? as usize;
    let state = match state {
        8 => "Connecting",
        9 => "Connected",
        _ => CONNECTIONS.get(state)?,
    };
    let fencing = number(groups, NET_CONF, NET_FENCING).and_then(Fencing::of);
    resource.fencing = resource.fencing.max(fencing);
    resource.peers.push(Peer {
        name: text_of(find(context, CONTEXT_CONNECTION).unwrap_or_default()),
        node: find(context, CONTEXT_NODE).and_then(u32_of).unwrap_or(0),
        connection: state.to_owned(),
        role: DrbdRole::of(number(groups, CONNECTION_INFO, SECOND)?),
        disks: Vec::new(),
    });
    Some(())
}

fn peer_device(resource: &mut Resource, context: &[u8], groups: &[u8], version: u8) -> Option<()> {
    let node = find(context, CONTEXT_NODE).and_then(u32_of).unwrap_or(0);
    let volume = find(context, CONTEXT_VOLUME).and_then(u32_of)?;
    let disk = DiskState::of(number(groups, PEER_DEVICE_INFO, SECOND)?, version)?;
    // A connection made between two of our questions is seen the next time.
    if let Some(peer) = resource.peers.iter_mut().find(|peer| peer.node == node) {
        peer.disks.push((volume, disk));
    }
    Some(())
}

/// The resource that a captured dump of 8.4 tells of, by the answers to these
/// commands. A line of the capture is a command and a message in hexadecimal.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn replay(text: &str, name: &str, commands: &[u8]) -> Resource {
    let mut answers = Answers::new(1, Some(name));
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    for (command, digits) in lines.filter_map(|(word, rest)| Some((word.parse().ok()?, rest))) {
        let digit = |place: usize| u8::from_str_radix(&digits[place..place + 2], 16);
        let message: Result<Vec<u8>, _> = (0..digits.len()).step_by(2).map(digit).collect();
        if commands.contains(&command) {
            let message = message.expect("a capture is hexadecimal");
            answers.take(command, &message).expect("a capture is understood");
            assert!(!answers.is_gone, "a capture is of a resource that stays");
        }
    }
    let [resource] = &answers.found[..] else { panic!("{answers:?}") };
    resource.clone()
}

/// As [`replay`], by the one question that 8.4 is asked.
#[cfg(feature = "testing")]
pub(crate) fn replay_status(text: &str, name: &str) -> Resource {
    replay(text, name, &[GET_STATUS])
}

#[cfg(test)]
mod tests;
