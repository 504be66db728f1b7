//! A connection to libvirt's daemon over its socket on this machine.
//!
//! The daemon has a few workers for what may have to wait for storage, and
//! others for what does not: finding a guest, asking for its state and
//! destroying it are answered while all of the first are stuck.

use super::condition::Condition;
use super::identity::{Identity, Uuid};
use super::wire::{self, Answer, LONGEST, Reader, Refusal, Writer};
use super::{Daemon, Hypervisor};
use crate::host::absence::Absent;
use crate::host::clock::{Deadline, Pace};
use crate::host::system::{System, View};
use crate::host::unix_socket::connect;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, MsgFlags};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Calls by their numbers, to which numbers are only ever added.
mod procedure {
    pub(super) const OPEN: u32 = 1;
    pub(super) const DESTROY: u32 = 12;
    pub(super) const INFO: u32 = 16;
    pub(super) const FIND_BY_NAME: u32 = 23;
    pub(super) const FIND_BY_UUID: u32 = 24;
    pub(super) const RESUME: u32 = 28;
    pub(super) const SHUTDOWN: u32 = 33;
    pub(super) const AUTH_LIST: u32 = 66;
    pub(super) const AUTH_POLKIT: u32 = 70;
    pub(super) const ABORT_JOB: u32 = 164;
    pub(super) const STATE: u32 = 212;
    pub(super) const SHUTDOWN_BY: u32 = 258;
    pub(super) const LIST: u32 = 273;
}

/// How a client is to say who it is, as the daemon lists it.
mod authentication {
    pub(super) const NONE: u32 = 0;
    pub(super) const POLKIT: u32 = 2;
}

/// How long a daemon is waited for that does not run.
const COMING_BACK: Duration = Duration::from_secs(5);

/// libvirt's number for: no such guest.
const NO_DOMAIN: u32 = 42;

/// The word for guests that run, of a list of all.
const ACTIVE: u32 = 1;

/// How a guest is asked to shut down, as virsh calls it.
const WAYS: &[(&str, u32)] =
    &[("acpi", 1), ("agent", 2), ("initctl", 4), ("signal", 8), ("paravirt", 16)];

/// A guest as libvirt refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its name and UUID.
    pub identity: Identity,
    uuid: Uuid,
    id: i32,
}

impl Domain {
    /// One of which the UUID is known, without asking for it.
    pub fn known(identity: &Identity) -> Option<Self> {
        Some(Self { identity: identity.clone(), uuid: identity.uuid?, id: -1 })
    }

    fn write(&self) -> Writer {
        Writer::default()
            .text(&self.identity.name)
            .bytes(&self.uuid.0)
            .number(self.id.cast_unsigned())
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (name, uuid) = (reader.text()?, Uuid(reader.fixed()?));
        Ok(Self { identity: Identity { name, uuid: Some(uuid) }, uuid, id: reader.signed()? })
    }
}

/// Ways of asking a guest to shut down: `acpi,agent`; none is libvirt's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownMode(u32);

impl ShutdownMode {
    /// Reads virsh's words.
    pub fn parse(text: &str) -> Option<Self> {
        let bit = |word: &str| WAYS.iter().find(|(name, _)| *name == word).map(|(_, bit)| bit);
        let words = text.split(',').map(str::trim);
        words.map(bit).try_fold(0, |all, bit| Some(all | bit?)).map(Self)
    }

    /// The words there are.
    pub fn words() -> impl Iterator<Item = &'static str> {
        WAYS.iter().map(|(name, _)| *name)
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    path: PathBuf,
    deadline: Deadline,
    serial: u32,
    /// Answers to calls that nobody has asked for yet.
    answers: BTreeMap<u32, Answer>,
    /// What has come of the next message.
    coming: Vec<u8>,
}

