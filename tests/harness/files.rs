//! Every file that a case's machine has of its own, and what became of it.
//!
//! The root is copied on write: whatever has been written, renamed, removed or
//! only looked at with another owner lies in the upper layers, so that these
//! are all there is to walk, wherever on the machine it was.

use super::machine::Machine;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Directories that each machine has afresh.
const FRESH: &[&str] = &["/run", "/tmp", "/srv"];

/// All of them at one moment, by path.
#[derive(PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, String>);

impl Machine {
    /// All files that the machine has of its own: in the layers above the disk,
    /// in `/run`, `/tmp` and `/srv`, and on its disks that are mounted.
    pub fn files(&self) -> Files {
        let mut files = Files(BTreeMap::new());
        for layer in names(&mut self.open_layers(".")) {
            if let Some(place) = layer.strip_prefix("upper") {
                let place = Path::new(&place.replace('-', "/")).to_path_buf();
                files.walk(self.open_layers(&layer), &Path::new("/").join(place));
            }
        }
        let disks = self.mounts().into_iter().filter(|mount| mount.source.starts_with("/dev/"));
        let disks = disks.map(|mount| mount.directory);
        for root in FRESH.iter().map(PathBuf::from).chain(disks) {
            let opened = Dir::open(&root, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty());
            files.walk(opened.expect("it is mounted"), &root);
        }
        files
    }

    fn open_layers(&self, name: &str) -> Dir {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        Dir::openat(&self.layers, name, flags, Mode::empty()).expect("own layers")
    }
}

impl Files {
    /// Asserts that no file has come, gone or changed since.
    #[track_caller]
    pub fn unchanged(&self, machine: &Machine) {
        let later = machine.files();
        let gone = self.0.iter().filter(|(path, what)| later.0.get(*path) != Some(what));
        let come = later.0.iter().filter(|(path, what)| self.0.get(*path) != Some(what));
        let line = |sign: &str, (path, what): (&PathBuf, &String)| {
            format!("{sign} {} {what}", path.display())
        };
        let changes: Vec<_> =
            gone.map(|one| line("-", one)).chain(come.map(|one| line("+", one))).collect();
        assert!(changes.is_empty(), "files changed:\n{}", changes.join("\n"));
    }

    /// Writes down what is in a directory, and in those below on the same file
    /// system.
    fn walk(&mut self, mut directory: Dir, path: &Path) {
        let own = fstat(&directory).expect("it is open");
        self.0.insert(path.to_path_buf(), told(&own));
        for name in names(&mut directory) {
            let path = path.join(&name);
            let Ok(found) = fstatat(&directory, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
                continue;
            };
            let is_directory = found.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
            if is_directory && found.st_dev == own.st_dev {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
                if let Ok(below) = Dir::openat(&directory, name.as_str(), flags, Mode::empty()) {
                    self.walk(below, &path);
                }
                continue;
            }
            let mut what = told(&found);
            if let Ok(target) = readlinkat(&directory, name.as_str()) {
                what += &format!(" -> {}", target.display());
            }
            self.0.insert(path, what);
        }
    }
}

fn names(directory: &mut Dir) -> Vec<String> {
    let listed = directory.iter().map(|entry| entry.expect("own directory"));
    let names = listed.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "." && name != "..").collect()
}

/// Whatever is done to a file, by whomever, moves the time of its last change.
fn told(file: &FileStat) -> String {
    let FileStat { st_mode, st_uid, st_gid, st_size, st_ino, st_ctime, st_ctime_nsec, .. } = file;
    format!(
        "{st_mode:o} {st_uid}:{st_gid} {st_size} bytes, inode {st_ino}, changed {st_ctime}.{st_ctime_nsec:09}"
    )
}
