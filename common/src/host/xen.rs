//! Guests of Xen: whether one is there, what it does, and its end.
//!
//! xenstore has the list of domains, and a look that asks it spawns nothing. It
//! knows neither of a crash nor of a pause; but xl stays, one process for each
//! guest that it has made, until the guest ends, and ends with it. So a guest
//! whose domain is in the store and whose xl lives is running. In doubt, and
//! only then, xl is asked what the hypervisor says.
//!
//! A guest that reboots has no domain for a second or two, and its xl lives: it
//! is about to make the next one. Absent is what has neither.

mod guest_file;
mod keeper;
mod machine;
mod store;
mod xl;

pub use guest_file::{GuestFile, Unreadable, read as guest_file};
pub use keeper::{Keeper, all as keepers};
pub use xl::{
    Condition, Line, Listed, create, destroy, list, migrate, set_memory, total_memory,
    trigger_power,
};

use crate::host::absence::{Absent, Whole};
use crate::host::clock::Pace;
use crate::host::process::Process;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::time::Duration;
use store::Store;

/// In this time xenstore answers, if it does.
const PROMPT: Duration = Duration::from_secs(10);

/// What the guest of this name is called while it arrives, or has left.
const ARRIVING: &str = "--incoming";
const LEFT: &str = "--migratedaway";

/// Where the domains have their entries.
const DOMAINS: &str = "/local/domain";

/// A guest as it is meant: by its name, and by its UUID where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its name, without what it is called on the way.
    pub name: String,
    /// Its UUID, in small letters.
    pub uuid: Option<String>,
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Whether the text is a UUID, as xl has them.
pub fn is_uuid(text: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

/// A domain, as xenstore has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its number, which no other has before the next boot.
    pub id: u32,
    /// Its name; nothing while it is made or taken away.
    pub name: Option<String>,
    /// The UUID of the guest in it.
    pub uuid: Option<String>,
}

/// How far a domain is its guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The guest is in it.
    Here,
    /// It is being moved here.
    Arriving,
    /// It was moved away, and this is what is left.
    Left,
}

impl Domain {
    /// Whether it may be the guest's: what has no name yet may be anybody's.
    pub fn may_be(&self, guest: &Guest) -> bool {
        self.name.is_none() || self.is(guest)
    }

    /// Whether it is the guest's, for certain.
    pub fn is(&self, guest: &Guest) -> bool {
        let is_named = self.name.as_deref().is_some_and(|name| plain(name).0 == guest.name);
        is_named || (self.uuid.is_some() && self.uuid == guest.uuid)
    }

    /// By its name.
    pub fn stage(&self) -> Stage {
        self.name.as_deref().map_or(Stage::Here, |name| plain(name).1)
    }

    /// The guest in it, if it has a name.
    pub fn guest(&self) -> Option<Guest> {
        let name = plain(self.name.as_deref()?).0.to_owned();
        Some(Guest { name, uuid: self.uuid.clone() })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "domain {} ({name})", self.id),
            None => write!(f, "domain {}, which has no name", self.id),
        }
    }
}

/// A domain's name without what is added to it on the way.
fn plain(name: &str) -> (&str, Stage) {
    for (end, stage) in [(ARRIVING, Stage::Arriving), (LEFT, Stage::Left)] {
        if let Some(name) = name.strip_suffix(end) {
            return (name, stage);
        }
    }
    // xm's word for one that leaves.
    match name.strip_prefix("migrating-") {
        Some(name) => (name, Stage::Left),
        None => (name, Stage::Here),
    }
}

/// What xenstore has of domains.
#[derive(Debug)]
pub enum Domains {
    /// All of them but the one that we are in.
    Listed(Whole<Domain>),
    /// There can be none: Xen does not run here, or we are one of its guests.
    Impossible(Absent),
}

impl Domains {
    /// Those that are there.
    pub fn iter(&self) -> impl Iterator<Item = &Domain> {
        let listed: &[Domain] = match self {
            Self::Listed(listed) => listed,
            Self::Impossible(_) => &[],
        };
        listed.iter()
    }

    /// Proof that none of them is meant.
    pub fn lacks(&self, is_meant: impl FnMut(&Domain) -> bool) -> Option<Absent> {
        match self {
            Self::Listed(listed) => listed.lacks(is_meant),
            Self::Impossible(absent) => Some(absent.clone()),
        }
    }
}

