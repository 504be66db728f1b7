//! Guests of Xen, one or many, as [`Xen`](crate::xen) and the groups keep them:
//! what each of them does, and how all of them are ended.

mod record;

pub(crate) use record::{Entry, Record};

use anyhow::{Context, Result, bail};
use common::host::clock::{Deadline, Pace};
use common::host::xen::{self, Condition, Domain, Guest, Keeper, Seen, Stage};
use common::{Absent, Fact, System, View, configured, installed};
use std::path::Path;
use std::time::Duration;

/// A guest that reboots has no domain for a second or two, longer on a host that
/// is slow.
const REBOOT: Duration = Duration::from_secs(10);

/// What there is of a guest.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) guest: Guest,
    pub(crate) life: Life,
}

/// What a guest does.
#[derive(Clone, Debug)]
pub(crate) enum Life {
    /// There is nothing of it.
    Gone(Absent),
    /// It is as it was noted, for certain.
    AsNoted,
    /// It runs, in this domain.
    Running { domain: Domain, keeper: Option<Keeper> },
    /// It is there, and does not run.
    Faulty(Fault),
}

/// A guest that is there and does not run.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) why: String,
    domain: Option<Domain>,
    keeper: Option<Keeper>,
    /// Whether nothing of it would come back to life by itself, so that a start
    /// may take it away.
    is_dead: bool,
}

impl Found {
    /// Whether it runs.
    pub(crate) fn runs(&self) -> bool {
        matches!(self.life, Life::AsNoted | Life::Running { .. })
    }

    /// The number of the domain that it runs in.
    pub(crate) fn domain_id(&self, noted: &Record) -> Option<u32> {
        match &self.life {
            Life::Running { domain, .. } => Some(domain.id),
            Life::AsNoted => {
                let entry = noted.entries.iter().find(|entry| entry.guest == self.guest)?;
                entry.noted().map(|noted| noted.id)
            }
            Life::Gone(_) | Life::Faulty(_) => None,
        }
    }

    /// Why it does not run, if it is there.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match &self.life {
            Life::Faulty(fault) => Some(fault),
            _ => None,
        }
    }

    /// Proof that there is nothing of it.
    pub(crate) fn absent(&self) -> Option<&Absent> {
        match &self.life {
            Life::Gone(absent) => Some(absent),
            _ => None,
        }
    }

    /// For people.
    pub(crate) fn fact(&self) -> Fact {
        let seen = match &self.life {
            Life::Gone(_) => "not there".into(),
            Life::AsNoted => "running".into(),
            Life::Running { domain, keeper: Some(keeper) } => {
                format!("running, {domain}, kept by process {}", keeper.process.pid)
            }
            Life::Running { domain, keeper: None } => format!("running, {domain}, without its xl"),
            Life::Faulty(fault) => fault.why.clone(),
        };
        Fact::new("guest", format!("{}: {seen}", self.guest))
    }
}

/// Looks for guests: those that are as they were noted are told by that, and
/// the others looked for.
pub(crate) fn look(view: &View, guests: &[Guest], noted: &Record) -> Result<Vec<Found>> {
    let known: Vec<xen::Noted> = noted
        .entries
        .iter()
        .filter(|entry| guests.contains(&entry.guest))
        .filter_map(Entry::noted)
        .collect();
    let sure: Vec<&Guest> = match known.is_empty() {
        true => Vec::new(),
        false => {
            let sure = xen::glance(view, &known)?;
            known.iter().zip(sure).filter(|(_, sure)| *sure).map(|(one, _)| &one.guest).collect()
        }
    };
    let open: Vec<Guest> = guests.iter().filter(|one| !sure.contains(one)).cloned().collect();
    let mut closer = match open.is_empty() {
        true => Vec::new(),
        false => look_closely(view, &open)?,
    }
    .into_iter();
    let found = |guest: &Guest| match sure.contains(&guest) {
        true => Ok(Found { guest: guest.clone(), life: Life::AsNoted }),
        false => closer.next().context("a guest was left out"),
    };
    guests.iter().map(found).collect()
}

/// Looks for guests without what was noted.
pub(crate) fn look_closely(view: &View, guests: &[Guest]) -> Result<Vec<Found>> {
    let seen = xen::settled(view, guests, REBOOT)?;
    // Of these only the hypervisor knows what they do.
    let is_open = |seen: &Seen| seen.keeper.is_none() && here(seen).is_some();
    let asked = match seen.iter().flatten().any(is_open) {
        true => xen::list(view).map_err(|err| format!("{err:#}")),
        false => Err("nobody was asked".into()),
    };
    let found = |(guest, seen): (&Guest, Result<Seen, Absent>)| {
        let life = match seen {
            Err(absent) => Life::Gone(absent),
            Ok(seen) => judge(guest, seen, &asked),
        };
        Found { guest: guest.clone(), life }
    };
    Ok(guests.iter().zip(seen).map(found).collect())
}

