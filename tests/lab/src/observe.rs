//! What is true on a node, read from its kernel through the channel: nothing
//! is started in the machine, so looking often disturbs nothing.

use super::article::Article;
use super::client::Lab;
use super::libvirt;
use std::fmt;

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The machine answers.
    pub up: bool,
    /// DRBD's line for each device: connection, roles, disk states.
    pub drbd: Vec<Drbd>,
    /// The active volumes of the group.
    pub volumes: Count,
    /// The mounted file systems.
    pub mounts: Count,
    /// The address, if it is on a card.
    pub address: Count,
    /// The service runs.
    pub service: bool,
    /// A guest of libvirt's runs.
    pub guest: bool,
}

/// How many there are of how many that there should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Found.
    pub there: usize,
    /// Wanted.
    pub wanted: usize,
}

impl Count {
    fn all(self) -> bool {
        self.there == self.wanted
    }

    fn none(self) -> bool {
        self.there == 0
    }
}

/// `cs:`, `ro:` and `ds:` of /proc/drbd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drbd {
    /// Such as `Connected`.
    pub connection: String,
    /// This side's role and the peer's.
    pub roles: (String, String),
    /// This side's disk and the peer's.
    pub disks: (String, String),
}

impl Node {
    /// Looks at one node.
    pub fn look(lab: &Lab, name: &str, article: &Article) -> Self {
        let machine = lab.machine(name);
        let read = |path: &str| {
            machine.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let Ok(mounts) = read("/proc/mounts") else { return Self::default() };
        let mounted = article.mounts.iter().filter(|wanted| {
            let place = format!(" {} {} ", wanted.directory, wanted.fstype);
            mounts.lines().any(|line| line.contains(&place))
        });
        let routes = read("/proc/net/fib_trie").unwrap_or_default();
        let addresses = article.address.iter();
        let drbd = read("/proc/drbd").unwrap_or_default();
        Self {
            up: true,
            drbd: article.resources().map(|(_, minor)| Drbd::parse(&drbd, minor)).collect(),
            volumes: article.group.as_ref().map_or(Count::default(), |group| Count {
                there: mappings(&read).iter().filter(|name| group.has(name)).count(),
                wanted: group.volumes.len(),
            }),
            mounts: Count { there: mounted.count(), wanted: article.mounts.len() },
            address: Count {
                wanted: addresses.len(),
                there: addresses.filter(|address| has_local(&routes, address)).count(),
            },
            service: article.service.runs(&read),
            guest: article.domains().any(|domain| libvirt::runs(domain, &read)),
        }
    }

    /// The whole group runs here.
    pub fn active(&self) -> bool {
        self.has_data() && self.volumes.all() && self.address.all() && self.service
    }

    /// Nothing of the group is here.
    pub fn idle(&self) -> bool {
        self.drbd.iter().all(|drbd| drbd.roles.0 != "Primary")
            && self.volumes.none()
            && self.mounts.none()
            && self.address.none()
            && !self.service
            && !self.guest
    }

    /// The disk can be written to here, and every file system is mounted.
    pub fn has_data(&self) -> bool {
        self.up && self.drbd.iter().all(|drbd| drbd.roles.0 == "Primary") && self.mounts.all()
    }

    /// DRBD is connected and both its disks are good.
    pub fn healthy(&self) -> bool {
        let good = |state: &str| state == "UpToDate";
        let is_whole = |drbd: &Drbd| {
            drbd.connection == "Connected" && good(&drbd.disks.0) && good(&drbd.disks.1)
        };
        self.up && self.drbd.iter().all(is_whole)
    }

    /// DRBD is sending or getting what one of the disks has missed.
    pub fn is_syncing(&self) -> bool {
        self.drbd.iter().any(|drbd| drbd.connection.starts_with("Sync"))
    }
}

impl Drbd {
    fn parse(text: &str, minor: u32) -> Self {
        let begin = format!("{minor}: ");
        let line = text.lines().find(|line| line.trim_start().starts_with(&begin)).unwrap_or("");
        let field = |name: &str| {
            line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or("")
        };
        let pair = |name: &str| {
            let (own, peer) = field(name).split_once('/').unwrap_or_default();
            (own.to_owned(), peer.to_owned())
        };
        Self { connection: field("cs:").to_owned(), roles: pair("ro:"), disks: pair("ds:") }
    }
}

/// The names of the device-mapper's devices.
fn mappings(read: &impl Fn(&str) -> anyhow::Result<String>) -> Vec<String> {
    let partitions = read("/proc/partitions").unwrap_or_default();
    let devices = partitions.split_whitespace().filter(|word| word.starts_with("dm-"));
    devices.filter_map(|device| read(&format!("/sys/block/{device}/dm/name")).ok()).collect()
}

/// The kernel lists an address of its own as `|-- ADDRESS` above a line that
/// says `host LOCAL`.
fn has_local(trie: &str, address: &str) -> bool {
    let wanted = format!("|-- {address}");
    let mut lines = trie.lines().map(str::trim_start).peekable();
    while let Some(line) = lines.next() {
        if line.trim_end() == wanted && lines.peek().is_some_and(|next| next.contains("host LOCAL"))
        {
            return true;
        }
    }
    false
}

impl fmt::Display for Node {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        if !self.up {
            return out.write_str("off");
        }
        for (place, Drbd { connection, roles, disks }) in self.drbd.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            let (roles, disks) = (format!("{}/{}", roles.0, roles.1), (&disks.0, &disks.1));
            write!(out, "{comma}drbd {connection} {roles} {}/{}", disks.0, disks.1)?;
        }
        for (word, Count { there, wanted }) in
            [("volumes", self.volumes), ("mounts", self.mounts), ("addresses", self.address)]
        {
            if wanted > 0 {
                write!(out, ", {there} of {wanted} {word}")?;
            }
        }
        write!(out, ", {}service", if self.service { "" } else { "no " })?;
        out.write_str(if self.guest { ", a guest" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_drbd_is_read() {
        let text = "version: 8.4.11 (api:1/proto:86-101)\n\
                    srcversion: F73C670A7EC572DB9CF3E5B \n \
                    0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n    ns:0\n";
        let drbd = Drbd::parse(text, 0);
        assert_eq!(drbd.connection, "Connected");
        assert_eq!(drbd.roles, ("Primary".into(), "Secondary".into()));
        assert_eq!(drbd.disks.1, "UpToDate");
        assert_eq!(Drbd::parse(" 0: cs:Unconfigured\n", 0).roles.0, "");
    }

    #[test]
    fn an_address_of_another_machine_is_not_ours() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.10.1.10\n        /32 host LOCAL\n\
                    \x20    |-- 10.10.1.0\n        /24 link UNICAST\n";
        assert!(has_local(trie, "10.10.1.10"));
        assert!(!has_local(trie, "10.10.1.1"));
        assert!(!has_local(trie, "10.10.1.0"));
    }
}
