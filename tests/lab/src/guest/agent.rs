//! The agent: carries out the host's requests, many at a time, and passes on
//! what the recorder tells. It talks through a port of the virtual machine
//! itself, so it answers also when every network is cut.

use super::fence::Asks;
use crate::wire::{Done, Exec, Frame, Kind, Put};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Where the recorder leaves its messages.
pub const EVENTS: &str = "/run/lab/events";

/// The first port of the first virtio-serial device.
const PORT: &str = "/dev/vport0p1";

/// What the machine's programs log.
const SYSLOG: &str = "/var/log/syslog";

type Inputs = Arc<Mutex<HashMap<u32, ChildStdin>>>;

/// The host, as seen from here; clones write to the same port.
#[derive(Clone)]
struct Host(Arc<Mutex<File>>);

impl Host {
    /// Without a host there is nobody to tell, so failures are not reported.
    fn tell(&self, frame: &Frame) {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = frame.send(&mut *port);
    }

    fn done(&self, id: u32, code: i32, why: Option<String>) {
        if let Ok(frame) = Frame::of(id, Kind::Done, &Done { code, why }) {
            self.tell(&frame);
        }
    }
}

/// A port whose host is away reads as ended: wait for the host instead.
struct Patient(File);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer)? {
                0 => thread::sleep(Duration::from_millis(20)),
                count => return Ok(count),
            }
        }
    }
}

/// Serves until the port fails.
pub fn run() -> ExitCode {
    match serve() {
        Ok(never) => match never {},
        Err(err) => {
            println!("lab-guest: the channel failed: {err}");
            thread::sleep(Duration::from_millis(200));
            ExitCode::FAILURE
        }
    }
}

enum Never {}

fn serve() -> io::Result<Never> {
    let port = OpenOptions::new().read(true).write(true).open(PORT)?;
    let host = Host(Arc::new(Mutex::new(port.try_clone()?)));
    let mut port = Patient(port);
    pass_on_events(host.clone())?;
    keep_syslog()?;
    let asks = Asks::default();
    let teller = host.clone();
    asks.serve(move |frame| teller.tell(frame))?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    host.tell(&Frame::new(0, Kind::Hello, boot.trim()));
    let inputs = Inputs::default();
    loop {
        let frame = Frame::receive(&mut port)?;
        match frame.kind {
            Kind::Exec => {
                let (host, inputs) = (host.clone(), inputs.clone());
                // Registered before the next frame, which may be its input.
                match start(&frame, &inputs) {
                    Ok((child, exec)) => {
                        thread::spawn(move || follow(frame.id, child, &exec, &host, &inputs));
                    }
                    Err(err) => host.done(frame.id, 255, Some(err.to_string())),
                }
            }
            Kind::Stdin => feed(&frame, &inputs),
            Kind::Put => answer(&host, frame.id, put(&frame).map(|()| Vec::new())),
            Kind::Read => answer(&host, frame.id, fs::read(PathBuf::from(frame.text()))),
            Kind::Answer => asks.answered(frame),
            Kind::Hello => host.tell(&Frame::new(0, Kind::Hello, boot.trim())),
            _ => {}
        }
    }
}

fn answer(host: &Host, id: u32, result: io::Result<Vec<u8>>) {
    match result {
        Ok(bytes) => {
            for piece in bytes.chunks(1 << 16) {
                host.tell(&Frame::new(id, Kind::Stdout, piece));
            }
            host.done(id, 0, None);
        }
        Err(err) => host.done(id, 255, Some(err.to_string())),
    }
}

/// The file is whole and on disk before the host hears of it.
fn put(frame: &Frame) -> io::Result<()> {
    let split = frame.body.iter().position(|byte| *byte == 0).unwrap_or(frame.body.len());
    let what: Put = serde_json::from_slice(&frame.body[..split])?;
    let content = frame.body.get(split + 1..).unwrap_or_default();
    let path = Path::new(&what.path);
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    let draft = PathBuf::from(format!("{}.lab-draft", what.path));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(what.mode).open(&draft)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(what.mode))?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(dir)?.sync_all()
}

