//! How a resource comes up: module, devices, disks, connections.

use super::Drbd;
use super::connection::until_connected;
use super::params::Version;
use anyhow::{Context, Result, anyhow, ensure};
use common::host::drbd::config::{self, Section};
use common::host::drbd::tool::{self, Admin};
use common::host::drbd::{self, DiskState, Found};
use common::{System, View, installed};
use std::time::Duration;

/// How often disks are attached before it is given up.
const ATTACH_TRIES: u32 = 2;

impl Drbd {
    /// Checks that the configuration has the resource, and how it is addressed.
    pub(super) fn checked_admin(&self, view: &View) -> Result<Admin> {
        let admin = self.admin(view);
        let asked = admin.query(view, &["sh-dev"])?;
        if asked.success() {
            return Ok(admin);
        }
        let name = admin.name().to_owned();
        if !admin.is_stacked() {
            let stacked = admin.stacked();
            if stacked.query(view, &["sh-dev"])?.success() {
                return Ok(stacked);
            }
        }
        let why = tool::complaint(&asked);
        Err(installed(format!("the configuration here lacks resource {name}: {why}")))
    }

    /// Checks that the configuration lets two nodes write, where the cluster will.
    pub(super) fn check_dual_primary(admin: &Admin, view: &View) -> Result<()> {
        // The dump of one resource lacks what it has from the section `common`.
        let dumped = admin.query_all(view, &["dump"])?;
        ensure!(dumped.success(), "drbdadm dump all: {}", tool::complaint(&dumped));
        let parsed = config::parse(&dumped.stdout).context("cannot read what drbdadm dumps")?;
        match allows_two(&parsed, admin.name()) {
            true => Ok(()),
            false => Err(installed(format!(
                "promoted-max is 2, but the configuration of {} lacks allow-two-primaries",
                admin.name()
            ))),
        }
    }

    /// Checks the module's version against the window that the parameters set.
    pub(super) fn check_version(&self, view: &View) -> Result<()> {
        drbd::version(view)?;
        let release = drbd::release(view)?;
        let version = Version::of_release(&release)
            .ok_or_else(|| anyhow!("the module's version {release} makes no sense"))?;
        let (oldest, too_new) = self.version_window();
        if version < oldest || version >= too_new {
            return Err(installed(format!(
                "the DRBD module {release} is not one that is asked for"
            )));
        }
        self.cluster.check_peers((version.0, version.1))
    }

    /// Loads the module with the parameters that the configuration asks for.
    pub(super) fn load_module(system: &System<'_>) -> Result<()> {
        let asked = system.query("drbdadm", &["sh-mod-parms"]);
        let options = asked.map(|asked| asked.stdout).unwrap_or_default();
        let mut words = vec!["drbd"];
        words.extend(options.split_whitespace());
        let done = system.change("modprobe", &words)?;
        let why = match done.success() {
            true if drbd::is_loaded(system)? => return Ok(()),
            true => "modprobe was content, and it is not there".into(),
            false => done.reason(),
        };
        Err(installed(format!("cannot load the module drbd: {why}")))
    }

    /// Creates the devices and attaches the disks, from whatever is there already,
    /// and unless it is to wait for a promotion connects to the peers.
    pub(super) fn bring_up(&self, system: &System<'_>, admin: &Admin) -> Result<()> {
        check_size(system, admin);
        let attempt = || match (self.params.connect_only_after_promote, is_nine(system)) {
            (false, false) => admin.change(system, &["adjust"]),
            (true, false) => attach_only(system, admin),
            (is_lonely, true) => {
                admin.change(system, &["adjust", "--skip-net"])?;
                if is_lonely { Ok(()) } else { self.connect(system, admin) }
            }
        };
        tool::persist(system, ATTACH_TRIES, attempt, |_| Ok(true))?;
        await_nodes(system, admin.name())
    }

