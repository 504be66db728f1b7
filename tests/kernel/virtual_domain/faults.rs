//! The daemon gone, the configuration gone, the guest gone, paused, or stuck.

use super::{Add, agent, wait_until, with_guest};
use crate::harness::{Machine, Software, logged};
use std::time::{Duration, Instant};

pub(super) fn cases(add: &mut Add<'_>) {
    add("a guest runs on without the daemon, and is ended without it", without_daemon);
    add("a stop waits for a daemon that is started anew, and asks the guest", daemon_anew);
    add("a guest that boots while it is asked to shut down is asked again", booting);
    add("a daemon that stands still holds up no monitor and no stop", stuck_daemon);
    add("a daemon that is killed during a start or a stop is no reason for a lie", killed_daemon);
    add("a start that libvirt holds for ever is named, with the way out", endless_start);
    add("a guest is found and ended without its configuration", without_config);
    add("a definition that cannot be read yet is waited for, and is no lack", silent_definition);
    add("a guest that was killed is stopped, and one that stands still has failed", signalled);
    add("a guest that a person has paused is degraded, and is ended", paused);
    add("a guest that an I/O error has paused is told, and resumed once", io_error);
}

/// As on a cluster's file system, until what a lost node has left was put in order.
fn silent_definition(machine: &Machine) {
    let (guest, agent) = with_guest(machine);
    let remote = machine.remote("/srv/shared");
    // Called as no file is: what was looked for before it could be read was another.
    machine.must("mv", &[&guest.config, "/run/remote/definition.xml"]);
    let agent = agent.set("config", "/srv/shared/definition.xml");
    let in_vain = agent.clone().timeout(Duration::from_secs(24));
    remote.pause();
    let began = Instant::now();
    in_vain.action("start").exits(1).because("does not answer");
    assert!(began.elapsed() < Duration::from_secs(24));
    in_vain.action("stop").exits(0);
    let start_meanwhile = || {
        remote.pause();
        let start = agent.spawn("start");
        std::thread::sleep(Duration::from_secs(18));
        remote.resume();
        let start = start.wait(Duration::from_secs(40));
        assert_eq!(start.code, Some(0), "{start}");
    };
    start_meanwhile();
    assert!(machine.guest_is_up("web"));
    // Nobody has noted anything, and it runs under a name that only the file tells.
    forget_records();
    start_meanwhile();
    remote.pause();
    agent.action("monitor").exits(0);
    agent.set("force_stop", "yes").action("stop").exits(0);
    assert!(!machine.guest_runs("web"));
    remote.resume();
}

fn forget_records() {
    for entry in std::fs::read_dir("/run/resource-agents").into_iter().flatten().flatten() {
        std::fs::remove_file(entry.path()).expect("own /run");
    }
}

fn without_daemon(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    agent.action("start").exits(0);
    machine.kill_libvirt();
    agent.action("monitor").exits(0);
    machine.must("mv", &["/run/libvirt", "/run/elsewhere"]);
    agent.action("monitor").exits(0);
    agent.probe().exits(0);
    // Nobody can ask it to shut down: it is not waited for in vain.
    let stop = agent.action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(20), "{}", *stop);
    assert!(logged().contains("nobody can ask it to shut down"), "{}", logged());
    assert!(!machine.guest_runs("web"));
    agent.probe().exits(7);
    agent.action("start").exits(1).because("cannot connect to libvirt");
    machine.must("mv", &["/run/elsewhere", "/run/libvirt"]);
    machine.start_libvirt();
    agent.action("start").exits(0);
    agent.clone().set("force_stop", "1").action("stop").exits(0);
}

fn daemon_anew(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    agent.action("start").exits(0);
    machine.await_boot("web");
    machine.kill_libvirt();
    let stop = agent.spawn("stop");
    std::thread::sleep(Duration::from_secs(1));
    machine.start_libvirt();
    let stop = stop.wait(Duration::from_secs(40));
    assert_eq!(stop.code, Some(0), "{stop}");
    assert!(!logged().contains("destroy"), "{}", logged());
    assert!(!machine.guest_runs("web"));
}

