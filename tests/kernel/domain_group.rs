//! `DomainGroup` and `xenHA` with libvirt's daemon and guests of qemu's; and with
//! many processes that look like guests, where no daemon is needed.

use crate::harness::{Call, Case, Cases, LIBVIRT, Machine, Software, Trial, logged, wait_until};
use std::path::Path;
use std::time::Duration;

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, run: fn(&Machine)| {
        cases.push(Case::new(format!("DomainGroup: {name}"), run).needs(LIBVIRT));
    };
    add("libvirt's guests are started in order, watched as one, and shut down at once", life);
    add("those that do not hear are destroyed together, after one time for all", deaf);
    add("those that boot while they are asked to shut down are asked again", booting);
    add("guests of libvirt's that are none of the group's are left, or make way", foreign);
    add("guests that run are taken on, and neither the directory nor a file is needed", adopted);
    add("guests run on without the daemon, and are ended without it", without_daemon);
    add("a daemon that stands still holds up no monitor and no stop", stuck_daemon);
    add("libvirt's definitions are read before anything is started", files);
    add("a directory that does not answer holds up no stop, and is no lack", silent_directory);
    cases.add(
        "DomainGroup: 200 guests cost a monitor no program, and end within one time for all",
        many,
    );
    cases.killed_with(LIBVIRT, "DomainGroup, of libvirt:", |machine| {
        let agent = group(machine, &["a", "b"], Software::Sleeper).set("shutdown_timeout", "0");
        Trial::of(agent, |machine| ["a", "b"].iter().all(|name| machine.guest_is_up(name)))
            .times(20)
    });
}

const DIRECTORY: &str = "/srv/group";

/// A machine with libvirt and a group of these guests.
fn group(machine: &Machine, names: &[&'static str], software: Software) -> Call {
    machine.libvirt();
    machine.must("mkdir", &["-p", DIRECTORY]);
    names.iter().for_each(|name| enrol(machine, name, software));
    agent(machine, "DomainGroup")
}

fn agent(machine: &Machine, name: &str) -> Call {
    let agent = machine.agent(name).timeout(Duration::from_secs(60));
    agent.set("directory", DIRECTORY).set("hypervisor", "qemu:///system")
}

/// Lays a guest's definition into the group's directory.
fn enrol(machine: &Machine, name: &'static str, software: Software) {
    let guest = machine.guest(name, software);
    machine.must("mv", &[&guest.config, DIRECTORY]);
}

/// When the guest's process was started, in hundredths of a second.
fn started(machine: &Machine, name: &str) -> u64 {
    let pids = machine.guest_pids(name);
    let [pid] = &pids[..] else { panic!("{name}: {pids:?}") };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(')').expect("its name");
    rest.split_whitespace().nth(19).expect("its begin").parse().expect("a number")
}

fn records() -> Vec<String> {
    let listed = std::fs::read_dir("/run/resource-agents").into_iter().flatten().flatten();
    let names = listed.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".state")).collect()
}

fn life(machine: &Machine) {
    let agent = group(machine, &["a", "b", "c"], Software::Sleeper);
    let agent = agent.set("order", "c.xml").set("spacing", "1");
    agent.probe().exits(7);
    agent.action("start").exits(0);
    let [a, b, c] = ["a", "b", "c"].map(|name| started(machine, name));
    assert!(c + 100 <= a && a + 100 <= b, "{c} {a} {b}");
    agent.action("monitor").exits(0);
    agent.probe().exits(0);
    let words = [DIRECTORY, "qemu:///system", "status"];
    assert_eq!(agent.heartbeat(&words).exits(0).stdout, "running\n");
    // One that has gone is told, and is all that a start starts.
    let pid = machine.guest_pids("b").swap_remove(0);
    machine.must("kill", &["-KILL", &pid]);
    machine.await_end(&pid);
    agent.action("monitor").exits(1).because("2 of 3 guests are up; down: b");
    agent.action("start").exits(0);
    assert_eq!([a, c], ["a", "c"].map(|name| started(machine, name)));
    assert!(started(machine, "b") > b);
    // One whose file has come since, too.
    enrol(machine, "d", Software::Sleeper);
    agent.action("start").exits(0);
    assert!(machine.guest_runs("d"));
    ["a", "b", "c", "d"].iter().for_each(|name| machine.await_boot(name));
    let stop = agent.action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(30), "they were asked, and heard: {}", *stop);
    assert!(!logged().contains("not shut down"), "{}", logged());
    assert!(!["a", "b", "c", "d"].iter().any(|name| machine.guest_runs(name)));
    assert_eq!(records(), [""; 0]);
    agent.probe().exits(7);
    agent.action("stop").exits(0);
}

