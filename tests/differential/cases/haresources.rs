//! Lines of haresources, called as heartbeat calls them.

use super::filesystem::one_disk;
use super::ipaddr2::two_networks;
use crate::pair::Pair;

/// What heartbeat does with a resource of its own, and twice.
const LIFE: &[&str] = &["status", "start", "status", "start", "status", "stop", "status", "stop"];

pub(super) fn pairs() -> Vec<Pair> {
    [addresses(), file_systems()].concat()
}

fn addresses() -> Vec<Pair> {
    let words: &[&[&str]] = &[
        &["10.0.0.9"],
        &["10.0.0.9/24"],
        &["10.0.0.9/24/eth0"],
        &["10.0.0.9/24/eth0:0"],
        &["10.0.0.9/24/10.0.0.255"],
        &["10.0.0.9/24/eth0/10.0.0.255"],
        &["10.0.0.9/24/eth0:0/10.0.0.255"],
        &["10.0.0.9/255.255.255.0/eth0"],
        &["10.0.0.9/32/eth0"],
        &["192.168.7.9/24/eth1"],
        &["192.168.7.9/24/eth0"],
        &["172.16.5.9"],
        &["172.16.5.9/24/eth0"],
        &["10.0.0.9/24/nope"],
        &["10.0.0.9/33/eth0"],
        &["10.0.0.256/24/eth0"],
        &[""],
        &[],
        &["10.0.0.9/24/eth0", "more"],
    ];
    let mut pairs = Vec::new();
    for script in ["IPaddr", "IPaddr2"] {
        for words in words {
            let name = format!("haresources/{script} {words:?}");
            let quick = [("ARP_REPEAT", "1"), ("arp_count", "1"), ("arp_interval", "10")];
            let pair = Pair::new(name, script, "IPaddr").scene(two_networks).with(&quick);
            pairs.push(pair.words(words).steps(LIFE));
        }
    }
    pairs
}

fn file_systems() -> Vec<Pair> {
    let words: &[&[&str]] = &[
        &["DISK", "/srv/data", "ext4"],
        &["DISK", "/srv/data", "ext4", "ro"],
        &["DISK", "/srv/data", "ext4", "rw,noatime"],
        &["DISK", "/srv/data"],
        &["DISK", "/srv/new/directory", "ext4"],
        &["-LTESTLABEL", "/srv/data", "ext4"],
        &["DISK", "/srv/data", "xfs"],
        &["/dev/nope", "/srv/data", "ext4"],
        &["/srv", "/srv/data", "none", "bind"],
        &["tmpfs", "/srv/data", "tmpfs", "size=1m"],
        &["DISK"],
        &[],
    ];
    let case = |words: &&[&str]| {
        let name = format!("haresources/Filesystem {words:?}");
        Pair::new(name, "Filesystem", "Filesystem").scene(one_disk).words(words).steps(LIFE)
    };
    words.iter().map(case).collect()
}
