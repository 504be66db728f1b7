//! What start remembers of each export it has begun to serve: by what the
//! kernel does not rename. It is held against the kernel at every use.

use super::Vblade;
use super::exports::Mac;
use common::host::aoe::{Address, Socket};
use common::host::opened::Thing;
use common::host::record::Damaged;
use common::{System, View};
use std::path::PathBuf;

/// Raised when the lines change; a file of another version is no record.
const VERSION: &str = "2";

/// What a start has noted of all exports: the text, of which a monitor reads
/// what it needs. There may be hundreds of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    text: String,
    /// Where the first line of an export begins, and how many there are.
    lines: usize,
    count: usize,
}

/// By what an export is known to be served as it was, at each monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serving {
    pub(super) cookie: u64,
    pub(super) inode: u32,
    pub(super) pid: i32,
    /// Which of the hosts it is on, by its place among them.
    pub(super) host: usize,
}

/// An interface by its number, and the hardware address that it had.
pub(super) type Host = (u32, Mac);

impl Record {
    /// Reads its head: nothing of another boot, whose numbers mean others now; none
    /// at all is a file that was cut short.
    fn of(text: String, boot: &str) -> Option<Option<Self>> {
        let rest = text.strip_prefix(VERSION)?.strip_prefix('\n')?;
        let (noted, rest) = rest.split_once('\n')?;
        if noted != boot {
            return Some(None);
        }
        let (count, lines) = rest.split_once('\n')?;
        let (count, lines) = (count.parse().ok()?, text.len() - lines.len());
        Some(Some(Self { text, lines, count }))
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text[self.lines..].lines()
    }

    /// The exports, if they all are there.
    pub(super) fn exports(&self) -> Option<Vec<Noted>> {
        let exports: Vec<Noted> = self.lines().map(Noted::parse).collect::<Option<_>>()?;
        (exports.len() == self.count).then_some(exports)
    }

    /// By what each of them is known, if each has been served, and the hosts that
    /// they are on, each once.
    pub(super) fn serving(&self) -> Option<(Vec<Serving>, Vec<Host>)> {
        let mut all = Vec::with_capacity(self.count.min(self.text.len()));
        let mut hosts: Vec<Host> = Vec::new();
        // One line after the other has the same.
        let (mut last, mut host) = ("", 0);
        for line in self.lines() {
            let mut rest = line;
            let cookie = number(&mut rest, b' ')?;
            let inode = number(&mut rest, b' ')?.try_into().ok()?;
            let pid = number(&mut rest, b' ')?.try_into().ok()?;
            number(&mut rest, b'\t')?;
            if last.is_empty() || !rest.starts_with(last) {
                let (index, after) = rest.split_once('\t')?;
                let (mac, _) = after.split_once('\t')?;
                last = rest.get(..index.len() + mac.len() + 2)?;
                let one = (index.parse().ok()?, bytes(mac)?);
                let known = hosts.iter().position(|known| *known == one);
                host = known.unwrap_or(hosts.len());
                if known.is_none() {
                    hosts.push(one);
                }
            }
            all.push(Serving { cookie, inode, pid, host });
        }
        (all.len() == self.count).then_some((all, hosts))
    }
}

/// The number at the beginning, which ends with this byte. None that is meant
/// has more than nineteen digits.
fn number(text: &mut &str, end: u8) -> Option<u64> {
    let (mut value, mut digits) = (0u64, 0);
    for byte in text.bytes().take(20) {
        match byte {
            b'0'..=b'9' => value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
            _ if byte == end && digits > 0 => {
                *text = text.get(digits + 1..)?;
                return Some(value);
            }
            _ => return None,
        }
        digits += 1;
    }
    None
}

