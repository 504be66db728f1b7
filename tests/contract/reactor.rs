//! drbd-reactor's units: systemd runs `ocf.rs`, which calls the agent with the
//! unit's environment and reads its output to the end. Nothing of a cluster is
//! in there: no version, no type, no time limit, no interval; the instance is a
//! unit's name as systemd escapes it; a parameter without a value is empty; and
//! stop is called again after a stop.

use crate::harness::{AGENTS, Cases, Machine, Output, Program};
use crate::sample;
use ocf_meta::Meta;
use std::time::Duration;

/// As systemd writes `p-data_r0` after `ocf.rs@`.
const INSTANCE: &str = "p\\x2ddata_r0";

/// When systemd kills a start or a stop.
const LIMIT: Duration = Duration::from_secs(90);

pub fn cases(cases: &mut Cases, meta: &'static Meta) {
    let name = meta.name;
    cases.add(format!("{name} called by drbd-reactor's unit does what it does"), move |machine| {
        lives(machine, meta);
    });
    cases.add(format!("{name} called by drbd-reactor's unit takes empty values for none"), {
        move |machine| takes_empty_values(machine, meta)
    });
}

/// A unit's call. Its output is read until the last who has it lets go of it.
struct Unit {
    agent: String,
    parameters: Vec<(String, String)>,
}

impl Unit {
    fn of(machine: &Machine, meta: &Meta) -> Self {
        let sample = sample::prepare(machine, meta.name);
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        let parameters = sample.parameters.into_iter().map(owned).collect();
        Self { agent: format!("{AGENTS}/{}", meta.name), parameters }
    }

    fn call(&self, action: &str) -> Output {
        const READS: &str = "said=$(\"$AGENT\" \"$1\" 2>&1); code=$?; echo \"$said\"; exit $code";
        let mut program = Program::new("sh").args(["-c", READS, "sh", action]).limit(LIMIT);
        let unit = [
            ("AGENT", self.agent.as_str()),
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_RESOURCE_INSTANCE", INSTANCE),
            ("INVOCATION_ID", "0123456789abcdef0123456789abcdef"),
            ("JOURNAL_STREAM", "8:12345"),
        ];
        for (name, value) in unit {
            program = program.env(name, value);
        }
        for (name, value) in &self.parameters {
            program = program.env(format!("OCF_RESKEY_{name}"), value);
        }
        let output = program.run();
        assert!(!output.timed_out, "{action}: somebody keeps its output: {output}");
        output
    }

    #[track_caller]
    fn exits(&self, action: &str, code: i32) {
        let output = self.call(action);
        assert_eq!(output.code, Some(code), "{action}: {output}");
    }
}

fn lives(machine: &Machine, meta: &'static Meta) {
    let unit = Unit::of(machine, meta);
    let before = machine.state();
    unit.exits("monitor", 7);
    if sample::can_run(meta.name) {
        for _ in 0..2 {
            unit.exits("start", 0);
            unit.exits("monitor", 0);
        }
        let kept = machine.must("ls", &["-a", "/run/resource-agents"]);
        assert!(!kept.contains('\\'), "{kept}");
    }
    for _ in 0..2 {
        unit.exits("stop", 0);
        unit.exits("monitor", 7);
    }
    before.unchanged(machine);
}

fn takes_empty_values(machine: &Machine, meta: &'static Meta) {
    let mut unit = Unit::of(machine, meta);
    let given: Vec<String> = unit.parameters.iter().map(|(name, _)| name.clone()).collect();
    let others = meta.params.iter().filter(|param| !given.iter().any(|name| name == param.name));
    unit.parameters.extend(others.map(|param| (param.name.to_owned(), String::new())));
    unit.exits("validate-all", 0);
    unit.exits("monitor", 7);
    if sample::can_run(meta.name) {
        unit.exits("start", 0);
        unit.exits("monitor", 0);
    }
    unit.exits("stop", 0);
}
