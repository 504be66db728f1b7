//! The configurations of the published set-ups, carried as they were printed,
//! and what the lab changes in them: names, devices and addresses, and for
//! now everything above the file system.

use anyhow::{Result, ensure};

/// A set-up: its files as published and the words to exchange.
#[derive(Debug)]
pub struct Article {
    /// Its short name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// Each must occur somewhere, or the article was misread.
    changes: &'static [(&'static str, &'static str)],
    /// The file system's type.
    pub fstype: &'static str,
    /// Where it is mounted.
    pub directory: &'static str,
    /// Its mount options.
    pub options: &'static str,
    /// The virtual address.
    pub address: &'static str,
    /// Whether the address comes before the disk.
    pub address_first: bool,
}

/// The DRBD resource both set-ups use here, and its device.
pub const RESOURCE: &str = "redundantstorage";
/// See [`RESOURCE`].
pub const DEVICE: &str = "/dev/drbd0";
/// The device under DRBD: a mapping, so that it can be made to fail.
pub const LOWER: &str = "/dev/mapper/lower";

/// The NFS article's lower half on ext4, the address first.
pub const NFS: Article = Article {
    name: "nfs",
    about: "the NFS article's lower half: address, DRBD, ext4",
    files: &[
        ("ha.cf", include_str!("../../lab/nfs/ha.cf")),
        ("authkeys", include_str!("../../lab/nfs/authkeys")),
        ("haresources", include_str!("../../lab/nfs/haresources")),
        ("redundantstorage.res", include_str!("../../lab/nfs/redundantstorage.res")),
    ],
    changes: &[
        ("storage-server0.example.org", "node1"),
        ("storage-server1.example.org", "node2"),
        ("bcast eth0", "bcast bond0 bond1"),
        ("10.10.0.10/24/eth0", "10.10.1.10/24/bond0"),
        ("/dev/sda3", LOWER),
        ("10.10.0.86:7788", "10.10.2.251:7788"),
        ("10.10.0.88:7788", "10.10.2.252:7788"),
        ("lvm2 \\\n", ""),
        ("/dev/redundantstorage/web_files", DEVICE),
        (
            "Filesystem::/dev/redundantstorage/other_files::/redundantstorage/other_files\
             ::ext4::nosuid,usrquota,noatime \\\n",
            "",
        ),
        ("nfs-common \\\nnfs-kernel-server", "ledger"),
    ],
    fstype: "ext4",
    directory: "/redundantstorage/web_files",
    options: "nosuid,usrquota,noatime",
    address: "10.10.1.10",
    address_first: true,
};

/// The storage article's replicated jfs with its address, the address last.
pub const JFS: Article = Article {
    name: "jfs",
    about: "the storage article's DRBD and jfs, with its address last",
    files: &[
        ("ha.cf", include_str!("../../lab/jfs/ha.cf")),
        ("authkeys", include_str!("../../lab/jfs/authkeys")),
        ("haresources", include_str!("../../lab/jfs/haresources")),
        ("redundantstorage.res", include_str!("../../lab/nfs/redundantstorage.res")),
    ],
    changes: &[
        ("storage-server0.example.org", "node1"),
        ("storage-server1.example.org", "node2"),
        ("/dev/sda3", LOWER),
        ("10.10.0.86:7788", "10.10.2.251:7788"),
        ("10.10.0.88:7788", "10.10.2.252:7788"),
        ("drbddisk::iscsi.config", "drbddisk::redundantstorage"),
        (
            "::jfs\nnode1 IPaddr::10.10.1.250/24/bond0 drbddisk::iscsi.target.0 iscsitarget",
            "::jfs IPaddr::10.10.1.250/24/bond0 ledger",
        ),
    ],
    fstype: "jfs",
    directory: "/srv/data",
    options: "",
    address: "10.10.1.250",
    address_first: false,
};

impl Article {
    /// The files as the lab uses them.
    pub fn adapted(&self) -> Result<Vec<(&'static str, String)>> {
        for (from, _) in self.changes {
            ensure!(
                self.files.iter().any(|(_, text)| text.contains(from)),
                "the {} article does not say {from:?}",
                self.name
            );
        }
        Ok(self.files.iter().map(|(name, text)| (*name, self.adapt(text))).collect())
    }

    fn adapt(&self, text: &str) -> String {
        // The longest first: a device's name may be the begin of another's.
        let mut changes = self.changes.to_vec();
        changes.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        let text = changes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        if text.ends_with('\n') { text } else { text + "\n" }
    }

    /// What was changed, line by line, in the form of a diff.
    pub fn diff(&self) -> String {
        let mut out = String::new();
        for (name, published) in self.files {
            let used = self.adapt(published);
            let (old, new): (Vec<_>, Vec<_>) =
                (published.lines().collect(), used.lines().collect());
            let kept = common(&old, &new);
            if kept.len() == old.len() && kept.len() == new.len() {
                continue;
            }
            out += &format!("--- {name}, as published\n+++ {name}, here\n");
            let (mut left, mut right) = (0, 0);
            for (i, j) in kept.into_iter().chain([(old.len(), new.len())]) {
                out.extend(old[left..i].iter().map(|line| format!("-{line}\n")));
                out.extend(new[right..j].iter().map(|line| format!("+{line}\n")));
                (left, right) = (i + 1, j + 1);
            }
        }
        out
    }
}

/// The longest common subsequence, as pairs of places.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let mut best = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            best[i][j] = if old[i] == new[j] {
                best[i + 1][j + 1] + 1
            } else {
                best[i + 1][j].max(best[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[i + 1][j] >= best[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_changed() {
        for article in [NFS, JFS] {
            let files = article.adapted().unwrap();
            let haresources = &files.iter().find(|(name, _)| *name == "haresources").unwrap().1;
            assert!(haresources.contains("drbddisk::redundantstorage"), "{haresources}");
            assert!(!article.diff().contains("keepalive"), "{}", article.diff());
        }
    }

    #[test]
    fn a_diff_shows_what_differs_and_nothing_else() {
        assert_eq!(common(&["a", "b", "c"], &["a", "c", "d"]), [(0, 0), (2, 1)]);
    }
}
