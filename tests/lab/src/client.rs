//! The lab as a task sees it: machines to run commands in, verbs about them,
//! and the stream of what happens.

use super::keeper::Verb;
use super::machine::NODES;
use super::place::Place;
use super::wire::{Done, Exec, Frame, Kind, Put};
use anyhow::{Context, Result, bail, ensure};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// A running lab.
#[derive(Clone, Debug)]
pub struct Lab {
    control: PathBuf,
}

/// How a command in a machine ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; 255 where the command could not be run or followed.
    pub code: i32,
    /// Why it could not, or why it was ended.
    pub why: Option<String>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Output {
    /// The output, or what went wrong as one line.
    pub fn success(self, what: &str) -> Result<String> {
        if self.code == 0 {
            return Ok(self.stdout);
        }
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let last: Vec<&str> = said.trim().lines().rev().take(3).collect();
        let said = last.into_iter().rev().collect::<Vec<_>>().join(" | ");
        let why = self.why.unwrap_or(said);
        bail!("{what}: exit {}: {why}", self.code)
    }
}

impl Lab {
    /// The lab of this checkout, if one runs.
    pub fn running(place: &Place) -> Option<Self> {
        let lab = Self { control: place.control() };
        lab.connect().ok().map(|_| lab)
    }

    fn connect(&self) -> Result<UnixStream> {
        UnixStream::connect(&self.control)
            .context("no lab runs here; start one with `cargo xtask lab up`")
    }

    /// Carries out a verb.
    pub fn tell(&self, verb: &Verb) -> Result<()> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Frame::of(1, Kind::Control, verb)?.send(&mut stream)?;
        let answer = match Frame::receive(&mut stream) {
            Ok(frame) => frame.value::<Done>()?,
            // The keeper ends before it can answer.
            Err(_) if matches!(verb, Verb::Down) => return Ok(()),
            Err(err) => return Err(err).context("the lab's keeper is gone"),
        };
        ensure!(answer.code == 0, "{}", answer.why.unwrap_or_default());
        Ok(())
    }

    /// A connection whose end brings the lab down, unless [`Verb::Keep`] is
    /// sent through it first.
    pub fn lease(&self) -> Result<Lease> {
        let mut stream = self.connect()?;
        Frame::of(1, Kind::Control, &Verb::Lease)?.send(&mut stream)?;
        Ok(Lease(stream))
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> Result<Events> {
        let mut stream = self.connect()?;
        Frame::new(1, Kind::Select, "events").send(&mut stream)?;
        Frame::receive(&mut stream)?;
        Ok(Events(stream))
    }

    /// A machine.
    pub fn machine<'a>(&'a self, name: &'a str) -> Machine<'a> {
        Machine { lab: self, name }
    }
}

/// See [`Lab::lease`].
#[derive(Debug)]
pub struct Lease(UnixStream);

impl Lease {
    /// Lets the lab live on.
    pub fn keep(mut self) -> Result<()> {
        Frame::of(1, Kind::Control, &Verb::Keep)?.send(&mut self.0)?;
        Ok(())
    }
}

/// Something that happened in the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by [`story::timeline::now`].
    pub at: Duration,
    /// In which machine.
    pub machine: String,
    /// What, in words: `up`, `down`, or what the recorder says.
    pub words: Vec<String>,
}

impl Event {
    /// Whether its first word is this one.
    pub fn is(&self, word: &str) -> bool {
        self.words.first().is_some_and(|first| first == word)
    }
}

/// The stream of events.
#[derive(Debug)]
pub struct Events(UnixStream);

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let text = Frame::receive(&mut self.0).ok()?.text();
        let mut words = text.split_whitespace();
        let at = Duration::from_micros(words.next()?.parse().ok()?);
        let machine = words.next()?.to_owned();
        Some(Event { at, machine, words: words.map(str::to_owned).collect() })
    }
}

/// A machine of a running lab.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    lab: &'a Lab,
    /// Its name.
    pub name: &'a str,
}

