//! What will be in the way of a failover, seen before it is: orders that hurt,
//! and others who take the disks.

use common::host::drbd::Resource;
use common::host::holders::{self, MULTIPATH};
use common::{Fact, View};

/// A fact for each thing that a person should know.
pub fn hints(view: &View, resource: &Resource) -> Vec<Fact> {
    let mut found = Vec::new();
    for volume in &resource.volumes {
        let Some(device) = volume.minor.map(|minor| format!("drbd{minor}")) else { continue };
        found.extend(above(view, &device, resource.is_primary()));
        let backing = volume.backing.as_deref().and_then(|disk| disk.strip_prefix("/dev/"));
        found.extend(backing.into_iter().filter_map(|disk| below(view, disk, &device)));
    }
    found.into_iter().map(|hint| Fact::new("hint", hint)).collect()
}

/// What uses the device has to go before a demotion, and nothing else.
fn above(view: &View, device: &str, is_primary: bool) -> Vec<String> {
    let users = if is_primary { holders::of_device(view, device) } else { Vec::new() };
    let hint = |user: String| match user.starts_with(MULTIPATH) {
        true => {
            format!("multipath has taken /dev/{device} ({user}): blacklist drbd in multipath.conf")
        }
        false => format!("{user} has to be stopped before a demotion: it uses /dev/{device}"),
    };
    users.into_iter().map(hint).collect()
}

/// The disk below is DRBD's own; LVM that finds its volume group there too may
/// activate it past DRBD.
fn below(view: &View, disk: &str, device: &str) -> Option<String> {
    let taken = holders::above(view, disk);
    let volume = taken.iter().find(|user| user.starts_with("logical volume"));
    if let Some(volume) = volume {
        return Some(format!(
            "{volume} is active on /dev/{disk}, below /dev/{device}: deactivate it, and reject /dev/{disk} in LVM's global_filter"
        ));
    }
    view.read("/etc/lvm/lvm.conf").ok()?;
    let is_filtered = ["/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf"].iter().any(|file| {
        let text = view.read(file).unwrap_or_default();
        let told = text.lines().filter_map(|line| line.split('#').next());
        told.into_iter().any(|line| line.contains("filter"))
    });
    (!is_filtered && !disk.starts_with("mapper/")).then(|| {
        format!("LVM looks at /dev/{disk} too: reject it in global_filter, or a volume group on /dev/{device} is seen twice")
    })
}
