//! `vblade` with the real program, on interfaces with a neighbour that is an
//! initiator.

mod crowd;
mod faults;
mod rivals;

use crate::harness::{self, Call, Case, Cases, Disk, Machine, Peer};
use std::time::{Duration, Instant};

pub fn cases(cases: &mut Cases) {
    let mut add = |name: &str, run: fn(&Machine)| {
        let name = format!("vblade: {name}");
        cases.push(Case::new(name, run).needs(&["/usr/sbin/vblade"]));
    };
    add("what is not there is stopped, in every dialect", absent);
    add("the article's file is served, and what a client writes is on the disk", article);
    add("one export by AoEtarget's parameters, and by its words", by_parameters);
    add("an export is watched and stopped without its device's name", without_device);
    add("a line more is served by a start, and the others are not interrupted", one_more);
    add("what is served is announced at once and again, and not after stop", announced);
    add("only those may use it whose addresses are in the line", masked);
    add("a wrong line is named by its number, and nothing is changed", wrong_lines);
    add("a start leaves no stream of its caller's open", streams);
    faults::cases(&mut add);
    rivals::cases(&mut add);
    crowd::cases(&mut add);
}

type Add<'a> = dyn FnMut(&str, fn(&Machine)) + 'a;

const CONFIG: &str = "/etc/vblade.conf";
const MOMENT: Duration = Duration::from_millis(300);

/// A machine with a disk, a neighbour and the article's file, in which the disk
/// is e0.1 on eth0.
fn machine_with_file(machine: &Machine) -> (Peer<'_>, Disk, Call) {
    let peer = machine.nic("eth0", &[]);
    let disk = machine.disk(4);
    machine.file(CONFIG, &format!("# what the article has\neth0 0 1 {}\n", disk.path()));
    (peer, disk, machine.agent("vblade"))
}

/// The processes of vblade, by their numbers.
fn servers(machine: &Machine) -> Vec<String> {
    let found = machine.run("pgrep", &["-x", "vblade"]).stdout;
    let is_server = |pid: &&str| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with("/usr/sbin/vblade")
    };
    found.lines().filter(is_server).map(str::to_owned).collect()
}

/// A vblade that somebody has started by hand.
fn by_hand(machine: &Machine, words: &str) -> String {
    let line = format!("setsid vblade {words} </dev/null >/tmp/by-hand 2>&1 & echo $!");
    let pid = machine.must("sh", &["-c", &line]).trim().to_owned();
    // It says so once it has its socket and its filter.
    wait_until("vblade by hand serves", || {
        std::fs::read_to_string("/tmp/by-hand").is_ok_and(|said| said.contains("sectors"))
    });
    pid
}

#[track_caller]
fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    harness::wait_until(10, what, is_so);
}

fn absent(machine: &Machine) {
    let agent = machine.agent("vblade");
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    let status = agent.heartbeat(&["status"]).exits(3);
    assert_eq!(status.stdout, "stopped\n");
    agent.action("stop").exits(0);
    agent.action("start").exits(2).because("there is no /etc/vblade.conf");
}

/// The file lies where another line of haresources mounts it, behind a link.
fn article(machine: &Machine) {
    let (peer, disk, agent) = machine_with_file(machine);
    machine.must("mkdir", &["-p", "/srv/data/aoe"]);
    machine.must("mv", &[CONFIG, "/srv/data/aoe/vblade.conf"]);
    machine.must("ln", &["-s", "/srv/data/aoe/vblade.conf", CONFIG]);
    agent.heartbeat(&["start"]).exits(0);
    assert_eq!(agent.heartbeat(&["status"]).exits(0).stdout, "running\n");
    agent.action("monitor").exits(0);
    let initiator = peer.initiator();
    let told = initiator.find(0, 1).expect("somebody serves e0.1");
    assert_eq!(told.mac, peer.our_mac());
    assert!(initiator.write(0, 1, 3, 0xa5));
    assert_eq!(initiator.read(0, 1, 3).expect("a sector"), [0xa5; 512]);
    // Past the page cache, in which it might be still.
    let read = format!("dd if={} bs=512 skip=3 count=1 iflag=direct status=none", disk.path());
    let digits = machine.must("sh", &["-c", &format!("{read} | od -An -v -tx1 | tr -d ' \\n'")]);
    assert_eq!(digits, "a5".repeat(512));
    let [pid] = &servers(machine)[..] else { panic!("{:?}", servers(machine)) };
    let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert!(words.starts_with("/usr/sbin/vblade\0-d\0"), "{words:?}");
    // Once more is no second vblade.
    agent.heartbeat(&["start"]).exits(0);
    assert_eq!(servers(machine), std::slice::from_ref(pid));
    agent.heartbeat(&["stop"]).exits(0);
    assert!(servers(machine).is_empty() && initiator.find(0, 1).is_none());
    agent.probe().exits(7);
    agent.heartbeat(&["stop"]).exits(0);
}

