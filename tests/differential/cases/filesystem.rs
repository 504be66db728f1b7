//! Filesystem: what is mounted, what is refused, what each situation is taken
//! for, and what becomes of those who use it.

use crate::harness::Machine;
use crate::pair::Pair;

const LIFE: &[&str] = &["probe", "start", "monitor", "start", "status", "stop", "stop", "probe"];

/// An ext4 disk called DISK with a label, one called OTHER, and directories.
pub(super) fn one_disk(machine: &Machine) -> Vec<(String, String)> {
    disks(machine, "ext4")
}

fn disks(machine: &Machine, fstype: &str) -> Vec<(String, String)> {
    let disk = machine.formatted(fstype);
    let other = machine.formatted("ext4");
    let number = disk.path().trim_start_matches("/dev/loop").to_owned();
    // Other machines must not have the same: loop devices are seen by all.
    let label = format!("label-{number}");
    let uuid = format!("3f9a5a37-57c5-4a1f-9d3c-3c2d6a2b{:04}", number.parse::<u32>().unwrap());
    if fstype.starts_with("ext") {
        machine.must("tune2fs", &["-L", &label, "-U", &uuid, disk.path()]);
    }
    let directories =
        "mkdir -p /srv/source/below /srv/other /srv/data; echo text > /srv/source/file";
    machine.must("sh", &["-c", directories]);
    let names = [
        (label, "TESTLABEL".into()),
        (uuid, "TESTUUID".into()),
        (disk.path().to_owned(), "DISK".into()),
        (other.path().to_owned(), "OTHER".into()),
    ];
    machine.keep(disk);
    machine.keep(other);
    names.into()
}

pub(super) fn pairs() -> Vec<Pair> {
    [types(), refused(), situations(), users(), options(), clones(), actions()].concat()
}

fn pair(name: impl AsRef<str>) -> Pair {
    Pair::new(format!("Filesystem/{}", name.as_ref()), "Filesystem", "Filesystem")
        .scene(one_disk)
        .with(&[("signal_delay", "0.2")])
        .steps(LIFE)
}

fn on_disk(name: impl AsRef<str>) -> Pair {
    pair(name).with(&[("device", "DISK"), ("directory", "/srv/data"), ("fstype", "ext4")])
}

fn types() -> Vec<Pair> {
    let mut pairs = Vec::new();
    let scenes: &[(&str, crate::pair::Scene)] = &[
        ("ext2", |machine| disks(machine, "ext2")),
        ("ext3", |machine| disks(machine, "ext3")),
        ("ext4", |machine| disks(machine, "ext4")),
        ("xfs", |machine| disks(machine, "xfs")),
        ("btrfs", |machine| disks(machine, "btrfs")),
    ];
    for (fstype, scene) in scenes {
        let given = [("device", "DISK"), ("directory", "/srv/data"), ("fstype", *fstype)];
        pairs.push(pair(format!("type {fstype}")).scene(*scene).with(&given));
        let read_only = [given[0], given[1], given[2], ("options", "ro")];
        pairs.push(pair(format!("type {fstype}, read-only")).scene(*scene).with(&read_only));
    }
    let sources: &[(&str, &[(&str, &str)])] = &[
        ("tmpfs", &[("device", "tmpfs"), ("fstype", "tmpfs")]),
        ("tmpfs with a size", &[("device", "x"), ("fstype", "tmpfs"), ("options", "size=1m")]),
        ("bind", &[("device", "/srv/source"), ("fstype", "none"), ("options", "bind")]),
        (
            "bind of a file system type",
            &[("device", "/srv/source"), ("fstype", "ext4"), ("options", "bind")],
        ),
        ("bind, type empty", &[("device", "/srv/source"), ("fstype", ""), ("options", "bind")]),
        // No rbind: stopping one, the shell agent kills everything that uses the file system the
        // source is on, and whether that is itself first is a matter of luck.
        ("bind of nothing", &[("device", "/srv/nope"), ("fstype", "none"), ("options", "bind")]),
        ("by label", &[("device", "-LTESTLABEL"), ("fstype", "ext4")]),
        ("by label, apart", &[("device", "-L TESTLABEL"), ("fstype", "ext4")]),
        ("by LABEL=", &[("device", "LABEL=TESTLABEL"), ("fstype", "ext4")]),
        ("by UUID", &[("device", "-UTESTUUID"), ("fstype", "ext4")]),
        ("by UUID=", &[("device", "UUID=TESTUUID"), ("fstype", "ext4")]),
        ("by a label that nobody has", &[("device", "-Lnobody"), ("fstype", "ext4")]),
        (
            "overlay",
            &[
                ("device", "overlay"),
                ("fstype", "overlay"),
                ("options", "lowerdir=/srv/source:/srv/other"),
            ],
        ),
        ("no type", &[("device", "DISK")]),
        ("type empty", &[("device", "DISK"), ("fstype", "")]),
        ("type auto", &[("device", "DISK"), ("fstype", "auto")]),
    ];
    for (name, given) in sources {
        pairs.push(pair(format!("source {name}")).with(&[("directory", "/srv/data")]).with(given));
    }
    pairs
}