fn deaf(machine: &Machine) {
    let agent = group(machine, &["a", "b"], Software::Writer);
    enrol(machine, "c", Software::Sleeper);
    agent.action("start").exits(0);
    machine.await_boot("c");
    let stop = agent.clone().timeout(Duration::from_secs(24)).action("stop").exits(0);
    assert!(stop.took > Duration::from_secs(12), "they were waited for: {}", *stop);
    assert!(logged().contains("not shut down in time: a, b; destroying"), "{}", logged());
    assert!(!["a", "b", "c"].iter().any(|name| machine.guest_runs(name)));
    // Where they are not to be asked, none is waited for.
    agent.action("start").exits(0);
    let stop = agent.set("shutdown_timeout", "0").action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(12), "{}", *stop);
    assert!(!["a", "b", "c"].iter().any(|name| machine.guest_runs(name)));
}

fn booting(machine: &Machine) {
    let agent = group(machine, &["a", "b"], Software::Sleeper);
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
    assert!(!logged().contains("destroying"), "{}", logged());
}

fn foreign(machine: &Machine) {
    let agent = group(machine, &["a"], Software::Sleeper);
    let other = machine.guest("other", Software::Sleeper);
    let create = || machine.virsh(&["create", &other.config]);
    // Somebody's own, which libvirt has nothing to do with.
    let own = "exec setsid qemu-system-x86_64 -name guest=own -uuid \
        7dabca37-df6d-4a77-9034-301704a00951 -display none -S </dev/null >/dev/null 2>&1 &";
    machine.must("sh", &["-c", own]);
    create();
    let agent = agent.set("shutdown_timeout", "0");
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
    assert!(machine.guest_runs("other") && !machine.guest_runs("a"));
    let stops = agent.clone().set("foreign", "stop");
    stops.action("start").exits(0);
    assert!(machine.guest_runs("a") && !machine.guest_runs("other"));
    create();
    stops.action("stop").exits(0);
    assert!(!machine.guest_runs("a") && !machine.guest_runs("other"));
    // xenHA does so by itself.
    create();
    let xen_ha = self::agent(machine, "xenHA").set("shutdown_timeout", "0");
    xen_ha.action("start").exits(0);
    assert!(machine.guest_runs("a") && !machine.guest_runs("other"));
    xen_ha.action("stop").exits(0);
    let lives = machine.run("pgrep", &["-f", "^qemu-system-x86_64 -name guest=own"]);
    assert_eq!(lives.code, Some(0), "somebody's own is let alone");
    machine.must("kill", &[lives.stdout.trim()]);
}

fn adopted(machine: &Machine) {
    let agent = group(machine, &["a", "b"], Software::Sleeper);
    machine.virsh(&["create", "/srv/group/a.xml"]);
    let before = started(machine, "a");
    agent.action("monitor").exits(1).because("1 of 2 guests are up; down: b");
    agent.action("start").exits(0);
    assert_eq!(started(machine, "a"), before);
    machine.must("mv", &[DIRECTORY, "/srv/elsewhere"]);
    agent.action("monitor").exits(0);
    agent.action("start").exits(0);
    let pid = machine.guest_pids("b").swap_remove(0);
    machine.virsh(&["destroy", "b"]);
    machine.await_end(&pid);
    agent.action("monitor").exits(1).because("1 of 2 guests are up; down: b");
    agent.action("stop").exits(0);
    assert!(!machine.guest_runs("a"));
    agent.probe().exits(7);
    agent.action("start").exits(5).because("there is no directory /srv/group");
}

fn without_daemon(machine: &Machine) {
    let agent = group(machine, &["a", "b"], Software::Sleeper);
    agent.action("start").exits(0);
    machine.kill_libvirt();
    agent.action("monitor").exits(0);
    machine.must("mv", &["/run/libvirt", "/run/elsewhere"]);
    agent.action("monitor").exits(0);
    // Nobody can ask them to shut down: they are not waited for in vain.
    let stop = agent.action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(20), "{}", *stop);
    assert!(!machine.guest_runs("a") && !machine.guest_runs("b"));
    agent.probe().exits(7);
    agent.action("start").exits(1).because("cannot connect to libvirt");
    agent.probe().exits(7);
}

fn silent_directory(machine: &Machine) {
    let agent = group(machine, &["a", "b"], Software::Sleeper);
    let remote = machine.remote("/srv/remote");
    let disk = machine.remote_disk(&remote, "ext4");
    machine.must("mkdir", &["/srv/shared"]);
    machine.must("mount", &[&disk, "/srv/shared"]);
    machine.must("cp", &["-r", DIRECTORY, "/srv/shared"]);
    let agent = agent.set("directory", "/srv/shared/group").set("shutdown_timeout", "0");
    for is_noted in [false, true] {
        machine.must("umount", &["/srv/shared"]);
        machine.must("mount", &[&disk, "/srv/shared"]);
        let in_vain = agent.clone().timeout(Duration::from_secs(24));
        remote.pause();
        in_vain.action("monitor").exits(if is_noted { 0 } else { 7 });
        in_vain.action("stop").exits(0);
        in_vain.action("start").exits(1).because("does not answer");
        remote.resume();
        agent.action("start").exits(0);
    }
    agent.action("stop").exits(0);
    assert!(records().is_empty(), "{:?}", records());
}

