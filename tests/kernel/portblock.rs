//! `portblock` on the real kernel: connections across a pair of interfaces.

mod clients;
mod iptables;
mod rules;
mod shell;

use crate::harness::{Call, Cases, Machine, Peer, wait_until};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

pub fn cases(cases: &mut Cases) {
    rules::cases(cases);
    iptables::cases(cases);
    clients::cases(cases);
    shell::cases(cases);
}

/// The service's address, as most cases have it.
const VIP: &str = "10.0.0.9";
const PORT: u16 = 2049;

/// A block and the unblock that belongs to it.
struct Pair {
    block: Call,
    unblock: Call,
}

impl Pair {
    fn of(machine: &Machine, given: &[(&str, &str)]) -> Self {
        let agent = |action: &str| {
            let call = machine.agent("portblock").instance(action).set("action", action);
            call.with(given)
        };
        Self { block: agent("block"), unblock: agent("unblock") }
    }

    fn usual(machine: &Machine) -> Self {
        Self::of(machine, &[("protocol", "tcp"), ("portno", "2049"), ("ip", VIP)])
    }

    fn set(self, name: &str, value: &str) -> Self {
        Self { block: self.block.set(name, value), unblock: self.unblock.set(name, value) }
    }

    /// Parameters that only the unblock takes.
    fn unblock_with(self, given: &[(&str, &str)]) -> Self {
        Self { unblock: self.unblock.with(given), ..self }
    }

    #[track_caller]
    fn monitors(&self, block: i32, unblock: i32) {
        self.block.action("monitor").exits(block);
        self.unblock.action("monitor").exits(unblock);
        self.block.probe().exits(block);
        self.unblock.probe().exits(unblock);
    }

    fn started(self) -> Self {
        self.block.action("start").exits(0);
        self.unblock.action("start").exits(0);
        self
    }
}

/// Closed, opened, closed again and let go; in the end the firewall has what it
/// had `before`.
fn round(machine: &Machine, pair: &Pair, rules: fn(&Machine) -> String, before: &str) {
    let peer = network(machine);
    let _server = listen(VIP, PORT);
    pair.monitors(7, 7);
    pair.block.action("stop").exits(0);
    pair.block.action("start").exits(0);
    pair.monitors(0, 7);
    assert!(connects(&peer, VIP, PORT).is_none());
    let held = rules(machine);
    pair.block.action("start").exits(0);
    assert_eq!(rules(machine), held);
    pair.unblock.action("start").exits(0);
    pair.monitors(0, 0);
    assert!(connects(&peer, VIP, PORT).is_some());
    pair.unblock.action("stop").exits(0);
    pair.monitors(0, 7);
    assert!(connects(&peer, VIP, PORT).is_none());
    pair.unblock.action("stop").exits(0);
    pair.block.action("stop").exits(0);
    pair.monitors(7, 7);
    assert!(connects(&peer, VIP, PORT).is_some());
    assert_eq!(rules(machine), before);
}

/// A machine with the service's address, and its neighbour.
fn network(machine: &Machine) -> Peer<'_> {
    machine.without_dad();
    let peer = machine.nic("eth0", &["10.0.0.9/24", "10.0.0.8/24", "fd00::9/64"]);
    peer.add_address("10.0.0.2/24");
    peer.add_address("fd00::2/64");
    peer
}

/// A case beside this one that starts a program has a copy of every descriptor
/// until its `exec`, and so holds an earlier listener of ours for that moment.
fn listen(ip: &str, port: u16) -> TcpListener {
    let at = SocketAddr::new(ip.parse().unwrap(), port);
    let mut server = None;
    wait_until(5, &format!("{at} is free"), || {
        server = TcpListener::bind(at).ok();
        server.is_some()
    });
    server.unwrap()
}

/// Whether the neighbour gets a connection within a moment.
fn connects(peer: &Peer, ip: &str, port: u16) -> Option<TcpStream> {
    let to = SocketAddr::new(ip.parse().unwrap(), port);
    peer.inside(|| TcpStream::connect_timeout(&to, Duration::from_millis(300))).ok()
}

/// What connecting is answered with.
fn answer(peer: &Peer, ip: &str, port: u16) -> std::io::ErrorKind {
    let to = SocketAddr::new(ip.parse().unwrap(), port);
    let refused = peer.inside(|| TcpStream::connect_timeout(&to, Duration::from_millis(300)));
    refused.expect_err("nobody is to be there").kind()
}

/// The firewall's rules, by another way than the agent's.
fn ruleset(machine: &Machine) -> String {
    machine.must("nft", &["list", "ruleset"])
}