    /// First to the peer that the cluster has promoted: its data decide.
    fn connect(&self, system: &System<'_>, admin: &Admin) -> Result<()> {
        for peer in self.cluster.promoted_elsewhere() {
            if let Err(err) = admin.change_peer(system, "adjust", peer) {
                system.warn(format_args!("cannot connect to {peer} first: {err:#}"));
            }
            self.await_peers(system, Some(peer));
        }
        admin.change(system, &["adjust"])
    }

    /// Waits for the peers, or the one of this name, as long as the parameters say.
    pub(super) fn await_peers(&self, view: &View, name: Option<&str>) {
        let limit = Duration::from_secs(self.params.wfc_timeout.0.into());
        until_connected(view, &self.params.drbd_resource.0, name, limit);
    }
}

fn allows_two(config: &Section, resource: &str) -> bool {
    let said = config.resource(resource).and_then(two_primaries);
    said.or_else(|| config.common().and_then(two_primaries)).unwrap_or(false)
}

/// What a section, or one in it, says of two primaries, if it says anything.
fn two_primaries(section: &Section) -> Option<bool> {
    let mut words = section.statements.iter().filter(|words| words[0] == "allow-two-primaries");
    let own = words.next().map(|words| words.get(1).is_none_or(|value| value != "no"));
    own.or_else(|| section.sections.iter().find_map(two_primaries))
}

/// A disk that has grown while DRBD was down has DRBD's own data in the middle
/// of it, and does not attach before they are moved to its end.
pub(crate) fn check_size(system: &System<'_>, admin: &Admin) {
    let has_disk = match drbd::find(system, admin.name()) {
        Ok(Found::Configured(known)) => known.volumes.iter().any(|v| v.disk != DiskState::Diskless),
        _ => false,
    };
    if has_disk {
        return;
    }
    // DRBD 9 does so by itself, and refuses; what is wrong with a disk, the
    // attaching that follows will say.
    if let Err(err) = admin.change(system, &["check-resize"]) {
        system.note(format_args!("{err:#}"));
    }
}

pub(super) fn is_nine(view: &View) -> bool {
    drbd::version(view).is_ok_and(|version| version >= (9, 0))
}

/// 8.4 has no way to leave out the network in one go.
fn attach_only(system: &System<'_>, admin: &Admin) -> Result<()> {
    let found = drbd::find(system, admin.name())?;
    let has_volumes = matches!(&found, Found::Configured(known) if !known.volumes.is_empty());
    if !has_volumes {
        admin.change(system, &["new-resource"])?;
        admin.change(system, &["new-minor"])?;
    }
    admin.change(system, &["attach"])
}

/// udev makes the device nodes, some time after the devices.
fn await_nodes(view: &View, name: &str) -> Result<()> {
    view.until(&format!("the device nodes of {name}"), || {
        let Found::Configured(resource) = drbd::find(view, name)? else {
            return Ok(Err("no resource in the kernel".into()));
        };
        let nodes = resource.volumes.iter().filter_map(|volume| volume.minor);
        for node in nodes.map(|minor| format!("/dev/drbd{minor}")) {
            if !view.exists(&node)? {
                return Ok(Err(format!("no {node}")));
            }
        }
        Ok(Ok(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_primaries_are_allowed_in_several_spellings() {
        let allows = |text: &str| allows_two(&config::parse(text).unwrap(), "r");
        assert!(allows("resource r { net { allow-two-primaries; } }"));
        assert!(allows("resource r { net { protocol C; allow-two-primaries yes; } }"));
        assert!(!allows("resource r { net { allow-two-primaries no; } }"));
        assert!(!allows("resource r { net { protocol C; } }"));
    }

    #[test]
    fn two_primaries_may_be_allowed_to_all_resources_at_once() {
        let common = "common { net { allow-two-primaries yes; } }";
        let allows =
            |rest: &str| allows_two(&config::parse(&format!("{common} {rest}")).unwrap(), "r");
        assert!(allows("resource r { on a { disk /dev/b; } }"));
        assert!(!allows("resource r { net { allow-two-primaries no; } }"));
        let other = "resource q { net { allow-two-primaries; } } resource r { net { } }";
        assert!(!allows_two(&config::parse(other).unwrap(), "r"));
    }
}
