use super::*;
use std::collections::HashMap;

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
        self.take(command, message).unwrap();
        assert!(!self.is_gone);
    }
}

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/data/drbd/messages-8.4.11-", $name))
    };
}

#[test]
fn the_real_module_is_understood() {
    let primary = replay(text!("primary"), "r1", &[GET_STATUS]);
    assert!(primary.is_primary() && primary.peers[0].is_up_to_date());
    assert_eq!(primary.volumes[0].minor, Some(1));
    assert_eq!(primary.volumes[0].backing.as_deref(), Some("/dev/vdb"));
    assert_eq!(primary.fencing, Some(Fencing::DontCare));
    let secondary = replay(text!("secondary"), "multi.0", &[GET_STATUS]);
    assert_eq!(
        (secondary.role, secondary.disks().as_str()),
        (DrbdRole::Secondary, "UpToDate/UpToDate")
    );
    let torn = replay(text!("torn"), "multi.0", &[GET_STATUS]);
    assert!(torn.is_primary() && torn.laggards() == [1]);
    let alone = replay(text!("alone"), "r1", &[GET_STATUS]);
    assert_eq!(alone.peers[0].connection, "WFConnection");
    assert_eq!(alone.peers[0].disks, [(0, DiskState::DUnknown)]);
    assert_eq!(replay(text!("diskless"), "r1", &[GET_STATUS]).disks(), "Diskless");
}