/// One export, as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) address: Address,
    /// What the interface was called.
    pub(super) nic: String,
    /// Its number.
    pub(super) index: u32,
    /// The hardware address that vblade answers from: it looks once.
    pub(super) mac: Mac,
    /// The device or file, and by which path it was found.
    pub(super) thing: Thing,
    pub(super) path: PathBuf,
    pub(super) masks: Vec<Mac>,
    /// What serves it; none as long as that is about to be started.
    pub(super) server: Option<Server>,
}

/// A process, and its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) pid: i32,
    /// When it was started, in ticks since the system was.
    pub(super) started: u64,
    pub(super) cookie: u64,
    pub(super) inode: u32,
}

impl Server {
    /// Whether it is this socket. A number alone may come again.
    pub(super) fn has(&self, socket: &Socket) -> bool {
        is_one(self.cookie, self.inode, socket)
    }
}

impl Serving {
    /// The same.
    pub(super) fn has(&self, socket: &Socket) -> bool {
        is_one(self.cookie, self.inode, socket)
    }
}

fn is_one(cookie: u64, inode: u32, socket: &Socket) -> bool {
    cookie != 0 && cookie == socket.cookie && inode == socket.inode
}

impl Noted {
    /// `e0.1 on eth0`.
    pub(super) fn place(&self) -> String {
        format!("{} on {}", self.address, self.nic)
    }

    fn text(&self) -> String {
        let Self { address, nic, index, thing, path, .. } = self;
        let server = self.server.map_or("-".to_owned(), |server| {
            let Server { pid, started, cookie, inode } = server;
            format!("{cookie} {inode} {pid} {started}")
        });
        let masks: Vec<String> = self.masks.iter().map(hex).collect();
        let (mac, masks) = (hex(&self.mac), masks.join(","));
        format!("{server}\t{index}\t{mac}\t{address}\t{nic}\t{thing}\t{masks}\t{}", path.display())
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let (server, index, mac, address) = (next()?, next()?, next()?, next()?);
        let (nic, thing, masks, path) = (next()?, next()?, next()?, next()?);
        let masks = masks.split(',').filter(|mask| !mask.is_empty());
        Some(Self {
            address: Address::parse(address)?,
            nic: nic.to_owned(),
            index: index.parse().ok()?,
            mac: bytes(mac)?,
            thing: Thing::parse(thing)?,
            path: PathBuf::from(path),
            masks: masks.map(bytes).collect::<Option<_>>()?,
            server: match server {
                "-" => None,
                numbers => Some(read_server(numbers)?),
            },
        })
    }
}

fn read_server(numbers: &str) -> Option<Server> {
    let mut numbers = numbers.split(' ');
    Some(Server {
        cookie: numbers.next()?.parse().ok()?,
        inode: numbers.next()?.parse().ok()?,
        pid: numbers.next()?.parse().ok()?,
        started: numbers.next()?.parse().ok()?,
    })
}

fn hex(mac: &Mac) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> Option<Mac> {
    let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 12)?;
    number.to_be_bytes()[2..].try_into().ok()
}

/// All that a start has noted.
pub(super) fn text(boot: &str, exports: &[Noted]) -> String {
    let lines: String = exports.iter().map(|noted| noted.text() + "\n").collect();
    format!("{VERSION}\n{boot}\n{}\n{lines}", exports.len())
}

