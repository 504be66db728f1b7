//! ocf-tester, as Debian ships it.

use crate::harness::{Case, Cases, Machine, Program};
use crate::sample;
use ocf_meta::Meta;

pub fn cases(cases: &mut Cases, meta: &'static Meta) {
    if sample::can_run(meta.name) {
        let name = meta.name;
        let case = Case::new(format!("{name}: ocf-tester has no complaint"), move |machine| {
            no_complaint(machine, name);
        });
        cases.push(case.needs(&["ocf-tester", "xmllint"]));
    }
}

fn no_complaint(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let state = machine.state();
    let options = sample.options();
    let words: Vec<_> = options.iter().flat_map(|option| ["-o", option]).collect();
    let agent = format!("{}/{name}", crate::harness::AGENTS);
    let words = [vec!["-n", "test"], words, vec![&agent]].concat();
    let output = Program::new("ocf-tester").args(words).env("HOME", "/root").run();
    assert_eq!(output.code, Some(0), "{output}");
    assert!(output.stdout.contains("passed all tests"), "{output}");
    // It marks what it does not like; what is optional it says so.
    let complaints: Vec<_> = output.stdout.lines().chain(output.stderr.lines()).collect();
    let complaints = complaints.iter().filter(|line| {
        line.contains("rc=") || line.to_lowercase().contains("warning") || line.contains("ERROR")
    });
    let complaints: Vec<_> = complaints.filter(|line| !line.contains("(optional)")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    state.unchanged(machine);
}
