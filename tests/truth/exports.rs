//! exportfs: what is exported, by the table, whatever was noted of it; and where
//! the directory lies. nfsserver: what there is of a server that does not run.

use crate::harness::Machine;
use crate::suite::{Resource, Scene, Seen, Suite, scene};
use std::time::Duration;

const TABLE: &str = "/var/lib/nfs/etab";
const LEFT: &str = "it is still exported";

const NEEDS: &[&str] = &["exportfs"];

pub fn scenes() -> Vec<Scene> {
    let of = |sentence, run| Scene { needs: NEEDS, ..scene(sentence, run) };
    vec![
        of(
            "exportfs: a stop takes back what is exported where a note of the start is gone",
            note_is_gone,
        ),
        of(
            "exportfs: where one of two directories is exported no more, it neither runs nor is stopped",
            half_of_it,
        ),
        of(
            "exportfs: of two directories one that is exported no more does not keep a stop from the other",
            one_of_two,
        ),
        of("exportfs: a table that is cut short is no proof that nothing is exported", cut_short),
        of("exportfs: what the table has from before the machine was up does not run", from_before),
        of("exportfs: an empty mount point is not exported", empty_mount_point),
        of(
            "exportfs: a monitor does not go on when the file system has gone from below",
            gone_from_below,
        ),
        of("exportfs: another fsid than was asked for is told", another_fsid),
        of("exportfs: a stop takes nothing from a neighbour who has the same fsid", neighbour),
        of("exportfs: a stop ends in time where no resolver answers", silent_resolver),
        of("exportfs: a network of IPv6 in brackets is seen and taken back", in_brackets),
        of(
            "exportfs: a link that a client has put in the place of the list of clients is not followed",
            planted_link,
        ),
        of("nfsserver: a state directory that is still bound is no clean stop", left_bound),
        of(
            "nfsserver: a stop takes a state directory off that a start has left bound",
            bound_is_taken_off,
        ),
        of(
            "nfsserver: where /sys does not tell of modules, the server is not said to be stopped",
            without_sys,
        ),
    ]
}

fn to(machine: &Machine, suite: Suite, directories: &str, client: &str) -> Resource {
    machine.must("sh", &["-c", &format!("mkdir -p /run/resource-agents {directories}")]);
    for file in [TABLE, "/var/lib/nfs/rmtab"] {
        machine.file(file, "");
    }
    let agent = suite.agent(machine, "exportfs").set("directory", directories);
    agent.set("clientspec", client).set("fsid", "17").set("options", "rw,no_subtree_check")
}

fn is_exported(directory: &str) -> bool {
    let table = std::fs::read_to_string(TABLE).unwrap_or_default();
    table.lines().any(|line| line.split('\t').next() == Some(directory))
}

fn forget(machine: &Machine) {
    machine.must("sh", &["-c", "rm -rf /run/resource-agents/*"]);
}

fn note_is_gone(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/srv/a", "10.0.0.0/24");
    resource.started()?;
    forget(machine);
    resource.stops(|| is_exported("/srv/a"), LEFT)
}

fn half_of_it(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/srv/a /srv/b", "10.0.0.0/24");
    resource.started()?;
    machine.must("exportfs", &["-u", "10.0.0.0/24:/srv/a"]);
    let monitor = resource.monitor();
    resource.claim(!matches!(monitor.code, Some(0 | 7)), "one of two is exported")
}

fn one_of_two(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/srv/a /srv/b", "10.0.0.0/24");
    resource.started()?;
    machine.must("exportfs", &["-u", "10.0.0.0/24:/srv/a"]);
    resource.stops(|| is_exported("/srv/b"), LEFT)
}

fn cut_short(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/srv/a", "10.0.0.0/24");
    resource.started()?;
    let table = std::fs::read_to_string(TABLE).unwrap();
    machine.file(TABLE, &table[..table.len() / 2]);
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(7), "the table cannot be read")?;
    let stop = resource.stop();
    resource.claim(stop.code != Some(0), "the table cannot be read")
}

fn from_before(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/srv/a", "10.0.0.0/24");
    resource.started()?;
    forget(machine);
    let probe = resource.probe();
    resource.claim(probe.code == Some(7), "no server runs, and no start has been")
}

fn empty_mount_point(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/exports/data", "10.0.0.0/24");
    let start = resource.start();
    resource.claim(start.code != Some(0) && !is_exported("/exports/data"), "")
}

