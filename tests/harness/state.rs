//! What the kernel says, read by other means than the agents use: iproute2
//! and the first process's mount table.

use super::machine::Machine;
use super::text::unescape;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub nic: String,
    pub ip: String,
    pub prefix: u64,
    pub broadcast: Option<String>,
    pub label: Option<String>,
    pub scope: String,
    /// Set flags in alphabetical order: deprecated, nodad, noprefixroute,
    /// secondary, tentative, dadfailed.
    pub flags: Vec<&'static str>,
}

/// One line of the mount table, without the numbers that differ each time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    pub directory: PathBuf,
    pub source: String,
    pub fstype: String,
    /// The part of the file system that is mounted.
    pub root: String,
    /// Options of this mount, then those of the file system.
    pub options: String,
    pub super_options: String,
}

/// Everything an agent of this suite may change, as lines that can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(BTreeSet<String>);

impl Machine {
    /// All addresses, in order.
    pub fn addresses(&self) -> Vec<Address> {
        let mut found = Vec::new();
        for link in self.ip_json(&["addr"]) {
            for address in link["addr_info"].as_array().into_iter().flatten() {
                found.push(Address::read(text(&link, "ifname").unwrap_or_default(), address));
            }
        }
        found.sort();
        found
    }

    /// The address `ip`, if an interface carries it.
    pub fn address(&self, ip: &str) -> Option<Address> {
        self.addresses().into_iter().find(|address| address.ip == ip)
    }

    /// All mounts but those that make the machine, in the kernel's order.
    pub fn mounts(&self) -> Vec<Mount> {
        // The thread itself is not in the process namespace that /proc shows.
        let table = std::fs::read_to_string("/proc/1/mountinfo").expect("the first process runs");
        table.lines().filter_map(Mount::read).collect()
    }

    /// What is mounted on `directory`, the topmost last.
    pub fn mounts_at(&self, directory: impl AsRef<Path>) -> Vec<Mount> {
        let directory = directory.as_ref();
        self.mounts().into_iter().filter(|mount| mount.directory == directory).collect()
    }

    /// Addresses, routes, rules, the firewall's too, links, mounts and exports at this moment, and
    /// the files in `/run/witness`.
    pub fn state(&self) -> State {
        let mut lines = BTreeSet::new();
        lines.extend(self.addresses().iter().map(|address| format!("address {address}")));
        lines.extend(self.mounts().iter().map(|mount| format!("mount {mount}")));
        let mut add = |kind: &str, listing: String| {
            lines.extend(listing.lines().map(|line| format!("{kind} {}", line.trim())));
        };
        add("route", self.routes("-4"));
        add("route", self.routes("-6"));
        add("rule", self.ip(&["-o", "rule"]));
        add("addrlabel", self.ip(&["addrlabel"]));
        let sockets = self.must("cat", &["/proc/net/packet"]);
        add("AoE socket", sockets.lines().filter(|line| line.contains(" 88a2 ")).collect());
        if Path::new("/usr/sbin/nft").exists() {
            add("rules", self.must("nft", &["list", "ruleset"]));
        }
        // Who is given what; with which options is each agent's own affair.
        let exports = std::fs::read_to_string("/var/lib/nfs/etab").unwrap_or_default();
        let exports = exports.lines().filter_map(|line| line.split('(').next());
        add("export", exports.map(|line| line.replace('\t', " ") + "\n").collect());
        // What a pretended program keeps for a kernel.
        for file in std::fs::read_dir("/run/witness").into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            add("witness", format!("{} {}", file.file_name().display(), text.trim()));
        }
        for link in self.ip_json(&["link"]) {
            let flags: Vec<_> = link["flags"].as_array().into_iter().flatten().collect();
            let up = flags.iter().any(|flag| *flag == "UP");
            add("link", format!("{} up={up}", text(&link, "ifname").unwrap_or_default()));
        }
        State(lines)
    }

    /// The routes somebody chose: those of the table `local` follow from the
    /// addresses, and whether a route is usable follows from the link.
    fn routes(&self, family: &str) -> String {
        let routes = self.ip(&[family, "-o", "route", "show", "table", "all"]);
        let chosen = routes.lines().filter(|line| !line.contains(" table local "));
        let chosen = chosen.map(|line| line.replace(" linkdown", "").replace(" dead", ""));
        chosen.map(|line| line.trim().to_owned() + "\n").collect()
    }

    fn ip_json(&self, words: &[&str]) -> Vec<Value> {
        let output = self.ip(&[&["-j"], words].concat());
        serde_json::from_str(&output).expect("ip -j prints JSON")
    }
}

impl Address {
    fn read(nic: String, info: &Value) -> Self {
        let set = |name: &&str| info[*name].as_bool().unwrap_or_default();
        let flags = ["dadfailed", "deprecated", "nodad", "noprefixroute", "secondary", "tentative"];
        Self {
            nic,
            ip: text(info, "local").unwrap_or_default(),
            prefix: info["prefixlen"].as_u64().unwrap_or_default(),
            broadcast: text(info, "broadcast"),
            label: text(info, "label"),
            scope: text(info, "scope").unwrap_or_default(),
            flags: flags.into_iter().filter(set).collect(),
        }
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on {} scope {}", self.ip, self.prefix, self.nic, self.scope)?;
        for (word, value) in [("brd", &self.broadcast), ("label", &self.label)] {
            if let Some(value) = value {
                write!(f, " {word} {value}")?;
            }
        }
        self.flags.iter().try_for_each(|flag| write!(f, " {flag}"))
    }
}

impl Mount {
    fn read(line: &str) -> Option<Self> {
        let (own, file_system) = line.split_once(" - ")?;
        let own: Vec<_> = own.split(' ').collect();
        let mut file_system = file_system.splitn(3, ' ');
        let mount = Self {
            root: unescape(own.get(3)?),
            directory: unescape(own.get(4)?).into(),
            options: (*own.get(5)?).to_owned(),
            fstype: file_system.next()?.to_owned(),
            source: unescape(file_system.next()?),
            super_options: file_system.next()?.to_owned(),
        };
        let machine = ["/", "/usr", "/etc", "/var", "/root", "/run", "/tmp", "/srv", "/proc"];
        let of_the_machine =
            machine.iter().any(|directory| mount.directory == Path::new(directory));
        (!of_the_machine).then_some(mount)
    }

    /// Whether nothing can be written through this mount.
    pub fn is_read_only(&self) -> bool {
        [&self.options, &self.super_options]
            .iter()
            .any(|options| options.split(',').any(|option| option == "ro"))
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directory, source, fstype, root, options, super_options } = self;
        let directory = directory.display();
        write!(f, "{directory} {fstype} {source} {root} {options} | {super_options}")
    }
}

impl State {
    /// What is in one and not in the other, as a diff; empty when equal.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let gone = self.0.difference(&later.0).map(|line| format!("- {line}"));
        let come = later.0.difference(&self.0).map(|line| format!("+ {line}"));
        gone.chain(come).collect()
    }

    /// Asserts that nothing has changed since.
    #[track_caller]
    pub fn unchanged(&self, machine: &Machine) {
        let changes = self.changes(&machine.state());
        assert!(changes.is_empty(), "the kernel's state changed:\n{}", changes.join("\n"));
    }
}