impl Connection {
    /// Connects until `limit` at the latest, with which all later waits end
    /// too. Where the service manager listens for the daemon, that starts it:
    /// see [`Daemon`](super::Daemon).
    pub fn open(view: &View, hypervisor: &Hypervisor, limit: Deadline) -> Result<Self> {
        let mut refused = None;
        for path in hypervisor.sockets() {
            let path = view.path(path);
            let opened = connect(&path, limit);
            view.note(format_args!("connect {} = {:?}", path.display(), opened.as_ref().map(drop)));
            let socket = match opened {
                Ok(socket) => socket,
                Err(err) => {
                    let err = anyhow::Error::from(err);
                    let what = format!("cannot connect to libvirt at {}", path.display());
                    refused.get_or_insert(err.context(what));
                    continue;
                }
            };
            let (answers, coming) = Default::default();
            let mut new = Self { socket, path, deadline: limit, serial: 0, answers, coming };
            new.enter(hypervisor)?;
            return Ok(new);
        }
        Err(refused.unwrap_or_else(|| anyhow::anyhow!("libvirt has no socket for {hypervisor}")))
    }

    /// Connects to a daemon that runs, or comes back: a service manager starts one that
    /// died, and one that is upgraded, anew within seconds. Who gives up sooner ends
    /// guests by force that could have been asked. All waits end with `limit`.
    pub fn awaited(view: &View, hypervisor: &Hypervisor, limit: Deadline) -> Result<Self> {
        let coming_back = limit.at_most(COMING_BACK);
        let mut pace = Pace::new();
        loop {
            match Self::to_running(view, hypervisor, limit) {
                Err(_) if !coming_back.has_passed() => pace.rest(coming_back),
                done => return done,
            }
        }
    }

    /// Connects to a daemon that runs, and starts none.
    pub(super) fn to_running(
        view: &View,
        hypervisor: &Hypervisor,
        limit: Deadline,
    ) -> Result<Self> {
        Daemon::find(view, hypervisor)?.context("libvirt does not run")?;
        Self::open(view, hypervisor, limit)
    }

    /// Says who we are and what we want. The list of ways to do so has to be
    /// asked for first, also where none is needed.
    fn enter(&mut self, hypervisor: &Hypervisor) -> Result<()> {
        let listed = self.call(procedure::AUTH_LIST, Writer::default())?;
        let mut reader = Reader::new(&listed);
        let ways = reader.list(Reader::number).with_context(|| self.nonsense())?;
        if ways.contains(&authentication::POLKIT) {
            self.call(procedure::AUTH_POLKIT, Writer::default())
                .context("libvirt does not let us in by polkit")?;
        } else if ways.iter().any(|way| *way != authentication::NONE) {
            bail!("libvirt at {} wants a password", self.path.display());
        }
        let open = Writer::default().number(1).text(hypervisor.name()).number(0);
        self.call(procedure::OPEN, open).with_context(|| format!("cannot open {hypervisor}"))?;
        Ok(())
    }