fn refused() -> Vec<Pair> {
    let table: &[(&str, &[(&str, &str)])] = &[
        ("nothing given", &[]),
        ("no device", &[("directory", "/srv/data"), ("fstype", "ext4")]),
        ("no directory", &[("device", "DISK"), ("fstype", "ext4")]),
        ("device empty", &[("device", ""), ("directory", "/srv/data"), ("fstype", "ext4")]),
        ("directory empty", &[("device", "DISK"), ("directory", ""), ("fstype", "ext4")]),
        ("directory is /", &[("device", "DISK"), ("directory", "/"), ("fstype", "ext4")]),
        (
            "directory is a file",
            &[("device", "DISK"), ("directory", "/srv/source/file"), ("fstype", "ext4")],
        ),
        (
            "directory below a file",
            &[("device", "DISK"), ("directory", "/srv/source/file/x"), ("fstype", "ext4")],
        ),
        (
            "directory is relative",
            &[("device", "DISK"), ("directory", "srv/data"), ("fstype", "ext4")],
        ),
        (
            "directory ends in /",
            &[("device", "DISK"), ("directory", "/srv/data/"), ("fstype", "ext4")],
        ),
        (
            "directory with ..",
            &[("device", "DISK"), ("directory", "/srv/../srv/data"), ("fstype", "ext4")],
        ),
        (
            "directory with a blank",
            &[("device", "DISK"), ("directory", "/srv/with blank"), ("fstype", "ext4")],
        ),
        (
            "directory ends in a blank",
            &[("device", "DISK"), ("directory", "/srv/data "), ("fstype", "ext4")],
        ),
        (
            "directory is not there",
            &[("device", "DISK"), ("directory", "/srv/a/b/c"), ("fstype", "ext4")],
        ),
        (
            "device is not there",
            &[("device", "/dev/nope"), ("directory", "/srv/data"), ("fstype", "ext4")],
        ),
        (
            "device is a directory",
            &[("device", "/srv/source"), ("directory", "/srv/data"), ("fstype", "ext4")],
        ),
        (
            "device is a file",
            &[("device", "/srv/source/file"), ("directory", "/srv/data"), ("fstype", "ext4")],
        ),
        (
            "device is a character device",
            &[("device", "/dev/null"), ("directory", "/srv/data"), ("fstype", "ext4")],
        ),
        (
            "type of another file system",
            &[("device", "DISK"), ("directory", "/srv/data"), ("fstype", "xfs")],
        ),
        (
            "type that no kernel has",
            &[("device", "DISK"), ("directory", "/srv/data"), ("fstype", "nonsensefs")],
        ),
        (
            "options that make no sense",
            &[
                ("device", "DISK"),
                ("directory", "/srv/data"),
                ("fstype", "ext4"),
                ("options", "nonsense"),
            ],
        ),
    ];
    let case = |(name, given): &(&str, &[(&str, &str)])| {
        let steps = ["validate-all", "probe", "monitor", "start", "monitor", "stop", "probe"];
        pair(format!("given: {name}")).with(given).steps(&steps)
    };
    table.iter().map(case).collect()
}

fn situations() -> Vec<Pair> {
    let worlds = [
        ("mounted already", "! mount DISK /srv/data"),
        (
            "mounted twice",
            "! mount DISK /srv/data; mount -t tmpfs none /srv/data; umount /srv/data; mount --bind /srv/data /srv/data",
        ),
        ("mounted elsewhere", "! mount DISK /srv/other"),
        ("mounted here and elsewhere", "! mount DISK /srv/data; mount DISK /srv/other"),
        ("another device there", "! mount OTHER /srv/data"),
        ("another device above ours", "! mount DISK /srv/data; mount OTHER /srv/data"),
        ("a tmpfs there", "! mount -t tmpfs none /srv/data"),
        ("mounted read-only", "! mount -o ro DISK /srv/data"),
        (
            "a mount below",
            "! mount DISK /srv/data; mkdir /srv/data/below; mount -t tmpfs none /srv/data/below",
        ),
        (
            "three mounts below",
            "! mount DISK /srv/data; mkdir -p /srv/data/a/b /srv/data/c; mount -t tmpfs none /srv/data/a; mkdir /srv/data/a/b; mount -t tmpfs none /srv/data/a/b; mount -t tmpfs none /srv/data/c",
        ),
        (
            "a mount below, not ours",
            "! mkdir -p /srv/data/below; mount -t tmpfs none /srv/data/below",
        ),
        (
            "a bind copy",
            "! mount DISK /srv/data; mkdir /srv/data/part; mount --bind /srv/data/part /srv/other",
        ),
        ("mount point is a link", "! rmdir /srv/data; ln -s /srv/other /srv/data"),
        ("mount point is gone", "! rmdir /srv/data"),
        ("mount point has files", "! touch /srv/data/file"),
    ];
    let calls: &[(&str, &[&str])] = &[
        ("probe", &["probe"]),
        ("monitor", &["monitor", "monitor@10", "monitor@20"]),
        ("start", &["start", "monitor"]),
        ("stop", &["stop", "probe"]),
    ];
    let mut pairs = Vec::new();
    for (world, line) in worlds {
        for (name, steps) in calls {
            let steps: Vec<_> = [line].iter().chain(steps.iter()).copied().collect();
            pairs.push(on_disk(format!("{world}/{name}")).steps(&steps));
        }
    }
    pairs.push(on_disk("turned read-only").steps(&[
        "start",
        "! mount -o remount,ro /srv/data",
        "monitor",
        "monitor@10",
        "monitor@20",
        "stop",
    ]));
    pairs.push(on_disk("depths").steps(&[
        "start",
        "monitor@0",
        "monitor@5",
        "monitor@10",
        "monitor@20",
        "monitor@x",
        "stop",
    ]));
    pairs
}

