//! Takes and gives a resource group as heartbeat's ResourceManager does: each
//! word is asked for its status, of which only the text counts, and started
//! from left to right; all are stopped from right to left.

use super::haresources::Word;
use super::words::Saying;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use story::timeline::{Action, now};

/// How often a failed stop is tried again, a second apart (HA_STOPRETRYMAX).
const STOP_RETRIES: usize = 10;

/// One resource of the group, whatever stands behind it.
pub trait Resource {
    /// Its name in the story.
    fn name(&self) -> String;
    /// Carries out `status`, `start` or `stop`.
    fn call(&mut self, verb: &str) -> Result<Answer>;
}

/// What a resource answers.
pub struct Answer {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// The group on one node: its resources, and whom to tell what they do.
pub struct Group {
    pub resources: Vec<Box<dyn Resource>>,
    pub lane: usize,
    pub tell: Box<dyn Fn(Saying) -> Result<()>>,
}

impl Group {
    /// Brings the group up, or all of it down again when a start fails.
    pub fn take(&mut self) -> Result<()> {
        for place in 0..self.resources.len() {
            if says_running(&self.call(place, "status")?.stdout) {
                continue;
            }
            let answer = self.call(place, "start")?;
            if answer.code != Some(0) {
                let failure = failure(&self.resources[place].name(), "start", &answer);
                self.give().with_context(|| failure.clone())?;
                bail!("{failure}; the group was stopped again");
            }
        }
        Ok(())
    }

    /// Brings the group down, whatever its resources' status.
    pub fn give(&mut self) -> Result<()> {
        (0..self.resources.len()).rev().try_for_each(|place| self.stop(place))
    }

    fn stop(&mut self, place: usize) -> Result<()> {
        let mut answer = self.call(place, "stop")?;
        for _ in 0..STOP_RETRIES {
            if answer.code == Some(0) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_secs(1));
            answer = self.call(place, "stop")?;
        }
        // Heartbeat would now ask for the status, and reboot if it is running.
        bail!(failure(&self.resources[place].name(), "stop", &answer))
    }

    fn call(&mut self, place: usize, verb: &str) -> Result<Answer> {
        let resource = &mut self.resources[place];
        let from = now();
        let answer = resource.call(verb)?;
        let to = now();
        let said = match (verb, answer.code) {
            ("status", _) if says_running(&answer.stdout) => "running".into(),
            ("status", _) => "stopped".into(),
            (_, Some(code)) => format!("exit {code}"),
            (_, None) => "killed by a signal".into(),
        };
        let succeeded = verb == "status" || answer.code == Some(0);
        let action = Action {
            lane: self.lane,
            what: resource.name(),
            verb: verb.into(),
            from,
            to,
            answer: said,
            succeeded,
        };
        let output = format!("{}{}", answer.stdout, answer.stderr);
        (self.tell)(Saying::Acted { action, output })?;
        Ok(answer)
    }
}

fn failure(name: &str, verb: &str, answer: &Answer) -> String {
    let code = answer.code.map_or("no exit code".into(), |code| format!("exit {code}"));
    let said = [&answer.stderr, &answer.stdout].map(|text| text.trim().replace('\n', "; "));
    let said = said.iter().find(|text| !text.is_empty()).map_or("it said nothing", |text| text);
    format!("{name} {verb}: {code}: {said}")
}

/// Whether a status text says running, by heartbeat's shell patterns in their
/// order: `not ` with `running` behind it means stopped, then `running` or `OK`
/// anywhere means running, and everything else means stopped.
pub fn says_running(text: &str) -> bool {
    let runs = |text: &str| text.contains("running") || text.contains("Running");
    let negated = text.to_ascii_lowercase().find("not ").is_some_and(|at| runs(&text[at..]));
    !negated && (runs(text) || text.contains("OK"))
}

/// An agent in heartbeat's directory.
pub struct Script {
    pub name: String,
    pub word: Word,
    pub node: String,
}

impl Resource for Script {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn call(&mut self, verb: &str) -> Result<Answer> {
        // Files, not pipes: what an agent leaves running may hold them open.
        let [mut stdout, mut stderr] = [scratch()?, scratch()?];
        let path = Path::new("/etc/ha.d/resource.d").join(&self.word.script);
        let status = Command::new(&path)
            .args(&self.word.args)
            .arg(verb)
            .env_clear()
            .envs(environment(&self.node))
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .status()
            .with_context(|| format!("cannot run {}", path.display()))?;
        Ok(Answer { code: status.code(), stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
    }
}

/// What heartbeat's ResourceManager has in its environment.
fn environment(node: &str) -> [(&'static str, &str); 9] {
    [
        ("HA_CURHOST", node),
        ("HA_DIR", "/etc/ha.d"),
        ("HA_FUNCS", "/etc/ha.d/shellfuncs"),
        ("HA_RESOURCEDIR", "/etc/ha.d/resource.d"),
        ("HA_DEBUGLOG", "/var/log/heartbeat-debug"),
        ("HA_LOGFILE", "/var/log/heartbeat-log"),
        ("LC_ALL", "C"),
        ("LANG", ""),
        ("PATH", super::root::PATH),
    ]
}

fn scratch() -> Result<File> {
    tempfile::tempfile_in("/run").context("cannot make a file for an agent's output")
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn a_status_is_judged_as_heartbeat_judges_it() {
        let running = ["running", "Running", "INFO: OK", "BOOK stopped", "notrunning"];
        assert!(running.iter().all(|text| says_running(text)));
        let stopped =
            ["", "stopped", "RUNNING", "active", "is not running", "r1 not here, Running"];
        assert!(!stopped.iter().any(|text| says_running(text)));
        assert!(!says_running("r1 is running, mirror not running"));
    }

    type Log = Rc<RefCell<Vec<String>>>;

    /// A resource that is up or down and may refuse to start.
    struct Fake(&'static str, bool, bool, Log);

    impl Resource for Fake {
        fn name(&self) -> String {
            self.0.into()
        }

        fn call(&mut self, verb: &str) -> Result<Answer> {
            self.3.borrow_mut().push(format!("{} {verb}", self.0));
            let refused = verb == "start" && self.2;
            if verb != "status" {
                self.1 = verb == "start" && !refused;
            }
            let stdout = if self.1 { "running\n" } else { "stopped\n" };
            let code = Some(i32::from(refused));
            Ok(Answer { code, stdout: stdout.into(), stderr: String::new() })
        }
    }

    fn group(resources: &[(&'static str, bool, bool)]) -> (Group, Log) {
        let log = Log::default();
        let fake = |it: &(&'static str, bool, bool)| -> Box<dyn Resource> {
            Box::new(Fake(it.0, it.1, it.2, Rc::clone(&log)))
        };
        let resources = resources.iter().map(fake).collect();
        (Group { resources, lane: 0, tell: Box::new(|_| Ok(())) }, log)
    }

    #[test]
    fn what_runs_is_not_started_and_all_is_stopped_in_reverse() {
        let (mut group, log) = group(&[("a", true, false), ("b", false, false)]);
        group.take().unwrap();
        group.give().unwrap();
        assert_eq!(*log.borrow(), ["a status", "b status", "b start", "b stop", "a stop"]);
    }

    #[test]
    fn a_failed_start_takes_the_whole_group_down() {
        let (mut group, log) =
            group(&[("a", false, false), ("b", false, true), ("c", false, false)]);
        let failure = group.take().unwrap_err().to_string();
        assert!(failure.starts_with("b start: exit 1"), "{failure}");
        assert_eq!(log.borrow()[4..], ["c stop", "b stop", "a stop"]);
    }
}
