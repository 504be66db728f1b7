//! What a drill holds of a node: a shell, an agent, the kernel's own word.

use super::call::{self, Call, Minor, minors};
use crate::client::{Machine, Output};
use crate::wire::{Done, Frame, Kind};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any of the small things takes.
pub const SMALL: Duration = Duration::from_secs(120);

/// A node of the stand.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// The machine.
    pub machine: Machine<'a>,
    /// When the drill has to be over.
    pub end: Instant,
}

impl<'a> Node<'a> {
    /// What is left of the drill's time.
    pub fn left(&self) -> Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "the drill was not over in its time");
        Ok(left)
    }

    /// A line of shell that has to succeed.
    pub fn shell(&self, line: &str) -> Result<String> {
        self.machine.shell(line, self.left()?.min(SMALL))
    }

    /// Starts a line of shell that goes on until the drill is over; it is
    /// there when this returns, if `ready` becomes true.
    pub fn background(&self, line: &str, ready: &str) -> Result<()> {
        self.background_within(30, line, ready)
    }

    /// The same, where it may take that many seconds.
    pub fn background_within(&self, seconds: u64, line: &str, ready: &str) -> Result<()> {
        self.shell(&format!(
            "setsid sh -c {} </dev/null >/run/drill/background 2>&1 & echo $! >> /run/drill/pids",
            quoted(line)
        ))?;
        self.until(&format!("{line} to be there"), seconds, || {
            Ok(self.machine.run(&["/bin/sh", "-c", ready], self.left()?)?.code == 0)
        })
    }

    /// Ends what was started in the background.
    pub fn end_background(&self) -> Result<()> {
        self.shell(
            "for pid in $(cat /run/drill/pids); do kill -9 -$pid $pid; done 2>/dev/null; \
             rm -f /run/drill/pids",
        )
        .map(drop)
    }

    /// Puts a program of ours in the place of one of the system's.
    pub fn pretend(&self, path: &str, script: &str) -> Result<()> {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.machine.put(&format!("/run/drill/{name}"), 0o755, script.as_bytes())?;
        self.shell(&format!("mount --bind /run/drill/{name} {path}")).map(drop)
    }

    /// Takes it away again.
    pub fn unpretend(&self, path: &str) -> Result<()> {
        self.shell(&format!("umount {path}")).map(drop)
    }

    /// DRBD's devices, by `/proc/drbd`.
    pub fn minors(&self) -> Result<BTreeMap<u32, Minor>> {
        Ok(minors(&String::from_utf8_lossy(&self.machine.read("/proc/drbd")?)))
    }

    /// One of them.
    pub fn minor(&self, number: u32) -> Result<Minor> {
        Ok(self.minors()?.remove(&number).unwrap_or_default())
    }

    /// Waits for something.
    pub fn until(
        &self,
        what: &str,
        seconds: u64,
        mut there: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let limit = Duration::from_secs(seconds);
        let begun = Instant::now();
        while !there()? {
            ensure!(begun.elapsed() < limit, "waited {limit:?} in vain for {what}");
            self.left()?;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Waits until the device is as it should be.
    pub fn await_minor(
        &self,
        number: u32,
        what: &str,
        fits: impl Fn(&Minor) -> bool,
    ) -> Result<()> {
        let mut last = Minor::default();
        self.until(what, 90, || {
            last = self.minor(number)?;
            Ok(fits(&last))
        })
        .with_context(|| format!("{}: drbd{number} is {last}", self.machine.name))
    }

    /// An agent with its first parameter, in the words of Pacemaker.
    pub fn agent(&self, agent: &str, first: &str) -> Agent<'a> {
        self.named(agent, call::object(agent), first)
    }

    /// The same, where it is said which parameter that is.
    pub fn named(&self, agent: &str, name: &str, first: &str) -> Agent<'a> {
        Agent {
            node: *self,
            call: Call {
                agent: agent.into(),
                params: vec![(name.into(), first.into())],
                node: self.machine.name.into(),
                limit: 90,
            },
            around: Vec::new(),
        }
    }

    /// Runs the kill loop to its end; `show` hears of each round.
    pub fn follow(&self, argv: &[&str], show: &(dyn Fn(&str) + Sync)) -> Result<String> {
        let mut stream = self.machine.start(argv)?;
        let (mut text, mut last) = (String::new(), String::new());
        loop {
            // A single round may take long; the drill's end is the limit.
            stream.set_read_timeout(Some(self.left()?))?;
            let frame =
                Frame::receive(&mut stream).context("the drill was not over in its time")?;
            match frame.kind {
                Kind::Stdout | Kind::Stderr => {
                    text += &frame.text();
                    while let Some((line, rest)) = text.split_once('\n') {
                        last = line.to_owned();
                        show(&format!("{}: {last}", self.machine.name));
                        text = rest.to_owned();
                    }
                }
                Kind::Done => {
                    let done: Done = frame.value()?;
                    ensure!(done.code == 0, "{}", done.why.unwrap_or(last));
                    return Ok(last);
                }
                _ => {}
            }
        }
    }
}

