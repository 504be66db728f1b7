//! Tests of a device or a file system by input and output: does it answer, is
//! what was written there when it is read. Each is made by a child, since what
//! it asks may never answer.

use crate::host::beneath::{Missing, Place};
use crate::host::child;
use crate::host::clock::Deadline;
use crate::host::statx;
use crate::host::system::{System, View};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Devices are read in blocks of this size, which any sector size divides.
const BLOCK: usize = 4096;

/// No configuration that an agent reads is longer.
const LONGEST: u64 = 8 << 20;

mod request {
    #![allow(missing_docs, reason = "a macro's functions take no comment")]
    nix::ioctl_none!(flush_buffers, 0x12, 97);
    nix::ioctl_read!(size_in_bytes, 0x12, 114, u64);
}

/// Reads a block of a device, or of a file, at each of a few places that differ
/// from call to call, past the page cache.
pub fn read_device(view: &View, device: &Path, deadline: Deadline) -> Result<()> {
    child::run(view, "read", &[device], deadline)
}

/// The 4096 bytes of the device from `at` on, a multiple of as many, past the
/// page cache.
pub fn block(view: &View, device: &Path, at: u64, deadline: Deadline) -> Result<Vec<u8>> {
    let at = at.to_string();
    let text = child::ask(view, "block", &[device.as_os_str(), OsStr::new(&at)], deadline)?;
    let digits = text.trim_end().as_bytes();
    let digit = |c: u8| char::from(c).to_digit(16).map(|value| value as u8);
    let bytes: Option<Vec<u8>> =
        digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    let bytes = bytes.filter(|bytes| bytes.len() == BLOCK);
    bytes.with_context(|| format!("what was read from {} is not a block", device.display()))
}

/// The text of a file that lies on whichever file system, links followed.
pub fn text(view: &View, file: &Path, deadline: Deadline) -> Result<String> {
    if !view.is_real() {
        return Ok(super::file::read(&view.path(file))?);
    }
    child::ask(view, "text", &[file], deadline)
}

/// Has the file system say something that it cannot know by heart.
pub fn answers(view: &View, directory: &Path, deadline: Deadline) -> Result<()> {
    child::run(view, "answer", &[directory], deadline)
}

/// Writes a file below a directory, reads it back and compares.
pub fn write(
    system: &System<'_>,
    directory: &Path,
    below: &Path,
    text: &str,
    deadline: Deadline,
) -> Result<()> {
    let words = [directory.as_os_str(), below.as_os_str(), OsStr::new(text)];
    child::run(system, "write", &words, deadline)
}

/// Removes the file that was written, and the directory it lies in if nothing
/// else is there.
pub fn remove(
    system: &System<'_>,
    directory: &Path,
    below: &Path,
    deadline: Deadline,
) -> Result<()> {
    child::run(system, "remove", &[directory, below], deadline)
}

/// Whether nobody holds the device any more; what is cached of it is dropped
/// then.
pub fn is_released(system: &System<'_>, device: &Path, deadline: Deadline) -> Result<bool> {
    match child::run(system, "release", &[device], deadline) {
        Err(err) if child::errno(&err) == Some(Errno::EBUSY) => Ok(false),
        done => done.map(|()| true),
    }
}

/// In the child.
pub(crate) fn read_in_child(words: &[OsString]) -> Result<()> {
    let [disk] = child::take(words)?;
    let file = open_disk(disk)?;
    let found = file.metadata().context("cannot look at it")?;
    let size = if found.is_file() { found.len() } else { size(&file)? };
    let blocks = size / BLOCK as u64;
    ensure!(blocks > 0, "its size is zero");
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
    // The first block, where the file system's own data begin, and two that
    // are others each time.
    for block in [0, now / 7 % blocks, now / 11 % blocks] {
        let mut aligned = Aligned::new();
        let at = block * BLOCK as u64;
        file.read_exact_at(aligned.bytes(), at).with_context(|| format!("at byte {at}"))?;
    }
    Ok(())
}

/// In the child.
pub(crate) fn block_in_child(words: &[OsString]) -> Result<()> {
    let [device, at] = child::take(words)?;
    let at = at.to_str().and_then(|at| at.parse().ok()).context("not a place")?;
    let mut aligned = Aligned::new();
    open_device(device)?
        .read_exact_at(aligned.bytes(), at)
        .with_context(|| format!("at byte {at}"))?;
    let text: String = aligned.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    std::io::stdout().write_all(text.as_bytes()).context("nobody takes it")
}

