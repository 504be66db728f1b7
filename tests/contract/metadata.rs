//! The meta-data: valid, quick, and independent of everything.

use crate::harness::{Case, Cases, Machine};
use ocf_meta::Meta;
use std::collections::BTreeSet;
use std::time::Duration;

/// pcs carries the OCF 1.1 schema.
const SCHEMA: &str = "/usr/share/pcs/data/ocf-1.1.rng";
const NOBODY: u32 = 65534;

pub fn cases(cases: &mut Cases, meta: &'static Meta) {
    let name = meta.name;
    let mut add = |sentence: &str, run: fn(&Machine, &'static Meta), needs: &[&'static str]| {
        let case = Case::new(format!("{name} meta-data: {sentence}"), move |m| run(m, meta));
        cases.push(case.needs(needs));
    };
    add("is valid by the OCF 1.1 schema", is_valid_by_schema, &["xmllint", SCHEMA]);
    add("is valid by its own document type", is_valid_by_its_type, &["xmllint"]);
    add("begins as crmsh wants it, in ASCII", begins_right, &[]);
    add("needs no parameter, no right and no input", needs_nothing, &[]);
    add("comes within a second, and whole to twenty at once", is_quick, &[]);
    add("is XML whatever output format is set", is_always_xml, &[]);
    add("names each parameter once, with both texts", names_parameters, &["xmllint"]);
    add(
        "gives each action a time limit and each monitor its own interval",
        has_actions,
        &["xmllint"],
    );
    add("spawns nothing and opens nothing", touches_nothing, &["strace"]);
}

fn text(machine: &Machine, name: &str) -> String {
    let outcome = machine.agent(name).action("meta-data").exits(0);
    assert!(outcome.stderr.is_empty(), "{}", *outcome);
    outcome.stdout.clone()
}

fn lint(machine: &Machine, name: &str, words: &[&str]) -> String {
    machine.file("/tmp/meta.xml", &text(machine, name));
    machine.must("xmllint", &[&["--nonet"], words, &["/tmp/meta.xml"]].concat())
}

fn is_valid_by_schema(machine: &Machine, meta: &'static Meta) {
    lint(machine, meta.name, &["--noout", "--relaxng", SCHEMA]);
}

fn is_valid_by_its_type(machine: &Machine, meta: &'static Meta) {
    lint(machine, meta.name, &["--noout", "--valid"]);
}

fn begins_right(machine: &Machine, meta: &'static Meta) {
    let text = text(machine, meta.name);
    assert!(text.starts_with("<?xml version=\"1.0\"?>\n"), "{}", text.lines().next().unwrap());
    assert!(text.is_ascii() && text.ends_with('\n'));
    assert!(text.contains("<version>1.1</version>"));
    assert!(text.contains(&format!("<resource-agent name=\"{}\"", meta.name)));
}

fn needs_nothing(machine: &Machine, meta: &'static Meta) {
    let wanted = text(machine, meta.name);
    let agent = machine.agent(meta.name);
    let callers = [
        ("nobody", agent.clone().user(NOBODY)),
        ("without an environment", agent.clone().bare()),
        ("without an input", agent.clone().closed_stdin()),
        ("with another version", agent.clone().env("OCF_RA_VERSION_MAJOR", "9")),
        ("without an instance", agent.clone().instance("")),
        ("without programs", agent.clone().env("PATH", "").env("OCF_TESTER_FAIL_HAVE_BINARY", "1")),
        ("with nonsense", agent.clone().set("no_such_parameter", "\u{1b}[2J")),
    ];
    for (who, call) in callers {
        let outcome = call.action("meta-data").exits(0);
        assert!(outcome.stdout == wanted && outcome.stderr.is_empty(), "{who}: {}", *outcome);
    }
    let by_hand = agent.by_hand(&["meta-data"]).exits(0);
    assert_eq!(by_hand.stdout, wanted);
}

