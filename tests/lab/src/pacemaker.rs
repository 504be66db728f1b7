//! corosync and Pacemaker, configured by `crm configure`.

pub mod shared;

use super::article::{Article, DOMAINS, Group, Mount, Service};
use super::client::{Lab, Machine};
use super::machine::NODES;
use super::setting::Setting;
use anyhow::{Result, ensure};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(180);

/// Puts corosync's file in place on both nodes.
pub fn configure(lab: &Lab, setting: &Setting) -> Result<()> {
    let text = corosync(setting.article.is_shared());
    for node in NODES {
        let machine = lab.machine(node);
        machine.put("/etc/corosync/corosync.conf", 0o644, text.as_bytes())?;
        if setting.article.is_shared() {
            machine.shell(shared::PREPARATION, LIMIT)?;
        }
    }
    Ok(())
}

/// Two links, as heartbeat has two; a token long enough for a slow machine.
/// Where both nodes write there is one, as in the article: what carries locks
/// goes where the cluster's messages go, and DRBD has a network of its own.
fn corosync(is_shared: bool) -> String {
    let mut text = format!(
        "totem {{\n  version: 2\n  cluster_name: {}\n  transport: knet\n\
         \x20 crypto_cipher: none\n  crypto_hash: none\n  token: 5000\n}}\n\
         quorum {{\n  provider: corosync_votequorum\n  two_node: 1\n}}\nnodelist {{\n",
        if is_shared { shared::CLUSTER } else { "lab" }
    );
    for (node, id) in NODES.iter().zip(1..) {
        text += &format!(
            "  node {{\n    name: {node}\n    nodeid: {id}\n    ring0_addr: 10.10.1.25{id}\n"
        );
        if !is_shared {
            text += &format!("    ring1_addr: 10.10.2.25{id}\n");
        }
        text += "  }\n";
    }
    text + "}\nlogging {\n  to_syslog: no\n  to_logfile: yes\n\
            \x20 logfile: /var/log/corosync/corosync.log\n}\n"
}

/// Starts both daemons as their init scripts would.
pub fn start(machine: &Machine) -> Result<()> {
    machine.shell(
        // What systemd would have made, that of lvmlockd first.
        "mkdir -p /run/lvm\n\
         mkdir -p /var/log/corosync /var/log/crmsh /var/log/pacemaker /run/crm\n\
         chown hacluster:haclient /var/log/pacemaker /run/crm\n\
         corosync || exit 1\n\
         PCMK_logfacility=none PCMK_logfile=/var/log/pacemaker/pacemaker.log \
         setsid pacemakerd </dev/null >/dev/null 2>&1 &",
        LIMIT,
    )?;
    Ok(())
}

/// Stops both daemons, and with them the resources of the node.
pub fn stop(machine: &Machine) -> Result<()> {
    machine.shell(
        "pkill -TERM -x pacemakerd\n\
         while pgrep -x pacemakerd >/dev/null; do sleep 0.5; done\n\
         pkill -TERM -x corosync\n\
         while pgrep -x corosync >/dev/null; do sleep 0.2; done",
        LIMIT * 2,
    )?;
    Ok(())
}

/// Loads the resources once both nodes are online.
pub fn load_resources(lab: &Lab, setting: &Setting) -> Result<()> {
    await_members(lab)?;
    load(lab, &resources(setting)?)
}

/// Puts something into the cluster's configuration.
fn load(lab: &Lab, text: &str) -> Result<()> {
    lab.machine(NODES[0])
        .run_with(&["crm", "-F", "configure", "load", "update", "-"], text.as_bytes(), LIMIT)?
        .success("crm configure")?;
    Ok(())
}

fn await_members(lab: &Lab) -> Result<()> {
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
    Ok(())
}

/// Time for a slow machine.
const LIMITS: &str = "op start timeout=120s op stop timeout=120s";

/// What DomainGroup advises: guests come up one after the other.
const GUESTS_LIMITS: &str = "op start timeout=300s op stop timeout=300s";

/// What an administrator would type.
fn resources(setting: &Setting) -> Result<String> {
    let Article { resource, settings, group, mounts, address, .. } = setting.article;
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
    let mut together = "";
    if let Some(settings) = settings {
        // What is served is read there.
        text += &replicated("settings", settings.resource, &agent("drbd"));
        text += &where_primary("settings", &members);
        members.clear();
        together = "colocation with-settings inf: storage settings\n\
                    order after-settings inf: settings storage\n";
    }
    if let Some(address) = address {
        text += &format!(
            "primitive ip {} params ip={address} cidr_netmask=24 nic=bond0 \
             {LIMITS} op monitor interval=10s timeout=60s\n",
            agent(setting.address_agent())
        );
        members.insert(if setting.article.address_first { 0 } else { members.len() }, "ip".into());
    }
    let limits = match setting.article.service {
        Service::Domains(_) => GUESTS_LIMITS,
        _ => LIMITS,
    };
    for (name, words) in served(setting)? {
        text += &format!("primitive {name} {words} {limits} op monitor interval=10s timeout=60s\n");
        members.push(name);
    }
    if setting.has_export_agents() {
        // A client that asks before all is exported hears that its file is gone.
        let address = address.unwrap_or_default();
        for (place, name) in [(0, "block"), (members.len() + 1, "unblock")] {
            text += &format!(
                "primitive {name} ocf:sturdy:portblock params action={name} ip={address} \
                 portno=2049 protocol=tcp {LIMITS} op monitor interval=10s timeout=60s\n"
            );
            members.insert(place, name.into());
        }
    }
    text += &replicated("storage", resource, &agent("drbd"));
    text += &where_primary("storage", &members);
    Ok(text + together)
}

