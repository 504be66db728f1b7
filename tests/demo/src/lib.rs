//! `cargo xtask demo`: a failover, shown with the real agents.
//!
//! Two nodes and a client, each in namespaces of its own, hang on a bridge in
//! one more. A line of `haresources` is brought up on the first node as
//! heartbeat would; the client appends to a ledger on the group's file system
//! through the group's address. Then the first node loses its power, the second
//! takes over, and later hands the group back. In the end the disk is read:
//! every acknowledged record must be there.
//!
//! The task itself only watches. All that touches the kernel runs below one
//! process in a pid namespace ([`stage`]), so nothing can be left behind.

mod beat;
mod cast;
mod chronicle;
mod client;
mod disk;
mod group;
mod haresources;
mod network;
mod node;
mod options;
mod output;
mod plan;
mod root;
mod space;
mod stage;
mod watch;
mod wire;
mod words;

use anyhow::{Context, Result, ensure};
use options::Options;
use packaging::host;
use std::path::Path;
use words::Script;

/// The task; its parts are started by it under names that begin with `@`.
pub fn run(words: &[String]) -> Result<()> {
    let parts: Vec<&str> = words.iter().map(String::as_str).collect();
    match parts[..] {
        ["@stage"] => stage::main(),
        ["@node"] => node::main(),
        ["@client"] => client::main(),
        ["@ledger", path, address] => node::serve_ledger(Path::new(path), address),
        _ => show(words),
    }
}

fn show(words: &[String]) -> Result<()> {
    let Some(mut options) = Options::parse(words)? else {
        print!("{}", options::HELP);
        return Ok(());
    };
    let line = options.line()?;
    let plan = plan::plan(&line)?;
    if options.agents.is_none() {
        eprintln!("Building the agents as they are shipped");
        options.agents = Some(host::build_agents()?);
    }
    host::become_root("demo", &options.words(), "it makes namespaces, mounts and loop devices")?;
    install(&plan)?;
    let agents = options.agents.clone().context("the agents have a directory")?;
    for word in &line.words {
        let path = agents.join(&word.script);
        ensure!(path.is_file(), "there is no agent {} in {}", word.script, agents.display());
    }
    let output = options.svg.parent().unwrap_or(Path::new("/")).to_path_buf();
    output::make_directory(&output)?;
    let script = Script { line, agents, keep: options.keep.then_some(output) };
    let story = watch::play(&script)?;
    watch::present(&story, &options.svg)
}

fn install(plan: &plan::Plan) -> Result<()> {
    let mut needs = vec![("ip", "iproute2", "to connect the nodes and the client")];
    for disk in &plan.disks {
        needs.push(match disk.kind.as_str() {
            "xfs" => ("mkfs.xfs", "xfsprogs", "to make the file system on the disk"),
            "btrfs" => ("mkfs.btrfs", "btrfs-progs", "to make the file system on the disk"),
            _ => ("mkfs.ext4", "e2fsprogs", "to make the file system on the disk"),
        });
    }
    host::install(&needs)
}
