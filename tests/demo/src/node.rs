//! Process 1 of a node: brings up its root file system and network, sends
//! heartbeats, and carries out the stage's orders. When it is killed, the
//! kernel kills everything else on the node in the same instant.

use super::beat::{self, Peer};
use super::group::{Answer, Group, Resource, Script};
use super::words::{Boot, Order, Saying, hear, say};
use super::{disk, network, root};
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use story::ledger::{Ledger, service};

/// Runs until it is killed, or standard input ends.
pub fn main() -> Result<()> {
    let mut orders = std::io::stdin().lock();
    let boot: Boot = hear(&mut orders)?.context("nobody said what to boot")?;
    nix::unistd::sethostname(&boot.node).context("cannot set the host name")?;
    root::enter(&boot)?;
    network::bring_up(&boot.nics)?;
    let (own, peer) = boot.beats;
    beat::run(own, peer, |peer| {
        // When nobody listens any more, this node is about to be killed.
        let _ = tell(match peer {
            Peer::Back => Saying::PeerBack,
            Peer::Silent(last) => Saying::PeerSilent { last },
        });
    })?;
    let mut group = group(&boot);
    tell(Saying::Ready)?;
    while let Some(order) = hear(&mut orders)? {
        let done = carry_out(&order, &mut group);
        reap();
        tell(Saying::Done { failure: done.err().map(|err| format!("{err:#}")) })?;
    }
    Ok(())
}

/// Says something to the stage; from any thread, a line at a time.
fn tell(what: Saying) -> Result<()> {
    say(&mut std::io::stdout().lock(), &what)
}

fn group(boot: &Boot) -> Group {
    let script = |word: &super::haresources::Word| -> Box<dyn Resource> {
        let (name, node) = (word.name(&boot.words), boot.node.clone());
        Box::new(Script { name, word: word.clone(), node })
    };
    let mut resources: Vec<Box<dyn Resource>> = boot.words.iter().map(script).collect();
    let (path, address) = boot.ledger.clone();
    resources.push(Box::new(LedgerService { path, address, process: None }));
    Group { resources, lane: boot.lane, tell: Box::new(tell) }
}

fn carry_out(order: &Order, group: &mut Group) -> Result<()> {
    match order {
        Order::Take => group.take(),
        Order::Give => group.give(),
        Order::Disk { path, number } => {
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory)
                    .with_context(|| format!("cannot make {}", directory.display()))?;
            }
            // The device of last time, which may have got another number.
            let _ = std::fs::remove_file(path);
            disk::make_node(path, *number)
        }
    }
}

/// Collects what agents have left behind and what has ended since.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// The last word of the group, which heartbeat would find in `/etc/init.d`.
struct LedgerService {
    path: PathBuf,
    address: SocketAddr,
    process: Option<Pid>,
}

impl LedgerService {
    fn start(&mut self) -> Result<()> {
        let mut child = Command::new("/proc/self/exe")
            .args(["demo", "@ledger"])
            .arg(&self.path)
            .arg(self.address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start it")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        anyhow::ensure!(line.trim() == "listening", "it ended at once: {}", line.trim());
        self.process = Some(Pid::from_raw(i32::try_from(child.id())?));
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            // It may have ended, and been collected, by itself.
            if kill(process, Signal::SIGTERM).is_ok() {
                waitpid(process, None).context("cannot await its end")?;
            }
        }
        Ok(())
    }

    fn runs(&self) -> bool {
        self.process.is_some_and(|process| kill(process, None).is_ok())
    }
}

impl Resource for LedgerService {
    fn name(&self) -> String {
        "ledger".into()
    }

    fn call(&mut self, verb: &str) -> Result<Answer> {
        let (code, stdout) = match verb {
            "start" => (self.start(), ""),
            "stop" => (self.stop(), ""),
            _ => (Ok(()), if self.runs() { "running\n" } else { "stopped\n" }),
        };
        let stderr = code.as_ref().err().map(|err| format!("{err:#}")).unwrap_or_default();
        let code = Some(i32::from(code.is_err()));
        Ok(Answer { code, stdout: stdout.into(), stderr })
    }
}

/// The ledger's service itself, a process of the node.
pub fn serve_ledger(path: &Path, address: &str) -> Result<()> {
    let opened = Ledger::open(path).and_then(|ledger| {
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("cannot listen on {address}"))?;
        Ok((ledger, listener))
    });
    match opened {
        Ok((ledger, listener)) => {
            println!("listening");
            service::serve(&listener, ledger)
        }
        Err(err) => {
            println!("{err:#}");
            Err(err)
        }
    }
}
