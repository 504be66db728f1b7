//! What is served, and by whom.
//!
//! A monitor takes one look at the kernel's list of packet sockets. Each export
//! has the socket that start has noted, or all is looked at closely: whose the
//! sockets are, what their processes have open, and which processes carry our
//! mark and have no socket.
//!
//! As long as a socket is there its process is, and has the device open that it
//! had when start looked: vblade opens both once, closes neither, and shares
//! them with nobody.

use super::Vblade;
use super::record::{Host, Noted, Record, Server, Serving};
use anyhow::Result;
use common::host::absence::Whole;
use common::host::aoe::{self, Address, Detail, Socket};
use common::host::daemon::{self, Found};
use common::host::link::{self, Link, shown};
use common::host::opened::{self, Open};
use common::host::process::is_halted;
use common::{Absent, Role, Status, View};
use std::cell::OnceCell;
use std::path::PathBuf;

/// What was seen.
#[derive(Debug, Default)]
pub struct State {
    /// What is to be served, as far as it is known, and what is wrong with it.
    exports: OnceCell<Vec<Seen>>,
    /// The record, where each export in it has been found served as it was.
    sound: Option<Record>,
    /// Processes of ours that serve nothing of it.
    pub(super) strays: Vec<Ours>,
    /// Those that are ours or may be, and are on their way out.
    pub(super) leaving: Vec<Found>,
    /// Sockets that no process shows, and that may be ours.
    pub(super) orphans: Vec<Socket>,
    /// The interfaces.
    pub(super) links: Vec<(u32, Option<Link>)>,
    /// From where what is sound answers, each once.
    hosts: Vec<Host>,
    /// Whether what is served is noted as it is.
    pub(super) is_noted: bool,
    /// Whether a start has noted anything.
    pub(super) has_record: bool,
    /// How many exports are missing of which nobody knows what they are.
    pub(super) unknown: usize,
    /// Sockets of others.
    pub(super) foreign: Vec<Socket>,
    pub(super) absent: Option<Absent>,
}

/// One export, and what is wrong with it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) noted: Noted,
    pub(super) fault: Option<String>,
}

/// One process of ours, and what it serves.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    pub(super) found: Found,
    /// Its socket, if it has one.
    pub(super) socket: Option<Socket>,
    pub(super) open: Open,
    /// By the socket's filter, or else by its words.
    pub(super) address: Option<Address>,
    nic: String,
    path: PathBuf,
}

impl Vblade {
    pub(super) fn look(&self, view: &View) -> Result<State> {
        // Ours are known by their mark: without the record a look takes longer.
        let (record, is_there) = match self.record(view) {
            Ok(record) => (record, false),
            Err(_) => (None, true),
        };
        let (noted, is_there) = match record {
            Some(record) => match glance(view, &record)? {
                Some(state) => return Ok(State { sound: Some(record), ..state }),
                None => (record.exports(), true),
            },
            None => (None, is_there),
        };
        let mut state = self.look_closely(view, noted)?;
        state.has_record |= is_there;
        Ok(state)
    }