fn by_parameters(machine: &Machine) {
    let peer = machine.nic("eth0", &[]);
    let disk = machine.disk(4);
    machine.file("/srv/image", &"x".repeat(4096));
    let agent = machine.agent("vblade").instance("aoe");
    let one = agent.clone().with(&[("device", disk.path()), ("shelf", "7"), ("slot", "3")]);
    one.action("start").exits(0);
    one.action("monitor").exits(0);
    let initiator = peer.initiator();
    assert!(initiator.find(7, 3).is_some());
    // Another resource, though with the same program.
    let file = ["/srv/image", "eth0", "7", "4"];
    let call = |action: &'static str| agent.by_hand(&[&file[..], &[action]].concat());
    call("status").exits(3);
    call("start").exits(0);
    assert_eq!(initiator.read(7, 4, 0).expect("a sector"), [b'x'; 512]);
    one.action("stop").exits(0);
    one.probe().exits(7);
    assert!(initiator.find(7, 3).is_none() && initiator.find(7, 4).is_some());
    call("status").exits(0);
    call("stop").exits(0);
    assert!(servers(machine).is_empty());
    for (name, value, part) in [
        ("shelf", "65535", "parameter shelf"),
        ("slot", "255", "parameter slot"),
        ("nic", "a/b", "parameter nic"),
        ("macs", "x", "parameter macs"),
    ] {
        one.clone().set(name, value).action("start").exits(6).because(part);
    }
    agent.clone().set("slot", "1").action("start").exits(6).because("shelf is required with slot");
    agent.clone().set("device", disk.path()).action("start").exits(6).because("shelf is required");
    let nowhere = agent.with(&[("device", "/dev/nowhere"), ("shelf", "7"), ("slot", "3")]);
    nowhere.action("start").exits(5).because("/dev/nowhere is not there");
    nowhere.action("stop").exits(0);
    nowhere.set("nic", "eth9").action("start").exits(2).because("there is no interface eth9");
}

fn without_device(machine: &Machine) {
    let peer = machine.nic("eth0", &[]);
    let disk = machine.disk(4);
    let place = machine.agent("vblade").with(&[("shelf", "7"), ("slot", "3")]);
    let whole = place.clone().set("device", disk.path());
    whole.action("start").exits(0);
    for agent in [&place, &place.clone().set("device", "")] {
        agent.action("monitor").exits(0);
        agent.action("start").exits(6).because("device is required with shelf and slot");
    }
    assert!(peer.initiator().find(7, 3).is_some());
    place.action("stop").exits(0);
    assert!(servers(machine).is_empty());
    whole.probe().exits(7);
    // A wrong name stands for no export, and not for those of the file.
    machine.file(CONFIG, &format!("eth0 0 1 {}\n", disk.path()));
    machine.agent("vblade").action("start").exits(0);
    machine.agent("vblade").set("device", "sdb").action("stop").exits(0);
    machine.agent("vblade").action("monitor").exits(0);
    machine.agent("vblade").action("stop").exits(0);
}

fn one_more(machine: &Machine) {
    let (peer, disk, agent) = machine_with_file(machine);
    agent.action("start").exits(0);
    let before = servers(machine);
    let other = machine.disk(4);
    let lines = format!("eth0 0 1 {}\neth0 0 2 {}\n", disk.path(), other.path());
    machine.file(CONFIG, &lines);
    agent.action("start").exits(0);
    let after = servers(machine);
    assert!(after.len() == 2 && after.contains(&before[0]), "{before:?}, then {after:?}");
    assert!(peer.initiator().find(0, 2).is_some());
    agent.action("monitor").exits(0);
    // A file that says less takes nothing away from what runs.
    machine.file(CONFIG, "x\n");
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    assert!(servers(machine).is_empty());
}

