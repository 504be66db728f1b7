//! Interfaces with somebody on the other end.

use super::machine::Machine;
use super::program::Output;
use super::wire::Capture;
use nix::sched::{CloneFlags, setns};
use std::fs::File;

/// The other end of a pair of interfaces, in a network namespace of its own.
///
/// It has one interface, named like ours.
pub struct Peer<'m> {
    machine: &'m Machine,
    nic: String,
    namespace: String,
}

impl Machine {
    /// Makes an interface `nic` with `addresses` (with prefix) and carrier, and
    /// the neighbour it is wired to.
    ///
    /// Hardware addresses are fixed, and no link-local address appears that
    /// the case did not ask for.
    pub fn nic(&self, nic: &str, addresses: &[&str]) -> Peer<'_> {
        let peer = self.bare_nic(nic);
        self.ip(&["link", "set", nic, "up"]);
        peer.ip(&["link", "set", nic, "up"]);
        for address in addresses {
            self.add_address(nic, address);
        }
        peer
    }

    /// Like [`Machine::nic`], but down on both ends and without addresses.
    pub fn bare_nic(&self, nic: &str) -> Peer<'_> {
        let namespace = format!("peer-{nic}");
        self.ip(&["netns", "add", &namespace]);
        let ours = mac(0, nic);
        let theirs = mac(1, nic);
        let pair = ["type", "veth", "peer", "name", nic, "address", &theirs, "netns", &namespace];
        self.ip(&[&["link", "add", nic, "address", &ours], &pair[..]].concat());
        let peer = Peer { machine: self, nic: nic.to_owned(), namespace };
        self.ip(&["link", "set", nic, "addrgenmode", "none"]);
        peer.ip(&["link", "set", nic, "addrgenmode", "none"]);
        peer.ip(&["link", "set", "lo", "up"]);
        peer
    }

    /// Adds an address that is usable at once.
    pub fn add_address(&self, nic: &str, address: &str) {
        let words = ["addr", "add", address, "dev", nic];
        if address.contains(':') {
            self.ip(&[&words[..], &["nodad"]].concat());
        } else {
            self.ip(&[&words[..], &["broadcast", "+"]].concat());
        }
    }

    /// Switches duplicate address detection off for interfaces made later: an
    /// address is usable at once.
    pub fn without_dad(&self) {
        for path in ["all", "default"] {
            self.sysctl(&format!("net/ipv6/conf/{path}/accept_dad"), "0");
        }
    }

    /// Sets a kernel variable of this network namespace, by its path below
    /// `/proc/sys`.
    pub fn sysctl(&self, path: &str, value: &str) {
        let path = format!("/proc/sys/{path}");
        self.must("sh", &["-c", "echo \"$1\" > \"$2\"", "sh", value, &path]);
    }
}

/// A hardware address by which a person recognises the interface: the end,
/// then the name's bytes.
fn mac(end: u8, nic: &str) -> String {
    let mut octets = [0x02, end, 0, 0, 0, 0];
    for (octet, byte) in octets[2..].iter_mut().zip(nic.bytes().rev()) {
        *octet = byte;
    }
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

impl Peer<'_> {
    /// The hardware address of our end.
    pub fn our_mac(&self) -> String {
        mac(0, &self.nic)
    }

    /// The hardware address of the neighbour.
    pub fn mac(&self) -> String {
        mac(1, &self.nic)
    }

    /// What the interface is called, on either end.
    pub(super) fn nic(&self) -> &str {
        &self.nic
    }

    /// Runs `ip` on the neighbour's side.
    pub fn ip(&self, words: &[&str]) -> String {
        self.machine.ip(&[&["-n", &self.namespace], words].concat())
    }

    /// Runs a program on the neighbour's side.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let enter = ["netns", "exec", &self.namespace, program];
        self.machine.run("ip", &[&enter[..], arguments].concat())
    }

    /// Gives the neighbour an address that is usable at once.
    pub fn add_address(&self, address: &str) {
        let words = ["addr", "add", address, "dev", &self.nic];
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        self.ip(&[&words, nodad].concat());
    }

    /// Takes the carrier from our end.
    pub fn unplug(&self) {
        self.ip(&["link", "set", &self.nic, "down"]);
    }

    /// Gives it back.
    pub fn plug(&self) {
        self.ip(&["link", "set", &self.nic, "up"]);
    }

    /// Whether the neighbour reaches `address` within a second.
    pub fn reaches(&self, address: &str) -> bool {
        // One of them may be lost while the kernel learns who lives where.
        self.run("ping", &["-c", "3", "-i", "0.3", "-W", "1", address]).code == Some(0)
    }

    /// Listens on the neighbour's interface from now on.
    pub fn capture(&self) -> Capture {
        self.inside(|| Capture::open(&self.nic)).expect("a packet socket")
    }

    /// Does something on this thread in the neighbour's network namespace.
    pub fn inside<T>(&self, what: impl FnOnce() -> T) -> T {
        let theirs = File::open(format!("/run/netns/{}", self.namespace)).expect("added above");
        setns(&theirs, CloneFlags::CLONE_NEWNET).expect("root may enter");
        let result = what();
        setns(&self.machine.network, CloneFlags::CLONE_NEWNET).expect("root may return");
        result
    }
}
