//! exportfs, on a kernel without an NFS server: who is given what, by the table
//! of exports.

use crate::harness::Machine;
use crate::pair::Pair;

const LIFE: &[&str] =
    &["validate-all", "probe", "start", "monitor", "start", "stop", "probe", "stop"];

fn directories(machine: &Machine) -> Vec<(String, String)> {
    // The shell agent keeps a note there; systemd makes it at boot.
    machine.must("mkdir", &["-p", "/srv/a", "/srv/ab", "/run/resource-agents"]);
    machine.file("/var/lib/nfs/etab", "");
    Vec::new()
}

pub(super) fn pairs() -> Vec<Pair> {
    let pair = |name: &str, given: &[(&str, &str)]| {
        let pair = Pair::new(format!("exportfs/{name}"), "exportfs", "exportfs");
        pair.scene(directories).with(given).steps(LIFE)
    };
    let to = |client| [("directory", "/srv/a"), ("clientspec", client), ("fsid", "17")];
    let mut pairs = vec![
        pair("one network", &to("10.0.0.0/24")),
        pair("one address", &to("10.0.0.5")),
        pair("everybody", &to("*")),
        pair("a group", &to("@lan")),
        pair("IPv6", &to("fd00::5")),
        pair("with options", &to("10.0.0.0/24")).with(&[("options", "rw,no_root_squash")]),
        pair("no fsid", &[("directory", "/srv/a"), ("clientspec", "10.0.0.0/24")]),
        pair("no client", &[("directory", "/srv/a"), ("fsid", "17")]),
        pair("no directory", &[("clientspec", "10.0.0.0/24"), ("fsid", "17")]),
        pair("a directory that is not there", &to("10.0.0.0/24")).with(&[("directory", "/srv/no")]),
        pair("an option that nobody knows", &to("10.0.0.0/24")).with(&[("options", "rw,nope")]),
    ];
    let shared = pair("a neighbour whose name begins alike", &to("10.0.0.0/24"));
    let other = "! exportfs -o fsid=18 10.0.0.0/24:/srv/ab";
    pairs.push(shared.steps(&[other, "probe", "start", "monitor", "stop", "probe"]));
    let gone = pair("somebody has taken it back", &to("10.0.0.0/24"));
    let taken = "! exportfs -u 10.0.0.0/24:/srv/a";
    pairs.push(gone.steps(&["start", taken, "monitor", "probe", "start", "monitor", "stop"]));
    pairs
}