    /// Looks at every process.
    pub(super) fn look_closely(&self, view: &View, record: Option<Vec<Noted>>) -> Result<State> {
        // Processes first: what one opens meanwhile is in the list of sockets,
        // and would be nobody's for a moment the other way round.
        let found = daemon::find(view, &self.mark, self.program_name())?;
        let sockets = aoe::all(view, Detail::Filters)?;
        let mut state = State { has_record: record.is_some(), ..State::default() };
        let mut ours = Vec::new();
        for one in found.iter() {
            match one.note {
                Some(_) => ours.push(ours_of(view, one, &sockets)?),
                None => state.leaving.push(one.clone()),
            }
        }
        let is_ours =
            |socket: &Socket| ours.iter().any(|one| one.open.sockets.contains(&socket.inode));
        let others: Vec<Socket> =
            sockets.iter().filter(|socket| !is_ours(socket)).cloned().collect();
        (state.orphans, state.foreign) = orphans(view, others, record.as_deref())?;
        if ours.is_empty() && state.leaving.is_empty() {
            state.absent = found.lacks(|_| true).and_then(|absent| {
                let orphans = &state.orphans;
                let lacks = sockets.lacks(|socket| orphans.contains(socket));
                lacks.map(|none| absent.and(none))
            });
        }
        let wanted = match record {
            Some(record) => record,
            None => {
                let noted: Vec<Noted> = ours.iter().filter_map(|one| one.as_noted(view)).collect();
                let count = ours.iter().filter_map(|one| one.found.note.as_ref()?.parse().ok());
                state.unknown = count.max().unwrap_or(0usize).saturating_sub(noted.len());
                noted
            }
        };
        state.links = links(view, wanted.iter().map(|noted| noted.index))?;
        let mut exports = Vec::with_capacity(wanted.len());
        for mut noted in wanted {
            let (serving, rest): (Vec<Ours>, Vec<Ours>) =
                ours.into_iter().partition(|one| one.serves(&noted));
            ours = rest;
            let fault = fault(view, &noted, &serving, &state.links);
            noted.server = serving.first().and_then(Ours::server);
            if serving.len() > 1 {
                // Which of them shall stay is nobody's to say.
                state.strays.extend(serving);
                noted.server = None;
            }
            exports.push(Seen { noted, fault });
        }
        state.exports = exports.into();
        state.strays.extend(ours);
        Ok(state)
    }
}

/// All of it, if each export has the socket that was noted.
fn glance(view: &View, record: &Record) -> Result<Option<State>> {
    let Some((mut noted, hosts)) = record.serving().filter(|(noted, _)| !noted.is_empty()) else {
        return Ok(None);
    };
    // The kernel has numbered its sockets as they were made, and lists them so.
    let order = |one: &Serving| one.cookie;
    if !noted.is_sorted_by_key(order) {
        noted.sort_unstable_by_key(order);
    }
    let mut next = 0;
    let mut sound = aoe::picked(view, Detail::State, |socket| {
        let is_next = noted.get(next).is_some_and(|one| one.cookie == socket.cookie);
        let at = match is_next {
            true => next,
            false => noted.binary_search_by_key(&socket.cookie, order).ok()?,
        };
        next = at + 1;
        let one = noted[at];
        let is_here = socket.index == Some(hosts[one.host].0);
        let is_it = one.has(&socket) && socket.is_running && is_here;
        // What stands still lets its frames wait.
        let halted = socket.is_waited_for && is_halted(&view.path("/proc"), one.pid);
        (is_it && !halted).then_some(at)
    })?;
    view.note(format_args!("{} of {} exports are served as noted", sound.len(), noted.len()));
    // A list that comes in parts may have one of them twice.
    if !sound.is_sorted() {
        sound.sort_unstable();
    }
    sound.dedup();
    if sound.len() != noted.len() {
        return Ok(None);
    }
    Ok(Some(State {
        links: links(view, hosts.iter().map(|(index, _)| *index))?,
        hosts,
        is_noted: true,
        has_record: true,
        ..State::default()
    }))
}

fn links(view: &View, indexes: impl Iterator<Item = u32>) -> Result<Vec<(u32, Option<Link>)>> {
    let mut links: Vec<(u32, Option<Link>)> = Vec::new();
    for index in indexes {
        if !links.iter().any(|(known, _)| *known == index) {
            links.push((index, link::by_index(view, index)?));
        }
    }
    Ok(links)
}

fn ours_of(view: &View, found: &Found, sockets: &Whole<Socket>) -> Result<Ours> {
    let pid = found.process.pid;
    let open = opened::of(view, pid)?;
    let socket = sockets.iter().find(|socket| open.sockets.contains(&socket.inode)).cloned();
    let words = view.read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&str> = words.trim_end_matches('\0').split('\0').collect();
    let (address, nic, path) = match words[..] {
        [.., shelf, slot, nic, path] => (Address::parse(&format!("e{shelf}.{slot}")), nic, path),
        _ => (None, "", ""),
    };
    Ok(Ours {
        found: found.clone(),
        address: socket.as_ref().and_then(|socket| socket.address).or(address),
        socket,
        open,
        nic: nic.to_owned(),
        path: PathBuf::from(path),
    })
}

