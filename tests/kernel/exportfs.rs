//! `exportfs` on a kernel without an NFS server: the table of exports, its
//! locks, and where the directories lie. What a server and its clients make of
//! it is the lab's.

use crate::harness::{Call, Case, Cases, Machine};
use std::fs;
use std::path::Path;
use std::time::Duration;

const ETAB: &str = "/var/lib/nfs/etab";

pub fn cases(cases: &mut Cases) {
    let mut add = |sentence: &str, run: fn(&Machine)| {
        cases.push(Case::new(format!("exportfs: {sentence}"), run).needs(&["exportfs"]));
    };
    add("what is not there is stopped, in every dialect", absent);
    add("each directory goes to each client, and the fsid counts on", each_to_each);
    add("clients are found as the table writes them", every_form);
    add("one export that is gone leaves none behind at stop", partial);
    add("what shares a beginning or a directory stays", others_stay);
    add("a stop and a monitor need no program", without_program);
    add("a table that is cut short is doubt and no stop", cut_short);
    add("an empty mount point is not exported", empty_mount_point);
    add("a file system that has gone from below is a failure", moved);
    add("a directory that is a link is exported as what it leads to", link);
    add("a name that nobody resolves is an error, whatever exportfs ends with", unresolved);
    add("an unknown option is an error and leaves nothing", unknown_option);
    add("a lock that somebody has is named in time", locked);
    add("a table that cannot be written is named in time", read_only);
    add("no link in the table's directory is followed", links_are_not_followed);
    add("what is left from before the machine was up is no export", leftover);
    add("what another start has asked for goes with the stop", changed_parameters);
    add("a record that cannot be read is no proof that nothing was exported", damaged_record);
    add("another fsid than was asked for is told", changed_fsid);
    add("clients of NFSv3 are kept with the data, and no link is followed", rmtab_is_kept);
    add("two exports with one fsid, as linstor-gateway makes them, go one by one", gateway);
    add("a resolver that is silent ends a start in its time, and no stop asks it", silent_resolver);
    add(
        "a file system that does not answer holds up no other's export, nor a stop of its own",
        dead_beside,
    );
    add("what was started by one name is known and stopped by another", by_another_name);
    add("a monitor starts no process and reads no mount table", monitor_spawns_nothing);
}

fn exports(machine: &Machine, directory: &str, client: &str) -> Call {
    let agent = machine.agent("exportfs").set("directory", directory);
    agent.set("clientspec", client).set("fsid", "17").set("options", "rw,no_subtree_check")
}

/// Directories on a file system that is not the root's.
fn directories(machine: &Machine, names: &[&str]) {
    machine.must("rm", &["-f", ETAB, "/var/lib/nfs/rmtab"]);
    for name in names {
        machine.must("mkdir", &["-p", name]);
    }
}

/// What is exported to whom, by the table.
fn listed() -> Vec<String> {
    let table = fs::read_to_string(ETAB).unwrap_or_default();
    let mut all: Vec<String> = table
        .lines()
        .map(|line| line.split('(').next().unwrap_or_default().replace('\t', " "))
        .collect();
    all.sort();
    all
}

fn table_has(text: &str) -> bool {
    fs::read_to_string(ETAB).unwrap_or_default().contains(text)
}

fn absent(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "10.0.0.0/24");
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    agent.heartbeat(&["/srv/a", "10.0.0.0/24", "status"]).exits(3);
    agent.action("stop").exits(0);
}

fn each_to_each(machine: &Machine) {
    directories(machine, &["/srv/a", "/srv/b"]);
    let agent = exports(machine, "/srv/a /srv/b", "10.0.0.0/24 @group");
    agent.action("start").exits(0);
    let all = ["/srv/a 10.0.0.0/24", "/srv/a @group", "/srv/b 10.0.0.0/24", "/srv/b @group"];
    assert_eq!(listed(), all);
    let table = fs::read_to_string(ETAB).unwrap();
    let of = |path: &str| table.lines().filter(|line| line.starts_with(path)).collect::<Vec<_>>();
    assert!(of("/srv/a\t").iter().all(|line| line.contains(",fsid=17,")), "{table}");
    assert!(of("/srv/b\t").iter().all(|line| line.contains(",fsid=18,")), "{table}");
    agent.action("monitor").exits(0);
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
    agent.probe().exits(7);
    for refused in ["root", "3d2f0d64-0000-4000-8000-9b7c1b3a2d11"] {
        agent.clone().set("fsid", refused).action("start").exits(6).because("fsid");
    }
}

