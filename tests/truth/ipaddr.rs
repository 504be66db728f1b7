//! IPaddr: an address that is there although the network around it has changed.

use crate::harness::{Machine, Peer};
use crate::suite::{Resource, Scene, Seen, Suite, process, scene, wait_for};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::time::Duration;

const V4: &str = "10.0.0.9";
const V6: &str = "fd00::9";
const LEFT: &str = "the address is still there";

pub fn scenes() -> Vec<Scene> {
    vec![
        scene(
            "IPaddr: a stop removes its IPv6 address after a new route with another prefix",
            |machine, suite| {
                let _peer = nic(machine, &["fd00::1/64"]);
                let resource = suite.agent(machine, "IPaddr").set("ip", V6);
                resource.started()?;
                machine.ip(&["-6", "route", "add", "fd00::/80", "dev", "d0"]);
                runs_and_stops(machine, &resource, V6)
            },
        ),
        scene(
            "IPaddr: a stop removes its address after a new route, where the nic's own brings none",
            |machine, suite| {
                let peer = machine.bare_nic("d0");
                machine.ip(&["link", "set", "d0", "up"]);
                peer.ip(&["link", "set", "d0", "up"]);
                machine.ip(&["addr", "add", "10.0.0.1/24", "dev", "d0", "noprefixroute"]);
                machine.ip(&["route", "add", "10.0.0.0/24", "dev", "d0"]);
                new_route(machine, suite)
            },
        ),
        scene("IPaddr: a stop removes its address after a new route", |machine, suite| {
            let _peer = nic(machine, &["10.0.0.1/24"]);
            new_route(machine, suite)
        }),
        scene("IPaddr: nor does it need a note of the start for that", |machine, suite| {
            let _peer = nic(machine, &["10.0.0.1/24"]);
            let resource = suite.agent(machine, "IPaddr").set("ip", V4);
            resource.started()?;
            machine.run("rm", &["-r", "/run/resource-agents"]);
            machine.ip(&["route", "add", "10.0.0.0/28", "dev", "d0"]);
            resource.stops(|| machine.address(V4).is_some(), LEFT)
        }),
        scene(
            "IPaddr: a stop removes its address from a nic that was renamed",
            |machine, suite| {
                let _peer = nic(machine, &["10.0.0.1/24"]);
                let resource = suite.agent(machine, "IPaddr").set("ip", V4).set("nic", "d0");
                resource.started()?;
                rename(machine);
                let monitor = resource.monitor();
                resource.claim(monitor.code != Some(7), LEFT)?;
                resource.stops(|| machine.address(V4).is_some(), LEFT)
            },
        ),
        scene(
            "IPaddr: a stop does not end well while its address lives in a namespace without a name",
            namespace,
        ),
        scene(
            "IPaddr: a start takes the prefix of the nic's own address where no route tells",
            |machine, suite| {
                let peer = machine.bare_nic("d0");
                machine.ip(&["link", "set", "d0", "up"]);
                peer.ip(&["link", "set", "d0", "up"]);
                machine.ip(&["addr", "add", "10.0.0.1/24", "dev", "d0", "noprefixroute"]);
                let resource = suite.agent(machine, "IPaddr").set("ip", V4).set("nic", "d0");
                let start = resource.start();
                resource.claim(start.code == Some(0), "")?;
                let found = machine.address(V4);
                resource.claim(found.is_some_and(|found| found.prefix == 24), "with another prefix")
            },
        ),
        scene("IPaddr: a start sets a link up that is down, and takes its network's prefix", down),
        scene("IPaddr: a start says that IPv6 is switched off on the nic", |machine, suite| {
            let _peer = nic(machine, &["10.0.0.1/24"]);
            machine.sysctl("net/ipv6/conf/d0/disable_ipv6", "1");
            let resource = suite.agent(machine, "IPaddr").set("ip", V6).set("cidr_netmask", "64");
            let resource = resource.set("nic", "d0");
            let start = resource.start();
            resource.claim(start.code != Some(0) && start.code != Some(4), "")?;
            let told = format!("{}{}", start.stderr, start.stdout);
            resource.claim(told.contains("IPv6 is"), "the reason does not say it")
        }),
        scene("IPaddr: an address that is to expire does not count as started", lifetime),
        scene("IPaddr: what a start that was killed has added is seen and removed", killed),
    ]
}

fn nic<'m>(machine: &'m Machine, addresses: &[&str]) -> Peer<'m> {
    machine.without_dad();
    machine.nic("d0", addresses)
}

