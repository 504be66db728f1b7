//! The devices that the kernel's device-mapper has made, as it tells of them
//! itself: no program is asked, no disk is read, and nothing here can hang on
//! a disk that is gone.
//!
//! The control device answers root alone. Where it cannot be asked, as in a
//! container, sysfs tells the same but for how often a device is open.

pub mod control;
mod message;
mod sysfs;
mod table;

use crate::host::absence::Absent;
use crate::host::block::Number;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;

pub use control::Control;
pub use table::{Prefix, Table};

use table::is_gone;

/// A way to ask the device-mapper.
#[derive(Debug)]
pub struct Mapper<'v> {
    view: &'v View,
    control: Option<Control>,
}

impl<'v> Mapper<'v> {
    /// The kernel's device-mapper, or the proof that it has none. It is not
    /// loaded by asking, as it would be by opening the control device.
    pub fn open(view: &'v View) -> Result<Result<Self, Absent>> {
        const DRIVERS: &str = "/proc/misc";
        let unknown = "cannot tell whether the kernel has a device-mapper";
        let drivers = view.read(DRIVERS).with_context(|| format!("{unknown}: {DRIVERS}"))?;
        if drivers.trim().is_empty() {
            bail!("{unknown}: {DRIVERS} is empty");
        }
        if drivers.lines().all(|line| line.split_whitespace().nth(1) != Some("device-mapper")) {
            return Ok(Err(Absent::seen("no device-mapper in the kernel")));
        }
        let control = if view.is_real() { Control::open() } else { Ok(None) };
        let control = control.context("cannot open /dev/mapper/control")?;
        Ok(Ok(Self { view, control }))
    }

    /// Hands the number, the name and the identity of each device to `each`
    /// whose name and identity begin so.
    pub fn devices(
        &self,
        prefix: Prefix<'_>,
        mut each: impl FnMut(Number, &str, &str),
    ) -> Result<()> {
        let mut count = 0;
        let fitting = |number, name: &str, uuid: &str| {
            if prefix.fits(name, uuid) {
                count += 1;
                each(number, name, uuid);
            }
        };
        match &self.control {
            Some(control) => control.devices(prefix, fitting),
            None => sysfs::devices(self.view, fitting),
        }
        .context("cannot list the device-mapper's devices")?;
        self.view.note(format_args!("device-mapper {prefix:?} = {count} devices"));
        Ok(())
    }

    /// What the device is made of; none if it has gone meanwhile.
    pub fn table(&self, device: Number) -> Result<Option<Table>> {
        let told = match &self.control {
            Some(control) => control.table(device).map(|(_, table)| table),
            None => sysfs::table(self.view, device),
        };
        match told {
            Ok(table) => Ok(Some(table)),
            Err(err) if is_gone(&err) => Ok(None),
            Err(err) => {
                Err(err).with_context(|| format!("cannot ask the device-mapper for {device}"))
            }
        }
    }

    /// The ways that a map of multipath's has to its disk, and whether each
    /// can be used.
    pub fn paths(&self, device: Number) -> Result<Vec<(Number, bool)>> {
        let told = match &self.control {
            Some(control) => control.paths(device),
            None => sysfs::table(self.view, device)
                .map(|table| table.beneath.into_iter().map(|path| (path, true)).collect()),
        };
        told.with_context(|| format!("cannot ask the device-mapper for the paths of {device}"))
    }

    /// The devices at the bottom: those that are not mapped to others. Of one
    /// that is not a mapped device, that is itself.
    pub fn bottom(&self, device: Number) -> Result<BTreeSet<Number>> {
        let mut bottom = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut left = vec![device];
        while let Some(device) = left.pop() {
            if !seen.insert(device) {
                continue;
            }
            match self.table(device)? {
                Some(table) => left.extend(table.beneath),
                None => drop(bottom.insert(device)),
            }
        }
        Ok(bottom)
    }

    /// The kinds of its segments, each once: `linear`, `raid`. Empty where
    /// that cannot be told.
    pub fn kinds(&self, device: Number) -> Result<Vec<String>> {
        match &self.control {
            Some(control) => control
                .kinds(device)
                .with_context(|| format!("cannot ask the device-mapper for {device}")),
            None => Ok(Vec::new()),
        }
    }
}

/// Removes a device that nobody has open, as lvm does once it knows that it
/// may. What lies beneath is not touched, and need not be there.
pub fn remove(system: &System<'_>, device: Number) -> Result<()> {
    let control = Control::open().context("cannot open /dev/mapper/control")?;
    let Some(control) = control else { bail!("there is no /dev/mapper/control for us") };
    let removed = control.remove(device);
    system.note(format_args!("device-mapper remove {device} = {removed:?}"));
    match removed {
        Err(err) if !is_gone(&err) => {
            Err(err).with_context(|| format!("cannot remove the mapped device {device}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
