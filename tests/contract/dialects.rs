//! One binary, three ways to call it, told apart by how it is called.

use crate::harness::{Cases, HARESOURCES, Machine, Program};
use crate::sample;
use ocf_meta::Meta;
use std::fs::File;

pub fn cases(cases: &mut Cases, meta: &'static Meta) {
    let name = meta.name;
    let mut add = |sentence: &str, run: fn(&Machine, &'static str)| {
        cases.add(format!("{name} called {sentence}"), move |machine| run(machine, name));
    };
    add("with nothing shows how, on stderr, and exits 2", with_nothing);
    add("for help gives it on stdout, whoever asks", for_help);
    add("with an unknown action exits 3 and says so in one line", with_unknown_action);
    add("as OCF ignores what follows the action", with_more_words);
    add("through a link is the agent all the same", through_a_link);
    add("by hand takes words, options and names alike", by_hand);
    add("by its name with one word says how it is", by_name);
    add("by heartbeat answers status with a word it knows", by_heartbeat);
    add("by heartbeat in doubt is read as running by heartbeat itself", in_doubt);
    add("by heartbeat takes a placeholder and name=value", with_placeholder);
    add("to explain itself changes nothing", to_explain);
    if sample::can_run(name) {
        add("in one dialect is understood in the other", across_dialects);
        add("through a whole life in each dialect tells the truth", whole_life);
    }
}

fn with_nothing(machine: &Machine, name: &'static str) {
    let outcome = machine.agent(name).by_hand(&[]).exits(2);
    assert!(outcome.stdout.is_empty() && outcome.stderr.contains("Usage: "), "{}", *outcome);
}

fn for_help(machine: &Machine, name: &'static str) {
    let agent = machine.agent(name);
    for word in ["help", "usage", "--help"] {
        for outcome in [agent.by_hand(&[word]), agent.action(word)] {
            let outcome = outcome.exits(0);
            assert!(outcome.stderr.is_empty(), "{word}: {}", *outcome);
            let lines: Vec<_> = outcome.stdout.lines().collect();
            assert!(lines.len() <= 24, "{word}: {} lines", lines.len());
            let wide = lines.iter().find(|line| line.chars().count() > 80);
            assert!(wide.is_none(), "{word}: {wide:?}");
            for shown in ["Usage: ", "Pacemaker ", "by hand "] {
                assert!(outcome.stdout.contains(shown), "{word} lacks {shown:?}");
            }
            let meta = agents::ALL.iter().find(|meta| meta.name == name).unwrap();
            let for_heartbeat = outcome.stdout.contains("\nharesources ");
            assert_eq!(for_heartbeat, meta.is_for_heartbeat(), "{word}: {}", *outcome);
        }
    }
}

fn with_unknown_action(machine: &Machine, name: &'static str) {
    let agent = sample::prepare(machine, name).call(machine, name);
    for action in ["bogus", "START", "", "--start", "monitor "] {
        let outcome = agent.action(action).exits(3);
        assert!(outcome.exit_reason().is_some(), "{action:?}: {}", *outcome);
        assert!(outcome.stdout.is_empty(), "{action:?}: {}", *outcome);
    }
    let outcome = machine.agent(name).by_hand(&["word", "bogus"]).exits(3);
    assert!(outcome.stdout.is_empty() && outcome.stderr.contains("bogus"), "{}", *outcome);
    machine.agent(name).heartbeat(&["word", "bogus"]).exits(3);
}

fn with_more_words(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let state = machine.state();
    let agent = sample.call(machine, name).env("OCF_RESOURCE_TYPE", name);
    let agent = agent.env("OCF_RA_VERSION_MAJOR", "1").env("OCF_RESOURCE_INSTANCE", "test");
    agent.by_hand(&["monitor", "start", "--nonsense"]).exits(7);
    state.unchanged(machine);
}

fn through_a_link(machine: &Machine, name: &'static str) {
    let target = format!("{}/{name}", crate::harness::AGENTS);
    machine.must("ln", &["-s", crate::harness::AGENTS, "/usr/lib/ocf/resource.d/alias"]);
    let linked = Program::new(format!("/usr/lib/ocf/resource.d/alias/{name}")).args(["meta-data"]);
    let direct = Program::new(target).args(["meta-data"]).run();
    let linked = linked.run();
    assert_eq!((linked.code, &linked.stdout), (Some(0), &direct.stdout), "{linked}");
}