fn boot(view: &View) -> String {
    view.read("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_end().to_owned()
}

impl Vblade {
    fn record_name(&self) -> String {
        format!("vblade-{}.state", self.file)
    }

    /// What was noted of these exports, by whichever start.
    pub(super) fn record(&self, view: &View) -> Result<Option<Record>, Damaged> {
        read(view, &self.record_name())
    }

    pub(super) fn remember(&self, system: &System<'_>, exports: &[Noted]) -> anyhow::Result<()> {
        system.write_record(&self.record_name(), &text(&boot(system), exports))
    }

    pub(super) fn forget(&self, system: &System<'_>) -> anyhow::Result<()> {
        system.remove_record(&self.record_name())
    }
}

/// What was noted, for whoever has only the name of the file.
pub(super) fn of_file(view: &View, file: &str) -> Option<Vec<Noted>> {
    read(view, &format!("vblade-{file}.state")).unwrap_or_default()?.exports()
}

fn read(view: &View, name: &str) -> Result<Option<Record>, Damaged> {
    let boot = boot(view);
    Ok(view.record_whole(name, |text| Record::of(text, &boot))?.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::host::block::Number;

    fn noted() -> Noted {
        Noted {
            address: Address { shelf: 0, slot: 1 },
            nic: "bond0".into(),
            index: 3,
            mac: [2, 0, 0, 0, 0, 1],
            thing: Thing::Device(Number { major: 147, minor: 1 }),
            path: "/dev/drbd1".into(),
            masks: vec![[2, 0, 0, 0, 0, 9], [0xff, 0, 0, 0, 0, 9]],
            server: Some(Server { pid: 7, started: 99, cookie: 4097, inode: 12 }),
        }
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let begun = Noted { server: None, masks: Vec::new(), ..noted() };
        let exports = [noted(), begun];
        let text = text("boot", &exports);
        let record = Record::of(text, "boot").unwrap().unwrap();
        assert_eq!(record.exports().unwrap(), exports);
        assert_eq!(record.serving(), None, "one of them is only about to be started");
    }

    #[test]
    fn what_a_monitor_reads_is_the_same() {
        let (one, other) = (noted(), Noted { mac: [0xfe; 6], index: 4, ..noted() });
        let text = text("boot", &[one.clone(), other, one]);
        let record = Record::of(text, "boot").unwrap().unwrap();
        let serving = |host| Serving { cookie: 4097, inode: 12, pid: 7, host };
        let hosts = vec![(3, noted().mac), (4, [0xfe; 6])];
        assert_eq!(record.serving().unwrap(), (vec![serving(0), serving(1), serving(0)], hosts));
    }

    #[test]
    fn what_is_torn_or_of_another_boot_is_none() {
        let text = text("boot", &[noted(), noted()]);
        for other in ["other", "boo", "boott", ""] {
            assert_eq!(Record::of(text.clone(), other), Some(None), "{other}");
        }
        // Up to the last byte, of which the path may be cut.
        for end in 0..text.rfind("/dev").unwrap() {
            let record = Record::of(text[..end].to_owned(), "boot").flatten();
            assert_eq!(record.as_ref().and_then(Record::exports), None, "{end}");
        }
        // A monitor goes by the beginning of each line.
        for end in 0..text.rfind("e0.1").unwrap() - 1 {
            let record = Record::of(text[..end].to_owned(), "boot").flatten();
            assert_eq!(record.as_ref().and_then(Record::serving), None, "{end}");
        }
        let ended = "1 2 3 4\t5\t020000000001\t";
        for line in
            ["", "1", "1 2 3\t4", "1 2 3 4", "x 2 3 4\t5\t0", "1  3 4\t5\t0", "-\t5\t0", ended]
        {
            let text = format!("{VERSION}\nboot\n1\n{line}\n");
            let read = Record::of(text, "boot").unwrap().unwrap().serving();
            assert_eq!(read.is_some(), line == ended, "{line}");
        }
        assert_eq!(number(&mut "18446744073709551616 ", b' '), None, "more than there is room for");
        assert_eq!(number(&mut "9999999999999999999 ", b' '), Some(9_999_999_999_999_999_999));
    }

    #[test]
    fn a_socket_is_known_by_its_cookie_and_never_by_a_number_alone() {
        let server = noted().server.unwrap();
        let mut socket = Socket {
            cookie: 4097,
            inode: 12,
            index: Some(3),
            is_running: true,
            is_waited_for: false,
            address: None,
        };
        assert!(server.has(&socket));
        socket.cookie = 4098;
        assert!(!server.has(&socket));
        socket.cookie = 0;
        assert!(!Server { cookie: 0, ..server }.has(&socket));
    }
}
