//! `cargo xtask bench`: what the agents cost, beside a process that does
//! nothing and beside the shell agents, in one run.
//!
//! Everything happens in namespaces of this process's own: a network with one
//! pair of interfaces, a mount table, a directory for the agents' hints. The
//! commands that are compared take turns, so that what disturbs one disturbs
//! the other.

mod measure;
mod plot;
mod stage;
mod table;

use crate::host;
use anyhow::{Result, bail};
use measure::{Case, Row};
use stage::{Stage, Subject};
use std::path::Path;

const USAGE: &str = "cargo xtask bench [--quick]

  --quick  fewer runs of each, for a first impression";

/// What the comparison needs besides the agents.
const NEEDS: &[(&str, &str, &str)] = &[
    ("ip", "iproute2", "to set up addresses"),
    ("mkfs.ext4", "e2fsprogs", "to make a file system"),
    ("losetup", "mount", "to make a block device"),
    ("strace", "strace", "to count system calls and processes"),
    ("/usr/lib/ocf/resource.d/heartbeat/IPaddr2", "resource-agents", "to compare with"),
    ("/etc/ha.d/resource.d/drbddisk", "drbd-utils", "to compare with"),
    ("arping", "iputils-arping", "what the shell agent for addresses calls"),
    ("fuser", "psmisc", "what the shell agent for file systems calls"),
    ("modprobe", "kmod", "what the shell agent for file systems calls"),
];

/// How often each command is run.
#[derive(Clone, Copy)]
struct Effort {
    ours: usize,
    shell: usize,
    under_load: usize,
}

/// The task.
pub fn run(words: &[String]) -> Result<()> {
    let effort = match words {
        [] => Effort { ours: 400, shell: 25, under_load: 25 },
        [quick] if quick == "--quick" => Effort { ours: 60, shell: 5, under_load: 8 },
        _ => bail!("{words:?}?\n{USAGE}"),
    };
    host::become_root("bench", words, "it works in namespaces of its own")?;
    host::install(NEEDS)?;
    eprintln!("building the agents");
    let built = host::build_agents()?;
    let stage = Stage::enter(&built)?;
    let rows = compare(&stage, effort)?;
    let docs = host::workspace().join("packaging/docs");
    write(&docs, &rows)
}

fn compare(stage: &Stage, effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for subject in [Subject::Address, Subject::Mount] {
        rows.extend(measure::changes(stage, subject, effort.shell)?);
        for scale in [1, 1_000, 10_000] {
            stage.crowd(subject, scale)?;
            let case = Case { subject, action: "monitor", scale, load: 0 };
            rows.push(measure::monitor(stage, case, effort.ours, effort.shell)?);
        }
        let _busy = stage::Busy::start(16)?;
        let case = Case { subject, action: "monitor", scale: 10_000, load: 16 };
        rows.push(measure::monitor(stage, case, effort.under_load, effort.under_load.min(8))?);
    }
    let case = Case { subject: Subject::Drbd, action: "monitor", scale: 1, load: 0 };
    rows.push(measure::monitor(stage, case, effort.ours, effort.shell)?);
    Ok(rows)
}

fn write(docs: &Path, rows: &[Row]) -> Result<()> {
    std::fs::create_dir_all(docs)?;
    let table = table::markdown(rows);
    std::fs::write(docs.join("benchmark.md"), &table)?;
    std::fs::write(docs.join("benchmark.svg"), plot::svg(rows))?;
    print!("{}", table::terminal(rows));
    println!("\nwritten: {0}/benchmark.md and {0}/benchmark.svg", docs.display());
    Ok(())
}
