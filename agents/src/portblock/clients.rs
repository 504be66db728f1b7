//! The connections behind the ports: written down, told to look, let finish,
//! ended.

use super::Portblock;
use super::name::Stage;
use super::params::{Effect, PortblockParams};
use super::wall::Wanted;
use anyhow::{Result, bail, ensure};
use common::host::clock::{Deadline, Pace};
use common::host::sockets::{self, Ended};
use common::host::tickle::{self, Ends};
use common::host::traffic::Protocol;
use common::{Plan, System, View};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// How long a script may take that carries the list to the other nodes.
const SCRIPT: Duration = Duration::from_secs(60);

/// What a stop keeps of its time for closing the ports after a drain.
const CLOSING: Duration = Duration::from_secs(2);

/// A packet that our own sockets answer is lost at times.
const TRIES: u32 = 5;

/// The program that carries the list to the other nodes, and its first words.
pub(super) fn script(params: &PortblockParams) -> Option<(&str, Vec<&str>)> {
    let mut words = params.sync_script.as_deref()?.split_whitespace();
    Some((words.next()?, words.collect()))
}

/// Runs it, from the background.
pub(super) fn background(words: &[String], system: &System<'_>) -> Result<()> {
    let [_instance, program, rest @ ..] = words else { bail!("no script") };
    carry(system, program, rest, SCRIPT)
}

fn carry(system: &System<'_>, program: &str, words: &[String], limit: Duration) -> Result<()> {
    let ended = system.change_within(limit, &[], program, words)?;
    ensure!(ended.success(), "sync_script {program}: {}", ended.reason());
    Ok(())
}

impl Portblock {
    /// Where the connections are written down, and of which address.
    fn list(&self) -> Option<(&Path, IpAddr)> {
        let directory = self.params.tickle_dir.as_deref()?;
        Some((directory, self.name.network.address()?))
    }