/// Domains of which xenstore has names and UUIDs.
pub fn domains(view: &View) -> Result<Domains> {
    let deadline = view.deadline().at_most(PROMPT);
    let Some(mut store) = Store::open(view, deadline)? else {
        return machine::impossible(view).map(Domains::Impossible);
    };
    // A domain that goes while its entries are read would be one without a name.
    for _ in 0..3 {
        let listed = listed(&mut store)?;
        if listed.iter().all(|domain| domain.name.is_some()) {
            return Ok(told(view, listed));
        }
        view.pause(Duration::from_millis(20));
    }
    let mut listed = listed(&mut store)?;
    // What is left of the entries of one that has gone is no domain.
    let mut failed = None;
    listed.retain(|domain| match domain.name {
        Some(_) => true,
        None => store.is_introduced(domain.id).unwrap_or_else(|err| {
            failed = Some(err);
            true
        }),
    });
    failed.map_or_else(|| Ok(told(view, listed)), Err)
}

fn told(view: &View, listed: Vec<Domain>) -> Domains {
    view.note(format_args!("xenstore's domains = {listed:?}"));
    Domains::Listed(Whole::told("domains", listed))
}

fn listed(store: &mut Store) -> Result<Vec<Domain>> {
    let names = store.list(DOMAINS)?.unwrap_or_default();
    let ids: Vec<u32> = names
        .iter()
        .map(|name| name.parse().with_context(|| format!("xenstore has a domain called {name}")))
        .collect::<Result<_>>()?;
    let ids: Vec<u32> = ids.into_iter().filter(|id| *id != 0).collect();
    let paths: Vec<String> =
        ids.iter().flat_map(|id| ["name", "vm"].map(|what| entry(*id, what))).collect();
    let told = store.read(&paths)?;
    let domain = |(id, told): (&u32, &[Option<String>])| Domain {
        id: *id,
        name: told[0].clone().filter(|name| !name.is_empty()),
        uuid: told[1].as_deref().and_then(uuid),
    };
    Ok(ids.iter().zip(told.chunks(2)).map(domain).collect())
}

fn entry(id: u32, what: &str) -> String {
    format!("{DOMAINS}/{id}/{what}")
}

/// The UUID in `/vm/UUID`.
fn uuid(vm: &str) -> Option<String> {
    let uuid = vm.strip_prefix("/vm/")?.get(..36)?.to_ascii_lowercase();
    is_uuid(&uuid).then_some(uuid)
}

/// What a guest takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its processors that are online.
    pub vcpus: u64,
    /// The memory that it is to make do with, in MiB.
    pub memory: u64,
}

/// What the guest in this domain takes; nothing where xenstore does not say.
pub fn size(view: &View, id: u32) -> Result<Option<Size>> {
    let deadline = view.deadline().at_most(PROMPT);
    let Some(mut store) = Store::open(view, deadline)? else { return Ok(None) };
    let cpus = store.list(&entry(id, "cpu"))?.unwrap_or_default();
    let mut paths = vec![entry(id, "memory/target")];
    paths.extend(cpus.iter().map(|cpu| entry(id, &format!("cpu/{cpu}/availability"))));
    let mut told = store.read(&paths)?.into_iter();
    let Some(kib) = told.next().flatten().and_then(|kib| kib.parse::<u64>().ok()) else {
        return Ok(None);
    };
    let vcpus = told.filter(|one| one.as_deref() == Some("online")).count() as u64;
    Ok((vcpus > 0).then_some(Size { vcpus, memory: kib >> 10 }))
}

/// What was noted of a guest that runs: its domain, and its xl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The guest.
    pub guest: Guest,
    /// The number of its domain.
    pub id: u32,
    /// The number of its xl's process, and when that was started.
    pub keeper: (i32, u64),
}

/// Which of these guests are as they were noted, for certain: the domain is the
/// there and has the guest's name, and the xl that made it lives. It asks xenstore
/// one thing of each, reads one file of each, and spawns nothing.
pub fn glance(view: &View, noted: &[Noted]) -> Result<Vec<bool>> {
    let deadline = view.deadline().at_most(PROMPT);
    let Some(mut store) = Store::open(view, deadline)? else {
        return Ok(vec![false; noted.len()]);
    };
    let names: Vec<String> = noted.iter().map(|one| entry(one.id, "name")).collect();
    let told = store.read(&names)?;
    let is_same = |(one, name): (&Noted, Option<String>)| {
        let (pid, started) = one.keeper;
        // An xl has one guest in all its life, and whoever lives is no other's.
        let now = Process::find(&view.path("/proc"), pid);
        let is_kept = now.is_some_and(|now| now.started == started && !now.is_zombie);
        is_kept && name.as_deref() == Some(one.guest.name.as_str())
    };
    Ok(noted.iter().zip(told).map(is_same).collect())
}

/// A guest that is there in some way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its domain; none for the moment in which it reboots or is about to go.
    pub domain: Option<Domain>,
    /// The xl that will make it again where it reboots.
    pub keeper: Option<Keeper>,
}

