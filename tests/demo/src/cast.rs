//! Those who act on the stage: the nodes and the client, each the process 1 of
//! namespaces of its own, and the lines that lead to and from them.

use super::words::{Boot, Errand, Frame, Order, Report, Saying, Scene, hear, say};
use super::{network, space};
use anyhow::{Context, Result};
use std::io::BufReader;
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use story::ledger::Ack;

/// A node that is switched on.
#[derive(Debug)]
pub struct Node {
    child: Child,
    orders: ChildStdin,
}

impl Node {
    /// Switches a node on; what it says is sent on together with its lane.
    pub fn boot(boot: &Boot, says: &Sender<(usize, Saying)>) -> Result<Node> {
        let mut child = space::spawn("@node")?;
        let mut orders = child.stdin.take().context("a node has a standard input")?;
        let stdout = child.stdout.take().context("a node has a standard output")?;
        network::plug_in(boot.lane, child.id(), &boot.nics)?;
        say(&mut orders, boot)?;
        let (lane, says) = (boot.lane, says.clone());
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            while let Ok(Some(saying)) = hear(&mut lines) {
                if says.send((lane, saying)).is_err() {
                    return;
                }
            }
            // To nobody, when the stage itself ends.
            let _ = says.send((lane, Saying::Gone));
        });
        Ok(Node { child, orders })
    }

    /// Tells it what to do.
    pub fn order(&mut self, order: &Order) -> Result<()> {
        say(&mut self.orders, order)
    }

    /// The id of its process 1, as the stage sees it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends all its processes at once and returns when they are gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot end a node")?;
        self.child.wait().context("cannot await a node's end")?;
        Ok(())
    }
}

/// The client while it works.
#[derive(Debug)]
pub struct Client {
    child: Child,
    end: ChildStdin,
    says: Receiver<Report>,
}

impl Client {
    /// Starts the client as the machine of this number; it works at once.
    pub fn start(errand: &Errand, machine: usize) -> Result<Client> {
        let mut child = space::spawn("@client")?;
        let mut end = child.stdin.take().context("the client has a standard input")?;
        let stdout = child.stdout.take().context("the client has a standard output")?;
        network::plug_in(machine, child.id(), &errand.nics)?;
        say(&mut end, errand)?;
        let (sender, says) = channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            while let Ok(Some(report)) = hear(&mut lines) {
                let told = match report {
                    Report::Progress(count) => tell(&Scene::Acknowledged(count)).is_ok(),
                    other => sender.send(other).is_ok(),
                };
                if !told {
                    return;
                }
            }
        });
        let client = Client { child, end, says };
        client.says.recv_timeout(Duration::from_secs(10)).context("the client does not start")?;
        Ok(client)
    }

    /// Ends its work and returns what it has seen.
    pub fn finish(mut self) -> Result<(Vec<Ack>, Vec<Frame>)> {
        drop(self.end);
        let report = self.says.recv_timeout(Duration::from_secs(20));
        let Ok(Report::End { acks, frames }) = report else {
            anyhow::bail!("the client ended without its report");
        };
        self.child.wait().context("cannot await the client's end")?;
        Ok((acks, frames))
    }
}

/// Tells those who watch.
pub fn tell(scene: &Scene) -> Result<()> {
    say(&mut std::io::stdout().lock(), scene)
}
