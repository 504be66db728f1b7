//! What will hurt at the next failover, and can be told before.

use super::Access;
use super::Lvm;
use super::backing::{self, DRBD};
use super::duplicate::{self, Reported};
use super::look::State;
use super::names::disk_name;
use crate::advice::{constraints, haresources, visibility};
use common::View;
use common::host::block::{self, Number};
use common::host::lvm::metadata;
use common::host::lvm::settings::Settings;

impl Lvm {
    pub(super) fn advise(&self, view: &View, state: &State) -> Vec<String> {
        let name = self.params.vgname.as_str();
        let mut warnings = Vec::new();
        let settings = match Settings::read(view) {
            Ok(settings) => settings,
            Err(err) => return vec![format!("{err:#}")],
        };
        if let Err(err) = self.suits_settings(&settings, &[]) {
            warnings.push(format!("{err:#}"));
        }
        match duplicate::ask(view, name) {
            Ok(Ok(found)) => self.advice_on_group(view, &settings, &found, &mut warnings),
            Ok(Err(why)) if state.is_active() => {
                warnings.push(format!("{name} is active, but lvm does not see it: {why}"));
            }
            Ok(Err(_)) => {}
            Err(err) => warnings.push(format!("{err:#}")),
        }
        let disks = self.disks(view, state);
        warnings.extend(seen_beneath(view, &settings, &disks));
        let names = disks.iter().filter_map(|disk| block::name(view, *disk));
        warnings.extend(names.filter_map(|name| visibility::multipath(view, &name)));
        warnings.extend(order(view, name, &disks).filter(|_| state.is_active()));
        warnings.extend(early(view, name, &disks));
        warnings.extend(unordered(view, name, &disks));
        warnings
    }

    fn advice_on_group(
        &self,
        view: &View,
        settings: &Settings,
        Reported { group, duplicates, .. }: &Reported,
        warnings: &mut Vec<String>,
    ) {
        let name = &group.name;
        let guarded = matches!(self.access, Access::SystemId | Access::Lvmlockd(_));
        warnings.extend(visibility::autoactivation(settings, group).filter(|_| !guarded));
        warnings.extend(duplicates.iter().map(|duplicate| duplicate.warning(name)));
        let missing = group.missing().count();
        if missing > 0 {
            warnings.push(format!("{name} misses {missing} of its disks"));
        }
        if let Err(err) = self.claim(view, settings, group) {
            warnings.push(format!("{err:#}"));
        }
    }

    /// The group's disks: those beneath what is active, or where they were
    /// when this node last saw them.
    fn disks(&self, view: &View, state: &State) -> Vec<Number> {
        let seen: Vec<Number> = state.disks().collect();
        if !seen.is_empty() {
            return seen;
        }
        let copy = metadata::copy(view, self.params.vgname.as_str());
        let paths = copy.into_iter().flat_map(|copy| copy.disks);
        paths.filter_map(|path| block::number(view, path).ok().flatten()).collect()
    }
}

/// That the group and DRBD have an order in which they come and go.
fn order(view: &View, name: &str, disks: &[Number]) -> Option<String> {
    let drbd = disks.iter().find(|disk| disk.major == DRBD)?;
    let device = disk_name(view, *drbd);
    Some(format!(
        "{name} lies on {device}, and comes after its promotion and goes before its demotion: while a volume is \
         active, DRBD stays Primary"
    ))
}

/// That heartbeat activates the group before it promotes the DRBD beneath.
fn early(view: &View, name: &str, disks: &[Number]) -> Option<String> {
    let resources = visibility::resources_of(view, disks);
    haresources::misplaced(
        view,
        |word| resources.iter().any(|resource| word.promotes(resource)),
        |word| word.script() == "LVM" && word.argument() == name,
    )
}

/// That Pacemaker may activate the group before it promotes the DRBD beneath.
fn unordered(view: &View, name: &str, disks: &[Number]) -> Vec<String> {
    let resources = visibility::resources_of(view, disks);
    if resources.is_empty() {
        return Vec::new();
    }
    constraints::missing(
        view,
        |one| resources.iter().any(|resource| one.promotes(resource)),
        |one| {
            matches!(one.agent(), "LVM" | "LVM-activate")
                && (one.param("vgname") == name || one.param("volgrpname") == name)
        },
    )
}

/// Whether LVM may find a group on the disk beneath DRBD, where it must not
/// be touched.
fn seen_beneath(view: &View, settings: &Settings, disks: &[Number]) -> Option<String> {
    let drbd = disks.iter().find(|disk| disk.major == DRBD)?;
    let beneath = backing::beneath(view, *drbd);
    let known: Vec<bool> =
        beneath.iter().filter_map(|disk| visibility::looks_at(view, disk)).collect();
    let is_seen = match known.is_empty() {
        false => known.contains(&true),
        // Where DRBD or lvm do not tell, no filter at all is seen by anybody.
        true => {
            let admits_all = |name: &str| {
                let list = settings.list(name).unwrap_or_default();
                !list.iter().any(|pattern| pattern.starts_with('r'))
            };
            admits_all("filter")
                && admits_all("global_filter")
                && !settings.is_on("use_devicesfile")
        }
    };
    is_seen.then(|| {
        let device = disk_name(view, *drbd);
        format!(
            "LVM looks also at the disk beneath {device} and may activate the group from there: set global_filter = \
             [ \"a|^/dev/drbd|\", \"r|.*|\" ] in lvm.conf, or reject the disk"
        )
    })
}