/// The sockets that no process shows, and that may be ours, and those of
/// others.
fn orphans(
    view: &View,
    sockets: Vec<Socket>,
    record: Option<&[Noted]>,
) -> Result<(Vec<Socket>, Vec<Socket>)> {
    if sockets.is_empty() {
        return Ok((sockets, Vec::new()));
    }
    let servers = || record.into_iter().flatten().map(|noted| noted.server);
    // Where all of ours are known, another one is none of them.
    let all_known = record.is_some() && servers().all(|server| server.is_some());
    let may_be_ours =
        |socket: &Socket| !all_known || servers().flatten().any(|server| server.has(socket));
    let mut left: Vec<Socket> =
        sockets.iter().filter(|socket| may_be_ours(socket)).cloned().collect();
    for pid in opened::processes()? {
        if left.is_empty() {
            break;
        }
        let open = opened::sockets(pid)?;
        left.retain(|socket| !open.contains(&socket.inode));
    }
    if !left.is_empty() {
        // One that was closed meanwhile is nobody's, and none.
        let now = aoe::all(view, Detail::State)?;
        left.retain(|socket| now.iter().any(|other| other.inode == socket.inode));
    }
    let foreign = sockets.into_iter().filter(|socket| !left.contains(socket)).collect();
    Ok((left, foreign))
}

impl Ours {
    pub(super) fn serves(&self, noted: &Noted) -> bool {
        let index = self.socket.as_ref().and_then(|socket| socket.index);
        self.address == Some(noted.address) && index == Some(noted.index)
    }

    pub(super) fn server(&self) -> Option<Server> {
        let (socket, process) = (self.socket.as_ref()?, &self.found.process);
        let (cookie, inode) = (socket.cookie, socket.inode);
        Some(Server { pid: process.pid, started: process.started, cookie, inode })
    }

    /// What a start would have noted of it.
    fn as_noted(&self, view: &View) -> Option<Noted> {
        let index = self.socket.as_ref()?.index?;
        let link = link::by_index(view, index).ok()??;
        Some(Noted {
            address: self.address?,
            nic: self.nic.clone(),
            index,
            mac: link.address.try_into().ok()?,
            thing: *self.open.things.first()?,
            path: self.path.clone(),
            masks: Vec::new(),
            server: self.server(),
        })
    }

    /// `vblade (pid 5)`.
    pub(super) fn shown(&self) -> String {
        format!("{} (pid {})", self.found.process.name, self.found.process.pid)
    }
}

/// What is wrong with an export, given the processes that serve it.
fn fault(
    view: &View,
    noted: &Noted,
    serving: &[Ours],
    links: &[(u32, Option<Link>)],
) -> Option<String> {
    let what = format!("{} as {}", noted.path.display(), noted.place());
    let [one] = serving else {
        if !serving.is_empty() {
            let all: Vec<String> = serving.iter().map(Ours::shown).collect();
            return Some(format!("{} is served by {}", noted.place(), all.join(" and ")));
        }
        let link = links.iter().find(|(index, _)| *index == noted.index)?;
        let why = match &link.1 {
            None => format!("; {} has gone", noted.nic),
            Some(link) if !link.is_up() => format!("; {} is set down", link.name),
            Some(_) => String::new(),
        };
        return Some(format!("nothing serves {what}{why}"));
    };
    let is_running = one.socket.as_ref().is_some_and(|socket| socket.is_running);
    if !one.open.things.contains(&noted.thing) {
        let other = one.open.things.first().map_or("nothing".into(), ToString::to_string);
        let (place, shown, thing) = (noted.place(), one.shown(), noted.thing);
        return Some(format!("{shown} serves {other} as {place}, wanted {thing}"));
    }
    if !is_running {
        return Some(format!("{} has lost its interface and serves no more {what}", one.shown()));
    }
    is_halted(&view.path("/proc"), one.found.process.pid)
        .then(|| format!("{}, which serves {what}, was stopped by a signal", one.shown()))
}

