//! Bringing exports up.

use super::Vblade;
use super::exports::{Export, Mac, read};
use super::look::State;
use super::record::{Noted, Server};
use anyhow::{Context, Result, anyhow, bail};
use common::host::aoe::{self, Detail, Socket};
use common::host::clock::Pace;
use common::host::daemon::{self, Order};
use common::host::link::{self, Link};
use common::host::mount::Table;
use common::host::opened::{self, Thing};
use common::host::process::Process;
use common::host::{block, holders, io_test};
use common::{Plan, System, View, installed, not_here};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Child;

/// The only kind of interface that has such a protocol.
const ETHERNET: u16 = 1;

/// How long vblade may take to end by itself.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// One export that is about to be served, and how.
#[derive(Clone, Debug)]
pub(super) struct Prospect {
    pub(super) noted: Noted,
    link: Link,
    words: Vec<OsString>,
}

impl Vblade {
    /// What is to be exported, or why that cannot be told.
    pub(super) fn wanted(&self, view: &View) -> Result<Vec<Export>> {
        if let Some(export) = &self.export {
            return Ok(vec![export.clone()]);
        }
        let config = &self.params.config;
        let shown = config.display();
        let third = view.deadline().at_most(view.deadline().left() / 3);
        // Looked at first: who reads has to wait for whoever it lies with.
        let text = match block::number(view, config) {
            Ok(_) => io_test::text(view, config, third)
                .with_context(|| format!("cannot read {shown}"))?,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Err(missing(view, config)),
            Err(err) => return Err(err).with_context(|| format!("cannot read {shown}")),
        };
        let exports = read(&text).map_err(|err| not_here(format!("{shown} {err}")))?;
        if exports.is_empty() {
            return Err(not_here(format!("{shown} has no line that exports anything")));
        }
        Ok(exports)
    }

    /// All that has to be right before the first is served; nothing is changed
    /// by it.
    pub(super) fn prospects(&self, view: &View, from: &State) -> Result<Vec<Prospect>> {
        let program = view.path(&self.params.binary);
        if !program.is_file() {
            return Err(installed(format!("{} is not installed", self.params.binary.display())));
        }
        let mut prospects: Vec<Prospect> = Vec::new();
        for export in self.wanted(view)? {
            let origin = || export.origin(&self.params.config);
            let prospect = self.prospect(view, &export, from).with_context(origin)?;
            let same = |other: &&Prospect| {
                (other.noted.address, other.noted.index)
                    == (prospect.noted.address, prospect.noted.index)
            };
            if let Some(other) = prospects.iter().find(same) {
                bail!("{} and {} are one interface", other.noted.nic, prospect.noted.nic);
            }
            prospects.push(prospect);
        }
        Ok(prospects)
    }

