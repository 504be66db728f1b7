//! Resources of the lab's own, which stand at the end of a group where the
//! articles have a daemon's init script: the service that answers the client
//! over TCP, and the writer on a node. They speak heartbeat's, LSB's and
//! Pacemaker's words.

use super::SELF;
use super::record::around;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a resource does; errors are for a person.
pub struct StandIn {
    name: &'static str,
    start: fn() -> Result<(), String>,
    stop: fn() -> Result<(), String>,
    runs: fn() -> bool,
}

const ALL: &[StandIn] = &[
    StandIn {
        name: "ledger",
        start: || start_ledger(&LEDGER, "ledger-serve"),
        stop: || LEDGER.stop(),
        runs: || LEDGER.pid().is_some(),
    },
    StandIn {
        name: "writer",
        start: || start_ledger(&WRITER, "ledger-keep"),
        stop: || WRITER.stop(),
        runs: || WRITER.pid().is_some(),
    },
];

/// The resource that is called, if the lab has one of that name.
pub fn called(path: &str) -> Option<&'static StandIn> {
    let name = path
        .strip_prefix("/etc/ha.d/resource.d/")
        .or_else(|| path.strip_prefix("/usr/lib/ocf/resource.d/lab/"))?;
    ALL.iter().find(|known| known.name == name)
}

impl StandIn {
    /// Carries out what the cluster asks.
    pub fn run(&self, words: &[String]) -> ExitCode {
        let action = words.last().map_or("", String::as_str);
        if action == "meta-data" {
            print!("{}", META.replace("NAME", self.name));
            return ExitCode::SUCCESS;
        }
        around(self.name, action, || match action {
            "start" => self.told((self.start)()),
            "stop" => self.told((self.stop)()),
            "status" if (self.runs)() => {
                println!("running");
                0
            }
            "status" => {
                println!("stopped");
                3
            }
            "monitor" if (self.runs)() => 0,
            "monitor" => 7,
            "validate-all" => 0,
            _ => 3,
        })
    }

    fn told(&self, done: Result<(), String>) -> u8 {
        match done {
            Ok(()) => 0,
            Err(why) => {
                eprintln!("{}: {why}", self.name);
                1
            }
        }
    }
}

/// A daemon that is known by the file with its pid.
struct Daemon {
    name: &'static str,
    /// What its command line begins with.
    program: &'static str,
}

const LEDGER: Daemon = Daemon { name: "ledger", program: SELF };
const WRITER: Daemon = Daemon { name: "writer", program: SELF };

/// The file with the pid of a daemon.
pub fn pid_file(name: &str) -> String {
    format!("/run/lab/{name}.pid")
}

/// Where a daemon says that it is ready, by an empty file, or why it is not.
pub fn ready_file(name: &str) -> String {
    format!("/run/lab/{name}.ready")
}

impl Daemon {
    /// The pid, if the process is ours and alive.
    fn pid(&self) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(pid_file(self.name)).ok()?.trim().parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        line.starts_with(self.program.as_bytes()).then_some(Pid::from_raw(pid))
    }

    fn start(&self, words: &[&str]) -> Result<(), String> {
        let _ = fs::remove_file(ready_file(self.name));
        let child = Command::new(self.program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|err| format!("cannot run {}: {err}", self.program))?;
        fs::write(pid_file(self.name), child.id().to_string()).map_err(|err| err.to_string())
    }

    fn stop(&self) -> Result<(), String> {
        let begin = Instant::now();
        let file = pid_file(self.name);
        // The process is gone when its files are closed, not when it is killed.
        while let Some(pid) =
            fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse::<i32>().ok())
        {
            if self.pid().is_some() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            } else if !Path::new(&format!("/proc/{pid}")).exists() {
                break;
            }
            if begin.elapsed() > Duration::from_secs(20) {
                return Err(format!("process {pid} does not end"));
            }
            sleep(Duration::from_millis(5));
        }
        let _ = fs::remove_file(file);
        Ok(())
    }
}

/// `/etc/lab-ledger` has the daemon's words: what it serves.
fn start_ledger(daemon: &Daemon, verb: &str) -> Result<(), String> {
    if daemon.pid().is_some() {
        return Ok(());
    }
    let config = fs::read_to_string("/etc/lab-ledger").unwrap_or_default();
    let words: Vec<&str> = [verb].into_iter().chain(config.split_whitespace()).collect();
    daemon.start(&words)?;
    let begin = Instant::now();
    loop {
        match fs::read_to_string(ready_file(daemon.name)) {
            Ok(why) if why.is_empty() => return Ok(()),
            Ok(why) => return Err(why),
            Err(_) if begin.elapsed() > Duration::from_secs(20) => {
                return Err("not ready after 20 s".into());
            }
            Err(_) => sleep(Duration::from_millis(5)),
        }
    }
}

const META: &str = r#"<?xml version="1.0"?>
<resource-agent name="NAME" version="1.0">
<version>1.1</version>
<longdesc lang="en">A resource of the lab, where the article has a daemon.</longdesc>
<shortdesc lang="en">The lab's NAME</shortdesc>
<parameters/>
<actions>
<action name="start" timeout="30s"/>
<action name="stop" timeout="30s"/>
<action name="monitor" timeout="20s" interval="10s" depth="0"/>
<action name="meta-data" timeout="5s"/>
<action name="validate-all" timeout="5s"/>
</actions>
</resource-agent>
"#;