fn runs_and_stops(machine: &Machine, resource: &Resource, ip: &str) -> Seen {
    let monitor = resource.monitor();
    resource.claim(monitor.code == Some(0), "the address is there")?;
    resource.stops(|| machine.address(ip).is_some(), LEFT)
}

fn new_route(machine: &Machine, suite: Suite) -> Seen {
    let resource = suite.agent(machine, "IPaddr").set("ip", V4);
    resource.started()?;
    machine.ip(&["route", "add", "10.0.0.0/28", "dev", "d0"]);
    runs_and_stops(machine, &resource, V4)
}

fn rename(machine: &Machine) {
    machine.ip(&["link", "set", "d0", "down"]);
    machine.ip(&["link", "set", "d0", "name", "d1"]);
    machine.ip(&["link", "set", "d1", "up"]);
}

/// Somebody lives in the namespace, and its name is taken away.
fn namespace(machine: &Machine, suite: Suite) -> Seen {
    machine.ip(&["netns", "add", "blue"]);
    let within = ["-n", "blue"];
    let ip = |words: &[&str]| machine.ip(&[&within, words].concat());
    ip(&["link", "add", "d0", "type", "veth", "peer", "name", "d1"]);
    ip(&["link", "set", "d0", "up"]);
    ip(&["link", "set", "d1", "up"]);
    ip(&["addr", "add", "10.0.0.1/24", "dev", "d0"]);
    let resource = suite.agent(machine, "IPaddr").set("ip", V4).set("network_namespace", "blue");
    resource.started()?;
    let script = "exec ip netns exec blue sh -c 'READY; exec sleep 100'";
    let _dweller = process(machine, script);
    machine.ip(&["netns", "delete", "blue"]);
    let pid = machine.must("pgrep", &["-x", "sleep"]);
    let target = format!("--net=/proc/{}/ns/net", pid.trim());
    let is_there = || machine.must("nsenter", &[&target, "ip", "-o", "addr"]).contains(V4);
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(7), LEFT)?;
    resource.stops_or_says_so(is_there, LEFT)
}

fn down(machine: &Machine, suite: Suite) -> Seen {
    let _peer = nic(machine, &["10.0.0.1/24"]);
    machine.ip(&["link", "set", "d0", "down"]);
    let resource = suite.agent(machine, "IPaddr").set("ip", V4).set("nic", "d0");
    let start = resource.start();
    resource.claim(start.code == Some(0), "")?;
    let found = machine.address(V4);
    resource.claim(found.is_some_and(|found| found.prefix == 24), "with another prefix")?;
    let link = machine.ip(&["-o", "link", "show", "d0"]);
    resource.claim(link.contains("UP"), "the link is down")
}

fn lifetime(machine: &Machine, suite: Suite) -> Seen {
    let _peer = nic(machine, &["10.0.0.1/24"]);
    let address = "10.0.0.9/24";
    let expiring = ["valid_lft", "60", "preferred_lft", "60"];
    machine.ip(&[&["addr", "add", address, "brd", "+", "dev", "d0"], &expiring[..]].concat());
    let resource = suite.agent(machine, "IPaddr").set("ip", V4).set("nic", "d0");
    let start = resource.start();
    let line = machine.ip(&["-4", "addr", "show", "dev", "d0", "to", V4]);
    let forever = line.contains("valid_lft forever");
    let said = format!("{}{}", start.stdout, start.stderr).contains("lifetime");
    resource.claim(forever || (start.code != Some(0) && said), "gone in a minute")
}

/// Duplicate address detection gives the time to kill it.
fn killed(machine: &Machine, suite: Suite) -> Seen {
    let _peer = machine.nic("d0", &["fd00::1/64"]);
    let resource = suite.agent(machine, "IPaddr").set("ip", V6).set("nic", "d0");
    let start = resource.call().spawn("start");
    let added = wait_for(Duration::from_secs(5), || machine.address(V6).is_some());
    resource.claim(added, "nothing was added")?;
    // Of one that has ended by then, there is nothing to kill.
    let _ = killpg(Pid::from_raw(start.id().cast_signed()), Signal::SIGKILL);
    start.wait(Duration::from_secs(5));
    machine.ip(&["-6", "route", "add", "fd00::/80", "dev", "d0"]);
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(7), LEFT)?;
    resource.stops(|| machine.address(V6).is_some(), LEFT)
}