fn every_form(machine: &Machine) {
    directories(machine, &["/srv/a", "/srv/with blank"]);
    machine.file("/etc/hosts", "127.0.0.1 localhost\n10.0.0.7 node7.example.org node7\n");
    for (client, as_listed) in [
        ("[fd00::]/64", "fd00::/64"),
        ("fd00:1::/64", "fd00:1::/64"),
        ("[::]/0", "::/0"),
        ("0.0.0.0/0.0.0.0", "0.0.0.0/0.0.0.0"),
        ("fd00::5", "fd00::5"),
        ("10.0.0.5", "10.0.0.5"),
        ("*", "*"),
        ("*.example.org", "*.example.org"),
        ("@group", "@group"),
        ("192.168.1.*", "192.168.1.*"),
        ("node7", "node7.example.org"),
    ] {
        let agent = exports(machine, "/srv/a", client);
        agent.action("start").exits(0);
        assert_eq!(listed(), [format!("/srv/a {as_listed}")], "{client}");
        agent.action("monitor").exits(0);
        agent.action("stop").exits(0);
        assert_eq!(listed(), [""; 0], "{client}");
        agent.action("monitor").exits(7);
    }
    let agent = exports(machine, "/srv/with\\040blank", "*");
    agent.action("start").exits(0);
    assert_eq!(listed(), ["/srv/with\\040blank *"]);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
}

fn partial(machine: &Machine) {
    directories(machine, &["/srv/a", "/srv/b"]);
    let agent = exports(machine, "/srv/a /srv/b", "*");
    agent.action("start").exits(0);
    machine.must("exportfs", &["-u", "*:/srv/a"]);
    let monitor = agent.action("monitor").exits(1);
    monitor.because("/srv/a to * is not");
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    machine.must("exportfs", &["-u", "*:/srv/a"]);
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
    // Also where nothing is remembered.
    agent.action("start").exits(0);
    machine.must("exportfs", &["-u", "*:/srv/a"]);
    machine.must("sh", &["-c", "rm -f /run/resource-agents/*"]);
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
}

fn others_stay(machine: &Machine) {
    directories(machine, &["/srv/a", "/srv/ab", "/srv/a/b"]);
    let call = |directory: &str, client: &str, name: &str| {
        let agent = exports(machine, directory, client).instance(name);
        agent.action("start").exits(0);
        agent
    };
    let first = call("/srv/a", "10.0.0.0/24", "one");
    let second = call("/srv/a", "10.0.0.0/25", "two");
    let _longer = call("/srv/ab", "10.0.0.0/24", "three");
    let _below = call("/srv/a/b", "10.0.0.0/24", "four");
    first.action("stop").exits(0);
    assert_eq!(listed(), ["/srv/a 10.0.0.0/25", "/srv/a/b 10.0.0.0/24", "/srv/ab 10.0.0.0/24"]);
    first.action("monitor").exits(7);
    second.action("monitor").exits(0);
}

fn without_program(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "*");
    agent.action("start").exits(0);
    machine.script("exportfs", "#!/bin/sh\ntouch /run/was-called\nsleep 60\n");
    let without = agent.clone().env("OCF_TESTER_FAIL_HAVE_BINARY", "1");
    for agent in [&agent, &without] {
        agent.action("monitor").exits(0);
        agent.probe().exits(0);
    }
    without.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
    assert!(!Path::new("/run/was-called").exists());
    without.action("start").exits(5).because("exportfs is not installed");
}

fn cut_short(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "*");
    machine.file(ETAB, "/srv/b\t*(rw)\n/srv/a\t*(rw,fsi");
    agent.action("monitor").exits(1).because("middle of a line");
    agent.action("stop").exits(1).because("middle of a line");
    let status = agent.heartbeat(&["/srv/a", "*", "status"]).exits(4);
    assert_eq!(status.stdout, "running (unknown)\n");
    machine.must("rm", &[ETAB]);
    machine.must("mkdir", &[ETAB]);
    agent.probe().exits(1).because("etab");
}

