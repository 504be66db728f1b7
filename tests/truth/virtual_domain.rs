//! VirtualDomain, with libvirt's daemon and a guest of qemu's, emulated: the
//! kernel has its process.

use crate::harness::{LIBVIRT, Machine, Software};
use crate::suite::{Resource, Scene, Seen, Suite, scene, wait_for};
use std::time::Duration;

pub fn scenes() -> Vec<Scene> {
    let of = |sentence, run| Scene { needs: LIBVIRT, ..scene(sentence, run) };
    vec![
        of("VirtualDomain: a stop without the configuration ends the guest", without_config),
        of("VirtualDomain: a stop without libvirt's daemon ends the guest", without_daemon),
        of("VirtualDomain: a stop ends in its time where libvirt's daemon stands still", stuck),
        of("VirtualDomain: a guest that an I/O error of its disk has paused is told", io_error),
        of("VirtualDomain: a guest that a person has paused is told", paused),
        of("VirtualDomain: a guest whose process a signal has stopped is not well", signalled),
        of(
            "VirtualDomain: a guest is found by what was started where its file names another",
            renamed,
        ),
    ]
}

/// A guest of this kind, and what keeps it.
fn resource(machine: &Machine, suite: Suite, software: Software) -> Resource {
    machine.libvirt();
    machine.guest("web", software);
    // The shell agent keeps a note there; systemd makes it at boot.
    machine.must("mkdir", &["-p", "/run/resource-agents"]);
    let resource = suite.agent(machine, "VirtualDomain").set("config", "/srv/web.xml");
    let figures = ["cpu", "host_memory", "hv_memory"].map(|of| format!("autoset_utilization_{of}"));
    let resource = figures.iter().fold(resource, |all, figure| all.set(figure, "false"));
    resource.set("hypervisor", "qemu:///system").set("force_stop", "true").within(30)
}

fn started(machine: &Machine, suite: Suite) -> Result<Resource, crate::suite::Fell> {
    let resource = resource(machine, suite, Software::Sleeper);
    resource.started()?;
    Ok(resource)
}

fn without_config(machine: &Machine, suite: Suite) -> Seen {
    let resource = started(machine, suite)?;
    machine.must("rm", &["/srv/web.xml"]);
    resource.stops(|| machine.guest_runs("web"), "it runs on")
}

fn without_daemon(machine: &Machine, suite: Suite) -> Seen {
    let resource = started(machine, suite)?;
    machine.kill_libvirt();
    let monitor = resource.monitor();
    resource.claim(monitor.code == Some(0), "")?;
    resource.stops(|| machine.guest_runs("web"), "it runs on")
}

fn stuck(machine: &Machine, suite: Suite) -> Seen {
    let resource = started(machine, suite)?;
    let daemon = machine.libvirtd();
    machine.must("kill", &["-STOP", &daemon]);
    let seen = resource.stops(|| machine.guest_runs("web"), "it runs on");
    machine.must("kill", &["-CONT", &daemon]);
    seen
}

fn io_error(machine: &Machine, suite: Suite) -> Seen {
    let resource = resource(machine, suite, Software::Writer);
    machine.fill_up("web");
    resource.started()?;
    let is_paused = || machine.virsh(&["domstate", "web", "--reason"]).contains("I/O error");
    assert!(wait_for(Duration::from_secs(30), is_paused), "no I/O error has paused it");
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(0), "")
}

fn paused(machine: &Machine, suite: Suite) -> Seen {
    let resource = started(machine, suite)?;
    machine.virsh(&["suspend", "web"]);
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(0), "")
}

fn signalled(machine: &Machine, suite: Suite) -> Seen {
    let resource = started(machine, suite)?;
    let pid = machine.guest_pids("web").swap_remove(0);
    machine.must("kill", &["-STOP", &pid]);
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(wait_for(Duration::from_secs(10), || stat().contains(") T ")), "it does not stand");
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(0), "")
}

fn renamed(machine: &Machine, suite: Suite) -> Seen {
    let resource = started(machine, suite)?;
    let text = std::fs::read_to_string("/srv/web.xml").unwrap();
    machine.file("/srv/web.xml", &text.replace("<name>web</name>", "<name>new</name>"));
    resource.stops(|| machine.guest_runs("web"), "it runs on")
}
