//! The log, as the cluster's administrators expect to find it.

use crate::frame::invocation::Environment;
use crate::frame::output::{clean, complain};
use crate::host::clock;
use crate::host::journal::Level;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Where lines go, decided once.
#[derive(Debug)]
enum Sink {
    /// A person waits at the terminal.
    Terminal,
    /// heartbeat's own log daemon.
    Logd,
    /// The system's log, with the facility's number.
    Syslog(u8),
    /// A file of the cluster's.
    File(PathBuf),
}

#[derive(Debug)]
struct Log {
    tag: String,
    sink: Sink,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Decides where lines go. Without it they go nowhere.
pub(crate) fn init(agent: &str, instance: &str, env: &Environment) {
    let value = |wanted: &str| {
        let found = env.iter().find(|(name, _)| name == wanted);
        found.and_then(|(_, value)| value.to_str()).filter(|value| !value.is_empty())
    };
    let pid = std::process::id();
    let tag =
        value("HA_LOGTAG").map_or_else(|| format!("{agent}({instance})[{pid}]"), str::to_owned);
    let facility = value("HA_LOGFACILITY").filter(|name| *name != "none");
    let logd = ["HA_LOGD", "HA_use_logd"].into_iter().filter_map(value);
    let sink = if std::io::stdin().is_terminal() {
        Sink::Terminal
    } else if logd.into_iter().any(|value| matches!(value, "yes" | "true" | "on" | "1")) {
        Sink::Logd
    } else {
        match (facility, value("HA_LOGFILE")) {
            (None, Some(file)) => Sink::File(PathBuf::from(file)),
            (name, _) => Sink::Syslog(facility_number(name.unwrap_or("daemon"))),
        }
    };
    let _ = LOG.set(Log { tag, sink });
}

/// Logs the reason of a failure. It stands on stderr already.
pub(crate) fn error(reason: &str) {
    if let Some(log) = LOG.get().filter(|log| !matches!(log.sink, Sink::Terminal)) {
        log.write(3, &format!("ERROR: {reason}"));
    }
}

/// Logs what the host's wing has to say.
pub(crate) fn line(level: Level, text: &str) {
    let Some(log) = LOG.get() else { return };
    let (severity, word) = match level {
        Level::Trace => return,
        Level::Info => (6, "INFO"),
        Level::Warning => (4, "WARNING"),
    };
    let text = format!("{word}: {}", clean(text));
    if !log.write(severity, &text) {
        complain(&format!("{}: {text}\n", log.tag));
    }
}

impl Log {
    /// Whether the line has found a taker. Nothing here waits.
    fn write(&self, severity: u8, text: &str) -> bool {
        match &self.sink {
            Sink::Terminal => false,
            Sink::Logd => self.to_logd(text),
            Sink::Syslog(facility) => self.to_syslog(facility * 8 + severity, text),
            Sink::File(path) => self.to_file(path, text),
        }
    }

    fn to_syslog(&self, priority: u8, text: &str) -> bool {
        let now = clock::local_time("%b %e %H:%M:%S");
        let datagram = format!("<{priority}>{now} {}: {text}", self.tag);
        UnixDatagram::unbound()
            .and_then(|socket| {
                // A log that is full must not hold up the cluster.
                socket.set_nonblocking(true)?;
                socket.send_to(datagram.as_bytes(), "/dev/log")
            })
            .is_ok()
    }

    fn to_file(&self, path: &Path, text: &str) -> bool {
        let now = clock::local_time("%b %d %T");
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .and_then(|mut file| file.write_all(format!("{}: {now} {text}\n", self.tag).as_bytes()))
            .is_ok()
    }

    fn to_logd(&self, text: &str) -> bool {
        let limit = clock::Deadline::after(Duration::from_secs(1));
        let Ok(logger) = crate::host::program::find(Path::new("/"), "ha_logger") else {
            return false;
        };
        crate::host::program::run(&logger, &["-t", &self.tag, text], limit)
            .is_ok_and(|output| output.success())
    }
}

fn facility_number(name: &str) -> u8 {
    const NAMED: &[(&str, u8)] =
        &[("kern", 0), ("user", 1), ("daemon", 3), ("auth", 4), ("syslog", 5), ("cron", 9)];
    let local = name.strip_prefix("local").and_then(|number| number.parse::<u8>().ok());
    let named = NAMED.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    local.filter(|number| *number < 8).map(|number| 16 + number).or(named).unwrap_or(3)
}
