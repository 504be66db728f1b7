//! A guest of Xen's as what a group serves: what a node needs for it, what shows that
//! it runs, and how its records are read.

use super::LIMIT;
use crate::article::Article;
use crate::client::{Lab, Machine};
use crate::guest::{GUEST, HOTPLUG, SELF};
use crate::hypervisor::KERNEL;
use crate::machine::NODES;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use story::ledger::{RECORD, Record, Verdict};

/// The guest's name.
const NAME: &str = "web";

/// Its memory disk on a node.
const INITRD: &str = "/var/lib/lab-guest/initrd";

/// What a node's kernel calls the interrupt of a disk that a guest has connected to.
pub(super) const RING: &str = "blkif-backend";

/// Its disk on a node that has the volume group.
fn disk(article: &Article) -> String {
    let volumes = article.group.iter().flat_map(|group| {
        group.volumes.iter().map(|(volume, _)| format!("/dev/{}/{volume}", group.name))
    });
    volumes.collect()
}

/// The guest's file, which both nodes have.
pub(super) fn preparation(article: &Article) -> String {
    format!(
        "mkdir -p /etc/xen/ha.d\n\
         {SELF} guest-pack {INITRD}\n\
         ln -sf {SELF} {HOTPLUG}\n\
         cat > /etc/xen/ha.d/{NAME} <<'END'\n\
         name = \"{NAME}\"\n\
         type = \"pv\"\n\
         kernel = \"{KERNEL}\"\n\
         ramdisk = \"{INITRD}\"\n\
         extra = \"console=hvc0 quiet panic=1 {GUEST}\"\n\
         memory = 160\n\
         disk = [ \"vdev=xvda, access=w, script=block-lab, target={}\" ]\n\
         on_crash = \"destroy\"\n\
         END\n\
         mkdir -p /var/log/xen/console\n\
         echo XENCONSOLED_ARGS=--log=guest >> /etc/default/xen\n",
        disk(article)
    )
}

/// Debian's own script starts what the hypervisor needs in the first domain. A second
/// relay ends by itself.
pub(super) fn at_boot() -> String {
    format!(
        "/etc/init.d/xen start 2>&1 || exit 1\n\
         setsid {SELF} guest-relay /var/log/xen/console/guest-{NAME}.log </dev/null >/dev/null 2>&1 &"
    )
}

/// What the guest has written, on a node that has its disk.
pub(super) fn records(machine: &Machine, article: &Article) -> Result<Vec<u8>> {
    machine.output(&[SELF, "guest-read", &disk(article)], LIMIT)
}

/// By the hypervisors' own lists, the guest is on `node` and nowhere else.
pub(super) fn is_alone(lab: &Lab, node: &str) -> Result<()> {
    for name in NODES {
        let list = lab.machine(name).run(&["xl", "list"], LIMIT)?.success("list the domains")?;
        let guests = list.lines().filter(|line| line.split(' ').next() == Some(NAME)).count();
        let wanted = usize::from(name == node);
        ensure!(guests == wanted, "{name} has {guests} guests, and not {wanted}: {list}");
    }
    Ok(())
}

/// The verdict, with the places at which a guest writes on that another had followed:
/// then two have run at once.
pub(super) fn with_intruders(bytes: &[u8], mut verdict: Verdict) -> Verdict {
    let (mut current, mut over) = (String::new(), BTreeSet::new());
    for (chunk, place) in bytes.chunks_exact(RECORD).zip(1..) {
        let Ok(record) = Record::decode(chunk) else { continue };
        if record.writer != current {
            if over.contains(&record.writer) {
                verdict.damaged.push((place, format!("{} writes beside {current}", record.writer)));
            }
            over.insert(std::mem::replace(&mut current, record.writer));
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use story::ledger::{Ack, check_bytes};

    fn damaged(writers: &[&str]) -> Vec<(u64, String)> {
        let record = |(number, writer): (u64, &&str)| Record::new(number, writer, 1).encode();
        let bytes: Vec<u8> = (1..).zip(writers).flat_map(record).collect();
        let acks: Vec<Ack> =
            (1..).zip(writers).map(|(number, _)| Ack { number, at: Duration::ZERO }).collect();
        with_intruders(&bytes, check_bytes(&bytes, &acks)).damaged
    }

    #[test]
    fn a_guest_that_writes_beside_another_is_told_from_one_that_follows_it() {
        assert_eq!(damaged(&["a", "a", "b", "c"]), []);
        let told = [(3, "a writes beside b".to_owned()), (4, "b writes beside a".to_owned())];
        assert_eq!(damaged(&["a", "b", "a", "b"]), told);
    }
}
