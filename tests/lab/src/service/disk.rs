//! A disk that the client is given: what it makes of it, how it takes more of it
//! into use, and what has to be well with its file system in the end.

use super::LIMIT;
use crate::article::Service;
use crate::client::{Lab, Machine};
use crate::guest::HOLD;
use anyhow::{Result, ensure};

/// How a kernel says that a file system has met an error of its disk, that the
/// driver of the disk has given up, or that nothing is written any more.
const COMPLAINTS: &str = "I/O error|lost .*page write|ERROR: \\(device|JFS.*error|\
                          rejecting I/O|recovery timed out|offlined|device .* failed";

impl Service {
    /// The disk that the client is given.
    pub(super) fn device(self) -> &'static str {
        if self == Service::Iscsi { "/dev/sda" } else { "/dev/etherd/e0.1" }
    }

    /// Its first partition.
    fn partition(self) -> &'static str {
        if self == Service::Iscsi { "/dev/sda1" } else { "/dev/etherd/e0.1p1" }
    }

    /// What both articles have the client do with its new disk: one partition, a
    /// jfs, a line of fstab that calls it as `name` prints it.
    pub(super) fn formatting(self, name: &str) -> String {
        let (device, partition, directory) = (self.device(), self.partition(), self.directory());
        format!(
            "set -e\nwait_for() {{ until [ -b $1 ]; do sleep 0.2; done; }}\n\
             wait_for {device}; printf 'n\\np\\n1\\n\\n\\nw\\n' | fdisk {device}\n\
             wait_for {partition}; mkfs.jfs -q {partition}\nmkdir -p {directory}\n\
             printf \"$({name})\\t{directory}\\tjfs\\tnoatime\\t0\\t0\\n\" >> /etc/fstab\n\
             mount {directory}"
        )
    }

    /// The client takes into use what its disk has grown by, while it writes.
    pub fn enlarge(self, client: &Machine) -> Result<()> {
        let (device, partition, directory) = (self.device(), self.partition(), self.directory());
        let look =
            if self == Service::Iscsi { "iscsiadm -m session -R" } else { "aoe-revalidate e0.1" };
        let blocks = || -> Result<u64> {
            Ok(client.shell(&format!("stat -f -c %b {directory}"), LIMIT)?.trim().parse()?)
        };
        let before = blocks()?;
        // The driver of ATA over Ethernet may have seen it by itself.
        client.shell(
            &format!(
                "exec 2>&1; set -e\nend=$(($(partx --show --noheadings --output START --nr 1 {device}) + $(blockdev --getsz {partition})))\n\
                 has_room() {{ [ $(blockdev --getsz {device}) -gt $((end + 2048)) ]; }}\n\
                 for try in 1 2 3 4 5 6 7 8 9; do {look}; sleep 1; has_room && break; done\n\
                 has_room || {{ echo \"{device} has not grown\"; exit 1; }}\n\
                 echo ', +' | sfdisk --quiet --no-reread --force -N 1 {device}\n\
                 partx --update {device}\n\
                 mount -o remount,resize=$(($(blockdev --getsz {partition}) / 8)) {directory}"
            ),
            LIMIT,
        )?;
        let after = blocks()?;
        ensure!(after > before, "the client's file system had {before} blocks, and has {after}");
        Ok(())
    }

    /// What is wrong with the client's own file system on the disk that it is
    /// given: errors that its kernel has told of, and what fsck finds while it is
    /// not mounted. The writer waits meanwhile. A frozen jfs would not do: it has
    /// what it counts of its maps in memory until it is unmounted.
    pub fn faults(self, lab: &Lab) -> Result<Vec<String>> {
        let (client, directory) = (lab.machine("client"), self.directory());
        let told = client.shell(&format!("dmesg | grep -E '{COMPLAINTS}' || true"), LIMIT)?;
        let mut faults: Vec<String> =
            told.lines().take(3).map(|line| format!("the client's kernel says: {line}")).collect();
        let script = format!(
            "exec 2>&1; touch {HOLD}\n\
             for try in $(seq 100); do umount {directory} && break; sleep 0.2; done\n\
             fsck.jfs -n -f {}; code=$?\nmount {directory} || code=99\nrm {HOLD}; exit $code",
            self.partition()
        );
        let looked = client.run(&["/bin/sh", "-c", &script], LIMIT)?;
        if looked.code != 0 {
            let last: Vec<&str> = looked.stdout.lines().rev().take(4).collect();
            faults.push(format!("fsck.jfs ends with {}: {}", looked.code, last.join(" | ")));
        }
        Ok(faults)
    }
}
