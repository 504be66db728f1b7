//! The client: appends records to the ledger without pause and notes when each
//! is acknowledged, and what it hears of the address meanwhile.

use super::network;
use super::words::{Errand, Frame, Report, hear, say};
use anyhow::{Context, Result};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use story::ledger::service::Client;
use story::ledger::{Ack, Record};
use story::timeline::now;

/// The pause after a failed attempt that failed at once.
const PAUSE: Duration = Duration::from_millis(2);
const PROGRESS: Duration = Duration::from_millis(200);

/// Runs until standard input ends.
pub fn main() -> Result<()> {
    let errand: Errand = hear(&mut std::io::stdin().lock())?.context("no errand")?;
    network::bring_up(&errand.nics)?;
    let (sender, frames) = mpsc::channel();
    super::wire::listen(errand.addresses.clone(), &sender)?;
    let mut stdout = std::io::stdout();
    say(&mut stdout, &Report::Ready)?;
    let acks = write(&errand, &told_to_end(), &mut stdout)?;
    let frames: Vec<Frame> = frames.try_iter().collect();
    say(&mut stdout, &Report::End { acks, frames })
}

/// A flag that is raised when standard input ends.
fn told_to_end() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raise = Arc::clone(&flag);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        raise.store(true, Ordering::Relaxed);
    });
    flag
}

fn write(errand: &Errand, end: &AtomicBool, stdout: &mut std::io::Stdout) -> Result<Vec<Ack>> {
    let mut client = Client::new(errand.service);
    let mut acks: Vec<Ack> = Vec::new();
    let mut told = now();
    let next = |number| Record::new(number, "client", now().as_nanos() as u64);
    let mut record = next(1);
    while !end.load(Ordering::Relaxed) {
        match client.append(&record) {
            Ok(()) => {
                acks.push(Ack { number: record.number, at: now() });
                record = next(record.number + 1);
            }
            // The same record again: nobody knows whether it was stored.
            Err(_) => std::thread::sleep(PAUSE),
        }
        if now() > told + PROGRESS {
            told = now();
            say(stdout, &Report::Progress(acks.len() as u64))?;
        }
    }
    Ok(acks)
}
