//! Whole processes, from the spawn to the wait.

use super::stage::{Stage, Subject};
use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use regex::Regex;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command that can be run over and over.
#[derive(Clone, Debug)]
pub struct Run {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, OsString)>,
    /// What it has to end with.
    pub code: i32,
}

/// What one run cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

/// What many runs cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub median: Duration,
    pub p99: Duration,
    pub cpu: Duration,
    pub processes: u64,
    pub calls: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub subject: Subject,
    pub action: &'static str,
    /// How many addresses or mounts there are.
    pub scale: usize,
    /// How many busy loops run beside it.
    pub load: usize,
}

/// One line of the comparison.
#[derive(Debug)]
pub struct Row {
    pub case: Case,
    pub ours: Figures,
    pub noop: Figures,
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

/// A monitor of what runs, taking turns with a no-op; the shell agent's turn
/// comes less often, since it takes so much longer.
pub fn monitor(stage: &Stage, case: Case, times: usize, shell_times: usize) -> Result<Row> {
    say(&case);
    stage.set_up(case.subject)?;
    let ours = stage.ours(case.subject, case.action);
    let noop = stage.noop(&ours);
    let shell = stage.shell(case.subject, case.action);
    let every = (times / shell_times.max(1)).max(1);
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..times + 3 {
        let (noop_cost, ours_cost) = (once(&noop)?, once(&ours)?);
        let shell_cost = match &shell {
            Some(shell) if turn % every == 0 => Some(once(shell)?),
            _ => None,
        };
        // The first turns warm the caches.
        if turn >= 3 {
            a.push(ours_cost);
            b.push(noop_cost);
            c.extend(shell_cost);
        }
    }
    let ratios = a.iter().zip(&b).map(|(a, b)| a.wall.as_secs_f64() / b.wall.as_secs_f64());
    let row = Row {
        case,
        to_noop: median(ratios.collect()),
        ours: figures(&a, &ours)?,
        noop: figures(&b, &noop)?,
        shell: shell.map(|shell| figures(&c, &shell)).transpose()?,
    };
    stage.tear_down(case.subject)?;
    Ok(row)
}

/// Start and stop, over and over, ours and the shell agent's in turn.
pub fn changes(stage: &Stage, subject: Subject, times: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for action in ["start", "stop"] {
        let case = Case { subject, action, scale: 1, load: 0 };
        say(&case);
        let ours = stage.ours(subject, action);
        let noop = stage.noop(&ours);
        let shell = stage.shell(subject, action);
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..times {
            b.push(once(&noop)?);
            for (run, costs) in [(Some(&ours), &mut a), (shell.as_ref(), &mut c)] {
                let Some(run) = run else { continue };
                prepare(stage, subject, action)?;
                costs.push(once(run)?);
                stage.tear_down(subject)?;
            }
        }
        let counted = |run: &Run, costs: &[Cost]| -> Result<Figures> {
            prepare(stage, subject, action)?;
            let figures = figures(costs, run);
            stage.tear_down(subject)?;
            figures
        };
        rows.push(Row {
            case,
            ours: counted(&ours, &a)?,
            shell: shell.as_ref().map(|shell| counted(shell, &c)).transpose()?,
            noop: figures(&b, &noop)?,
            to_noop: 0.0,
        });
        let row = rows.last_mut().expect("one was pushed");
        row.to_noop = row.ours.median.as_secs_f64() / row.noop.median.as_secs_f64();
    }
    Ok(rows)
}

fn prepare(stage: &Stage, subject: Subject, action: &str) -> Result<()> {
    if action == "stop" { stage.set_up(subject) } else { Ok(()) }
}

fn say(case: &Case) {
    let (agent, plural) = (case.subject.agent(), case.subject.plural());
    eprintln!("  {agent} {}, {} {plural}, {} busy loops", case.action, case.scale, case.load);
}

fn once(run: &Run) -> Result<Cost> {
    let mut command = command(&run.program, run);
    let before = children()?;
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("cannot run {run:?}"))?;
    let wall = begun.elapsed();
    let cpu = children()? - before;
    ensure!(status.code() == Some(run.code), "{run:?} ended with {status}");
    Ok(Cost { wall, cpu })
}

fn command(program: &std::path::Path, run: &Run) -> Command {
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

fn figures(costs: &[Cost], run: &Run) -> Result<Figures> {
    let mut walls: Vec<Duration> = costs.iter().map(|cost| cost.wall).collect();
    walls.sort_unstable();
    let mut cpus: Vec<Duration> = costs.iter().map(|cost| cost.cpu).collect();
    cpus.sort_unstable();
    let (processes, calls) = count(run)?;
    Ok(Figures {
        median: walls[walls.len() / 2],
        p99: walls[(walls.len() * 99 / 100).min(walls.len() - 1)],
        cpu: cpus[cpus.len() / 2],
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