/// The cluster asks before each start, in parallel with anything.
fn is_quick(machine: &Machine, meta: &'static Meta) {
    let wanted = text(machine, meta.name);
    let agent = machine.agent(meta.name);
    let mut times: Vec<_> = (0..9).map(|_| agent.action("meta-data").exits(0).took).collect();
    times.sort_unstable();
    assert!(times[4] < Duration::from_secs(1), "{times:?}");
    let all: Vec<_> = (0..20).map(|_| agent.spawn("meta-data")).collect();
    for running in all {
        let output = running.wait(Duration::from_secs(20));
        assert!(output.code == Some(0) && output.stdout == wanted, "{output}");
    }
}

fn is_always_xml(machine: &Machine, meta: &'static Meta) {
    let wanted = text(machine, meta.name);
    for format in ["text", "xml", "json", ""] {
        let call = machine.agent(meta.name).env("OCF_OUTPUT_FORMAT", format);
        assert_eq!(call.action("meta-data").exits(0).stdout, wanted, "{format:?}");
    }
}

fn names_parameters(machine: &Machine, meta: &'static Meta) {
    let count = |path: &str| {
        let words = ["--xpath", &format!("count({path})")];
        lint(machine, meta.name, &words).trim().parse::<usize>().unwrap()
    };
    let current: Vec<_> = meta.all_params().map(|param| param.name).collect();
    let older: Vec<_> = meta.all_params().filter_map(|param| param.alias).collect();
    let names: BTreeSet<_> = current.iter().chain(&older).copied().collect();
    assert_eq!(names.len(), current.len() + older.len(), "a name is there twice");
    assert_eq!(count("//parameter[deprecated]"), older.len());
    assert_eq!(count("//parameter"), names.len());
    assert_eq!(count("//parameter[longdesc[@lang='en'] and shortdesc[@lang='en']]"), names.len());
    for name in &names {
        assert_eq!(count(&format!("//parameter[@name='{name}']")), 1, "{name}");
        // Xen itself writes Dom0.
        let mut plain = name.replace("Dom0", "dom0").into_bytes().into_iter();
        let lower = plain.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let old = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        assert!(lower || old, "{name}");
    }
    for trace in ["trace_ra", "trace_file"] {
        assert!(names.contains(trace), "pcs refuses {trace} unless it is listed");
    }
    // pcs refuses the whole agent for either of these.
    assert_eq!(count("//parameter/@private"), 0);
    assert_eq!(count("//parameter[@required!='0' and @required!='1']"), 0);
}

fn has_actions(machine: &Machine, meta: &'static Meta) {
    let list = |path: &str| {
        machine.file("/tmp/meta.xml", &text(machine, meta.name));
        // Finding nothing is an error to xmllint, and none to us.
        let found =
            machine.run("xmllint", &["--xpath", &format!("//action{path}"), "/tmp/meta.xml"]);
        found.stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let names = list("/@name");
    for action in ["start", "stop", "monitor", "validate-all", "meta-data"] {
        assert!(names.contains(&format!("name=\"{action}\"")), "{action} of {names:?}");
    }
    for timeout in list("/@timeout") {
        let seconds = timeout.trim_start_matches("timeout=\"").trim_end_matches("s\"");
        assert!(seconds.parse::<u32>().is_ok(), "{timeout}");
    }
    let intervals = list("[@name='monitor']/@interval");
    let distinct: BTreeSet<_> = intervals.iter().collect();
    assert!(!intervals.is_empty() && distinct.len() == intervals.len(), "{intervals:?}");
    for role in list("/@role") {
        assert!(role == "role=\"Promoted\"" || role == "role=\"Unpromoted\"", "{role}");
    }
}

fn touches_nothing(machine: &Machine, meta: &'static Meta) {
    let trace = ["-f", "-o", "/tmp/trace", "-e", "trace=process,network,openat,open,mount"];
    let agent = format!("{}/{}", crate::harness::AGENTS, meta.name);
    machine.must("strace", &[&trace[..], &[&agent, "meta-data"]].concat());
    let trace = std::fs::read_to_string("/tmp/trace").unwrap();
    // The C library looks for its stack's end in the memory map.
    let usual = |line: &&str| !line.contains("exit") && !line.contains("\"/proc/self/maps\"");
    let calls: Vec<_> = trace.lines().filter(usual).collect();
    assert_eq!(calls.len(), 1, "only the exec itself: {calls:#?}");
}
