//! Killed at any instant: the next monitor tells the truth, the next stop ends
//! clean, and nothing stays behind.

use crate::harness::{Call, Cases, Instants, Killed, Machine};
use std::time::{Duration, Instant};

/// How often each action of each agent is killed.
const TIMES: u32 = 200;

pub fn cases(cases: &mut Cases) {
    for action in ["start", "stop"] {
        let sentence = format!("killed {TIMES} times during {action} is recovered from");
        cases.add(format!("Filesystem: {sentence}"), move |machine| {
            let disk = machine.formatted("ext4");
            machine.must("mkdir", &["/srv/data"]);
            let given = [("device", disk.path()), ("directory", "/srv/data"), ("fstype", "ext4")];
            let agent = machine.agent("Filesystem").with(&given);
            let runs = |machine: &Machine| !machine.mounts_at("/srv/data").is_empty();
            Trial { machine, agent, runs }.go_through(action);
        });
        cases.add(format!("Filesystem: a bind mount {sentence}"), move |machine| {
            machine.must("mkdir", &["/srv/source", "/srv/data"]);
            let given = [("device", "/srv/source"), ("directory", "/srv/data")];
            let agent = machine.agent("Filesystem").with(&given);
            let agent = agent.with(&[("fstype", "none"), ("options", "bind,ro")]);
            let runs = |machine: &Machine| {
                let mounts = machine.mounts_at("/srv/data");
                // Until it is read-only it is not what was asked for.
                mounts.last().is_some_and(|mount| mount.options.starts_with("ro"))
            };
            Trial { machine, agent, runs }.go_through(action);
        });
        cases.add(format!("IPaddr: {sentence}"), move |machine| {
            machine.nic("eth0", &["10.0.0.1/24"]);
            let agent = machine.agent("IPaddr").set("ip", "10.0.0.9");
            let runs = |machine: &Machine| machine.address("10.0.0.9").is_some();
            Trial { machine, agent, runs }.go_through(action);
        });
        cases.add(format!("IPaddr: an IPv6 address {sentence}"), move |machine| {
            machine.without_dad();
            machine.nic("eth0", &["fd00::1/64"]);
            let agent = machine.agent("IPaddr").set("ip", "fd00::9");
            let runs = |machine: &Machine| {
                let found = machine.address("fd00::9");
                found.is_some_and(|address| !address.flags.contains(&"tentative"))
            };
            Trial { machine, agent, runs }.go_through(action);
        });
    }
}

/// An agent, and the kernel's word on whether its resource is whole.
struct Trial<'m> {
    machine: &'m Machine,
    agent: Call,
    runs: fn(&Machine) -> bool,
}

impl Trial<'_> {
    fn go_through(&self, action: &str) {
        let before = self.machine.state();
        let mut instants = Instants::within(self.duration(action) * 5 / 4);
        let mut killed = 0;
        for round in 1..=TIMES {
            let (seed, instant) = (instants.seed(), instants.next());
            let at =
                format!("round {round}, {action} killed after {instant:?}, STURDY_SEED={seed}");
            if action == "stop" {
                self.agent.action("start").exits(0);
            }
            match self.agent.killed(action, instant) {
                Killed::After(_) => killed += 1,
                Killed::TooLate(output) => assert_eq!(output.code, Some(0), "{at}: {output}"),
            }
            self.monitor_is_right(&at);
            let stop = self.agent.action("stop");
            assert_eq!(stop.code, Some(0), "{at}: {}", *stop);
            let changes = before.changes(&self.machine.state());
            assert!(changes.is_empty(), "{at}: stop left {changes:#?}");
            assert_eq!(self.agent.probe().code, Some(7), "{at}");
        }
        // Instants that all come too late would prove nothing.
        assert!(killed > TIMES / 4, "only {killed} of {TIMES} were killed");
    }

    /// What the kernel says is asked before and after: an address may become
    /// usable in between, with nobody's help.
    fn monitor_is_right(&self, at: &str) {
        let before = (self.runs)(self.machine);
        let monitor = self.agent.action("monitor");
        let after = (self.runs)(self.machine);
        match monitor.code {
            Some(0) => {
                assert!(before || after, "{at}: monitor says running, the kernel does not");
            }
            // Stopped, or neither whole nor gone.
            Some(7 | 1) => {
                assert!(!before || !after, "{at}: the kernel says running, monitor: {}", *monitor);
            }
            _ => panic!("{at}: {}", *monitor),
        }
    }

    /// The usual time of the action, from a few of them.
    fn duration(&self, action: &str) -> Duration {
        let mut times: Vec<_> = (0..5)
            .map(|_| {
                let started = self.timed("start");
                let stopped = self.timed("stop");
                if action == "start" { started } else { stopped }
            })
            .collect();
        times.sort_unstable();
        times[2]
    }

    fn timed(&self, action: &str) -> Duration {
        let since = Instant::now();
        self.agent.action(action).exits(0);
        since.elapsed()
    }
}
