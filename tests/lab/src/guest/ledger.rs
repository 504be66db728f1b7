//! Both ends of the ledger inside the machines: the service on a node, the
//! client that writes without pause and prints every acknowledgement, and, for
//! a file system that both nodes use at once, the writer on the node itself.

use super::record::tell;
use super::sql::Sql;
use super::stand_in::ready_file;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;
use story::ledger::places::Places;
use story::ledger::service::{self, Client};
use story::ledger::{Ledger, Record};
use story::timeline::now;

/// While there is such a file, the client's writer waits and has nothing open.
pub const HOLD: &str = "/run/lab/hold";

/// `ledger-serve FILE PORT`: the daemon.
pub fn serve(words: &[String]) -> ExitCode {
    let served = || -> anyhow::Result<()> {
        let [file, port] = words else { anyhow::bail!("want FILE PORT") };
        let ledger = Ledger::open(Path::new(file))?;
        let listener = TcpListener::bind(("0.0.0.0", port.parse()?))?;
        fs::write(ready_file("ledger"), "")?;
        service::serve(&listener, ledger)
    };
    ended("ledger", served())
}

/// `ledger-keep FILE`: the writer, which needs nobody to write for. The host
/// hears of every record once it is on disk.
pub fn keep(words: &[String]) -> ExitCode {
    let kept = || -> anyhow::Result<()> {
        let [file] = words else { anyhow::bail!("want FILE") };
        let mut ledger = Ledger::open(Path::new(file))?;
        let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
        fs::write(ready_file("writer"), "")?;
        loop {
            let number = ledger.last() + 1;
            ledger.append(&Record::new(number, name.trim(), now().as_nanos() as u64))?;
            tell(&format!("ack {number}"));
            sleep(Duration::from_millis(20));
        }
    };
    ended("writer", kept())
}

/// Whoever waits for the daemon hears why it has ended.
fn ended(name: &str, how: anyhow::Result<()>) -> ExitCode {
    match how {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            let _ = fs::write(ready_file(name), format!("{err:#}"));
            ExitCode::FAILURE
        }
    }
}

/// How a record gets where it belongs.
enum Way {
    Tcp(Client),
    Places(Places),
    Sql(Sql),
}

impl Way {
    fn of(words: &[String]) -> Option<Self> {
        let [way, to] = words else { return None };
        match way.as_str() {
            "tcp" => Some(Way::Tcp(Client::new(to.parse().ok()?))),
            "file" => Some(Way::Places(Places::file(Path::new(to)))),
            "sql" => Some(Way::Sql(Sql::new(to))),
            _ => None,
        }
    }

    fn append(&mut self, record: &Record) -> anyhow::Result<()> {
        match self {
            Way::Tcp(client) => client.append(record),
            Way::Places(places) => places.put(record),
            Way::Sql(sql) => sql.commit(record),
        }
    }
}

/// `ledger-write tcp ADDRESS:PORT | file PATH | sql ADDRESS`: appends records
/// until it is ended. Prints `ack NUMBER NANOSECONDS`, and `err NUMBER
/// NANOSECONDS REASON` when the reason changes.
pub fn write(words: &[String]) -> ExitCode {
    let Some(mut way) = Way::of(words) else { return ExitCode::from(2) };
    let mut reason = String::new();
    let stdout = std::io::stdout();
    for number in 1u64.. {
        while Path::new(HOLD).exists() {
            if let Way::Places(places) = &mut way {
                places.close();
            }
            sleep(Duration::from_millis(20));
        }
        let record = Record::new(number, "client", now().as_nanos() as u64);
        while let Err(err) = way.append(&record) {
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