/// Looks for these guests: what there is of each, or proof that there is
/// nothing.
pub fn look(view: &View, guests: &[Guest]) -> Result<Vec<Result<Seen, Absent>>> {
    // First those who could make one, then what is made: what is missing in the
    // second list is not about to come.
    let keepers = keeper::all(view)?;
    let domains = domains(view)?;
    guests
        .iter()
        .map(|guest| {
            let keeper = keepers.iter().find(|keeper| keeper.guest == guest.name);
            let is_its = |domain: &Domain| domain.may_be(guest);
            let absent =
                (keepers.lacks(|keeper| keeper.guest == guest.name), domains.lacks(is_its));
            if let (Some(none), Some(absent)) = absent {
                return Ok(Err(absent.and(none)));
            }
            let certain: Vec<&Domain> = domains.iter().filter(|one| one.is(guest)).collect();
            if let [one, other, ..] = certain[..] {
                bail!(
                    "{one} and {other} both may be {guest}: look which is, and destroy the other"
                );
            }
            // One without a name may be it where none is for certain.
            let domain =
                certain.first().copied().or_else(|| domains.iter().find(|one| is_its(one)));
            Ok(Ok(Seen { domain: domain.cloned(), keeper: keeper.cloned() }))
        })
        .collect()
}

/// The same, once none of them is between two domains any more, for as long as
/// `patience` lasts.
pub fn settled(
    view: &View,
    guests: &[Guest],
    patience: Duration,
) -> Result<Vec<Result<Seen, Absent>>> {
    let end = view.deadline().at_most(patience);
    let mut pace = Pace::new();
    loop {
        let seen = look(view, guests)?;
        let is_between =
            |one: &Result<Seen, Absent>| one.as_ref().is_ok_and(|seen| seen.domain.is_none());
        if !seen.iter().any(is_between) || end.has_passed() {
            return Ok(seen);
        }
        pace.rest(end);
    }
}

/// What a guest is asked by, in the entry that its kernel watches.
const POWER_OFF: &str = "poweroff";

/// Asks the guests in these domains to shut down, all at once, as `xl shutdown`
/// does for one. A guest's kernel empties the entry when it takes the request. One
/// that waits there is not written again: a watch fires when it is set, so that a
/// kernel which has yet to come finds it, and a write would undo the transaction in
/// which a slow one is taking it.
pub fn ask_to_shut_down(system: &System<'_>, ids: &[u32]) -> Result<()> {
    let deadline = system.deadline().at_most(PROMPT);
    let mut store = Store::open(system, deadline)?.context("xenstore does not run")?;
    let waits = waiting(&mut store, ids)?;
    let ids: Vec<u32> = ids.iter().zip(waits).filter(|(_, it)| !it).map(|(id, _)| *id).collect();
    system.note(format_args!("xenstore: poweroff to {ids:?}"));
    store.write(system, &requests(&ids), POWER_OFF)
}

/// Of which of these domains the request to shut down waits to be taken.
pub fn untaken(view: &View, ids: &[u32]) -> Result<Vec<bool>> {
    let deadline = view.deadline().at_most(PROMPT);
    let mut store = Store::open(view, deadline)?.context("xenstore does not run")?;
    waiting(&mut store, ids)
}

fn waiting(store: &mut Store, ids: &[u32]) -> Result<Vec<bool>> {
    let told = store.read(&requests(ids))?;
    Ok(told.iter().map(|word| word.as_deref() == Some(POWER_OFF)).collect())
}

fn requests(ids: &[u32]) -> Vec<String> {
    ids.iter().map(|id| entry(*id, "control/shutdown")).collect()
}

#[cfg(test)]
mod tests {
    use super::store::tests::{Tree, serve};
    use super::*;
    use crate::testing::Files;

    const UUID: &str = "6e82951e-eb72-11f1-840f-ffbeb24a467b";

    fn tree(domains: &[(u32, &str, &str)]) -> Tree {
        let mut tree = Tree::from([("/local/domain/0/name".into(), "Domain-0".into())]);
        for (id, name, uuid) in domains {
            tree.insert(entry(*id, "memory/target"), "1".into());
            if !name.is_empty() {
                tree.insert(entry(*id, "name"), (*name).into());
                tree.insert(entry(*id, "vm"), format!("/vm/{uuid}"));
            }
        }
        tree
    }

    fn machine(domains: &[(u32, &str, &str)]) -> Files {
        let machine = Files::new();
        machine.dir("/proc/1");
        serve(&machine, tree(domains));
        machine
    }

    fn web(uuid: Option<&str>) -> Guest {
        Guest { name: "web".into(), uuid: uuid.map(str::to_owned) }
    }

    fn seen(machine: &Files, guest: Guest) -> Result<Result<Seen, Absent>, String> {
        look(&machine.view(), &[guest])
            .map(|mut seen| seen.remove(0))
            .map_err(|err| err.to_string())
    }

