//! Volume groups of which more than plain volumes are made, and what else
//! stands between a volume and a disk.

use super::group::is_inactive;
use super::node::{Agent, Node};
use super::stand::Stand;
use anyhow::{Context, Result, ensure};

/// What the kernel needs for it.
const MODULES: &str = "dm_thin_pool dm_raid dm_snapshot dm_cache dm_cache_smq dm_crypt \
    dm_multipath dm_round_robin sd_mod";

/// The group, and every volume of it that has a name.
const GROUP: &str = "vg1";
const NAMED: [&str; 5] = ["cached", "plain", "raid", "snap", "thin"];

/// A disk that can be taken away: `/dev/sda`.
fn disk(node: &Node) -> Result<()> {
    node.shell(&format!("modprobe scsi_debug dev_size_mb=64 && modprobe -a {MODULES}"))?;
    node.until("the disk", 30, || Ok(node.shell("ls /sys/class/block")?.contains("sda")))?;
    show(node, &["/dev/vdc", "/dev/sda", "/dev/mapper/drill-"])
}

/// Has LVM see what begins so.
fn show(node: &Node, disks: &[&str]) -> Result<()> {
    let accepted: String = disks.iter().map(|disk| format!("\"a|^{disk}|\", ")).collect();
    let text = format!("devices {{ global_filter = [ {accepted}\"r|.*|\" ] }}\n");
    node.machine.put("/etc/lvm/lvmlocal.conf", 0o644, text.as_bytes())
}

/// A group on the given disks, without what may be left of another one; each
/// command for itself, since an emulated machine takes its time for it.
fn make(node: &Node, disks: &str, volumes: &str) -> Result<()> {
    let wipe = "wipefs -qa $disk; dd if=/dev/zero of=$disk bs=1M count=1 2>/dev/null";
    node.shell(&format!(
        "rm -rf /dev/{GROUP}; for disk in /dev/vdc {disks}; do {wipe}; done; \
         vgcreate -qq -y {GROUP} {disks}"
    ))?;
    for line in volumes.split("; ") {
        node.shell(line)?;
    }
    node.shell(&format!("vgchange -qq -an {GROUP}")).map(drop)
}

/// A pool in use, a mirror with a leg on each disk, an origin with a snapshot,
/// a volume with a cache; and a thin snapshot, which is not activated unasked.
const VOLUMES: &str = "\
    lvcreate -qq -y -L 16M -T vg1/pool; lvcreate -qq -y -V 8M -n thin -T vg1/pool; \
    lvcreate -qq -y -s -n skipped vg1/thin; \
    lvcreate -qq -y -L 8M --type raid1 -m1 -n raid vg1; \
    lvcreate -qq -y -L 8M -n plain vg1 /dev/vdc; lvcreate -qq -y -L 4M -s -n snap vg1/plain; \
    lvcreate -qq -y -L 8M -n cached vg1 /dev/vdc; lvcreate -qq -y -L 12M -n fast vg1 /dev/vdc; \
    lvconvert -qq -y --type cache --cachevol vg1/fast vg1/cached";

fn mapped(node: &Node) -> Result<String> {
    node.shell(&format!("dmsetup ls | grep ^{GROUP}- || true"))
}

/// Starts it twice and stops it, and looks whether that is true.
fn comes_and_goes(node: &Node, agent: &Agent, names: &[&str]) -> Result<()> {
    agent.probe()?.exits(7)?;
    agent.action("start")?.exits(0)?;
    let active = mapped(node)?;
    for name in names {
        let begin = format!("{GROUP}-{name}\t");
        ensure!(
            active.lines().any(|line| line.starts_with(&begin)),
            "{name} is not there: {active}"
        );
    }
    agent.action("start")?.exits(0)?;
    agent.action("monitor")?.exits(0)?;
    agent.action("stop")?.exits(0)?;
    is_inactive(node, GROUP)?;
    agent.probe()?.exits(7).map(drop)
}

/// See the catalogue.
pub fn are_of_every_kind(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    disk(&node)?;
    make(&node, "/dev/vdc /dev/sda", VOLUMES)?;
    let group = node.agent("LVM", GROUP);
    comes_and_goes(&node, &group, &NAMED)?;
    for name in ["thin", "raid", "plain", "cached"] {
        let one = group.clone().with("lvname", name);
        comes_and_goes(&node, &one, &[name]).with_context(|| format!("{name} alone"))?;
    }
    group.action("start")?.exits(0)?;
    held_above(&node, &group)?;
    // The mirror can do without the disk that goes, and the group with it.
    node.shell("echo 1 > /sys/class/block/sda/device/delete")?;
    let monitor = group.action("monitor")?;
    match node.shell("dmsetup deps vg1-pool_tmeta")?.contains("(8, 0)") {
        // lvm may have put a part of the pool there.
        true => monitor.exits(1)?.because(&["gone or offline"])?,
        false => monitor.exits_one_of(&[0, 190])?.because(&["gone or offline"])?,
    };
    group.action("stop")?.exits(0)?;
    is_inactive(&node, GROUP)?;
    node.shell("rmmod scsi_debug; wipefs -qa /dev/vdc").map(|_| String::new())
}

/// The stop of an origin fails for whoever has its snapshot, and names them.
fn held_above(node: &Node, group: &Agent) -> Result<()> {
    node.background(&format!("exec sleep 100000 < /dev/mapper/{GROUP}-snap"), "pgrep -x sleep")?;
    let origin = group.clone().with("lvname", "plain").limit(20);
    origin.action("stop")?.exits(1)?.because(&["snap", "sleep"])?;
    node.end_background()
}

