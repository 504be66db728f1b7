//! A file system that stops answering: a FUSE mount whose server can be paused.
//!
//! The server is the test binary again, as a process of the machine. While it
//! is paused whoever asks the file system waits, as beneath an NFS server or a
//! disk that is gone; a loop device on a file of it is a disk that does not
//! answer. When the machine ends the server is killed, the kernel ends the
//! connection, and nobody waits any longer.
//!
//! Nothing is cached by the kernel, so that every look asks the server.

use super::machine::Machine;
use super::program::{Program, Running};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The argument by which the test binary knows it is a server.
const SERVER: &str = "--server-of-a-file-system";

/// While this file is there, no write is answered, nor anything after it.
const HOLD: &str = "/run/remote.hold";
/// There once a write has come that is not answered.
const HELD: &str = "/run/remote.held";

/// The directory `source` as a FUSE mount on `directory`, for the time of this
/// value.
pub struct Remote {
    source: PathBuf,
    directory: PathBuf,
    server: Running,
}

impl Machine {
    /// Shows what is in `/run/remote` on `directory`, by way of a server.
    pub fn remote(&self, directory: &str) -> Remote {
        let source = PathBuf::from("/run/remote");
        fs::create_dir_all(&source).expect("own /run");
        fs::create_dir_all(directory).expect("own overlay");
        let words = [SERVER, source.to_str().expect("a plain path"), directory];
        // In the server, which is in the machine's process namespace, the link
        // leads to what it was forked from.
        let server = Program::new("/proc/self/exe").args(words).spawn();
        let mut remote = Remote { source, directory: directory.into(), server };
        let begun = Instant::now();
        while self.mounts_at(directory).is_empty() {
            let alive = !remote.server.has_ended() && begun.elapsed() < Duration::from_secs(5);
            assert!(alive, "the server of {directory} does not come up");
            std::thread::sleep(Duration::from_millis(1));
        }
        remote
    }

    /// The path of a formatted disk that stops answering when `remote` is
    /// paused. It is kept to the end of the case: to close it might wait.
    pub fn remote_disk(&self, remote: &Remote, fstype: &str) -> String {
        let image = self.image(remote.source.join("disk"), fstype);
        let disk = self.attach(remote.directory.join(image.file_name().expect("a file")));
        let path = disk.path().to_owned();
        self.keep(disk);
        path
    }
}

impl Remote {
    /// Makes an empty directory on it.
    pub fn mkdir(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.source.join(name)).expect("own /run");
        self.directory.join(name)
    }

    /// From now on whoever asks has to wait.
    pub fn pause(&self) {
        kill(self.pid(), Signal::SIGSTOP).expect("own child");
    }

    /// From the next write on whoever asks has to wait.
    pub fn pause_at_a_write(&self) {
        fs::write(HOLD, "").expect("own /run");
    }

    /// Whether a write waits for its answer.
    pub fn holds_a_write(&self) -> bool {
        Path::new(HELD).exists()
    }

    /// Whoever has waited is answered.
    pub fn resume(&self) {
        let _ = fs::remove_file(HOLD);
        kill(self.pid(), Signal::SIGCONT).expect("own child");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.server.id().cast_signed())
    }
}

/// What this process is to serve, if it was started to.
pub(super) fn is_server() -> bool {
    std::env::args().nth(1).is_some_and(|word| word == SERVER)
}

/// The life of a server: mount, then answer until killed.
pub(super) fn serve() -> ExitCode {
    let mut words = std::env::args().skip(2);
    let (Some(source), Some(directory)) = (words.next(), words.next()) else {
        return ExitCode::FAILURE;
    };
    match Server::mount(source.into(), &directory).and_then(|mut server| server.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{directory}: {err}");
            ExitCode::FAILURE
        }
    }
}

/// The kernel's `linux/fuse.h`, as far as it is needed.
mod op {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const STATFS: u32 = 17;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const OPENDIR: u32 = 27;
    pub(super) const READDIR: u32 = 28;
    pub(super) const RELEASEDIR: u32 = 29;
    pub(super) const ACCESS: u32 = 34;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
}

const ROOT: u64 = 1;
const REQUEST_HEADER: usize = 40;
const MAX_WRITE: u32 = 128 << 10;

struct Server {
    device: File,
    /// The path of each node that was looked up, by its number.
    nodes: HashMap<u64, PathBuf>,
    /// Each file that was opened, by the same number.
    open: HashMap<u64, File>,
}

/// A request's fields, read one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("the kernel sends whole requests");
        self.0 = rest;
        *field
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.bytes())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.bytes())
    }
}

