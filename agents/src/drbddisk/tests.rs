#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use crate::drbd::fake::Fake;
use common::testing::{carry_out, words};
use std::fs;
use std::time::{Duration, Instant};

const SECONDARY: &str = " 1: cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate C r----\n";
const PRIMARY: &str = " 1: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r----\n";

fn agent(resource: &str) -> Drbddisk {
    Drbddisk { resource: resource.into() }
}

fn seen(fake: &Fake, resource: &str) -> (Status, Option<&'static str>) {
    let agent = agent(resource);
    let state = agent.observe(&fake.view(Duration::from_secs(5))).unwrap();
    (agent.status(&state), agent.word(&state))
}

/// The word beside `stopped`.
fn stopped(fake: &Fake) -> Option<&'static str> {
    let (status, word) = seen(fake, "r1");
    assert!(status.is_stopped(), "{status}");
    word
}

fn change(fake: &Fake, resource: &str, start: bool, limit: Duration) -> Result<()> {
    let (agent, view) = (agent(resource), fake.view(limit));
    let state = agent.observe(&view)?;
    let plan = if start { agent.start(&view, &state) } else { agent.stop(&view, &state) };
    carry_out(&view, plan?)
}

const PATIENT: Duration = Duration::from_secs(20);

#[test]
fn the_role_decides() {
    let running = Status::Running(common::Role::Started);
    assert_eq!(seen(&Fake::new(PRIMARY), "r1"), (running, Some("Primary")));
    assert_eq!(stopped(&Fake::new(SECONDARY)), Some("Secondary"));
    assert_eq!(stopped(&Fake::new(" 1: cs:Unconfigured\n")), Some("Unconfigured"));
}

#[test]
fn a_kernel_without_drbd_is_unconfigured_and_cannot_be_started() {
    let fake = Fake::new("");
    fs::remove_file(fake.path("/proc/drbd")).unwrap();
    fs::remove_dir_all(fake.path("/sys/module/drbd")).unwrap();
    fs::create_dir_all(fake.path("/sys/module/loop")).unwrap();
    assert_eq!(stopped(&fake), Some("Unconfigured"));
    let refused = change(&fake, "r1", true, PATIENT).unwrap_err();
    assert_eq!(refused.downcast_ref::<common::Fault>().unwrap().code, ocf_meta::Code::ErrInstalled);
}

#[test]
fn a_stop_gives_the_peer_a_moment_to_come_back() {
    let stop = |connection: &str, time: Duration| {
        let row = PRIMARY.replace("Connected", connection);
        let (agent, fake) = (agent("r1"), Fake::new(&row));
        fake.obedient();
        let view = fake.view(time);
        let plan = agent.stop(&view, &agent.observe(&view).unwrap()).unwrap();
        let steps = words(&plan).len();
        let begun = Instant::now();
        carry_out(&view, plan).unwrap();
        assert_eq!(fake.called(), ["drbdadm secondary r1"], "{connection}");
        (steps, begun.elapsed())
    };
    for connection in ["Connected", "StandAlone"] {
        assert_eq!(stop(connection, PATIENT).0, 1, "{connection} is waited for");
    }
    let time = Duration::from_secs(4);
    let (steps, took) = stop("WFConnection", time);
    assert!(steps == 2 && took >= time / 4, "{steps} steps in {took:?}");
}

#[test]
fn what_makes_no_sense_is_doubt() {
    let fake = Fake::new(" 1: cs:Connected ro:Tertiary/Secondary ds:UpToDate/UpToDate C r----\n");
    assert!(agent("r1").observe(&fake.view(PATIENT)).is_err());
}

#[test]
fn one_primary_volume_is_enough_to_run_and_too_little_to_be_well() {
    let fake = Fake::new(&format!("{PRIMARY}{}", SECONDARY.replace(" 1:", " 2:")));
    fake.file(
        "/etc/drbd.conf",
        "resource r1 { volume 0 { device minor 1; } volume 1 { device minor 2; } }",
    );
    let (status, word) = seen(&fake, "r1");
    assert!(matches!(status, Status::Failed(_, reason) if reason.contains("volume 1 of r1")));
    assert_eq!(word, Some("Primary"));
}

#[test]
fn start_and_stop_change_the_role() {
    let fake = Fake::new(SECONDARY);
    fake.obedient();
    change(&fake, "r1", true, PATIENT).unwrap();
    assert_eq!(seen(&fake, "r1").1, Some("Primary"));
    change(&fake, "r1", false, PATIENT).unwrap();
    assert_eq!(seen(&fake, "r1").1, Some("Secondary"));
    assert_eq!(fake.called(), ["drbdadm primary r1", "drbdadm secondary r1"]);
}

