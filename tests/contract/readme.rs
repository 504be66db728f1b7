//! What the README, which is in the packages, has people write and type: the
//! agents understand it.

use crate::harness::{Case, Cases, Machine};
use ocf_meta::Meta;
use std::path::{Path, PathBuf};

const README: &str = include_str!("../../README.md");

pub fn cases(cases: &mut Cases) {
    for meta in agents::ALL {
        let sentence =
            format!("{}: what its skeleton has left to be written is written", meta.name);
        cases.push(Case::free(sentence, move || written(meta.name)));
    }
    cases.push(Case::free("README: a primitive has what its agent declares", primitives));
    cases.add("README: heartbeat is told the state by each word of a line", haresources);
    cases.add("README: what a person types is understood", typed);
    cases.push(Case::free("README: a manual page that is named is one of an agent's", pages));
}

fn meta(name: &str) -> Option<&'static Meta> {
    agents::ALL.iter().copied().find(|meta| meta.name == name)
}

/// What stands in a block of its own, a line broken by a backslash as one.
fn lines() -> impl Iterator<Item = String> {
    let blocks: Vec<_> = README.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let whole = blocks.join("\n").replace("\\\n", " ");
    whole.lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// `cargo xtask new` marks each text that is its author's.
fn written(name: &str) -> Result<(), String> {
    let mark = format!("TO BE WRITTEN ({name})");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let places = ["README.md", "CHANGELOG.md", "agents/src", "tests/kernel"];
    let mut left: Vec<PathBuf> = places.iter().map(|place| root.join(place)).collect();
    let mut marked = Vec::new();
    while let Some(path) = left.pop() {
        let shown = path.display().to_string();
        let failed = |err| format!("cannot read {shown}: {err}");
        if path.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(failed)? {
                left.push(entry.map_err(failed)?.path());
            }
        } else if std::fs::read_to_string(&path).map_err(failed)?.contains(&mark) {
            marked.push(shown);
        }
    }
    if marked.is_empty() { Ok(()) } else { Err(format!("`{mark}` in {}", marked.join(", "))) }
}

fn primitives() -> Result<(), String> {
    let mut seen = 0;
    for line in lines().filter(|line| line.starts_with("primitive ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        let name = words[2].strip_prefix("ocf:sturdy:").ok_or("it is one of ours")?;
        let meta = meta(name).ok_or(format!("there is no {name}"))?;
        let operation = words.iter().position(|word| *word == "op").unwrap_or(words.len());
        for given in words[3..operation].iter().filter(|word| **word != "params") {
            let name = given.split('=').next().unwrap_or_default();
            meta.param(name).ok_or(format!("{} has no {name}", meta.name))?;
        }
        for required in meta.params.iter().filter(|param| param.required) {
            let set = format!("{}=", required.name);
            let is_set = words.iter().any(|word| word.starts_with(&set));
            is_set.then_some(()).ok_or(format!("{} needs {}", meta.name, required.name))?;
        }
        for action in words[operation..].iter().skip(1).filter(|word| !word.contains('=')) {
            let offered = *action == "op" || meta.offers(action);
            offered.then_some(()).ok_or(format!("{} has no {action}", meta.name))?;
        }
        seen += 1;
    }
    if seen == 0 { Err("there is no primitive".into()) } else { Ok(()) }
}

fn haresources(machine: &Machine) {
    let line = lines().find(|line| line.contains("::")).expect("a line of haresources");
    for word in line.split_whitespace().skip(1) {
        let mut parts = word.split("::");
        let name = parts.next().unwrap();
        assert!(meta(name).is_some_and(Meta::is_for_heartbeat), "{name}");
        let words: Vec<_> = parts.chain(["status"]).collect();
        let told = machine.agent(name).heartbeat(&words);
        assert_eq!(told.code, Some(3), "{word}: {}", *told);
    }
}

fn typed(machine: &Machine) {
    let mut seen = 0;
    for line in lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let Some(meta) = words.first().and_then(|name| meta(name)) else { continue };
        // Nothing is started: what is asked is what a start would do.
        let words = words[1..].iter().map(|word| if *word == "start" { "explain" } else { word });
        let said = machine.agent(meta.name).by_hand(&words.collect::<Vec<_>>());
        let is_answer = !said.stdout.is_empty() && !said.stderr.contains("Usage: ");
        assert!(is_answer, "{line}: {}", *said);
        seen += 1;
    }
    assert!(seen > 2, "the README shows how agents are called by hand");
    for spoken in README.split('`').skip(1).step_by(2) {
        let mut words = spoken.split_whitespace();
        let Some(meta) = words.next().and_then(meta) else { continue };
        // To be piped into another program.
        let words: Vec<_> = words.take_while(|word| *word != "|").collect();
        if !words.is_empty() {
            machine.agent(meta.name).by_hand(&words).exits(0);
        }
    }
}

fn pages() -> Result<(), String> {
    let names = README.split("ocf_sturdy_").skip(1);
    for name in names.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap()) {
        meta(name).ok_or(format!("there is no {name}"))?;
    }
    Ok(())
}
