//! The network of the demo: one bridge for each interface name of the group,
//! in the stage's network namespace, with a port for each machine on it.

use super::words::Nic;
use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};

/// Runs `ip` with some words.
fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(words)
        .env("PATH", super::root::PATH)
        .stdin(Stdio::null())
        .output()
        .context("cannot run ip")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", words.join(" "), stderr.trim());
    Ok(())
}

/// Makes the bridges, as many as there are interfaces.
pub fn bridges(count: usize) -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    (0..count).try_for_each(|number| {
        let bridge = format!("bridge{number}");
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["link", "set", &bridge, "up"])
    })
}

/// Plugs a machine in: its process 1 and its place give it cables, whose ends
/// on its side carry the names of `nics` and a hardware address that tells who
/// it is.
pub fn plug_in(machine: usize, pid: u32, nics: &[Nic]) -> Result<()> {
    let namespace = format!("/proc/{pid}/ns/net");
    for (number, nic) in nics.iter().enumerate() {
        let port = port(machine, number);
        let mac = mac(machine, number);
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let peer = ["peer", "name", &nic.name, "address", &mac, "netns", &namespace];
        ip(&[&["link", "add", &port, "type", "veth"], &peer[..]].concat())?;
        ip(&["link", "set", &port, "master", &format!("bridge{number}"), "up"])?;
    }
    Ok(())
}

/// The hardware address of a machine's interface.
pub fn mac(machine: usize, nic: usize) -> [u8; 6] {
    [2, 0, 0, 0, nic as u8, machine as u8 + 1]
}

fn port(machine: usize, nic: usize) -> String {
    format!("port{machine}.{nic}")
}

/// Cuts all cables of a machine.
pub fn cut(machine: usize, nics: usize) -> Result<()> {
    (0..nics).try_for_each(|nic| ip(&["link", "set", &port(machine, nic), "down"]))
}

/// Takes the cables of a machine away that is no more. The kernel does so by
/// itself, but only some time later.
pub fn unplug(machine: usize, nics: usize) {
    for nic in 0..nics {
        let _ = ip(&["link", "del", &port(machine, nic)]);
    }
}

/// Inside a machine: gives the interfaces their addresses and switches them on.
pub fn bring_up(nics: &[Nic]) -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    for nic in nics {
        for (address, prefix) in &nic.addresses {
            let address = format!("{address}/{prefix}");
            // Duplicate address detection would take a second, of a network
            // that was made just now.
            let quick: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            ip(&[&["addr", "add", &address, "dev", &nic.name], quick].concat())?;
        }
        ip(&["link", "set", &nic.name, "up"])?;
    }
    Ok(())
}