impl State {
    /// What is to be served, and what is wrong with it.
    pub(super) fn exports(&self) -> &[Seen] {
        self.exports.get_or_init(|| {
            let noted = self.sound.as_ref().and_then(Record::exports).unwrap_or_default();
            noted.into_iter().map(|noted| Seen { noted, fault: None }).collect()
        })
    }

    /// Whether something of ours is there, or may be.
    pub(super) fn has_some(&self) -> bool {
        self.absent.is_none()
    }

    /// The processes that serve.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&Noted, Server)> {
        self.exports().iter().filter_map(|seen| Some((&seen.noted, seen.noted.server?)))
    }

    pub(super) fn status(&self, probe: bool) -> Status {
        let failed = |reason: String| Status::Failed(Role::Started, reason);
        if self.sound.is_some() {
            return self.linked(self.hosts.iter().copied());
        }
        let first = self.exports().iter().find_map(|seen| seen.fault.clone());
        if let Some(absent) = &self.absent {
            return match first.filter(|_| !probe) {
                // A probe, a start and a stop ask whether it runs; a monitor
                // asks what has become of it.
                Some(fault) => failed(self.and_more(fault)),
                None => Status::Stopped(absent.clone()),
            };
        }
        if let Some(fault) = first {
            return failed(self.and_more(fault));
        }
        if self.unknown > 0 {
            let (served, all) = (self.exports().len(), self.exports().len() + self.unknown);
            return failed(format!(
                "{served} of {all} exports are served, and what the others are is not known"
            ));
        }
        if let Some(stray) = self.strays.first() {
            return failed(format!("{} serves nothing that it should", stray.shown()));
        }
        if self.exports().is_empty() {
            return failed(self.doubt());
        }
        self.linked(self.exports().iter().map(|seen| (seen.noted.index, seen.noted.mac)))
    }

    fn and_more(&self, fault: String) -> String {
        match self.exports().iter().filter(|seen| seen.fault.is_some()).count() {
            0 | 1 => fault,
            some => format!("{fault}; and {} more", some - 1),
        }
    }

    /// What cannot be told of what may be ours.
    pub(super) fn doubt(&self) -> String {
        match (self.leaving.first(), self.orphans.first()) {
            (Some(Found { process, .. }), _) => {
                format!(
                    "{} (pid {}) has not let go of what it served yet",
                    process.name, process.pid
                )
            }
            (None, Some(socket)) => {
                let index = socket.index.unwrap_or(0);
                format!("an AoE socket on interface {index} is there and no process that has it")
            }
            (None, None) => "it is not known what is served".into(),
        }
    }

    /// Whether clients can be reached, where all is served.
    fn linked(&self, hosts: impl Iterator<Item = Host>) -> Status {
        for (index, mac) in hosts {
            let link = self.links.iter().find(|(known, _)| *known == index);
            let Some(link) = link.and_then(|(_, link)| link.as_ref()) else { continue };
            if link.address != mac {
                let is_one = |seen: &&Seen| (seen.noted.index, seen.noted.mac) == (index, mac);
                let place = self.exports().iter().find(is_one).map(|seen| seen.noted.place());
                return Status::Failed(
                    Role::Started,
                    format!(
                        "{} answers from {}, which was {}'s hardware address and is {} now",
                        place.unwrap_or_default(),
                        shown(&mac),
                        link.name,
                        shown(&link.address)
                    ),
                );
            }
        }
        let dead = self.links.iter().find_map(|(_, link)| link.as_ref().filter(|l| !l.carries()));
        match dead {
            Some(link) => Status::Degraded(
                Role::Started,
                format!("{} is {}: nobody is served through it", link.name, link.state()),
            ),
            None => Status::Running(Role::Started),
        }
    }
}
