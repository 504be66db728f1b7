//! VirtualDomain, with libvirt's daemon and a guest of qemu's, emulated.

use crate::harness::{Machine, Software};
use crate::pair::{Pair, Sight};

const LIFE: &[&str] =
    &["validate-all", "probe", "start", "monitor", "start", "stop", "probe", "stop"];

/// A guest that hears that it is to shut down.
fn with_guest(machine: &Machine) -> Vec<(String, String)> {
    machine.libvirt();
    machine.guest("web", Software::Sleeper);
    machine.must("mkdir", &["-p", "/run/resource-agents", "/srv/memory"]);
    Vec::new()
}

/// Nothing of the kernel's state is left out: none of it begins so.
const SIGHT: Sight = Sight {
    instead_of: "guest ",
    see: |machine| if machine.guest_runs("web") { "up".into() } else { "gone".into() },
};

/// Waits until the guest's software hears.
const BOOTED: &str = "! for n in $(seq 300); do grep -q u /srv/web.serial && exit; sleep 0.1; done";

/// Ends the guest's process, as the kernel does where memory is short.
const KILLED: &str = "! pkill -KILL -f '^[^ ]*qemu-system-x86_64 -name guest=web,'; \
    while pgrep -f '^[^ ]*qemu-system-x86_64 -name guest=web,'; do sleep 0.1; done; \
    while virsh -c qemu:///system domstate web; do sleep 0.1; done";

pub(super) fn pairs() -> Vec<Pair> {
    // Nobody is there who could be told what the guest takes.
    const SPARE: &[(&str, &str)] = &[
        ("autoset_utilization_cpu", "false"),
        ("autoset_utilization_host_memory", "false"),
        ("autoset_utilization_hv_memory", "false"),
        ("hypervisor", "qemu:///system"),
    ];
    let bare = |name: &str| {
        let pair = Pair::new(format!("VirtualDomain/{name}"), "VirtualDomain", "VirtualDomain");
        pair.scene(with_guest).sight(SIGHT).with(SPARE)
    };
    let pair = |name: &str, given: &[(&str, &str)], steps: &[&str]| {
        let given = match given.iter().any(|(name, _)| *name == "config") {
            true => given.to_vec(),
            false => [&[("config", "/srv/web.xml")], given].concat(),
        };
        bare(name).with(&given).steps(steps)
    };
    let force = [("force_stop", "true")];
    vec![
        pair("destroyed at a stop", &force, LIFE),
        pair("asked to shut down", &[], &["start", BOOTED, "stop", "probe"]),
        pair("memory saved", &[("snapshot", "/srv/memory")], &["start", BOOTED, "stop", "start"]),
        pair(
            "defined before",
            &force,
            &["! virsh -c qemu:///system define /srv/web.xml", "probe", "start", "stop", "probe"],
        ),
        pair("killed by the kernel", &force, &["start", KILLED, "monitor", "start", "stop"]),
        pair(
            "paused by a person",
            &force,
            &["start", "! virsh -c qemu:///system suspend web", "monitor", "stop"],
        ),
        pair(
            "the file is gone",
            &force,
            &["start", "! rm /srv/web.xml", "monitor", "probe", "stop"],
        ),
        pair("no file", &[("config", "/srv/no.xml")], LIFE),
        pair("no definition", &[("config", "/etc/hostname")], LIFE),
        bare("no config").steps(LIFE),
        pair(
            "force_stop and snapshot",
            &[("force_stop", "true"), ("snapshot", "/srv/memory")],
            LIFE,
        ),
        pair("stateless alone", &[("stateless", "true")], LIFE),
    ]
}