    #[test]
    fn a_guest_is_known_by_its_name_and_by_its_uuid() {
        let machine = machine(&[(3, "web", UUID), (4, "db", "")]);
        let found = |guest| seen(&machine, guest).unwrap().map(|seen| seen.domain.unwrap().id);
        assert_eq!(found(web(None)), Ok(3));
        let renamed = Guest { name: "other".into(), uuid: Some(UUID.into()) };
        assert_eq!(found(renamed), Ok(3));
        let absent = found(Guest { name: "mail".into(), uuid: None }).unwrap_err();
        assert_eq!(absent.to_string(), "none among 2 domains; none among 0 xl processes");
    }

    #[test]
    fn one_on_its_way_is_there() {
        let machine = machine(&[(3, "web--incoming", UUID), (4, "db--migratedaway", "")]);
        let stage = |name: &str| {
            let guest = Guest { name: name.into(), uuid: None };
            seen(&machine, guest).unwrap().unwrap().domain.unwrap().stage()
        };
        assert_eq!((stage("web"), stage("db")), (Stage::Arriving, Stage::Left));
    }

    #[test]
    fn a_domain_without_a_name_may_be_any_guest_unless_nothing_is_in_it() {
        let machine = machine(&[(8, "", ""), (9, "", "")]);
        let domain = seen(&machine, web(None)).unwrap().unwrap().domain.unwrap();
        assert_eq!(domain.to_string(), "domain 8, which has no name");
    }

    #[test]
    fn two_that_may_be_it_are_doubt() {
        let machine = machine(&[(3, "web", UUID), (4, "other", UUID)]);
        assert!(seen(&machine, web(Some(UUID))).unwrap_err().contains("both may be web"));
    }

    #[test]
    fn a_glance_is_sure_or_says_no() {
        let machine = machine(&[(3, "web", UUID)]);
        let stat = |started: u64| {
            let text = format!("7 (xl) S 1 7 7 0 0 0 0 0 0 0 0 0 0 0 20 0 1 0 {started} 0 0");
            machine.file("/proc/7/stat", &text);
        };
        stat(70);
        let noted = |id, keeper| Noted { guest: web(Some(UUID)), id, keeper };
        let sure = |one| glance(&machine.view(), &[one]).unwrap()[0];
        assert!(sure(noted(3, (7, 70))));
        assert!(!sure(noted(3, (7, 71))) && !sure(noted(3, (8, 70))) && !sure(noted(4, (7, 70))));
        let guest = Guest { name: "db".into(), uuid: Some(UUID.into()) };
        assert!(!sure(Noted { guest, ..noted(3, (7, 70)) }));
    }

    #[test]
    fn what_a_guest_takes_is_in_the_store() {
        let machine = Files::new();
        let tree = [
            (entry(3, "memory/target"), "98304".into()),
            (entry(3, "cpu/0/availability"), "online".into()),
            (entry(3, "cpu/1/availability"), "online".into()),
            (entry(3, "cpu/2/availability"), "offline".into()),
        ];
        serve(&machine, Tree::from(tree));
        let view = machine.view();
        assert_eq!(size(&view, 3).unwrap(), Some(Size { vcpus: 2, memory: 96 }));
        assert_eq!(size(&view, 4).unwrap(), None);
    }

    #[test]
    fn a_request_that_waits_is_not_written_again_and_told_from_one_that_was_taken() {
        let machine = Files::new();
        let shutdown = |id| entry(id, "control/shutdown");
        let tree = [(shutdown(3), "".into()), (shutdown(4), "".into())];
        let store = serve(&machine, Tree::from(tree));
        let view = machine.view();
        let ask = || view.with_write_access(|system| ask_to_shut_down(system, &[3, 4]));
        ask().unwrap();
        assert_eq!(untaken(&view, &[3, 4]).unwrap(), [true, true]);
        // The one takes it, and the kernel of the other is at it.
        store.lock().unwrap().tree.insert(shutdown(3), "".into());
        assert_eq!(untaken(&view, &[3, 4]).unwrap(), [false, true]);
        ask().unwrap();
        assert_eq!(store.lock().unwrap().written, [shutdown(3), shutdown(4), shutdown(3)]);
        // One that has gone meanwhile waits for nothing.
        assert_eq!(untaken(&view, &[9]).unwrap(), [false]);
    }

    #[test]
    fn without_a_store_only_a_machine_without_xen_has_no_guest() {
        let machine = Files::new();
        machine.dir("/proc/1").dir("/sys/kernel");
        assert!(seen(&machine, web(None)).unwrap().is_err());
        machine.file("/sys/hypervisor/type", "xen\n");
        let doubt = seen(&machine, web(None)).unwrap_err();
        assert!(doubt.contains("xenstored"), "{doubt}");
    }
}
