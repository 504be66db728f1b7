#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use crate::drbd::fake::Fake;
use common::Plan;
use common::testing::carry_out;
use std::cell::Cell;
use std::fs;

/// Of node1, Primary, with node2 connected and node3 lost.
const THREE: &str = include_str!("../../../tests/data/drbd/events2-9.2");
const CIB: &str = include_str!("../../../tests/data/drbd/cib-2-nodes.xml");

/// A cluster that keeps one constraint, and says no to a second one and to the
/// replacement of another than is asked for. What is in `rival` is placed by
/// another node as soon as this one has looked.
const CIBADMIN: &str = r#"
touch placed rival
nodes() { grep -o "$1" | sed "s/.*=['\"]//; s/['\"]//" | sort | tr '\n' ' '; }
is_meant() {
    wanted=$(printf '%s' "$1" | nodes "@value='[^']*'")
    [ "$wanted" = "$(nodes ' value="[^"]*"' < placed)" ]
}
case $1 in
--query) sed "s|<constraints/>|<constraints>$(cat placed)</constraints>|" cib
    [ -s rival ] && cat rival > placed; : > rival;;
--create) [ -s placed ] && exit 76; printf %s "$5" > placed;;
--replace) is_meant "$3" || { echo 'No such device or address' >&2; exit 105; }
    printf %s "$5" > placed;;
--delete) is_meant "$3" && : > placed;;
esac
exit 0
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
    tried(fake, handler).unwrap()
}

fn tried(fake: &Fake, handler: &FencePeer) -> Result<(String, u8)> {
    let view = fake.view(Duration::from_secs(20));
    let verdict = handler.verdict(&view)?;
    let (what, code) = (verdict.what, Cell::new(0));
    let mut plan = Plan::new();
    let act = verdict.act;
    let answer = &code;
    plan.step("answer", move |system| {
        answer.set(act(system)?);
        Ok(())
    });
    carry_out(&view, plan)?;
    Ok((what, code.get()))
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

/// A constraint of the node, which spares the other two or one of them.
fn of(owner: &str, spared: &[&str]) -> Constraint {
    let mut constraint = Constraint::new("fence", "r1", "ms_r1", owner);
    constraint.spared.extend(spared.iter().map(|node| (*node).to_owned()));
    constraint
}

#[test]
fn of_two_nodes_that_bar_each_other_at_once_one_is_told_so() {
    // Both have seen the same constraint, and the other one is faster.
    let rival = of("node3", &["node2"]);
    for seen in [Some(of("node2", &["node1", "node3"])), None] {
        let fake = machine();
        put(&fake, &rival);
        fs::rename(fake.path("/placed"), fake.path("/rival")).unwrap();
        if let Some(seen) = &seen {
            put(&fake, seen);
        }
        let refused = tried(&fake, &handler(false)).unwrap_err();
        assert_eq!(refused.to_string(), "node3 has barred this node from promotion", "{seen:?}");
        assert_eq!(placed(&fake), Some(rival.clone()));
    }
}

#[test]
fn a_constraint_that_changes_meanwhile_is_narrowed_again() {
    let fake = machine();
    put(&fake, &of("node3", &["node1"]));
    fs::rename(fake.path("/placed"), fake.path("/rival")).unwrap();
    put(&fake, &of("node2", &["node1", "node3"]));
    assert_eq!(called(&fake, &handler(false)).1, FENCED);
    assert_eq!(placed(&fake), Some(of("node1", &[])), "node3 has barred node2");
}

#[test]
fn a_constraint_that_is_narrowed_meanwhile_is_not_lifted_or_widened() {
    let narrowed = of("node1", &[]);
    let whole = THREE
        .replace("connection:Connecting role:Unknown", "connection:Connected role:Secondary")
        .replace("peer-disk:DUnknown", "peer-disk:UpToDate");
    for events in [THREE, &whole] {
        let fake = machine();
        put(&fake, &narrowed);
        fs::rename(fake.path("/placed"), fake.path("/rival")).unwrap();
        put(&fake, &of("node3", &["node1"]));
        fake.events(events);
        assert!(tried(&fake, &handler(true)).is_err());
        assert_eq!(placed(&fake), Some(narrowed.clone()));
    }
}

#[test]
fn a_node_that_the_cluster_lacks_is_said_at_once_and_nobody_is_barred() {
    let nodes = "(node1 node2 node3)";
    for peer in ["node4", "node1", ""] {
        let fake = machine();
        let peers = Vec::from_iter((!peer.is_empty()).then(|| peer.to_owned()));
        let refused = tried(&fake, &FencePeer { peers, ..handler(false) }).unwrap_err();
        assert!(refused.to_string().contains(nodes), "{refused:#}");
        assert_eq!(placed(&fake), None);
    }
    for unfences in [false, true] {
        let fake = machine();
        fake.program("crm_node", "echo stranger");
        let refused = tried(&fake, &handler(unfences)).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains(nodes) && said.contains("this node, stranger,"), "{said}");
        assert_eq!(placed(&fake), None);
    }
}

#[test]
fn names_with_and_without_a_domain_are_the_same_node() {
    let fake = machine();
    fake.program("crm_node", "echo node1.example.org");
    fake.events(&THREE.replace("conn-name:node2", "conn-name:node2.example.org"));
    let peers = vec!["node3.example.org".to_owned()];
    assert_eq!(called(&fake, &FencePeer { peers, ..handler(false) }).1, FENCED);
    assert_eq!(placed(&fake), Some(of("node1", &["node2"])));
}

#[test]
fn a_constraint_against_this_node_is_obeyed() {
    let fake = machine();
    put(&fake, &Constraint::new("fence", "r1", "ms_r1", "node3"));
    assert_eq!(called(&fake, &handler(false)).1, decision::FAILED);
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
    fake.file("/placed", "");
    plan.step("place", |system| constraint.place(system, "Master", CHANGE));
    carry_out(&view, plan).unwrap();
}