fn booting(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    agent.action("start").exits(0);
    let stop = agent.action("stop").exits(0);
    // It would be destroyed after 27 s.
    assert!(stop.took < Duration::from_secs(25), "{}", *stop);
    assert!(!machine.guest_runs("web"));
}

fn stuck_daemon(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    agent.action("start").exits(0);
    machine.virsh(&["suspend", "web"]);
    machine.must("kill", &["-STOP", &machine.libvirtd()]);
    // What is noted counts where nobody says otherwise.
    let monitor = agent.action("monitor").exits(190).because("somebody has paused it");
    assert!(monitor.took < Duration::from_secs(10), "{}", *monitor);
    let stop = agent.action("stop").exits(0);
    assert!(!machine.guest_runs("web"));
    assert!(stop.took < Duration::from_secs(38), "{}", *stop);
    machine.must("kill", &["-CONT", &machine.libvirtd()]);
    agent.probe().exits(7);
}

fn killed_daemon(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    let agent = agent.set("force_stop", "yes");
    for action in ["start", "stop"] {
        for wait in [0, 20, 60, 150, 300] {
            if action == "stop" {
                agent.action("start").exits(0);
            }
            let running = agent.spawn(action);
            std::thread::sleep(Duration::from_millis(wait));
            machine.kill_libvirt();
            let ended = running.wait(Duration::from_secs(40));
            let runs = machine.guest_runs("web");
            match (action, ended.code) {
                ("start", Some(0)) => assert!(runs, "{wait} ms: {ended}"),
                ("stop", Some(0)) => assert!(!runs, "{wait} ms: {ended}"),
                (_, Some(1)) => {}
                _ => panic!("{action}, {wait} ms: {ended}"),
            }
            // A process that is ending still has its disks, and a probe says so.
            let mut told = agent.probe();
            wait_until("it has ended", || {
                told = agent.probe();
                !told.exit_reason().is_some_and(|why| why.contains(" is ending"))
            });
            assert_eq!(
                told.code,
                Some(if machine.guest_runs("web") { 0 } else { 7 }),
                "{action}, {wait} ms: {}",
                *told
            );
            machine.start_libvirt();
            agent.action("stop").exits(0);
            assert!(!machine.guest_runs("web"));
            if is_noted_without_process() {
                forget_start(machine);
            }
        }
    }
}

/// Where libvirt notes what the guest does.
const NOTED: &str = "/run/libvirt/qemu/web.xml";

fn noted() -> Option<String> {
    std::fs::read_to_string(NOTED).ok().filter(|noted| noted.contains(" pid='"))
}

/// Whether the daemon has noted the guest, and no process of it: so it does
/// early in a start, and a daemon that is killed then leaves it so.
fn is_noted_without_process() -> bool {
    noted().is_some_and(|noted| noted.contains(" pid='0'"))
}

/// The way out of such a start that the agent tells.
fn forget_start(machine: &Machine) {
    machine.kill_libvirt();
    machine.must("rm", &[NOTED]);
    machine.start_libvirt();
}

fn endless_start(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    let agent = agent.set("force_stop", "yes");
    // The moment is short: it is tried until one is met.
    let is_caught = (0..20).any(|_| {
        let running = agent.spawn("start");
        let end = Instant::now() + Duration::from_secs(10);
        while noted().is_none() && Instant::now() < end {
            std::hint::spin_loop();
        }
        machine.kill_libvirt();
        running.wait(Duration::from_secs(40));
        let is_caught = is_noted_without_process();
        machine.start_libvirt();
        agent.action("stop").exits(0);
        is_caught
    });
    assert!(is_caught, "no start was met at that moment");
    let hasty = agent.clone().timeout(Duration::from_secs(10));
    let start = hasty
        .action("start")
        .exits(1)
        .because("web has ended, found that it takes it for starting");
    let way_out = format!("stop the daemon, remove {NOTED}, start the daemon");
    assert!(start.exit_reason().is_some_and(|why| why.ends_with(&way_out)), "{}", *start);
    agent.probe().exits(7);
    forget_start(machine);
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
}

