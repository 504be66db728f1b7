//! corosync and Pacemaker, configured by `crm configure`.

use super::article::{Article, Group, Mount};
use super::client::{Lab, Machine};
use super::setting::{NODES, Setting};
use anyhow::{Result, ensure};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(180);

/// Two links, as heartbeat has two; a token long enough for a slow machine.
const COROSYNC: &str = "\
totem {
  version: 2
  cluster_name: lab
  transport: knet
  crypto_cipher: none
  crypto_hash: none
  token: 5000
}
quorum {
  provider: corosync_votequorum
  two_node: 1
}
nodelist {
  node {
    name: node1
    nodeid: 1
    ring0_addr: 10.10.1.251
    ring1_addr: 10.10.2.251
  }
  node {
    name: node2
    nodeid: 2
    ring0_addr: 10.10.1.252
    ring1_addr: 10.10.2.252
  }
}
logging {
  to_syslog: no
  to_logfile: yes
  logfile: /var/log/corosync/corosync.log
}
";

/// Puts corosync's file in place on both nodes.
pub fn configure(lab: &Lab, _setting: &Setting) -> Result<()> {
    for node in NODES {
        lab.machine(node).put("/etc/corosync/corosync.conf", 0o644, COROSYNC.as_bytes())?;
    }
    Ok(())
}

/// Starts both daemons as their init scripts would.
pub fn start(machine: &Machine) -> Result<()> {
    machine.shell(
        "mkdir -p /var/log/corosync /var/log/crmsh /var/log/pacemaker /run/crm\n\
         chown hacluster:haclient /var/log/pacemaker /run/crm\n\
         corosync || exit 1\n\
         PCMK_logfacility=none PCMK_logfile=/var/log/pacemaker/pacemaker.log \
         setsid pacemakerd </dev/null >/dev/null 2>&1 &",
        LIMIT,
    )?;
    Ok(())
}

/// Loads the resources once both nodes are online.
pub fn load_resources(lab: &Lab, setting: &Setting) -> Result<()> {
    let first = lab.machine(NODES[0]);
    let start = Instant::now();
    loop {
        let output = first.run(&["crm_mon", "-1", "--exclude=all", "--include=nodes"], LIMIT)?;
        if output.stdout.contains("Online: [ node1 node2 ]") {
            break;
        }
        ensure!(start.elapsed() < LIMIT, "the nodes are not online after {LIMIT:?}");
        thread::sleep(Duration::from_millis(500));
    }
    let text = resources(setting);
    first
        .run_with(&["crm", "-F", "configure", "load", "update", "-"], text.as_bytes(), LIMIT)?
        .success("crm configure")?;
    Ok(())
}

/// Time for a slow machine.
const LIMITS: &str = "op start timeout=120s op stop timeout=120s";

/// What an administrator would type.
fn resources(setting: &Setting) -> String {
    let Article { resource, group, mounts, address, service, .. } = setting.article;
    let agent = |name: &'static str| format!("ocf:{}:{name}", setting.provider(name));
    let mut text =
        String::from("property stonith-enabled=false\nrsc_defaults resource-stickiness=100\n");
    let mut members = Vec::new();
    if let Some(group) = group {
        text += &volume_group(group, &agent(setting.volume_agent(group)));
        members.push("vg".to_owned());
    }
    for (number, mount) in mounts.iter().enumerate() {
        let name = format!("fs{number}");
        text += &file_system(&name, mount, &agent("Filesystem"));
        members.push(name);
    }
    if let Some(address) = address {
        text += &format!(
            "primitive ip {} params ip={address} cidr_netmask=24 nic=bond0 \
             {LIMITS} op monitor interval=10s timeout=60s\n",
            agent(setting.address_agent())
        );
        members.insert(if setting.article.address_first { 0 } else { members.len() }, "ip".into());
    }
    for word in service.words() {
        text += &format!(
            "primitive {} {} {LIMITS} op monitor interval=10s timeout=60s\n",
            word.name,
            word.class()
        );
        members.push(word.name.to_owned());
    }
    text += &format!(
        "primitive drbd {} params drbd_resource={resource} \
         op start timeout=240s op promote timeout=120s op demote timeout=120s \
         op stop timeout=120s op monitor interval=29s role=Promoted timeout=60s \
         op monitor interval=31s role=Unpromoted timeout=60s\n\
         clone drbd-clone drbd meta promotable=true promoted-max=1 clone-max=2 notify=true\n\
         group storage {}\n\
         colocation with-drbd inf: storage drbd-clone:Promoted\n\
         order after-drbd inf: drbd-clone:promote storage:start\n",
        agent("drbd"),
        members.join(" ")
    );
    text
}

fn volume_group(group: &Group, agent: &str) -> String {
    let Group { name, owner, .. } = group;
    format!(
        "primitive vg {agent} params vgname={name} vg_access_mode={} \
         {LIMITS} op monitor interval=20s timeout=90s\n",
        owner.word()
    )
}

fn file_system(name: &str, mount: &Mount, agent: &str) -> String {
    let Mount { device, directory, fstype, options } = mount;
    let options = if options.is_empty() { String::new() } else { format!(" options={options}") };
    format!(
        "primitive {name} {agent} params device={device} directory={directory} \
         fstype={fstype}{options} {LIMITS} op monitor interval=20s timeout=60s\n"
    )
}

/// A move: a preference that is taken back once it has had its effect.
pub fn hand_over(machine: &Machine, to: &str) -> Result<()> {
    machine.shell(&format!("crm_resource -r storage --move -N {to} 2>&1"), LIMIT)?;
    Ok(())
}

/// Forgets preferences and failures, on whichever node knows the cluster: one
/// that has just been started does not yet.
pub fn clean_up(lab: &Lab) -> Result<()> {
    let start = Instant::now();
    let script = "crm_resource -r storage --clear 2>&1 && crm_resource --cleanup 2>&1";
    loop {
        for node in NODES {
            match lab.machine(node).shell(script, Duration::from_secs(60)) {
                Ok(_) => return Ok(()),
                Err(err) if start.elapsed() > LIMIT => return Err(err),
                Err(_) => thread::sleep(Duration::from_secs(1)),
            }
        }
    }
}
