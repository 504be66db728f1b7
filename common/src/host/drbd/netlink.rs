//! The generic netlink family `drbd`: version 1 is DRBD 8.4, version 2 is
//! DRBD 9. Asking runs no program and needs no configuration.

use super::state::{Disk, Peer, Resource, Role, Volume};
use crate::host::clock::Deadline;
use crate::host::genl::{Attributes, Family, Genl, errno, find, i32_of, text_of, u32_of};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::ops::ControlFlow;

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

/// The kernel's DRBD, asked directly.
#[derive(Debug)]
pub(super) struct Drbd {
    genl: Genl,
    family: Family,
}

impl Drbd {
    /// The way to the kernel's DRBD, if there is one from this network
    /// namespace.
    pub(super) fn open(deadline: Deadline) -> Result<Option<Self>> {
        let mut genl = Genl::open(deadline)?;
        let Some(family) = genl.family("drbd")? else { return Ok(None) };
        ensure!(
            (1..=NEWEST).contains(&family.version),
            "the kernel's DRBD speaks version {} of its netlink interface, not 1 to {NEWEST}",
            family.version
        );
        Ok(Some(Self { genl, family }))
    }

    /// Every resource, or the one of this name, if the kernel has it.
    pub(super) fn resources(&mut self, name: Option<&str>) -> Result<Vec<Resource>> {
        let mut answers = Answers::new(self.family.version, name);
        let commands: &[u8] = match self.family.version {
            1 => &[GET_STATUS],
            _ => &[GET_RESOURCES, GET_DEVICES, GET_CONNECTIONS, GET_PEER_DEVICES],
        };
        for command in commands {
            let asked = self.genl.dump(self.family, *command, &question(name), |message| {
                answers.take(*command, message)
            });
            match asked {
                // What 8.4 says of a name that it does not know.
                Err(err) if name.is_some() && errno(&err) == Some(libc::ENODEV) => {}
                asked => asked.context("cannot ask the kernel's DRBD")?,
            }
            if answers.found.is_empty() || answers.is_gone {
                return Ok(Vec::new());
            }
        }
        Ok(answers.found)
    }
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

