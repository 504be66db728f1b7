//! Watches a test program, shows how it gets on, and counts.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// No tier takes longer: whatever waits then waits for ever. The longest is
/// the one of virtual machines, on a machine that has to emulate them.
const LONGEST: Duration = Duration::from_secs(50 * 60);

/// How a program ends that has no case of the name asked for.
const NO_CASE: i32 = 5;

/// With which word a program names a case that took long.
const SLOW: &str = "slow: ";

/// With which word a program begins to tell how a case failed, whose name follows.
const TELLS: &str = "---- ";

/// As many lines of how a case failed are said again at the end.
const SAID_AGAIN: usize = 20;

/// What became of a tier's cases.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Count {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Seconds.
    pub took: f64,
    /// The case that took longest, if one took long, and how long.
    pub slowest: Option<String>,
    pub failures: Vec<Failure>,
}

/// A case that failed, and how.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Failure {
    case: String,
    how: Vec<String>,
}

/// What became of all tiers.
#[derive(Default, Serialize, Deserialize)]
pub struct Tally(Vec<(String, Count)>);

impl Tally {
    pub fn add(&mut self, tier: &str, count: Count) {
        self.0.push((tier.to_owned(), count));
    }

    /// Prints one line for each tier, with its slowest case below it, one for
    /// all, and last how each case failed that did: the end of a log is what is
    /// read, and what is kept.
    pub fn finish(&self) -> Result<()> {
        eprintln!();
        let mut all = Count::default();
        for (tier, count) in &self.0 {
            println!("{tier:<14} {:<44} {:>7.1} s", count.words(), count.took);
            if let Some(slowest) = &count.slowest {
                println!("{:<14} {slowest}", "");
            }
            all.passed += count.passed;
            all.failed += count.failed;
            all.skipped += count.skipped;
        }
        println!("{}", all.words());
        for (tier, count) in &self.0 {
            for Failure { case, how } in &count.failures {
                println!("\n{tier}: FAILED: {case}");
                how.iter().for_each(|line| println!("    {line}"));
            }
        }
        if all.failed > 0 {
            bail!("{} of {} cases failed", all.failed, all.passed + all.failed);
        }
        if all.passed + all.skipped == 0 {
            bail!("no case of that name was there to be run");
        }
        Ok(())
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.took += other.took;
        self.slowest = self.slowest.take().or(other.slowest);
        self.failures.extend(other.failures);
    }
}

impl Failure {
    fn of(case: &str) -> Self {
        Self { case: case.to_owned(), how: Vec::new() }
    }
}

impl Count {
    /// Takes a line of the part that tells how cases failed.
    fn tell(&mut self, line: &str) {
        if let Some(case) = line.strip_prefix(TELLS) {
            let case = case.trim_end_matches(['-', ' ']);
            let case = case.strip_suffix(" stdout").unwrap_or(case);
            // The last is the one of which is told.
            self.failures.retain(|failure| failure.case != case);
            self.failures.push(Failure::of(case));
        } else if let Some(Failure { how, .. }) = self.failures.last_mut()
            && how.len() < SAID_AGAIN
            && !line.trim().is_empty()
        {
            how.push(line.to_owned());
        }
    }

    fn words(&self) -> String {
        let Self { passed, failed, skipped, .. } = self;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Runs a test program to its end.
///
/// On a terminal only what failed or was skipped stays to be read; elsewhere,
/// where a log is kept, every line.
pub fn watch(tier: &str, command: &mut Command) -> Result<Count> {
    Running::begin(tier, command)?.finish()
}

/// A test program that runs. What it says is kept, and shown by
/// [`finish`](Self::finish): another one may be shown meanwhile.
pub struct Running<'a> {
    tier: &'a str,
    since: Instant,
    guard: Guard,
    lines: mpsc::Receiver<String>,
    child: thread::JoinHandle<std::io::Result<(ExitStatus, Duration)>>,
}

impl<'a> Running<'a> {
    pub fn begin(tier: &'a str, command: &mut Command) -> Result<Self> {
        let since = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run the {tier} tier"))?;
        let guard = Guard::over(child.id());
        let output = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        let (sender, lines) = mpsc::channel();
        let child = thread::spawn(move || {
            for line in output.lines() {
                // Nobody listens any more: the task has failed elsewhere.
                let _ = sender.send(line?);
            }
            Ok((child.wait()?, since.elapsed()))
        });
        Ok(Self { tier, since, guard, lines, child })
    }

