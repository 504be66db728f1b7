//! xenstore: its questions and answers, over the socket of its daemon or the
//! kernel's way to it.
//!
//! Each message is four words, which are kind, number, transaction and length,
//! and at most 4 KB. An answer that is cut short, of another number or of
//! another kind is an error, and never a shorter list.

use crate::host::clock::Deadline;
use crate::host::system::{System, View};
use crate::host::unix_socket;
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::poll::PollFlags;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

/// Where the daemon listens.
const SOCKET: &str = "/run/xenstored/socket";

/// The kernel's way to it, also where it runs in a machine of its own.
const DEVICE: &str = "/dev/xen/xenbus";

/// The longest message, without its head.
const LONGEST: usize = 4096;

/// As many questions are asked at a time: their answers wait in the socket.
const AT_ONCE: usize = 64;

/// Kinds of messages, as xs_wire.h numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    Directory = 1,
    Read = 2,
    Write = 11,
    Error = 16,
    IsDomainIntroduced = 17,
    DirectoryPart = 22,
}

/// A line to the store.
#[derive(Debug)]
pub(super) struct Store {
    line: File,
    /// As many questions it takes before it wants the answers to be read.
    at_once: usize,
    deadline: Deadline,
    asked: u32,
    /// What has come and was not read yet.
    coming: Vec<u8>,
}

/// What a question was answered.
type Answer = Result<Vec<u8>, String>;

