//! A group of libvirt's guests.
//!
//! Each of them is a [`VirtualDomain`], with its own record of who it is; the group
//! notes which files are its own. What is the group's is the order, one time for
//! all at a stop, and what becomes of the others.

use super::{DomainGroup, Foreign, Host, Part, shortened, twice};
use crate::virtual_domain::{AGAIN, Found, State as GuestState, VirtualDomain, listens, outlast};
use anyhow::{Context, Result, bail};
use common::host::clock::Deadline;
use common::host::libvirt::{self, Connection, Domain, Hypervisor, Identity, Seen, ShutdownMode};
use common::host::process::Process;
use common::host::record::Damaged;
use common::{Absent, Agent, Fact, Plan, System, View, configured, unless_silent};
use ocf_meta::{Given, Params, Reading};
use std::path::PathBuf;
use std::time::Duration;

/// Raised when the lines change.
const HEAD: &str = "definitions 1\n";

/// How long a daemon that is busy has to pass the wish on.
const ASKING: Duration = Duration::from_secs(20);

/// What was seen.
#[derive(Debug)]
pub struct State {
    members: Vec<Member>,
    /// Proof that no guest is one of a group that has none.
    pub(super) empty: Option<Absent>,
    noted: Option<Noted>,
    pub(super) damaged: Option<Damaged>,
}

/// The files of the guests that the group has taken on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Noted(Vec<PathBuf>);

/// A guest of the group.
#[derive(Debug)]
struct Member {
    file: PathBuf,
    state: GuestState,
}

/// A file, and the guest that it defines.
pub(super) struct Defined {
    file: PathBuf,
    identity: Identity,
}

impl Noted {
    fn text(&self) -> String {
        let lines = self.0.iter().map(|file| format!("{}\n", file.display()));
        std::iter::once(HEAD.to_owned()).chain(lines).collect()
    }

    /// The same with more files.
    fn with(mut self, files: &[PathBuf]) -> Self {
        let new: Vec<PathBuf> =
            files.iter().filter(|file| !self.0.contains(file)).cloned().collect();
        self.0.extend(new);
        self
    }

    /// One whose last line has no end was cut short.
    fn parse(text: &str) -> Option<Self> {
        let lines = text.strip_prefix(HEAD)?;
        let whole = lines.is_empty() || lines.ends_with('\n');
        whole.then(|| Self(lines.lines().map(PathBuf::from).collect()))
    }
}

impl State {
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        let part = |one: &'_ Member| one.state.status_alone();
        self.members
            .iter()
            .map(|one| Part { name: &one.state.meant.name, status: part(one) })
            .collect()
    }

    pub(super) fn facts(&self) -> Vec<Fact> {
        let fact = |part: Part<'_>| Fact::new("guest", format!("{}: {}", part.name, part.status));
        self.parts().into_iter().map(fact).collect()
    }

    /// Whether something else is noted of the guests than was seen.
    pub(super) fn has_news(&self) -> bool {
        self.members.iter().any(|one| one.state.news().is_some())
    }

    fn is_there(&self) -> bool {
        self.members.iter().any(|one| !matches!(one.state.found, Found::Nothing(_)))
    }

    fn seen(&self) -> impl Iterator<Item = &Seen> {
        self.members.iter().filter_map(|one| one.state.seen())
    }

    fn files(&self) -> Vec<PathBuf> {
        self.members.iter().map(|one| one.file.clone()).collect()
    }
}

impl DomainGroup {
    pub(super) fn look_libvirt(&self, view: &View) -> Result<State> {
        let (noted, damaged) = Damaged::apart(view.record(&self.record, Noted::parse));
        let files = match &noted {
            Some(noted) => noted.0.clone(),
            None => self.files(view).unwrap_or_else(|err| {
                view.note(format_args!("{err:#}"));
                Vec::new()
            }),
        };
        let members = self.members(view, &files)?;
        let empty = match members.is_empty() {
            true => libvirt::guests(view)?.lacks(|_| false),
            false => None,
        };
        Ok(State { members, empty, noted, damaged })
    }

    /// The guests with these files.
    fn members(&self, view: &View, files: &[PathBuf]) -> Result<Vec<Member>> {
        let (model, mut guests) = (self.model()?, None);
        let look = |file: &PathBuf| {
            let state = model.by(file).look_among(view, &mut guests)?;
            Ok(Member { file: file.clone(), state })
        };
        files.iter().map(look).collect()
    }

    /// The guests that the files define, in the order in which they are started.
    pub(super) fn defined(&self, view: &View) -> Result<Vec<Defined>> {
        let (model, mut defined) = (self.model()?, Vec::<Defined>::new());
        for file in self.files(view)? {
            if file.as_os_str().as_encoded_bytes().contains(&b'\n') {
                return Err(configured("a file of the group has a line feed in its name"));
            }
            let read = model.by(&file).definition(view);
            let identity = read.map_err(|err| unless_silent(err, configured))?.identity;
            if let Some(other) = defined.iter().find(|other| other.identity.is(&identity)) {
                return Err(twice(&identity.name, &other.file, &file));
            }
            defined.push(Defined { file, identity });
        }
        Ok(defined)
    }