    fn take(&mut self, command: u8, message: &[u8]) -> Result<ControlFlow<()>> {
        let code = message.get(4..8).and_then(i32_of).unwrap_or(0);
        if code == RESOURCE_NOT_KNOWN {
            // The kernel would go on saying so for ever.
            self.is_gone = true;
            return Ok(ControlFlow::Break(()));
        }
        if code != NO_ERROR {
            bail!("the kernel's DRBD answers with code {code}");
        }
        let minor = u32_of(&message[..4]).filter(|minor| *minor != u32::MAX);
        let groups = &message[8..];
        let context = find(groups, CONTEXT).unwrap_or_default();
        let name = text_of(find(context, CONTEXT_RESOURCE).unwrap_or_default());
        if self.wanted.is_some_and(|wanted| wanted != name) {
            return Ok(ControlFlow::Continue(()));
        }
        let version = self.version;
        let taken = match command {
            GET_STATUS => status(self.named(name), context, minor, groups),
            GET_RESOURCES => {
                let role = number(groups, RESOURCE_INFO, FIRST).map(Role::of);
                role.map(|role| self.named(name).role = role)
            }
            GET_DEVICES => device(self.named(name), context, minor, groups, version),
            GET_CONNECTIONS => connection(self.named(name), context, groups),
            _ => peer_device(self.named(name), context, groups, version),
        };
        taken
            .map(ControlFlow::Continue)
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
    let peer_role = Role::of(bits(2, 2));
    let connection = *CONNECTIONS.get(bits(4, 5) as usize)?;
    resource.add(Volume {
        number: volume,
        minor: Some(minor),
        role: Role::of(bits(0, 2)),
        disk: Disk::of(bits(9, 4), 1)?,
        backing: backing(groups),
        client: false,
        quorum: true,
    });
    let disk = (volume, Disk::of(bits(13, 4), 1)?);
    match resource.peers.first_mut() {
        Some(peer) => {
            if peer_role == Role::Primary {
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
        disk: Disk::of(number(groups, DEVICE_INFO, FIRST)?, version)?,
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
    resource.peers.push(Peer {
        name: text_of(find(context, CONTEXT_CONNECTION).unwrap_or_default()),
        node: find(context, CONTEXT_NODE).and_then(u32_of).unwrap_or(0),
        connection: state.to_owned(),
        role: Role::of(number(groups, CONNECTION_INFO, SECOND)?),
        disks: Vec::new(),
    });
    Some(())
}

fn peer_device(resource: &mut Resource, context: &[u8], groups: &[u8], version: u8) -> Option<()> {
    let node = find(context, CONTEXT_NODE).and_then(u32_of).unwrap_or(0);
    let volume = find(context, CONTEXT_VOLUME).and_then(u32_of)?;
    let disk = Disk::of(number(groups, PEER_DEVICE_INFO, SECOND)?, version)?;
    // A connection made between two of our questions is seen the next time.
    if let Some(peer) = resource.peers.iter_mut().find(|peer| peer.node == node) {
        peer.disks.push((volume, disk));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as the kernel would write it.
    fn message(minor: u32, code: i32, groups: &[(u16, &Attributes)]) -> Vec<u8> {
        let mut all = Attributes::new();
        for (kind, group) in groups {
            all.nest(*kind, group);
        }
        [&minor.to_ne_bytes()[..], &code.to_ne_bytes(), all.bytes()].concat()
    }

    fn context(name: &str, volume: Option<u32>, node: Option<u32>) -> Attributes {
        let mut context = Attributes::new();
        if let Some(node) = node {
            context.number(CONTEXT_NODE, node);
        }
        if let Some(volume) = volume {
            context.number(CONTEXT_VOLUME, volume);
        }
        // The kernel sets a flag in the kinds of what has to be understood.
        context.text(CONTEXT_RESOURCE | 0x4000, name);
        context
    }

    fn numbers(fields: &[(u16, u32)]) -> Attributes {
        let mut group = Attributes::new();
        for (kind, value) in fields {
            group.number(*kind, *value);
        }
        group
    }

    fn state(role: u32, peer: u32, connection: u32, disk: u32, peer_disk: u32) -> Attributes {
        let bits = role | peer << 2 | connection << 4 | disk << 9 | peer_disk << 13;
        numbers(&[(1, 1), (CURRENT_STATE | 0x4000, bits)])
    }

    impl Answers<'_> {
        fn hear(&mut self, command: u8, message: &[u8]) {
            assert!(self.take(command, message).unwrap().is_continue());
        }
    }

    /// The resource that a captured dump tells of, by the commands given.
    fn captured(text: &str, name: &str, commands: &[u8]) -> Resource {
        let mut answers = Answers::new(1, Some(name));
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        for (command, digits) in lines.filter_map(|(word, rest)| Some((word.parse().ok()?, rest))) {
            let digit = |place: usize| u8::from_str_radix(&digits[place..place + 2], 16).unwrap();
            let message: Vec<u8> = (0..digits.len()).step_by(2).map(digit).collect();
            if commands.contains(&command) {
                answers.hear(command, &message);
            }
        }
        let [resource] = &answers.found[..] else { panic!("{answers:?}") };
        resource.clone()
    }

    macro_rules! text {
        ($name:literal) => {
            include_str!(concat!("../../../../tests/data/drbd/messages-8.4.11-", $name))
        };
    }

    #[test]
    fn the_real_module_is_understood() {
        let primary = captured(text!("primary"), "r1", &[GET_STATUS]);
        assert!(primary.is_primary() && primary.peers[0].is_up_to_date());
        assert_eq!(primary.volumes[0].minor, Some(1));
        assert_eq!(primary.volumes[0].backing.as_deref(), Some("/dev/vdb"));
        let secondary = captured(text!("secondary"), "multi.0", &[GET_STATUS]);
        assert_eq!(
            (secondary.role, secondary.disks().as_str()),
            (Role::Secondary, "UpToDate/UpToDate")
        );
        let torn = captured(text!("torn"), "multi.0", &[GET_STATUS]);
        assert!(torn.is_primary() && torn.laggards() == [1]);
        let alone = captured(text!("alone"), "r1", &[GET_STATUS]);
        assert_eq!(alone.peers[0].connection, "WFConnection");
        assert_eq!(alone.peers[0].disks, [(0, Disk::DUnknown)]);
        assert_eq!(captured(text!("diskless"), "r1", &[GET_STATUS]).disks(), "Diskless");
    }

    /// 8.4.11 answers the questions of DRBD 9 too, in the same attributes with
    /// its own numbers: both ways have to lead to the same.
    #[test]
    fn one_turn_and_four_turns_agree_on_the_real_module() {
        let turns = [GET_RESOURCES, GET_DEVICES, GET_CONNECTIONS, GET_PEER_DEVICES];
        for (text, name) in
            [(text!("primary"), "r1"), (text!("secondary"), "multi.0"), (text!("diskless"), "r1")]
        {
            let (one, four) = (captured(text, name, &[GET_STATUS]), captured(text, name, &turns));
            assert_eq!((&one.volumes, one.role), (&four.volumes, four.role), "{name}");
            assert_eq!(one.peers[0].disks, four.peers[0].disks);
            assert_eq!(one.peers[0].connection, four.peers[0].connection);
        }
    }

    #[test]
    fn eight_four_tells_of_a_volume_in_one_word() {
        let mut answers = Answers::new(1, Some("r.0"));
        let first = state(1, 2, 16, 8, 4);
        let second = state(2, 0, 8, 0, 6);
        for (volume, info) in [(0, &first), (1, &second)] {
            let context = context("r.0", Some(volume), None);
            let message = message(volume + 5, NO_ERROR, &[(CONTEXT, &context), (STATE_INFO, info)]);
            answers.hear(GET_STATUS, &message);
        }
        let [resource] = &answers.found[..] else { panic!("{answers:?}") };
        assert!(resource.is_primary() && resource.laggards() == [1]);
        assert_eq!(resource.disks(), "UpToDate/Diskless");
        assert_eq!(resource.volumes[1].minor, Some(6));
        assert_eq!(
            resource.peers,
            [Peer {
                name: String::new(),
                node: 0,
                connection: "SyncSource".into(),
                role: Role::Secondary,
                disks: vec![(0, Disk::Inconsistent), (1, Disk::DUnknown)],
            }]
        );
    }

    #[test]
    fn nine_tells_of_a_resource_in_four_turns() {
        let mut answers = Answers::new(2, Some("r1"));
        let bare = context("r1", None, None);
        let role = numbers(&[(1, 1)]);
        let of_resource = message(u32::MAX, NO_ERROR, &[(CONTEXT, &bare), (RESOURCE_INFO, &role)]);
        answers.hear(GET_RESOURCES, &of_resource);
        let other = context("r2", None, None);
        let of_other = message(u32::MAX, NO_ERROR, &[(CONTEXT, &other), (RESOURCE_INFO, &role)]);
        answers.hear(GET_RESOURCES, &of_other);

        let mut device = numbers(&[(1, 9)]);
        device.bytes_of(DEVICE_CLIENT, &[0]).bytes_of(DEVICE_QUORUM, &[0]);
        let of_volume = context("r1", Some(0), None);
        let groups = [(CONTEXT, &of_volume), (DEVICE_INFO, &device)];
        answers.hear(GET_DEVICES, &message(11, NO_ERROR, &groups));

        let mut of_peer = context("r1", None, Some(3));
        of_peer.text(CONTEXT_CONNECTION, "node3");
        let link = numbers(&[(1, 9), (2, 2)]);
        let groups = [(CONTEXT, &of_peer), (CONNECTION_INFO, &link)];
        answers.hear(GET_CONNECTIONS, &message(u32::MAX, NO_ERROR, &groups));

        let of_both = context("r1", Some(0), Some(3));
        let peer = numbers(&[(1, 10), (2, 9)]);
        let groups = [(CONTEXT, &of_both), (PEER_DEVICE_INFO, &peer)];
        answers.hear(GET_PEER_DEVICES, &message(11, NO_ERROR, &groups));

        let [resource] = &answers.found[..] else { panic!("{answers:?}") };
        assert!(resource.is_primary() && !resource.volumes[0].quorum);
        assert_eq!(resource.volumes[0].role, Role::Primary);
        let [peer] = &resource.peers[..] else { panic!("{resource:?}") };
        assert!(peer.is_up_to_date() && peer.name == "node3" && peer.connection == "Connected");
    }

    #[test]
    fn a_name_that_is_not_known_is_no_resource() {
        let mut answers = Answers::new(2, Some("r1"));
        let gone = message(u32::MAX, RESOURCE_NOT_KNOWN, &[]);
        assert!(answers.take(GET_DEVICES, &gone).unwrap().is_break());
        assert!(answers.found.is_empty() && answers.is_gone);
    }

    #[test]
    fn a_strange_answer_is_an_error_not_an_absence() {
        let named = context("r1", Some(0), None);
        let odd = state(1, 2, 10, 12, 8);
        for strange in [
            message(5, 122, &[(CONTEXT, &named)]),
            message(5, NO_ERROR, &[(CONTEXT, &named)]),
            message(5, NO_ERROR, &[(CONTEXT, &named), (STATE_INFO, &odd)]),
            Vec::new(),
        ] {
            let mut answers = Answers::new(1, Some("r1"));
            assert!(answers.take(GET_STATUS, &strange).is_err(), "{strange:?}");
        }
    }

    #[test]
    fn a_question_names_the_resource() {
        let asked = question(Some("r1"));
        assert_eq!(asked[..8], [255, 255, 255, 255, 0, 0, 0, 0]);
        let context = find(&asked[8..], CONTEXT).unwrap();
        assert_eq!(text_of(find(context, CONTEXT_RESOURCE).unwrap()), "r1");
        assert_eq!(question(None).len(), 8);
    }
}
