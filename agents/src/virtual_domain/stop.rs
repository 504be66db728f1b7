//! How a guest is brought down.

use super::VirtualDomain;
use super::config;
use super::look::{Found, State};
use anyhow::{Context, Result, bail};
use common::host::clock::Deadline;
use common::host::libvirt::{self, Condition, Connection, Domain, Pause, Seen};
use common::{Plan, System, View};
use std::time::Duration;

/// How long it takes libvirt to destroy a guest: it waits 15 s for one that is
/// stuck.
const DESTROYING: Duration = Duration::from_secs(20);

/// How long a daemon that is busy has to pass the wish on. A guest that was not
/// asked is destroyed.
const ASKING: Duration = Duration::from_secs(10);

/// A guest that boots may miss what it was asked, so it is asked again: as often as
/// OpenStack's compute service does.
pub(crate) const AGAIN: Duration = Duration::from_secs(10);

impl VirtualDomain {
    pub(super) fn plan_stop<'a>(&'a self, from: &State) -> Plan<'a> {
        let mut plan = Plan::new();
        let name = from.meant.name.clone();
        match &from.found {
            Found::Nothing(_) => {}
            Found::Coming(_) => {
                plan.step(format!("end {name} as soon as it is there"), |system| self.end(system));
            }
            Found::Guest(seen) => {
                if self.saves_config() && !seen.is_incoming {
                    plan.step(format!("save what was changed on {name}"), move |system| {
                        self.save_config(system, &name)
                    });
                }
                if listens(seen) && !self.params.force_stop {
                    let seen = seen.clone();
                    plan.step(self.quietly(&seen), move |system| self.shut_down(system, &seen));
                }
                plan.step(format!("destroy {} if it is there still", from.meant), |system| {
                    self.end(system)
                });
            }
        }
        if from.record.is_some() || from.damaged.is_some() {
            plan.step("forget the guest", |system| match self.look(system)?.found {
                Found::Nothing(_) => {
                    system.remove_record(&self.figures_record())?;
                    system.remove_record(&self.record)
                }
                _ => bail!("it is there still"),
            });
        }
        plan
    }

    fn quietly(&self, seen: &Seen) -> String {
        match self.memory(&seen.identity.name) {
            Some(memory) => format!("save the memory of {} to {}", seen.identity, memory.display()),
            None => format!("ask {} to shut down", seen.identity),
        }
    }

    /// Has the guest save its memory, or asks it to shut down, and waits for
    /// its end as long as there is time to destroy it after that. What comes of
    /// it is no reason to fail: the next step destroys what is left.
    fn shut_down(&self, system: &System<'_>, seen: &Seen) -> Result<()> {
        let reserve = DESTROYING.min(system.deadline().left() / 3);
        let end = Deadline::after(system.deadline().left().saturating_sub(reserve));
        let memory = self.memory(&seen.identity.name);
        let asked = match &memory {
            Some(memory) => self.save(system, seen, memory, end.left()),
            None => self.ask(system, seen, end),
        };
        if let Err(err) = asked {
            system.warn(format_args!("{err:#}; {} is destroyed", seen.identity));
            return Ok(());
        }
        while !end.has_passed() {
            self.await_end(system, seen, end.left().min(AGAIN));
            if !self.is_left(system, seen) {
                break;
            }
            if memory.is_none()
                && let Err(err) = self.ask(system, seen, end)
            {
                system.note(format_args!("{err:#}"));
            }
        }
        Ok(())
    }

    fn ask(&self, system: &System<'_>, seen: &Seen, end: Deadline) -> Result<()> {
        let domain = Domain::known(&seen.identity).context("its UUID is not known")?;
        let limit = end.at_most(ASKING);
        let mut line = Connection::awaited(system, self.hypervisor(), limit)
            .context("nobody can ask it to shut down")?;
        let mode = self.params.shutdown_mode.map(|mode| mode.0).unwrap_or_default();
        match line.shut_down(system, &[domain], mode)?.pop() {
            Some((_, refusal)) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    /// A file that is not whole must not be gone on from: it has another name
    /// until it is.
    fn save(
        &self,
        system: &System<'_>,
        seen: &Seen,
        memory: &std::path::Path,
        patience: Duration,
    ) -> Result<()> {
        let draft = memory.with_extension("draft");
        let words = ["save".as_ref(), seen.identity.name.as_ref(), draft.as_os_str()];
        let done = libvirt::virsh_within(system, patience, self.hypervisor(), &words)?;
        if !done.success() {
            bail!("cannot save the memory of {}: {}", seen.identity, done.reason());
        }
        config::rename(system, &draft, memory)
    }

    fn await_end(&self, view: &View, seen: &Seen, patience: Duration) {
        if let Some(process) = &seen.process {
            return libvirt::await_end(view, &[process], patience);
        }
        let deadline = view.deadline().at_most(patience);
        while !deadline.has_passed() && self.is_left(view, seen) {
            view.pause(Duration::from_millis(200));
        }
    }

    fn is_left(&self, view: &View, seen: &Seen) -> bool {
        match &seen.process {
            Some(_) => libvirt::is_left(view, seen),
            None => !self.is_gone(view),
        }
    }

    /// Ends what is there, and what comes.
    fn end(&self, system: &System<'_>) -> Result<()> {
        system.until("the guest to end", || {
            let state = self.look(system)?;
            match &state.found {
                Found::Nothing(_) => return Ok(Ok(())),
                Found::Coming(why) => return Ok(Err(format!("that it may come: {why}"))),
                Found::Guest(seen) => {
                    let patience = DESTROYING.min(system.deadline().left() * 2 / 3);
                    libvirt::end(system, self.hypervisor(), std::slice::from_ref(seen), patience)?;
                }
            }
            Ok(Err(state.status(self.params.on_io_error).to_string()))
        })
    }
}

/// Whether the guest can hear that it is to shut down.
pub(crate) fn listens(seen: &Seen) -> bool {
    let awake = matches!(
        seen.condition,
        Condition::Running | Condition::ShuttingDown | Condition::Paused(Pause::Work)
    );
    awake && !seen.is_halted && !seen.is_incoming
}