/// The DRBD resource that a group of resources needs.
fn replicated(group: &str, resource: &str, agent: &str) -> String {
    format!(
        "primitive {group}-drbd {agent} params drbd_resource={resource} \
         op start timeout=240s op promote timeout=120s op demote timeout=120s \
         op stop timeout=120s op monitor interval=29s role=Promoted timeout=60s \
         op monitor interval=31s role=Unpromoted timeout=60s\n\
         clone {group}-drbd-clone {group}-drbd \
         meta promotable=true promoted-max=1 clone-max=2 notify=true\n"
    )
}

/// The group, on the node where its DRBD resource is primary.
fn where_primary(group: &str, members: &[String]) -> String {
    format!(
        "group {group} {}\n\
         colocation {group}-with-drbd inf: {group} {group}-drbd-clone:Promoted\n\
         order {group}-after-drbd inf: {group}-drbd-clone:promote {group}:start\n",
        members.join(" ")
    )
}

/// The resources of the service, with agent and parameters.
fn served(setting: &Setting) -> Result<Vec<(String, String)>> {
    let article = setting.article;
    if !setting.has_export_agents() {
        let params = match article.service {
            Service::Domains(_) => {
                format!(" params directory={DOMAINS} hypervisor=qemu:///system")
            }
            _ => String::new(),
        };
        let words = article.service.words().iter();
        let words = words.map(|word| (word.name.to_owned(), setting.class(word) + &params));
        return Ok(words.collect());
    }
    let address = article.address.unwrap_or_default();
    let state = format!("{}/nfsinfo", article.mounts[0].directory);
    // A client whose packets were dropped tries again later and later, after as long
    // as it has waited; it has to find the grace period. That ends earlier where
    // all have taken back what they had.
    let server = format!(
        "ocf:sturdy:nfsserver params nfs_ip={address} nfs_server_scope={address} \
         nfs_shared_infodir={state} nfs_gracetime=90"
    );
    let exports = article.exports()?.into_iter().enumerate();
    let exports = exports.map(|(number, [directory, client, options])| {
        let words = format!(
            "ocf:sturdy:exportfs params directory={directory} clientspec={client} \
             options=\"{options}\""
        );
        (format!("export{number}"), words)
    });
    Ok(std::iter::once(("server".to_owned(), server)).chain(exports).collect())
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
pub fn hand_over(machine: &Machine, resource: &str, to: &str) -> Result<()> {
    machine.shell(&format!("crm_resource -r {resource} --move -N {to} 2>&1"), LIMIT)?;
    Ok(())
}

/// Until the cluster has nothing to do. A live migration is not over for it when the
/// guest runs on the other node: who moves it again before `migrate_from` is through
/// is refused, since it counts as active on both, and who takes the preference back
/// has it stopped and started.
pub fn settle(machine: &Machine) -> Result<()> {
    machine.shell("crm_resource --wait --timeout 300 2>&1", LIMIT * 2)?;
    Ok(())
}

/// A node is told to stand by, and to come back once it runs nothing more.
pub fn stand_by(machine: &Machine, node: &str) -> Result<()> {
    machine.shell(&format!("crm_standby -N {node} -v on && crm_resource --wait"), LIMIT * 2)?;
    machine.shell(&format!("crm_standby -N {node} -D"), LIMIT)?;
    Ok(())
}

/// Whether DRBD's handler has barred a node from promotion, and which one it
/// has not.
pub fn barred_by(lab: &Lab) -> Result<Option<String>> {
    let words = ["cibadmin", "--query", "--scope", "constraints"];
    let mut last = None;
    for node in NODES {
        match lab.machine(node).run(&words, Duration::from_secs(60))?.success("cibadmin") {
            Ok(text) => {
                let text = text.split_once("drbd-fence-by-handler").map(|(_, rest)| rest);
                let value = text.and_then(|text| text.split_once(" value=\"")?.1.split_once('"'));
                return Ok(value.map(|(owner, _)| owner.to_owned()));
            }
            Err(err) => last = Some(err),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no node to ask")))
}

/// Forgets preferences of this resource and failures, on whichever node knows the
/// cluster: one that has just been started does not yet.
pub fn clean_up(lab: &Lab, resource: &str) -> Result<()> {
    let script = format!("crm_resource -r {resource} --clear 2>&1 && crm_resource --cleanup 2>&1");
    let start = Instant::now();
    loop {
        for node in NODES {
            match lab.machine(node).shell(&script, Duration::from_secs(60)) {
                Ok(_) => return Ok(()),
                Err(err) if start.elapsed() > LIMIT => return Err(err),
                Err(_) => thread::sleep(Duration::from_secs(1)),
            }
        }
    }
}