/// The domain that the guest is in, and neither on its way to nor left by.
fn here(seen: &Seen) -> Option<&Domain> {
    seen.domain.as_ref().filter(|domain| domain.name.is_some() && domain.stage() == Stage::Here)
}

fn judge(guest: &Guest, seen: Seen, asked: &Result<xen::Listed, String>) -> Life {
    let faulty = |why: String, is_dead| {
        let (domain, keeper) = (seen.domain.clone(), seen.keeper.clone());
        Life::Faulty(Fault { why, domain, keeper, is_dead })
    };
    let Some(domain) = &seen.domain else {
        let pid = seen.keeper.as_ref().map_or(0, |keeper| keeper.process.pid);
        return faulty(
            format!("{guest} has no domain, and its xl (pid {pid}) may make one"),
            false,
        );
    };
    match (here(&seen), domain.stage(), &seen.keeper) {
        (Some(_), _, Some(keeper)) => {
            return Life::Running { domain: domain.clone(), keeper: Some(keeper.clone()) };
        }
        (Some(_), _, None) => {}
        (None, Stage::Arriving, _) => {
            return faulty(format!("{guest} is on its way here: {domain}"), false);
        }
        (None, Stage::Left, _) => {
            return faulty(format!("{guest} was moved away, and {domain} is left of it"), false);
        }
        (None, Stage::Here, _) => return faulty(format!("{domain} may be {guest}"), false),
    }
    let listed = match asked {
        Err(err) => {
            return faulty(
                format!("{domain} is there, and what it does is not known: {err}"),
                false,
            );
        }
        Ok(listed) => listed,
    };
    let is_it = |line: &xen::Line| line.domain.id == domain.id || line.domain.is(guest);
    if let Some(absent) = listed.lacks(is_it) {
        return Life::Gone(absent);
    }
    match listed.iter().find(|line| is_it(line)).map(|line| line.condition) {
        Some(Condition::Running) | None => Life::Running { domain: domain.clone(), keeper: None },
        Some(Condition::Paused) => {
            let why = "no start has come to its end, or somebody has paused it and ended its xl";
            faulty(format!("{domain} is paused: {why}"), true)
        }
        Some(other) => faulty(format!("{domain} is {other}, and not destroyed"), true),
    }
}

/// Reads a guest's file: its name, which is in it, and its UUID, if it has one.
pub(crate) fn guest_of(view: &View, path: &Path, name: Option<&str>) -> Result<Guest> {
    let shown = path.display();
    let Some(file) = xen::guest_file(view, path)? else {
        return Err(installed(format!("there is no {shown}")));
    };
    let file = file.map_err(|wrong| configured(format!("{shown}, {wrong}")))?;
    let Some(name) = name.or_else(|| file.get("name")) else {
        return Err(configured(format!("{shown} has no name for the guest: add name = \"NAME\"")));
    };
    check_name(name).map_err(|why| configured(format!("{shown}: {why}")))?;
    let uuid = file.get("uuid").map(str::to_ascii_lowercase);
    if let Some(uuid) = uuid.as_deref().filter(|uuid| !xen::is_uuid(uuid)) {
        return Err(configured(format!("{shown}: uuid is none: {uuid}")));
    }
    Ok(Guest { name: name.to_owned(), uuid })
}

/// Whether it can be a guest's name: it becomes a word of xl's, and a part of
/// the name of its log.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '"' | '\\');
    match !name.is_empty() && name.len() <= 128 && name.chars().all(is_plain) {
        true => Ok(()),
        false => Err(format!("`{}` cannot be a guest's name", name.escape_default())),
    }
}

/// Makes a guest. It is noted before, by its UUID, so that a start which is
/// killed on the way leaves nothing that is not known.
pub(crate) fn create(
    system: &System<'_>,
    file: &Path,
    guest: &Guest,
    memory: Option<u64>,
    note: impl Fn(&Guest) -> Result<()>,
) -> Result<()> {
    let mut guest = guest.clone();
    if guest.uuid.is_none() {
        guest.uuid = Some(system.read("/proc/sys/kernel/random/uuid")?.trim().to_owned());
    }
    note(&guest)?;
    xen::create(system, file, &guest, memory)
}

