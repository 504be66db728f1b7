//! heartbeat 3 with an article's ha.cf, authkeys and haresources.

use super::article::{Article, Who};
use super::client::{Lab, Machine};
use super::machine::NODES;
use anyhow::Result;
use std::time::Duration;

/// Where heartbeat logs, by a file of its own or through syslog.
const LOGS: &str = "/var/log/heartbeat-log /var/log/syslog";

const LIMIT: Duration = Duration::from_secs(120);

/// Puts the files in place on both nodes.
pub fn configure(lab: &Lab, article: &Article) -> Result<()> {
    for node in NODES {
        let machine = lab.machine(node);
        article.put(&machine, Who::Heartbeat)?;
        machine.shell(WHOLE_MESSAGES, LIMIT)?;
    }
    Ok(())
}

/// heartbeat's scripts write their messages into its pipe in pieces. On a busy
/// machine the reader takes one of them for the whole, or two messages get
/// into each other: then a takeover or a request to stand by is lost. One write
/// is what a pipe keeps together.
const WHOLE_MESSAGES: &str = r#"
replacement='message=$(cat -); printf ">>>\\n%s\\n<<<\\n" "$message" >> $HA_FIFO'
sed -i "/^ha_clustermsg() *{/,/^}/s|^[[:space:]]*(echo.*|$replacement|" /etc/ha.d/shellfuncs
grep -q '^message=.*HA_FIFO$' /etc/ha.d/shellfuncs"#;

/// Starts the daemon.
pub fn start(machine: &Machine) -> Result<()> {
    machine.shell("/etc/init.d/heartbeat start >/dev/null 2>&1", LIMIT)?;
    Ok(())
}

/// Stops the daemon, which stops its resources.
pub fn stop(machine: &Machine) -> Result<()> {
    machine.shell("/etc/init.d/heartbeat stop >/dev/null 2>&1", LIMIT * 3)?;
    Ok(())
}

/// Hands everything over by `hb_standby`, once both nodes are settled: one
/// that has just joined takes the request for granted while the other still
/// refuses it, and then they wait for each other for an hour.
pub fn hand_over(from: &Machine, to: &Machine) -> Result<()> {
    settle(from, to)?;
    settle(to, from)?;
    ask(from, "hb_standby all")
}

/// The same, asked for by the node that is to have everything.
pub fn take_over(from: &Machine, to: &Machine) -> Result<()> {
    settle(from, to)?;
    settle(to, from)?;
    ask(to, "hb_takeover all")
}

/// Asks until heartbeat has heard of it, which it tells in the node's own log.
fn ask(node: &Machine, request: &str) -> Result<()> {
    node.shell(
        &format!(
            "heard() {{ cat {LOGS} 2>/dev/null | grep -a -c 'wants to go standby'; }}\n\
             before=$(heard)\n\
             for try in 1 2 3 4 5 6; do\n\
             /usr/share/heartbeat/{request} >/dev/null 2>&1\n\
             for second in 1 2 3 4 5 6 7 8 9 10; do\n\
             [ \"$(heard)\" != \"$before\" ] && exit 0\nsleep 1\ndone\ndone\n\
             echo 'heartbeat did not hear {request}'; exit 1"
        ),
        LIMIT,
    )?;
    Ok(())
}

/// Sees to it that `node` leaves its transition.
///
/// A node that joins says first that it is starting, then that it is stable.
/// heartbeat does not keep its messages in order: where a packet was lost, the
/// other node hears the first after the second and waits for good for what has
/// long been said. No request gets through then, and even its own stop waits.
/// So `other`, if it is settled itself, says it once more.
fn settle(node: &Machine, other: &Machine) -> Result<()> {
    if is_settled(node)? || !is_settled(other)? {
        return Ok(());
    }
    other.shell(STABLE_AGAIN, LIMIT)?;
    let settled = is_settled(node)?;
    anyhow::ensure!(settled, "heartbeat stays in transition on {}", node.name);
    Ok(())
}

/// The message by which heartbeat tells what it holds, and that it wants no more.
const STABLE_AGAIN: &str = r#"
. /etc/ha.d/shellfuncs
held=$(cl_status rscstatus)
printf 't=resource\nrsc_hold=%s\nrtype=full\nisstable=1\n' "$held" | ha_clustermsg"#;

/// Whether the node leaves its transition within a minute.
fn is_settled(node: &Machine) -> Result<bool> {
    let line = "end=$(($(date +%s) + 60))\n\
                while [ \"$(cl_status rscstatus)\" = transition ]; do\n\
                [ $(date +%s) -lt $end ] || exit 1\nsleep 1\ndone";
    Ok(node.run(&["/bin/sh", "-c", line], LIMIT)?.code == 0)
}
