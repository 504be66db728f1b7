//! The resources where both nodes write at once: DRBD with two promoted, the
//! lock managers, the volume group and the file system on both, and fencing,
//! without which none of it may be done.
//!
//! The agents of the lock managers are the distribution's: none of ours takes
//! their place.

use super::{LIMIT, LIMITS, await_members, load as configure};
use crate::article::{Group, Mount};
use crate::client::Lab;
use crate::machine::NODES;
use crate::setting::Setting;
use anyhow::{Context, Result, ensure};
use std::thread;
use std::time::{Duration, Instant};

/// The cluster's name, which is written into the file system.
pub const CLUSTER: &str = "ClusterA";

/// Brings the lock managers and DRBD up, makes the file system, which needs
/// both, and then the rest.
pub fn load(lab: &Lab, setting: &Setting) -> Result<()> {
    await_members(lab)?;
    configure(lab, &lower(setting))?;
    await_lower(lab)?;
    let group = setting.article.group.as_ref().context("the set-up has no volume group")?;
    let first = lab.machine(NODES[0]);
    first.shell(&format(group, &setting.article.device(), setting.article.mounts), LIMIT)?;
    configure(lab, &upper(setting, group))
}

/// Fencing, DRBD and the lock managers. Both nodes may want to shoot at once:
/// node1 is spared for some seconds, so that one is left.
fn lower(setting: &Setting) -> String {
    let mut text = String::from(
        "property stonith-enabled=true no-quorum-policy=freeze stonith-timeout=120s\n\
         rsc_defaults resource-stickiness=100\n",
    );
    for (node, delay) in NODES.iter().zip([5, 0]) {
        text += &format!(
            "primitive fence-{node} stonith:fence_lab params pcmk_host_list={node} \
             pcmk_host_check=static-list pcmk_delay_base={delay}s \
             op monitor interval=60s timeout=60s\n\
             location fence-{node}-away fence-{node} -inf: {node}\n"
        );
    }
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
fn format(group: &Group, device: &str, mounts: &[Mount]) -> String {
    let Group { name, volumes, .. } = group;
    let mut script = format!("set -e\nexec 2>&1\nvgcreate -qq --shared {name} {device}\n");
    for (volume, megabytes) in *volumes {
        script += &format!(
            "lvcreate -qq -an -Zn -Wn -L {megabytes}M -n {volume} {name}\n\
             lvchange -asy {name}/{volume}\n"
        );
    }
    script += "udevadm settle\n";
    for Mount { device, .. } in mounts {
        script += &format!("mkfs.gfs2 -q -O -p lock_dlm -j 2 -J 8 -t {CLUSTER}:shared {device}\n");
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
    text + &format!(
        "primitive writer ocf:lab:writer {LIMITS} op monitor interval=10s timeout=60s\n\
         group storage {} writer\n\
         clone storage-clone storage meta interleave=true\n\
         order after-locks inf: locks-clone storage-clone\n\
         order after-drbd inf: drbd-clone:promote storage-clone:start\n\
         colocation with-locks inf: storage-clone locks-clone\n\
         colocation with-drbd inf: storage-clone drbd-clone:Promoted\n",
        members.join(" ")
    )
}