fn empty_mount_point(machine: &Machine) {
    directories(machine, &[]);
    machine.must("mkdir", &["-p", "/exports/data", "/exports/full"]);
    machine.file("/exports/full/file", "x");
    let agent = exports(machine, "/exports/data", "*");
    agent.action("start").exits(1).because("empty directory of the root file system");
    agent.probe().exits(7);
    assert_eq!(listed(), [""; 0]);
    exports(machine, "/exports/full", "*").instance("full").action("start").exits(0);

    let disk = machine.formatted("ext4");
    machine.must("mount", &[disk.path(), "/exports/data"]);
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
    machine.must("umount", &["/exports/data"]);
    machine.file("/exports/data/file", "x");
    agent.action("start").exits(1).because("nothing is mounted on /exports/data");
    machine.must("sh", &["-c", "rm -f /run/resource-agents/*"]);
    machine.file("/etc/fstab", &format!("{} /exports/data ext4 noauto 0 0\n", disk.path()));
    agent.action("start").exits(1).because("/etc/fstab");
    machine.file("/etc/fstab", "");
    let line = format!("node1 10.0.0.9 Filesystem::{}::/exports/data::ext4\n", disk.path());
    machine.file("/etc/ha.d/haresources", &line);
    agent.action("start").exits(1).because("haresources");
    exports(machine, "/exports/nothing", "*").action("start").exits(5).because("not there");
    machine.keep(disk);
}

fn moved(machine: &Machine) {
    directories(machine, &["/srv/data"]);
    let disk = machine.formatted("ext4");
    machine.must("mount", &[disk.path(), "/srv/data"]);
    let agent = exports(machine, "/srv/data", "*");
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    // The same file system by another mount is the same.
    machine.must("umount", &["/srv/data"]);
    machine.must("mount", &[disk.path(), "/srv/data"]);
    agent.action("monitor").exits(0);
    machine.must("umount", &["/srv/data"]);
    agent.action("monitor").exits(1).because("was exported from");
    agent.action("start").exits(1).because("stop it first");
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
    machine.keep(disk);
}

fn link(machine: &Machine) {
    directories(machine, &["/srv/real"]);
    machine.must("ln", &["-s", "/srv/real", "/srv/link"]);
    let agent = exports(machine, "/srv/link", "*");
    agent.action("start").exits(0);
    assert_eq!(listed(), ["/srv/real *"]);
    agent.action("monitor").exits(0);
    machine.must("rm", &["/srv/link"]);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
}

fn unresolved(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "no-such-host");
    agent.action("start").exits(1).because("Failed to resolve no-such-host");
    assert_eq!(listed(), [""; 0]);
    agent.probe().exits(7);
}

fn unknown_option(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "*").set("options", "rw,bogus");
    agent.action("start").exits(1).because("bogus");
    assert_eq!(listed(), [""; 0]);
    agent.action("stop").exits(0);
}

fn locked(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "*").timeout(Duration::from_secs(8));
    agent.action("start").exits(0);
    let program = "use Fcntl ':flock'; open(F, '+<', '/var/lib/nfs/.etab.lock') or die; \
         my $l = pack('s s x4 q q i x4', F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $l) or die; \
         open(R, '>', '/run/locked'); close R; sleep 60;";
    let line = format!("perl -MFcntl -e \"{}\" & echo", program.replace('$', "\\$"));
    machine.must("sh", &["-c", &format!("({line}) >/dev/null 2>&1")]);
    machine.must("sh", &["-c", "until test -e /run/locked; do sleep 0.01; done"]);
    let stop = agent.action("stop").exits(1);
    stop.because(".etab.lock is held by perl (pid");
    agent.action("monitor").exits(0);
    machine.must("pkill", &["perl"]);
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
}