fn by_hand(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let state = machine.state();
    let agent = machine.agent(name);
    let status = agent.by_hand(&sample.words_and("status"));
    assert_eq!((status.code, status.stdout.trim()), (Some(3), expected_word(name)), "{}", *status);
    let options: Vec<_> =
        sample.parameters.iter().map(|(name, value)| format!("--{name}={value}")).collect();
    let words: Vec<_> = options.iter().map(String::as_str).chain(["status"]).collect();
    agent.by_hand(&words).exits(3);
    let names = sample.options();
    let words: Vec<_> = names.iter().map(String::as_str).chain(["status"]).collect();
    agent.by_hand(&words).exits(3);
    agent.by_hand(&sample.words_and("monitor")).exits(7);
    state.unchanged(machine);
}

/// As a root shell finds it. Where what names the resource is missing, that is
/// the answer.
fn by_name(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let state = machine.state();
    let link = format!("/usr/sbin/{name}");
    machine.must("ln", &["-sf", &format!("{}/{name}", crate::harness::AGENTS), &link]);
    let meta = agents::ALL.iter().find(|meta| meta.name == name).unwrap();
    let lacking = meta.params.iter().find(|param| param.required && param.names);
    for called in [name, &link] {
        let said = Program::new(called).args(["status"]).run();
        match lacking {
            Some(param) => assert!(said.stderr.contains(param.name), "{called}: {said}"),
            None => assert!(!said.stdout.trim().is_empty() || said.code == Some(10), "{said}"),
        }
        // The words of the cluster's tools, and what heartbeat calls.
        let mut ocf = Program::new(called).args(["status"]).env("OCF_ROOT", "/usr/lib/ocf");
        for (name, value) in &sample.parameters {
            ocf = ocf.env(format!("OCF_RESKEY_{name}"), value);
        }
        let said = ocf.run();
        assert_eq!((said.code, said.stdout.as_str()), (Some(7), ""), "{called}: {said}");
    }
    machine.must("rm", &[&link]);
    state.unchanged(machine);
}

/// The agents for DRBD in haresources have always added what they know in
/// brackets.
fn expected_word(name: &str) -> &'static str {
    match name {
        "drbddisk" | "drbdupper" => "stopped (Unconfigured)",
        _ => "stopped",
    }
}

fn by_heartbeat(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let status = machine.agent(name).heartbeat(&sample.words_and("status")).exits(3);
    assert_eq!(status.stdout.trim(), expected_word(name));
    for word in ["running", "Running", "OK"] {
        assert!(!status.stdout.contains(word), "heartbeat reads {word:?} as running");
    }
    let link = format!("{HARESOURCES}/{name}");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink(), "{link}");
}

/// heartbeat takes a line apart by words, and any that is not `running` to it
/// is a resource that it may start elsewhere.
fn in_doubt(machine: &Machine, name: &'static str) {
    let reader = heartbeat_reads(machine);
    let is_running = |line: &str| {
        machine.file("/run/line", line);
        machine.run("sh", &["-c", &reader]).code == Some(0)
    };
    assert!(is_running("running") && !is_running("not running") && !is_running("stopped"));

    let sample = sample::prepare(machine, name);
    let words = sample.words_and("status");
    let agent = machine.agent(name);
    let told = agent.heartbeat(&words);
    assert!(!is_running(&told.stdout), "nothing runs, and heartbeat reads {}", *told);

    // Another action on it is under way: nothing can be told.
    machine.must("sh", &["-c", "mkdir -p -m 755 /run/resource-agents"]);
    agent.heartbeat(&sample.words_and("stop")).exits(0);
    let locks = machine.must("sh", &["-c", "ls /run/resource-agents/*.lock"]);
    let lock = File::open(locks.lines().next().expect("stop locks")).expect("it is there");
    lock.lock().expect("nobody has it");
    let told = agent.heartbeat(&words);
    assert!(told.code == Some(4) && is_running(&told.stdout), "in doubt: {}", *told);
    drop(lock);

    // And where it ends before it has looked.
    let nonsense = ["one", "two", "three", "four", "five", "six", "seven", "eight", "status"];
    let told = agent.heartbeat(&nonsense);
    assert!(told.code == Some(4) && is_running(&told.stdout), "ended early: {}", *told);
}