/// See the catalogue.
pub fn are_encrypted(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    disk(&node)?;
    let luks = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000";
    node.shell(&format!(
        "echo -n x | cryptsetup -q luksFormat {luks} /dev/sda - && \
         echo -n x | cryptsetup open -d - /dev/sda drill-crypt"
    ))?;
    make(&node, "/dev/mapper/drill-crypt", "lvcreate -qq -y -L 4M -n x vg1")?;
    let group = node.agent("LVM", GROUP);
    comes_and_goes(&node, &group, &["x"])?;
    group.action("start")?.exits(0)?;
    node.shell("dmsetup suspend --noflush --nolockfs drill-crypt")?;
    group.action("monitor")?.exits(1)?.because(&["suspended"])?;
    node.shell("dmsetup resume drill-crypt")?;
    group.action("monitor")?.exits(0)?;
    // Another layer, on top, as encryption of a volume is one; XTS has two keys.
    let key = "00".repeat(2 * 16);
    let above = format!("0 8 crypt aes-xts-plain64 {key} 0 /dev/vg1/x 0");
    node.shell(&format!("dmsetup create drill-above --table '{above}'"))?;
    group.clone().limit(20).action("stop")?.exits(1)?.because(&["x is held", "drill-above"])?;
    node.shell("dmsetup remove drill-above")?;
    node.shell("echo offline > /sys/class/block/sda/device/state")?;
    group.action("monitor")?.exits(1)?.because(&["gone or offline"])?;
    node.shell("echo running > /sys/class/block/sda/device/state")?;
    group.action("stop")?.exits(0)?;
    is_inactive(&node, GROUP)?;
    node.shell("cryptsetup close drill-crypt; rmmod scsi_debug").map(|_| String::new())
}

/// See the catalogue.
pub fn have_many_paths(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    disk(&node)?;
    // LVM would see the disk by both ways; multipath's own detection needs udev.
    show(&node, &["/dev/mapper/drill-"])?;
    node.shell(
        "dmsetup create drill-path --uuid mpath-drill --table \
         \"0 $(cat /sys/class/block/sda/size) multipath 0 0 1 1 round-robin 0 1 1 /dev/sda 1000\" && \
         dmsetup mknodes",
    )?;
    make(&node, "/dev/mapper/drill-path", "lvcreate -qq -y -L 4M -n x vg1")?;
    let group = node.agent("LVM", GROUP);
    comes_and_goes(&node, &group, &["x"])?;
    group.action("start")?.exits(0)?;
    node.shell("dmsetup message drill-path 0 fail_path /dev/sda")?;
    group.action("monitor")?.exits(1)?.because(&["gone or offline"])?;
    node.shell("dmsetup message drill-path 0 reinstate_path /dev/sda")?;
    group.action("monitor")?.exits(0)?;
    group.action("stop")?.exits(0)?;
    is_inactive(&node, GROUP)?;
    node.shell("dmsetup remove drill-path; rmmod scsi_debug").map(|_| String::new())
}

/// See the catalogue.
pub fn are_renamed(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    show(&node, &["/dev/vdc"])?;
    make(&node, "/dev/vdc", "lvcreate -qq -y -L 4M -n x vg1; lvcreate -qq -y -L 4M -n y vg1")?;
    let group = node.agent("LVM", GROUP);
    group.action("start")?.exits(0)?;
    node.shell("vgrename -qq vg1 vg9")?;
    group.action("monitor")?.exits(1)?.because(&["is active under the name vg9 now"])?;
    group.probe()?.exits(1)?;
    group.action("start")?.exits(1)?.because(&["vg9"])?;
    group.action("stop")?.exits(0)?;
    is_inactive(&node, "vg9")?;
    group.probe()?.exits(7)?;
    // A volume of it.
    node.shell("vgrename -qq vg9 vg1")?;
    let one = group.with("lvname", "x");
    one.action("start")?.exits(0)?;
    node.shell("lvrename -qq vg1 x z")?;
    one.action("monitor")?.exits(1)?.because(&["is active under the name vg1/z now"])?;
    one.action("stop")?.exits(0)?;
    is_inactive(&node, GROUP)?;
    node.shell("wipefs -qa /dev/vdc").map(|_| String::new())
}

/// See the catalogue.
pub fn are_removed(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    show(&node, &["/dev/vdc"])?;
    make(&node, "/dev/vdc", "lvcreate -qq -y -L 4M -n x vg1; lvcreate -qq -y -L 4M -n y vg1")?;
    let group = node.agent("LVM", GROUP);
    group.action("start")?.exits(0)?;
    node.shell("lvchange -qq -an vg1/y")?;
    group.action("monitor")?.exits(1)?.because(&["y of volume group vg1 is not active"])?;
    node.shell("rm -f /etc/lvm/backup/*; lvremove -qq -y vg1/y; rm -f /etc/lvm/backup/*")?;
    group.action("monitor")?.exits(0)?;
    group.action("stop")?.exits(0)?;
    is_inactive(&node, GROUP)?;
    node.shell("wipefs -qa /dev/vdc").map(|_| String::new())
}

/// See the catalogue.
pub fn are_seen_without_sysfs(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    show(&node, &["/dev/vdc"])?;
    make(&node, "/dev/vdc", "lvcreate -qq -y -L 4M -n x vg1")?;
    let group = node.agent("LVM", GROUP);
    let blind = group.clone().after("umount -l /sys");
    blind.probe()?.exits(7)?;
    group.action("start")?.exits(0)?;
    // Whether the disk is there cannot be told, and is said.
    blind.action("monitor")?.exits_one_of(&[0, 190])?.because(&["cannot tell whether disk"])?;
    blind.action("stop")?.exits(0)?;
    is_inactive(&node, GROUP)?;
    node.shell("wipefs -qa /dev/vdc").map(|_| String::new())
}