fn stuck_daemon(machine: &Machine) {
    let agent = group(machine, &["a", "b"], Software::Sleeper);
    agent.action("start").exits(0);
    machine.must("kill", &["-STOP", &machine.libvirtd()]);
    let monitor = agent.action("monitor").exits(0);
    assert!(monitor.took < Duration::from_secs(5), "{}", *monitor);
    let stop = agent.action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(58), "{}", *stop);
    assert!(!machine.guest_runs("a") && !machine.guest_runs("b"));
    machine.must("kill", &["-CONT", &machine.libvirtd()]);
}

fn files(machine: &Machine) {
    let agent = group(machine, &["a"], Software::Sleeper);
    machine.file("/srv/group/b.xml", "name = \"web\"\n");
    agent.action("start").exits(6).because("/srv/group/b.xml is no definition of a guest");
    machine.must("cp", &["/srv/group/a.xml", "/srv/group/b.xml"]);
    agent
        .action("start")
        .exits(6)
        .because("/srv/group/a.xml and /srv/group/b.xml both are called a");
    machine.must("rm", &["/srv/group/b.xml"]);
    agent.clone().set("order", "b.xml").action("start").exits(6).because("there is no b.xml in");
    for elsewhere in ["qemu+ssh://node2/system", "qemu:///session", "kvm"] {
        agent.clone().set("hypervisor", elsewhere).action("start").exits(6).because("hypervisor");
    }
    assert!(!machine.guest_runs("a"));
    machine.must("rm", &["/srv/group/a.xml"]);
    agent.action("start").exits(5).because("there is no guest's file in /srv/group");
    agent.probe().exits(7);
    agent.action("stop").exits(0);
}

/// Processes with the words of guests, and the files that libvirt would have
/// written of them. Each tenth does not end when it is asked to.
fn many(machine: &Machine) {
    const GUESTS: u32 = 200;
    machine.must("mkdir", &["-p", DIRECTORY, "/run/libvirt/qemu"]);
    let script = format!(
        "for n in $(seq {GUESTS}); do \
           uuid=$(printf '6e82951e-eb72-11f1-840f-%012d' $n); end='exit'; \
           test $((n % 10)) = 0 && end=''; \
           sh -c \"trap '$end' TERM; touch /tmp/ready.$n; while :; do read x </tmp/never; done\" \
             qemu -name guest=g$n -uuid $uuid </dev/null >/dev/null 2>&1 & \
           echo \"<domain><name>g$n</name><uuid>$uuid</uuid></domain>\" >{DIRECTORY}/$n.xml; \
           echo \"<domstatus state='running' reason='booted' pid='$!'>\" >/run/libvirt/qemu/g$n.xml; \
         done"
    );
    machine.must("mkfifo", &["/tmp/never"]);
    machine.must("sh", &["-c", &script]);
    let ready = || {
        std::fs::read_dir("/tmp").map_or(0, |all| {
            all.flatten()
                .filter(|one| one.file_name().to_string_lossy().starts_with("ready."))
                .count()
        })
    };
    wait_until(30, "all of them are there", || ready() == GUESTS as usize);
    let count = || {
        let found = machine.run("pgrep", &["-fc", "^sh -c trap .* qemu -name guest=g"]);
        found.stdout.trim().parse::<u32>().unwrap_or(0)
    };
    assert_eq!(count(), GUESTS);
    machine.script("virsh", "#!/bin/sh\necho virsh was called >>/tmp/called; exit 1\n");
    let agent = agent(machine, "DomainGroup");
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    let path = agent.path().display();
    let line = format!(
        "OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE=test OCF_RESKEY_directory={DIRECTORY} \
         OCF_RESKEY_hypervisor=qemu:///system OCF_RESKEY_CRM_meta_interval=10000 \
         strace -f -e trace=process,network,open,openat,openat2 -o /run/trace {path} monitor"
    );
    machine.must("sh", &["-c", &line]);
    let trace = std::fs::read_to_string("/run/trace").expect("strace has written it");
    let calls = |part: &str| trace.lines().filter(|line| line.contains(part)).count();
    assert_eq!((calls("execve("), calls("fork") + calls("clone"), calls("connect(")), (1, 0, 0));
    assert!(calls("open") <= 5 * GUESTS as usize, "{} files", calls("open"));
    // Thirty seconds for all, of which none is waited for alone.
    let stop = agent.timeout(Duration::from_secs(30)).action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(30), "{}", *stop);
    assert_eq!(count(), 0);
    assert!(!Path::new("/tmp/called").exists());
    assert_eq!(records(), [""; 0]);
}
