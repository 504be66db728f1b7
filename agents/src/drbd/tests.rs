#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::fake::Fake;
use super::*;
use common::testing::{carry_out, words};
use ocf_meta::{Code, Given, Reading};

mod scores;
mod whole;

const UP: &str = " 1: cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate C r-----\n";
const PROMOTED: &str = " 1: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n";
const PEER: &str = " 1: cs:Connected ro:Secondary/Primary ds:UpToDate/UpToDate C r-----\n";
const IDLE: &str = " 1: cs:StandAlone ro:Secondary/Unknown ds:Diskless/DUnknown r-----\n";

const CLONE: [(&str, &str); 6] = [
    ("clone_max", "2"),
    ("clone_node_max", "1"),
    ("promoted_max", "1"),
    ("promoted_node_max", "1"),
    ("notify", "true"),
    ("on_node", "node1"),
];

fn agent_with(params: &[(&'static str, &str)], meta: &[(&str, &str)]) -> Drbd {
    let mut given = Given::default();
    given.set("drbd_resource", "r1");
    for (name, value) in params {
        given.set(*name, *value);
    }
    let params = DrbdParams::read(&mut Reading::strict(&given)).unwrap();
    Drbd::new(params, &Request::with_meta("p_r1", meta)).unwrap()
}

fn agent() -> Drbd {
    agent_with(&[], &CLONE)
}

fn machine(rows: &str) -> Fake {
    let fake = Fake::new(rows);
    fake.program("crm_attribute", "");
    fake.file("/dev/drbd1", "");
    fake.obedient();
    fake
}

const PATIENT: Duration = Duration::from_secs(20);

fn code(err: &anyhow::Error) -> Code {
    err.downcast_ref::<common::Fault>().map_or(Code::ErrGeneric, |fault| fault.code)
}

fn seen(fake: &Fake) -> Status {
    let (agent, view) = (agent(), fake.view(PATIENT));
    agent.status(&agent.observe(&view).unwrap())
}

/// Plans by what is there, and does it.
fn act(
    agent: &Drbd,
    fake: &Fake,
    limit: Duration,
    plan: impl for<'a> FnOnce(&'a Drbd, &View, &Found) -> Result<Plan<'a>>,
) -> Result<Vec<String>> {
    let view = fake.view(limit);
    let plan = plan(agent, &view, &agent.observe(&view)?)?;
    let steps = words(&plan);
    carry_out(&view, plan).map(|()| steps)
}

#[test]
fn the_role_is_the_status() {
    assert_eq!(seen(&machine(UP)), Status::Running(common::Role::Unpromoted));
    assert_eq!(seen(&machine(PROMOTED)), Status::Running(common::Role::Promoted));
    assert!(seen(&machine("")).is_stopped());
    assert!(seen(&machine(IDLE)).is_stopped());
}

#[test]
fn a_peer_that_was_given_up_is_a_degradation() {
    let fake = machine(" 1: cs:StandAlone ro:Primary/Unknown ds:UpToDate/DUnknown r-----\n");
    let Status::Degraded(common::Role::Promoted, why) = seen(&fake) else { panic!() };
    assert!(why.contains("StandAlone"), "{why}");
    fake.rows(" 1: cs:StandAlone ro:Secondary/Unknown ds:UpToDate/DUnknown r-----\n");
    assert!(matches!(seen(&fake), Status::Degraded(common::Role::Unpromoted, _)));
    let late = agent_with(&[("connect_only_after_promote", "yes")], &CLONE);
    let found = late.observe(&fake.view(PATIENT)).unwrap();
    assert_eq!(late.status(&found), Status::Running(common::Role::Unpromoted));
}

#[test]
fn a_clone_of_the_wrong_shape_is_refused_on_every_node() {
    let fake = machine("");
    for (name, value) in
        [("clone_node_max", "2"), ("promoted_max", "3"), ("notify", "false"), ("clone_max", "3")]
    {
        let meta: Vec<_> = CLONE
            .iter()
            .filter(|(known, _)| *known != name)
            .copied()
            .chain([(name, value)])
            .collect();
        let refused = act(&agent_with(&[], &meta), &fake, PATIENT, Drbd::start).unwrap_err();
        assert_eq!(code(&refused), Code::ErrConfigured, "{name}: {refused:#}");
    }
    let alone = act(&agent_with(&[], &[]), &fake, PATIENT, Drbd::start).unwrap_err();
    assert_eq!(code(&alone), Code::ErrConfigured);
    let meta: Vec<_> = CLONE.iter().filter(|(name, _)| *name != "notify").copied().collect();
    let forgiving = agent_with(&[("ignore_missing_notifications", "yes")], &meta);
    fake.program("drbdadm", "[ $1 = adjust ] && printf 'version: 8.4.11 (api:1)\\n 1: cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate C r-----\\n' > proc/drbd; exit 0");
    act(&forgiving, &fake, PATIENT, Drbd::start).unwrap();
}

#[test]
fn a_resource_that_the_configuration_lacks_is_not_installed_here() {
    let fake = machine("");
    fake.program("drbdadm", "echo \"'r1' not defined in your config\" >&2\nexit 1");
    let refused = act(&agent(), &fake, PATIENT, Drbd::start).unwrap_err();
    assert_eq!(code(&refused), Code::ErrInstalled);
    assert_eq!(fake.called(), ["drbdadm sh-dev r1", "drbdadm --stacked sh-dev r1"]);
}

#[test]
fn a_module_outside_the_window_is_refused() {
    let fake = machine("");
    let agent = agent_with(&[("require_drbd_module_version_ge", "9.0.0")], &CLONE);
    let refused = act(&agent, &fake, PATIENT, Drbd::start).unwrap_err();
    assert_eq!(code(&refused), Code::ErrInstalled);
    assert!(refused.to_string().contains("8.4.11"), "{refused:#}");
}

#[test]
fn dual_primary_needs_the_configurations_consent() {
    let fake = machine("");
    let meta = CLONE.iter().filter(|(name, _)| *name != "promoted_max").copied();
    let meta: Vec<_> = meta.chain([("promoted_max", "2")]).collect();
    fake.program("drbdadm", "[ $1 = dump ] && echo 'resource r1 { net { protocol C; } }'\nexit 0");
    let refused = act(&agent_with(&[], &meta), &fake, PATIENT, Drbd::start).unwrap_err();
    assert!(refused.to_string().contains("allow-two-primaries"), "{refused:#}");
}

#[test]
fn promotion_goes_on_until_it_works_and_stops_where_it_cannot() {
    let fake = machine(UP);
    fake.program("drbdadm", "[ $(wc -l < called) = 2 ] || exit 11");
    act(&agent(), &fake, PATIENT, Drbd::promote).unwrap();
    assert_eq!(fake.called().len(), 2);
    let fake = machine(UP);
    fake.program(
        "drbdadm",
        "echo 'State change failed: (-2) Need access to UpToDate data' >&2; exit 17",
    );
    let refused = act(&agent(), &fake, PATIENT, Drbd::promote).unwrap_err();
    assert_eq!(fake.called().len(), 1);
    assert!(format!("{refused:#}").contains("UpToDate"), "{refused:#}");
}

#[test]
fn a_primary_that_the_cluster_does_not_know_of_ends_a_promotion_early() {
    let fake = machine(PEER);
    fake.program("drbdadm", "echo 'State change failed: (-1) Multiple primaries' >&2; exit 11");
    let meta: Vec<_> = CLONE.iter().copied().chain([("notify_active_uname", "node2")]).collect();
    let agent = agent_with(&[("fail_promote_early_if_peer_primary", "yes")], &meta);
    let refused = act(&agent, &fake, PATIENT, Drbd::promote).unwrap_err();
    assert!(refused.to_string().contains("the cluster does not know of it"), "{refused:#}");
    let called = fake.called();
    assert_eq!(called.len(), 2, "{called:?}");
    assert!(called[1].ends_with("--delete"), "{called:?}");
}

#[test]
fn promotion_of_what_is_not_up_fails_slowly() {
    let (fake, limit) = (machine(IDLE), Duration::from_millis(300));
    let begun = std::time::Instant::now();
    assert!(act(&agent(), &fake, limit, Drbd::promote).is_err());
    assert!(begun.elapsed() >= limit && fake.called().is_empty());
}

#[test]
fn stop_demotes_takes_down_and_takes_the_score_away() {
    let fake = machine(PROMOTED);
    act(&agent(), &fake, PATIENT, Drbd::stop).unwrap();
    let called = fake.called();
    assert_eq!(called[..2], ["drbdadm secondary r1", "drbdadm down r1"]);
    assert!(called[2].starts_with("crm_attribute") && called[2].ends_with("--delete"));
}

#[test]
fn a_start_mends_what_is_primary_in_part() {
    let fake = machine(
        " 1: cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate C r-----\n \
          2: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n",
    );
    let volumes = "volume 0 { device /dev/drbd1; } volume 1 { device /dev/drbd2; }";
    fake.file("/etc/drbd.conf", &format!("resource r1 {{ on node1 {{ {volumes} }} }}"));
    fake.file("/dev/drbd2", "");
    assert!(matches!(seen(&fake), Status::Failed(common::Role::Promoted, _)));
    act(&agent(), &fake, PATIENT, Drbd::start).unwrap();
    assert_eq!(seen(&fake), Status::Running(common::Role::Unpromoted));
    assert!(fake.called().contains(&"drbdadm secondary r1".into()), "{:?}", fake.called());
}

#[test]
fn stop_clears_what_a_start_cut_short_has_left() {
    let fake = machine(IDLE);
    act(&agent(), &fake, PATIENT, Drbd::stop).unwrap();
    assert_eq!(fake.called()[0], "drbdadm down r1");
}

#[test]
fn stop_goes_past_a_broken_configuration() {
    let fake = machine(UP);
    fake.program("drbdadm", "exit 10").program("drbdsetup", "");
    act(&agent(), &fake, PATIENT, Drbd::stop).unwrap();
    assert_eq!(fake.called()[..2], ["drbdadm down r1", "drbdsetup down r1"]);
}

#[test]
fn the_score_is_told_when_it_changes_and_never_in_the_way() {
    let fake = machine(UP);
    let tend = |agent: &Drbd| {
        act(agent, &fake, PATIENT, |agent, view, found| agent.upkeep(view, found, 0)).unwrap()
    };
    let agent = agent();
    assert_eq!(tend(&agent), ["tell the promotion score"]);
    assert!(tend(&agent).is_empty());
    fake.rows(" 1: cs:WFConnection ro:Secondary/Unknown ds:UpToDate/DUnknown C r-----\n");
    fake.program("crm_attribute", "exit 1");
    assert_eq!(tend(&agent).len(), 1);
    let called = fake.called();
    assert!(called[0].ends_with("--update 10000") && called[1].ends_with("--update 1000"));
    assert_eq!(tend(&agent).len(), 1, "what could not be told is told again");
}

/// After a restart of the cluster its attributes are gone, and /run has the record.
#[test]
fn a_probe_and_a_start_of_what_runs_tell_the_score_whatever_was_told() {
    for rows in [UP, PROMOTED] {
        let fake = machine(rows);
        let mut probing = agent();
        probing.is_asked_anew = true;
        for agent in [agent(), probing] {
            act(&agent, &fake, PATIENT, |agent, view, found| agent.upkeep(view, found, 0)).unwrap();
        }
        let called = fake.called();
        assert_eq!(called.len(), 2, "{called:?}");
        assert!(called[1].ends_with("--update 10000"), "{called:?}");
    }
    let fake = machine(UP);
    for _ in 0..2 {
        act(&agent(), &fake, PATIENT, |agent, view, found| agent.started(view, found)).unwrap();
    }
    assert_eq!(fake.called().len(), 2, "{:?}", fake.called());
}

#[test]
fn a_probe_lifts_no_constraint_and_tells_no_score_of_what_is_stopped() {
    let meta: Vec<_> = CLONE.to_vec();
    let mut probing = agent_with(&[("unfence_if_all_uptodate", "yes")], &meta);
    probing.is_asked_anew = true;
    let tend = |fake: &Fake| {
        act(&probing, fake, PATIENT, |agent, view, found| agent.upkeep(view, found, 0)).unwrap()
    };
    assert_eq!(tend(&machine(PROMOTED)), ["tell the promotion score"]);
    assert!(tend(&machine("")).is_empty());
}

#[test]
fn by_hand_there_is_no_score() {
    let fake = machine(UP);
    let agent = agent_with(&[], &[]);
    let steps = act(&agent, &fake, PATIENT, |agent, view, found| agent.upkeep(view, found, 0));
    assert!(steps.unwrap().is_empty());
}

#[test]
fn a_start_elsewhere_is_taken_in_and_a_lost_peer_outdates() {
    let fake = machine(UP);
    let notified = |kind: &'static str, what: &'static str, params: &[(&'static str, &str)]| {
        let more =
            [("notify_type", kind), ("notify_operation", what), ("notify_promoted_uname", "node2")];
        let meta: Vec<_> = CLONE.iter().copied().chain(more).collect();
        act(&agent_with(params, &meta), &fake, PATIENT, Drbd::notify).unwrap()
    };
    assert_eq!(notified("pre", "start", &[]).len(), 1);
    assert_eq!(notified("post", "start", &[]).len(), 2);
    let late = [("connect_only_after_promote", "yes")];
    assert!(notified("pre", "start", &late).is_empty());
    assert_eq!(notified("post", "stop", &[]).len(), 1);
    assert_eq!(notified("pre", "promote", &[]).len(), 0);
    fake.rows(" 1: cs:WFConnection ro:Secondary/Unknown ds:UpToDate/DUnknown C r-----\n");
    let steps = notified("post", "promote", &[("stop_outdates_secondary", "yes")]);
    assert_eq!(steps.last().unwrap(), "mark the data here as outdated");
}

#[test]
fn unfencing_is_asked_for_where_all_is_well() {
    let fake = machine(PROMOTED);
    fake.program("drbdadm", "echo \"env $UNFENCE_EXTRA_ARGS\" >> called");
    let agent = agent_with(
        &[("unfence_if_all_uptodate", "yes"), ("unfence_extra_args", "--quiet")],
        &CLONE,
    );
    act(&agent, &fake, PATIENT, |agent, view, found| agent.upkeep(view, found, 0)).unwrap();
    assert_eq!(fake.called()[1..], ["drbdadm unfence-peer r1", "env --quiet"]);
}
