//! The shared disk: an image in memory that is attached to a loop device for
//! one node at a time, where DRBD would make a resource primary.

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How the images' names begin; by this the demo's loop devices are told from
/// others on the machine.
pub const IMAGE: &str = "sturdy-demo-disk";
/// The size of an image in bytes, and what it is at least where the maker of a
/// file system insists; only what is written takes memory.
const SIZE: u64 = 96 << 20;
const SIZE_WANTED: u64 = 512 << 20;
const LOOP_MAJOR: u64 = 7;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// Of ext4, xfs and f2fs: the journal is not flushed any more.
const GOING_NOLOGFLUSH: u32 = 2;
/// What a loop device of the demo says about itself.
const TAG: &[u8] = b"sturdy demo";

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    file: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

nix::ioctl_none_bad!(loop_get_free, 0x4C82);
nix::ioctl_write_ptr_bad!(loop_configure, 0x4C0A, LoopConfig);
nix::ioctl_read_bad!(loop_get_status, 0x4C05, LoopInfo);
nix::ioctl_read!(file_system_shutdown, b'X', 125, u32);

/// Makes an image at `path` with a file system of `kind` on it.
pub fn make(path: &Path, kind: &str) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let ext = kind.starts_with("ext");
    file.set_len(if ext { SIZE } else { SIZE_WANTED })
        .with_context(|| format!("cannot grow {}", path.display()))?;
    let maker = format!("mkfs.{kind}");
    let force = if ext { "-F" } else { "-f" };
    let output = Command::new(&maker)
        .args(["-q", force])
        .arg(path)
        .env("PATH", super::root::PATH)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {maker}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{maker} {}: {}", path.display(), stderr.trim());
    Ok(())
}

/// Copies an image, its holes as holes.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let (mut image, copy) = (File::open(from)?, File::create(to)?);
    copy.set_len(image.metadata()?.len())?;
    let mut block = vec![0; 64 << 10];
    let mut at = 0;
    loop {
        let length = image.read(&mut block)?;
        if length == 0 {
            return Ok(());
        }
        if block[..length].iter().any(|byte| *byte != 0) {
            copy.write_all_at(&block[..length], at)?;
        }
        at += length as u64;
    }
}

/// An image attached to a loop device. Nobody has to detach it: the kernel
/// does when its last user is gone, and dropping this ends one use.
#[derive(Debug)]
pub struct Attached {
    /// The loop device's number.
    pub number: u32,
    /// A device node that leads to it.
    node: PathBuf,
    _open: File,
}

/// Attaches `image` to a free loop device, with device nodes in `directory`.
pub fn attach(image: &Path, directory: &Path, read_only: bool) -> Result<Attached> {
    let file = File::options().read(true).write(!read_only).open(image)?;
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
        .context("cannot open /dev/loop-control: is the loop module there?")?;
    for _ in 0..64 {
        let number = free_number(&control)?;
        let node = directory.join(format!("loop{number}"));
        make_node(&node, number)?;
        let open = File::options().read(true).write(true).open(&node)?;
        match configure(&open, &file, read_only) {
            Ok(()) => return Ok(Attached { number, node, _open: open }),
            // Somebody else on this machine was faster.
            Err(Errno::EBUSY) => {}
            Err(err) => bail!("cannot attach {} to loop{number}: {err}", image.display()),
        }
    }
    bail!("no loop device stays free long enough to attach {}", image.display())
}

impl Attached {
    /// A device node of it, in the directory that [`attach`] was given.
    pub fn node(&self) -> &Path {
        &self.node
    }
}

/// Makes a device node for a loop device; one that is there already is fine.
pub fn make_node(path: &Path, number: u32) -> Result<()> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let device = makedev(LOOP_MAJOR, u64::from(number));
    match mknod(path, SFlag::S_IFBLK, Mode::from_bits_truncate(0o660), device) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(err) => bail!("cannot make the device node {}: {err}", path.display()),
    }
}

/// Waits until the kernel has detached the loop device of `node`, which it
/// does when no mount and no open file uses it any more, and says how long
/// that took.
pub fn await_release(node: &Path, most: Duration) -> Result<Duration> {
    let begin = story::timeline::now();
    loop {
        let waited = story::timeline::now().saturating_sub(begin);
        if !in_use(node) {
            return Ok(waited);
        }
        let name = node.display();
        ensure!(waited < most, "{name} is still in use after {} s", most.as_secs());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the loop device of `node` still has an image of the demo attached.
/// In doubt it has.
pub fn in_use(node: &Path) -> bool {
    match File::open(node) {
        Ok(open) => is_attached(&open),
        Err(err) => err.raw_os_error() != Some(nix::libc::ENXIO),
    }
}

/// Stops all further writing of the file system mounted at `directory`, as a
/// loss of power does: what is only in its caches is lost. Says whether the
/// file system can be stopped so.
pub fn freeze(directory: &Path) -> Result<bool> {
    let open =
        File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
    let mut flags = GOING_NOLOGFLUSH;
    // SAFETY: the call reads a u32 through the pointer, which is valid.
    #[allow(unsafe_code)]
    let result = unsafe { file_system_shutdown(open.as_raw_fd(), &mut flags) };
    match result {
        Ok(_) => Ok(true),
        Err(Errno::ENOTTY | Errno::EOPNOTSUPP | Errno::EINVAL) => Ok(false),
        Err(err) => bail!("cannot stop the file system at {}: {err}", directory.display()),
    }
}

fn free_number(control: &File) -> Result<u32> {
    // SAFETY: the call takes no argument.
    #[allow(unsafe_code)]
    let number = unsafe { loop_get_free(control.as_raw_fd()) };
    u32::try_from(number.context("no free loop device")?).context("no free loop device")
}

fn configure(device: &File, image: &File, read_only: bool) -> nix::Result<()> {
    // SAFETY: a structure of integers, for which all zero is a valid value.
    #[allow(unsafe_code)]
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.file = image.as_raw_fd().cast_unsigned();
    config.info.flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
    config.info.file_name[..TAG.len()].copy_from_slice(TAG);
    // SAFETY: the structure is laid out as linux/loop.h has it and outlives
    // the call.
    #[allow(unsafe_code)]
    unsafe { loop_configure(device.as_raw_fd(), &config) }.map(|_| ())
}

/// Whether an image of the demo is attached to it.
fn is_attached(device: &File) -> bool {
    // SAFETY: a structure of integers, for which all zero is a valid value.
    #[allow(unsafe_code)]
    let mut info: LoopInfo = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is laid out as linux/loop.h has it and the kernel
    // writes no more than its size.
    #[allow(unsafe_code)]
    let status = unsafe { loop_get_status(device.as_raw_fd(), &mut info) };
    // Free, or already in somebody else's use.
    status.is_ok() && info.file_name.starts_with(TAG)
}