    fn is_ours(&self) -> impl Fn(&SocketAddr) -> bool + '_ {
        |local: &SocketAddr| {
            let name = &self.name;
            name.network.has(local.ip()) && name.ports.iter().any(|ports| ports.have(local.port()))
        }
    }

    fn saved_record(&self) -> String {
        self.name.record(Effect::Unblock) + ".saved"
    }

    /// Adds that the clients of before are told to look.
    pub(super) fn plan_tickle<'a>(&'a self, plan: &mut Plan<'a>) {
        let Some((directory, ip)) = self.list() else { return };
        plan.step(
            format!("tickle the clients that {} has of {ip}", directory.display()),
            move |system| {
                // What it says of another time is in the way of what is to be written.
                let _ = system.remove_record(&self.saved_record());
                let deadline = system.deadline().at_most(Self::share(system));
                warned(system, tickle::tickle(system, directory, ip, deadline));
                Ok(())
            },
        );
    }

    /// Adds the writing of the list, if it has changed.
    pub(super) fn plan_upkeep<'a>(&'a self, view: &View, plan: &mut Plan<'a>) -> Result<()> {
        let Some((directory, ip)) = self.list() else { return Ok(()) };
        let sum = sum(&tickle::connections(view, ip)?);
        let known = view.record_text(&self.saved_record());
        if known.unwrap_or_default().as_deref().map(str::trim_end) == Some(&sum) {
            return Ok(());
        }
        plan.step(
            format!("write the connections of {ip} to {}", directory.display()),
            move |system| {
                let deadline = system.deadline().at_most(Self::share(system));
                if !warned(system, tickle::save(system, directory, ip, deadline)) {
                    return Ok(());
                }
                warned(system, system.write_record(&self.saved_record(), &format!("{sum}\n")));
                if let Some(words) = self.script_words(system, directory, ip) {
                    let words = [vec![self.saved_record()], words].concat();
                    warned(system, system.background(&words, None).map(drop));
                }
                Ok(())
            },
        );
        Ok(())
    }

    /// The script, where it lies, and its words: the background has no PATH.
    fn script_words(&self, view: &View, directory: &Path, ip: IpAddr) -> Option<Vec<String>> {
        let (program, rest) = script(&self.params)?;
        let found = view.program(program).ok().and_then(|path| path.to_str().map(str::to_owned));
        let program = found.unwrap_or_else(|| program.to_owned());
        let file = tickle::file_of(directory, ip).to_string_lossy().into_owned();
        let rest = rest.into_iter().map(str::to_owned).chain([file]);
        Some([program].into_iter().chain(rest).collect())
    }

    /// Adds the end of an unblock: the list is written, connections may finish,
    /// the ports are closed, and what is left on our side ends.
    pub(super) fn plan_closing<'a>(&'a self, plan: &mut Plan<'a>, stage: Option<Stage>) {
        self.plan_parting(plan, stage);
        let resets = self.params.reset_local_on_unblock_stop && self.name.protocol == Protocol::Tcp;
        if !resets {
            self.plan_effect(plan, Effect::Block, None);
            return;
        }
        let ports = self.name.shown();
        plan.step(
            format!("block {ports}, and end its connections unheard by their clients"),
            |system| {
                let wall = Some(self.params.method.into());
                self.change(system, None, Wanted { wall, reset: true, ..Wanted::default() })?;
                let ended = self.end_connections(system);
                self.change(system, None, Wanted { wall, ..Wanted::default() })?;
                warned(system, ended);
                Ok(())
            },
        );
    }

    /// Adds what comes before the ports are closed.
    pub(super) fn plan_parting<'a>(&'a self, plan: &mut Plan<'a>, stage: Option<Stage>) {
        if let Some((directory, ip)) = self.list() {
            plan.step(
                format!("write the connections of {ip} to {}", directory.display()),
                move |system| {
                    let deadline = system.deadline().at_most(Self::share(system));
                    let is_saved = warned(system, tickle::save(system, directory, ip, deadline));
                    if let Some(words) =
                        self.script_words(system, directory, ip).filter(|_| is_saved)
                    {
                        warned(system, carry(system, &words[0], &words[1..], Self::share(system)));
                    }
                    let _ = system.remove_record(&self.saved_record());
                    Ok(())
                },
            );
        }
        let drains = !self.params.drain_timeout.is_zero() && self.name.protocol == Protocol::Tcp;
        if drains {
            let seconds = self.params.drain_timeout.as_secs();
            let what = format!(
                "let the connections of {} finish, for {seconds} s at most",
                self.name.shown()
            );
            plan.step(what, move |system| {
                warned(system, self.drain(system, stage));
                Ok(())
            });
        }
    }

    /// Takes no new connections, and waits for those that are there.
    fn drain(&self, system: &System<'_>, stage: Option<Stage>) -> Result<()> {
        let until = system.deadline().sooner(CLOSING).at_most(self.params.drain_timeout);
        let wanted = Wanted { drain: true, ..Wanted::default() };
        super::wall::change(system, &self.name, self.params.action, stage, wanted)?;
        let mut pace = Pace::new();
        loop {
            let left = sockets::connections(system, self.is_ours())?.len();
            if left == 0 {
                return Ok(());
            }
            if until.has_passed() {
                bail!("{left} connections of {} have not finished in time", self.name.shown());
            }
            pace.rest(until);
        }
    }

    /// Ends our side of what is left. Where the kernel ends no connections, our
    /// own sockets are made to say something, which the firewall answers with a
    /// reset.
    fn end_connections(&self, system: &System<'_>) -> Result<()> {
        for attempt in 0..TRIES {
            let left = sockets::established(system, self.is_ours())?;
            let mut stubborn = Vec::new();
            for connection in left.iter() {
                if sockets::end(system, connection)? == Ended::Cannot {
                    stubborn.push(Ends { local: connection.local, remote: connection.remote });
                }
            }
            if stubborn.is_empty() {
                return Ok(());
            }
            tickle::tickle_ourselves(system, &stubborn)?;
            let pause = Deadline::after(Duration::from_millis(100) * 2u32.pow(attempt));
            system.pause(pause.left());
        }
        let left = sockets::established(system, self.is_ours())?.len();
        ensure!(left == 0, "{left} connections of {} live on", self.name.shown());
        Ok(())
    }
}

/// Tells the log of what has gone wrong and keeps nobody waiting. Whether all
/// went well.
fn warned(system: &System<'_>, done: Result<()>) -> bool {
    if let Err(err) = &done {
        system.warn(format_args!("{err:#}"));
    }
    done.is_ok()
}

/// A number that is another one when the connections are others.
fn sum(ends: &[Ends]) -> String {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in
        ends.iter().flat_map(|ends| format!("{} {}\n", ends.local, ends.remote).into_bytes())
    {
        sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{} {sum:016x}", ends.len())
}
