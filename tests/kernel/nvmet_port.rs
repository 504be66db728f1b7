//! `nvmet-port` on a kernel without nvmet. With it, the drills of the lab are
//! for that.

use crate::harness::{Cases, Machine};

const NQN: &str = "nqn.2014-08.com.example:one";

pub fn cases(cases: &mut Cases) {
    cases.add("nvmet-port: what is not there is stopped, in every dialect", absent);
    cases.add("nvmet-port: what cannot be an address is refused, and a stop forgives it", values);
}

fn absent(machine: &Machine) {
    let agent = machine.agent("nvmet-port").set("addr", "10.0.0.9").set("nqns", NQN);
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    agent.heartbeat(&["10.0.0.9", NQN, "status"]).exits(3);
    agent.action("stop").exits(0);
}

/// The shell agent answers 2 to each action.
fn values(machine: &Machine) {
    let agent = machine.agent("nvmet-port").set("addr", "10.0.0.9").set("nqns", NQN);
    for (name, value, reason) in [
        ("addr", "storage.example.com", "neither an IPv4 nor an IPv6 address"),
        ("addr_fam", "ipv6", "does not go with addr"),
        ("addr_fam", "ipx", "parameter addr_fam"),
        ("type", "tcpip", "parameter type"),
        ("svcid", "70000", "parameter svcid"),
        ("nqns", "a/b", "parameter nqns"),
    ] {
        let agent = agent.clone().set(name, value);
        agent.action("start").exits(6).because(reason);
        agent.probe().exits(7);
        agent.action("stop").exits(0);
    }
}
