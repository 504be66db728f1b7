//! The way up.

use super::device::Found;
use super::{Backing, Check, Filesystem, State, fstype, jfs};
use anyhow::{Context, Result, anyhow, bail};
use common::host::mount::{Mount, Table, attach, quota};
use common::host::systemd;
use common::{Plan, System, View, configured, installed, unless_silent};
use std::ffi::OsString;
use std::path::Path;

impl Filesystem {
    pub(super) fn bring_up<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        match from {
            State::Mounted(_) => return Ok(Plan::new()),
            State::Foreign(other, _) => bail!("{}", self.foreign(other)),
            State::Failed(_, why) | State::Lingering(why) | State::HeldElsewhere(why) => {
                bail!("{why}; stop it first")
            }
            State::Unmounted(_) => {}
        }
        let table = Table::read(view)?;
        let directory = table.resolve(view, &self.params.directory)?;
        let shown = directory.display();
        let below = |other: &Path| other != directory && other.starts_with(&directory);
        if let Some(other) = table.iter().find(|mount| below(&mount.directory)) {
            let place = other.directory.display();
            bail!("{} is mounted on {place}, below {shown}; unmount it first", other.what());
        }
        let mut plan = Plan::new();
        self.plan_support(view, &mut plan)?;
        self.plan_source(view, &mut plan)?;
        if self.kind.backing == Backing::Server && systemd::is_running(view) {
            plan.step("have the cluster stopped before the network file systems", |system| {
                systemd::stop_cluster_before(system, "99-Filesystem-remote", "remote-fs.target")
            });
        }
        if matches!(view.exists(&directory), Ok(false)) {
            let directory = directory.clone();
            plan.step(format!("make the directory {shown}"), move |system| {
                let made = system.make_dir(&directory);
                made.context("cannot make the mount point")
                    .map_err(|err| unless_silent(err, installed))
            });
        } else if !view.is_dir(&directory)? {
            return Err(installed(format!("{shown} is not a directory to mount on")));
        }
        let through = attach::needs_program(view, self.kind.name.as_deref(), self.option_text());
        let through = through.map(|why| format!(" through mount(8), since {why}"));
        let through = through.unwrap_or_default();
        plan.step(format!("mount {} on {shown}{through}", self.device()), move |system| {
            self.mount(system, &directory)
        });
        Ok(plan)
    }

    fn plan_support<'a>(&'a self, view: &View, plan: &mut Plan<'a>) -> Result<()> {
        if let Some(module) = self.kind.is_supported(view)? {
            plan.step(format!("load the kernel module {module}"), move |system| {
                load(system, module)
            });
        }
        Ok(())
    }

    /// What is to be mounted has to be there, checked if it needs to be.
    fn plan_source<'a>(&'a self, view: &View, plan: &mut Plan<'a>) -> Result<()> {
        match self.kind.backing {
            Backing::Server | Backing::Name => return Ok(()),
            Backing::Bind | Backing::Image => {
                let path = self.device().node().unwrap_or_default();
                let fits = match self.kind.backing {
                    Backing::Bind => view.is_dir(&path)?,
                    _ => view.exists(&path)?,
                };
                return match (fits, self.kind.backing) {
                    (true, _) => Ok(()),
                    (false, Backing::Bind) => {
                        Err(installed(format!("there is no directory {} to bind", self.device())))
                    }
                    (false, _) => {
                        Err(installed(format!("the image {} is not there", self.device())))
                    }
                };
            }
            Backing::Device => {}
        }
        let found = self.device().search(view)?;
        if found.is_none() {
            if !is_udev_busy(view) {
                return Err(installed(format!("the device {} is not there", self.device())));
            }
            plan.step(format!("wait for the device {}", self.device()), |system| {
                self.await_device(system)
            });
        }
        let wanted = match self.params.run_fsck {
            Check::Force => true,
            Check::No => false,
            Check::Auto => self.kind.wants_check(),
        };
        if wanted {
            plan.step(format!("check the file system on {}", self.device()), |system| {
                self.check(system)
            });
        }
        Ok(())
    }

    fn await_device(&self, system: &System<'_>) -> Result<()> {
        let appeared = system.until("the device", || {
            if self.device().find(system)?.is_some() || !is_udev_busy(system) {
                return Ok(Ok(()));
            }
            Ok(Err("udev at work".into()))
        });
        appeared.and_then(|()| self.found(system)).map(drop)
    }

    fn found(&self, view: &View) -> Result<Found> {
        let found = self.device().search(view)?;
        found.ok_or_else(|| installed(format!("the device {} is not there", self.device())))
    }

    fn check(&self, system: &System<'_>) -> Result<()> {
        let path = self.found(system)?.path;
        if self.kind.is_replayed_by_check() {
            let clean = jfs::is_clean(system, &path)?;
            match jfs::rehearse(system, &self.scratch_name()) {
                Err(err) if clean => system.warn(format_args!(
                    "after a power cut, {} will not start here: its journal will be needed, and \
                     {err:#}",
                    self.device()
                )),
                Err(err) => {
                    return Err(err.context(format!("the journal of {} is needed", self.device())));
                }
                Ok(()) => {}
            }
            if clean && self.params.run_fsck == Check::Auto {
                return Ok(());
            }
        }
        let program = match self.kind.name.as_deref() {
            Some(name) => format!("fsck.{name}"),
            None => "fsck".into(),
        };
        let output = system.change(&program, &["-p".into(), path.into_os_string()])?;
        if output.stdout.contains("logredo failed") {
            bail!(
                "{program} could not replay the journal of {} and has thrown it away: what was \
                 written last may be gone; look at it, then clean up the resource",
                self.device()
            );
        }
        // Below 4, no error is left on the file system.
        if output.code >= 4 {
            bail!("{program} of {} has failed: {}", self.device(), output.reason());
        }
        Ok(())
    }

    fn mount(&self, system: &System<'_>, directory: &Path) -> Result<()> {
        let source: OsString = match self.kind.backing {
            Backing::Device => self.found(system)?.path.into(),
            _ => self.device().source(),
        };
        let wanted = attach::Wanted {
            source: &source,
            directory,
            fstype: self.kind.name.as_deref(),
            options: self.option_text(),
        };
        if let Err(err) = attach::mount(system, wanted) {
            let what = format!("cannot mount {} on {}", self.device(), directory.display());
            let why = self.refusal(system, source.as_ref());
            return Err(match why.is_empty() {
                true => err.context(what),
                false => anyhow!("{what}: {err:#}: {}", why.join("; ")),
            });
        }
        let mount = self.uppermost(system)?;
        let mount =
            mount.ok_or_else(|| anyhow!("nothing is mounted on {}", directory.display()))?;
        if let Err(err) = self.remember(system, &mount) {
            system.warn(format_args!("{err:#}"));
        }
        if let Some(why) = self.uncounted(system, &mount) {
            system.warn(format_args!("{why}"));
        }
        Ok(())
    }

    /// That options ask for quotas, and nothing is counted: a sentence.
    pub(super) fn uncounted(&self, view: &View, mount: &Mount) -> Option<String> {
        let options = quota::in_vain(view, mount, self.option_text());
        (!options.is_empty()).then(|| {
            format!(
                "{} counts nothing on {}: the file system has no quota of its own, as tune2fs -O \
                 quota gives it, and quotaon has not been run",
                options.join(", "),
                mount.what()
            )
        })
    }

    fn option_text(&self) -> &str {
        self.params.options.as_deref().unwrap_or_default()
    }

    /// Whether the clones of a resource may have it mounted on several nodes.
    pub(super) fn may_be_cloned(&self) -> Result<()> {
        if self.request.clone.is_none() || self.kind.is_shared() {
            return Ok(());
        }
        let allowed = match self.kind.is_journalled() {
            true => self.params.force_clones,
            false => self.options.wants_read_only(),
        };
        if allowed {
            return Ok(());
        }
        let name = self.kind.name.as_deref().unwrap_or("the file system");
        Err(configured(format!(
            "{name} on {} cannot be cloned: two nodes that write would destroy it",
            self.device()
        )))
    }
}

/// Whether udev has events to deal with; a device's node may be among them.
fn is_udev_busy(view: &View) -> bool {
    view.exists("/run/udev/queue").unwrap_or(false)
}

/// modprobe knows what is forbidden and what goes by another name.
fn load(system: &System<'_>, module: &str) -> Result<()> {
    let output = system.change("modprobe", &[module])?;
    if !output.success() {
        let reason = output.reason();
        return Err(installed(format!("the kernel knows no file system {module}: {reason}")));
    }
    system.until(&format!("the kernel to know {module}"), || {
        Ok(fstype::is_known(system, module)?.then_some(()).ok_or_else(|| "it does not".into()))
    })
}
