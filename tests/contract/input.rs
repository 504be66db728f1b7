//! Bad input: the right code, one clear line, and nothing changed on the host.

use crate::harness::{Call, Cases, Machine, bytes};
use std::ffi::OsString;

/// One row: what is wrong, with which value, the code of a start, and a word
/// that the reason has to have.
struct Bad {
    agent: &'static str,
    what: &'static str,
    parameter: &'static str,
    value: OsString,
    code: i32,
    word: &'static str,
}

pub fn cases(cases: &mut Cases) {
    for bad in table() {
        let name = format!("{}: {} as {} exits {}", bad.agent, bad.what, bad.parameter, bad.code);
        cases.add(name, move |machine| bad.refused(machine));
    }
    for agent in agents::ALL {
        let name = agent.name;
        cases.add(format!("{name}: an unknown parameter does no harm"), move |machine| {
            unknown_parameter(machine, name);
        });
    }
}

fn table() -> Vec<Bad> {
    let huge = || OsString::from("x".repeat(100_000));
    let row = |agent, what, parameter, value, code| {
        let word = match (parameter, code) {
            ("nic", 5) => "nope",
            ("iflabel", _) => "label",
            ("device" | "directory", 5) => "/",
            ("fstype", 5) => "nonsensefs",
            _ => parameter,
        };
        Bad { agent, what, parameter, value, code, word }
    };
    let filesystem =
        |what, parameter, value: OsString, code| row("Filesystem", what, parameter, value, code);
    let ipaddr =
        |what, parameter, value: OsString, code| row("IPaddr", what, parameter, value, code);
    vec![
        filesystem("bytes that are no UTF-8", "directory", bytes(b"/srv/\xff\xfe"), 6),
        filesystem("a line break", "directory", "/srv/a\nb".into(), 6),
        filesystem("nothing", "directory", "".into(), 6),
        filesystem("100 kB", "directory", huge(), 6),
        filesystem("the root", "directory", "/".into(), 6),
        filesystem("a way up", "directory", "../../etc".into(), 6),
        filesystem("a file", "directory", "/etc/passwd".into(), 5),
        filesystem("a directory", "device", "/srv".into(), 5),
        filesystem("a plain file", "device", "/etc/passwd".into(), 5),
        filesystem("a device that is not there", "device", "/dev/nope".into(), 5),
        filesystem("a line break", "device", "/dev/loop0\n".into(), 6),
        filesystem("nothing", "device", "".into(), 6),
        filesystem("100 kB", "device", huge(), 6),
        filesystem("a type that nobody has", "fstype", "nonsensefs".into(), 5),
        filesystem("a way up", "fstype", "../../bin/sh".into(), 6),
        filesystem("a line break", "options", "ro\nexec".into(), 6),
        filesystem("100 kB", "options", huge(), 6),
        filesystem("a word", "signal_delay", "soon".into(), 6),
        filesystem("a word", "fast_stop", "perhaps".into(), 6),
        ipaddr("bytes that are no UTF-8", "ip", bytes(b"10.0.0.\xff"), 6),
        ipaddr("a line break", "ip", "10.0.0.9\n".into(), 6),
        ipaddr("nothing", "ip", "".into(), 6),
        ipaddr("a word", "ip", "host".into(), 6),
        ipaddr("too few numbers", "ip", "10.0.0".into(), 6),
        ipaddr("100 kB", "ip", huge(), 6),
        ipaddr("a network", "ip", "10.0.0.9/24".into(), 6),
        ipaddr("a nic that is not there", "nic", "nope".into(), 5),
        ipaddr("a way up", "nic", "../eth0".into(), 6),
        ipaddr("100 kB", "nic", huge(), 6),
        ipaddr("a word", "cidr_netmask", "wide".into(), 6),
        ipaddr("too large a number", "cidr_netmask", "33".into(), 6),
        ipaddr("a word", "broadcast", "everybody".into(), 6),
        ipaddr("a word", "arp_count", "many".into(), 6),
        ipaddr("too long a word", "iflabel", "a-label-that-is-too-long".into(), 6),
        ipaddr("a word", "run_arping", "perhaps".into(), 6),
    ]
}

impl Bad {
    fn refused(self, machine: &Machine) {
        let sample = crate::sample::prepare(machine, self.agent);
        let mut call = machine.agent(self.agent);
        for (name, value) in &sample.parameters {
            if *name != self.parameter {
                call = call.set(name, value);
            }
        }
        let call = call.set(self.parameter, &self.value);
        let (state, files) = (machine.state(), listing(machine));
        let outcome = call.action("start").exits(self.code);
        one_clear_line(&outcome, self.word);
        // A monitor must not take the resource down cluster-wide.
        call.probe().exits(7);
        let monitor = call.action("monitor");
        assert!(matches!(monitor.code, Some(1 | 7)), "monitor: {}", *monitor);
        call.action("stop").exits(0);
        state.unchanged(machine);
        assert_eq!(files, listing(machine), "files came or went");
    }
}

/// One line, of bearable length, that names what it is about.
fn one_clear_line(outcome: &crate::harness::Outcome, word: &str) {
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", **outcome);
    assert!(outcome.stdout.is_empty(), "{}", **outcome);
    let reason = outcome.exit_reason().unwrap_or_default();
    assert!((10..=200).contains(&reason.len()), "{} bytes: {reason}", reason.len());
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
    assert!(reason.contains(word), "it does not name {word:?}: {reason}");
}

/// Files outside what the agents may keep for themselves.
fn listing(machine: &Machine) -> String {
    machine.must("sh", &["-c", "find /srv /etc /mnt /opt /home -xdev | sort"])
}

fn unknown_parameter(machine: &Machine, name: &'static str) {
    let sample = crate::sample::prepare(machine, name);
    let state = machine.state();
    let odd: Vec<(OsString, OsString)> = vec![
        ("no_such_parameter".into(), "1".into()),
        ("with-dash".into(), "1".into()),
        ("".into(), "1".into()),
        (bytes(b"\xff"), bytes(b"\xff")),
        ("long".into(), "x".repeat(100_000).into()),
    ];
    let with = |call: Call, (name, value): &(OsString, OsString)| {
        let mut full = OsString::from("OCF_RESKEY_");
        full.push(name);
        call.env(full, value)
    };
    let call = odd.iter().fold(sample.call(machine, name), with);
    call.action("validate-all").exits(0);
    call.probe().exits(7);
    if crate::sample::can_run(name) {
        call.action("start").exits(0);
        call.action("monitor").exits(0);
        call.action("stop").exits(0);
    }
    state.unchanged(machine);
}
