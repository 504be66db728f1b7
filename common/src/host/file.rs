//! Files, opened as if someone hostile had been there before.

use anyhow::{Context, Result, ensure};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// No file that an agent reads is larger, not even 10,000 mounts.
const LARGEST: u64 = 64 << 20;

/// A first guess that saves the kernel from making /proc files over and over.
const USUAL: usize = 16 << 10;

/// Reads a whole text file; bytes that are not UTF-8 are replaced.
pub fn read(path: &Path) -> io::Result<String> {
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC | libc::O_NOCTTY).open(path)?;
    read_all(file, 0)
}

fn read_all(file: File, size: u64) -> io::Result<String> {
    // One byte more, so that the end is seen without more room being made.
    let size = usize::try_from(size.min(LARGEST)).unwrap_or(0) + 1;
    let mut bytes = Vec::with_capacity(size.max(USUAL));
    file.take(LARGEST).read_to_end(&mut bytes)?;
    // What is taken next lies close to it: few pages are touched.
    bytes.shrink_to_fit();
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()))
}

/// Reads a file that only we may have written.
pub fn read_trusted(path: &Path) -> Result<String> {
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let size = check_ours(&file, path)?;
    Ok(read_all(file, size)?)
}

/// Opens a file for locking, made if it is not there.
pub fn open_lock(path: &Path) -> Result<File> {
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    check_ours(&file, path)?;
    Ok(file)
}

/// A regular file of ours with one name, which nobody else may write: how large
/// it is.
fn check_ours(file: &File, path: &Path) -> Result<u64> {
    let found = file.metadata()?;
    let ours = nix::unistd::geteuid().as_raw();
    ensure!(
        found.is_file() && found.nlink() == 1 && found.uid() == ours && found.mode() & 0o022 == 0,
        "{} is not a file that only we can write",
        path.display()
    );
    Ok(found.len())
}

/// Makes the directory if it is not there, and checks that nobody else can
/// put things into it.
pub fn trusted_dir(path: &Path) -> Result<()> {
    match DirBuilder::new().recursive(true).mode(0o755).create(path) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
            return Err(err).with_context(|| format!("cannot make {}", path.display()));
        }
        _ => {}
    }
    let found = std::fs::symlink_metadata(path)
        .with_context(|| format!("cannot look at {}", path.display()))?;
    let ours = nix::unistd::geteuid().as_raw();
    ensure!(
        found.is_dir() && found.uid() == ours && found.mode() & 0o022 == 0,
        "{} is not a directory that only we can write",
        path.display()
    );
    Ok(())
}

/// Makes a file where there is none.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path)
}

/// Puts a whole new file in the place of the old one, or leaves the old one.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = Path::new(&new);
    let _ = std::fs::remove_file(new);
    let written = create(new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(new);
    }
    written
}

/// Writes to a file that exists, in one piece.
pub fn write_existing(path: &Path, text: &str) -> io::Result<()> {
    let flags = libc::O_CLOEXEC | libc::O_NOCTTY;
    let mut file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, "secret").unwrap();
        let link = dir.path().join("link");
        symlink(&target, &link).unwrap();
        assert!(read_trusted(&link).is_err());
        assert!(open_lock(&link).is_err());
        replace(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "secret");
    }

    #[test]
    fn what_others_can_write_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("record");
        replace(&file, "mine").unwrap();
        assert_eq!(read_trusted(&file).unwrap(), "mine");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read_trusted(&file).is_err());
    }

    #[test]
    fn a_fifo_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read_trusted(&fifo).is_err());
        assert!(open_lock(&fifo).is_err());
    }
}
