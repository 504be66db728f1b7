//! Taking one mount down, whoever uses it.

use super::{Backing, Filesystem};
use anyhow::{Context, Result, bail};
use common::System;
use common::host::block::Number;
use common::host::clock::{Deadline, Pace};
use common::host::fuser::{self, Search, Targets};
use common::host::holders;
use common::host::mount::unmount::{self, Unmounted};
use common::host::mount::{Mount, Table, reach};
use common::host::nfs::clients;
use common::host::pidfd;
use common::host::process::Process;
use common::host::signal;
use std::borrow::Cow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// With fast_stop, no longer than the shell agent takes with it.
const FAST: Duration = Duration::from_secs(6);

/// For a last try and a last search.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A mount that has to go, known by its number wherever it is moved to.
#[derive(Clone, Debug)]
pub(super) struct MountKey {
    id: u64,
    device: Number,
    pub(super) directory: PathBuf,
}

impl MountKey {
    pub(super) fn of(mount: &Mount) -> Self {
        let directory = mount.directory.clone();
        Self { id: mount.id, device: mount.device, directory }
    }

    fn is(&self, mount: &Mount) -> bool {
        self.id == mount.id && self.device == mount.device
    }
}

/// The time for one mount, and how far it has come: the first half is for the
/// gentle signals.
struct Escalation {
    begun: Instant,
    end: Deadline,
    half: Duration,
    round: usize,
    last: Option<Instant>,
}

/// The hunt for those who use a mount that was detached.
pub(super) struct DetachedUsers(Escalation);

impl DetachedUsers {
    pub(super) fn new(system: &System<'_>) -> Self {
        let left = system.deadline().left();
        Self(Escalation {
            begun: Instant::now(),
            end: system.deadline().sooner(LAST_WORDS),
            half: left / 2,
            round: 0,
            last: None,
        })
    }
}

impl Filesystem {
    /// One round against those who use what was detached of the device.
    pub(super) fn chase(
        &self,
        system: &System<'_>,
        device: Number,
        chase: &mut DetachedUsers,
    ) -> Result<()> {
        let targets = Targets::detached(system, device)?;
        let found = fuser::search(system, &targets);
        let signalled = self.signal(system, &found, &targets, &mut chase.0)?;
        let patience = self.params.signal_delay.max(Duration::from_millis(20));
        pidfd::await_processes(signalled.iter(), chase.0.end.at_most(patience));
        Ok(())
    }

    /// Unmounts the victim and all that is upon it by then. The time left is
    /// shared with those that come after, `waiting` with this one.
    pub(super) fn take_down(
        &self,
        system: &System<'_>,
        victim: &MountKey,
        waiting: usize,
    ) -> Result<()> {
        let share = system.deadline().left() / u32::try_from(waiting.max(1)).unwrap_or(u32::MAX);
        let share = if self.params.fast_stop { share.min(FAST) } else { share };
        // The last try has to be over, and whoever is in the way found, before
        // the time is.
        let share = share - (share / 8).min(LAST_WORDS);
        let mut escalation = Escalation {
            begun: Instant::now(),
            end: system.deadline().at_most(share),
            half: share / 2,
            round: 0,
            last: None,
        };
        let mut pace = Pace::new();
        loop {
            let table = Table::read(system)?;
            let Some(mount) = table.iter().find(|mount| victim.is(mount)) else { return Ok(()) };
            let Some(busy) = self.try_family(system, &table, mount, &escalation)? else { continue };
            let targets = Targets::of(system, &[busy], self.kind.backing == Backing::Server);
            let found = fuser::search(system, &targets);
            let signalled = self.signal(system, &found, &targets, &mut escalation)?;
            if escalation.end.has_passed() {
                bail!("{}", in_use(system, busy, &found));
            }
            if signalled.is_empty() {
                pace.rest(escalation.end);
            } else {
                let patience = self.params.signal_delay.max(Duration::from_millis(20));
                pidfd::await_processes(signalled.iter(), escalation.end.at_most(patience));
            }
        }
    }