fn open_device(device: &OsStr) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT | libc::O_CLOEXEC)
        .open(device)
        .context("cannot open it")
}

/// A device, or a file that is the disk of a guest. Of a file system that knows
/// no direct reading, a file is read as it can be.
fn open_disk(disk: &OsStr) -> Result<File> {
    let is_unknown = |err: &anyhow::Error| {
        let err = err.downcast_ref::<std::io::Error>();
        err.is_some_and(|err| err.raw_os_error() == Some(libc::EINVAL))
    };
    match open_device(disk) {
        Err(err) if is_unknown(&err) => File::open(disk).context("cannot open it"),
        opened => opened,
    }
}

#[allow(unsafe_code)]
fn size(file: &File) -> Result<u64> {
    let mut bytes = 0;
    // SAFETY: the kernel writes one u64, into a local that outlives the call.
    unsafe { request::size_in_bytes(file.as_raw_fd(), &raw mut bytes) }
        .context("it has no size")?;
    Ok(bytes)
}

/// A block as direct input and output want it: aligned to its size.
struct Aligned(Vec<u8>);

impl Aligned {
    fn new() -> Self {
        Self(vec![0; 2 * BLOCK])
    }

    fn bytes(&mut self) -> &mut [u8] {
        let skip = self.0.as_ptr().align_offset(BLOCK);
        &mut self.0[skip..skip + BLOCK]
    }
}

/// In the child. What is no file is not waited for.
pub(crate) fn text_in_child(words: &[OsString]) -> Result<()> {
    let [file] = child::take(words)?;
    let flags = libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    ensure!(opened.metadata()?.is_file(), "it is not a file");
    let mut text = Vec::new();
    opened.take(LONGEST).read_to_end(&mut text)?;
    ensure!(text.len() < LONGEST as usize, "it is longer than {LONGEST} bytes");
    std::io::stdout().write_all(&text).context("nobody takes it")
}

/// In the child.
pub(crate) fn answer_in_child(words: &[OsString]) -> Result<()> {
    let [directory] = child::take(words)?;
    statx::ask_for_real(Path::new(directory))?;
    Ok(())
}

/// In the child.
pub(crate) fn write_in_child(words: &[OsString]) -> Result<()> {
    let [directory, below, text] = child::take(words)?;
    let place = Place::walk(Path::new(directory), Path::new(below), Missing::Made)?;
    let mut written = Aligned::new();
    let bytes = text.as_encoded_bytes();
    let length = bytes.len().min(BLOCK);
    written.bytes()[..length].copy_from_slice(&bytes[..length]);
    let mut file = place.emptied().context("cannot write the status file")?;
    file.write_all(written.bytes()).context("cannot write the status file")?;
    file.sync_data().context("cannot write the status file to the disk")?;
    file.rewind()?;
    let mut read = Aligned::new();
    file.read_exact(read.bytes()).context("cannot read the status file")?;
    if read.bytes() != written.bytes() {
        bail!("the status file does not hold what was written");
    }
    Ok(())
}

/// In the child.
pub(crate) fn remove_in_child(words: &[OsString]) -> Result<()> {
    let [directory, below] = child::take(words)?;
    match Place::walk(Path::new(directory), Path::new(below), Missing::Refused) {
        Err(err) if is_not_there(&err) => Ok(()),
        place => place?.remove().context("cannot remove the status file"),
    }
}

fn is_not_there(err: &anyhow::Error) -> bool {
    err.chain().any(|cause| cause.downcast_ref::<Errno>() == Some(&Errno::ENOENT))
}

/// In the child.
pub(crate) fn release_in_child(words: &[OsString]) -> Result<()> {
    let [device] = child::take(words)?;
    // An exclusive open succeeds when no file system and no other device
    // claims the device.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(device);
    match opened {
        Ok(file) => {
            flush(&file);
            Ok(())
        }
        Err(err) if err.raw_os_error() == Some(libc::EBUSY) => Err(err.into()),
        // A device that cannot be opened is not held by us.
        Err(_) => Ok(()),
    }
}

/// Drops what is cached of the device, if it is one.
pub(crate) fn forget_cached(device: &Path) {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    if let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(device) {
        flush(&file);
    }
}

#[allow(unsafe_code)]
fn flush(file: &File) {
    // SAFETY: the call takes no argument. Anything but a block device refuses.
    let _ = unsafe { request::flush_buffers(file.as_raw_fd()) };
}