impl Server {
    fn mount(source: PathBuf, directory: &str) -> io::Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let fd = device.as_raw_fd();
        let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("remote"), directory, Some("fuse"), flags, Some(options.as_str()))?;
        Ok(Self { device, nodes: HashMap::from([(ROOT, source)]), open: HashMap::new() })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut request = vec![0; MAX_WRITE as usize + 4096];
        loop {
            // The kernel takes a request back whose caller was killed.
            let length = match self.device.read(&mut request) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                length => length?,
            };
            let (header, body) = request[..length].split_at(REQUEST_HEADER);
            let mut header = Fields(header);
            let (_length, operation) = (header.u32(), header.u32());
            let (unique, node) = (header.u64(), header.u64());
            if !matches!(operation, op::FORGET | op::BATCH_FORGET | op::INTERRUPT) {
                let answer = self.answer(operation, node, body);
                self.reply(unique, answer)?;
            }
        }
    }

    fn reply(&mut self, unique: u64, answer: io::Result<Vec<u8>>) -> io::Result<()> {
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(err) => (-err.raw_os_error().unwrap_or(nix::libc::EIO), Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).expect("no more than was asked for");
        let mut reply = length.to_ne_bytes().to_vec();
        reply.extend(error.to_ne_bytes());
        reply.extend(unique.to_ne_bytes());
        reply.extend(body);
        match self.device.write_all(&reply) {
            // Nobody waits for it any more.
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            written => written,
        }
    }

    fn answer(&mut self, operation: u32, node: u64, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut fields = Fields(body);
        match operation {
            op::INIT => Ok(init()),
            op::LOOKUP => self.look_up(node, body),
            // The size of an image never changes, and its times do not matter.
            op::GETATTR | op::SETATTR => {
                let valid = [0; 16];
                Ok([&valid[..], &attributes(&self.path(node)?.metadata()?)].concat())
            }
            op::OPEN => {
                let path = self.path(node)?;
                let file = OpenOptions::new().read(true).write(true).open(path)?;
                self.open.insert(node, file);
                Ok(opened())
            }
            op::OPENDIR => Ok(opened()),
            op::READ => {
                let (_handle, offset, size) = (fields.u64(), fields.u64(), fields.u32());
                let mut data = vec![0; size as usize];
                let length = self.file(node)?.read_at(&mut data, offset)?;
                data.truncate(length);
                Ok(data)
            }
            op::WRITE => {
                while Path::new(HOLD).exists() {
                    fs::write(HELD, "")?;
                    std::thread::sleep(Duration::from_millis(5));
                }
                let (_handle, offset, size) = (fields.u64(), fields.u64(), fields.u32());
                let data = &body[REQUEST_HEADER..][..size as usize];
                self.file(node)?.write_all_at(data, offset)?;
                Ok([size.to_ne_bytes(), [0; 4]].concat())
            }
            op::STATFS => Ok(vec![0; 80]),
            op::READDIR | op::RELEASE | op::RELEASEDIR | op::FSYNC | op::FLUSH | op::ACCESS => {
                Ok(Vec::new())
            }
            _ => Err(io::Error::from_raw_os_error(nix::libc::ENOSYS)),
        }
    }

    fn look_up(&mut self, parent: u64, body: &[u8]) -> io::Result<Vec<u8>> {
        let name = body.split(|byte| *byte == 0).next().unwrap_or_default();
        let path = self.path(parent)?.join(String::from_utf8_lossy(name).as_ref());
        let metadata = path.symlink_metadata()?;
        let node = metadata.ino() + ROOT;
        self.nodes.insert(node, path);
        let (generation, valid) = ([0; 8], [0; 24]);
        Ok([&node.to_ne_bytes()[..], &generation, &valid, &attributes(&metadata)].concat())
    }

    fn path(&self, node: u64) -> io::Result<&Path> {
        let path = self.nodes.get(&node).map(PathBuf::as_path);
        path.ok_or_else(|| io::Error::from_raw_os_error(nix::libc::ESTALE))
    }

    fn file(&self, node: u64) -> io::Result<&File> {
        self.open.get(&node).ok_or_else(|| io::Error::from_raw_os_error(nix::libc::EBADF))
    }
}

fn init() -> Vec<u8> {
    let (major, minor, readahead, flags) = (7_u32, 31_u32, 0_u32, 0_u32);
    let mut out = [major, minor, readahead, flags].map(u32::to_ne_bytes).concat();
    let (background, congestion) = (16_u16, 12_u16);
    out.extend([background, congestion].map(u16::to_ne_bytes).concat());
    let granularity = 1_u32;
    out.extend([MAX_WRITE, granularity].map(u32::to_ne_bytes).concat());
    out.resize(64, 0);
    out
}

/// An open file, whose pages the kernel does not keep.
fn opened() -> Vec<u8> {
    let (handle, direct_io) = (0_u64, 1_u32);
    [&handle.to_ne_bytes()[..], &direct_io.to_ne_bytes(), &[0; 4]].concat()
}

fn attributes(of: &Metadata) -> Vec<u8> {
    let times = [of.atime(), of.mtime(), of.ctime()].map(i64::cast_unsigned);
    let long = [of.ino() + ROOT, of.size(), of.blocks(), times[0], times[1], times[2]];
    let nanoseconds = [0, 0, 0];
    let [links, block] = [of.nlink(), of.blksize()].map(|n| u32::try_from(n).unwrap_or(1));
    let short = [of.mode(), links, of.uid(), of.gid(), 0, block, 0];
    let short = [&nanoseconds[..], &short].concat();
    let long = long.iter().flat_map(|field| field.to_ne_bytes());
    long.chain(short.iter().flat_map(|field| field.to_ne_bytes())).collect()
}
