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
const VERSION: &str = "1";

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
        self.cookie != 0 && self.cookie == socket.cookie && self.inode == socket.inode
    }
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
            format!("{pid} {started} {cookie} {inode}")
        });
        let masks: Vec<String> = self.masks.iter().map(hex).collect();
        let (mac, masks) = (hex(&self.mac), masks.join(","));
        format!("{address}\t{nic}\t{index}\t{mac}\t{thing}\t{server}\t{masks}\t{}", path.display())
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let (address, nic, index, mac) = (next()?, next()?, next()?, next()?);
        let (thing, server, masks, path) = (next()?, next()?, next()?, next()?);
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
        pid: numbers.next()?.parse().ok()?,
        started: numbers.next()?.parse().ok()?,
        cookie: numbers.next()?.parse().ok()?,
        inode: numbers.next()?.parse().ok()?,
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

/// Reads it: nothing of another boot, whose numbers mean others now; none at all
/// is a file that was cut short.
pub(super) fn parse(text: &str, boot: &str) -> Option<Option<Vec<Noted>>> {
    let mut lines = text.lines();
    (lines.next()? == VERSION).then_some(())?;
    if lines.next()? != boot {
        return Some(None);
    }
    let count: usize = lines.next()?.parse().ok()?;
    let exports: Vec<Noted> = lines.map(Noted::parse).collect::<Option<_>>()?;
    (exports.len() == count).then_some(Some(exports))
}

fn boot(view: &View) -> String {
    view.read("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_end().to_owned()
}

impl Vblade {
    fn record_name(&self) -> String {
        format!("vblade-{}.state", self.file)
    }

    /// What was noted of these exports, by whichever start.
    pub(super) fn record(&self, view: &View) -> Result<Option<Vec<Noted>>, Damaged> {
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
    read(view, &format!("vblade-{file}.state")).unwrap_or_default()
}

fn read(view: &View, name: &str) -> Result<Option<Vec<Noted>>, Damaged> {
    let boot = boot(view);
    Ok(view.record(name, |text| parse(text, &boot))?.flatten())
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
        assert_eq!(parse(&text, "boot").unwrap().unwrap(), exports);
    }

    #[test]
    fn what_is_torn_or_of_another_boot_is_none() {
        let text = text("boot", &[noted(), noted()]);
        assert_eq!(parse(&text, "other"), Some(None));
        // Up to the last byte, of which the path may be cut.
        for end in 0..text.rfind("/dev").unwrap() {
            assert!(!matches!(parse(&text[..end], "boot"), Some(Some(_))), "{end}");
        }
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
