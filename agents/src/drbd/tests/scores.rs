//! The table of promotion scores, by the words of DRBD itself: messages that
//! were captured from the module of 8.4, the lines of `/proc/drbd`, and what
//! `drbdsetup events2` of DRBD 9 prints.

use crate::drbd::fake::Fake;
use crate::drbd::params::{RemoveScore, Scores};
use crate::drbd::score::{self, ScoreChange};
use crate::drbd::*;
use ocf_meta::{Given, Reading, Value};

/// What becomes of the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Set(u32),
    Gone,
    Kept,
    /// The instance does not run, which is no matter of scores.
    Stopped,
}

use Verdict::{Gone, Kept, Set, Stopped};

fn of(resource: &Resource) -> Verdict {
    let scores = Scores::parse("0 10 1000 10000").unwrap();
    match score::change(resource, scores, RemoveScore::No, || false) {
        ScoreChange::Set(score, _) => Set(score),
        ScoreChange::Remove(_) => Gone,
        ScoreChange::Leave => Kept,
    }
}

/// What a monitor makes of the machine, from the look to the score.
fn seen(fake: &Fake) -> Verdict {
    let mut given = Given::default();
    given.set("drbd_resource", "r1");
    let params = DrbdParams::read(&mut Reading::strict(&given)).unwrap();
    let agent = Drbd::new(params, &Request::plain("p_r1")).unwrap();
    let found = agent.observe(&fake.view(Duration::from_secs(20))).unwrap();
    match running(&found) {
        Some(resource) => of(resource),
        None => Stopped,
    }
}

/// The peer's disk is the column.
const PEERS: [&str; 4] = ["UpToDate", "Outdated", "Inconsistent", "DUnknown"];

const TABLE: [(&str, &str, [Verdict; 4]); 9] = [
    ("Secondary", "UpToDate", [Set(10_000), Set(10_000), Set(10_000), Set(1000)]),
    ("Primary", "UpToDate", [Set(10_000); 4]),
    ("Secondary", "Consistent", [Set(10), Gone, Gone, Gone]),
    ("Secondary", "Outdated", [Set(10), Gone, Gone, Gone]),
    ("Secondary", "Inconsistent", [Set(10), Gone, Gone, Gone]),
    ("Secondary", "Failed", [Set(10), Gone, Gone, Gone]),
    ("Secondary", "Attaching", [Set(10), Kept, Kept, Kept]),
    ("Secondary", "Negotiating", [Set(10), Kept, Kept, Kept]),
    ("Primary", "Diskless", [Set(10), Gone, Gone, Gone]),
];

/// Of 8.4, the connection that goes with the peer's disk.
fn row(role: &str, disk: &str, peer: &str) -> String {
    match peer {
        "DUnknown" => format!(" 1: cs:WFConnection ro:{role}/Unknown ds:{disk}/{peer} C r-----\n"),
        _ => format!(" 1: cs:Connected ro:{role}/Secondary ds:{disk}/{peer} C r-----\n"),
    }
}

#[test]
fn by_the_lines_of_proc_drbd() {
    let fake = Fake::new("");
    for (role, disk, verdicts) in TABLE {
        for (peer, verdict) in PEERS.iter().zip(verdicts) {
            let line = row(role, disk, peer);
            fake.rows(&line);
            assert_eq!(seen(&fake), verdict, "{line}");
        }
    }
}

/// A resource of DRBD 9 with one volume and one peer, as its events have it.
fn events(role: &str, disk: &str, peer: &str, more: &str) -> String {
    let (connection, theirs, replication) = match peer {
        "DUnknown" => ("Connecting", "Unknown", "Off"),
        _ => ("Connected", "Secondary", "Established"),
    };
    format!(
        "exists resource name:r1 role:{role} suspended:no force-io-failures:no may_promote:no promotion_score:10101\n\
         exists connection name:r1 peer-node-id:1 conn-name:node2 connection:{connection} role:{theirs} tls:no\n\
         exists device name:r1 volume:0 minor:11 backing_dev:/dev/sdb disk:{disk} {more} open:no\n\
         exists peer-device name:r1 peer-node-id:1 conn-name:node2 volume:0 replication:{replication} peer-disk:{peer} peer-client:no resync-suspended:no\n\
         exists path name:r1 peer-node-id:1 conn-name:node2 local:ipv4:10.0.0.1:7789 peer:ipv4:10.0.0.2:7789 established:yes\n\
         exists -\n"
    )
}

#[test]
fn by_the_events_of_nine() {
    let fake = Fake::nine("");
    for (role, disk, verdicts) in TABLE {
        for (peer, verdict) in PEERS.iter().zip(verdicts) {
            fake.events(&events(role, disk, peer, "client:no quorum:yes"));
            assert_eq!(seen(&fake), verdict, "{role} {disk} {peer}");
            fake.events(&events(role, disk, peer, "client:no quorum:no"));
            assert_eq!(seen(&fake), Gone, "{role} {disk} {peer}, no quorum");
        }
    }
    let client = [Set(9999), Gone, Gone, Gone];
    for (peer, verdict) in PEERS.iter().zip(client) {
        fake.events(&events("Secondary", "Diskless", peer, "client:yes quorum:yes"));
        assert_eq!(seen(&fake), verdict, "a client, {peer}");
    }
    fake.events("exists -\n");
    assert_eq!(seen(&fake), Stopped);
}

#[test]
fn by_the_events_of_more_than_one_peer_and_volume() {
    let told = |text: &str| seen(&Fake::nine(text));
    let three = include_str!("../../../../tests/data/drbd/events2-9.2");
    assert_eq!(told(three), Set(10_000));
    let secondary = three.replacen("role:Primary", "role:Secondary", 1);
    assert_eq!(told(&secondary), Set(1000), "the third node is not known");
    let bad = secondary
        .replace("minor:12 backing_dev:/dev/vg/r1_1 disk:UpToDate", "minor:12 disk:Inconsistent");
    assert_eq!(told(&bad), Set(10), "one peer has both volumes");
    let worse = bad.replace(
        "conn-name:node2 volume:1 replication:Established peer-disk:UpToDate",
        "conn-name:node2 volume:1 replication:Established peer-disk:Outdated",
    );
    assert_eq!(told(&worse), Gone, "no node has both volumes");
}

#[test]
fn by_what_eight_four_was_heard_to_say() {
    macro_rules! heard {
        ($name:literal, $resource:literal) => {
            of(&common::testing::drbd_resource(
                include_str!(concat!("../../../../tests/data/drbd/messages-8.4.11-", $name)),
                $resource,
            ))
        };
    }
    assert_eq!(heard!("primary", "r1"), Set(10_000));
    assert_eq!(heard!("secondary", "multi.0"), Set(10_000));
    assert_eq!(heard!("torn", "multi.0"), Set(10_000));
    assert_eq!(heard!("alone", "r1"), Set(10_000));
    assert_eq!(heard!("diskless", "r1"), Set(10));
}
