//! Starts, promotions and stops to their ends: what is called, in which order,
//! from whatever was left.

use super::*;

/// The configuration of a resource that lies on another one, on this node.
const STACKED: &str = "resource r0 { on node1 { device /dev/drbd0; disk /dev/sda1; } } \
    resource r1 { stacked-on-top-of r0 { device /dev/drbd1; } on node3 { device /dev/drbd1; } }";

#[test]
fn a_stacked_resource_is_called_so_in_every_action() {
    let fake = machine(UP);
    fake.file("/etc/drbd.conf", STACKED)
        .program("drbdadm", "[ $2 = primary ] && touch primary; exit 0");
    let agent = agent();
    act(&agent, &fake, PATIENT, Drbd::promote).unwrap();
    act(&agent, &fake, PATIENT, Drbd::reload).unwrap();
    fake.rows(PROMOTED);
    act(&agent, &fake, PATIENT, Drbd::demote).unwrap();
    act(&agent, &fake, PATIENT, Drbd::stop).unwrap();
    fake.file("/proc/drbd", "version: 8.4.11 (api:1/proto:86-101)\n");
    fake.program("drbdadm", "[ $2 = adjust ] && printf 'version: 8.4.11 (api:1)\n 1: cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate C r-----\n' > proc/drbd; exit 0");
    act(&agent, &fake, PATIENT, Drbd::start).unwrap();
    let called = fake.called();
    let verbs: Vec<&str> = called.iter().filter_map(|call| call.strip_prefix("drbdadm ")).collect();
    let wanted = [
        "--stacked primary r1",
        "--stacked adjust r1",
        "--stacked secondary r1",
        "--stacked secondary r1",
        "--stacked down r1",
        "--stacked sh-dev r1",
        "--stacked check-resize r1",
        "--stacked adjust r1",
    ];
    assert_eq!(verbs, wanted);
}

#[test]
fn a_stacked_resource_comes_down_without_its_configuration() {
    let fake = Fake::nine(NINE_PROMOTED);
    fake.file("/etc/drbd.conf", "resource r1 {").program("drbdadm", "exit 10");
    fake.program("drbdsetup", "case $1 in events2) cat events;; esac");
    act(&agent(), &fake, PATIENT, Drbd::stop).unwrap();
    let called = fake.called();
    assert_eq!(
        called[..4],
        ["drbdadm secondary r1", "drbdsetup secondary r1", "drbdadm down r1", "drbdsetup down r1"]
    );
}

const NINE_PROMOTED: &str = "exists resource name:r1 role:Primary suspended:no\n\
    exists device name:r1 volume:0 minor:1 disk:UpToDate client:no quorum:yes\n\
    exists device name:r1 volume:1 minor:2 disk:UpToDate client:no quorum:yes\n\
    exists -\n";

#[test]
fn a_start_finishes_what_an_earlier_one_has_left() {
    let fake = machine(UP);
    assert_eq!(act(&agent(), &fake, PATIENT, Drbd::started).unwrap(), ["tell the promotion score"]);
    for rows in [
        " 1: cs:StandAlone ro:Secondary/Unknown ds:UpToDate/DUnknown r-----\n",
        " 1: cs:Connected ro:Secondary/Secondary ds:Diskless/UpToDate C r-----\n",
    ] {
        fake.rows(rows).forget();
        act(&agent(), &fake, PATIENT, Drbd::started).unwrap();
        assert!(fake.called().contains(&"drbdadm adjust r1".to_owned()), "{rows}");
    }
    fake.rows(" 1: cs:StandAlone ro:Secondary/Unknown ds:UpToDate/DUnknown r-----\n").forget();
    let late = agent_with(&[("connect_only_after_promote", "yes")], &CLONE);
    let steps = act(&late, &fake, PATIENT, Drbd::started).unwrap();
    assert_eq!(steps, ["tell the promotion score"]);
}

#[test]
fn a_start_leaves_nothing_promoted_and_a_person_alone() {
    let fake = machine(PROMOTED);
    assert!(act(&agent_with(&[], &[]), &fake, PATIENT, Drbd::started).unwrap().is_empty());
    act(&agent(), &fake, PATIENT, Drbd::started).unwrap();
    assert_eq!(fake.called()[0], "drbdadm secondary r1");
}

#[test]
fn a_late_connection_is_made_also_by_a_promotion_that_comes_second() {
    let late = agent_with(&[("connect_only_after_promote", "yes")], &CLONE);
    let fake = machine(UP);
    act(&late, &fake, PATIENT, Drbd::promote).unwrap();
    assert_eq!(fake.called(), ["drbdadm primary r1", "drbdadm adjust r1"]);
    fake.forget();
    act(&late, &fake, PATIENT, Drbd::promote).unwrap();
    assert_eq!(fake.called(), ["drbdadm adjust r1"]);
    assert!(act(&agent(), &fake, PATIENT, Drbd::promote).unwrap().is_empty());
}

