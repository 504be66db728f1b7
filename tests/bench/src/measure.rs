//! Whole processes, from the spawn to the wait, taking turns.

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command that can be run over and over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// What it has to end with.
    pub code: i32,
}

impl Run {
    /// Another program, called the same way, that ends well.
    pub fn with(&self, program: PathBuf) -> Self {
        Self { program, code: 0, ..self.clone() }
    }
}

/// A command, and what brings about what it needs and undoes what it does.
/// Neither is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Turn {
    pub run: Run,
    pub before: Option<Run>,
    pub after: Option<Run>,
}

impl Turn {
    /// One that can be repeated as it is.
    pub fn alone(run: Run) -> Self {
        Self { run, before: None, after: None }
    }

    /// Runs it, and `measure` at its place.
    fn take<T>(&self, measure: impl FnOnce(&Run) -> Result<T>) -> Result<T> {
        let aside = |run: &Option<Run>| run.as_ref().map(once).transpose().map(drop);
        aside(&self.before)?;
        let measured = measure(&self.run)?;
        aside(&self.after)?;
        Ok(measured)
    }
}

/// How often each command is run.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub ours: usize,
    pub shell: usize,
    pub under_load: usize,
}

/// What one run cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

/// What many runs cost.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    #[serde(with = "micros")]
    pub median: Duration,
    #[serde(with = "micros")]
    pub p99: Duration,
    #[serde(with = "micros")]
    pub cpu: Duration,
    pub processes: u64,
    pub calls: u64,
}

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    pub agent: String,
    pub action: String,
    /// How many objects of its kind there are, and what they are called.
    pub scale: usize,
    pub objects: String,
    /// How many busy loops run beside it.
    pub load: usize,
    /// The shell agent.
    pub shell: String,
}

/// One line of the comparison.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    pub case: Case,
    pub ours: Figures,
    /// The median of the no-op.
    #[serde(with = "micros")]
    pub noop: Duration,
    pub shell: Option<Figures>,
    /// The median of ours / noop, pair by pair.
    pub to_noop: f64,
}

impl Row {
    /// How many times less wall time than the shell agent.
    pub fn gain(&self) -> Option<f64> {
        Some(self.shell?.median.as_secs_f64() / self.ours.median.as_secs_f64())
    }
}

/// Commands that are to be compared.
#[derive(Debug, Serialize, Deserialize)]
pub struct Turns {
    pub case: Case,
    pub ours: Turn,
    pub noop: Run,
    pub shell: Option<Turn>,
    pub times: usize,
    /// The shell agent's turn comes less often, since it takes so much longer.
    pub shell_times: usize,
}

impl Turns {
    /// Measures them.
    pub fn take(&self) -> Result<Row> {
        let Self { ours, noop, shell, .. } = self;
        let every = (self.times / self.shell_times.max(1)).max(1);
        // The first turns warm the caches.
        let warm = self.times.min(3);
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..self.times + warm {
            let (noop_cost, ours_cost) = (once(noop)?, ours.take(once)?);
            let shell_cost = match shell {
                Some(shell) if turn % every == 0 => Some(shell.take(once)?),
                _ => None,
            };
            if turn >= warm {
                a.push(ours_cost);
                b.push(noop_cost);
                c.extend(shell_cost);
            }
        }
        let ratios = a.iter().zip(&b).map(|(a, b)| a.wall.as_secs_f64() / b.wall.as_secs_f64());
        Ok(Row {
            case: self.case.clone(),
            to_noop: median(ratios.collect()),
            ours: ours.take(|run| figures(&a, run))?,
            noop: typical(b.iter().map(|cost| cost.wall)),
            shell: shell.as_ref().map(|it| it.take(|run| figures(&c, run))).transpose()?,
        })
    }
}

/// What it ends with.
pub fn code(run: &Run) -> Result<i32> {
    command(&run.program, run).status()?.code().context("it was ended by a signal")
}

/// Runs it.
pub fn once(run: &Run) -> Result<Cost> {
    let mut command = command(&run.program, run);
    let before = children()?;
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("cannot run {run:?}"))?;
    let wall = begun.elapsed();
    let cpu = children()? - before;
    ensure!(
        status.code() == Some(run.code),
        "{run:?} ended with {status}; called once more it says: {}",
        said(run)
    );
    Ok(Cost { wall, cpu })
}

fn command(program: &Path, run: &Run) -> Command {
    let mut command = Command::new(program);
    command
        .args(&run.args)
        .env_clear()
        .envs(run.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// CPU time of all children so far.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |value: nix::sys::time::TimeVal| {
        Duration::new(value.tv_sec().unsigned_abs(), 0)
            + Duration::from_micros(value.tv_usec().unsigned_abs())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

/// What it says of itself.
fn said(run: &Run) -> String {
    let output = command(&run.program, run).stderr(Stdio::piped()).output();
    let said = output.map(|output| output.stderr).unwrap_or_default();
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// What the runs cost; one more, under strace, counts.
pub fn figures(costs: &[Cost], run: &Run) -> Result<Figures> {
    let mut walls: Vec<Duration> = costs.iter().map(|cost| cost.wall).collect();
    walls.sort_unstable();
    let (processes, calls) = count(run)?;
    Ok(Figures {
        median: typical(costs.iter().map(|cost| cost.wall)),
        p99: walls[(walls.len() * 99 / 100).min(walls.len() - 1)],
        cpu: typical(costs.iter().map(|cost| cost.cpu)),
        processes,
        calls,
    })
}

/// Processes made and system calls, from a run under strace.
fn count(run: &Run) -> Result<(u64, u64)> {
    let log = tempfile::NamedTempFile::new()?;
    let mut traced = run.clone();
    traced.args = ["-f", "-qqq", "-o"].map(String::from).to_vec();
    traced.args.push(log.path().display().to_string());
    traced.args.push(run.program.display().to_string());
    traced.args.extend(run.args.iter().cloned());
    let strace = which::which("strace")?;
    let status = command(&strace, &traced).status()?;
    ensure!(status.code() == Some(run.code), "{run:?} under strace ended with {status}");
    let lines = std::fs::read_to_string(log.path())?;
    // Each line begins with the process's id; a call that was interrupted is
    // told twice.
    let makes = Regex::new(r"^[0-9]+ +(clone3?|v?fork)\(").expect("a pattern of our own");
    let (mut processes, mut total) = (0, 0);
    for line in lines.lines().filter(|line| !line.contains("resumed>")) {
        total += 1;
        processes += u64::from(makes.is_match(line) && !line.contains("CLONE_THREAD"));
    }
    Ok((processes, total))
}

/// The median.
pub fn typical(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Durations as whole microseconds.
mod micros {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_micros() as u64)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
