//! How a guest is brought up.

use super::VirtualDomain;
use super::config;
use super::look::{Found, State};
use super::record::Record;
use anyhow::{Result, bail, ensure};
use common::host::libvirt::{self, Condition, Connection, Daemon, Definition, Identity, Pause};
use common::host::systemd;
use common::{Agent, Fact, Plan, Status, System, View, installed, unless_silent};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// libvirt's own directory, in which a guest's file goes when the guest is
/// undefined.
const LIBVIRTS_OWN: &str = "/etc/libvirt";

/// What has to outlast the cluster when the machine goes down.
const AFTER: &str = "libvirtd.service virtqemud.service virt-guest-shutdown.target";

impl VirtualDomain {
    /// What would be started.
    pub(super) fn prospects(&self, view: &View) -> Result<Definition> {
        let definition = view.patiently(|| self.definition(view));
        let definition = definition.map_err(|err| unless_silent(err, installed))?;
        view.program("virsh")?;
        if self.params.sync_config_on_stop {
            view.program("csync2")?;
        }
        Ok(definition)
    }

    pub(super) fn plan_start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        self.refuse_what_is_there(from)?;
        let definition = self.prospects(view)?;
        if definition.identity != from.meant {
            // Where the definition could not be read before, another was looked for.
            let anew = self.observe(view)?;
            if self.status(&anew).is_active() {
                return Ok(self.plan_note(&anew));
            }
            self.refuse_what_is_there(&anew)?;
        }
        let (name, identity) = (definition.identity.name.clone(), definition.identity.clone());
        let mut plan = Plan::new();
        plan.step("have the cluster stopped before libvirt", outlast);
        if self.params.start_resources {
            let words = format!("start the pools and networks of {name}");
            let (pools, networks) = (definition.pools, definition.networks);
            plan.step(words, move |system| {
                config::start_resources(system, &self.hypervisor().to_string(), &pools, &networks)
            });
        }
        let memory = self.memory(&name);
        if let Some(memory) = memory.filter(|memory| view.exists(memory).unwrap_or(false)) {
            let shown = memory.display().to_string();
            plan.step(format!("go on from {shown}"), move |system| {
                self.restore(system, &identity, &memory)
            });
            return Ok(plan);
        }
        plan.step(format!("forget what libvirt has defined as {name}"), {
            let identity = identity.clone();
            move |system| self.undefine(system, &identity)
        });
        let config = self.params.config.as_os_str();
        match &self.params.backingfile {
            None => {
                plan.step(format!("start {name}"), move |system| self.create(system, &identity))
            }
            Some(backing) => {
                plan.step(format!("start {name} from {}", backing.display()), move |system| {
                    let is_new =
                        config::make_image(system, backing, &self.image(), self.params.stateless)?;
                    let defined =
                        libvirt::virsh(system, self.hypervisor(), &["define".as_ref(), config])?;
                    ensure!(defined.success(), "cannot define {name}: {}", defined.reason());
                    if let Some(directories) = self.params.copyindirs.as_deref().filter(|_| is_new)
                    {
                        config::copy_in(system, &name, directories)?;
                    }
                    self.tell(system, &identity, &["start".as_ref(), OsStr::new(&name)])?;
                    self.await_guest(system, &identity)
                })
            }
        };
        Ok(plan)
    }

    fn refuse_what_is_there(&self, state: &State) -> Result<()> {
        if let Found::Guest(_) = state.found {
            let status = state.status(self.params.on_io_error);
            bail!("the guest is there, and {status}: it has to be stopped first");
        }
        Ok(())
    }

    /// Starts the guest of a group, which has neither an image that is made for it nor
    /// memory that was saved.
    pub(crate) fn start_alone(&self, system: &System<'_>) -> Result<()> {
        let identity = self.prospects(system)?.identity;
        self.undefine(system, &identity)?;
        self.create(system, &identity)
    }

    fn create(&self, system: &System<'_>, identity: &Identity) -> Result<()> {
        self.tell(system, identity, &["create".as_ref(), self.params.config.as_os_str()])?;
        self.await_guest(system, identity)
    }

    /// Goes on from the memory that was saved, once. After that the disks are
    /// others than it knows them: it has another name before it is used.
    fn restore(&self, system: &System<'_>, identity: &Identity, memory: &Path) -> Result<()> {
        let used = memory.with_extension("used");
        config::rename(system, memory, &used)?;
        if let Err(err) = self.tell(system, identity, &["restore".as_ref(), used.as_os_str()]) {
            if self.is_gone(system) {
                config::rename(system, &used, memory)?;
            }
            return Err(err);
        }
        self.await_guest(system, identity)?;
        config::remove(system, &used)
    }

    /// Has virsh tell the daemon to bring the guest up. Before that it is noted
    /// which daemon was told: it may do so later, though virsh has been killed.
    fn tell(&self, system: &System<'_>, identity: &Identity, words: &[&OsStr]) -> Result<()> {
        let hypervisor = self.hypervisor();
        // Where the service manager listens for it, this is what starts it.
        Connection::open(system, hypervisor, system.deadline())?;
        let told = Daemon::find(system, hypervisor)?;
        let (process, resumed) = (None, None);
        let mut record = Record { identity: identity.clone(), process, told, resumed };
        self.note(system, &record)?;
        let done = libvirt::virsh(system, hypervisor, words)?;
        // It has answered: nothing of it is on its way any more.
        record.told = None;
        self.note(system, &record)?;
        ensure!(done.success(), "cannot start {identity}: {}", done.reason());
        Ok(())
    }

    /// Waits until the guest runs, and what runs in it is well, and notes it.
    pub(super) fn await_guest(&self, system: &System<'_>, meant: &Identity) -> Result<()> {
        system.until(&format!("{meant} to run"), || {
            let state = self.look(system)?;
            let status = state.status(self.params.on_io_error);
            match (status.is_active(), state.seen()) {
                (true, Some(seen)) => self.note(system, &Record::of(seen)).map(Ok),
                _ => Ok(Err(status.to_string())),
            }
        })?;
        system.until("the monitor scripts to succeed", || match self.call_scripts(system) {
            Ok(()) => Ok(Ok(())),
            Err(err) if self.is_gone(system) => Err(err),
            Err(err) => Ok(Err(format!("{err:#}"))),
        })
    }

    pub(super) fn is_gone(&self, view: &View) -> bool {
        let status = |state: State| state.status(self.params.on_io_error);
        matches!(self.look(view).map(status), Ok(Status::Stopped(_)))
    }

    /// What libvirt has defined under the name would be started with the
    /// machine, whatever the cluster wants, and may have another UUID.
    fn undefine(&self, system: &System<'_>, identity: &Identity) -> Result<()> {
        let hypervisor = self.hypervisor();
        let known = || -> Result<Option<(String, Option<Condition>)>> {
            let mut line = Connection::open(system, hypervisor, system.deadline())?;
            let Ok(defined) = line.find(identity)? else { return Ok(None) };
            let condition = line.condition(&defined)?.ok();
            Ok(Some((defined.identity.name, condition)))
        };
        // Its process has ended, and the daemon may not have seen it yet. One
        // that was never defined is forgotten with that.
        let defined = system.until(&format!("libvirt to see that {identity} has ended"), || {
            Ok(match known()? {
                Some((name, Some(condition))) => Err(taken_for(condition, &name)),
                other => Ok(other),
            })
        })?;
        let Some((name, _)) = defined else { return Ok(()) };
        let words: &[&str] = match self.params.config.starts_with(LIBVIRTS_OWN) {
            true => &["autostart", "--disable", &name],
            false => &["undefine", "--keep-nvram", &name],
        };
        let done = libvirt::virsh(system, hypervisor, words)?;
        let is_done = done.success() || known()?.is_none();
        ensure!(is_done, "cannot {} {name}: {}", words[0], done.reason());
        Ok(())
    }

    /// Where the memory of the guest is saved.
    pub(super) fn memory(&self, name: &str) -> Option<PathBuf> {
        self.params.snapshot.as_ref().map(|home| home.join(format!("{name}.state")))
    }

    /// The image that is made from the backing file: beside the configuration,
    /// by whose name it is called, up to the first point.
    fn image(&self) -> PathBuf {
        let config = &self.params.config;
        let name = config.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.split('.').next().unwrap_or_default();
        config.with_file_name(format!("{stem}.qcow2"))
    }
}

