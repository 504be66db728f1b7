use super::*;
use crate::testing::Files;

crate::machine_of_files!(Fake);

impl Fake {
    fn new() -> Self {
        let files = Files::new();
        files.file("/sys/class/block/drbd1/dev", "147:1\n").file("/proc/self/mountinfo", "");
        Self(files)
    }

    fn process(&self, pid: i32, name: &str) -> &Files {
        let fields = "1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100";
        self.file(&format!("/proc/{pid}/stat"), &format!("{pid} ({name}) S {fields} 0 0\n"))
    }

    fn holders(&self) -> Vec<String> {
        of_device(&self.view(), "drbd1")
    }
}

const MOUNT: &str = "36 25 147:1 / /srv/my\\040data rw - ext4 /dev/drbd1 rw\n";

#[test]
fn what_lies_on_the_device_is_named() {
    let fake = Fake::new();
    fake.file("/sys/class/block/drbd1/holders/dm-0", "")
        .file("/sys/class/block/dm-0/dm/name", "my--vg-web\n")
        .file("/sys/class/block/dm-0/dm/uuid", "LVM-abc\n")
        .file("/sys/block/loop3/loop/backing_file", "/dev/drbd1\n");
    assert_eq!(fake.holders(), ["logical volume my-vg/web", "loop device /dev/loop3"]);
    fake.file("/sys/class/block/dm-0/dm/name", "360a98000\n")
        .file("/sys/class/block/dm-0/dm/uuid", "mpath-360a98000\n");
    assert_eq!(fake.holders()[0], "multipath map 360a98000");
}

#[test]
fn a_resource_that_is_stacked_on_the_device_is_named() {
    let fake = Fake::new();
    fake.file("/proc/drbd", "version: 9.2.12 (api:2/proto:86-122)\n");
    fake.link("/dev/drbd/by-res/lower/0", "../../../drbd1");
    let events = "exists resource name:upper role:Secondary suspended:no\n\
        exists device name:upper volume:0 minor:10 backing_dev:/dev/drbd/by-res/lower/0 disk:UpToDate client:no quorum:yes\n\
        exists -\n";
    fake.file("/events", events);
    let (events, program) = (fake.path("/events"), fake.path("/usr/sbin/drbdsetup"));
    let draft = program.with_extension("draft");
    std::fs::write(&draft, format!("#!/bin/sh\ncat {}\n", events.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&draft, mode).unwrap();
    // Another process writes it: one of ours that forks would keep it open.
    assert!(std::process::Command::new("cp").arg(&draft).arg(&program).status().unwrap().success());
    assert_eq!(fake.holders(), ["DRBD resource upper"]);
}

#[test]
fn a_mount_is_named_also_in_another_namespace() {
    let fake = Fake::new();
    fake.link("/proc/self/ns/mnt", "mnt:[1]").file("/proc/self/mountinfo", MOUNT);
    fake.link("/proc/77/ns/mnt", "mnt:[2]").file("/proc/77/mountinfo", MOUNT);
    fake.process(77, "web");
    fake.link("/proc/78/ns/mnt", "mnt:[2]").file("/proc/78/mountinfo", MOUNT);
    fake.process(78, "web");
    fake.file("/proc/77/cgroup", "0::/system.slice/docker-1.scope\n");
    let other = "web (pid 77 of docker-1.scope) has it mounted on /srv/my data in a mount namespace of its own";
    assert_eq!(fake.holders(), ["mount on /srv/my data", other]);
}

#[test]
fn an_exported_mount_says_so() {
    let fake = Fake::new();
    fake.file("/proc/self/mountinfo", MOUNT);
    fake.file("/proc/fs/nfsd/exports", "# Version 1.1\n/srv/my\\040data/a\t*(rw)\n");
    assert_eq!(fake.holders(), ["mount on /srv/my data, exported by NFS"]);
}

#[test]
fn a_process_is_named_where_nothing_else_is() {
    let fake = Fake::new();
    fake.link("/proc/4711/fd/3", "/dev/drbd1");
    fake.process(4711, "qemu");
    fake.link("/proc/4712/fd/3", "/dev/drbd10");
    fake.process(4712, "dd");
    assert_eq!(fake.holders(), ["process qemu (pid 4711)"]);
}

#[test]
fn swap_and_an_iscsi_target_are_named() {
    let fake = Fake::new();
    fake.file("/proc/swaps", "Filename\n/dev/drbd1 partition 1 0 -2\n")
        .file("/sys/kernel/config/target/core/iblock_0/disk/udev_path", "/dev/drbd1\n");
    assert_eq!(fake.holders(), ["swap", "iSCSI backstore disk"]);
}

#[test]
fn what_holds_a_directory_is_named() {
    let fake = Fake::new();
    fake.file("/proc/swaps", "Filename Type Size\n/srv/my\\040data/swap file 1 0 -2\n")
        .file("/sys/block/loop3/loop/backing_file", "/srv/my data/disk.img\n")
        .file("/sys/block/loop4/loop/backing_file", "/var/other.img\n")
        .file("/proc/fs/nfsd/exports", "# Version 1.1\n/srv/my\\040data\t10.0.0.0/8(rw,fsid=1)\n")
        .file("/proc/net/unix", "Num RefCount\n0: 2 0 0 1 1 123 /srv/my\n");
    assert_eq!(
        below(&fake.view(), &[Path::new("/srv/my data")]),
        [
            "swap on /srv/my data/swap",
            "/dev/loop3 on /srv/my data/disk.img",
            "NFS export /srv/my data"
        ]
    );
}

#[test]
fn a_layer_holds_a_file_system() {
    let fake = Fake::new();
    let overlay = "40 25 0:50 / /merged rw - overlay overlay rw,lowerdir=/srv/a:/srv/b\n";
    let table = Table::parse(overlay).unwrap();
    let (view, device) = (fake.view(), Number { major: 147, minor: 1 });
    assert_eq!(
        of_file_system(&view, &table, device, Path::new("/srv/b")),
        ["the overlay on /merged"]
    );
    assert!(of_file_system(&view, &table, device, Path::new("/srv/c")).is_empty());
}