/// Somebody uses the file system when it is to be stopped.
fn users() -> Vec<Pair> {
    let uses = [
        ("working directory", "cd /srv/data && exec sleep 600"),
        ("open file", "exec sleep 600 > /srv/data/file"),
        ("program", "cp /bin/sleep /srv/data/ && exec /srv/data/sleep 600"),
        ("one that ignores TERM", "trap '' TERM; cd /srv/data; while :; do sleep 0.1; done"),
    ];
    let ways = ["true", "safe", "false", ""];
    let mut pairs = Vec::new();
    for (name, line) in uses {
        for way in ways {
            let line = format!(
                "! mount DISK /srv/data; setsid sh -c '{line}' < /dev/null > /dev/null 2>&1 & \
                 until ls -l /proc/[0-9]*/cwd /proc/[0-9]*/exe /proc/[0-9]*/fd 2>/dev/null | grep -q '> /srv/data'; do sleep 0.01; done"
            );
            let case = on_disk(format!("user with a {name}, force_unmount={way:?}"));
            let case = case.with(&[("force_unmount", way), ("CRM_meta_timeout", "4000")]);
            pairs.push(case.steps(&[&line, "stop", "probe"]));
        }
    }
    pairs
}

fn options() -> Vec<Pair> {
    let table = [
        ("options", "noatime"),
        ("options", "ro,noatime"),
        ("options", "nosuid,nodev,noexec"),
        ("options", ""),
        ("options", "defaults"),
        ("run_fsck", "force"),
        ("run_fsck", "no"),
        ("run_fsck", "auto"),
        ("run_fsck", "nonsense"),
        ("fast_stop", "yes"),
        ("fast_stop", "no"),
        ("fast_stop", "nonsense"),
        ("force_unmount", "nonsense"),
        ("statusfile_prefix", ".status"),
        ("term_signals", "TERM"),
        ("term_signals", "NONSENSE"),
        ("kill_signals", "KILL 9"),
        ("signal_delay", "nonsense"),
        ("no_such_parameter", "1"),
    ];
    let case = |(name, value): (&str, &str)| {
        let steps = ["validate-all", "start", "monitor", "monitor@20", "stop", "probe"];
        on_disk(format!("{name}={value:?}")).with(&[(name, value)]).steps(&steps)
    };
    let mut pairs: Vec<_> = table.into_iter().map(case).collect();
    for options in ["bind", "bind,ro", "bind,noexec", "ro,bind"] {
        let given = [
            ("device", "/srv/source"),
            ("directory", "/srv/data"),
            ("fstype", "none"),
            ("options", options),
        ];
        let source = "! mount DISK /srv/source";
        pairs.push(
            pair(format!("bind of a disk, options={options}"))
                .with(&given)
                .steps(&[source, "start", "monitor", "stop"]),
        );
    }
    pairs
}

fn clones() -> Vec<Pair> {
    let clone = [("CRM_meta_clone", "0"), ("CRM_meta_clone_max", "2")];
    let table: &[(&str, &[(&str, &str)])] = &[
        ("ext4", &[]),
        ("ext4, read-only", &[("options", "ro")]),
        ("ext4, forced", &[("force_clones", "true")]),
        ("tmpfs", &[("fstype", "tmpfs"), ("device", "none")]),
    ];
    let case = |(name, given): &(&str, &[(&str, &str)])| {
        let steps = ["probe", "start", "monitor", "stop", "probe"];
        on_disk(format!("clone of {name}")).with(&clone).with(given).steps(&steps)
    };
    table.iter().map(case).collect()
}

fn actions() -> Vec<Pair> {
    let words = ["bogus", "", "reload", "promote", "notify", "usage", "meta-data"];
    let with = words.iter().map(|word| on_disk(format!("action {word:?}")).steps(&[word]));
    let without =
        words.iter().map(|word| pair(format!("action {word:?} of nothing")).steps(&[word]));
    with.chain(without).collect()
}
