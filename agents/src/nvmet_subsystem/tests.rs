#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use common::host::nvmet::{ROOT, namespace, port, subsystem};
use common::testing::Files;
use ocf_meta::{Given, Reading};

const NQN: &str = "nqn.2014-08.com.example:one";
const OTHER: &str = "nqn.2014-08.com.example:other";

fn agent(given: &[(&'static str, &str)]) -> NvmetSubsystem {
    let mut all = Given::default();
    all.set("nqn", NQN);
    given.iter().for_each(|(name, value)| all.set(*name, *value));
    let params = NvmetSubsystemParams::read(&mut Reading::strict(&all)).unwrap();
    NvmetSubsystem::new(params, &Request::plain("p")).unwrap()
}

/// A machine that looks as one with nvmet does, with these subsystems for
/// everyone.
fn machine(names: &[&str]) -> Files {
    let files = Files::new();
    files.dir("/sys/module/nvmet").dir("/proc/self");
    for name in ["hosts", "ports", "subsystems"] {
        files.dir(&format!("{ROOT}/{name}"));
    }
    for name in names {
        let place = subsystem(name);
        files.dir(&format!("{place}/namespaces")).dir(&format!("{place}/allowed_hosts"));
        files.file(&format!("{place}/attr_allow_any_host"), "1\n");
        files.file(&format!("{place}/attr_serial"), "abc                 \n");
        files.file(&format!("{place}/attr_model"), "Linux\n");
    }
    files
}

fn status(files: &Files, agent: &NvmetSubsystem) -> String {
    agent.status(&agent.observe(&files.view()).unwrap()).to_string()
}

fn admit(files: &Files, host: &str) {
    files.file(&format!("{}/attr_allow_any_host", subsystem(NQN)), "0\n");
    files.link(&format!("{}/allowed_hosts/{host}", subsystem(NQN)), format!("{ROOT}/hosts/{host}"));
}

#[test]
fn another_subsystem_is_not_ours() {
    let files = machine(&[OTHER]);
    let agent = agent(&[]);
    assert_eq!(status(&files, &agent), "stopped");
    let state = agent.observe(&files.view()).unwrap();
    assert!(agent.stop(&files.view(), &state).unwrap().is_empty());
}

/// The shell agent finds a directory, and is content.
#[test]
fn a_directory_is_not_yet_a_subsystem_that_runs() {
    let files = machine(&[NQN]);
    assert_eq!(status(&files, &agent(&[])), "running");
    assert_eq!(status(&files, &agent(&[("serial", "abc"), ("model", "Linux")])), "running");
    let told = status(&files, &agent(&[("serial", "def")]));
    assert_eq!(told, format!("failed: {NQN} has serial abc, and not def"));
    let told = status(&files, &agent(&[("allowed_initiators", "a b")]));
    assert_eq!(told, format!("failed: {NQN} admits everyone, though allowed_initiators is set"));
    admit(&files, "a");
    let told = status(&files, &agent(&[("allowed_initiators", "a b")]));
    assert_eq!(told, format!("failed: {NQN} does not admit b"));
    assert!(status(&files, &agent(&[])).starts_with("failed: "));
    admit(&files, "b");
    assert_eq!(status(&files, &agent(&[("allowed_initiators", " b  a ")])), "running");
    let told = status(&files, &agent(&[("allowed_initiators", "a")]));
    assert_eq!(told, format!("degraded: {NQN} admits b besides those in allowed_initiators"));
}

#[test]
fn a_stop_takes_along_what_is_in_the_subsystem_and_nothing_else() {
    let files = machine(&[NQN, OTHER]);
    for (id, shown) in [(1, vec![NQN, OTHER]), (2, vec![OTHER])] {
        for name in ["trtype", "adrfam", "traddr", "trsvcid"] {
            files.file(&format!("{}/addr_{name}", port(id)), "\n");
        }
        for nqn in shown {
            files.link(&format!("{}/subsystems/{nqn}", port(id)), subsystem(nqn));
        }
    }
    files.file(&format!("{}/enable", namespace(NQN, 7)), "1\n");
    files.file(&format!("{}/enable", namespace(OTHER, 8)), "1\n");
    let agent = agent(&[]);
    let state = agent.observe(&files.view()).unwrap();
    let plan = agent.stop(&files.view(), &state).unwrap();
    let words = common::testing::words(&plan);
    assert!(words[0].starts_with("show it no longer at "), "{words:?}");
    assert_eq!(words[1], "close and remove namespace 7");
    assert_eq!(words[2], format!("remove subsystem {NQN}"));
    assert_eq!(words.len(), 4, "{words:?}");
}

#[test]
fn a_client_that_a_start_has_left_is_removed_though_the_subsystem_is_gone() {
    let files = machine(&[OTHER]);
    let agent = agent(&[("allowed_initiators", "a")]);
    files.dir(&format!("{ROOT}/hosts/a")).dir(&format!("{ROOT}/hosts/b"));
    files.file("/run/resource-agents/nvmet-host.a", NQN);
    let state = agent.observe(&files.view()).unwrap();
    let plan = agent.stop(&files.view(), &state).unwrap();
    common::testing::carry_out(&files.view(), plan).unwrap();
    assert!(!files.at(&format!("{ROOT}/hosts/a")).exists());
    // Nobody of us has made that one.
    assert!(files.at(&format!("{ROOT}/hosts/b")).exists());
}

#[test]
fn a_start_says_what_it_is_before_it_admits_anyone() {
    let files = machine(&[]);
    let agent = agent(&[("serial", "abc"), ("allowed_initiators", "a b")]);
    let state = agent.observe(&files.view()).unwrap();
    let words = common::testing::words(&agent.start(&files.view(), &state).unwrap());
    let wanted = [
        "load the kernel's NVMe target",
        &format!("make subsystem {NQN}"),
        "set its serial to abc",
        "admit a, b",
    ];
    assert_eq!(words, wanted);
}