fn gone_from_below(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/srv/data", "10.0.0.0/24");
    let disk = machine.formatted("ext4");
    machine.must("mount", &[disk.path(), "/srv/data"]);
    resource.started()?;
    machine.must("umount", &["/srv/data"]);
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(0), "clients get stale handles")?;
    machine.keep(disk);
    Ok(())
}

fn another_fsid(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/srv/a", "10.0.0.0/24");
    resource.started()?;
    machine.must("exportfs", &["-i", "-o", "rw,fsid=18", "10.0.0.0/24:/srv/a"]);
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(0), "the fsid is 18")
}

fn neighbour(machine: &Machine, suite: Suite) -> Seen {
    let four = to(machine, suite, "/srv/a", "10.0.0.0/24").with(|call| call.instance("four"));
    four.started()?;
    let six = suite.agent(machine, "exportfs").set("directory", "/srv/a").set("fsid", "17");
    let six = six.set("clientspec", "10.1.0.0/24").with(|call| call.instance("six"));
    six.started()?;
    four.stop();
    let monitor = six.monitor();
    six.claim(monitor.code == Some(0) && is_exported("/srv/a"), "")
}

fn silent_resolver(machine: &Machine, suite: Suite) -> Seen {
    machine.file("/etc/hosts", "127.0.0.1 localhost\n10.0.0.7 node7.example.org\n");
    let resource = to(machine, suite, "/srv/a", "node7.example.org").within(10);
    resource.started()?;
    // Its link is up, and nobody answers there.
    machine.nic("eth0", &["10.0.0.1/24"]);
    machine.ip(&["neigh", "replace", "10.0.0.53", "lladdr", "02:00:00:00:00:02", "dev", "eth0"]);
    machine.file("/etc/hosts", "127.0.0.1 localhost\n");
    machine.file("/etc/resolv.conf", "nameserver 10.0.0.53\noptions timeout:20 attempts:5\n");
    machine.file("/etc/nsswitch.conf", "hosts: files dns\n");
    resource.stops(|| is_exported("/srv/a"), LEFT)
}

fn in_brackets(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/srv/a", "[fd00::]/64");
    resource.started()?;
    let monitor = resource.monitor();
    resource.claim(monitor.code == Some(0), "it is exported")?;
    resource.stops(|| is_exported("/srv/a"), LEFT)
}

fn planted_link(machine: &Machine, suite: Suite) -> Seen {
    let resource = to(machine, suite, "/srv/a", "10.0.0.0/24").within(10);
    machine.file("/root/precious", "kept\n");
    machine.must("ln", &["-s", "/root/precious", "/srv/a/.rmtab"]);
    machine.file("/var/lib/nfs/rmtab", "10.0.0.5:/srv/a:0x00000001\n");
    resource.start();
    resource.monitor();
    std::thread::sleep(Duration::from_millis(50));
    let kept = std::fs::read_to_string("/root/precious").unwrap_or_default();
    resource.claim(kept == "kept\n", "a file elsewhere is written to")
}

fn server(machine: &Machine, suite: Suite) -> Resource {
    machine.must("mkdir", &["-p", "/srv/nfs/statd", "/run/resource-agents"]);
    suite.agent(machine, "nfsserver").set("nfs_shared_infodir", "/srv/nfs").within(20)
}

const STATE: &str = "/var/lib/nfs";

fn is_bound(machine: &Machine) -> bool {
    !machine.mounts_at(STATE).is_empty()
}

fn left_bound(machine: &Machine, suite: Suite) -> Seen {
    let resource = server(machine, suite);
    machine.must("mount", &["--bind", "/srv/nfs", STATE]);
    let probe = resource.probe();
    resource.claim(probe.code != Some(7), "the directory keeps its file system in use")
}

fn bound_is_taken_off(machine: &Machine, suite: Suite) -> Seen {
    let resource = server(machine, suite);
    machine.must("mount", &["--bind", "/srv/nfs", STATE]);
    resource.stops(|| is_bound(machine), "the directory is still bound")
}

fn without_sys(machine: &Machine, suite: Suite) -> Seen {
    let resource = server(machine, suite);
    machine.file("/run/empty/none", "");
    machine.must("mount", &["--bind", "/run/empty", "/sys"]);
    let probe = resource.probe();
    resource.claim(probe.code != Some(7), "nobody can tell")
}
