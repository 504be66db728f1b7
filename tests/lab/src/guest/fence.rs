//! `fence_lab`: the fencing device of the cluster in the machines, an agent as
//! Pacemaker's fencer calls them. It asks the host for another machine's
//! power, through the channel of the machine it runs in, so it works with all
//! networks cut; and it answers when the host has said that it is done. It can be
//! either of two devices, as clusters have them: a switch in the machine's feed,
//! or the controller on its own board, which is silent while the machine has no
//! power.

use crate::machine::PLANS;
use crate::wire::{Ask, Done, Frame, IS_OFF, Kind, Power};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// Where the agent that has the channel listens for what is to be asked.
const ASKS: &str = "/run/lab/asks";

/// Longer than the host waits for a machine to end.
const LIMIT: Duration = Duration::from_secs(50);

/// `fence_lab`: its options come as lines of `name=value`, or, by hand, as
/// `-o ACTION -n MACHINE -b 1`.
pub fn run(words: &[String]) -> ExitCode {
    let mut options: Vec<(String, String)> = Vec::new();
    for pair in words.chunks_exact(2) {
        let name = match pair[0].as_str() {
            "-o" => "action",
            "-b" => "on_board",
            _ => "port",
        };
        options.push((name.into(), pair[1].clone()));
    }
    if words.is_empty() {
        let lines = io::stdin().lock().lines().map_while(Result::ok);
        options.extend(lines.filter_map(|line| {
            line.split_once('=').map(|(name, value)| (name.trim().into(), value.trim().into()))
        }));
    }
    let option = |name: &str| {
        options
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value.as_str())
    };
    let power = match option("action") {
        "metadata" => {
            print!("{META}");
            return ExitCode::SUCCESS;
        }
        // Whether the host would answer at all is what monitor is for.
        "monitor" => return code(ask(PLANS[0].name, Power::Look).map(|_| 0)),
        "list" => {
            PLANS.iter().for_each(|plan| println!("{},", plan.name));
            return ExitCode::SUCCESS;
        }
        "on" => Power::On,
        "off" => Power::Off,
        "" | "reboot" => Power::Reset,
        "status" => Power::Look,
        other => return code(Err(io::Error::other(format!("no action {other}")))),
    };
    code(switch(option("port"), power, option("on_board") == "1"))
}

/// Switches a machine by one of the two devices.
fn switch(machine: &str, power: Power, on_board: bool) -> io::Result<i32> {
    if on_board && ask(machine, Power::Look)? == IS_OFF {
        let why = format!("the controller on {machine}'s board is silent: it has no power");
        return Err(io::Error::other(why));
    }
    ask(machine, power)
}

fn code(asked: io::Result<i32>) -> ExitCode {
    match asked {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(err) => {
            eprintln!("fence_lab: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Asks the host through the agent, and waits for its answer.
fn ask(machine: &str, power: Power) -> io::Result<i32> {
    let mut agent = UnixStream::connect(ASKS)?;
    agent.set_read_timeout(Some(LIMIT))?;
    let ask = Ask { machine: machine.into(), power };
    Frame::of(0, Kind::Ask, &ask)?.send(&mut agent)?;
    let done: Done = Frame::receive(&mut agent)?.value()?;
    match done.why {
        None => Ok(done.code),
        Some(why) => Err(io::Error::other(why)),
    }
}

/// A question's id, and who waits for the answer.
type Asker = (u32, mpsc::Sender<Frame>);

/// What has been asked of the host and not been answered.
#[derive(Clone, Default)]
pub struct Asks {
    next: Arc<AtomicU32>,
    open: Arc<Mutex<Vec<Asker>>>,
}

impl Asks {
    /// Serves this machine's askers; `tell` sends a frame to the host.
    pub fn serve(&self, tell: impl Fn(&Frame) + Clone + Send + 'static) -> io::Result<()> {
        let _ = std::fs::remove_file(ASKS);
        let listener = UnixListener::bind(ASKS)?;
        let asks = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (asks, tell) = (asks.clone(), tell.clone());
                thread::spawn(move || asks.pass_on(stream, tell));
            }
        });
        Ok(())
    }

    /// Passes one question on and its answer back.
    fn pass_on(&self, mut stream: impl Read + Write, tell: impl Fn(&Frame)) -> io::Result<()> {
        let mut frame = Frame::receive(&mut stream)?;
        frame.id = self.next.fetch_add(1, Ordering::Relaxed);
        let id = frame.id;
        let (send, answer) = mpsc::channel();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push((id, send));
        tell(&frame);
        let answer = answer.recv_timeout(LIMIT);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(open, _)| *open != id);
        answer.map_err(io::Error::other)?.send(&mut stream)
    }

    /// Gives the host's answer to whoever asked.
    pub fn answered(&self, frame: Frame) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, asker)) = open.iter().find(|(id, _)| *id == frame.id) {
            // Who has given up waiting wants no answer.
            let _ = asker.send(frame);
        }
    }
}

const META: &str = r#"<?xml version="1.0"?>
<resource-agent name="fence_lab" shortdesc="The power of the lab's machines">
<longdesc>Asks the host of the lab's virtual machines to switch one of them off and on.</longdesc>
<vendor-url></vendor-url>
<parameters>
<parameter name="action" unique="0" required="1">
<getopt mixed="-o [action]"/>
<content type="string" default="reboot"/>
<shortdesc lang="en">Fencing action</shortdesc>
</parameter>
<parameter name="port" unique="0" required="0">
<getopt mixed="-n [machine]"/>
<content type="string"/>
<shortdesc lang="en">Machine</shortdesc>
</parameter>
<parameter name="on_board" unique="0" required="0">
<getopt mixed="-b [1]"/>
<content type="boolean" default="0"/>
<shortdesc lang="en">The device has its power from the machine</shortdesc>
</parameter>
</parameters>
<actions>
<action name="on" automatic="0"/>
<action name="off"/>
<action name="reboot"/>
<action name="status"/>
<action name="monitor"/>
<action name="list"/>
<action name="metadata"/>
</actions>
</resource-agent>
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// What is read from it, and what has been written to it.
    struct Stream(Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Stream {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_asker_gets_the_answer_to_its_own_question() {
        let asks = Asks::default();
        for code in [0, 2] {
            let mut question = Vec::new();
            let ask = Ask { machine: "node2".into(), power: Power::Look };
            Frame::of(0, Kind::Ask, &ask).unwrap().send(&mut question).unwrap();
            let mut stream = Stream(Cursor::new(question), Vec::new());
            let host = asks.clone();
            asks.pass_on(&mut stream, |frame| {
                assert_eq!(frame.value::<Ask>().unwrap().machine, "node2");
                let done = |code| Done { code, why: None };
                host.answered(Frame::of(frame.id + 7, Kind::Answer, &done(9)).unwrap());
                host.answered(Frame::of(frame.id, Kind::Answer, &done(code)).unwrap());
            })
            .unwrap();
            let answer = Frame::receive(&mut &stream.1[..]).unwrap();
            assert_eq!(answer.value::<Done>().unwrap().code, code);
        }
        assert!(asks.open.lock().unwrap().is_empty());
    }
}
