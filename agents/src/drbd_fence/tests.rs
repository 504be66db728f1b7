#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use crate::drbd::fake::Fake;
use common::Plan;
use common::testing::carry_out;
use std::cell::Cell;

/// Of node1, Primary, with node2 connected and node3 lost.
const THREE: &str = include_str!("../../../tests/data/drbd/events2-9.2");
const CIB: &str = include_str!("../../../tests/data/drbd/cib-2-nodes.xml");

/// A cluster that keeps one constraint, and says no to a second one.
const CIBADMIN: &str = r#"
touch placed
case $1 in
--query) sed "s|<constraints/>|<constraints>$(cat placed)</constraints>|" cib;;
--create) [ -s placed ] && exit 76; printf %s "$5" > placed;;
--replace) [ -s placed ] || exit 6; printf %s "$5" > placed;;
--delete) : > placed;;
esac
"#;

/// Three nodes, of which the third has left.
fn machine() -> Fake {
    let cib = CIB
        .replace("</nodes>", "<node id=\"3\" uname=\"node3\"/></nodes>")
        .replace("</status>", "<node_state id=\"3\" uname=\"node3\" in_ccm=\"false\" crmd=\"offline\" join=\"down\" expected=\"down\"/></status>");
    let fake = Fake::nine(THREE);
    fake.file("/cib", &cib).program("cibadmin", CIBADMIN).program("crm_node", "echo node1");
    fake
}

fn handler(unfences: bool) -> FencePeer {
    FencePeer {
        resource: "r1".into(),
        unfences,
        only_ours: false,
        prefix: "fence".into(),
        role: None,
        peers: vec!["node3".into()],
        clone: None,
        limit: Duration::from_secs(20),
        hickup: Duration::ZERO,
        trusts_consistent: false,
        obliterates: false,
    }
}

/// What the handler says it does, and the exit code of having it done.
fn called(fake: &Fake, handler: &FencePeer) -> (String, u8) {
    let view = fake.view(Duration::from_secs(20));
    let verdict = handler.verdict(&view).unwrap();
    let (what, code) = (verdict.what, Cell::new(0));
    let mut plan = Plan::new();
    let act = verdict.act;
    let answer = &code;
    plan.step("answer", move |system| {
        answer.set(act(system)?);
        Ok(())
    });
    carry_out(&view, plan).unwrap();
    (what, code.get())
}

fn placed(fake: &Fake) -> Option<Constraint> {
    let cib = Cib::query(&fake.view(Duration::from_secs(20))).unwrap();
    Constraint::new("fence", "r1", "ms_r1", "node1").found(&cib)
}

#[test]
fn a_third_node_with_good_data_may_go_on() {
    let fake = machine();
    let (what, code) = called(&fake, &handler(false));
    assert_eq!((code, what.starts_with("bar the peers")), (FENCED, true), "{what}");
    let constraint = placed(&fake).unwrap();
    assert!(constraint.owner == "node1" && constraint.allows("node2"));
    assert!(!constraint.allows("node3"));
}

#[test]
fn a_constraint_that_spares_the_lost_is_narrowed() {
    let fake = machine();
    let mut wide = Constraint::new("fence", "r1", "ms_r1", "node2");
    wide.spared.extend(["node1".to_owned(), "node3".to_owned()]);
    put(&fake, &wide);
    assert_eq!(called(&fake, &handler(false)).1, FENCED);
    assert!(!placed(&fake).unwrap().allows("node3"));
}

#[test]
fn a_constraint_against_this_node_is_obeyed() {
    let fake = machine();
    put(&fake, &Constraint::new("fence", "r1", "ms_r1", "node3"));
    assert_eq!(called(&fake, &handler(false)).1, verdict::FAILED);
    assert_eq!(placed(&fake).unwrap().owner, "node3");
}

#[test]
fn whoever_is_back_first_is_let_back_first() {
    let fake = machine();
    put(&fake, &Constraint::new("fence", "r1", "ms_r1", "node1"));
    let (what, code) = called(&fake, &handler(true));
    assert_eq!((code, what.as_str()), (0, "let node2 be promoted again"));
    let constraint = placed(&fake).unwrap();
    assert!(constraint.allows("node2") && !constraint.allows("node3"));
    assert!(called(&fake, &handler(true)).0.starts_with("do nothing"));
    let whole = THREE
        .replace("connection:Connecting role:Unknown", "connection:Connected role:Secondary")
        .replace("peer-disk:DUnknown", "peer-disk:UpToDate");
    fake.events(&whole);
    assert_eq!(called(&fake, &handler(true)).0, "lift the constraint fence-r1-ms_r1");
    assert_eq!(placed(&fake), None);
}

#[test]
fn a_constraint_of_another_node_stays_where_the_owner_has_to_match() {
    let fake = machine();
    put(&fake, &Constraint::new("fence", "r1", "ms_r1", "node2"));
    let only = FencePeer { only_ours: true, ..handler(true) };
    assert_eq!(called(&fake, &only).0, "do nothing: the constraint is another node's");
    assert_eq!(placed(&fake).unwrap().owner, "node2");
}

fn put(fake: &Fake, constraint: &Constraint) {
    let view = fake.view(Duration::from_secs(20));
    let mut plan = Plan::new();
    plan.step("place", |system| constraint.place(system, "Master", CHANGE));
    carry_out(&view, plan).unwrap();
}