#[test]
fn a_late_connection_is_not_made_by_start() {
    let late = agent_with(&[("connect_only_after_promote", "yes")], &CLONE);
    let fake = Fake::nine("exists -\n");
    fake.program("crm_attribute", "").file("/dev/drbd1", "").file("/dev/drbd2", "");
    let up = NINE_PROMOTED.replace("Primary", "Secondary");
    fake.file("/up", &up).program("drbdadm", "[ $1 = adjust ] && cp up events; exit 0");
    act(&late, &fake, PATIENT, Drbd::start).unwrap();
    let called = fake.called();
    assert_eq!(
        called[..3],
        ["drbdadm sh-dev r1", "drbdadm check-resize r1", "drbdadm adjust --skip-net r1"]
    );
    assert!(!called.contains(&"drbdadm adjust r1".to_owned()), "{called:?}");
}

#[test]
fn a_start_connects_to_the_promoted_peer_first() {
    let meta: Vec<_> = CLONE.iter().copied().chain([("notify_promoted_uname", "node2")]).collect();
    let fake = Fake::nine("exists -\n");
    fake.program("crm_attribute", "").file("/dev/drbd1", "").file("/dev/drbd2", "");
    fake.file("/up", &NINE_PROMOTED.replace("Primary", "Secondary"));
    fake.program("drbdadm", "[ $1 = adjust ] && cp up events; exit 0");
    act(&agent_with(&[], &meta), &fake, PATIENT, Drbd::start).unwrap();
    let called = fake.called();
    assert_eq!(
        called[2..5],
        ["drbdadm adjust --skip-net r1", "drbdadm adjust r1:node2", "drbdadm adjust r1"]
    );
}

#[test]
fn a_start_waits_for_its_peers_as_long_as_it_is_told() {
    let fake = machine(" 1: cs:WFConnection ro:Secondary/Unknown ds:UpToDate/DUnknown C r-----\n");
    let begun = std::time::Instant::now();
    act(&agent_with(&[("wfc_timeout", "1")], &CLONE), &fake, PATIENT, Drbd::start).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let steps = act(&agent_with(&[("wfc_timeout", "no")], &CLONE), &fake, PATIENT, Drbd::start);
    assert!(!steps.unwrap().iter().any(|step| step.starts_with("wait")));
}

#[test]
fn where_the_cluster_does_not_tell_it_is_asked_who_is_promoted() {
    let fake = machine(PEER);
    fake.program("drbdadm", "echo 'State change failed: (-1) Multiple primaries' >&2; exit 11");
    fake.program("crm_resource", "echo 'resource p_r1 is running on: node2 Promoted'");
    let early = agent_with(&[("fail_promote_early_if_peer_primary", "yes")], &CLONE);
    let limit = Duration::from_millis(2500);
    let refused = act(&early, &fake, limit, Drbd::promote).unwrap_err();
    assert!(!format!("{refused:#}").contains("does not know"), "{refused:#}");
    fake.program("crm_resource", "echo 'resource p_r1 is running on: node2'");
    let refused = act(&early, &fake, PATIENT, Drbd::promote).unwrap_err();
    assert!(refused.to_string().contains("the cluster does not know of it"), "{refused:#}");
}

#[test]
fn a_secondary_that_stops_marks_its_data_unless_it_is_the_last() {
    let fake = machine(UP);
    let promoted = |more: &[(&'static str, &'static str)]| {
        let meta: Vec<_> = CLONE.iter().copied().chain(more.iter().copied()).collect();
        agent_with(&[("stop_outdates_secondary", "yes")], &meta)
    };
    let peer = promoted(&[("notify_promoted_uname", "node2")]);
    act(&peer, &fake, PATIENT, Drbd::stop).unwrap();
    assert_eq!(fake.called()[..2], ["drbdadm down r1", "drbdadm outdate r1"]);
    assert!(fake.called()[2].ends_with("--delete"));
    let leaving = promoted(&[("notify_promoted_uname", "node2"), ("notify_stop_uname", "node2")]);
    let steps = act(&leaving, &fake, PATIENT, Drbd::stop).unwrap();
    assert!(!steps.iter().any(|step| step.contains("outdated")), "{steps:?}");
}

#[test]
fn a_hanging_drbdsetup_is_doubt_in_time() {
    let fake = Fake::nine("");
    fake.program("drbdsetup", "exec sleep 60");
    let begun = std::time::Instant::now();
    let err = agent().observe(&fake.view(Duration::from_secs(8))).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(6), "{err:#}");
}

#[test]
fn a_stop_goes_past_a_drbdadm_that_hangs() {
    let fake = Fake::nine(NINE_PROMOTED);
    fake.program("crm_attribute", "").program("drbdadm", "exec sleep 60");
    fake.program("drbdsetup", "case $1 in events2) cat events;; esac");
    act(&agent(), &fake, Duration::from_secs(8), Drbd::stop).unwrap();
    let called = fake.called();
    assert!(called.contains(&"drbdsetup secondary r1".to_owned()), "{called:?}");
    assert!(called.contains(&"drbdsetup down r1".to_owned()), "{called:?}");
}

