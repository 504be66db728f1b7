//! portblock: the same ports closed and open, whatever the rules look like.

use crate::harness::Machine;
use crate::pair::{Pair, Sight};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What Pacemaker does with a block, or with the unblock after one.
const LIFE: &[&str] =
    &["validate-all", "probe", "start", "monitor", "start", "stop", "probe", "stop"];

/// The shell agent's rules are iptables', ours are in a table of their own.
const PORT: Sight = Sight { instead_of: "rules", see: port };

/// Nobody listens: what is not held back is refused at once.
fn port(_: &Machine) -> String {
    let to = SocketAddr::from(([10, 0, 0, 9], 2049));
    let refused = TcpStream::connect_timeout(&to, Duration::from_millis(60)).map(drop);
    match refused.map_err(|err| err.kind()) {
        Err(std::io::ErrorKind::ConnectionRefused) => "open".into(),
        Err(std::io::ErrorKind::TimedOut) => "closed".into(),
        odd => format!("{odd:?}"),
    }
}

fn address(machine: &Machine) -> Vec<(String, String)> {
    machine.must("mkdir", &["-p", "/run/resource-agents"]);
    machine.ip(&["link", "set", "lo", "up"]);
    machine.ip(&["addr", "add", "10.0.0.9/32", "dev", "lo"]);
    Vec::new()
}

pub(super) fn pairs() -> Vec<Pair> {
    let pair = |name: &str, given: &[(&str, &str)]| {
        let pair = Pair::new(format!("portblock/{name}"), "portblock", "portblock");
        pair.scene(address).sight(PORT).with(given).steps(LIFE)
    };
    let given: &[(&str, &[(&str, &str)])] = &[
        ("block", &[("action", "block"), ("protocol", "tcp"), ("portno", "2049")]),
        ("unblock", &[("action", "unblock"), ("protocol", "tcp"), ("portno", "2049")]),
        (
            "block at one address",
            &[("action", "block"), ("protocol", "tcp"), ("portno", "2049"), ("ip", "10.0.0.9")],
        ),
        (
            "block at another address",
            &[("action", "block"), ("protocol", "tcp"), ("portno", "2049"), ("ip", "10.0.0.8")],
        ),
        ("block several", &[("action", "block"), ("protocol", "tcp"), ("portno", "111,2049")]),
        ("block udp", &[("action", "block"), ("protocol", "udp"), ("portno", "2049")]),
        ("no action", &[("protocol", "tcp"), ("portno", "2049")]),
        ("no port", &[("action", "block"), ("protocol", "tcp")]),
        ("no protocol", &[("action", "block"), ("portno", "2049")]),
        ("odd action", &[("action", "shut"), ("protocol", "tcp"), ("portno", "2049")]),
        ("odd protocol", &[("action", "block"), ("protocol", "icmp"), ("portno", "2049")]),
    ];
    let mut pairs: Vec<Pair> = given.iter().map(|(name, given)| pair(name, given)).collect();
    let usual = [("protocol", "tcp"), ("portno", "2049"), ("action", "block")];
    pairs.push(pair("unknown action", &usual).steps(&["reopen", "monitor"]));
    pairs
}
