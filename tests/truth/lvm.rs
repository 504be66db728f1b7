//! LVM, as far as a kernel without a device-mapper can show it: what becomes
//! active is tried in the lab.

use crate::harness::Machine;
use crate::suite::{Scene, Seen, Suite, scene};
use std::path::Path;

pub fn scenes() -> Vec<Scene> {
    let of = |sentence, run| Scene { needs: &["lvm"], ..scene(sentence, run) };
    vec![
        of("LVM: a disk that is back but flagged as missing is named, with the way out", flagged),
        of("LVM: without /sys a group is not said to be stopped", without_sys),
    ]
}

/// Has lvm see these disks alone: others belong to other cases.
fn accept(machine: &Machine, disks: &[&str]) {
    let accepted = disks.iter().map(|disk| format!("\"a|^{disk}$|\", ")).collect::<String>();
    let filter = format!("devices {{ global_filter = [ {accepted}\"r|.*|\" ] }}\n");
    machine.file("/etc/lvm/lvmlocal.conf", &filter);
}

/// Two disks; one was away while the metadata changed, and is back.
fn flagged(machine: &Machine, suite: Suite) -> Seen {
    let (first, second) = (machine.disk(64), machine.disk(64));
    let name = format!("sturdy{}", std::process::id());
    let accept = |disks: &[&str]| accept(machine, disks);
    let lvm = |words: &[&str]| machine.must("lvm", words);
    accept(&[first.path(), second.path()]);
    lvm(&["vgcreate", "-y", "--driverloaded", "n", &name, first.path(), second.path()]);
    let volume = ["-an", "-Zn", "-Wn", "-n", "web", "-l1", &name, first.path()];
    lvm(&[&["lvcreate", "-y", "--driverloaded", "n"], &volume[..]].concat());
    let wide = ["-an", "-Zn", "-Wn", "-n", "mail", "-l1", &name, second.path()];
    lvm(&[&["lvcreate", "-y", "--driverloaded", "n"], &wide[..]].concat());
    accept(&[first.path()]);
    lvm(&["lvchange", "--driverloaded", "n", "--addtag", "changed", &format!("{name}/web")]);
    accept(&[first.path(), second.path()]);
    let resource = suite.agent(machine, "LVM").set("volgrpname", &name);
    let start = resource.start();
    resource.claim(start.code != Some(0), "")?;
    let reason = start.exit_reason().unwrap_or_default();
    let names_it = reason.contains(second.path()) && reason.contains("restoremissing");
    resource.claim(names_it, "the reason does not say it")
}

/// The kernel's own lists have a device-mapper; what it has mapped cannot be
/// seen. A volume's link is there.
fn without_sys(machine: &Machine, suite: Suite) -> Seen {
    accept(machine, &[]);
    machine.must("sh", &["-c", PRIVATE_DEV]);
    machine.must("mkdir", &["/dev/vg0"]);
    machine.must("ln", &["-s", "../mapper/vg0-web", "/dev/vg0/web"]);
    machine.must("mount", &["-t", "tmpfs", "tmpfs", "/sys"]);
    machine.pretend_proc("misc", "236 device-mapper\n");
    assert!(!Path::new("/sys/class").exists());
    let resource = suite.agent(machine, "LVM").set("volgrpname", "vg0");
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(7), "")?;
    resource.stops_or_says_so(|| true, "")
}

/// Devices can be made on a copy of `/dev` alone.
const PRIVATE_DEV: &str = "mkdir /run/dev-upper /run/dev-work && mount -t overlay dev \
    -o lowerdir=/dev,upperdir=/run/dev-upper,workdir=/run/dev-work /dev";
