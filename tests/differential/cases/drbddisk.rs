//! drbddisk, over a pretended DRBD: `/proc/drbd` as 8.4 has it, and a `drbdadm`
//! that changes it.

use crate::harness::Machine;
use crate::pair::{Pair, Scene};

/// What heartbeat does with a resource of its own, and twice.
const LIFE: &[&str] = &["status", "start", "status", "start", "stop", "status", "stop"];

/// Keeps the role in a file that the transcript shows, writes `/proc/drbd` as
/// the kernel would, and refuses as often as it is told to.
const DRBDADM: &str = r#"#!/bin/sh
cd /run/witness
name=$2
known() { [ "$name" = all ] || [ -f "minor-$name" ]; }
known || { echo "'$name' not defined in your config (for this host)." >&2; exit 10; }
case $1 in
sh-minor) cat "minor-$name" ;;
sh-dev) echo "/dev/drbd$(cat "minor-$name")" ;;
role)
    [ -f /run/says ] && { cat /run/says; exit 0; }
    [ -f role ] || { echo "Unconfigured"; exit 0; }
    echo "$(cat role)/Secondary" ;;
primary | secondary)
    [ -f role ] || { echo "$name: Failure: (127) Device minor not allocated" >&2; exit 10; }
    if [ -s /run/refusals ] && [ "$(cat /run/refusals)" -gt 0 ]; then
        echo $(($(cat /run/refusals) - 1)) > /run/refusals
        echo "0: State change failed: (-12) Device is held open by someone" >&2
        exit 11
    fi
    case $1 in primary) echo Primary ;; *) echo Secondary ;; esac > role
    /run/write-proc ;;
esac
"#;

/// Writes `/proc/drbd` for the role that is in the file.
const WRITE_PROC: &str = r#"#!/bin/sh
role=$(cat /run/witness/role)
sed "s/ROLE/$role/" /run/proc-drbd > /proc/drbd
"#;

const CONFIG: &str = "
global { usage-count no; }
resource NAME {
  protocol C;
  on node1 { device /dev/drbd0; disk /dev/loop0; address 10.0.0.1:7788; meta-disk internal; }
  on node2 { device /dev/drbd0; disk /dev/loop0; address 10.0.0.2:7788; meta-disk internal; }
}
";

const PROC: &str = "version: 8.4.11 (api:1/proto:86-101)
srcversion: F73C670A7EC572DB9CF3E5B 
 0: cs:Connected ro:ROLE/Secondary ds:UpToDate/UpToDate C r-----
    ns:0 nr:0 dw:0 dr:664 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
";

fn drbd(machine: &Machine, proc: Option<&str>, name: &str, role: Option<&str>) {
    machine.file("/run/witness/minor-".to_owned() + name, "0\n");
    machine.file("/etc/drbd.conf", &CONFIG.replace("NAME", name));
    machine.script("drbdadm", DRBDADM);
    // The stock script calls it by its whole path.
    machine.must("cp", &["/usr/local/sbin/drbdadm", "/usr/sbin/drbdadm"]);
    machine.script("write-proc", WRITE_PROC);
    machine.must("mv", &["/usr/local/sbin/write-proc", "/run/write-proc"]);
    if let Some(proc) = proc {
        machine.file("/run/proc-drbd", proc);
        machine.pretend_proc("drbd", &proc.replace("ROLE", role.unwrap_or("Secondary")));
    }
    if let Some(role) = role {
        machine.file("/run/witness/role", &format!("{role}\n"));
    }
}

fn r0(machine: &Machine, proc: Option<&str>, role: Option<&str>) -> Vec<(String, String)> {
    drbd(machine, proc, "r0", role);
    Vec::new()
}

pub(super) fn pairs() -> Vec<Pair> {
    [lives(), refusals(), words(), doubts()].concat()
}

fn pair(name: impl AsRef<str>, scene: Scene) -> Pair {
    Pair::new(format!("drbddisk/{}", name.as_ref()), "drbddisk", "drbddisk")
        .scene(scene)
        .words(&["r0"])
        .steps(LIFE)
}

fn lives() -> Vec<Pair> {
    let scenes: &[(&str, Scene)] = &[
        ("8.4, secondary", |machine| r0(machine, Some(PROC), Some("Secondary"))),
        ("8.4, primary", |machine| r0(machine, Some(PROC), Some("Primary"))),
        ("8.4, down", |machine| {
            let down =
                PROC.lines().take(2).collect::<Vec<_>>().join("\n") + "\n 0: cs:Unconfigured\n";
            r0(machine, Some(&down), None)
        }),
        ("no module", |machine| r0(machine, None, None)),
    ];
    scenes.iter().map(|(name, scene)| pair(name, *scene)).collect()
}

/// It is refused this many times before it works.
fn refusals() -> Vec<Pair> {
    let secondary: Scene = |machine| r0(machine, Some(PROC), Some("Secondary"));
    let primary: Scene = |machine| r0(machine, Some(PROC), Some("Primary"));
    let case = |times: u32, action: &str, scene| {
        let line = format!("! echo {times} > /run/refusals");
        let name = format!("{action} refused {times} times");
        pair(name, scene).steps(&[&line, action, "status"])
    };
    let starts = [1, 5, 6].map(|times| case(times, "start", secondary));
    let stops = [1, 2, 3].map(|times| case(times, "stop", primary));
    [starts, stops].concat()
}

fn words() -> Vec<Pair> {
    let secondary: Scene = |machine| r0(machine, Some(PROC), Some("Secondary"));
    let dotted: Scene = |machine| {
        drbd(machine, Some(PROC), "r-1.data", Some("Secondary"));
        Vec::new()
    };
    vec![
        pair("all", secondary).words(&[]).steps(&["start", "stop"]),
        pair("status of all", secondary).words(&[]).steps(&["status"]),
        pair("all by name", secondary).words(&["all"]).steps(&["start", "stop"]),
        pair("status of all by name", secondary).words(&["all"]).steps(&["status"]),
        pair("a name with a dot", dotted).words(&["r-1.data"]),
        pair("unknown resource", secondary).words(&["nobody"]).steps(&["status"]),
        pair("unknown resource, started", secondary).words(&["nobody"]).steps(&["start"]),
        pair("unknown resource, stopped", secondary).words(&["nobody"]).steps(&["stop"]),
        pair("unknown action", secondary).steps(&["bogus"]),
        pair("restart", secondary).steps(&["restart"]),
        pair("monitor", secondary).steps(&["monitor"]),
    ]
}

/// drbdadm and the kernel do not agree, or make no sense.
fn doubts() -> Vec<Pair> {
    let primary: Scene = |machine| r0(machine, Some(PROC), Some("Primary"));
    let secondary: Scene = |machine| r0(machine, Some(PROC), Some("Secondary"));
    let says = |text: &str, name: &str, scene| {
        let line = format!("! printf '{text}' > /run/says");
        pair(format!("drbdadm says {name}"), scene).steps(&[&line, "status"])
    };
    vec![
        says("", "nothing, primary", primary),
        says("", "nothing, secondary", secondary),
        says("Unknown/Unknown\\n", "unknown, primary", primary),
        says("Unknown/Unknown\\n", "unknown, secondary", secondary),
        says("garbage\\n", "garbage, primary", primary),
        says("Primary/Secondary\\nSecondary/Secondary\\n", "two lines", secondary),
        pair("garbage in /proc/drbd", secondary)
            .steps(&["! echo garbage > /proc/drbd; printf '' > /run/says", "status"]),
    ]
}