#[test]
fn start_is_tried_until_drbd_notices_that_the_peer_is_gone() {
    let fake = Fake::new(SECONDARY);
    fake.program("drbdadm", "[ $(wc -l < called) = 3 ] || exit 11");
    change(&fake, "r1", true, PATIENT).unwrap();
    assert_eq!(fake.called().len(), 3);
}

#[test]
fn start_gives_up_before_the_deadline() {
    let fake = Fake::new(SECONDARY);
    fake.program("drbdadm", "echo 'State change failed: (-1) Multiple primaries' >&2\nexit 11");
    let begun = Instant::now();
    let refused = change(&fake, "r1", true, Duration::from_secs(3)).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3) && fake.called().len() >= 2);
    let reason = format!("{refused:#}");
    assert!(
        reason.contains("drbdadm primary r1") && reason.contains("Multiple primaries"),
        "{reason}"
    );
}

#[test]
fn stop_names_who_is_in_the_way() {
    let fake = Fake::new(PRIMARY);
    fake.program(
        "drbdadm",
        "echo '1: State change failed: (-12) Device is held open by someone' >&2\nexit 11",
    );
    fake.file("/sys/class/block/drbd1/dev", "147:1\n");
    fake.file("/proc/self/mountinfo", "36 25 147:1 / /srv rw - ext4 /dev/drbd1 rw\n");
    let refused = change(&fake, "r1", false, PATIENT).unwrap_err();
    assert_eq!(refused.to_string(), "r1 stays Primary, its device is in use: mount on /srv");
    assert_eq!(fake.called().len(), 3);
}

#[test]
fn stop_of_what_the_kernel_does_not_have_does_nothing() {
    for rows in [SECONDARY, " 1: cs:Unconfigured\n", ""] {
        let fake = Fake::new(rows);
        fake.obedient();
        change(&fake, "r1", false, PATIENT).unwrap();
        assert!(fake.called().is_empty(), "{rows}");
    }
}

#[test]
fn a_stacked_resource_is_called_so() {
    let fake = Fake::new(SECONDARY);
    let config = "resource r0 { on node1 { device /dev/drbd0; } } \
        resource r1 { stacked-on-top-of r0 { device /dev/drbd1; } }";
    fake.file("/etc/drbd.conf", config).program("drbdadm", "");
    change(&fake, "r1", true, PATIENT).unwrap();
    fake.rows(PRIMARY);
    change(&fake, "r1", false, PATIENT).unwrap();
    assert_eq!(fake.called(), ["drbdadm --stacked primary r1", "drbdadm --stacked secondary r1"]);
}

#[test]
fn a_lower_resource_names_the_one_that_lies_on_it() {
    let events = |name: &str, role: &str, disk: &str, minor: u32| {
        format!(
            "exists resource name:{name} role:{role} suspended:no\n\
             exists device name:{name} volume:0 minor:{minor} backing_dev:{disk} disk:UpToDate\n"
        )
    };
    let both =
        events("r1", "Primary", "/dev/sda1", 1) + &events("r1-U", "Secondary", "/dev/drbd1", 10);
    let fake = Fake::nine(&(both + "exists -\n"));
    let busy = "echo '1: State change failed: (-12) Device is held open by someone' >&2; exit 11";
    fake.program("drbdadm", busy);
    let refused = change(&fake, "r1", false, PATIENT).unwrap_err();
    let wanted = "r1 stays Primary, its device is in use: DRBD resource r1-U";
    assert_eq!(refused.to_string(), wanted);
}

#[test]
fn a_broken_configuration_is_gone_past() {
    let fake = Fake::new(PRIMARY);
    fake.program("drbdadm", "echo 'drbd.conf:1: parse error' >&2\nexit 10");
    fake.program("drbdsetup", "sed -i s,ro:Primary/,ro:Secondary/, proc/drbd");
    change(&fake, "r1", false, PATIENT).unwrap();
    assert_eq!(fake.called(), ["drbdadm secondary r1", "drbdsetup secondary 1"]);
}

#[test]
fn all_is_running_only_as_a_whole() {
    let both = format!("{PRIMARY}{}", SECONDARY.replace(" 1:", " 2:"));
    let fake = Fake::new(&both);
    fake.obedient();
    assert!(matches!(seen(&fake, "all").0, Status::Failed(..)));
    change(&fake, "all", true, PATIENT).unwrap();
    assert_eq!(fake.called(), ["drbdadm primary all"]);
    assert!(seen(&fake, "all").0.is_active());
    let (agent, view) = (agent("all"), fake.view(PATIENT));
    let state = agent.observe(&view).unwrap();
    let steps = words(&agent.stop(&view, &state).unwrap());
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert_eq!(agent.no_status().unwrap().0, 10);
}
