//! What runs, and what is known of it without the configuration.

use super::VirtualDomain;
use super::record::Record;
use super::values::OnIoError;
use anyhow::{Context, Result, anyhow};
use common::host::absence::Whole;
use common::host::clock;
use common::host::libvirt::{self, Condition, Daemon, Definition, Guest, Identity, Pause, Seen};
use common::host::reading;
use common::host::record::Damaged;
use common::{Absent, Role, Status, View};

/// A guest that is paused again so soon after it was resumed is not resumed
/// again, in seconds.
const AGAIN: u64 = 3600;

/// What was seen.
#[derive(Debug)]
pub struct State {
    /// By what the guest is known.
    pub(crate) meant: Identity,
    pub(crate) found: Found,
    pub(super) record: Option<Record>,
    /// Why it is not known what was noted.
    pub(super) damaged: Option<Damaged>,
}

/// What there is of the guest.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing, which is proven.
    Nothing(Absent),
    /// Nothing yet: the daemon was told to start it, and may still do so.
    Coming(String),
    Guest(Seen),
}

impl State {
    pub(crate) fn seen(&self) -> Option<&Seen> {
        match &self.found {
            Found::Guest(seen) => Some(seen),
            Found::Nothing(_) | Found::Coming(_) => None,
        }
    }

    /// Whether it was resumed after an I/O error, and not long ago.
    fn was_resumed(&self) -> bool {
        let at = self.record.as_ref().and_then(|record| record.resumed);
        at.is_some_and(|at| clock::since_boot().as_secs() < at + AGAIN)
    }

    /// Whether it waits for its one resume.
    pub(super) fn is_to_be_resumed(&self, on_io_error: OnIoError) -> bool {
        let is_paused = |seen: &Seen| seen.condition == Condition::Paused(Pause::IoError);
        on_io_error == OnIoError::Resume
            && self.seen().is_some_and(is_paused)
            && !self.was_resumed()
    }

    pub(super) fn status(&self, on_io_error: OnIoError) -> Status {
        let failed = |reason: String| Status::Failed(Role::Started, reason);
        let degraded = |reason: String| Status::Degraded(Role::Started, reason);
        let name = &self.meant;
        let seen = match &self.found {
            Found::Nothing(absent) => return Status::Stopped(absent.clone()),
            Found::Coming(why) => {
                return failed(format!("{name} may be about to be started: {why}"));
            }
            Found::Guest(seen) => seen,
        };
        if seen.is_halted {
            let pid = seen.process.as_ref().map_or(0, |process| process.pid);
            return failed(format!("{name}: its process was stopped by a signal (pid {pid})"));
        }
        if seen.is_incoming {
            return failed(format!("{name} is being moved here and has not arrived"));
        }
        let what = format!("{name}: {}", seen.condition);
        match seen.condition {
            Condition::Running | Condition::ShuttingDown | Condition::Paused(Pause::Work) => {
                Status::Running(Role::Started)
            }
            Condition::Paused(Pause::IoError) => match on_io_error {
                OnIoError::Failed => failed(what),
                OnIoError::Degraded => degraded(what),
                OnIoError::Resume if self.was_resumed() => failed(format!("{what}, once more")),
                OnIoError::Resume => degraded(format!("{what}, and is resumed when they read")),
            },
            Condition::Paused(Pause::User) | Condition::Asleep => degraded(what),
            _ => failed(what),
        }
    }
}

impl State {
    /// What a guest of a group means, of which nothing is said on I/O errors.
    pub(crate) fn status_alone(&self) -> Status {
        self.status(OnIoError::Failed)
    }
}

impl VirtualDomain {
    pub(super) fn look(&self, view: &View) -> Result<State> {
        self.look_among(view, &mut None)
    }

    /// The same, in a list of the machine's guests that is made once it is needed.
    pub(crate) fn look_among(
        &self,
        view: &View,
        guests: &mut Option<Whole<Guest>>,
    ) -> Result<State> {
        let (record, damaged) = Damaged::apart(self.noted(view));
        let hypervisor = self.hypervisor();
        if let Some(Record { identity, process: Some(process), .. }) = &record
            && let Some(seen) = libvirt::glance(view, identity, *process)?
        {
            return Ok(State {
                meant: identity.clone(),
                found: Found::Guest(seen),
                record,
                damaged,
            });
        }
        let mut meant: Vec<Identity> =
            record.iter().map(|record| record.identity.clone()).collect();
        match self.definition(view) {
            Ok(definition) if meant.contains(&definition.identity) => {}
            Ok(definition) => meant.push(definition.identity),
            // What was noted is all that would tell its name.
            Err(err) if damaged.is_some() => {
                let what = format!("{err:#}");
                return Err(anyhow!(damaged.map(|it| it.doubt(what)).unwrap_or_default()));
            }
            Err(err) if meant.is_empty() => {
                view.info(format_args!("{err:#}: its guest is looked for by the file's name"));
                meant.push(self.by_file_name());
            }
            Err(err) => view.note(format_args!("{err:#}")),
        }
        let mut proof: Option<Absent> = None;
        if hypervisor.has_processes() && guests.is_none() {
            *guests = Some(libvirt::guests(view)?);
        }
        for one in &meant {
            let seen = match guests {
                Some(guests) => libvirt::among(view, hypervisor, guests, one)?,
                None => libvirt::look(view, hypervisor, one)?,
            };
            match seen {
                Ok(seen) => {
                    let found = Found::Guest(seen);
                    return Ok(State { meant: one.clone(), found, record, damaged });
                }
                Err(absent) => {
                    proof = Some(proof.map_or(absent.clone(), |other| other.and(absent)));
                }
            }
        }
        let meant = meant.swap_remove(0);
        let absent = proof.context("no guest was looked for")?;
        let told = match damaged.is_some() {
            true => Daemon::find(view, hypervisor)?,
            false => record.as_ref().and_then(|record| record.told.clone()),
        };
        let found = match told {
            None => Found::Nothing(absent),
            Some(told) => match libvirt::is_on_its_way(view, hypervisor, &told, &meant) {
                Ok(false) => Found::Nothing(absent),
                Ok(true) => Found::Coming("libvirt is at it".into()),
                Err(err) => Found::Coming(format!("{err:#}")),
            },
        };
        Ok(State { meant, found, record, damaged })
    }

    /// What the configuration says.
    pub(crate) fn definition(&self, view: &View) -> Result<Definition> {
        let shown = self.params.config.display();
        let text = reading::text(view, &self.params.config)?;
        let text = text.with_context(|| format!("{shown} is not there"))?;
        Definition::parse(&text).with_context(|| format!("{shown} is no definition of a guest"))
    }

    /// libvirt calls the file of a guest by the guest's name.
    fn by_file_name(&self) -> Identity {
        let name = self.params.config.file_stem().unwrap_or_default();
        Identity { name: name.to_string_lossy().into_owned(), uuid: None }
    }
}
