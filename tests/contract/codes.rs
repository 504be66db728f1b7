//! Every exit code of OCF 1.1, and what each dialect makes of it.

use crate::harness::{Call, Cases, Machine};
use crate::sample::{self, Sample};
use ocf_meta::{Meta, Param};

const NOBODY: u32 = 65534;

pub fn cases(cases: &mut Cases, meta: &'static Meta) {
    let name = meta.name;
    let mut add = |sentence: &str, run: fn(&Machine, &'static Meta)| {
        cases.add(format!("{name} exits {sentence}"), move |machine| run(machine, meta));
    };
    add("7 from a probe where nothing runs, without a reason", seven);
    add("6 from start when something required is missing, 0 from stop, 7 from a probe", six);
    if sample::can_run(name) && meta.params.iter().any(is_for_start) {
        add("0 from a stop without what only a start requires, and has stopped", stop_without);
        add("0 from no stop that cannot tell what is the resource's", stop_without_record);
    }
    add("4 from start without the right to", four);
    add("1 when the caller speaks another OCF", one);
    add("2 when the cluster names no instance", two);
    add("the same with all output closed", closed_output);
    add("7 from a probe where no program is installed", without_programs);
    if sample::can_run(name) {
        add("0 from start and stop as often as they are called", zero);
    }
}

fn seven(machine: &Machine, meta: &'static Meta) {
    let agent = sample::prepare(machine, meta.name).call(machine, meta.name);
    for outcome in [agent.probe(), agent.clone().meta("interval", "0").probe()] {
        let outcome = outcome.exits(7);
        assert!(outcome.exit_reason().is_none() && outcome.stderr.is_empty(), "{}", *outcome);
    }
}

fn six(machine: &Machine, meta: &'static Meta) {
    let required: Vec<_> = meta.params.iter().filter(|param| param.required).collect();
    let sample = sample::prepare(machine, meta.name);
    let state = machine.state();
    for lost in required {
        for empty in [false, true] {
            let mut agent = without(machine, meta, &sample, lost);
            if empty {
                agent = agent.set(lost.name, "");
            }
            agent.action("start").exits(6).because(lost.name);
            agent.action("validate-all").exits(6).because(lost.name);
            // Nothing is there: a node must not be fenced over it, nor the
            // resource be stopped everywhere.
            agent.action("stop").exits(0);
            let probe = agent.probe().exits(7);
            assert!(probe.exit_reason().is_none(), "{}", *probe);
            match is_for_start(lost) {
                true => agent.action("monitor").exits(7),
                false => agent.action("monitor").exits(1).because(lost.name),
            };
        }
    }
    state.unchanged(machine);
}

/// Required, and no part of the resource's name: it may run all the same.
fn is_for_start(param: &Param) -> bool {
    param.required && !param.names
}

/// The call of the sample without this parameter.
fn without(machine: &Machine, meta: &Meta, sample: &Sample, lost: &Param) -> Call {
    let mut call = machine.agent(meta.name);
    for (name, value) in sample.parameters.iter().filter(|(name, _)| *name != lost.name) {
        call = call.set(name, value);
    }
    call
}

/// What is there is found by what names it, and by what the start has recorded.
fn stop_without(machine: &Machine, meta: &'static Meta) {
    let sample = sample::prepare(machine, meta.name);
    let whole = sample.call(machine, meta.name);
    for lost in meta.params.iter().filter(|param| is_for_start(param)) {
        let agent = without(machine, meta, &sample, lost);
        whole.action("start").exits(0);
        agent.action("monitor").exits(0);
        agent.probe().exits(0);
        agent.action("start").exits(6).because(lost.name);
        whole.action("monitor").exits(0);
        agent.action("stop").exits(0);
        whole.probe().exits(7);
    }
}

/// Without a record there is doubt, or proof that it is stopped.
fn stop_without_record(machine: &Machine, meta: &'static Meta) {
    let sample = sample::prepare(machine, meta.name);
    let whole = sample.call(machine, meta.name);
    for lost in meta.params.iter().filter(|param| is_for_start(param)) {
        let agent = without(machine, meta, &sample, lost);
        whole.action("start").exits(0);
        machine.must("find", &["/run/resource-agents", "-type", "f", "-delete"]);
        let before = whole.probe().code;
        if agent.action("stop").code == Some(0) {
            whole.probe().exits(7);
        } else {
            agent.action("stop").exits(1).because(lost.name);
            agent.probe().exits(1).because(lost.name);
            assert_eq!(whole.probe().code, before, "{}", lost.name);
        }
        whole.action("stop").exits(0);
        whole.probe().exits(7);
    }
}

fn four(machine: &Machine, meta: &'static Meta) {
    let sample = sample::prepare(machine, meta.name);
    let state = machine.state();
    let agent = sample.call(machine, meta.name).user(NOBODY);
    for action in ["start", "stop"] {
        let outcome = agent.action(action).exits(4);
        assert!(outcome.exit_reason().is_some(), "{action}: {}", *outcome);
    }
    state.unchanged(machine);
}

fn one(machine: &Machine, meta: &'static Meta) {
    let agent = sample::prepare(machine, meta.name).call(machine, meta.name);
    let agent = agent.env("OCF_RA_VERSION_MAJOR", "2");
    for action in ["start", "monitor", "validate-all"] {
        let outcome = agent.action(action).exits(1);
        assert!(outcome.exit_reason().is_some(), "{action}: {}", *outcome);
    }
}

fn two(machine: &Machine, meta: &'static Meta) {
    let agent = sample::prepare(machine, meta.name).call(machine, meta.name).instance("");
    agent.action("start").exits(2).because("OCF_RESOURCE_INSTANCE");
}

/// Whoever has closed our output gets the code all the same.
fn closed_output(machine: &Machine, meta: &'static Meta) {
    let agent = format!("{}/{}", crate::harness::AGENTS, meta.name);
    let line = |action: &str, end: &str| {
        machine.run("sh", &["-c", &format!("\"$1\" {action} {end}"), "sh", &agent]).code
    };
    for end in [">&- 2>&-", "> /dev/full 2> /dev/full", "<&- >&- 2>&-"] {
        assert_eq!(line("meta-data", end), Some(0), "{end}");
        assert_eq!(line("bogus", end), Some(3), "{end}");
    }
}

fn without_programs(machine: &Machine, meta: &'static Meta) {
    let agent = sample::prepare(machine, meta.name).call(machine, meta.name);
    let without = agent.clone().env("OCF_TESTER_FAIL_HAVE_BINARY", "1");
    let probe = without.probe();
    assert!(matches!(probe.code, Some(5 | 7)), "wanted 5 or 7\n{}", *probe);
    agent.env("PATH", "/nonexistent").probe().exits(7);
}

fn zero(machine: &Machine, meta: &'static Meta) {
    let agent = sample::prepare(machine, meta.name).call(machine, meta.name);
    for _ in 0..3 {
        let outcome = agent.action("start").exits(0);
        assert!(outcome.exit_reason().is_none(), "{}", *outcome);
    }
    let monitor = agent.action("monitor").exits(0);
    assert!(monitor.stdout.is_empty() && monitor.stderr.is_empty(), "{}", *monitor);
    for _ in 0..3 {
        let outcome = agent.action("stop").exits(0);
        assert!(outcome.exit_reason().is_none(), "{}", *outcome);
    }
    agent.action("monitor").exits(7);
}
