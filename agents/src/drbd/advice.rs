//! What will be in the way of a failover, seen before it is: orders that hurt,
//! and others who take the disks.

use super::facts;
use crate::advice::constraints::{self, Primitive};
use crate::advice::haresources::{self, Word};
use crate::advice::visibility;
use crate::lvm::backing::DRBD;
use common::host::block::{self, Number};
use common::host::drbd::Resource;
use common::host::holders::{self, MULTIPATH};
use common::host::lvm::settings::Settings;
use common::host::lvm::{metadata, report};
use common::{Fact, View};
use std::path::{Path, PathBuf};

/// A fact for each thing that a person should know.
pub fn advice(view: &View, resource: &Resource) -> Vec<Fact> {
    let mut found: Vec<String> = facts::parting(resource).into_iter().map(|parting| {
        let name = &resource.name;
        format!("{parting}: where the data may be lost, drbdadm connect --discard-my-data {name}, and on the other node drbdadm connect {name}")
    }).collect();
    for volume in &resource.volumes {
        let Some(minor) = volume.minor else { continue };
        let device = format!("drbd{minor}");
        found.extend(visibility::multipath(view, &device));
        if resource.is_primary() {
            found.extend(above(view, &device));
        }
        found.extend(volume.backing.iter().flat_map(|disk| below(view, disk, &device)));
        found.extend(by_itself(view, Number { major: DRBD, minor }));
        found.extend(early(view, &resource.name, &device));
    }
    found.extend(unordered(view, resource));
    found.into_iter().map(|advice| Fact::new("advice", advice)).collect()
}

/// What uses the device has to go before a demotion, and nothing else.
fn above(view: &View, device: &str) -> Vec<String> {
    let users = holders::of_device(view, device);
    let users = users.into_iter().filter(|user| !user.starts_with(MULTIPATH));
    let clause =
        |user| format!("{user} has to be stopped before a demotion: it uses /dev/{device}");
    users.map(clause).collect()
}

/// The disk below is DRBD's own. Whoever else takes it keeps DRBD from it, or
/// writes past it.
fn below(view: &View, disk: &str, device: &str) -> Vec<String> {
    let name = Path::new(disk).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = match block::number(view, disk) {
        Ok(Some(number)) => block::name(view, number).unwrap_or(name),
        _ => name,
    };
    let mut found: Vec<String> = visibility::multipath(view, &name).into_iter().collect();
    let taken = holders::above(view, &name);
    let volume = taken.iter().find(|user| user.starts_with("logical volume"));
    found.extend(match volume {
        Some(volume) => Some(format!(
            "{volume} is active on {disk}, below /dev/{device}: deactivate it, and reject {disk} in LVM's global_filter"
        )),
        None if visibility::looks_at(view, Path::new(disk)) == Some(true) => Some(format!(
            "LVM looks at {disk} too: reject it in global_filter, or a volume group on /dev/{device} is seen twice"
        )),
        None => None,
    });
    found
}

/// What heartbeat starts before it promotes the resource, and lies on it.
fn early(view: &View, resource: &str, device: &str) -> Option<String> {
    let path = Path::new("/dev").join(device);
    let lies_here = |word: Word<'_>| match word.script() {
        "lvm2" => true,
        "LVM" => metadata::copy(view, word.argument()).is_some_and(|it| it.disks.contains(&path)),
        "Filesystem" => Path::new(word.argument()) == path,
        _ => false,
    };
    haresources::misplaced(view, |word| word.promotes(resource), lies_here)
}

/// What Pacemaker may start before it promotes the resource, and lies on it.
fn unordered(view: &View, resource: &Resource) -> Vec<String> {
    let minors = resource.volumes.iter().filter_map(|volume| volume.minor);
    let paths: Vec<PathBuf> = minors.map(|minor| format!("/dev/drbd{minor}").into()).collect();
    let holds = |group: &str| {
        metadata::copy(view, group).is_some_and(|it| it.disks.iter().any(|it| paths.contains(it)))
    };
    let lies_here = |one: Primitive<'_>| match one.agent() {
        "LVM" => holds(one.param("volgrpname")) || holds(one.param("vgname")),
        "LVM-activate" => holds(one.param("vgname")),
        "Filesystem" => paths.iter().any(|path| path == Path::new(one.param("device"))),
        _ => false,
    };
    constraints::missing(view, |one| one.promotes(&resource.name), lies_here)
}