    pub(super) fn start_libvirt<'a>(
        &'a self,
        view: &View,
        from: &State,
        defined: Vec<Defined>,
    ) -> Result<Plan<'a>> {
        if defined.is_empty() {
            return Err(self.no_files());
        }
        let files: Vec<PathBuf> = defined.iter().map(|one| one.file.clone()).collect();
        let members = self.members(view, &files)?;
        let is_up = |one: &Member| one.state.status_alone().is_active();
        let noted = from.noted.clone().unwrap_or_default().with(&files);
        let mut plan = Plan::new();
        if members.iter().all(is_up) && from.noted.as_ref() == Some(&noted) {
            return Ok(plan);
        }
        view.program("virsh")?;
        let is_faulty = |one: &&Member| one.state.seen().is_some() && !is_up(one);
        if let Some(faulty) = members.iter().find(is_faulty) {
            let status = faulty.state.status_alone();
            bail!("{} is there, and {status}: it has to be stopped first", faulty.state.meant);
        }
        plan.step("have the cluster stopped before libvirt", outlast);
        plan.step(format!("note that {} guests are taken on", noted.0.len()), move |system| {
            system.write_record(&self.record, &noted.text())
        });
        if self.foreign == Foreign::Stop {
            let mut own: Vec<Identity> = defined.into_iter().map(|one| one.identity).collect();
            own.extend(from.members.iter().map(|one| one.state.meant.clone()));
            let others = foreign(view, self.libvirt()?, &own)?;
            if !others.is_empty() {
                self.end_libvirt(view, &mut plan, others.clone(), Vec::new(), others);
            }
        }
        let model = self.model()?;
        for (place, one) in members.iter().filter(|one| !is_up(one)).enumerate() {
            let pause = self.pause_before(place);
            let guest = model.by(&one.file);
            let what = format!("start {} of {}", one.state.meant, one.file.display());
            plan.step(what, move |system| {
                system.pause(pause);
                guest.start_alone(system)
            });
        }
        plan.step("note the guests that run", |system| self.note(system));
        Ok(plan)
    }

    pub(super) fn stop_libvirt<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if from.is_there() {
            let others = match self.foreign {
                Foreign::Stop => {
                    let own: Vec<Identity> =
                        from.members.iter().map(|one| one.state.meant.clone()).collect();
                    foreign(view, self.libvirt()?, &own)?
                }
                Foreign::Leave => Vec::new(),
            };
            let all = from.seen().chain(&others).cloned().collect();
            self.end_libvirt(view, &mut plan, all, from.files(), others);
        }
        if from.noted.is_some() || from.damaged.is_some() {
            plan.step("forget what was taken on", move |system| {
                let state = self.look_libvirt(system)?;
                if state.is_there() {
                    return Ok(());
                }
                let model = self.model()?;
                state.members.iter().try_for_each(|one| model.by(&one.file).forget(system))?;
                system.remove_record(&self.record)
            });
        }
        Ok(plan)
    }

    /// Ends guests: all are asked at once, and what is left of them is destroyed,
    /// with what comes of the group's own while that is done.
    fn end_libvirt<'a>(
        &'a self,
        view: &View,
        plan: &mut Plan<'a>,
        all: Vec<Seen>,
        own: Vec<PathBuf>,
        others: Vec<Seen>,
    ) {
        let names: Vec<&str> = all.iter().map(|one| one.identity.name.as_str()).collect();
        let names = shortened(&names);
        self.plan_end(
            view,
            plan,
            &names,
            move |system, ending| self.shut_down(system, &all, ending.patience(system)),
            move |system| self.destroy(system, &own, &others),
        );
    }

    /// Asks the guests to shut down and waits for them together. What comes of it is
    /// no reason to fail: what is left is destroyed.
    fn shut_down(&self, system: &System<'_>, all: &[Seen], patience: Duration) -> Result<()> {
        let end = Deadline::after(patience);
        let asked: Vec<&Seen> = all.iter().filter(|one| listens(one)).collect();
        let mut late = match self.ask(system, &asked, end) {
            Ok((asked, complaints)) => {
                complaints.iter().for_each(|why| system.warn(format_args!("{why}")));
                asked
            }
            Err(err) => {
                system.warn(format_args!("{err:#}; destroying"));
                return Ok(());
            }
        };
        loop {
            let processes: Vec<&Process> =
                late.iter().filter_map(|one| one.process.as_ref()).collect();
            libvirt::await_end(system, &processes, end.left().min(AGAIN));
            late.retain(|one| libvirt::is_left(system, one));
            if late.is_empty() {
                return Ok(());
            }
            if end.has_passed() {
                break;
            }
            match self.ask(system, &late, end) {
                Ok((_, complaints)) => {
                    complaints.iter().for_each(|why| system.note(format_args!("{why}")));
                }
                Err(err) => system.note(format_args!("{err:#}")),
            }
        }
        let late: Vec<&str> = late.iter().map(|one| one.identity.name.as_str()).collect();
        system.warn(format_args!("not shut down in time: {}; destroying", shortened(&late)));
        Ok(())
    }

    /// Which of the guests were asked, as far as is known, and what went wrong.
    fn ask<'a>(
        &self,
        system: &System<'_>,
        guests: &[&'a Seen],
        end: Deadline,
    ) -> Result<(Vec<&'a Seen>, Vec<String>)> {
        let hypervisor = self.libvirt()?;
        let known = |one: &&'a Seen| Some((*one, Domain::known(&one.identity)?));
        let (mut asked, domains): (Vec<&Seen>, Vec<Domain>) =
            guests.iter().filter_map(known).unzip();
        if asked.is_empty() {
            return Ok((asked, Vec::new()));
        }
        let mut line = Connection::awaited(system, hypervisor, end.at_most(ASKING))
            .context("nobody can ask the guests to shut down")?;
        let complaints = match line.shut_down(system, &domains, ShutdownMode::default()) {
            Ok(refused) => {
                let complain = |(place, refusal)| {
                    let guest = asked.remove(place);
                    format!("{}: {refusal}", guest.identity)
                };
                refused.into_iter().rev().map(complain).collect()
            }
            // One of them may be stuck, and the others may have been asked.
            Err(err) => vec![format!("{err:#}")],
        };
        Ok((asked, complaints))
    }

    /// Ends what is there of the group's own guests and of these others, side by
    /// side.
    fn destroy(&self, system: &System<'_>, own: &[PathBuf], others: &[Seen]) -> Result<()> {
        let hypervisor = self.libvirt()?;
        system.until("the guests to end", || {
            let members = match self.members(system, own) {
                Ok(members) => members,
                Err(err) => return Ok(Err(format!("{err:#}"))),
            };
            let others = others.iter().filter(|one| libvirt::is_left(system, one));
            let left: Vec<Seen> =
                members.iter().filter_map(|one| one.state.seen()).chain(others).cloned().collect();
            if !left.is_empty() {
                libvirt::end(system, hypervisor, &left, system.deadline().left() / 2)?;
            }
            let found = members.iter().find(|one| !matches!(one.state.found, Found::Nothing(_)));
            Ok(match (found, left.first()) {
                (None, None) => Ok(()),
                (Some(one), _) => Err(format!("{}: {}", one.state.meant, one.state.status_alone())),
                (None, Some(other)) => Err(format!("{}: {}", other.identity, other.condition)),
            })
        })
    }

    pub(super) fn note_libvirt(&self, system: &System<'_>, state: &State) -> Result<()> {
        let model = self.model()?;
        state.members.iter().try_for_each(|one| model.by(&one.file).note_seen(system, &one.state))
    }

    fn libvirt(&self) -> Result<&Hypervisor> {
        match &self.params.hypervisor {
            Host::Libvirt(hypervisor) => Ok(hypervisor),
            Host::Xen => bail!("the guests are Xen's"),
        }
    }

    /// A guest of the group's, but for its file.
    fn model(&self) -> Result<VirtualDomain> {
        let mut given = Given::default();
        given.set("config", self.params.directory.as_os_str());
        given.set("hypervisor", self.libvirt()?.to_string());
        // The resource is the group, and has no figures of its guests.
        for figure in ["cpu", "host_memory", "hv_memory"] {
            given.set(format!("autoset_utilization_{figure}"), "false");
        }
        let params = <VirtualDomain as Agent>::Params::read(&mut Reading::strict(&given))?;
        VirtualDomain::new(params, &self.request)
    }
}

