//! The lab's own program inside the virtual machines: this same binary, which
//! is static, under other names. It is the first process of a machine, the
//! agent that carries out what the host asks, the recorder that stands in
//! front of every resource agent, the fencing device, both ends of the ledger,
//! the client's lock, the ear at the guests' serial lines, a guest of Xen's, the
//! resources that stand where an article has a daemon, and the drills.

mod agent;
mod boot;
mod drill;
mod fence;
mod ledger;
mod lock;
mod messages;
mod paravirtual;
mod record;
mod serial;
mod sql;
mod stand_in;

pub use ledger::HOLD;
pub use paravirtual::{GUEST, HOTPLUG, WRITER};
pub use serial::file as serial_file;
pub use sql::COLUMN;
pub use stand_in::pid_file;

use std::path::Path;
use std::process::ExitCode;

/// Where the program lies in a running machine.
pub const SELF: &str = "/run/lab/guest";

/// Where the cluster finds its fencing agent.
pub const FENCE: &str = "/usr/sbin/fence_lab";

/// The real agents lie below this directory, under their own full paths.
pub const REAL: &str = "/usr/lib/lab/real";

/// What somebody else has this binary do in a machine: its name, and the part.
pub type Part = (&'static str, fn() -> ExitCode);

/// Plays its part when this process is one of the lab's inside a machine, one
/// of `others` too; `None` on the host.
pub fn play(others: &[Part]) -> Option<ExitCode> {
    let words: Vec<String> = std::env::args().collect();
    let called = words.first()?.as_str();
    if std::process::id() == 1 && (called == "/init" || called == SELF) {
        return Some(boot::run(words.get(1).is_some_and(|word| word == "second-stage")));
    }
    if called == paravirtual::POWER_OFF {
        return Some(paravirtual::power_off());
    }
    if called.ends_with("/fence_lab") || called == "fence_lab" {
        return Some(fence::run(&words[1..]));
    }
    // Wherever the cluster looks for agents, a link to this leads here.
    if std::env::current_exe().ok()? != Path::new(SELF) {
        return None;
    }
    if called == HOTPLUG {
        return Some(paravirtual::hotplug(&words[1..]));
    }
    if let Some(stand_in) = stand_in::called(called) {
        return Some(stand_in.run(&words[1..]));
    }
    if Path::new(REAL).join(called.trim_start_matches('/')).exists() {
        return Some(record::run(called, &words[1..]));
    }
    let part = words.get(1).map(String::as_str);
    if let Some((_, play)) = others.iter().find(|(name, _)| part == Some(name)) {
        return Some(play());
    }
    Some(match part {
        Some("agent") => agent::run(),
        Some("drill-kill") => drill::run(&words[2..]),
        Some("drbd-messages") => messages::print(&words[2..]),
        Some("guest-pack") => paravirtual::pack(&words[2..]),
        Some("guest-read") => paravirtual::read(&words[2..]),
        Some("guest-relay") => paravirtual::relay(&words[2..]),
        Some("ledger-serve") => ledger::serve(&words[2..]),
        Some("ledger-keep") => ledger::keep(&words[2..]),
        Some("ledger-write") => ledger::write(&words[2..]),
        Some("serial-follow") => serial::follow(&words[2..]),
        Some("lock-hold") => lock::hold(&words[2..]),
        Some("lock-test") => lock::test(&words[2..]),
        _ => {
            eprintln!("lab: nothing to do as {words:?}");
            ExitCode::from(2)
        }
    })
}