/// How guests are ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// For how long they have been asked before they are destroyed.
    pub(crate) patience: Option<Duration>,
    /// Whether their power button is pressed besides.
    pub(crate) acpi: bool,
}

impl Ending {
    /// Whether they are not asked at all.
    pub(crate) fn is_at_once(&self) -> bool {
        self.patience.is_some_and(|given| given.is_zero())
    }

    /// How long they are waited for, of the time that is left: what destroys them
    /// takes its time too.
    pub(crate) fn patience(&self, view: &View) -> Duration {
        let left = view.deadline().left();
        self.patience.map_or(left * 2 / 3, |given| given.min(left * 4 / 5))
    }
}

/// Asks all of them to shut down at once, and waits for them together.
pub(crate) fn shut_down(system: &System<'_>, guests: &[Guest], ending: Ending) -> Result<()> {
    /// A guest that is being made, or boots, may miss what it was asked.
    const AGAIN: Duration = Duration::from_secs(5);
    let end = Deadline::after(ending.patience(system));
    let (mut pace, mut again) = (Pace::new(), Deadline::after(Duration::ZERO));
    loop {
        let found = look_closely(system, guests)?;
        let left: Vec<&Found> = found.iter().filter(|one| running(one).is_some()).collect();
        if left.is_empty() {
            return Ok(());
        }
        if end.has_passed() {
            system.warn(format_args!("not shut down in time: {}; destroying", late(system, &left)));
            return Ok(());
        }
        if again.has_passed() {
            let ids: Vec<u32> = left.into_iter().filter_map(running).collect();
            ask_to_shut_down(system, &ids, ending)?;
            again = Deadline::after(AGAIN);
        }
        pace.rest(end);
    }
}

/// Guests that have not shut down, and how far the request has come: their kernel
/// takes it, and has the system in them do the rest.
fn late(view: &View, guests: &[&Found]) -> String {
    let ids: Vec<u32> = guests.iter().copied().filter_map(running).collect();
    let untaken = xen::untaken(view, &ids);
    let told = |(place, one): (usize, &&Found)| match &untaken {
        Ok(untaken) if untaken.get(place) == Some(&true) => {
            format!("{} (its kernel has not taken the request)", one.guest)
        }
        Ok(_) => {
            format!("{} (its kernel has taken the request, and its system runs on)", one.guest)
        }
        Err(_) => one.guest.to_string(),
    };
    guests.iter().enumerate().map(told).collect::<Vec<_>>().join(", ")
}

fn ask_to_shut_down(system: &System<'_>, ids: &[u32], ending: Ending) -> Result<()> {
    for id in ids.iter().filter(|_| ending.acpi) {
        if let Err(err) = xen::trigger_power(system, *id) {
            system.warn(format_args!("{err:#}"));
        }
    }
    xen::ask_to_shut_down(system, ids)
}

fn running(found: &Found) -> Option<u32> {
    match &found.life {
        Life::Running { domain, .. } => Some(domain.id),
        _ => None,
    }
}

/// Destroys what is left of them, side by side.
pub(crate) fn destroy(system: &System<'_>, guests: &[Guest]) -> Result<()> {
    let found = look_closely(system, guests)?;
    let (mut ids, mut keepers) = (Vec::new(), Vec::new());
    for one in &found {
        match &one.life {
            Life::Gone(_) | Life::AsNoted => {}
            Life::Running { domain, keeper } => {
                ids.push(domain.id);
                keepers.extend(keeper);
            }
            Life::Faulty(fault) => {
                // What only may be the guest may be another.
                if let Some(domain) = &fault.domain {
                    match domain.is(&one.guest) {
                        true => ids.push(domain.id),
                        false => bail!("{}: look whose it is, and destroy it", fault.why),
                    }
                }
                keepers.extend(&fault.keeper);
            }
        }
    }
    if ids.is_empty() && keepers.is_empty() {
        return Ok(());
    }
    xen::destroy(system, &ids, &keepers)?;
    // One that was rebooting may have made its next domain before its xl ended.
    let again: Vec<u32> = look_closely(system, guests)?.iter().filter_map(certain).collect();
    match again.is_empty() {
        true => Ok(()),
        false => xen::destroy(system, &again, &[]),
    }
}

/// The number of the domain that is the guest's.
fn certain(found: &Found) -> Option<u32> {
    match &found.life {
        Life::Running { domain, .. } => Some(domain.id),
        Life::Faulty(Fault { domain: Some(domain), .. }) if domain.is(&found.guest) => {
            Some(domain.id)
        }
        _ => None,
    }
}

impl Fault {
    /// Whether a start may take away what is there.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead
    }
}
