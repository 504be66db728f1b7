//! What is shown while something takes long: one line for each step, kept up
//! to date on a terminal, written once where there is none, and now and then
//! while it lasts.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing is said at most, while there is something to say and no
/// terminal.
const SILENCE: Duration = Duration::from_secs(60);

/// The steps so far.
pub struct Progress {
    terminal: bool,
    begin: Instant,
    /// When something was said last.
    last: Mutex<Instant>,
}

impl Progress {
    /// Begins to show.
    pub fn begin() -> Self {
        let begin = Instant::now();
        Self { terminal: std::io::stderr().is_terminal(), begin, last: Mutex::new(begin) }
    }

    /// Seconds since the first step.
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// Says where a step is; on a terminal the next word replaces it.
    pub fn show(&self, step: &str, what: &str) {
        if self.terminal {
            eprint!("\r\x1b[K  {step:<9} {what}");
            let _ = std::io::stderr().flush();
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= SILENCE {
            *last = Instant::now();
            eprintln!("  {step:<9} {what}");
        }
    }

    /// Says that a step is over.
    pub fn done(&self, step: &str, what: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{clear}  {step:<9} {what}");
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Runs a long command, shows the last line it says, and ends with its
    /// last lines if it fails.
    pub fn follow(&mut self, step: &str, what: &str, command: &mut Command) -> Result<()> {
        let start = Instant::now();
        if !self.terminal {
            self.done(step, what);
        }
        self.show(step, what);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                let tail = line.rsplit('\r').next().unwrap_or_default();
                let short: String = tail.chars().take(60).collect();
                self.show(step, &format!("{what}: {short}"));
                said.push(line);
            }
        }
        if !child.wait()?.success() {
            self.done(step, &format!("{what}: failed"));
            let last = said[said.len().saturating_sub(15)..].join("\n    ");
            bail!("{program} failed:\n    {last}");
        }
        if self.terminal {
            self.done(step, &format!("{what}: {:.0} s", start.elapsed().as_secs_f64()));
        }
        Ok(())
    }
}
