//! What was seen while scenarios were played: every call of an agent, every
//! acknowledgement that a writer got, and the state of both nodes twice a
//! second.

use super::client::{Event, Lab};
use super::machine::NODES;
use super::observe::Node;
use super::setting::Setting;
use super::wire::{Frame, Kind};
use anyhow::Result;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use story::ledger::Ack;
use story::timeline::now;

/// One look at both nodes.
#[derive(Clone, Debug)]
pub struct Look {
    /// When.
    pub at: Duration,
    /// In the order of [`NODES`].
    pub nodes: [Node; 2],
}

/// One call of an agent.
#[derive(Clone, Debug)]
pub struct Call {
    /// The index of its node.
    pub node: usize,
    /// Such as `Filesystem::/dev/drbd0::...` or `Filesystem(fs)`.
    pub what: String,
    /// Such as `start`.
    pub action: String,
    /// When it began.
    pub from: Duration,
    /// When it ended; `None` if its machine lost power.
    pub to: Option<Duration>,
    /// Its exit code.
    pub code: Option<u8>,
    /// It was killed by an armed fault.
    pub killed: bool,
    pid: String,
}

/// A number that a guest has counted.
#[derive(Clone, Debug)]
pub struct Count {
    /// The guest's name.
    pub guest: String,
    /// The node on which it ran.
    pub node: String,
    /// The number, which is on its disk.
    pub ack: Ack,
}

/// Everything seen so far.
#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    acks: BTreeMap<String, Vec<Ack>>,
    /// What guests have counted.
    counts: Vec<Count>,
    looks: Vec<Look>,
}

/// See the module. Ends its threads when dropped.
pub struct Journal {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    /// The client's programs.
    client: Vec<UnixStream>,
}

