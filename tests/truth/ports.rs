//! portblock: whether packets are held back, whatever the rules are called.

use crate::harness::Machine;
use crate::suite::{Resource, Scene, Seen, Suite, scene};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PORT: &str = "2049";

const NEEDS: &[&str] = &["iptables", "nft"];

pub fn scenes() -> Vec<Scene> {
    let of = |sentence, run| Scene { needs: NEEDS, ..scene(sentence, run) };
    vec![
        of("portblock: a stop of a block opens the ports", opens),
        of("portblock: a block whose rules are gone does not run", rules_are_gone),
        of("portblock: an unblock does not run while the ports are closed", closed_again),
        of("portblock: a block is none where a rule before it lets packets through", let_through),
        of("portblock: a second start does not leave a second rule behind a stop", twice),
        of("portblock: an address of IPv6 is closed, and open after a stop", six),
        of(
            "portblock: what a shell agent has left of the ports does not keep them closed",
            leftover,
        ),
    ]
}

fn ports(machine: &Machine, suite: Suite, action: &str, ip: &str) -> Resource {
    machine.must("mkdir", &["-p", "/run/resource-agents"]);
    machine.ip(&["link", "set", "lo", "up"]);
    machine.run("ip", &["addr", "add", ip, "dev", "lo"]);
    let agent = suite.agent(machine, "portblock").set("action", action).set("protocol", "tcp");
    agent.set("portno", PORT).set("ip", ip).with(|call| call.instance(action))
}

/// Nobody listens: what is not held back is refused at once.
fn is_open(ip: &str) -> bool {
    let to: SocketAddr = match ip.contains(':') {
        true => format!("[{ip}]:{PORT}"),
        false => format!("{ip}:{PORT}"),
    }
    .parse()
    .unwrap();
    let refused = TcpStream::connect_timeout(&to, Duration::from_millis(100)).map(drop);
    matches!(refused.map_err(|err| err.kind()), Err(ErrorKind::ConnectionRefused))
}

const IP: &str = "10.0.0.9";

fn opens(machine: &Machine, suite: Suite) -> Seen {
    let block = ports(machine, suite, "block", IP);
    block.started()?;
    block.stops(|| !is_open(IP), "the port is still closed")
}

fn rules_are_gone(machine: &Machine, suite: Suite) -> Seen {
    let block = ports(machine, suite, "block", IP);
    block.started()?;
    machine.must("nft", &["flush", "ruleset"]);
    let monitor = block.monitor();
    block.claim(monitor.code != Some(0), "the port is open")
}

fn closed_again(machine: &Machine, suite: Suite) -> Seen {
    let (block, unblock) =
        (ports(machine, suite, "block", IP), ports(machine, suite, "unblock", IP));
    block.started()?;
    unblock.start();
    // Somebody starts the first once more.
    block.stop();
    block.start();
    let monitor = unblock.monitor();
    unblock.claim(monitor.code != Some(0) || is_open(IP), "the port is closed")
}

fn let_through(machine: &Machine, suite: Suite) -> Seen {
    let block = ports(machine, suite, "block", IP);
    block.started()?;
    machine.must("iptables", &["-I", "INPUT", "-p", "tcp", "--dport", PORT, "-j", "ACCEPT"]);
    let monitor = block.monitor();
    block.claim(monitor.code != Some(0) || !is_open(IP), "the port is open")
}

fn twice(machine: &Machine, suite: Suite) -> Seen {
    let block = ports(machine, suite, "block", IP);
    block.started()?;
    block.start();
    block.stop();
    block.claim(is_open(IP), "the port is still closed")
}

fn six(machine: &Machine, suite: Suite) -> Seen {
    let block = ports(machine, suite, "block", "fd00::9");
    block.started()?;
    block.claim(!is_open("fd00::9"), "the port is open")?;
    block.stops(|| !is_open("fd00::9"), "the port is still closed")
}

fn leftover(machine: &Machine, suite: Suite) -> Seen {
    let unblock = ports(machine, suite, "unblock", IP);
    let rule = ["-p", "tcp", "-d", IP, "-m", "multiport", "--dports", PORT, "-j", "DROP"];
    machine.must("iptables", &[&["-I", "INPUT"][..], &rule].concat());
    let start = unblock.start();
    unblock.claim(start.code != Some(0) || is_open(IP), "the port is closed")
}