/// An agent that is about to be called.
#[derive(Clone)]
pub struct Agent<'a> {
    node: Node<'a>,
    call: Call,
    /// A program, and its words, that runs the agent.
    around: Vec<String>,
}

impl Agent<'_> {
    /// Sets a parameter.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.call.params.push((name.into(), value.into()));
        self
    }

    /// Seconds until the cluster would kill the action.
    pub fn limit(mut self, seconds: u32) -> Self {
        self.call.limit = seconds;
        self
    }

    /// Has it run by a shell after this line, in a mount namespace of its own.
    pub fn after(mut self, line: &str) -> Self {
        let script = format!("{line} && exec \"$@\"");
        self.around =
            ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).into_iter().collect();
        self
    }

    /// Leaves parameters out.
    pub fn without(mut self, names: &[&str]) -> Self {
        self.call.params.retain(|(name, _)| !names.contains(&name.as_str()));
        self
    }

    /// What is called, for one that is to be killed.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Carries an action out. One that is not over in its time is a failure.
    pub fn action(&self, action: &str) -> Result<Answer> {
        let recurring = (action == "monitor").then_some(("OCF_RESKEY_CRM_meta_interval", "10000"));
        self.run(action, recurring)
    }

    /// A monitor that asks whether it happens to run here.
    pub fn probe(&self) -> Result<Answer> {
        self.run("monitor", Some(("OCF_RESKEY_CRM_meta_interval", "0")))
    }

    /// Calls it as heartbeat does: by the name that it has there, with these words.
    pub fn by_heartbeat(&self, words: &[&str]) -> Result<Answer> {
        let (name, path) = (&self.call.agent, self.call.path());
        let line = format!("exec -a /etc/ha.d/resource.d/{name} {path} {}", words.join(" "));
        let argv = ["env", "-i", "HA_LOGFACILITY=none", "bash", "-c", &line];
        self.answer(&argv, &format!("{name} {}, by heartbeat,", words.join(" ")))
    }

    /// What `explain` says; not a word of the cluster is in the environment.
    pub fn explain(&self) -> Result<String> {
        let path = self.call.path();
        let mut argv = vec![path.as_str(), "explain"];
        argv.extend(self.call.params.iter().map(|(_, value)| value.as_str()));
        self.node.machine.run(&argv, self.node.left()?)?.success(&argv.join(" "))
    }

    fn run(&self, action: &str, more: Option<(&str, &str)>) -> Result<Answer> {
        let mut argv = vec!["env".to_owned()];
        argv.extend(
            self.call
                .environment(action)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        argv.extend(more.map(|(name, value)| format!("{name}={value}")));
        argv.extend(self.around.iter().cloned());
        argv.extend([self.call.path(), action.to_owned()]);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        self.answer(&argv, &format!("{} {action}", self.call.agent))
    }

    fn answer(&self, argv: &[&str], what: &str) -> Result<Answer> {
        // The cluster's time begins a little earlier than the agent's.
        let limit = Duration::from_secs(self.call.limit.into());
        let begun = Instant::now();
        let shown = format!("{what} on {}", self.node.machine.name);
        let output = self
            .node
            .machine
            .run(argv, limit.min(self.node.left()?))
            .map_err(|err| anyhow!("{shown}: {}", err.root_cause()))?;
        if let Some(why) = &output.why {
            bail!("{shown}: {why}");
        }
        Ok(Answer { output, shown, took: begun.elapsed() })
    }
}

/// What came of it.
pub struct Answer {
    output: Output,
    shown: String,
    /// How long it took, with the way there and back.
    pub took: Duration,
}

impl Answer {
    /// The exit code.
    pub fn code(&self) -> i32 {
        self.output.code
    }

    /// What the cluster would show.
    pub fn reason(&self) -> String {
        let marked = self.output.stderr.rsplit_once("ocf-exit-reason:");
        let line = marked.and_then(|(_, rest)| rest.lines().next());
        line.unwrap_or_default().trim().to_owned()
    }

    /// It ended with this code.
    pub fn exits(self, code: i32) -> Result<Self> {
        self.exits_one_of(&[code])
    }

    /// It ended with one of these.
    pub fn exits_one_of(self, codes: &[i32]) -> Result<Self> {
        let said = format!("{} {}", self.output.stdout.trim(), self.output.stderr.trim());
        ensure!(
            codes.contains(&self.code()),
            "{} ended with {} and not with {codes:?}: {}",
            self.shown,
            self.code(),
            said.trim().replace('\n', " | ")
        );
        Ok(self)
    }

    /// It failed, for a reason that has these words in it.
    pub fn because(self, words: &[&str]) -> Result<Self> {
        let reason = self.reason();
        for word in words {
            ensure!(reason.contains(word), "{} does not say `{word}` but: {reason}", self.shown);
        }
        Ok(self)
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