impl Journal {
    /// Begins to watch, and starts the client, where there is something for it
    /// to call.
    pub fn begin(lab: &Lab, setting: &Setting) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let over = Arc::new(AtomicBool::new(false));
        let events = lab.events()?;
        let kept = seen.clone();
        thread::spawn(move || {
            for event in events {
                let mut seen = lock(&kept);
                match &event.words[..] {
                    [word, number, writer @ ..] if word == "ack" => {
                        let Ok(number) = number.parse() else { continue };
                        let ack = Ack { number, at: event.at };
                        // A guest writes on, wherever it runs.
                        let writer = writer.first().unwrap_or(&event.machine).clone();
                        seen.acks.entry(writer).or_default().push(ack);
                    }
                    [word, number, guest] if word == "count" => {
                        let Ok(number) = number.parse() else { continue };
                        let ack = Ack { number, at: event.at };
                        let guest = guest.clone();
                        seen.acks.entry(guest.clone()).or_default().push(ack);
                        seen.counts.push(Count { guest, node: event.machine, ack });
                    }
                    _ => seen.events.push(event),
                }
            }
        });
        let mut client = Vec::new();
        let service = setting.article.service;
        for program in service.writer(setting.article).into_iter().chain(service.locker()) {
            let program: Vec<&str> = program.iter().map(String::as_str).collect();
            let stream = lab.machine("client").start(&program)?;
            client.push(stream.try_clone()?);
            let kept = seen.clone();
            thread::spawn(move || hear_client(stream, &kept));
        }
        let (kept, ended, lab, setting) = (seen.clone(), over.clone(), lab.clone(), *setting);
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let nodes = NODES.map(|node| Node::look(&lab, node, setting.article));
                lock(&kept).looks.push(Look { at: now(), nodes });
                thread::sleep(Duration::from_millis(400));
            }
        });
        Ok(Self { seen, over, client })
    }

    /// The last look at both nodes that began after `after`.
    pub fn latest(&self, after: Duration) -> Option<Look> {
        // A look takes a moment, so one that ended just after may be older.
        lock(&self.seen).looks.last().filter(|look| look.at > after).cloned()
    }

    /// All looks since `from`.
    pub fn looks(&self, from: Duration) -> Vec<Look> {
        lock(&self.seen).looks.iter().filter(|look| look.at >= from).cloned().collect()
    }

    /// Every acknowledgement of one writer.
    pub fn acks_of(&self, writer: &str) -> Vec<Ack> {
        lock(&self.seen).acks.get(writer).cloned().unwrap_or_default()
    }

    /// Every acknowledgement of these writers, in their order.
    pub fn acks(&self, writers: &[&str]) -> Vec<Ack> {
        let mut acks: Vec<Ack> = writers.iter().flat_map(|writer| self.acks_of(writer)).collect();
        acks.sort_by_key(|ack| ack.at);
        acks
    }

    /// What a guest has counted, in the order in which it was heard.
    pub fn counts_of(&self, guest: &str) -> Vec<Count> {
        let seen = lock(&self.seen);
        seen.counts.iter().filter(|count| count.guest == guest).cloned().collect()
    }

    /// What the client's program that holds a lock has said last since `from`:
    /// `held`, `beat` or `lost` with the reason.
    pub fn lock(&self, from: Duration) -> Option<String> {
        let events = self.events(from);
        let said = events.iter().rev().find(|event| event.is("lock"))?;
        Some(said.words[1..].join(" "))
    }

    /// The losses of its lock that the client was told of since `from`.
    pub fn losses(&self, from: Duration) -> Vec<String> {
        let is_loss = |event: &Event| event.is("lock") && event.words[1] == "lost";
        self.events(from)
            .iter()
            .filter(|event| is_loss(event))
            .map(|event| event.words[2..].join(" "))
            .collect()
    }

    /// What the client's writes were refused with, from the first on.
    pub fn refusals(&self) -> Vec<String> {
        let refused = |event: &Event| event.is("refused").then(|| event.words[1..].join(" "));
        self.events(Duration::ZERO).iter().filter_map(refused).collect()
    }

    /// What the machines told since `from`.
    pub fn events(&self, from: Duration) -> Vec<Event> {
        lock(&self.seen).events.iter().filter(|event| event.at >= from).cloned().collect()
    }

    /// The agents' calls since `from`.
    pub fn calls(&self, from: Duration) -> Vec<Call> {
        let mut calls: Vec<Call> = Vec::new();
        for event in self.events(from) {
            let Some(node) = NODES.iter().position(|node| *node == event.machine) else { continue };
            let words: Vec<&str> = event.words.iter().map(String::as_str).collect();
            let open = |call: &&mut Call, pid: &str| {
                call.node == node && call.pid == pid && call.to.is_none()
            };
            match words[..] {
                ["begin", pid, action, what] => calls.push(Call {
                    node,
                    what: what.into(),
                    action: action.into(),
                    from: event.at,
                    to: None,
                    code: None,
                    killed: false,
                    pid: pid.into(),
                }),
                ["end", pid, _, _, code, _] => {
                    if let Some(call) = calls.iter_mut().rev().find(|call| open(call, pid)) {
                        call.to = Some(event.at);
                        call.code = code.parse().ok();
                    }
                }
                ["kill", pid, ..] => {
                    if let Some(call) = calls.iter_mut().rev().find(|call| open(call, pid)) {
                        call.killed = true;
                    }
                }
                _ => {}
            }
        }
        calls
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for client in &self.client {
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The times are this host's: a machine's clock may run differently, and the
/// channel takes no longer than a few milliseconds.
fn hear_client(mut stream: UnixStream, seen: &Mutex<Seen>) {
    let mut rest = String::new();
    while let Ok(frame) = Frame::receive(&mut stream) {
        let at = now();
        if frame.kind != Kind::Stdout {
            continue;
        }
        rest += &frame.text();
        while let Some((line, tail)) = rest.split_once('\n') {
            if let Some(number) =
                line.strip_prefix("ack ").and_then(|rest| rest.split(' ').next()?.parse().ok())
            {
                let ack = Ack { number, at };
                lock(seen).acks.entry("client".into()).or_default().push(ack);
            } else if let Some(refused) = line.strip_prefix("err ") {
                // The number and the client's own time come before the reason.
                let words = ["refused"].into_iter().chain(refused.split_whitespace().skip(2));
                let words = words.map(str::to_owned).collect();
                lock(seen).events.push(Event { at, machine: "client".into(), words });
            } else if ["held", "beat", "lost"].iter().any(|word| line.starts_with(word)) {
                let words = ["lock"].into_iter().chain(line.split_whitespace());
                let words = words.map(str::to_owned).collect();
                lock(seen).events.push(Event { at, machine: "client".into(), words });
            }
            rest = tail.to_owned();
        }
    }
}