#[test]
fn a_demotion_names_who_holds_the_device() {
    let fake = machine(PROMOTED);
    fake.program(
        "drbdadm",
        "echo '1: State change failed: (-12) Device is held open by someone' >&2; exit 11",
    );
    fake.file("/sys/class/block/drbd1/dev", "147:1\n").file("/proc/self/mountinfo", "");
    let refused = |limit| {
        let err = act(&agent(), &fake, limit, Drbd::demote).unwrap_err();
        err.to_string()
    };
    let short = Duration::from_millis(1500);
    fake.file("/sys/class/block/drbd1/holders/dm-0", "")
        .file("/sys/class/block/dm-0/dm/name", "vg-web\n")
        .file("/sys/class/block/dm-0/dm/uuid", "LVM-x\n");
    let wanted = "r1 stays Primary, its device is in use: logical volume vg/web";
    assert_eq!(refused(short), wanted);
    let other = "36 25 147:1 / /srv rw - ext4 /dev/drbd1 rw\n";
    let fields = "1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0";
    fake.file("/proc/77/stat", &format!("77 (web) S {fields}\n"))
        .file("/proc/77/mountinfo", other)
        .link("/proc/77/ns/mnt", "mnt:[2]");
    assert!(refused(short).contains("web (pid 77) has it mounted on /srv in a mount namespace"));
}

#[test]
fn a_notification_tells_the_score_only_when_it_is_another() {
    let fake = machine(UP);
    let told = [("notify_type", "post"), ("notify_operation", "stop")];
    let meta: Vec<_> = CLONE.iter().copied().chain(told).collect();
    for _ in 0..2 {
        act(&agent_with(&[], &meta), &fake, PATIENT, Drbd::notify).unwrap();
    }
    assert_eq!(fake.called().len(), 1, "{:?}", fake.called());
}

#[test]
fn a_promotion_waits_for_what_was_written_where_it_was_promoted_before() {
    const ALONE: &str = " 1: cs:WFConnection ro:Secondary/Unknown ds:UpToDate/DUnknown C r-----\n";
    type Meta<'a> = &'a [(&'static str, &'static str)];
    let with = |more: Meta<'_>| {
        let meta: Vec<_> = CLONE.iter().copied().chain(more.iter().copied()).collect();
        agent_with(&[], &meta)
    };
    let short = Duration::from_secs(2);
    let promote = |fake: &Fake, more: Meta<'_>| act(&with(more), fake, short, Drbd::promote);
    let both = ("notify_active_uname", "node1 node2");
    let demoting = [both, ("notify_type", "pre"), ("notify_operation", "demote")];
    let demoting = [&demoting[..], &[("notify_promoted_uname", "node2")]].concat();

    // Connected, or never promoted elsewhere: there is nothing to wait for.
    let fake = machine(UP);
    assert!(act(&with(&demoting), &fake, short, Drbd::notify).unwrap().is_empty());
    promote(&fake, &[both]).unwrap();
    // Of a peer that is there nobody knows what it has; one that is not there
    // is not waited for.
    let steps = |more: Meta<'_>| promote(&machine(ALONE), more).unwrap().join(", ");
    assert!(steps(&[both]).starts_with("wait for a peer that the cluster has running"));
    assert!(
        steps(&[("notify_active_uname", "node1")]).starts_with("make DRBD resource r1 Primary")
    );

    let fake = machine(ALONE);
    act(&with(&demoting), &fake, short, Drbd::notify).unwrap();
    // By now it is demoted, so that the cluster does not call it promoted.
    for _ in 0..2 {
        let refused = promote(&fake, &[both]).unwrap_err().to_string();
        assert!(refused.contains("written to r1 on node2 is missing here"), "{refused}");
        assert!(refused.contains("(WFConnection)"), "{refused}");
    }
    assert!(fake.called().is_empty(), "{:?}", fake.called());
    let explained = |fake: &Fake| {
        let (agent, view) = (agent(), fake.view(short));
        let advice = agent.advice(&view, &agent.observe(&view).unwrap());
        advice.iter().any(|fact| fact.seen.contains("written on node2 is missing here"))
    };
    assert!(explained(&fake));
    // Once it was connected, that is over.
    fake.rows(UP);
    act(&agent(), &fake, PATIENT, Drbd::reload).unwrap();
    fake.rows(ALONE);
    assert!(!explained(&fake));
    promote(&fake, &[both]).unwrap();

    // Nobody waits for a node that is gone, or going.
    for more in [&[("notify_active_uname", "node1")][..], &[both, ("notify_stop_uname", "node2")]] {
        let fake = machine(ALONE);
        act(&with(&demoting), &fake, short, Drbd::notify).unwrap();
        promote(&fake, more).unwrap();
    }
}