impl Store {
    /// Opens a line; nothing where nobody listens and the kernel has no way.
    pub(super) fn open(view: &View, deadline: Deadline) -> Result<Option<Self>> {
        let (asked, coming) = Default::default();
        match unix_socket::connect(&view.path(SOCKET), deadline) {
            Ok(socket) => {
                let line = File::from(socket);
                return Ok(Some(Self { line, at_once: AT_ONCE, deadline, asked, coming }));
            }
            Err(err @ (Errno::ENOENT | Errno::ECONNREFUSED)) => {
                view.note(format_args!("{SOCKET}: {err}"));
            }
            Err(err) => return Err(err).context(format!("cannot connect to {SOCKET}")),
        }
        let device = view.path(DEVICE);
        let mut options = File::options();
        match options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&device) {
            Ok(line) => Ok(Some(Self { line, at_once: 1, deadline, asked, coming })),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err).with_context(|| format!("cannot open {DEVICE}")),
        }
    }

    /// The names below a path; nothing where there is no such path.
    pub(super) fn list(&mut self, path: &str) -> Result<Option<Vec<String>>> {
        let body = match self.ask(Kind::Directory, &terminated(path))? {
            Ok(body) => body,
            Err(error) if error == "ENOENT" => return Ok(None),
            Err(error) if error == "E2BIG" => self.parts(path)?,
            Err(error) => bail!("xenstore does not list {path}: {error}"),
        };
        strings(&body).map(Some).with_context(|| format!("xenstore's list of {path} is cut short"))
    }

    /// A list that is longer than a message: each part begins with the list's
    /// generation, which is another one once the list has changed.
    fn parts(&mut self, path: &str) -> Result<Vec<u8>> {
        'anew: while !self.deadline.has_passed() {
            let (mut whole, mut generation) = (Vec::new(), None);
            loop {
                let question = [terminated(path), terminated(&whole.len().to_string())].concat();
                let part = self
                    .ask(Kind::DirectoryPart, &question)?
                    .map_err(|error| anyhow!("xenstore does not list {path}: {error}"))?;
                let end = part.iter().position(|byte| *byte == 0);
                let (now, names) =
                    part.split_at(end.with_context(|| format!("a part of {path} has no head"))?);
                if *generation.get_or_insert_with(|| now.to_vec()) != now {
                    continue 'anew;
                }
                let names = &names[1..];
                ensure!(!names.is_empty(), "a part of xenstore's list of {path} is empty");
                // The last part ends with an empty name.
                if names == [0] || names.ends_with(&[0, 0]) {
                    whole.extend_from_slice(&names[..names.len() - 1]);
                    return Ok(whole);
                }
                whole.extend_from_slice(names);
            }
        }
        bail!("xenstore's list of {path} changes faster than it is read")
    }

    /// What is at each of these paths; nothing where there is no such path.
    pub(super) fn read(&mut self, paths: &[String]) -> Result<Vec<Option<String>>> {
        let questions: Vec<Vec<u8>> = paths.iter().map(|path| terminated(path)).collect();
        let answers = self.ask_all(Kind::Read, &questions)?;
        let told = |(path, answer): (&String, Answer)| match answer {
            Ok(body) => Ok(Some(String::from_utf8_lossy(&body).into_owned())),
            Err(error) if error == "ENOENT" => Ok(None),
            Err(error) => bail!("xenstore does not tell what {path} is: {error}"),
        };
        paths.iter().zip(answers).map(told).collect()
    }

    /// Writes the same word at each of these paths. What has gone meanwhile is no
    /// error.
    pub(super) fn write(&mut self, _: &System<'_>, paths: &[String], word: &str) -> Result<()> {
        let orders: Vec<Vec<u8>> =
            paths.iter().map(|path| [terminated(path), word.into()].concat()).collect();
        let answers = self.ask_all(Kind::Write, &orders)?;
        match paths.iter().zip(answers).find_map(|(path, told)| Some((path, told.err()?))) {
            Some((_, error)) if error == "ENOENT" => Ok(()),
            Some((path, error)) => bail!("xenstore does not write {path}: {error}"),
            None => Ok(()),
        }
    }

    /// Whether the store takes this number for a domain's that is there.
    pub(super) fn is_introduced(&mut self, domain: u32) -> Result<bool> {
        match self.ask(Kind::IsDomainIntroduced, &terminated(&domain.to_string()))? {
            Ok(body) => Ok(body.first() == Some(&b'T')),
            Err(error) => bail!("xenstore does not tell whether domain {domain} is there: {error}"),
        }
    }

    fn ask(&mut self, kind: Kind, body: &[u8]) -> Result<Answer> {
        let mut answers = self.ask_all(kind, &[body.to_vec()])?;
        answers.pop().context("xenstore has not answered")
    }

    fn ask_all(&mut self, kind: Kind, bodies: &[Vec<u8>]) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(bodies.len());
        for some in bodies.chunks(self.at_once) {
            let first = self.asked + 1;
            let mut bytes = Vec::new();
            for body in some {
                ensure!(body.len() <= LONGEST, "a question to xenstore is too long");
                self.asked += 1;
                for word in [kind as u32, self.asked, 0, body.len() as u32] {
                    bytes.extend(word.to_ne_bytes());
                }
                bytes.extend(body);
            }
            self.send(&bytes).context("cannot ask xenstore")?;
            for number in first..=self.asked {
                answers.push(self.receive(kind, number).context("no answer from xenstore")?);
            }
        }
        Ok(answers)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.line.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(err) if is_to_be_repeated(&err) => self.wait(PollFlags::POLLOUT)?,
                Err(err) => return Err(err.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, kind: Kind, number: u32) -> Result<Answer> {
        let head = self.take(16)?;
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (told, answered, length) = (word(0), word(4), word(12) as usize);
        ensure!(answered == number && length <= LONGEST, "it makes no sense");
        let body = self.take(length)?;
        match told {
            told if told == kind as u32 => Ok(Ok(body)),
            told if told == Kind::Error as u32 => {
                Ok(Err(String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned()))
            }
            _ => bail!("it is of another kind"),
        }
    }

    /// The next so many bytes.
    fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.coming.len() < count {
            let mut room = [0; 4 * LONGEST];
            match self.line.read(&mut room) {
                Ok(0) => bail!("the daemon has hung up"),
                Ok(count) => self.coming.extend_from_slice(&room[..count]),
                Err(err) if is_to_be_repeated(&err) => self.wait(PollFlags::POLLIN)?,
                Err(err) => return Err(err.into()),
            }
        }
        let rest = self.coming.split_off(count);
        Ok(std::mem::replace(&mut self.coming, rest))
    }

    fn wait(&self, what: PollFlags) -> Result<()> {
        unix_socket::wait(self.line.as_fd(), what, self.deadline)
    }
}