/// What libvirt takes a guest for that has no process. A daemon that was killed
/// in a start, between noting the guest and giving it a process, leaves one to
/// the next daemon that no call of libvirt's ends: it waits there for a start
/// that nobody goes on with, and so does whoever calls (seen with 9.0).
fn taken_for(condition: Condition, name: &str) -> String {
    match condition {
        Condition::Paused(Pause::Starting) => format!(
            "that it takes it for starting: where libvirt's daemon was killed in a start it does \
             so for ever; stop the daemon, remove {}, start the daemon",
            libvirt::status_path(name)
        ),
        _ => "that it takes it for running".to_owned(),
    }
}

/// Has systemd stop the cluster before libvirt and before guests are ended.
pub(crate) fn outlast(system: &System<'_>) -> Result<()> {
    if !systemd::is_running(system) {
        return Ok(());
    }
    systemd::stop_cluster_before(system, "99-VirtualDomain-libvirt", AFTER)?;
    // What keeps guests from being ended by it waits for this one.
    if let Err(err) = systemd::start(system, &["virt-guest-shutdown.target"]) {
        system.warn(format_args!("{err:#}"));
    }
    Ok(())
}

/// What will be in the way one day.
pub(super) fn advice(agent: &VirtualDomain, view: &View) -> Vec<Fact> {
    let Ok(definition) = agent.definition(view) else { return Vec::new() };
    let goes_on =
        |disk: &&libvirt::Disk| matches!(disk.error_policy.as_deref(), Some("report" | "ignore"));
    let shown = |path: &Option<PathBuf>| {
        path.as_deref().unwrap_or(Path::new("a disk")).display().to_string()
    };
    let risky = definition.disks.iter().filter(goes_on).map(|disk| {
        let (path, policy) = (shown(&disk.path), disk.error_policy.as_deref().unwrap_or_default());
        Fact::new("advice", format!("{path} has error_policy={policy}: the guest goes on after an I/O error and may damage its file systems; stop pauses it"))
    });
    risky.collect()
}
