//! Both ends of the ledger inside the machines: the service on a node, which
//! is a resource of the group like any other, and the client that writes
//! without pause and prints every acknowledgement.

use super::SELF;
use super::record::around;
use crate::ledger::service::{self, Client};
use crate::ledger::{Ledger, Record};
use crate::timeline::now;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The line `DIRECTORY PORT` that says what the resource serves.
const CONFIG: &str = "/etc/lab-ledger";
const PID: &str = "/run/lab/ledger.pid";
const READY: &str = "/run/lab/ledger.ready";

/// `ledger-serve FILE PORT`: the daemon.
pub fn serve(words: &[String]) -> ExitCode {
    let served = || -> anyhow::Result<()> {
        let [file, port] = words else { anyhow::bail!("want FILE PORT") };
        let ledger = Ledger::open(Path::new(file))?;
        let listener = TcpListener::bind(("0.0.0.0", port.parse()?))?;
        fs::write(READY, "")?;
        service::serve(&listener, ledger)
    };
    match served() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            let _ = fs::write(READY, format!("{err:#}"));
            ExitCode::FAILURE
        }
    }
}

/// `ledger-write ADDRESS:PORT`: appends records until it is ended. Prints
/// `ack NUMBER NANOSECONDS`, and `err NUMBER NANOSECONDS REASON` when the
/// reason changes.
pub fn write(words: &[String]) -> ExitCode {
    let Some(address) = words.first().and_then(|word| word.parse().ok()) else {
        return ExitCode::from(2);
    };
    let mut client = Client::new(address);
    let mut reason = String::new();
    let stdout = std::io::stdout();
    for number in 1u64.. {
        let record = Record::new(number, "client", now().as_nanos() as u64);
        while let Err(err) = client.append(&record) {
            let said = format!("{err:#}");
            if said != reason {
                let _ = writeln!(stdout.lock(), "err {number} {} {said}", now().as_nanos());
                reason = said;
            }
            sleep(Duration::from_millis(20));
        }
        reason.clear();
        if writeln!(stdout.lock(), "ack {number} {}", now().as_nanos()).is_err() {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    ExitCode::SUCCESS
}

/// The resource: the words of LSB and heartbeat, and what Pacemaker asks an
/// OCF agent.
pub fn resource(words: &[String]) -> ExitCode {
    let action = words.last().map_or("", String::as_str);
    if action == "meta-data" {
        print!("{META}");
        return ExitCode::SUCCESS;
    }
    around("ledger", action, || match action {
        "start" => start(),
        "stop" => stop(),
        "status" if running().is_some() => {
            println!("running");
            0
        }
        "status" => {
            println!("stopped");
            3
        }
        "monitor" => {
            if running().is_some() {
                0
            } else {
                7
            }
        }
        "validate-all" => 0,
        _ => 3,
    })
}

/// The pid of the daemon, if it is one of ours and alive.
fn running() -> Option<Pid> {
    let pid: i32 = fs::read_to_string(PID).ok()?.trim().parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    line.starts_with(SELF.as_bytes()).then_some(Pid::from_raw(pid))
}

fn start() -> u8 {
    if running().is_some() {
        return 0;
    }
    let _ = fs::remove_file(READY);
    let config = fs::read_to_string(CONFIG).unwrap_or_default();
    let Some((directory, port)) = config.trim().split_once(' ') else {
        eprintln!("ledger: {CONFIG} does not say DIRECTORY PORT");
        return 6;
    };
    let daemon = Command::new(SELF)
        .args(["ledger-serve", &format!("{directory}/ledger"), port])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let Ok(daemon) = daemon else { return 1 };
    let _ = fs::write(PID, daemon.id().to_string());
    let begin = Instant::now();
    loop {
        match fs::read_to_string(READY).as_deref() {
            Ok("") => return 0,
            Ok(why) => {
                eprintln!("ledger: {why}");
                return 1;
            }
            Err(_) if begin.elapsed() > Duration::from_secs(20) => return 1,
            Err(_) => sleep(Duration::from_millis(5)),
        }
    }
}

fn stop() -> u8 {
    let begin = Instant::now();
    // The process is gone when its files are closed, not when it is killed.
    while let Some(pid) =
        fs::read_to_string(PID).ok().and_then(|pid| pid.trim().parse::<i32>().ok())
    {
        if running().is_some() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        } else if !Path::new(&format!("/proc/{pid}")).exists() {
            break;
        }
        if begin.elapsed() > Duration::from_secs(20) {
            eprintln!("ledger: process {pid} does not end");
            return 1;
        }
        sleep(Duration::from_millis(5));
    }
    let _ = fs::remove_file(PID);
    0
}

const META: &str = r#"<?xml version="1.0"?>
<resource-agent name="ledger" version="1.0">
<version>1.1</version>
<longdesc lang="en">The service of the lab that answers the client.</longdesc>
<shortdesc lang="en">The lab's ledger service</shortdesc>
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