fn is_to_be_repeated(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// Names, each with a zero behind it; nothing where the last has none.
fn strings(body: &[u8]) -> Option<Vec<String>> {
    let Some(body) = body.strip_suffix(&[0]) else { return body.is_empty().then(Vec::new) };
    Some(
        body.split(|byte| *byte == 0)
            .map(|one| String::from_utf8_lossy(one).into_owned())
            .collect(),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::testing::{Files, soon};
    use std::collections::BTreeMap;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// What the store of a test holds; a long list is told in
    /// parts of 40 bytes.
    pub(in super::super) type Tree = BTreeMap<String, String>;

    /// A store that is served: what it holds, and which paths were written, in
    /// their order.
    pub(in super::super) struct Served {
        pub(in super::super) tree: Tree,
        pub(in super::super) written: Vec<String>,
    }

    /// Serves a store at the socket of a machine made of files, for as long as the
    /// test runs.
    pub(in super::super) fn serve(machine: &Files, tree: Tree) -> Arc<Mutex<Served>> {
        let listener = UnixListener::bind(machine.path(SOCKET)).unwrap();
        let served = Arc::new(Mutex::new(Served { tree, written: Vec::new() }));
        let shared = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = converse(stream, &shared);
            }
        });
        served
    }

    fn converse(mut stream: UnixStream, served: &Mutex<Served>) -> io::Result<()> {
        loop {
            let mut head = [0; 16];
            stream.read_exact(&mut head)?;
            let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
            let mut body = vec![0; word(12) as usize];
            stream.read_exact(&mut body)?;
            let mut words =
                body.split(|byte| *byte == 0).map(|w| String::from_utf8_lossy(w).into_owned());
            let path = words.next().unwrap();
            let Served { tree, written } = &mut *served.lock().unwrap();
            let told: Result<Vec<u8>, &str> = match word(0) {
                1 => listed(tree, &path).ok_or("ENOENT").and_then(|names| match names.len() {
                    0..=64 => Ok(names),
                    _ => Err("E2BIG"),
                }),
                2 => tree.get(&path).map(|value| value.clone().into()).ok_or("ENOENT"),
                11 => {
                    written.push(path.clone());
                    tree.insert(path, words.next().unwrap());
                    Ok(terminated("OK"))
                }
                17 => Ok(if path == "9" { b"F\0".into() } else { b"T\0".into() }),
                22 => {
                    let names = listed(tree, &path).unwrap();
                    let from: usize = words.next().unwrap().parse().unwrap();
                    let part = &names[from..(from + 40).min(names.len())];
                    let end: &[u8] = if from + 40 >= names.len() { &[0] } else { &[] };
                    Ok([b"7\0", part, end].concat())
                }
                _ => Err("ENOSYS"),
            };
            let (kind, body) = match told {
                Ok(body) => (word(0), body),
                Err(error) => (16, terminated(error)),
            };
            for word in [kind, word(4), 0, body.len() as u32] {
                stream.write_all(&word.to_ne_bytes())?;
            }
            stream.write_all(&body)?;
        }
    }

    fn listed(tree: &Tree, path: &str) -> Option<Vec<u8>> {
        let below = format!("{path}/");
        let mut names: Vec<&str> =
            tree.keys().filter_map(|key| key.strip_prefix(&below)?.split('/').next()).collect();
        names.dedup();
        let bytes = names.iter().flat_map(|name| terminated(name)).collect();
        (!names.is_empty()).then_some(bytes)
    }

    fn open(machine: &Files) -> Store {
        let view = machine.view();
        Store::open(&view, view.deadline()).unwrap().unwrap()
    }

    #[test]
    fn what_is_asked_for_is_answered_whole() {
        let machine = Files::new();
        let tree = (0..100).map(|id| (format!("/local/domain/{id}/name"), format!("g{id}")));
        serve(&machine, tree.collect());
        let mut store = open(&machine);
        let names = store.list("/local/domain").unwrap().unwrap();
        assert_eq!(names.len(), 100, "in parts");
        assert_eq!(store.list("/local/domain/7").unwrap().unwrap(), ["name"]);
        assert_eq!(store.list("/nowhere").unwrap(), None);
        let paths: Vec<String> = (0..101).map(|id| format!("/local/domain/{id}/name")).collect();
        let told = store.read(&paths).unwrap();
        assert_eq!((told[99].as_deref(), told[100].as_deref()), (Some("g99"), None));
        assert!(store.is_introduced(1).unwrap() && !store.is_introduced(9).unwrap());
    }

    #[test]
    fn where_nobody_listens_there_is_no_line_and_silence_ends() {
        let machine = Files::new();
        let view = machine.view();
        assert!(Store::open(&view, view.deadline()).unwrap().is_none());
        let listener = UnixListener::bind(machine.path(SOCKET)).unwrap();
        let moment = Deadline::after(Duration::from_millis(50));
        let mut store = Store::open(&view, moment).unwrap().unwrap();
        let silent = format!("{:#}", store.list("/local/domain").unwrap_err());
        assert_eq!(silent, "no answer from xenstore: nothing comes before the deadline");
        drop(listener);
        assert!(soon(|| Store::open(&view, view.deadline()).unwrap().is_none()));
    }

    #[test]
    fn a_list_without_its_end_is_none() {
        assert_eq!(strings(b"0\0a2\0").unwrap(), ["0", "a2"]);
        assert_eq!(strings(b"").unwrap(), [""; 0]);
        assert_eq!(strings(b"0\0a2"), None);
    }
}
