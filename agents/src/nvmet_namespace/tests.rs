#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use common::host::nvmet::{ROOT, namespace, subsystem};
use common::testing::Files;
use ocf_meta::{Given, Reading};

const NQN: &str = "nqn.2014-08.com.example:one";
const UUID: &str = "8b0c6a5e-0e1a-4c57-9d1a-5b7a3a2f4e10";
const OTHER: &str = "00000000-0000-0000-0000-000000000001";

fn agent_with(given: &[(&'static str, &str)]) -> NvmetNamespace {
    let mut all = Given::default();
    all.set("nqn", NQN);
    given.iter().for_each(|(name, value)| all.set(*name, *value));
    let params = NvmetNamespaceParams::read(&mut Reading::lenient(&all)).unwrap();
    NvmetNamespace::new(params, &Request::plain("p")).unwrap()
}

fn agent() -> NvmetNamespace {
    agent_with(&[("backing_path", "/srv/file"), ("uuid", UUID)])
}

/// A machine that looks as one with nvmet does, with one subsystem.
fn machine() -> Files {
    let files = Files::new();
    files.dir("/sys/module/nvmet").dir("/proc/self").file("/srv/file", "x");
    files.dir(&format!("{}/namespaces", subsystem(NQN)));
    files.dir(&format!("{ROOT}/ports"));
    files
}

fn serve(files: &Files, id: u32, enabled: &str, path: &str, uuid: &str) {
    let place = namespace(NQN, id);
    files.file(&format!("{place}/enable"), enabled);
    files.file(&format!("{place}/device_path"), &format!("{path}\n"));
    files.file(&format!("{place}/device_uuid"), &format!("{uuid}\n"));
    files.file(&format!("{place}/device_nguid"), &format!("{}\n", "0".repeat(32)));
}

fn status(files: &Files, agent: &NvmetNamespace) -> String {
    agent.status(&agent.observe(&files.view()).unwrap()).to_string()
}

#[test]
fn what_is_not_there_is_stopped_with_and_without_its_subsystem() {
    let files = machine();
    serve(&files, 2, "1\n", "/srv/file", UUID);
    assert_eq!(status(&files, &agent()), "stopped");
    std::fs::remove_dir_all(files.at(&subsystem(NQN))).unwrap();
    assert_eq!(status(&files, &agent()), "stopped");
    std::fs::remove_dir_all(files.at(ROOT)).unwrap();
    assert!(agent().observe(&files.view()).is_err(), "loaded, and not to be seen");
}

/// To the shell agent each of them is running.
#[test]
fn a_directory_is_not_yet_a_disk_that_is_served() {
    let files = machine();
    serve(&files, 1, "1\n", "/srv/file", UUID);
    assert_eq!(status(&files, &agent()), "running");
    serve(&files, 1, "0\n", "/srv/file", UUID);
    assert_eq!(status(&files, &agent()), format!("failed: namespace 1 of {NQN} is closed"));
    serve(&files, 1, "1\n", "/srv/file", OTHER);
    let told = status(&files, &agent());
    assert_eq!(told, format!("failed: namespace 1 of {NQN} has UUID {OTHER}, and not {UUID}"));
    serve(&files, 1, "1\n", "/srv/file", UUID);
    let with_nguid = [("backing_path", "/srv/file"), ("uuid", UUID), ("nguid", UUID)];
    assert!(status(&files, &agent_with(&with_nguid)).contains("has NGUID 00000000-"));
}

#[test]
fn a_name_that_leads_elsewhere_by_now_is_no_proof_and_one_that_dangles_no_fault() {
    let files = machine();
    serve(&files, 1, "1\n", "/dev/block/147:1", UUID);
    files.dir("/sys/dev/block/147:1");
    let agent = agent();
    let state = |wanted| {
        let found =
            Nvmet::open(&files.view()).unwrap().unwrap().namespace(NQN, 1).unwrap().unwrap();
        let disk = found.number();
        let wanted = Number::parse(wanted);
        State::There { found, disk, is_alive: true, wanted }
    };
    assert_eq!(agent.status(&state("147:1")).to_string(), "running");
    let told = agent.status(&state("147:2")).to_string();
    assert_eq!(told, format!("failed: namespace 1 of {NQN} serves 147:1, and /srv/file is 147:2"));
    std::fs::remove_file(files.at("/srv/file")).unwrap();
    assert_eq!(status(&files, &agent), "running");
    // The kernel has lost it.
    std::fs::remove_dir(files.at("/sys/dev/block/147:1")).unwrap();
    assert!(status(&files, &agent).ends_with("serves 147:1, a disk that is gone"));
}

#[test]
fn a_stop_needs_neither_the_path_nor_the_uuid() {
    let files = machine();
    serve(&files, 1, "1\n", "/dev/block/147:1", UUID);
    let agent = agent_with(&[("backing_path", "nowhere"), ("uuid", "odd")]);
    assert_eq!(status(&files, &agent), "running");
    let state = agent.observe(&files.view()).unwrap();
    let words = common::testing::words(&agent.stop(&files.view(), &state).unwrap());
    assert_eq!(words[0], "close /dev/block/147:1 once it is idle");
    assert_eq!(words[1], format!("remove namespace 1 of {NQN}"));
}

#[test]
fn one_that_is_open_is_not_closed_to_set_it_right() {
    let files = machine();
    serve(&files, 1, "1\n", "/srv/file", OTHER);
    let agent = agent();
    let state = agent.observe(&files.view()).unwrap();
    let refused = agent.start(&files.view(), &state).unwrap_err();
    assert!(refused.to_string().ends_with("stop it first"), "{refused:#}");
    serve(&files, 1, "0\n", "/srv/file", OTHER);
    let state = agent.observe(&files.view()).unwrap();
    assert_eq!(common::testing::words(&agent.start(&files.view(), &state).unwrap()).len(), 2);
}

#[test]
fn a_start_changes_nothing_where_it_cannot_go_well() {
    let files = machine();
    let agent = agent();
    let state = agent.observe(&files.view()).unwrap();
    serve(&files, 2, "1\n", "/srv/other", UUID);
    let refused = agent.start(&files.view(), &state).unwrap_err();
    assert!(refused.to_string().starts_with("namespace 2 of "), "{refused:#}");
    std::fs::remove_file(files.at("/srv/file")).unwrap();
    let refused = agent.start(&files.view(), &state).unwrap_err();
    assert!(refused.to_string().starts_with("there is no /srv/file"), "{refused:#}");
    files.dir("/srv/file");
    let refused = agent.start(&files.view(), &state).unwrap_err();
    assert!(refused.to_string().contains("is a directory"), "{refused:#}");
    std::fs::remove_dir(files.at("/srv/file")).unwrap();
    files.file("/srv/file", "x");
    std::fs::remove_dir_all(files.at(&subsystem(NQN))).unwrap();
    let refused = agent.start(&files.view(), &state).unwrap_err();
    assert!(refused.to_string().contains("start its nvmet-subsystem first"), "{refused:#}");
}
