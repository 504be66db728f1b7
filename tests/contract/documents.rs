//! What an agent prints without a look at anything. No machine is needed, so
//! these cases run on threads that may start others, as `assert_cmd` does to
//! listen to both streams while it waits.

use crate::harness::{Case, Cases, staged};
use assert_cmd::Command;
use ocf_meta::Meta;
use predicates::prelude::*;
use std::time::Duration;

/// A document is a matter of milliseconds; what takes longer looks at the
/// machine, or hangs.
const SOON: Duration = Duration::from_secs(10);

pub fn cases(cases: &mut Cases, meta: &'static Meta) {
    let name = meta.name;
    let mut add = |sentence: &str, run: fn(&'static Meta)| {
        cases.push(Case::free(format!("{name} {sentence}"), move || {
            run(meta);
            Ok(())
        }));
    };
    add("prints each document with an empty environment, and nothing else", documents);
    add("prints the same meta-data whatever surrounds it", meta_data);
    add("tells a shell how to complete its words", completion);
}

fn agent(meta: &Meta) -> Command {
    let mut command = Command::new(staged(meta.name));
    command.env_clear().timeout(SOON);
    command
}

fn documents(meta: &'static Meta) {
    let starts = [
        ("meta-data", "<?xml version=\"1.0\"?>\n".to_owned()),
        ("--man", format!(".TH OCF_STURDY_{}", meta.name.to_uppercase())),
        ("--version", format!("{} {}\n", meta.name, env!("CARGO_PKG_VERSION"))),
    ];
    for (word, start) in starts {
        let asked = agent(meta).arg(word).assert().success();
        let whole = predicate::str::starts_with(start).and(predicate::str::ends_with("\n"));
        asked.stdout(whole).stderr(predicate::str::is_empty());
    }
    agent(meta)
        .assert()
        .code(2)
        .stdout(predicate::str::is_empty())
        .stderr(predicate::str::contains("Usage: "));
}

fn meta_data(meta: &'static Meta) {
    let plain = agent(meta).arg("meta-data").output().expect("an agent that can be run").stdout;
    let plain = String::from_utf8(plain).expect("meta-data in ASCII");
    let parameters = meta.params.iter().map(|param| format!("OCF_RESKEY_{}", param.name));
    for surroundings in [
        vec![("OCF_OUTPUT_FORMAT".to_owned(), "xml")],
        vec![("LANG".to_owned(), "de_DE.UTF-8"), ("LC_ALL".to_owned(), "de_DE.UTF-8")],
        vec![("OCF_TESTER_FAIL_HAVE_BINARY".to_owned(), "1")],
        vec![("OCF_RA_VERSION_MAJOR".to_owned(), "2")],
        parameters.map(|name| (name, "nonsense\n")).collect(),
    ] {
        let mut asked = agent(meta);
        asked.arg("meta-data").envs(surroundings).current_dir("/").write_stdin("no, thanks\n");
        asked.assert().success().stdout(plain.clone()).stderr(predicate::str::is_empty());
    }
}

fn completion(meta: &'static Meta) {
    for shell in ["bash", "zsh", "fish"] {
        agent(meta)
            .args(["--completion", shell])
            .assert()
            .success()
            .stdout(predicate::str::contains(meta.name).and(predicate::str::contains("start")))
            .stderr(predicate::str::is_empty());
    }
    agent(meta)
        .args(["--completion", "tcsh"])
        .assert()
        .failure()
        .stdout(predicate::str::is_empty())
        .stderr(predicate::str::contains("bash, zsh and fish"));
}