/// What heartbeat's own ResourceManager, as it is installed, does with the
/// output of `status`: a script that succeeds where it takes it for running.
fn heartbeat_reads(machine: &Machine) -> String {
    let manager = "/usr/share/heartbeat/ResourceManager";
    let text = std::fs::read_to_string(manager).expect("heartbeat is installed");
    let from = text.find("we_own_resource() {").expect("it asks for the status");
    let function = &text[from..from + text[from..].find("\n}\n").expect("it ends") + 3];
    machine.script("says", "#!/bin/sh\ncat /run/line\n");
    format!("resource2arg() {{ :; }}\nscriptpath() {{ echo says; }}\n{function}we_own_resource x\n")
}

fn with_placeholder(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let names = sample.options();
    let words: Vec<_> = ["-"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let words = [words, vec!["status"]].concat();
    machine.agent(name).heartbeat(&words).exits(3);
}

fn to_explain(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    explained(machine, name, &sample);
    if sample::can_run(name) {
        let agent = sample.call(machine, name);
        agent.action("start").exits(0);
        explained(machine, name, &sample);
        agent.action("stop").exits(0);
        explained(machine, name, &sample);
    }
}

fn explained(machine: &Machine, name: &str, sample: &sample::Sample) {
    let (state, files) = (machine.state(), machine.files());
    let agent = machine.agent(name);
    let text = agent.by_hand(&sample.words_and("explain")).exits(0);
    assert!(text.stdout.lines().count() > 1, "{}", *text);
    let words = [sample.words_and("explain"), vec!["--json"]].concat();
    let json = agent.by_hand(&words).exits(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json.is_object(), "{json}");
    state.unchanged(machine);
    files.unchanged(machine);
}

fn across_dialects(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let state = machine.state();
    let agent = sample.call(machine, name);
    let words = machine.agent(name);
    agent.action("start").exits(0);
    let seen = !state.changes(&machine.state()).is_empty();
    assert!(seen, "a start changes nothing that tests/harness/state.rs sees: teach it to see that");
    let told = words.by_hand(&sample.words_and("status"));
    assert!(
        told.code == Some(0),
        "what Pacemaker has started is not found by its parameters alone, as by heartbeat: is its \
         record named by the instance?\n{}",
        *told
    );
    words.heartbeat(&sample.words_and("start")).exits(0);
    words.heartbeat(&sample.words_and("stop")).exits(0);
    agent.probe().exits(7);
    words.by_hand(&sample.words_and("start")).exits(0);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    words.by_hand(&sample.words_and("status")).exits(3);
    state.unchanged(machine);
}

fn whole_life(machine: &Machine, name: &'static str) {
    let sample = sample::prepare(machine, name);
    let state = machine.state();
    let agent = sample.call(machine, name);
    let (ocf, bare) = (agent.clone(), agent.bare());
    let words = machine.agent(name);
    type Act<'a> = &'a dyn Fn(&str) -> crate::harness::Outcome;
    let dialects: [(&str, Act, i32); 4] = [
        ("ocf", &|action| ocf.action(action), 7),
        ("tester", &|action| bare.action(action), 7),
        ("heartbeat", &|action| words.heartbeat(&sample.words_and(action)), 3),
        ("by hand", &|action| words.by_hand(&sample.words_and(action)), 3),
    ];
    for (dialect, act, stopped) in dialects {
        let before = machine.state();
        // Started twice and stopped twice: what is done is not done again.
        let life = ["status", "start", "start", "status", "stop", "stop", "status"];
        let codes: Vec<_> = life.iter().map(|action| act(action).code).collect();
        let wanted = [stopped, 0, 0, 0, 0, 0, stopped].map(Some);
        assert_eq!(codes, wanted, "{dialect}: {life:?}");
        before.unchanged(machine);
    }
    state.unchanged(machine);
}
