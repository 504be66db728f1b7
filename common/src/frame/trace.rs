//! The trace of one action, for whoever has to find out what happened.

use crate::frame::invocation::Invocation;
use crate::frame::output::{clean, complain};
use crate::host::{clock, secret};
use ocf_meta::{COMMON, Value};
use std::cell::RefCell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where a trace goes.
enum Target {
    Stderr,
    File(RefCell<File>),
}

/// A sink for the lines of this action's trace, if one is asked for.
pub(crate) fn sink(agent: &str, call: &Invocation) -> Option<impl Fn(&str) + 'static> {
    let truth = |text: String| bool::parse(&text).unwrap_or(false);
    let asked = environment(call, "OCF_TRACE_RA").is_some_and(truth)
        || parameter(call, "trace_ra").is_some_and(truth);
    if !asked {
        return None;
    }
    let target = match open(agent, call) {
        Ok(target) => target,
        Err(err) => {
            complain(&format!("no trace is written: {err}\n"));
            return None;
        }
    };
    let begun = Instant::now();
    let write = move |line: &str| {
        let micros = begun.elapsed().as_micros();
        let line = format!("{:>5}.{:03} {}\n", micros / 1000, micros % 1000, clean(line));
        match &target {
            Target::Stderr => complain(&line),
            Target::File(file) => {
                let _ = file.borrow_mut().write_all(line.as_bytes());
            }
        }
    };
    for line in header(agent, call) {
        write(&line);
    }
    Some(write)
}

/// The environment, sorted, without what is secret.
fn header(agent: &str, call: &Invocation) -> Vec<String> {
    let mut lines = vec![format!("{agent} {} {}", call.request.resource, call.action)];
    let mut env: Vec<String> = call
        .env
        .iter()
        .map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy()))
        .map(|(name, value)| {
            if is_secret(&name) {
                format!("{name}=***")
            } else {
                secret::masked(&format!("{name}={value}"))
            }
        })
        .collect();
    env.sort();
    lines.extend(env);
    lines
}

fn is_secret(name: &str) -> bool {
    let name = name.trim_start_matches("OCF_RESKEY_").to_ascii_lowercase();
    ["pass", "secret", "token", "key", "credential"].iter().any(|mark| name.contains(mark))
}

fn environment(call: &Invocation, wanted: &str) -> Option<String> {
    let found = call.env.iter().find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

fn parameter(call: &Invocation, wanted: &str) -> Option<String> {
    let param = COMMON.iter().find(|param| param.name == wanted)?;
    let given = call.given.value(param).map(|value| value.to_string_lossy().into_owned());
    given.or_else(|| param.default.map(str::to_owned))
}

fn open(agent: &str, call: &Invocation) -> io::Result<Target> {
    let asked = environment(call, "OCF_TRACE_FILE").or_else(|| parameter(call, "trace_file"));
    let path = match asked.as_deref() {
        Some("/dev/stderr" | "/dev/stdout" | "2") => return Ok(Target::Stderr),
        Some(digit) if digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit() => {
            PathBuf::from(format!("/proc/self/fd/{digit}"))
        }
        Some(path) if path.starts_with('/') => PathBuf::from(path),
        _ => default_path(agent, call)?,
    };
    let follow = if path.starts_with("/proc/self/fd") { 0 } else { libc::O_NOFOLLOW };
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK | follow)
        .open(path)?;
    Ok(Target::File(RefCell::new(file)))
}

fn default_path(agent: &str, call: &Invocation) -> io::Result<PathBuf> {
    let dir = parameter(call, "trace_dir").unwrap_or_default();
    let dir = Path::new(&dir).join(agent);
    DirBuilder::new().recursive(true).mode(0o750).create(&dir)?;
    let now = clock::local_time("%Y-%m-%d.%H:%M:%S");
    Ok(dir.join(format!("{}.{}.{now}", call.request.instance, call.action)))
}
