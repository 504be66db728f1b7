//! The ledger over TCP: the client sends an encoded record, the service
//! answers with one line, `ok NUMBER` once it is on disk, or `no REASON`.

use super::{Ledger, RECORD, Record};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Serves `ledger` to whoever connects; returns only when it cannot accept.
pub fn serve(listener: &TcpListener, ledger: Ledger) -> Result<()> {
    let ledger = Arc::new(Mutex::new(ledger));
    loop {
        let (stream, peer) = listener.accept().context("cannot accept a connection")?;
        let ledger = Arc::clone(&ledger);
        // One thread each: a client that went silent must not hold up others.
        std::thread::Builder::new()
            .name(peer.to_string())
            .spawn(move || answer(stream, &ledger))
            .context("cannot start a thread for a connection")?;
    }
}

/// Answers one connection until it ends, for which any reason is as good.
fn answer(mut stream: TcpStream, ledger: &Mutex<Ledger>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = [0; RECORD];
    loop {
        stream.read_exact(&mut bytes)?;
        let reply = match store(&bytes, ledger) {
            Ok(number) => format!("ok {number}\n"),
            Err(err) => format!("no {err:#}\n"),
        };
        stream.write_all(reply.as_bytes())?;
    }
}

fn store(bytes: &[u8], ledger: &Mutex<Ledger>) -> Result<u64> {
    let record = Record::decode(bytes).map_err(|damage| anyhow::anyhow!("{damage}"))?;
    let mut ledger = ledger.lock().map_err(|_| anyhow::anyhow!("the ledger's writer died"))?;
    ledger.append(&record)?;
    Ok(record.number)
}

/// A client that connects when it needs to, and gives up early: during a
/// failover a new attempt finds the address sooner than an old one waits.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// How long a connection may take; a SYN is repeated only after a second.
    pub const CONNECT: Duration = Duration::from_millis(25);
    /// How long an acknowledgement may take, the disk's sync included.
    pub const ANSWER: Duration = Duration::from_millis(400);

    /// A client of the service at `address`; does not connect yet.
    pub fn new(address: SocketAddr) -> Client {
        Client { address, connection: None }
    }

    /// Sends one record and returns once it is acknowledged. After an error
    /// nobody knows whether it was stored; the same record may be sent again.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let answered = self.attempt(record);
        if answered.is_err() {
            self.connection = None;
        }
        answered
    }

    fn attempt(&mut self, record: &Record) -> Result<()> {
        if self.connection.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, Self::CONNECT)
                .with_context(|| format!("cannot connect to {}", self.address))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Self::ANSWER))?;
            stream.set_write_timeout(Some(Self::ANSWER))?;
            self.connection = Some(BufReader::new(stream));
        }
        let Some(connection) = &mut self.connection else { bail!("not connected") };
        connection.get_mut().write_all(&record.encode()).context("cannot send")?;
        let mut line = String::new();
        connection.read_line(&mut line).context("no answer")?;
        let line = line.trim_end();
        ensure!(!line.is_empty(), "the connection was closed");
        ensure!(line == format!("ok {}", record.number), "the service answers: {line}");
        Ok(())
    }
}
