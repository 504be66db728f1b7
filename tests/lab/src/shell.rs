//! `lab shell`: a terminal or a single command in a machine, through the
//! machine's own channel, so also while its networks are cut.

use super::client::Lab;
use super::wire::{Done, Frame, Kind};
use anyhow::{Context, Result, bail};
use nix::sys::termios::{self, SetArg, Termios};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

/// Runs `command`, or a shell with a terminal when it is empty. A failing
/// command's exit code is this task's.
#[allow(clippy::exit)]
pub fn run(lab: &Lab, machine: &str, command: &[&str]) -> Result<()> {
    let interactive = command.is_empty();
    let size = if interactive { size() } else { String::new() };
    let words = ["script", "-qfc", &size, "/dev/null"];
    let argv: &[&str] = if interactive { &words } else { command };
    let mut stream = lab.machine(machine).start(argv)?;
    let raw = (interactive && std::io::stdin().is_terminal()).then(Raw::enter).transpose()?;
    let input = stream.try_clone()?;
    thread::spawn(move || send_input(input));
    let done = show(&mut stream)?;
    drop(raw);
    match done {
        Done { code: 255, why: Some(why) } => bail!("{machine}: {why}"),
        Done { code: 0, .. } => Ok(()),
        Done { code, .. } => std::process::exit(code),
    }
}

/// The command of a shell as large as this terminal.
fn size() -> String {
    let output = std::process::Command::new("stty")
        .arg("size")
        .stdin(std::process::Stdio::inherit())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let set = match text.unwrap_or_default().split_whitespace().collect::<Vec<_>>()[..] {
        [rows, columns] => format!("stty rows {rows} cols {columns}; "),
        _ => String::new(),
    };
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".into());
    format!("{set}cd /root; TERM={term} exec bash -i")
}

fn send_input(mut to: UnixStream) {
    let mut buffer = [0; 4096];
    let mut stdin = std::io::stdin().lock();
    while let Ok(count @ 1..) = stdin.read(&mut buffer) {
        if Frame::new(1, Kind::Stdin, &buffer[..count]).send(&mut to).is_err() {
            return;
        }
    }
    let _ = Frame::new(1, Kind::Stdin, []).send(&mut to);
}

fn show(from: &mut UnixStream) -> Result<Done> {
    loop {
        let frame = Frame::receive(from).context("the machine does not answer any more")?;
        match frame.kind {
            Kind::Stdout => {
                let mut out = std::io::stdout();
                out.write_all(&frame.body)?;
                out.flush()?;
            }
            Kind::Stderr => std::io::stderr().write_all(&frame.body)?,
            Kind::Done => return Ok(frame.value()?),
            _ => {}
        }
    }
}

/// The terminal passes every key on until this is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Self> {
        let before = termios::tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