fn read_only(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    machine.must("mount", &["-t", "tmpfs", "-o", "size=64k", "none", "/var/lib/nfs"]);
    let agent = exports(machine, "/srv/a", "*");
    agent.action("start").exits(0);
    exports(machine, "/srv/a", "@other").instance("other").action("start").exits(0);
    machine.must("mount", &["-o", "remount,ro", "/var/lib/nfs"]);
    agent.action("stop").exits(1).because("Read-only file system");
    agent.action("monitor").exits(0);
    machine.must("mount", &["-o", "remount,rw", "/var/lib/nfs"]);
    machine.run("dd", &["if=/dev/zero", "of=/var/lib/nfs/full", "bs=4096"]);
    agent.action("stop").exits(1).because("No space left");
    agent.action("monitor").exits(0);
    assert_eq!(listed(), ["/srv/a *", "/srv/a @other"]);
    machine.must("rm", &["/var/lib/nfs/full"]);
    agent.action("stop").exits(0);
    assert_eq!(listed(), ["/srv/a @other"]);
}

fn links_are_not_followed(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "*");
    agent.action("start").exits(0);
    machine.file("/root/precious", "kept");
    machine.must("ln", &["-s", "/root/precious", "/var/lib/nfs/etab.tmp"]);
    machine.must("rm", &["-f", "/var/lib/nfs/.etab.lock"]);
    machine.must("ln", &["-s", "/root/lock", "/var/lib/nfs/.etab.lock"]);
    agent.action("stop").exits(1).because(".etab.lock");
    machine.must("rm", &["-f", "/var/lib/nfs/.etab.lock"]);
    agent.action("stop").exits(0);
    assert_eq!(fs::read_to_string("/root/precious").unwrap(), "kept");
    assert!(!Path::new("/root/lock").exists());
    assert_eq!(listed(), [""; 0]);
}

fn leftover(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "*");
    agent.action("start").exits(0);
    agent.probe().exits(0);
    // As after a boot: what is in /run is gone.
    machine.must("sh", &["-c", "rm -f /run/resource-agents/*"]);
    agent.probe().exits(7);
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    machine.must("sh", &["-c", "rm -f /run/resource-agents/*"]);
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
}

fn changed_parameters(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    exports(machine, "/srv/a", "10.0.0.0/24").action("start").exits(0);
    let agent = exports(machine, "/srv/a", "10.0.0.0/16");
    agent.action("monitor").exits(1).because("still exported to 10.0.0.0/24");
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
    agent.probe().exits(7);
}

fn dead_beside(machine: &Machine) {
    directories(machine, &["/srv/a", "/srv/b"]);
    let remote = machine.remote("/srv/dead");
    let below = remote.mkdir("data");
    let limit = Duration::from_secs(15);
    let on = |directory: &str, instance: &str, fsid: &str| {
        let agent = exports(machine, directory, "*").set("fsid", fsid);
        agent.instance(instance).timeout(limit).killed_at_its_timeout()
    };
    let (first, second) = (on("/srv/a", "first", "17"), on("/srv/b", "second", "18"));
    let dead = on(below.to_str().unwrap(), "dead", "19");
    first.action("start").exits(0);
    dead.action("start").exits(0);
    remote.pause();
    let quick = |outcome: crate::harness::Outcome| {
        assert!(outcome.took < Duration::from_secs(5), "{}", *outcome);
        outcome
    };
    quick(first.action("monitor")).exits(0);
    quick(first.action("stop")).exits(0);
    // exportfs(8) asks for all that is exported.
    let start = second.action("start").exits(1);
    start.because("does not answer");
    quick(second.action("stop")).exits(0);
    let monitor = dead.action("monitor");
    assert!(!monitor.timed_out, "{}", *monitor);
    let stop = dead.action("stop").exits(0);
    assert!(stop.took < limit, "{}", *stop);
    assert_eq!(listed(), [""; 0]);
    quick(second.action("start")).exits(0);
    remote.resume();
}

