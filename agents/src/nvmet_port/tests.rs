#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use common::host::nvmet::{ROOT, port, subsystem};
use common::testing::Files;
use ocf_meta::{Given, Reading};

const NQN: &str = "nqn.2014-08.com.example:one";
const OTHER: &str = "nqn.2014-08.com.example:other";
const PLACE: [&str; 3] = ["tcp", "10.0.0.9", "4420"];
const RECORD: &str = "/run/resource-agents/nvmet-port.tcp-10.0.0.9-4420";

fn agent(given: &[(&'static str, &str)]) -> NvmetPort {
    let mut all = Given::default();
    all.set("addr", "10.0.0.9");
    all.set("nqns", NQN);
    given.iter().for_each(|(name, value)| all.set(*name, *value));
    let params = NvmetPortParams::read(&mut Reading::strict(&all)).unwrap();
    NvmetPort::new(params, &Request::plain("p")).unwrap()
}

/// A machine that looks as one with nvmet does.
fn machine() -> Files {
    let files = Files::new();
    files.dir("/sys/module/nvmet").dir("/proc/self");
    for name in ["hosts", "ports", "subsystems"] {
        files.dir(&format!("{ROOT}/{name}"));
    }
    files
}

fn listen(files: &Files, id: u16, address: [&str; 3], shown: &[&str]) {
    let place = port(id);
    files.dir(&format!("{place}/subsystems")).file(&format!("{place}/addr_adrfam"), "ipv4\n");
    for (name, value) in ["trtype", "traddr", "trsvcid"].iter().zip(address) {
        files.file(&format!("{place}/addr_{name}"), &format!("{value}\n"));
    }
    for nqn in shown {
        files.link(&format!("{place}/subsystems/{nqn}"), subsystem(nqn));
    }
}

fn status(files: &Files, agent: &NvmetPort) -> String {
    agent.status(&agent.observe(&files.view()).unwrap()).to_string()
}

fn stop(files: &Files, agent: &NvmetPort) -> Vec<String> {
    let state = agent.observe(&files.view()).unwrap();
    common::testing::words(&agent.stop(&files.view(), &state).unwrap())
}

/// To the shell agent, whose number is 0 as well, this is its own.
#[test]
fn a_port_of_the_same_number_and_another_address_is_not_ours() {
    let files = machine();
    listen(&files, 0, ["tcp", "10.0.0.8", "4420"], &[NQN]);
    listen(&files, 1, ["tcp", "10.0.0.9", "4421"], &[NQN]);
    listen(&files, 2, ["rdma", "10.0.0.9", "4420"], &[NQN]);
    for agent in [agent(&[]), agent(&[("port_id", "0")])] {
        assert_eq!(status(&files, &agent), "stopped");
        assert!(stop(&files, &agent).is_empty());
    }
}

#[test]
fn a_port_runs_that_shows_everything_whatever_its_number() {
    let files = machine();
    listen(&files, 7, PLACE, &[NQN]);
    assert_eq!(status(&files, &agent(&[])), "running");
    assert_eq!(status(&files, &agent(&[("port_id", "3")])), "running");
    // The record leads to another, and is not believed.
    files.file(RECORD, "9");
    assert_eq!(status(&files, &agent(&[])), "running");
    let both = agent(&[("nqns", &format!("{NQN} {OTHER}"))]);
    let told = status(&files, &both);
    assert_eq!(told, format!("failed: {OTHER} is not shown at 10.0.0.9:4420 (tcp)"));
}

#[test]
fn a_port_at_which_nobody_listens_has_failed() {
    let files = machine();
    listen(&files, 0, PLACE, &[NQN]);
    let agent = agent(&[]);
    let State::There { ports, .. } = agent.observe(&files.view()).unwrap() else { panic!() };
    let told = agent.status(&State::There { ports, is_heard: Some(false) }).to_string();
    assert_eq!(told, "failed: nobody listens at 10.0.0.9:4420 (tcp)");
}

#[test]
fn a_port_is_shared_by_those_with_one_address() {
    let files = machine();
    listen(&files, 0, PLACE, &[OTHER]);
    assert_eq!(status(&files, &agent(&[])), "stopped");
    files.link(&format!("{}/subsystems/{NQN}", port(0)), subsystem(NQN));
    assert_eq!(status(&files, &agent(&[])), "running");
    let steps = stop(&files, &agent(&[]));
    assert_eq!(steps[0], format!("show {NQN} no longer at 10.0.0.9:4420 (tcp)"));
    assert_eq!(steps.len(), 2, "{steps:?}");
}

#[test]
fn a_port_that_was_begun_is_found_again_and_only_by_its_record() {
    let files = machine();
    listen(&files, 4, ["", "", ""], &[]);
    assert_eq!(status(&files, &agent(&[])), "stopped");
    files.file(RECORD, "4");
    assert!(status(&files, &agent(&[])).starts_with("failed: "));
    assert_eq!(stop(&files, &agent(&[])), ["remove port 4, unless it shows others'"]);
    // Whether it is ours nobody can tell.
    files.file(RECORD, "four");
    let doubt = agent(&[]).observe(&files.view()).unwrap_err();
    assert!(doubt.to_string().contains("port 4, which shows nothing, may be in it"), "{doubt:#}");
    // Somebody else has one of that number now.
    listen(&files, 4, ["tcp", "10.0.0.8", "4420"], &[]);
    assert_eq!(status(&files, &agent(&[])), "stopped");
}

#[test]
fn the_kind_of_address_is_seen_from_it() {
    let family = |given: &[(&'static str, &str)]| agent(given).address.family;
    assert_eq!(family(&[]), "ipv4");
    assert_eq!(family(&[("addr", "fd00::9")]), "ipv6");
    assert_eq!(family(&[("addr", "[fd00::9]")]), "ipv6");
    assert_eq!(family(&[("addr", "nn-0x1:pn-0x2"), ("type", "fc")]), "fc");
    assert!(agent(&[("addr", "fd00::9")]).validate().is_ok());
    assert!(agent(&[("addr", "fd00::9"), ("addr_fam", "ipv4")]).validate().is_err());
    assert!(agent(&[("addr", "storage.example.com")]).validate().is_err());
}
