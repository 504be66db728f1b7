//! The ledger in a database: each record is a row, which is acknowledged when
//! the server says that it is committed. The client is MariaDB's own program.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;
use story::ledger::{RECORD, Record};

/// How many letters a row has: a record without its line feed.
pub const COLUMN: usize = RECORD - 1;

/// A server that has lost its power says nothing more, and nobody says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub struct Sql {
    address: String,
    session: Option<Session>,
}

struct Session {
    program: Child,
    /// The lines it prints.
    said: Receiver<String>,
}

impl Sql {
    /// With the server at this address.
    pub fn new(address: &str) -> Self {
        Self { address: address.into(), session: None }
    }

    /// Returns once the record is committed. After an error nobody knows whether
    /// it is; the same record may be committed again.
    pub fn commit(&mut self, record: &Record) -> Result<()> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::begin(&self.address)?,
        };
        match session.commit(record) {
            Ok(()) => {
                self.session = Some(session);
                Ok(())
            }
            Err(err) => Err(err.context(session.end())),
        }
    }
}

impl Session {
    fn begin(address: &str) -> Result<Self> {
        let mut program = Command::new("mariadb")
            .args(["--no-defaults", "--batch", "--skip-column-names", "--unbuffered"])
            .args(["--skip-ssl", "--connect-timeout=5", "--user=ledger", "--host", address])
            .arg("ledger")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run mariadb")?;
        let stdout = program.stdout.take().context("mariadb has no output")?;
        let (send, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { program, said })
    }

    fn commit(&mut self, record: &Record) -> Result<()> {
        let bytes = record.encode();
        let (number, text) = (record.number, std::str::from_utf8(&bytes[..COLUMN])?);
        let stdin = self.program.stdin.as_mut().context("mariadb has no input")?;
        // Each statement is a transaction of its own, and the second's answer
        // comes after the first's.
        writeln!(stdin, "REPLACE INTO ledger VALUES ({number}, '{text}'); SELECT {number};")?;
        stdin.flush()?;
        let answer = self.said.recv_timeout(PATIENCE).context("no answer")?;
        if answer != number.to_string() {
            bail!("{answer:?} is no answer to record {number}");
        }
        Ok(())
    }

    /// Ends the program, and says what it complained of.
    fn end(mut self) -> String {
        let _ = self.program.kill();
        let _ = self.program.wait();
        let mut text = String::new();
        if let Some(mut stderr) = self.program.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text.trim().to_owned()
    }
}
