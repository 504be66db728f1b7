//! Filesystem where something is in the way that wants to do harm, or does not
//! answer.

use crate::harness::{Call, Case, Cases, Machine, Outcome};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

const DATA: &str = "/srv/data";

/// Where the monitor of depth 20 writes, and what it is called.
const STATUS: &str = "/srv/data/.Filesystem_status";
const STATUS_FILE: &str = "test_node1";

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
    add("a record that cannot be read is no proof that nothing is mounted", damaged_record);
    add("no part of a password is in any process's words or in the trace", passwords_are_hidden);
    add("a link in the place of the status file's directory is not followed", link_is_refused);
    add("a link in the place of the status file is not followed", file_link_is_refused);
    add("a second name of another file is not written to", hard_link_is_refused);
    add("a status file is not written to another mount", other_mount_is_refused);
    add("a link beside the mount point is no place to move the mount to", no_move_by_a_link);
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

/// The directory is renamed and the device's name is gone: the record alone tells
/// which mount it is.
fn damaged_record(machine: &Machine) {
    let disk = machine.formatted("ext4");
    machine.must("mkdir", &["-p", "/srv/top/data"]);
    machine.must("ln", &["-s", disk.path(), "/srv/disk"]);
    let agent = given(machine, "/srv/disk", "/srv/top/data");
    agent.action("start").exits(0);
    machine.must("mv", &["/srv/top", "/srv/moved"]);
    machine.must("rm", &["/srv/disk"]);
    let damage = "for file in /run/resource-agents/*.state; do echo x >$file; done";
    machine.must("sh", &["-c", damage]);
    agent.probe().exits(1).because("is damaged").because("/srv/moved/data");
    for action in ["monitor", "stop"] {
        agent.action(action).exits(1).because("is damaged");
    }
    assert_eq!(machine.mounts_at(Path::new("/srv/moved/data")).len(), 1);
    // Where the directory leads to it, it is found, and the record is written anew.
    machine.must("mv", &["/srv/moved", "/srv/top"]);
    agent.action("monitor").exits(0);
    machine.must("mv", &["/srv/top", "/srv/moved"]);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(Path::new("/srv/moved/data")).is_empty());
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

/// Started, and something of root's elsewhere that nobody may touch.
fn started(machine: &Machine) -> Call {
    let disk = machine.formatted("ext4");
    let agent = given(machine, disk.path(), DATA);
    machine.keep(disk);
    agent.action("start").exits(0);
    machine.file(Path::new("/srv/precious").join(STATUS_FILE), "precious");
    agent
}

/// Neither written to nor removed, by a monitor of depth 20 nor by the stop
/// after it.
#[track_caller]
fn is_refused(machine: &Machine, agent: &Call, why: &str, precious: &str) {
    agent.clone().depth("20").action("monitor").exits(1).because(why);
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "precious");
    agent.clone().depth("10").action("monitor").exits(0);
    if precious.starts_with(DATA) {
        machine.must("mkdir", &["/srv/copy"]);
        machine.must("cp", &["-a", "/srv/data/.", "/srv/copy"]);
    }
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
    let precious = precious.replace(DATA, "/srv/copy");
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "precious");
}

fn link_is_refused(machine: &Machine) {
    let agent = started(machine);
    // The one that stop is to remove.
    agent.clone().depth("20").action("monitor").exits(0);
    std::fs::remove_dir_all(STATUS).unwrap();
    symlink("/srv/precious", STATUS).unwrap();
    is_refused(machine, &agent, "is a link or a file", "/srv/precious/test_node1");
}

fn file_link_is_refused(machine: &Machine) {
    let agent = started(machine);
    std::fs::create_dir(STATUS).unwrap();
    symlink("/srv/precious/test_node1", Path::new(STATUS).join(STATUS_FILE)).unwrap();
    is_refused(machine, &agent, "is no regular file", "/srv/precious/test_node1");
}

fn hard_link_is_refused(machine: &Machine) {
    let agent = started(machine);
    std::fs::create_dir(STATUS).unwrap();
    std::fs::write("/srv/data/precious", "precious").unwrap();
    std::fs::hard_link("/srv/data/precious", Path::new(STATUS).join(STATUS_FILE)).unwrap();
    is_refused(machine, &agent, "one of several names", "/srv/data/precious");
}

fn other_mount_is_refused(machine: &Machine) {
    let agent = started(machine);
    std::fs::create_dir(STATUS).unwrap();
    machine.must("mount", &["--bind", "/srv/precious", STATUS]);
    is_refused(machine, &agent, "is another mount", "/srv/precious/test_node1");
}

fn no_move_by_a_link(machine: &Machine) {
    let agent = started(machine).set("force_unmount", "false,move");
    std::fs::create_dir("/srv/elsewhere").unwrap();
    symlink("/srv/elsewhere", "/srv/.data").unwrap();
    let held = std::fs::File::open(DATA).unwrap();
    agent.action("stop").exits(1);
    assert!(machine.mounts_at("/srv/elsewhere").is_empty());
    assert_eq!(machine.mounts_at(DATA).len(), 1);
    drop(held);
    agent.action("stop").exits(0);
    assert!(machine.mounts_at(DATA).is_empty());
}

fn passwords_are_hidden(machine: &Machine) {
    machine.pretend_proc("filesystems", "nodev\tcifs\n");
    // mount(8) knows its helpers by their place, and hands its own words on.
    let helper = "#!/bin/sh\necho \"$@\" >/srv/words\n\
                  echo \"$PASSWD $PASSWD2\" >/srv/passwords\nexit 32\n";
    machine.file("/sbin/mount.cifs", helper);
    machine.must("chmod", &["755", "/sbin/mount.cifs"]);
    for written in ["nut,,crack", "nut,crack", "\"nut,crack\""] {
        let options = format!("user=a,password={written},password2=wal,,nut,noserverino");
        let agent = given(machine, "//nas/x", DATA).set("fstype", "cifs").set("options", options);
        let traced = agent.env("OCF_TRACE_RA", "1").env("OCF_TRACE_FILE", "/srv/trace");
        traced.action("start").exits(1);
        assert_eq!(std::fs::read_to_string("/srv/passwords").unwrap(), "nut,crack wal,nut\n");
        let words = std::fs::read_to_string("/srv/words").unwrap();
        assert!(words.contains("user=a") && words.contains("noserverino"), "{words}");
        for seen in [words, std::fs::read_to_string("/srv/trace").unwrap()] {
            let hidden = ["nut", "crack", "wal,"].iter().all(|part| !seen.contains(part));
            assert!(hidden, "{seen}");
        }
    }
}