impl Machine<'_> {
    /// Runs a command to its end, at most for `limit`.
    pub fn run(&self, argv: &[&str], limit: Duration) -> Result<Output> {
        self.run_with(argv, b"", limit)
    }

    /// Runs a command with something to read.
    pub fn run_with(&self, argv: &[&str], input: &[u8], limit: Duration) -> Result<Output> {
        let mut stream = self.open(limit)?;
        self.begin(&mut stream, argv, limit)?;
        if !input.is_empty() {
            Frame::new(1, Kind::Stdin, input).send(&mut stream)?;
        }
        Frame::new(1, Kind::Stdin, []).send(&mut stream)?;
        collect(&mut stream).with_context(|| format!("{}: {}", self.name, argv.join(" ")))
    }

    /// What a command prints, byte for byte.
    pub fn output(&self, argv: &[&str], limit: Duration) -> Result<Vec<u8>> {
        let mut stream = self.open(limit)?;
        self.begin(&mut stream, argv, limit)?;
        Frame::new(1, Kind::Stdin, []).send(&mut stream)?;
        let (output, bytes) = collect_bytes(&mut stream)?;
        output.success(&format!("{}: {}", self.name, argv.join(" ")))?;
        Ok(bytes)
    }

    /// A line of shell, for the many small things set-ups need.
    pub fn shell(&self, line: &str, limit: Duration) -> Result<String> {
        self.run(&["/bin/sh", "-c", line], limit)?.success(&format!("{}: {line}", self.name))
    }

    /// Starts a command that goes on; its frames come through the stream.
    pub fn start(&self, argv: &[&str]) -> Result<UnixStream> {
        let mut stream = self.open(Duration::ZERO)?;
        self.begin(&mut stream, argv, Duration::ZERO)?;
        Ok(stream)
    }

    /// Writes a file durably.
    pub fn put(&self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut stream = self.open(Duration::from_secs(60))?;
        let mut body = serde_json::to_vec(&Put { path: path.into(), mode })?;
        body.push(0);
        body.extend(content);
        Frame::new(1, Kind::Put, body).send(&mut stream)?;
        collect(&mut stream)?.success(&format!("{}: write {path}", self.name))?;
        Ok(())
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut stream = self.open(Duration::from_secs(60))?;
        Frame::new(1, Kind::Read, path).send(&mut stream)?;
        let (output, bytes) = collect_bytes(&mut stream)?;
        output.success(&format!("{}: read {path}", self.name))?;
        Ok(bytes)
    }

    /// Waits until the agent in the machine answers.
    pub fn await_up(&self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            if self.run(&["true"], Duration::from_secs(10))?.code == 0 {
                return Ok(());
            }
            ensure!(start.elapsed() < limit, "{} is not up after {limit:?}", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn open(&self, limit: Duration) -> Result<UnixStream> {
        let mut stream = self.lab.connect()?;
        if !limit.is_zero() {
            // The agent ends the command; this is for an agent that hangs.
            stream.set_read_timeout(Some(limit + Duration::from_secs(20)))?;
        }
        Frame::new(1, Kind::Select, self.name).send(&mut stream)?;
        Ok(stream)
    }

    fn begin(&self, stream: &mut UnixStream, argv: &[&str], limit: Duration) -> Result<()> {
        let exec = Exec {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            timeout_ms: limit.as_millis() as u64,
        };
        Frame::of(1, Kind::Exec, &exec)?.send(stream)?;
        Ok(())
    }
}

fn collect(stream: &mut impl Read) -> Result<Output> {
    collect_bytes(stream).map(|(output, _)| output)
}

fn collect_bytes(stream: &mut impl Read) -> Result<(Output, Vec<u8>)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        let frame = Frame::receive(stream).context("the machine does not answer")?;
        match frame.kind {
            Kind::Stdout => stdout.extend(frame.body),
            Kind::Stderr => stderr.extend(frame.body),
            Kind::Done => {
                let done: Done = frame.value()?;
                let output = Output {
                    code: done.code,
                    why: done.why,
                    stdout: String::from_utf8_lossy(&stdout).into_owned(),
                    stderr: String::from_utf8_lossy(&stderr).into_owned(),
                };
                return Ok((output, stdout));
            }
            _ => {}
        }
    }
}

/// Does the same on both nodes at once.
pub fn on_both(act: impl Fn(&'static str) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let threads = NODES.map(|node| scope.spawn(|| act(node)));
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a helper thread died"))??;
        }
        Ok(())
    })
}