/// 8.4.11 answers the questions of DRBD 9 too, in the same attributes with
/// its own numbers: both ways have to lead to the same.
#[test]
fn one_turn_and_four_turns_agree_on_the_real_module() {
    let turns = [GET_RESOURCES, GET_DEVICES, GET_CONNECTIONS, GET_PEER_DEVICES];
    for (text, name) in
        [(text!("primary"), "r1"), (text!("secondary"), "multi.0"), (text!("diskless"), "r1")]
    {
        let (one, four) = (replay(text, name, &[GET_STATUS]), replay(text, name, &turns));
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
            role: DrbdRole::Secondary,
            disks: vec![(0, DiskState::Inconsistent), (1, DiskState::DUnknown)],
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
    assert_eq!(resource.volumes[0].role, DrbdRole::Primary);
    let [peer] = &resource.peers[..] else { panic!("{resource:?}") };
    assert!(peer.is_up_to_date() && peer.name == "node3" && peer.connection == "Connected");
}

#[test]
fn a_name_that_is_not_known_is_no_resource() {
    let mut answers = Answers::new(2, Some("r1"));
    let gone = message(u32::MAX, RESOURCE_NOT_KNOWN, &[]);
    answers.take(GET_DEVICES, &gone).unwrap();
    assert!(answers.found.is_empty() && answers.is_gone);
}

#[test]
fn a_strange_answer_is_an_error_not_an_absence() {
    let named = context("r1", Some(0), None);
    let odd = state(1, 2, 10, 12, 8);
    let without_role = state(0, 2, 10, 8, 8);
    for strange in [
        message(5, 122, &[(CONTEXT, &named)]),
        message(5, NO_ERROR, &[(CONTEXT, &named)]),
        message(5, NO_ERROR, &[(CONTEXT, &named), (STATE_INFO, &odd)]),
        message(5, NO_ERROR, &[(CONTEXT, &named), (STATE_INFO, &without_role)]),
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

/// The messages of an answer, or an error number.
type Answer = Result<Vec<Vec<u8>>, i32>;

/// A kernel that answers each command with the next of its answers; the last one
/// stays.
fn kernel(version: u8, answers: &[(u8, Vec<Answer>)]) -> Drbd {
    let mut answers: HashMap<u8, Vec<Answer>> = answers.iter().cloned().collect();
    let ask = move |command: u8, _: &[u8]| {
        let answers = answers.get_mut(&command).map(|list| match list.len() {
            0 | 1 => list.first().cloned(),
            _ => Some(list.remove(0)),
        });
        let answer = answers.flatten().unwrap_or_else(|| Ok(Vec::new()));
        answer.map_err(|errno| std::io::Error::from_raw_os_error(errno).into())
    };
    Drbd { version, ask: Box::new(ask) }
}

fn secondary(name: &str) -> Vec<u8> {
    let (context, role) = (context(name, None, None), numbers(&[(1, 2)]));
    message(u32::MAX, NO_ERROR, &[(CONTEXT, &context), (RESOURCE_INFO, &role)])
}

fn device_of(name: &str) -> Vec<u8> {
    let (context, info) = (context(name, Some(0), None), numbers(&[(1, 9)]));
    message(1, NO_ERROR, &[(CONTEXT, &context), (DEVICE_INFO, &info)])
}

fn no_such_name() -> Vec<u8> {
    message(u32::MAX, RESOURCE_NOT_KNOWN, &[])
}

/// As DRBD 9 ends the list when the resource it stands at is taken down.
#[test]
fn a_list_that_another_resource_has_cut_short_hides_nothing() {
    let (cut, whole) = (vec![secondary("a")], vec![secondary("a"), secondary("r1")]);
    let device = vec![device_of("r1")];
    let mut kernel = kernel(
        2,
        &[
            (GET_RESOURCES, vec![Ok(cut), Ok(Vec::new()), Ok(whole)]),
            (GET_DEVICES, vec![Ok(device)]),
        ],
    );
    let found = kernel.resource("r1").unwrap().expect("it was there all the time");
    assert_eq!((found.name.as_str(), found.volumes.len()), ("r1", 1));
}

#[test]
fn a_resource_that_is_never_listed_and_known_is_doubt() {
    let mut kernel = kernel(2, &[(GET_DEVICES, vec![Ok(vec![device_of("r1")])])]);
    let err = kernel.resource("r1").unwrap_err();
    assert!(err.to_string().contains("does not tell of it"), "{err:#}");
}

#[test]
fn only_a_plain_no_proves_that_there_is_no_resource() {
    let others = vec![secondary("a")];
    let mut nine = kernel(
        2,
        &[(GET_RESOURCES, vec![Ok(others)]), (GET_DEVICES, vec![Ok(vec![no_such_name()])])],
    );
    let absent = nine.resource("r1").unwrap().unwrap_err();
    assert_eq!(absent.to_string(), "DRBD knows no resource r1");
    // It went while it was told of.
    let gone = vec![Ok(vec![no_such_name()])];
    let mut nine =
        kernel(2, &[(GET_RESOURCES, vec![Ok(vec![secondary("r1")])]), (GET_DEVICES, gone)]);
    assert!(nine.resource("r1").unwrap().is_err());
    let mut eight = kernel(1, &[(GET_STATUS, vec![Err(libc::ENODEV)])]);
    assert!(eight.resource("r1").unwrap().is_err());
    for refusal in [Err(libc::EPERM), Err(libc::EINTR), Ok(vec![message(u32::MAX, 122, &[])])] {
        let mut nine = kernel(2, &[(GET_DEVICES, vec![refusal.clone()])]);
        assert!(nine.resource("r1").is_err(), "{refusal:?}");
        let mut eight = kernel(1, &[(GET_STATUS, vec![refusal])]);
        assert!(eight.resource("r1").is_err());
    }
    // 8.4 without a word: it went between two of the kernel's own looks.
    let mut eight = kernel(1, &[(GET_STATUS, vec![Ok(Vec::new()), Err(libc::ENODEV)])]);
    assert!(eight.resource("r1").unwrap().is_err());
}

#[test]
fn all_resources_are_those_that_two_lists_agree_on() {
    let (one, two) = (vec![secondary("a")], vec![secondary("a"), secondary("b")]);
    let lists = vec![Ok(one), Ok(two.clone()), Ok(two)];
    let all = kernel(2, &[(GET_RESOURCES, lists)]).resources().unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.lacks(Resource::is_primary).is_some());
    let list = |number: u32| Ok(vec![secondary(&number.to_string())]);
    let restless = kernel(2, &[(GET_RESOURCES, (0..50).map(list).collect())]).resources();
    assert!(restless.unwrap_err().to_string().contains("changes faster"));
}