    fn prospect(&self, view: &View, export: &Export, from: &State) -> Result<Prospect> {
        let nic = &export.nic;
        let Some(link) = link::by_name(view, nic)? else {
            return Err(not_here(format!("there is no interface {nic}")));
        };
        let mac: Option<Mac> = link.address.clone().try_into().ok();
        let Some(mac) = mac.filter(|_| link.kind == ETHERNET) else {
            return Err(not_here(format!("{nic} is no Ethernet interface")));
        };
        let path = export.path.as_path();
        let thing = match Thing::at(view, path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Err(installed(format!("{} is not there", path.display())));
            }
            thing => thing.with_context(|| format!("cannot look at {}", path.display()))?,
        };
        if view.is_dir(path)? {
            return Err(not_here(format!("{} is a directory", path.display())));
        }
        let noted = Noted {
            address: export.address,
            nic: link.name.clone(),
            index: link.index,
            mac,
            thing,
            path: path.to_owned(),
            masks: export.masks.clone(),
            server: None,
        };
        let is_served = from
            .servers()
            .any(|(served, _)| (served.address, served.index) == (noted.address, noted.index));
        if !is_served {
            self.is_free(view, &noted, from)?;
        }
        let words = self.words(&noted);
        Ok(Prospect { noted, link, words })
    }

    /// Nobody else serves it here, nor uses the device.
    fn is_free(&self, view: &View, noted: &Noted, from: &State) -> Result<()> {
        let there = |socket: &&Socket| {
            socket.address == Some(noted.address) && socket.index == Some(noted.index)
        };
        if let Some(socket) = from.foreign.iter().find(there) {
            let who = holder(socket).unwrap_or_else(|| "a process".into());
            bail!("{} is served already, by {who}, which is none of ours", noted.place());
        }
        if let Thing::Device(number) = noted.thing
            && !self.params.read_only
            && let Some(name) = block::name(view, number)
        {
            let owners = holders::owners(view, &name);
            if !owners.is_empty() {
                bail!("{} is in use: {}", noted.path.display(), owners.join(", "));
            }
        }
        Ok(())
    }

    /// What vblade is told. What the cache alone has is gone with the power,
    /// and vblade, asked to write its cache to the disk, says yes and does not.
    fn words(&self, noted: &Noted) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if self.params.direct {
            words.push("-d".into());
        }
        // Where the blocks of a file are is not written by direct output.
        let is_file = matches!(noted.thing, Thing::File(..));
        if self.params.sync || self.params.direct && is_file {
            words.push("-s".into());
        }
        if self.params.read_only {
            words.push("-r".into());
        }
        if !noted.masks.is_empty() {
            let masks: Vec<String> = noted.masks.iter().map(|mask| link::shown(mask)).collect();
            words.extend(["-m".into(), masks.join(",").into()]);
        }
        words.push(noted.address.shelf.to_string().into());
        words.push(noted.address.slot.to_string().into());
        words.push(noted.nic.clone().into());
        words.push(noted.path.clone().into());
        words
    }

    /// The plan that brings up what is not served yet.
    pub(super) fn plan_start<'a>(
        &'a self,
        from: &State,
        prospects: Vec<Prospect>,
    ) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        let place = |noted: &Noted| (noted.address, noted.index);
        let is_good = |noted: &Noted| {
            from.exports().iter().any(|seen| {
                place(&seen.noted) == place(noted)
                    && seen.fault.is_none()
                    && seen.noted.server.is_some()
            })
        };
        let kept: Vec<Noted> = from
            .exports()
            .iter()
            .filter(|seen| seen.fault.is_none() && seen.noted.server.is_some())
            .map(|seen| seen.noted.clone())
            .collect();
        let fresh: Vec<Prospect> =
            prospects.into_iter().filter(|prospect| !is_good(&prospect.noted)).collect();
        if fresh.is_empty() && from.strays.is_empty() {
            return Ok(plan);
        }
        for (index, link) in links_of(&fresh) {
            if !link.carries() {
                plan.step(format!("wait until {} carries", link.name), move |system| {
                    aoe::until_carrying(system, index).map(drop)
                });
            }
        }
        self.plan_end_bad(&mut plan, from);
        self.plan_question(&mut plan, &fresh, &kept);
        let all: Vec<Noted> =
            kept.iter().chain(fresh.iter().map(|fresh| &fresh.noted)).cloned().collect();
        let count = all.len();
        plan.step("note what is to be served", move |system| self.remember(system, &all));
        for prospect in fresh {
            let shown = prospect.noted.path.display();
            let what = format!("serve {shown} as {}", prospect.noted.place());
            plan.step(what, move |system| {
                let child = self.serve(system, &prospect, count)?;
                self.begun.borrow_mut().push((prospect.noted, child));
                Ok(())
            });
        }
        plan.step("wait until vblade serves", move |system| {
            let mut all = kept;
            all.extend(self.await_service(system)?);
            self.remember(system, &all)?;
            self.announce(system, &all);
            Ok(())
        });
        Ok(plan)
    }

    /// What does not serve as it should is in the way of what will.
    fn plan_end_bad<'a>(&'a self, plan: &mut Plan<'a>, from: &State) {
        let bad = from.exports().iter().filter(|seen| seen.fault.is_some());
        let pids: Vec<i32> = bad.filter_map(|seen| Some(seen.noted.server?.pid)).collect();
        let strays: Vec<i32> = from.strays.iter().map(|stray| stray.found.process.pid).collect();
        let doomed: Vec<i32> = pids.into_iter().chain(strays).collect();
        if doomed.is_empty() {
            return;
        }
        let numbers: Vec<String> = doomed.iter().map(ToString::to_string).collect();
        plan.step(format!("end what does not serve: pid {}", numbers.join(", ")), move |system| {
            let found = daemon::find(system, &self.mark, self.program_name())?;
            let found: Vec<_> =
                found.iter().filter(|one| doomed.contains(&one.process.pid)).cloned().collect();
            daemon::end(system, &found, PATIENCE)
        });
    }

    fn serve(&self, system: &System<'_>, prospect: &Prospect, count: usize) -> Result<Child> {
        let tag = format!("vblade({})", prospect.noted.address);
        daemon::start(
            system,
            &Order {
                program: &self.params.binary,
                words: &prospect.words,
                mark: &self.mark,
                note: &count.to_string(),
                tag: &tag,
            },
        )
    }

    /// Waits until each of those that were started has its socket and its
    /// device.
    fn await_service(&self, system: &System<'_>) -> Result<Vec<Noted>> {
        let mut pace = Pace::new();
        let mut done = Vec::new();
        loop {
            let sockets = aoe::sockets(system, Detail::State)?;
            let mut waiting = Vec::new();
            for (mut noted, mut child) in self.begun.take() {
                if let Some(ended) = child.try_wait().context("cannot wait for vblade")? {
                    bail!(
                        "vblade for {} as {} has ended at once with {ended}; the log has what it said",
                        noted.path.display(),
                        noted.place()
                    );
                }
                match served_by(system, &noted, child.id().cast_signed(), &sockets)? {
                    Some(server) => {
                        noted.server = Some(server);
                        done.push(noted);
                    }
                    None => waiting.push((noted, child)),
                }
            }
            let Some((noted, child)) = waiting.first() else { return Ok(done) };
            if system.deadline().has_passed() {
                bail!(
                    "vblade (pid {}) does not serve {} as {} in time",
                    child.id(),
                    noted.path.display(),
                    noted.place()
                );
            }
            self.begun.replace(waiting);
            pace.rest(system.deadline());
        }
    }
}