fn by_another_name(machine: &Machine) {
    directories(machine, &["/srv/data"]);
    let disk = machine.formatted("ext4");
    machine.must("mount", &[disk.path(), "/srv/data"]);
    let words = |action| ["/srv/data", "10.0.0.0/24", action];
    let of_cluster = exports(machine, "/srv/data", "10.0.0.0/24").instance("p_export");
    let of_hand = || machine.agent("exportfs");
    let records = || machine.run("sh", &["-c", "ls /run/resource-agents/*.state"]).stdout;
    of_cluster.action("start").exits(0);
    of_hand().by_hand(&words("status")).exits(0);
    // Where it lay is known by the record alone.
    machine.must("umount", &["/srv/data"]);
    let status = of_hand().by_hand(&words("status")).exits(4);
    assert_eq!(status.stdout, "running (unknown)\n");
    of_hand().by_hand(&words("stop")).exits(0);
    assert_eq!((listed(), records().as_str()), (vec![], ""));
    of_cluster.probe().exits(7);
    machine.file("/srv/data/file", "x");
    let start = of_hand().by_hand(&words("start")).exits(1);
    assert!(start.stderr.contains("nothing is mounted on /srv/data"), "{}", *start);
    // A stop without the client goes by what was started, by whoever.
    machine.must("mount", &[disk.path(), "/srv/data"]);
    of_hand().heartbeat(&["/srv/data", "10.0.0.0/24", "start"]).exits(0);
    let bare = machine.agent("exportfs").set("directory", "/srv/data").instance("p_export");
    bare.action("monitor").exits(0);
    bare.action("stop").exits(0);
    assert_eq!((listed(), records().as_str()), (vec![], ""));
    machine.keep(disk);
}

fn damaged_record(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "@group");
    let damage = || {
        let files = "find /run/resource-agents -name '*.state' -exec sh -c 'echo x >$1' x {} \\;";
        machine.must("sh", &["-c", files]);
    };
    agent.action("start").exits(0);
    damage();
    // What was started is known by the record alone.
    let changed = exports(machine, "/srv/a", "10.0.0.0/24");
    for action in ["monitor", "stop"] {
        changed.action(action).exits(1).because("is damaged").because("/srv/a to @group");
    }
    changed.probe().exits(1).because("is damaged");
    assert_eq!(listed(), ["/srv/a @group"]);
    // What is asked for is found all the same.
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
    agent.probe().exits(7);
    // Nothing is exported at all: that is proof.
    agent.action("start").exits(0);
    damage();
    machine.must("exportfs", &["-u", "@group:/srv/a"]);
    agent.action("stop").exits(0);
}

fn changed_fsid(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "*");
    agent.action("start").exits(0);
    machine.must("exportfs", &["-i", "-o", "rw,fsid=18", "*:/srv/a"]);
    agent.action("monitor").exits(190).because("with fsid 18 and not 17");
    machine.must("exportfs", &["-i", "-o", "ro,fsid=17", "*:/srv/a"]);
    agent.action("monitor").exits(190).because("ro and not rw");
    let other = exports(machine, "/srv/a", "@other").instance("other").set("fsid", "");
    let said = other.by_hand(&["explain", "/srv/a", "@other"]).exits(0).stdout.clone();
    assert!(said.contains("no fsid is set"), "{said}");
    machine.must("mkdir", &["/srv/b"]);
    let said = other.by_hand(&["explain", "/srv/b", "@other", "rw", "17"]).exits(0).stdout.clone();
    assert!(said.contains("/srv/a has fsid=17 as well as /srv/b"), "{said}");
}

fn rmtab_is_kept(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    let agent = exports(machine, "/srv/a", "*");
    agent.action("start").exits(0);
    let (mine, other) = ("10.0.0.5:/srv/a:0x00000001\n", "10.0.0.5:/srv/ab:0x00000001\n");
    machine.file("/var/lib/nfs/rmtab", &format!("{mine}{other}"));
    agent.action("monitor").exits(0);
    assert_eq!(fs::read_to_string("/srv/a/.rmtab").unwrap(), mine);
    agent.action("stop").exits(0);
    machine.file("/var/lib/nfs/rmtab", other);
    agent.action("start").exits(0);
    assert_eq!(fs::read_to_string("/var/lib/nfs/rmtab").unwrap(), format!("{other}{mine}"));
    // What a client has put there.
    machine.must("rm", &["/srv/a/.rmtab"]);
    machine.file("/root/precious", "kept");
    machine.must("ln", &["-s", "/root/precious", "/srv/a/.rmtab"]);
    agent.action("stop").exits(0);
    assert_eq!(fs::read_to_string("/root/precious").unwrap(), "kept");
    machine.file("/root/precious", "10.6.6.6:/srv/a:0x00000001\n");
    agent.action("start").exits(0);
    assert!(!fs::read_to_string("/var/lib/nfs/rmtab").unwrap().contains("10.6.6.6"));
    machine.must("rm", &["/srv/a/.rmtab"]);
    machine.must("mkfifo", &["/srv/a/.rmtab"]);
    agent.action("stop").exits(0);
    for refused in ["../x", "/etc/x", "a/../../x", "x/"] {
        agent.clone().set("rmtab_backup", refused).action("start").exits(6).because("rmtab_backup");
    }
}

