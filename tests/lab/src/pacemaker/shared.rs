//! The resources where both nodes write at once: DRBD with two promoted, the
//! lock managers, the volume group and the file system on both, and fencing,
//! without which none of it may be done.
//!
//! The agents of the lock managers are the distribution's: none of ours takes
//! their place.

use super::{LIMIT, LIMITS, await_members, load as configure};
use crate::article::{Article, Domain, Group, Mount};
use crate::client::Lab;
use crate::libvirt;
use crate::machine::NODES;
use crate::setting::Setting;
use anyhow::{Context, Result, ensure};
use std::thread;
use std::time::{Duration, Instant};

/// The cluster's name, which is written into the file system.
pub const CLUSTER: &str = "ClusterA";

/// Debian 13's dlm_stonith asks for the library of an older Pacemaker, fails (`kick_helper
/// error -79`), and dlm waits for good for a node that has long been fenced.
pub const PREPARATION: &str = "\
cd /usr/lib/x86_64-linux-gnu
wanted=$(grep -ao 'libstonithd.so.[0-9]*' /usr/sbin/dlm_stonith)
[ -e $wanted ] || ln -s libstonithd.so.[0-9][0-9] $wanted
";

/// Brings the lock managers and DRBD up, makes the file system, which needs
/// both, and then the rest.
pub fn load(lab: &Lab, setting: &Setting) -> Result<()> {
    await_members(lab)?;
    configure(lab, &lower(setting))?;
    await_lower(lab)?;
    let group = setting.article.group.as_ref().context("the set-up has no volume group")?;
    let first = lab.machine(NODES[0]);
    first.shell(&format(group, setting.article), LIMIT * 2)?;
    configure(lab, &upper(setting, group))
}

/// Fencing, DRBD and the lock managers. Each node has the two devices of the article,
/// in its order: the controller on its board, which fails once the node has lost
/// its power, and the outlet. Both nodes may want to shoot at once: node1 is spared
/// for some seconds, so that one is left.
fn lower(setting: &Setting) -> String {
    let mut text = String::from(
        "property stonith-enabled=true no-quorum-policy=freeze stonith-timeout=120s\n\
         rsc_defaults resource-stickiness=100\n",
    );
    for (node, delay) in NODES.iter().zip([5, 0]) {
        for (device, on_board) in [("ipmi", 1), ("pdu", 0)] {
            text += &format!(
                "primitive {device}-{node} stonith:fence_lab params pcmk_host_list={node} \
                 pcmk_host_check=static-list pcmk_delay_base={delay}s on_board={on_board} \
                 op monitor interval=60s timeout=60s\n\
                 location {device}-{node}-away {device}-{node} -inf: {node}\n"
            );
        }
    }
    let levels = NODES.map(|node| format!("{node}: ipmi-{node} pdu-{node}"));
    text += &format!("fencing_topology {}\n", levels.join(" "));
    text + &format!(
        "primitive drbd ocf:{}:drbd params drbd_resource={} \
         op start timeout=240s op promote timeout=300s op demote timeout=120s \
         op stop timeout=120s op monitor interval=29s role=Promoted timeout=60s \
         op monitor interval=31s role=Unpromoted timeout=60s\n\
         clone drbd-clone drbd \
         meta promotable=true promoted-max=2 clone-max=2 notify=true interleave=true\n\
         primitive dlm ocf:pacemaker:controld {LIMITS} op monitor interval=60s timeout=60s\n\
         primitive lvmlockd ocf:heartbeat:lvmlockd {LIMITS} \
         op monitor interval=60s timeout=90s\n\
         group locks dlm lvmlockd\n\
         clone locks-clone locks meta interleave=true\n",
        setting.provider("drbd"),
        setting.article.resource,
    )
}

fn await_lower(lab: &Lab) -> Result<()> {
    let start = Instant::now();
    loop {
        let ready = |node: &&str| {
            let look = "grep -q 'ro:Primary/Primary' /proc/drbd && [ -S /run/lvm/lvmlockd.socket ]";
            lab.machine(node).shell(look, Duration::from_secs(60)).is_ok()
        };
        if NODES.iter().all(ready) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < LIMIT * 2,
            "DRBD is not Primary on both nodes, or lvmlockd does not run, after {:?}",
            LIMIT * 2
        );
        thread::sleep(Duration::from_millis(500));
    }
}

/// As the article has it, in today's words.
fn format(group: &Group, article: &Article) -> String {
    let (Group { name, volumes, .. }, device) = (group, article.device());
    let mut script = format!("set -e\nexec 2>&1\nvgcreate -qq --shared {name} {device}\n");
    for (volume, megabytes) in *volumes {
        script += &format!(
            "lvcreate -qq -an -Zn -Wn -L {megabytes}M -n {volume} {name}\n\
             lvchange -asy {name}/{volume}\n"
        );
    }
    script += "udevadm settle\n";
    for Mount { device, .. } in article.mounts {
        script += &format!("mkfs.gfs2 -q -O -p lock_dlm -j 2 -J 8 -t {CLUSTER}:shared {device}\n");
    }
    if article.domain.is_some() {
        let Mount { device, directory, fstype, .. } = &article.mounts[0];
        let (software, definition) =
            (libvirt::install_software(article), libvirt::define(article, directory));
        script += &format!(
            "{software}mount -t {fstype} {device} {directory}\n{definition}umount {directory}\n"
        );
    }
    script + &format!("vgchange -an {name}\nvgchange --lockstop {name}\n")
}

fn upper(setting: &Setting, group: &Group) -> String {
    let mut text = super::volume_group(
        group,
        &format!("ocf:{}:{}", setting.provider("LVM"), setting.volume_agent(group)),
    );
    text = text.replace("vg_access_mode=", "activation_mode=shared vg_access_mode=");
    let mut members = vec!["vg".to_owned()];
    for (number, mount) in setting.article.mounts.iter().enumerate() {
        let name = format!("fs{number}");
        let agent = format!("ocf:{}:Filesystem", setting.provider("Filesystem"));
        text += &super::file_system(&name, mount, &agent);
        members.push(name);
    }
    text += &format!(
        "primitive writer ocf:lab:writer {LIMITS} op monitor interval=10s timeout=60s\n\
         group storage {} writer\n\
         clone storage-clone storage meta interleave=true\n\
         order after-locks inf: locks-clone storage-clone\n\
         order after-drbd inf: drbd-clone:promote storage-clone:start\n\
         colocation with-locks inf: storage-clone locks-clone\n\
         colocation with-drbd inf: storage-clone drbd-clone:Promoted\n",
        members.join(" ")
    );
    if let Some(domain) = &setting.article.domain {
        text += &guest(domain, &setting.article.mounts[0], setting.provider("VirtualDomain"));
    }
    text
}

/// The guest, which is moved over DRBD's network.
fn guest(domain: &Domain, mount: &Mount, provider: &str) -> String {
    let (name, config) = (domain.name, domain.config(mount.directory));
    format!(
        "primitive {name} ocf:{provider}:VirtualDomain params config={config} \
         migration_transport=tcp migration_network_suffix=-private \
         meta allow-migrate=true {LIMITS} op migrate_to timeout=600s \
         op migrate_from timeout=120s op monitor interval=10s timeout=60s\n\
         order after-storage inf: storage-clone {name}\n\
         colocation with-storage inf: {name} storage-clone\n"
    )
}
