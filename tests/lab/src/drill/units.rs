//! Agents as drbd-reactor runs them: each a unit of systemd that starts it, asks
//! it over and over and stops it. No word of the cluster is in their environment,
//! neither times nor intervals.

use super::node::Node;
use anyhow::{Result, ensure};
use std::fmt::Write;

/// Where one unit begins a line for each monitor that it has called.
const ASKED: &str = "/run/drill/asked";

/// What a unit runs. Its agent hears of an end by the signal that its whole group
/// gets, and is stopped twice: by the unit's program, and once that has ended.
/// What a monitor prints is read to its end.
const WRAPPER: &str = r#"#!/bin/sh
[ "$1" = stop ] && exec "$AGENT" stop
trap 'over=yes' TERM
"$AGENT" start || exit
systemd-notify --ready
while [ -z "$over" ]; do
    said=$("$AGENT" monitor 2>&1) || { echo "$OCF_RESOURCE_INSTANCE: $? $said"; exit 1; }
    echo "$OCF_RESOURCE_INSTANCE" >> /run/drill/asked
    sleep 1 & wait $!
done
"$AGENT" stop
"#;

const UNIT: &str = "\
[Service]
Type=notify
NotifyAccess=all
Restart=always
StandardOutput=append:/run/drill/units
StandardError=append:/run/drill/units
Environment=OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE=%i
ExecStart=/run/drill/wrapper start-and-monitor %n
ExecStopPost=/run/drill/wrapper stop %n
";

/// Below which the units are, where systemd looks for those of users.
const PLACE: &str = "/run/systemd/user";

/// systemd for a user, which asks at its begin for no more than to be told that the
/// system has one. An agent that was told so would find none to talk to. It is in a
/// group of processes of its own, with all that it runs.
const SYSTEMD: &str = "\
mount | grep -q 'on /sys/fs/cgroup ' || mount -t cgroup2 none /sys/fs/cgroup; \
mkdir -p /run/systemd/system /run/user/0 /sys/fs/cgroup/units; \
echo $$ > /sys/fs/cgroup/units/cgroup.procs; \
XDG_RUNTIME_DIR=/run/user/0 HOME=/root exec /lib/systemd/systemd --user";

/// Ends it and whatever it runs, also where a drill has failed.
pub const END: &str = "\
echo 1 > /sys/fs/cgroup/units/cgroup.kill; rm -rf /run/systemd/user /run/user/0; \
rm -df /run/systemd/system";

/// A link of a chain: the name of its instance, the agent, its parameters.
pub type Link<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>);

/// A chain of units on a node, each after the one before.
pub struct Units<'a> {
    node: Node<'a>,
    names: Vec<String>,
}

fn systemctl(words: &str) -> String {
    format!("XDG_RUNTIME_DIR=/run/user/0 systemctl --user {words}")
}

/// These links between the two that close the port and open it.
pub fn behind_a_port<'a>(
    (block, unblock): (&'a str, &'a str),
    ip: &'a str,
    port: &'a str,
    tickle_dir: &'a str,
    between: Vec<Link<'a>>,
) -> Vec<Link<'a>> {
    let params =
        |action| vec![("ip", ip), ("portno", port), ("protocol", "tcp"), ("action", action)];
    let mut links = vec![(block, "portblock", params("block"))];
    links.extend(between);
    let mut opens = params("unblock");
    opens.push(("tickle_dir", tickle_dir));
    links.push((unblock, "portblock", opens));
    links
}

impl<'a> Units<'a> {
    /// Has systemd run with a unit for each link, none of which is started.
    pub fn of(node: Node<'a>, links: &[Link<'_>]) -> Result<Self> {
        node.shell(&format!("mkdir -p {PLACE}"))?;
        node.machine.put("/run/drill/wrapper", 0o755, WRAPPER.as_bytes())?;
        node.machine.put(&format!("{PLACE}/ocf.rs@.service"), 0o644, UNIT.as_bytes())?;
        let mut names: Vec<String> = Vec::new();
        for (instance, agent, params) in links {
            let mut text = String::from("[Unit]\nPartOf=chain.target\n");
            if let Some(before) = names.last() {
                let _ = writeln!(text, "Requires={before}\nAfter={before}");
            }
            let home = "/usr/lib/ocf/resource.d/sturdy";
            let _ = writeln!(text, "[Service]\nEnvironment=AGENT={home}/{agent}");
            for (name, value) in params {
                let _ = writeln!(text, "Environment=\"OCF_RESKEY_{name}={value}\"");
            }
            let name = format!("ocf.rs@{instance}.service");
            let more = format!("{PLACE}/{name}.d");
            node.shell(&format!("mkdir -p '{more}'"))?;
            node.machine.put(&format!("{more}/reactor.conf"), 0o644, text.as_bytes())?;
            names.push(name);
        }
        let target = format!("[Unit]\nRequires={0}\nAfter={0}\n", names.join(" "));
        node.machine.put(&format!("{PLACE}/chain.target"), 0o644, target.as_bytes())?;
        let is_up = systemctl("is-system-running | grep -qE 'running|degraded'");
        node.background_within(120, SYSTEMD, &is_up)?;
        node.shell("rmdir /run/systemd/system")?;
        Ok(Self { node, names })
    }

    /// Starts the chain; each of its units is active then.
    pub fn start(&self) -> Result<()> {
        let started = self.node.shell(&format!("{} 2>&1", systemctl("start chain.target")));
        let count = self.active()?;
        let log = || {
            self.node.shell("tail -n 20 /run/drill/background /run/drill/units").unwrap_or_default()
        };
        ensure!(
            started.is_ok() && count == self.names.len(),
            "{count} of {} units are active: {}",
            self.names.len(),
            log()
        );
        Ok(())
    }

    /// Stops it, the last first; none is active then.
    pub fn stop(&self) -> Result<()> {
        // By the target's name alone nobody would wait for the units.
        self.node.shell(&systemctl(&format!("stop chain.target {}", self.quoted())))?;
        let count = self.active()?;
        ensure!(count == 0, "{count} units are active after a stop");
        Ok(())
    }

    /// Each is asked again, and none has been started anew.
    pub fn are_asked(&self) -> Result<()> {
        self.node.shell(&format!("rm -f {ASKED}"))?;
        let asked = format!("sort -u {ASKED} 2>/dev/null | wc -l");
        self.node.until("each unit's monitor", 60, || {
            Ok(self.node.shell(&asked)?.trim() == self.names.len().to_string())
        })?;
        let again = systemctl(&format!("show --value -p NRestarts {}", self.quoted()));
        let again = self.node.shell(&again)?;
        ensure!(
            again.split_whitespace().all(|count| count == "0"),
            "a unit has been started anew: {again}"
        );
        Ok(())
    }

    fn active(&self) -> Result<usize> {
        let asked = systemctl(&format!("is-active {}", self.quoted()));
        let told = self.node.shell(&format!("{asked}; true"))?;
        Ok(told.lines().filter(|line| *line == "active").count())
    }

    fn quoted(&self) -> String {
        let quoted: Vec<String> = self.names.iter().map(|name| format!("'{name}'")).collect();
        quoted.join(" ")
    }
}
