//! Loop devices with real file systems on them.

use super::machine::Machine;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A loop device that exists as long as this value.
///
/// Loop devices belong to the kernel, not to a namespace: the device is marked
/// to detach itself at its last close, and the last to close it is this value
/// (or the kernel, should the tests be killed).
pub struct Disk {
    device: PathBuf,
    image: PathBuf,
    _open: File,
}

/// A disk on a file of a file system that can be frozen: whoever writes to the
/// disk then sleeps where no signal reaches.
pub struct Freezer<'m> {
    machine: &'m Machine,
    disk: String,
}

/// Where the file system that is frozen is mounted.
const FROZEN: &str = "/srv/outer";

impl Machine {
    /// A disk with ext4 that can be frozen. A case with it needs [`Freezer::NEEDS`].
    pub fn freezer(&self) -> Freezer<'_> {
        let outer = self.formatted_of(64, "ext4");
        self.must("mkdir", &["-p", FROZEN]);
        self.must("mount", &[outer.path(), FROZEN]);
        let image = self.image(format!("{FROZEN}/image"), "ext4");
        let words = ["--find", "--show", image.to_str().expect("a plain path")];
        let disk = self.must("losetup", &words).trim().to_owned();
        Freezer { machine: self, disk }
    }

    /// An empty disk of `megabytes`.
    pub fn disk(&self, megabytes: u64) -> Disk {
        let directory = Path::new("/run/images");
        std::fs::create_dir_all(directory).expect("own /run");
        let number = std::fs::read_dir(directory).expect("just made").count();
        let image = directory.join(format!("disk{number}"));
        let file = File::create(&image).expect("own /run");
        file.set_len(megabytes << 20).expect("own /run");
        self.attach(image)
    }

    /// A disk with a file system, made by the installed mkfs.
    pub fn formatted(&self, fstype: &str) -> Disk {
        self.formatted_of(making(fstype).0, fstype)
    }

    fn formatted_of(&self, megabytes: u64, fstype: &str) -> Disk {
        let disk = self.disk(megabytes);
        let words = [making(fstype).1, &[disk.path()]].concat();
        self.must(&format!("mkfs.{fstype}"), &words);
        disk
    }

    /// A file with a file system in it.
    pub fn image(&self, path: impl Into<PathBuf>, fstype: &str) -> PathBuf {
        let (path, (megabytes, quick)) = (path.into(), making(fstype));
        self.file(&path, "");
        let file = File::options().write(true).open(&path).expect("just made");
        file.set_len(megabytes << 20).expect("own file system");
        let words = [quick, &[path.to_str().expect("a plain path")]].concat();
        self.must(&format!("mkfs.{fstype}"), &words);
        path
    }

    /// A disk made of a file.
    pub fn attach(&self, image: PathBuf) -> Disk {
        self.attach_as(image, &[])
    }

    /// A disk made of a file that nobody can write to.
    pub fn write_protected(&self, image: PathBuf) -> Disk {
        self.attach_as(image, &["--read-only"])
    }

    fn attach_as(&self, image: PathBuf, options: &[&str]) -> Disk {
        let path = image.to_str().expect("a plain path");
        let words = [options, &["--find", "--show", path]].concat();
        let device = self.must("losetup", &words).trim().to_owned();
        let open = File::open(&device).expect("just attached");
        // Detaching a device that is open only marks it.
        self.must("losetup", &["--detach", &device]);
        Disk { device: device.into(), image, _open: open }
    }
}

/// How large a file system has to be, in megabytes, and how it is made quickly.
fn making(fstype: &str) -> (u64, &'static [&'static str]) {
    match fstype {
        "ext2" | "ext3" | "ext4" => (16, &["-q", "-F"]),
        "xfs" => (300, &["-q", "-f"]),
        "btrfs" => (128, &["-q", "-f"]),
        "vfat" => (16, &[]),
        _ => panic!("nobody has made a {fstype} here yet"),
    }
}

impl Freezer<'_> {
    pub const NEEDS: &'static [&'static str] = &["mkfs.ext4", "fsfreeze"];

    /// The device's path.
    pub fn path(&self) -> &str {
        &self.disk
    }

    pub fn freeze(&self) {
        self.machine.must("fsfreeze", &["--freeze", FROZEN]);
    }

    pub fn thaw(&self) {
        self.machine.must("fsfreeze", &["--unfreeze", FROZEN]);
    }

    /// Whether a program of this name, or a child that it has made of itself,
    /// sleeps in the kernel.
    pub fn holds(&self, program: &str) -> bool {
        /// On a busy machine a process that reads its own pages sleeps so for a
        /// moment. This one sleeps on.
        const LOOKS: usize = 4;
        let asleep = format!(
            "cat /proc/[0-9]*/stat 2>/dev/null | grep '(exe) D\\|({program}) D' | cut -d' ' -f1"
        );
        let look = || -> BTreeSet<String> {
            let found = self.machine.run("sh", &["-c", &asleep]).stdout;
            found.lines().map(str::to_owned).collect()
        };
        let mut held = look();
        for _ in 1..LOOKS {
            if held.is_empty() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
            let now = look();
            held.retain(|pid| now.contains(pid));
        }
        !held.is_empty()
    }
}

impl Drop for Freezer<'_> {
    /// A case that fails must not leave anybody asleep for ever.
    fn drop(&mut self) {
        let _ = self.machine.run("fsfreeze", &["--unfreeze", FROZEN]);
        let _ = self.machine.run("losetup", &["--detach", &self.disk]);
    }
}

impl Disk {
    /// The device's path, such as `/dev/loop3`.
    pub fn path(&self) -> &str {
        self.device.to_str().expect("a plain path")
    }

    /// The file behind it.
    pub fn image(&self) -> &Path {
        &self.image
    }
}