    /// The guest, if libvirt knows one, running or not; or proof that it does
    /// not.
    pub fn find(&mut self, identity: &Identity) -> Result<Result<Domain, Absent>> {
        let by_uuid = identity.uuid.map(|uuid| Writer::default().bytes(&uuid.0));
        let by_name = Writer::default().text(&identity.name);
        let calls = by_uuid
            .map(|uuid| (procedure::FIND_BY_UUID, uuid))
            .into_iter()
            .chain([(procedure::FIND_BY_NAME, by_name)]);
        for (procedure, words) in calls {
            match self.ask(procedure, words)? {
                Ok(found) => return self.read(&found, Domain::read).map(Ok),
                Err(refusal) if refusal.code == NO_DOMAIN => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(Err(Absent::seen("libvirt knows no such guest")))
    }

    /// What the guest does; proof where it does not run, or is not known any
    /// more.
    pub fn condition(&mut self, domain: &Domain) -> Result<Result<Condition, Absent>> {
        let told = match self.ask(procedure::STATE, domain.write().number(0))? {
            Err(refusal) if refusal.code == NO_DOMAIN => {
                return Ok(Err(Absent::seen("libvirt knows no such guest")));
            }
            told => told?,
        };
        let numbers = self.read(&told, |reader| Ok((reader.signed()?, reader.signed()?)))?;
        Ok(match Condition::of_numbers(numbers.0, numbers.1) {
            Condition::Off => Err(Absent::seen("libvirt says that the guest is off")),
            condition => Ok(condition),
        })
    }

    /// The guests that run, all of them.
    pub fn running(&mut self) -> Result<Vec<Domain>> {
        let told = self.call(procedure::LIST, Writer::default().number(1).number(ACTIVE))?;
        self.read(&told, |reader| {
            let domains = reader.list(Domain::read)?;
            let count = reader.number()?;
            ensure!(count as usize == domains.len(), "{} of {count} guests", domains.len());
            Ok(domains)
        })
    }

    /// Returns when all that has waited for one of the workers that may be
    /// stuck has been begun.
    pub fn pass_queue(&mut self, domain: &Domain) -> Result<()> {
        // Whether there is such a guest is not the question.
        self.ask(procedure::INFO, domain.write()).map(drop)
    }

    /// Has a guest go on that is paused.
    pub fn resume(&mut self, _: &System<'_>, domain: &Domain) -> Result<()> {
        self.call(procedure::RESUME, domain.write()).map(drop)
    }

    /// Ends what libvirt does to the guest at length: a migration, a dump.
    pub fn abort_job(&mut self, _: &System<'_>, domain: &Domain) -> Result<()> {
        self.call(procedure::ABORT_JOB, domain.write()).map(drop)
    }

    /// Asks all of these to shut down, at once. What libvirt has against it, by
    /// the guest's place among them.
    pub fn shut_down(
        &mut self,
        system: &System<'_>,
        domains: &[Domain],
        mode: ShutdownMode,
    ) -> Result<Vec<(usize, Refusal)>> {
        let ask = |domain: &Domain| match mode.0 {
            0 => (procedure::SHUTDOWN, domain.write()),
            ways => (procedure::SHUTDOWN_BY, domain.write().number(ways)),
        };
        self.all(system, "shutdown", domains, ask)
    }

    /// Destroys all of these, side by side. What libvirt has against it, by the
    /// guest's place among them.
    pub fn destroy(
        &mut self,
        system: &System<'_>,
        domains: &[Domain],
    ) -> Result<Vec<(usize, Refusal)>> {
        self.all(system, "destroy", domains, |domain| (procedure::DESTROY, domain.write()))
    }

    fn all(
        &mut self,
        system: &System<'_>,
        verb: &str,
        domains: &[Domain],
        ask: impl Fn(&Domain) -> (u32, Writer),
    ) -> Result<Vec<(usize, Refusal)>> {
        let mut serials = Vec::with_capacity(domains.len());
        for domain in domains {
            let (procedure, words) = ask(domain);
            serials.push(self.send(procedure, words)?);
        }
        let mut refused = Vec::new();
        for (place, serial) in serials.into_iter().enumerate() {
            let answer = self.answer(serial)?;
            let domain = &domains[place];
            system.note(format_args!(
                "{verb} {} = {:?}",
                domain.identity,
                answer.as_ref().map(drop)
            ));
            refused.extend(answer.err().map(|refusal| (place, refusal)));
        }
        Ok(refused)
    }

    fn call(&mut self, procedure: u32, words: Writer) -> Result<Vec<u8>> {
        Ok(self.ask(procedure, words)??)
    }

    fn ask(&mut self, procedure: u32, words: Writer) -> Result<Answer> {
        let serial = self.send(procedure, words)?;
        self.answer(serial)
    }

    fn read<T>(
        &self,
        content: &[u8],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut reader = Reader::new(content);
        let value = read(&mut reader).with_context(|| self.nonsense())?;
        reader.end().with_context(|| self.nonsense())?;
        Ok(value)
    }

    fn nonsense(&self) -> String {
        format!("libvirt at {} answers what makes no sense", self.path.display())
    }

    /// Sends a call. What comes meanwhile is taken in: a daemon whose answers
    /// nobody takes does not take calls either.
    fn send(&mut self, procedure: u32, words: Writer) -> Result<u32> {
        self.serial += 1;
        let message = words.call(procedure, self.serial);
        let mut left = &message[..];
        while !left.is_empty() {
            match socket::send(self.socket.as_raw_fd(), left, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => left = &left[sent..],
                Err(Errno::EAGAIN) => {
                    self.wait(PollFlags::POLLIN | PollFlags::POLLOUT)?;
                    self.take_in()?;
                }
                Err(Errno::EINTR) => {}
                Err(err) => return Err(err).with_context(|| self.gone()),
            }
        }
        Ok(self.serial)
    }

    fn answer(&mut self, serial: u32) -> Result<Answer> {
        loop {
            if let Some(answer) = self.answers.remove(&serial) {
                return Ok(answer);
            }
            self.wait(PollFlags::POLLIN)?;
            self.take_in()?;
        }
    }

    fn wait(&self, events: PollFlags) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(self.socket.as_fd(), events)];
            let left = PollTimeout::try_from(self.deadline.left_ms()).unwrap_or(PollTimeout::ZERO);
            match poll(&mut fds, left) {
                Ok(0) if self.deadline.has_passed() => {
                    bail!("libvirt at {} does not answer", self.path.display())
                }
                Ok(0) | Err(Errno::EINTR) => {}
                polled => return polled.map(drop).context("cannot wait for libvirt"),
            }
        }
    }

    /// Takes in what has come, without waiting for more.
    fn take_in(&mut self) -> Result<()> {
        let mut chunk = [0; 16 << 10];
        loop {
            match socket::recv(self.socket.as_raw_fd(), &mut chunk, MsgFlags::empty()) {
                Ok(0) => bail!("{}", self.gone()),
                Ok(count) => self.coming.extend(&chunk[..count]),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(err) => return Err(err).with_context(|| self.gone()),
            }
            ensure!(self.coming.len() <= 2 * LONGEST, "{}", self.nonsense());
        }
        while let Some(first) = self.coming.first_chunk() {
            let length = wire::length(*first).with_context(|| self.nonsense())?;
            if self.coming.len() < length {
                break;
            }
            let message: Vec<u8> = self.coming.drain(..length).collect();
            self.answers.extend(wire::answer(&message).with_context(|| self.nonsense())?);
        }
        Ok(())
    }

    fn gone(&self) -> String {
        format!("libvirt at {} has ended the connection", self.path.display())
    }
}