fn gateway(machine: &Machine) {
    directories(machine, &["/srv/gateway-exports/data"]);
    let one = |client: &str, name: &str| {
        let agent = machine.agent("exportfs").bare().env("OCF_RESOURCE_INSTANCE", name).with(&[
            ("directory", "/srv/gateway-exports/data"),
            ("fsid", "3d2f0d64-0000-4000-8000-9b7c1b3a2d11"),
            ("clientspec", client),
            ("options", "rw,all_squash,anonuid=0,anongid=0"),
            ("rmtab_backup", ""),
            ("unlock_on_stop", ""),
        ]);
        agent.action("start").exits(0);
        agent
    };
    let (six, four) = (one("[::]/0", "six"), one("0.0.0.0/0.0.0.0", "four"));
    let all = ["/srv/gateway-exports/data 0.0.0.0/0.0.0.0", "/srv/gateway-exports/data ::/0"];
    assert_eq!(listed(), all);
    four.action("stop").exits(0);
    four.action("stop").exits(0);
    assert_eq!(listed(), all[1..]);
    six.action("monitor").exits(0);
    four.action("monitor").exits(7);
    six.action("stop").exits(0);
    assert_eq!(listed(), [""; 0]);
}

fn silent_resolver(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    // Its link is up, and nobody answers there.
    machine.nic("eth0", &["10.0.0.1/24"]);
    machine.ip(&["neigh", "replace", "10.0.0.53", "lladdr", "02:00:00:00:00:02", "dev", "eth0"]);
    machine.file("/etc/resolv.conf", "nameserver 10.0.0.53\noptions timeout:20 attempts:5\n");
    machine.file("/etc/nsswitch.conf", "hosts: files dns\n");
    machine.file(ETAB, "/srv/a\tnode7.example.org(rw,sync,fsid=17)\n");
    let agent = exports(machine, "/srv/a", "node8.example.org").timeout(Duration::from_secs(8));
    let start = agent.action("start").exits(1);
    assert!(start.took < Duration::from_secs(8), "{:?}", start.took);
    let start = start.because("cannot run exportfs");
    assert!(start.exit_reason().unwrap().contains("deadline"), "{}", *start);
    let other = exports(machine, "/srv/a", "node7.example.org");
    let stop = other.action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(2), "{:?}", stop.took);
    assert_eq!(listed(), [""; 0]);
}

fn monitor_spawns_nothing(machine: &Machine) {
    directories(machine, &["/srv/a"]);
    machine.file("/var/lib/nfs/rmtab", "");
    let agent = exports(machine, "/srv/a", "*");
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    assert!(table_has("/srv/a\t*("));
    let path = agent.path().to_str().unwrap().to_owned();
    let line = format!(
        "OCF_ROOT=/usr/lib/ocf OCF_RA_VERSION_MAJOR=1 OCF_RESOURCE_INSTANCE=test \
         OCF_RESKEY_CRM_meta_interval=10000 OCF_RESKEY_directory=/srv/a OCF_RESKEY_clientspec='*' \
         OCF_RESKEY_fsid=17 OCF_RESKEY_options=rw,no_subtree_check \
         strace -f -e trace=process,open,openat,openat2 -o /run/trace {path} monitor"
    );
    machine.must("sh", &["-c", &line]);
    let trace = fs::read_to_string("/run/trace").unwrap();
    let spawned = trace.lines().filter(|line| line.contains("clone") || line.contains("fork("));
    assert_eq!(spawned.count(), 0, "{trace}");
    // There may be thousands of mounts. Kernels before 5.12 do not tell what they
    // have in their cache, so that it takes the table to know whom one would wait for.
    let is_told = !trace.contains("ENOSYS");
    assert!(!is_told || !trace.contains("mountinfo"), "{trace}");
}
