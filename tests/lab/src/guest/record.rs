//! The recorder: stands at the path where the cluster looks for an agent,
//! tells the host what was called, runs the real agent with the same words,
//! environment and streams, and tells how it ended.
//!
//! `/run/lab/traps` may ask it to kill the agent in the middle: lines of
//! `agent action microseconds`, each of which works once.

use super::{REAL, agent::EVENTS};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

const TRAPS: &str = "/run/lab/traps";

/// Runs the agent that belongs at `called` and ends as it ends.
pub fn run(called: &str, words: &[String]) -> ExitCode {
    let real = Path::new(REAL).join(called.trim_start_matches('/'));
    let action = words.last().map_or("", String::as_str);
    let name = instance_name(called, words);
    if matches!(action, "meta-data" | "metadata" | "methods" | "usage") {
        return ExitCode::from(
            Command::new(real).arg0(called).args(words).status().map_or(126, code),
        );
    }
    let mut command = Command::new(&real);
    command.arg0(called).args(words);
    let trap = take_trap(called, action);
    if trap.is_some() {
        command.process_group(0);
    }
    around(&name, action, || match command.spawn() {
        Ok(mut child) => {
            if let Some(delay) = trap {
                kill_after(&mut child, delay, &name, action);
            }
            child.wait().map_or(126, code)
        }
        Err(err) => {
            eprintln!("lab: cannot run {}: {err}", real.display());
            126
        }
    })
}

/// Tells the host when an action begins, when it ends, and how.
pub fn around(name: &str, action: &str, act: impl FnOnce() -> u8) -> ExitCode {
    let pid = std::process::id();
    tell(&format!("begin {pid} {action} {name}"));
    let start = Instant::now();
    let code = act();
    tell(&format!("end {pid} {action} {name} {code} {}", start.elapsed().as_micros()));
    ExitCode::from(code)
}

/// What people call the instance: Pacemaker's own name for it, or the words
/// of the haresources line.
fn instance_name(called: &str, words: &[String]) -> String {
    let agent = called.rsplit('/').next().unwrap_or(called);
    let name = match std::env::var("OCF_RESOURCE_INSTANCE") {
        Ok(instance) => format!("{agent}({instance})"),
        Err(_) if words.len() > 1 => format!("{agent}::{}", words[..words.len() - 1].join("::")),
        Err(_) => agent.to_owned(),
    };
    name.replace(char::is_whitespace, "_")
}

fn code(status: std::process::ExitStatus) -> u8 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)) as u8
}

/// Tells the host something, which becomes an event.
pub fn tell(text: &str) {
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.send_to(text.as_bytes(), EVENTS);
    }
}

/// Finds the trap for this call and takes it away.
fn take_trap(called: &str, action: &str) -> Option<Duration> {
    let traps = fs::read_to_string(TRAPS).ok()?;
    let agent = called.rsplit('/').next()?;
    let meant = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == Some(agent) && words.next() == Some(action)
    };
    let delay = traps.lines().find(meant)?.split_whitespace().nth(2)?.parse().ok()?;
    let rest: Vec<&str> = traps.lines().filter(|line| !meant(line)).collect();
    fs::write(TRAPS, rest.join("\n")).ok()?;
    Some(Duration::from_micros(delay))
}

/// The agent and all it started, as if the machine had lost them.
fn kill_after(child: &mut Child, delay: Duration, name: &str, action: &str) {
    std::thread::sleep(delay);
    if matches!(child.try_wait(), Ok(None)) {
        let group = nix::unistd::Pid::from_raw(child.id() as i32);
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        tell(&format!("kill {} {action} {name}", std::process::id()));
    } else {
        tell(&format!("late {} {action} {name}", std::process::id()));
    }
}
