//! Filesystem where something is in the way that wants to do harm, or does not
//! answer.

use crate::harness::{Call, Case, Cases, Machine, Outcome};
use std::time::Duration;

const DATA: &str = "/srv/data";

/// A mount whose server can be paused.
const REMOTE: &str = "/srv/remote";

/// What an action may take where somebody does not answer.
const PATIENCE: Duration = Duration::from_secs(6);

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, run: fn(&Machine)| {
        cases.push(Case::new(format!("Filesystem: {name}"), run).needs(&["mkfs.ext4"]));
    };
    add("every verb ends and names what does not answer above the mount", silence_above_is_named);
    add("a mount that a wiped /run forgets is found where nobody answers", silence_without_record);
    add("what is not mounted is stopped, whoever does not answer", silence_is_no_doubt);
    add("an image that cannot be looked for is no missing image", silence_before_the_image);
    add("a bind whose source does not answer is watched and stopped", silence_of_the_source);
}

fn given(machine: &Machine, device: &str, directory: &str) -> Call {
    let parameters = [("device", device), ("directory", directory), ("fstype", "ext4")];
    machine.agent("Filesystem").with(&parameters).timeout(PATIENCE)
}

/// Ended with 1, in time, and said who does not answer.
#[track_caller]
fn blames(outcome: Outcome) {
    let outcome = outcome.exits(1).because("remote").because("on /srv/remote does not answer");
    assert!(outcome.took < PATIENCE, "{outcome:?}");
}

fn silence_above_is_named(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let remote = machine.remote(REMOTE);
    let directory = remote.mkdir("data");
    let agent = given(machine, disk.path(), directory.to_str().unwrap());
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    remote.pause();
    blames(agent.action("monitor"));
    blames(agent.clone().depth("20").action("monitor"));
    blames(agent.probe());
    blames(agent.action("start"));
    blames(agent.action("stop"));
    agent.action("validate-all").exits(0);
    let words = [disk.path(), directory.to_str().unwrap(), "ext4", "status", "--timeout", "6"];
    let status = agent.by_hand(&words);
    assert!(status.stdout.contains("running") && status.took < PATIENCE, "{status:?}");
    assert_eq!(machine.mounts_at(&directory).len(), 1);
    remote.resume();
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(&directory).is_empty());
}

fn silence_without_record(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let remote = machine.remote(REMOTE);
    let directory = remote.mkdir("data");
    let agent = given(machine, disk.path(), directory.to_str().unwrap());
    agent.action("start").exits(0);
    std::fs::remove_dir_all("/run/resource-agents").unwrap();
    remote.pause();
    blames(agent.action("monitor"));
    blames(agent.action("stop"));
    remote.resume();
    agent.action("stop").exits(0);
}

fn silence_is_no_doubt(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let remote = machine.remote(REMOTE);
    remote.mkdir("data");
    remote.pause();
    for directory in ["/srv/remote/data", "/srv/remote/data/deep"] {
        let agent = given(machine, disk.path(), directory);
        for outcome in [agent.probe(), agent.action("monitor")] {
            let outcome = outcome.exits(7);
            assert!(outcome.took < PATIENCE, "{outcome:?}");
        }
        let stopped = agent.action("stop").exits(0);
        assert!(stopped.took < PATIENCE, "{stopped:?}");
        blames(agent.action("start"));
    }
    remote.resume();
}

fn silence_before_the_image(machine: &Machine) {
    let remote = machine.remote(REMOTE);
    machine.image("/run/remote/disk", "ext4");
    let agent = given(machine, "/srv/remote/disk", DATA).set("options", "loop");
    remote.pause();
    agent.probe().exits(7);
    blames(agent.action("start"));
    agent.action("stop").exits(0);
    remote.resume();
}

fn silence_of_the_source(machine: &Machine) {
    let remote = machine.remote(REMOTE);
    let source = remote.mkdir("source");
    let agent = given(machine, source.to_str().unwrap(), DATA);
    let agent = agent.set("fstype", "none").set("options", "bind");
    agent.action("start").exits(0);
    remote.pause();
    agent.action("monitor").exits(0);
    let deep = agent.clone().depth("10").action("monitor").exits(1).because("no answer");
    assert!(deep.took < PATIENCE, "{deep:?}");
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
    agent.probe().exits(7);
    blames(agent.action("start"));
    remote.resume();
}