/// Groups on the device that come up without the cluster as soon as it is
/// promoted, and are in the way of its demotion.
fn by_itself(view: &View, device: Number) -> Vec<String> {
    let (Ok(settings), Ok(groups)) = (Settings::read(view), report::groups(view)) else {
        return Vec::new();
    };
    let path = Path::new("/dev").join(format!("drbd{}", device.minor));
    let lies_here = |group: &&report::Group| {
        group.disks.iter().any(|disk| disk.path == path || disk.number == Some(device))
    };
    let ours = groups.iter().filter(lies_here);
    ours.filter_map(|group| visibility::autoactivation(&settings, group)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use common::host::drbd::{self, Found};
    use std::time::Duration;

    const SETTINGS: &str = "event_activation=1";
    const GROUP: &str = r#"{"report":[{"vg":[{"vg_name":"web","vg_uuid":"x","vg_autoactivation":"enabled"}],"pv":[{"pv_name":"/dev/drbd1"}]}]}"#;

    fn machine(role: &str) -> Fake {
        let fake = Fake::nine(&format!(
            "exists resource name:r1 role:{role} suspended:no\n\
             exists device name:r1 volume:0 minor:1 backing_dev:/dev/sdb disk:UpToDate client:no quorum:yes\n\
             exists -\n"
        ));
        fake.program("lvm", "cat answers/$1 2>/dev/null || exit 5");
        fake.file("/answers/lvmconfig", SETTINGS).file("/answers/fullreport", GROUP);
        fake.file("/answers/pvs", r#"{"report":[{"pv":[{"pv_name":"/dev/drbd1"}]}]}"#);
        fake.file("/sys/class/block/drbd1/dev", "147:1\n").file("/proc/self/mountinfo", "");
        fake
    }

    fn said(fake: &Fake) -> String {
        let view = fake.view(Duration::from_secs(20));
        let Found::Configured(resource) = drbd::find(&view, "r1").unwrap() else { panic!() };
        let facts = super::advice(&view, &resource);
        facts.into_iter().map(|fact| fact.seen).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_group_that_is_active_above_is_in_the_way_of_a_demotion() {
        let volume = |fake: &Fake| {
            fake.file("/sys/class/block/drbd1/holders/dm-0", "")
                .file("/sys/class/block/dm-0/dm/name", "web-root\n")
                .file("/sys/class/block/dm-0/dm/uuid", "LVM-x\n");
            said(fake)
        };
        let wanted = "logical volume web/root has to be stopped before a demotion";
        assert!(volume(&machine("Primary")).contains(wanted));
        assert!(!volume(&machine("Secondary")).contains(wanted));
    }

    #[test]
    fn autoactivation_is_told_of_unless_it_is_off() {
        let fake = machine("Primary");
        assert!(said(&fake).contains("LVM activates web by itself"));
        fake.file("/answers/fullreport", &GROUP.replace("enabled", ""));
        assert_eq!(said(&fake), "");
        fake.file("/answers/fullreport", GROUP);
        for off in ["event_activation=0", "event_activation=1\nauto_activation_volume_list=[]"] {
            fake.file("/answers/lvmconfig", off);
            assert_eq!(said(&fake), "", "{off}");
        }
    }

    #[test]
    fn the_disk_that_lvm_sees_besides_drbd_is_told_of() {
        let fake = machine("Secondary");
        fake.file("/answers/lvmconfig", "event_activation=0");
        assert_eq!(said(&fake), "");
        fake.file("/answers/pvs", r#"{"report":[{"pv":[{"pv_name":"/dev/sdb"}]}]}"#);
        assert!(said(&fake).contains("LVM looks at /dev/sdb too: reject it in global_filter"));
        fake.file("/sys/class/block/sdb/holders/dm-0", "")
            .file("/sys/class/block/dm-0/dm/name", "web-root\n")
            .file("/sys/class/block/dm-0/dm/uuid", "LVM-x\n");
        assert!(said(&fake).contains("logical volume web/root is active on /dev/sdb, below"));
    }

    #[test]
    fn what_heartbeat_starts_too_early_is_told_of() {
        let fake = machine("Secondary");
        fake.file("/answers/lvmconfig", "event_activation=0");
        fake.file("/etc/lvm/backup/web", "web {\n id = \"x\"\n physical_volumes {\n  pv0 {\n   device = \"/dev/drbd1\"\n  }\n }\n}\n");
        let told = |line: &str| {
            fake.file("/etc/ha.d/haresources", line);
            said(&fake)
        };
        assert_eq!(told("node1 drbddisk::r1 LVM::web\n"), "");
        assert_eq!(told("node1 LVM::local drbddisk::r1\n"), "");
        for early in ["LVM::web", "lvm2", "Filesystem::/dev/drbd1::/srv"] {
            let said = told(&format!("node1 {early} drbddisk::r1\n"));
            assert!(said.contains(&format!("has {early} before drbddisk::r1")), "{said}");
        }
    }

    #[test]
    fn multipath_is_told_of_above_and_below() {
        for (device, place) in [("drbd1", "Primary"), ("sdb", "Secondary")] {
            let fake = machine(place);
            fake.file("/answers/lvmconfig", "event_activation=0");
            fake.file(&format!("/sys/class/block/{device}/holders/dm-0"), "")
                .file("/sys/class/block/dm-0/dm/name", "mpatha\n")
                .file("/sys/class/block/dm-0/dm/uuid", "mpath-360a98\n");
            let wanted = format!(
                "multipath has taken /dev/{device} as mpatha: blacklist it in multipath.conf"
            );
            assert_eq!(said(&fake), wanted);
        }
    }
}
