//! A network of the lab: a learning switch between the machines' network
//! cards, each of which is a unix socket. No frame ever reaches the host's
//! own network.
//!
//! A machine can be cut off silently: its cards keep their carrier and its
//! frames vanish in both directions. Loss of carrier is another fault, and
//! QEMU's.

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A frame that finds this many bytes waiting for its receiver is dropped, as
/// a real switch would: a machine that is frozen must not hold up the others.
const QUEUE: usize = 1 << 20;

/// No frame is longer, also with the offloads of virtio.
const LONGEST: usize = 1 << 17;

/// The machines that are cut off silently.
#[derive(Clone, Default)]
pub struct Silenced(Arc<Mutex<BTreeSet<String>>>);

impl Silenced {
    /// Cuts a machine off, or connects it again.
    pub fn set(&self, machine: &str, silent: bool) {
        let mut machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if silent {
            machines.insert(machine.to_owned());
        } else {
            machines.remove(machine);
        }
    }

    fn holds(&self, machine: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(machine)
    }
}

/// One card's end.
struct Port {
    machine: String,
    listener: UnixListener,
    stream: Option<UnixStream>,
    arrived: Vec<u8>,
    waiting: VecDeque<u8>,
}

/// Starts a switch with one listening socket for each card, given as the
/// card's machine and the socket's path.
pub fn start(cards: &[(String, impl AsRef<Path>)]) -> Result<Silenced> {
    let silenced = Silenced::default();
    let mut ports = Vec::new();
    for (machine, path) in cards {
        let path = path.as_ref();
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen at {}", path.display()))?;
        listener.set_nonblocking(true)?;
        ports.push(Port {
            machine: machine.clone(),
            listener,
            stream: None,
            arrived: Vec::new(),
            waiting: VecDeque::new(),
        });
    }
    let seen = silenced.clone();
    std::thread::spawn(move || {
        let mut learned = HashMap::new();
        while turn(&mut ports, &mut learned, &seen).is_ok() {}
    });
    Ok(silenced)
}

type Learned = HashMap<[u8; 6], usize>;

/// Waits for anything to do and does it.
fn turn(ports: &mut [Port], learned: &mut Learned, silenced: &Silenced) -> nix::Result<()> {
    let ready = await_ready(ports)?;
    // New cards first: a frame that is here already may be for one of them.
    for index in &ready {
        ports[*index].accept();
    }
    for index in ready {
        ports[index].flush();
        for frame in ports[index].take() {
            forward(ports, index, &frame, learned, silenced);
        }
    }
    Ok(())
}

fn await_ready(ports: &[Port]) -> nix::Result<BTreeSet<usize>> {
    let mut fds = Vec::new();
    let mut owners = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        fds.push(PollFd::new(port.listener.as_fd(), PollFlags::POLLIN));
        owners.push(index);
        if let Some(stream) = &port.stream {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, !port.waiting.is_empty());
            fds.push(PollFd::new(stream.as_fd(), flags));
            owners.push(index);
        }
    }
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(err) => return Err(err),
    }
    let any = |fd: &PollFd| fd.revents().is_some_and(|events| !events.is_empty());
    Ok(fds.iter().zip(owners).filter(|(fd, _)| any(fd)).map(|(_, owner)| owner).collect())
}

/// To the port where the receiver was last seen, or to all others.
fn forward(
    ports: &mut [Port],
    from: usize,
    frame: &[u8],
    learned: &mut Learned,
    silenced: &Silenced,
) {
    let (Some(to), Some(source)) = (address(frame, 4), address(frame, 10)) else { return };
    if silenced.holds(&ports[from].machine) {
        return;
    }
    learned.insert(source, from);
    let known = learned.get(&to).copied().filter(|_| to[0] & 1 == 0);
    let machine = ports[from].machine.clone();
    for (index, port) in ports.iter_mut().enumerate() {
        // Two cards of a bond share an address: a flooded frame must not
        // come back to the machine it is from.
        if known.map_or(port.machine != machine, |known| known == index)
            && !silenced.holds(&port.machine)
        {
            port.queue(frame);
        }
    }
}