/// The guests of libvirt's that run here besides. A process that libvirt has not
/// noted is none of its guests.
fn foreign(view: &View, hypervisor: &Hypervisor, own: &[Identity]) -> Result<Vec<Seen>> {
    let guests = libvirt::guests(view)?;
    let mut others = Vec::new();
    for guest in guests.iter().filter(|guest| libvirt::is_noted(view, guest)) {
        let Some(identity) = guest.identity.as_ref() else { continue };
        if own.iter().any(|known| known.is(identity)) {
            continue;
        }
        others.extend(libvirt::among(view, hypervisor, &guests, identity)?.ok());
    }
    Ok(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_as_it_was_written() {
        let noted = Noted(vec!["/srv/a b.xml".into(), "/srv/c.xml".into()]);
        let text = noted.text();
        assert_eq!(Noted::parse(&text).as_ref(), Some(&noted));
        assert_eq!(Noted::parse(&text[..text.len() - 1]), None, "cut short");
        assert_eq!(Noted::parse(HEAD), Some(Noted::default()));
        assert_eq!(
            Noted::parse(
                "guests 1
"
            ),
            None
        );
        let more = noted.with(&["/srv/c.xml".into(), "/srv/d.xml".into()]);
        assert_eq!(more.0.len(), 3);
    }
}
