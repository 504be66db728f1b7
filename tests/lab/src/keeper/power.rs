//! The machines' power, for tasks and for the machines themselves: to a
//! cluster the keeper is a fencing device as good as any, since what it says
//! is off has no process any more.

use super::{Keeper, Slot, finish, lock};
use crate::wire::{Ask, Done, Frame, IS_OFF, IS_ON, Kind, Power};
use anyhow::{Result, ensure};
use serde_json::json;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// QEMU ends in much less.
const LIMIT: Duration = Duration::from_secs(30);

impl Slot {
    /// QEMU ends by its own `quit`: a signal could tear its disk files.
    pub(super) fn quit(&self) {
        let mut state = lock(&self.state);
        state.on = false;
        let quit = state.monitor.as_mut().map(|monitor| monitor.tell("quit", json!({})));
        if !matches!(quit, Some(Ok(_)))
            && let Some(process) = &mut state.process
        {
            let _ = process.kill();
        }
    }
}

impl Keeper {
    /// Switches a machine on and follows it until its power is cut.
    pub(super) fn power_on(self: &Arc<Self>, index: usize) -> Result<()> {
        {
            let mut state = lock(&self.slots[index].state);
            if state.on {
                return Ok(());
            }
            state.on = true;
            if state.followed {
                return Ok(());
            }
            state.followed = true;
        }
        let keeper = self.clone();
        thread::spawn(move || {
            let slot = &keeper.slots[index];
            loop {
                let ended = keeper.one_boot(slot);
                {
                    let mut state = lock(&slot.state);
                    if !state.on {
                        state.followed = false;
                        return;
                    }
                }
                let why = ended.map_or_else(|err| format!("{err:#}"), |()| "it restarted".into());
                eprintln!("{}: {why}", slot.plan.name);
                keeper.announce(slot.plan.name, "restart");
                thread::sleep(Duration::from_millis(100));
            }
        });
        Ok(())
    }

    /// Cuts the power. When this returns nothing of the machine runs, and all
    /// that it said has been passed on.
    pub(super) fn power_off(&self, index: usize) -> Result<()> {
        let slot = &self.slots[index];
        slot.quit();
        let start = Instant::now();
        while lock(&slot.state).followed {
            ensure!(start.elapsed() < LIMIT, "{} does not end", slot.plan.name);
            // One that had not opened its control channel yet has it now.
            if start.elapsed() > Duration::from_secs(1) {
                slot.quit();
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// One boot from power on to the end of the process.
    fn one_boot(self: &Arc<Self>, slot: &Slot) -> Result<()> {
        let process = slot.plan.boot(&self.image, &self.qemu, &self.place)?;
        lock(&slot.state).process = Some(process);
        let served = self.serve_boot(slot);
        let (process, pending) = {
            let mut state = lock(&slot.state);
            state.port = None;
            state.monitor = None;
            state.ready = false;
            (state.process.take(), std::mem::take(&mut state.pending))
        };
        if let Some(mut process) = process {
            // The port closes before the process is gone; a machine whose
            // agent cannot be followed is of no use either.
            thread::sleep(Duration::from_millis(50));
            let _ = process.kill();
            let _ = process.wait();
        }
        for (task, id) in pending.into_values() {
            finish(&task, id, 255, Some(format!("{} lost power", slot.plan.name)));
        }
        self.announce(slot.plan.name, "down");
        served
    }

    /// Grants what a machine asks for, in a thread of its own: it may take
    /// longer than the machine's other business can wait.
    pub(super) fn consider(self: &Arc<Self>, slot: &Slot, frame: Frame) {
        let (keeper, from) = (self.clone(), slot.plan.name);
        thread::spawn(move || {
            let granted = frame.value::<Ask>().map_err(Into::into);
            let granted = granted.and_then(|ask| keeper.grant(from, &ask));
            let done = match granted {
                Ok(code) => Done { code, why: None },
                Err(err) => Done { code: 255, why: Some(format!("{err:#}")) },
            };
            let Ok(answer) = Frame::of(frame.id, Kind::Answer, &done) else { return };
            if let Ok(index) = keeper.index(from)
                && let Some(port) = &mut lock(&keeper.slots[index].state).port
            {
                // A machine that has ended meanwhile needs no answer.
                let _ = answer.send(port);
            }
        });
    }

    fn grant(self: &Arc<Self>, from: &str, ask: &Ask) -> Result<i32> {
        let index = self.index(&ask.machine)?;
        match ask.power {
            Power::Look if lock(&self.slots[index].state).on => return Ok(IS_ON),
            Power::Look => return Ok(IS_OFF),
            Power::On => self.power_on(index)?,
            Power::Off | Power::Reset => {
                self.power_off(index)?;
                self.announce(&ask.machine, &format!("fenced by {from}"));
                if ask.power == Power::Reset {
                    self.power_on(index)?;
                }
            }
        }
        Ok(0)
    }
}