    /// Shows how it gets on, from its first line, and waits for its end.
    pub fn finish(self) -> Result<Count> {
        let Self { tier, since, guard, lines, child } = self;
        let terminal = std::io::stderr().is_terminal();
        let mut view = View { tier, terminal, since, count: Count::default(), details: false };
        for line in lines {
            view.line(&line);
        }
        let (status, took) = child.join().expect("it does not panic")?;
        if terminal {
            eprint!("\r\x1b[K");
        }
        let mut count = view.count;
        let mut tell = |how: String| {
            eprintln!("{tier}: {how}");
            count.failures.push(Failure::of(&how));
        };
        if guard.overdue() {
            tell(format!("killed after {LONGEST:?}"));
        }
        let is_empty = status.code() == Some(NO_CASE);
        // A program that could not even begin has failed, whatever it counted.
        if !status.success() && count.failed == 0 && !is_empty {
            tell(format!("the test program ended with {status}"));
            count.failed = 1;
        } else if count.passed + count.failed + count.skipped == 0 && tier != "unit" && !is_empty {
            count.skipped = 1;
        }
        count.took = took.as_secs_f64();
        Ok(count)
    }
}

/// Turns the lines of a test program into what a person wants to see.
struct View<'a> {
    tier: &'a str,
    terminal: bool,
    since: Instant,
    count: Count,
    /// Within the part that tells what failed and how.
    details: bool,
}

impl View<'_> {
    fn line(&mut self, line: &str) {
        if let Some(slow) = line.strip_prefix(SLOW) {
            self.count.slowest.get_or_insert_with(|| slow.trim().to_owned());
            if !self.terminal {
                eprintln!("{line}");
            }
            return;
        }
        let counted = self.count(line);
        if line == "failures:" {
            // At the second time the names follow once more, and nothing else.
            self.details = !self.details;
        }
        self.details &= !line.starts_with("test result:");
        if self.details {
            self.count.tell(line);
        }
        let shown = if self.terminal { counted == Some(Shown::Stays) } else { counted.is_some() };
        if shown || self.details {
            self.clear();
            eprintln!("{line}");
        }
        self.progress();
    }

    fn count(&mut self, line: &str) -> Option<Shown> {
        let case = line.strip_prefix("test ")?;
        if self.details {
            return None;
        }
        let (case, result) = case.rsplit_once(" ... ")?;
        if result.starts_with("ok") {
            self.count.passed += 1;
            return Some(Shown::Passes);
        }
        if result.starts_with("ignored") {
            self.count.skipped += 1;
        } else if result.starts_with("FAILED") {
            self.count.failed += 1;
            self.count.failures.push(Failure::of(case.trim_end()));
        } else {
            return None;
        }
        Some(Shown::Stays)
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    fn progress(&self) {
        if self.terminal {
            let seconds = self.since.elapsed().as_secs();
            eprint!("\r\x1b[K{:<14} {}, {seconds} s", self.tier, self.count.words());
            let _ = std::io::stderr().flush();
        }
    }
}

#[derive(PartialEq, Eq)]
enum Shown {
    /// Stays to be read on a terminal.
    Stays,
    /// Is only counted there.
    Passes,
}

/// Kills the test program when it takes too long; what its cases have started
/// goes with it.
struct Guard {
    overdue: Arc<AtomicBool>,
    _ended: mpsc::Sender<()>,
}

impl Guard {
    fn over(id: u32) -> Self {
        let overdue = Arc::new(AtomicBool::new(false));
        let (sender, ended) = mpsc::channel::<()>();
        let flag = Arc::clone(&overdue);
        thread::spawn(move || {
            if ended.recv_timeout(LONGEST) == Err(mpsc::RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::Relaxed);
                let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL);
            }
        });
        Self { overdue, _ended: sender }
    }

    fn overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &str) -> Count {
        let since = Instant::now();
        let count = Count::default();
        let mut view = View { tier: "unit", terminal: false, since, count, details: false };
        lines.lines().for_each(|line| view.line(line));
        view.count
    }

    #[test]
    fn how_a_case_failed_is_kept_by_its_name() {
        let of_cargo = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\n\n\
                        left: 1\n\n\nfailures:\n    b\n\ntest result: FAILED. 1 passed\n\
                        test c ... ok\ntest result: ok. 1 passed";
        let of_ours =
            "test b    ... FAILED\n\nfailures:\n\n---- b ----\nleft: 1\n\n\nfailures:\n    b";
        let of_the_labs = "test b ... FAILED\nfailures:\n\n---- b ----\nleft: 1\ntest result: 0";
        for lines in [of_cargo, of_ours, of_the_labs] {
            let count = seen(lines);
            assert_eq!(count.failed, 1);
            let [Failure { case, how }] = &count.failures[..] else { panic!("{lines}") };
            assert_eq!((case.as_str(), how.as_slice()), ("b", &["left: 1".to_owned()][..]));
        }
    }

    #[test]
    fn a_case_is_named_of_which_nothing_more_was_told() {
        let count = seen("test b ... FAILED");
        assert_eq!(count.failures[0].case, "b");
    }
}
