//! What LVM does and sees without being asked, and should not where DRBD is.

use crate::lvm::backing::DRBD;
use common::View;
use common::host::block::{self, Number};
use common::host::drbd;
use common::host::holders::{self, MULTIPATH};
use common::host::lvm::report::{self, Group};
use common::host::lvm::settings::Settings;
use std::path::{Path, PathBuf};

/// Whether LVM looks at the disk; none if it cannot tell.
pub(crate) fn looks_at(view: &View, disk: &Path) -> Option<bool> {
    let seen = match report::looked_at(view) {
        Ok(seen) => seen,
        Err(err) => {
            view.note(format_args!("{err:#}"));
            return None;
        }
    };
    let number = |path: &Path| block::number(view, path).ok().flatten();
    let ours = number(disk);
    let same = |path: &PathBuf| path == disk || (ours.is_some() && number(path) == ours);
    Some(seen.iter().any(same))
}

/// The DRBD resources that the disks belong to, as far as the kernel tells.
pub(crate) fn resources_of(view: &View, disks: &[Number]) -> Vec<String> {
    let minors: Vec<u32> =
        disks.iter().filter(|disk| disk.major == DRBD).map(|disk| disk.minor).collect();
    if minors.is_empty() {
        return Vec::new();
    }
    let is_ours = |resource: &drbd::Resource| {
        let mut known = resource.volumes.iter().filter_map(|volume| volume.minor);
        known.any(|minor| minors.contains(&minor))
    };
    let resources = drbd::known(view);
    resources.into_iter().filter(is_ours).map(|resource| resource.name).collect()
}

/// That LVM activates the group by itself, if it does.
pub(crate) fn autoactivation(settings: &Settings, group: &Group) -> Option<String> {
    let name = &group.name;
    let does = group.autoactivation != Some(false)
        && settings.lets_autoactivate(name)
        && !settings.shuts_out(name, &group.tags);
    does.then(|| {
        format!(
            "LVM activates {name} by itself wherever it sees the disks, as at boot and where DRBD is \
             promoted: lvm vgchange --setautoactivation n {name}"
        )
    })
}

/// That multipath has its hands on the device of this name, if it has.
pub(crate) fn multipath(view: &View, device: &str) -> Option<String> {
    let maps = holders::above(view, device);
    let map = maps.iter().find_map(|user| user.strip_prefix(MULTIPATH))?;
    Some(format!("multipath has taken /dev/{device} as {map}: blacklist it in multipath.conf"))
}