fn address(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..at + 6)?.try_into().ok()
}

impl Port {
    /// Takes the card of a machine that was started, or started anew.
    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            self.stream = Some(stream);
            self.arrived.clear();
            self.waiting.clear();
        }
    }

    /// The whole frames that have arrived, each with its four bytes of length.
    fn take(&mut self) -> Vec<Vec<u8>> {
        let Some(stream) = &mut self.stream else { return Vec::new() };
        let mut buffer = [0; 1 << 16];
        let gone = match stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                self.arrived.extend(&buffer[..count]);
                false
            }
            Err(err) => !matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        };
        let mut frames = Vec::new();
        let mut rest = &self.arrived[..];
        let mut broken = false;
        while let Some(head) = rest.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*head) as usize;
            broken = end > LONGEST;
            if broken || rest.len() < end {
                break;
            }
            frames.push(rest[..end].to_vec());
            rest = &rest[end..];
        }
        self.arrived = rest.to_vec();
        if gone || broken {
            self.stream = None;
        }
        frames
    }

    fn queue(&mut self, frame: &[u8]) {
        if self.stream.is_some() && self.waiting.len() + frame.len() <= QUEUE {
            self.waiting.extend(frame);
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        while !self.waiting.is_empty() {
            match stream.write(self.waiting.as_slices().0) {
                Ok(0) => break,
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A frame from one card's address to another's, with its length in front.
    fn frame(to: u8, from: u8) -> Vec<u8> {
        let mut bytes = 60u32.to_be_bytes().to_vec();
        bytes.extend([2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from]);
        bytes.resize(64, 0);
        bytes
    }

    /// Whether a frame is there, or comes within the time.
    fn receives(card: &mut UnixStream, patience: Duration) -> bool {
        card.set_read_timeout(Some(patience)).unwrap();
        card.read_exact(&mut [0; 64]).is_ok()
    }

    /// What must come may take its time on a busy machine.
    fn received(card: &mut UnixStream) -> bool {
        receives(card, Duration::from_secs(20))
    }

    /// What must not come has had time enough after this.
    fn nothing(card: &mut UnixStream) -> bool {
        !receives(card, Duration::from_millis(300))
    }

    #[test]
    fn frames_go_where_their_receiver_was_seen_and_never_past_a_cut() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["a", "b", "c"].map(|name| (name.to_owned(), dir.path().join(name)));
        let silenced = start(&names).unwrap();
        let mut cards = names.map(|(_, path)| UnixStream::connect(path).unwrap());
        // A card is plugged in once the switch has noticed: 9 is nobody.
        let mut until = || {
            cards[0].write_all(&frame(9, 1)).unwrap();
            let [_, second, third] = &mut cards;
            let brief = Duration::from_millis(50);
            receives(second, brief) && receives(third, brief)
        };
        assert!((0..200).any(|_| until()), "the switch has not noticed its cards");
        for card in &mut cards {
            while receives(card, Duration::from_millis(300)) {}
        }
        // Nobody knows 2 yet: everyone but the sender hears of it.
        cards[0].write_all(&frame(2, 1)).unwrap();
        assert!(received(&mut cards[1]) && received(&mut cards[2]));
        assert!(nothing(&mut cards[0]));
        // 1 has been seen, so its answer is for it alone.
        cards[1].write_all(&frame(1, 2)).unwrap();
        assert!(received(&mut cards[0]) && nothing(&mut cards[2]));
        silenced.set("a", true);
        cards[1].write_all(&frame(1, 2)).unwrap();
        assert!(nothing(&mut cards[0]), "a frame reached a machine that is cut off");
        silenced.set("a", false);
        cards[1].write_all(&frame(1, 2)).unwrap();
        assert!(received(&mut cards[0]));
    }
}