fn start(frame: &Frame, inputs: &Inputs) -> io::Result<(Child, Exec)> {
    let exec: Exec = frame.value()?;
    let (program, arguments) = exec
        .argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no command given"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(exec.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|err| io::Error::new(err.kind(), format!("cannot run {program}: {err}")))?;
    if let Some(stdin) = child.stdin.take() {
        inputs.lock().unwrap_or_else(PoisonError::into_inner).insert(frame.id, stdin);
    }
    Ok((child, exec))
}

/// Input is written outside the lock by a thread only when there is some, so
/// a command that does not read holds up nobody but its own writer.
fn feed(frame: &Frame, inputs: &Inputs) {
    let mut map = inputs.lock().unwrap_or_else(PoisonError::into_inner);
    if frame.body.is_empty() {
        map.remove(&frame.id);
    } else if let Some(stdin) = map.get_mut(&frame.id)
        && (stdin.write_all(&frame.body).is_err() || stdin.flush().is_err())
    {
        map.remove(&frame.id);
    }
}

/// Sends the command's output and its end to the host.
fn follow(id: u32, mut child: Child, exec: &Exec, host: &Host, inputs: &Inputs) {
    let (closed, pumps) = mpsc::channel();
    let mut open = 0;
    if let Some(stdout) = child.stdout.take() {
        open += 1;
        pump(stdout, id, Kind::Stdout, host.clone(), closed.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        open += 1;
        pump(stderr, id, Kind::Stderr, host.clone(), closed);
    }
    let (ended, end) = mpsc::channel::<()>();
    let group = nix::unistd::Pid::from_raw(child.id() as i32);
    let limit = Duration::from_millis(exec.timeout_ms);
    let guard = (!limit.is_zero()).then(|| {
        thread::spawn(move || {
            let late = end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if late {
                let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            }
            late
        })
    });
    let status = child.wait();
    drop(ended);
    let late = guard.is_some_and(|guard| guard.join().unwrap_or(false));
    // A daemon may keep the pipes: what it says later is nobody's output.
    for _ in 0..open {
        let _ = pumps.recv_timeout(Duration::from_millis(200));
    }
    inputs.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    let code = status
        .map_or(255, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
    let why = late.then(|| format!("killed after its time limit of {} s", limit.as_secs_f64()));
    host.done(id, code, why);
}

fn pump(
    mut from: impl Read + Send + 'static,
    id: u32,
    kind: Kind,
    host: Host,
    closed: mpsc::Sender<()>,
) {
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 15];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            host.tell(&Frame::new(id, kind, &buffer[..count]));
        }
        let _ = closed.send(());
    });
}

/// What programs log goes to one file, as a syslog daemon would have it.
fn keep_syslog() -> io::Result<()> {
    let _ = fs::remove_file("/dev/log");
    let socket = UnixDatagram::bind("/dev/log")?;
    fs::set_permissions("/dev/log", fs::Permissions::from_mode(0o666))?;
    let mut file = OpenOptions::new().append(true).create(true).open(SYSLOG)?;
    thread::spawn(move || {
        let mut buffer = vec![0; 16384];
        while let Ok(count) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            let text = text.split_once('>').map_or(&*text, |(_, text)| text);
            let _ = writeln!(file, "{}", text.trim_end_matches(['\n', '\0']));
        }
    });
    Ok(())
}

/// The recorder's messages become events.
fn pass_on_events(host: Host) -> io::Result<()> {
    let _ = fs::remove_file(EVENTS);
    let socket = UnixDatagram::bind(EVENTS)?;
    thread::spawn(move || {
        let mut buffer = vec![0; 4096];
        while let Ok(count) = socket.recv(&mut buffer) {
            host.tell(&Frame::new(0, Kind::Event, &buffer[..count]));
        }
    });
    Ok(())
}