fn without_config(machine: &Machine) {
    let (guest, agent) = with_guest(machine);
    let other = machine.guest("other", Software::Sleeper);
    machine.virsh(&["create", &other.config]);
    let agent = agent.set("force_stop", "yes");
    let text = std::fs::read_to_string(&guest.config).expect("it was made");
    for forget in [false, true] {
        machine.file(&guest.config, &text);
        agent.action("start").exits(0);
        machine.must("rm", &[&guest.config]);
        if forget {
            machine.must("find", &["/run/resource-agents", "-type", "f", "-delete"]);
        }
        agent.action("monitor").exits(0);
        agent.probe().exits(0);
        agent.action("stop").exits(0);
        assert!(!machine.guest_runs("web"), "forgotten: {forget}");
        agent.probe().exits(7);
        agent.action("stop").exits(0);
    }
    assert!(machine.guest_runs("other"));
    // Another definition by now: what runs is what was started.
    machine.file(&guest.config, &text);
    agent.action("start").exits(0);
    machine.file(&guest.config, &text.replace("<name>web</name>", "<name>new</name>"));
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(!machine.guest_runs("web"));
}

fn signalled(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    agent.action("start").exits(0);
    let pid = machine.guest_pids("web").swap_remove(0);
    machine.must("kill", &["-KILL", &pid]);
    machine.await_end(&pid);
    agent.action("monitor").exits(7);
    agent.action("start").exits(0);
    let pid = machine.guest_pids("web").swap_remove(0);
    machine.must("kill", &["-STOP", &pid]);
    // Each of its threads has to come to it.
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    wait_until("it stands still", || stat().contains(") T "));
    agent.action("monitor").exits(1).because("web: its process was stopped by a signal");
    agent.action("start").exits(1).because("it has to be stopped first");
    agent.action("stop").exits(0);
    assert!(!machine.guest_runs("web"));
}

fn paused(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    agent.action("start").exits(0);
    machine.virsh(&["suspend", "web"]);
    agent.action("monitor").exits(190).because("web: somebody has paused it");
    let status = agent.by_hand(&["/srv/web.xml", "status"]).exits(0);
    assert!(status.stdout.starts_with("running"), "{}", *status);
    // The daemon was down while it went on.
    let stop = agent.action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(20), "one that is paused hears nothing: {}", *stop);
    assert!(!machine.guest_runs("web"));
}

/// The disk is a file on a file system that is full soon.
fn io_error(machine: &Machine) {
    machine.libvirt();
    let guest = machine.guest("web", Software::Writer);
    machine.fill_up("web");
    let agent = agent(machine, &guest).set("force_stop", "yes");
    agent.action("start").exits(0);
    let is_paused = || machine.virsh(&["domstate", "web", "--reason"]).contains("I/O error");
    wait_until("an I/O error has paused it", is_paused);
    let because = "web: it is paused by an I/O error of a disk";
    agent.action("monitor").exits(1).because(because);
    agent.probe().exits(1).because(because);
    agent.clone().set("on_io_error", "degraded").action("monitor").exits(190).because(because);
    // The disk reads, and is full: it goes on, and is paused once more.
    let resuming = agent.set("on_io_error", "resume");
    resuming.action("monitor").exits(190).because("is resumed when they read");
    wait_until("it is paused once more", is_paused);
    resuming.action("monitor").exits(1).because("once more");
    resuming.action("stop").exits(0);
    // With room by then, it goes on.
    resuming.action("start").exits(0);
    wait_until("an I/O error has paused it", is_paused);
    machine.must("mount", &["-o", "remount,size=4m", "/srv/small"]);
    resuming.action("monitor").exits(190);
    resuming.action("monitor").exits(0);
    resuming.action("stop").exits(0);
    resuming.probe().exits(7);
}