    /// Unmounts what can be unmounted of the mount and what is upon it; the
    /// first that is busy is the answer.
    fn try_family<'t>(
        &self,
        system: &System<'_>,
        table: &'t Table,
        mount: &'t Mount,
        escalation: &Escalation,
    ) -> Result<Option<&'t Mount>> {
        let force = match self.kind.can_be_forced() && escalation.is_harsh() {
            true => unmount::Force::Yes,
            false => unmount::Force::No,
        };
        for (place, member) in table.upon(mount).into_iter().chain([mount]).enumerate() {
            let directory = &member.directory;
            // After the first, the table is old: look again.
            let table = match place {
                0 => Cow::Borrowed(table),
                _ => Cow::Owned(Table::read(system)?),
            };
            if table.iter().all(|mount| mount.id != member.id) {
                continue;
            }
            let done = match table.hiding(member) {
                None => unmount::unmount(system, directory, force, system.deadline()),
                Some(hiding) if hiding.directory == *directory => {
                    bail!("cannot unmount {}: {} hides it", directory.display(), hiding.what());
                }
                Some(hiding) => {
                    reach::unmount(system, member, system.deadline()).with_context(|| {
                        format!("{} on {} hides it", hiding.what(), hiding.directory.display())
                    })
                }
            };
            let done = done.with_context(|| format!("cannot unmount {}", directory.display()))?;
            match done {
                Unmounted::Busy => return Ok(Some(member)),
                Unmounted::Done => system.info(format_args!("unmounted {}", directory.display())),
            }
        }
        Ok(None)
    }

    /// Sends the next signal to those who may be ended, unless the last round
    /// was a moment ago.
    fn signal(
        &self,
        system: &System<'_>,
        found: &Search,
        targets: &Targets,
        escalation: &mut Escalation,
    ) -> Result<Vec<Process>> {
        let pause = escalation.last.is_some_and(|last| last.elapsed() < self.params.signal_delay);
        if !self.params.force_unmount.ends_users || pause || escalation.end.has_passed() {
            return Ok(Vec::new());
        }
        let (gentle, harsh) = (&self.params.term_signals.0, &self.params.kill_signals.0);
        let list = if escalation.is_harsh() { harsh } else { gentle };
        let Some(&signal) = list.get(escalation.round % list.len().max(1)) else {
            return Ok(Vec::new());
        };
        let mut signalled = Vec::new();
        for user in found.users.iter().filter(|user| !user.is_protected) {
            let still = || fuser::uses(system, user.process.pid, targets);
            if signal::send(system, &user.process, signal, still)? {
                signalled.push(user);
            }
        }
        if !signalled.is_empty() {
            escalation.round += 1;
            escalation.last = Some(Instant::now());
            system.info(format_args!("{signal} to {}", list_of(&signalled)));
        }
        Ok(signalled.into_iter().map(|user| user.process.clone()).collect())
    }
}

impl Escalation {
    fn is_harsh(&self) -> bool {
        self.begun.elapsed() >= self.half
    }
}

/// Who is in the way, in as many words as a reason has room for.
fn in_use(system: &System<'_>, busy: &Mount, found: &Search) -> String {
    let mut who: Vec<String> = found.users.iter().map(ToString::to_string).collect();
    who.extend(holders::below(system, &[&busy.directory]));
    let held = clients::holding(system, busy.device).unwrap_or_default();
    if !held.is_empty() {
        who.push(clients::told(&held));
    }
    who.extend(
        found.stuck.iter().map(|pid| format!("perhaps pid {pid}, which hangs in the kernel")),
    );
    if who.is_empty() {
        who.push("something that cannot be found".into());
    }
    format!("cannot unmount {}: in use by {}", busy.directory.display(), who.join(", "))
}

fn list_of(users: &[&fuser::User]) -> String {
    users.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