/// How long an answer is waited for that is not from a worker which may be
/// stuck.
pub(super) const PROMPT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::super::wire::HEAD;
    use super::*;
    use crate::host::libvirt::guests::tests::UUID;
    use crate::testing::Files;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Instant;

    /// A daemon that answers each call with what `answer` makes of its number:
    /// a status and a content.
    fn daemon(answer: fn(u32) -> Option<(u8, Writer)>) -> (Files, View) {
        let machine = Files::new();
        let listener = UnixListener::bind(machine.path("/run/libvirt/libvirt-sock")).unwrap();
        let serve = move |mut line: UnixStream| {
            let mut head = [0; HEAD];
            while line.read_exact(&mut head).is_ok() {
                let mut reader = Reader::new(&head);
                let numbers: Vec<u32> = (0..7).map(|_| reader.number().unwrap()).collect();
                line.read_exact(&mut vec![0; numbers[0] as usize - HEAD]).unwrap();
                let Some((status, content)) = answer(numbers[3]) else { continue };
                let mut message = content.call(numbers[3], numbers[5]);
                (message[19], message[27]) = (1, status);
                // In two parts, of which the first has not even the length.
                line.write_all(&message[..2]).unwrap();
                std::thread::sleep(Duration::from_millis(2));
                if line.write_all(&message[2..]).is_err() {
                    return;
                }
            }
        };
        std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
        let view = machine.view();
        (machine, view)
    }

    fn test() -> Hypervisor {
        Hypervisor::parse("test:///default").unwrap()
    }

    fn web() -> Domain {
        Domain::known(&Identity { name: "web".into(), uuid: Uuid::parse(UUID) }).unwrap()
    }

    fn open(view: &View) -> Result<Connection> {
        Connection::open(view, &test(), view.deadline())
    }

    fn usual(procedure: u32) -> Option<(u8, Writer)> {
        let refused = |code| (1, Writer::default().number(code).number(10).number(1).text("no"));
        Some(match procedure {
            procedure::AUTH_LIST => (0, Writer::default().number(1).number(0)),
            procedure::OPEN | procedure::DESTROY => (0, Writer::default()),
            procedure::FIND_BY_UUID => refused(NO_DOMAIN),
            procedure::FIND_BY_NAME => (0, web().write()),
            procedure::STATE => (0, Writer::default().number(3).number(5)),
            procedure::LIST => {
                (0, Writer::default().number(2).bytes(&web().write_all_of(2)).number(2))
            }
            procedure::SHUTDOWN => refused(55),
            _ => return None,
        })
    }

    impl Domain {
        fn write_all_of(&self, count: usize) -> Vec<u8> {
            let one = self.write().call(0, 0)[HEAD..].to_vec();
            one.repeat(count)
        }
    }

    #[test]
    fn a_guest_is_found_and_asked_for() {
        let (_machine, view) = daemon(usual);
        let mut line = open(&view).unwrap();
        let found = line.find(&web().identity).unwrap().unwrap();
        assert_eq!(found, web());
        let condition = line.condition(&found).unwrap().unwrap();
        assert_eq!(condition.to_string(), "it is paused by an I/O error of a disk");
        assert_eq!(line.running().unwrap(), [web(), web()]);
        view.with_write_access(|system| {
            let refused = line.shut_down(system, &[web(), web()], ShutdownMode::default()).unwrap();
            assert_eq!(
                refused.iter().map(|(at, no)| (*at, no.code)).collect::<Vec<_>>(),
                [(0, 55), (1, 55)]
            );
            assert_eq!(line.destroy(system, &vec![web(); 200]).unwrap(), []);
        });
    }

    #[test]
    fn what_libvirt_does_not_know_is_absent_and_what_it_refuses_to_say_is_not() {
        let not_known = |procedure| match procedure {
            procedure::FIND_BY_NAME | procedure::STATE => usual(procedure::FIND_BY_UUID),
            other => usual(other),
        };
        let (_machine, view) = daemon(not_known);
        let mut line = open(&view).unwrap();
        assert!(line.find(&web().identity).unwrap().is_err());
        assert!(line.condition(&web()).unwrap().is_err());
        let refuses = |procedure| match procedure {
            procedure::FIND_BY_NAME | procedure::STATE => usual(procedure::SHUTDOWN),
            other => usual(other),
        };
        let (_machine, view) = daemon(refuses);
        let mut line = open(&view).unwrap();
        assert_eq!(line.find(&web().identity).unwrap_err().to_string(), "libvirt: no");
        assert!(line.condition(&web()).is_err());
    }

    #[test]
    fn a_list_that_says_it_is_longer_is_an_error() {
        let short = |procedure| match procedure {
            procedure::LIST => {
                Some((0, Writer::default().number(1).bytes(&web().write_all_of(1)).number(2)))
            }
            other => usual(other),
        };
        let (_machine, view) = daemon(short);
        assert!(open(&view).unwrap().running().is_err());
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_not_waited_for_longer_than_said() {
        let (machine, _) = daemon(|_| None);
        let view = machine.view_for(Duration::from_millis(300));
        let begun = Instant::now();
        let silent = open(&view).unwrap_err().to_string();
        assert!(silent.ends_with("libvirt-sock does not answer"), "{silent}");
        assert!((0.2..5.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_daemon_that_takes_nobody_in_is_not_waited_for_either() {
        let machine = Files::new();
        let path = machine.path("/run/libvirt/libvirt-sock");
        let listens = UnixListener::bind(&path).unwrap();
        // Left to itself it has thousands wait, more than this process may have
        // files open.
        socket::listen(&listens, socket::Backlog::new(1).unwrap()).unwrap();
        let mut waiting = Vec::new();
        // As many as may wait for it.
        while let Ok(one) = connect(&path, Deadline::after(Duration::ZERO)) {
            waiting.push(one);
        }
        let begun = Instant::now();
        let view = machine.view_for(Duration::from_millis(300));
        let refused = format!("{:#}", open(&view).unwrap_err());
        assert!(refused.contains("cannot connect to libvirt"), "{refused}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn ways_of_shutting_down_have_virshs_words() {
        assert_eq!(ShutdownMode::parse("acpi,agent"), Some(ShutdownMode(3)));
        for wrong in ["", "acpi agent", "power"] {
            assert_eq!(ShutdownMode::parse(wrong), None, "{wrong}");
        }
    }
}