/// The socket of a process that serves this export by now.
fn served_by(view: &View, noted: &Noted, pid: i32, sockets: &[Socket]) -> Result<Option<Server>> {
    let open = opened::of(view, pid)?;
    let is_it = |socket: &&Socket| {
        open.sockets.contains(&socket.inode)
            && socket.index == Some(noted.index)
            && socket.is_running
    };
    let Some(socket) = sockets.iter().find(is_it) else { return Ok(None) };
    if !open.things.contains(&noted.thing) {
        bail!(
            "{} became something else while it was opened: wanted {}",
            noted.path.display(),
            noted.thing
        );
    }
    let process = Process::find(Path::new("/proc"), pid);
    Ok(process.map(|process| Server {
        pid,
        started: process.started,
        cookie: socket.cookie,
        inode: socket.inode,
    }))
}

/// Each interface once.
pub(super) fn links_of(prospects: &[Prospect]) -> Vec<(u32, Link)> {
    let mut links: Vec<(u32, Link)> = Vec::new();
    for prospect in prospects {
        if !links.iter().any(|(index, _)| *index == prospect.link.index) {
            links.push((prospect.link.index, prospect.link.clone()));
        }
    }
    links
}

/// Who has the socket.
fn holder(socket: &Socket) -> Option<String> {
    let has = |pid: &i32| opened::sockets(*pid).is_ok_and(|open| open.contains(&socket.inode));
    let pid = opened::processes().ok()?.into_iter().find(has)?;
    let name = Process::find(Path::new("/proc"), pid).map(|process| process.name);
    Some(format!("{} (pid {pid})", name.unwrap_or_default()))
}

/// Why the file is not there: heartbeat's lines come and go in their order, and
/// a file that lies on what another line mounts goes with it.
fn missing(view: &View, config: &Path) -> anyhow::Error {
    let shown = config.display();
    let Ok(target) = view.read_link(config) else {
        return not_here(format!("there is no {shown}"));
    };
    let target = config.parent().unwrap_or(Path::new("/")).join(target);
    let above = target.ancestors().skip(1);
    let directory = above.into_iter().find(|path| view.is_dir(path).unwrap_or(false));
    let directory = directory.unwrap_or(Path::new("/"));
    let is_mount =
        Table::read(view).is_ok_and(|table| table.iter().any(|mount| mount.directory == directory));
    let leads = format!("{shown} leads to {}", target.display());
    match is_mount {
        false => anyhow!("{leads}, and nothing is mounted on {}", directory.display()),
        true => anyhow!("{leads}, which is not there"),
    }
}