fn announced(machine: &Machine) {
    let (peer, _disk, agent) = machine_with_file(machine);
    peer.ip(&["link", "set", "eth0", "mtu", "9000"]);
    machine.ip(&["link", "set", "eth0", "mtu", "9000"]);
    let agent = agent.set("announce_again", "1");
    let initiator = peer.initiator();
    agent.action("start").exits(0);
    let told = initiator.told(MOMENT);
    let ours = |told: &crate::harness::Told| (told.shelf, told.slot) == (0, 1);
    assert!(told.iter().filter(|told| ours(told)).count() >= 2, "{told:?}");
    let answer = initiator.find(0, 1).expect("it is served");
    assert!(told.iter().all(|told| *told == answer), "{told:?} is not as {answer:?}");
    assert_eq!(answer.sectors, 17);
    let again = initiator.told(Duration::from_millis(1500));
    assert!(again.iter().filter(|told| ours(told)).count() >= 4, "{again:?}");
    agent.action("stop").exits(0);
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
    initiator.told(Duration::ZERO);
    assert_eq!(initiator.told(Duration::from_millis(1500)), []);
}

fn masked(machine: &Machine) {
    let (peer, disk, agent) = machine_with_file(machine);
    let line = |masks: &str| format!("eth0 0 1 {} {masks}\n", disk.path());
    machine.file(CONFIG, &line("02:00:00:00:00:77"));
    agent.action("start").exits(0);
    let initiator = peer.initiator();
    assert!(initiator.find(0, 1).is_none());
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    let plain = peer.mac().replace(':', "").to_uppercase();
    machine.file(CONFIG, &line(&format!("02:00:00:00:00:77,{plain}")));
    agent.action("start").exits(0);
    assert!(initiator.find(0, 1).is_some());
    agent.action("stop").exits(0);
}

fn wrong_lines(machine: &Machine) {
    let (_peer, disk, agent) = machine_with_file(machine);
    let good = format!("eth0 0 1 {}\n", disk.path());
    for (line, code, part) in [
        ("eth0 0", 2, "/etc/vblade.conf line 2: 2 words, expected"),
        ("eth0 0 300 /dev/x", 2, "line 2: slot `300`"),
        ("eth0 0 1 /dev/x", 2, "line 2: e0.1 on eth0 is exported by line 1 already"),
        ("eth9 0 2 /dev/null", 2, "line 2: there is no interface eth9"),
        ("lo 0 2 /dev/null", 2, "line 2: lo is no Ethernet interface"),
        ("eth0 0 2 /dev/nowhere", 5, "line 2: /dev/nowhere is not there"),
        ("eth0 0 2 /srv", 2, "line 2: /srv is a directory"),
    ] {
        machine.file(CONFIG, &format!("{good}{line}\n"));
        agent.action("start").exits(code).because(part);
        assert!(servers(machine).is_empty(), "{line}");
        agent.probe().exits(7);
    }
    machine.file(CONFIG, "# nothing\n");
    agent.action("start").exits(2).because("has no line that exports anything");
    // What cannot be started because of another line leaves what runs alone.
    machine.file(CONFIG, &good);
    agent.action("start").exits(0);
    let before = servers(machine);
    machine.file(CONFIG, &format!("{good}eth0 0 2 /dev/nowhere\n"));
    agent.action("start").exits(5).because("line 2");
    assert_eq!(servers(machine), before);
    agent.action("stop").exits(0);
}

/// A caller that reads its pipe to the end, and one that leaves a descriptor
/// open.
fn streams(machine: &Machine) {
    let (_peer, _disk, agent) = machine_with_file(machine);
    let line = format!("{} start 2>&1 5>/tmp/left | cat; pgrep -x vblade", agent.path().display());
    let began = Instant::now();
    machine.must("sh", &["-c", &line]);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    for pid in servers(machine) {
        let open = machine.must("ls", &["-l", &format!("/proc/{pid}/fd")]);
        assert!(!open.contains("pipe:") && !open.contains("/tmp/left"), "{open}");
    }
    agent.by_hand(&["stop"]).exits(0);
}
