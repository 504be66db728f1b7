//! All drills.

use super::stand::Stand;
use super::{
    Drill, disk, exports, group, held, journal, kill, layers, lun, module, nfsserver, nvmet, peer,
    score, split, stacked, target, tester,
};
use anyhow::Result;

/// A drill of the bounded subset.
const fn core(
    name: &'static str,
    minutes: u64,
    claim: &'static str,
    act: fn(&Stand) -> Result<String>,
) -> Drill {
    Drill { name, claim, core: true, minutes, act }
}

/// One of the rest.
const fn more(
    name: &'static str,
    minutes: u64,
    claim: &'static str,
    act: fn(&Stand) -> Result<String>,
) -> Drill {
    Drill { name, claim, core: false, minutes, act }
}

/// In the order in which they are tried.
pub const ALL: &[Drill] = &[
    core(
        "kill/drbd-start",
        60,
        "drbd: a start that is killed at any moment is mended by the next stop or start",
        |stand| kill::kills(stand, "drbd", "start"),
    ),
    core(
        "kill/drbd-stop",
        60,
        "drbd: a stop that is killed at any moment is mended by the next stop or start",
        |stand| kill::kills(stand, "drbd", "stop"),
    ),
    core(
        "kill/drbd-promote",
        60,
        "drbd: a promote that is killed at any moment is mended by the next promote, demote or stop",
        |stand| kill::kills(stand, "drbd", "promote"),
    ),
    core(
        "kill/drbd-demote",
        60,
        "drbd: a demote that is killed at any moment is mended by the next demote, stop or promote",
        |stand| kill::kills(stand, "drbd", "demote"),
    ),
    core(
        "kill/drbddisk-start",
        60,
        "drbddisk: a start that is killed at any moment is mended by the next stop or start",
        |stand| kill::kills(stand, "drbddisk", "start"),
    ),
    core(
        "kill/drbddisk-stop",
        60,
        "drbddisk: a stop that is killed at any moment is mended by the next stop or start",
        |stand| kill::kills(stand, "drbddisk", "stop"),
    ),
    core(
        "kill/LVM-start",
        60,
        "LVM: a start that is killed at any moment is mended by the next stop or start",
        |stand| kill::kills(stand, "LVM", "start"),
    ),
    core(
        "kill/LVM-stop",
        60,
        "LVM: a stop that is killed at any moment is mended by the next stop or start",
        |stand| kill::kills(stand, "LVM", "stop"),
    ),
    more(
        "kill/drbdupper-start",
        60,
        "drbdupper: a start that is killed at any moment is mended by the next stop or start",
        |stand| stacked::kills(stand, "start"),
    ),
    more(
        "kill/drbdupper-stop",
        60,
        "drbdupper: a stop that is killed at any moment is mended by the next stop or start",
        |stand| stacked::kills(stand, "stop"),
    ),
    more(
        "kill/iscsitarget-start",
        60,
        "iscsitarget: a start that is killed at any moment is mended by the next stop or start",
        |stand| target::kills(stand, "start"),
    ),
    more(
        "kill/iscsitarget-stop",
        60,
        "iscsitarget: a stop that is killed at any moment is mended by the next stop or start",
        |stand| target::kills(stand, "stop"),
    ),
    more(
        "kill/iSCSI-start",
        90,
        "iSCSITarget, iSCSILogicalUnit: a start that is killed at any moment is mended by the next stop or start",
        |stand| lun::kills(stand, "start"),
    ),
    more(
        "kill/iSCSI-stop",
        90,
        "iSCSITarget, iSCSILogicalUnit: a stop that is killed at any moment is mended by the next stop or start",
        |stand| lun::kills(stand, "stop"),
    ),
    core(
        "target/session",
        8,
        "iSCSITarget: who has the password logs in and writes; a stop with a session open ends it, and leaves nothing",
        lun::ends_a_session,
    ),
    core(
        "target/held",
        8,
        "iSCSILogicalUnit: where a disk does not answer, a stop ends in its time with what hangs, and the other disks go on",
        lun::is_held,
    ),
    more(
        "target/reservation",
        8,
        "iSCSILogicalUnit: a reservation that was to outlive a loss of power outlives stop and start",
        lun::keeps_a_reservation,
    ),
    core(
        "target/dangling",
        8,
        "iscsitarget: a stop ends an open session without the file, and leaves others' targets alone",
        target::is_stopped_without_its_file,
    ),
    more(
        "target/renamed",
        8,
        "iSCSILogicalUnit: a disk whose path dangles is served and stopped, and another one under its name is told",
        lun::is_called_otherwise,
    ),
    more(
        "target/many",
        8,
        "iSCSITarget: a stop takes hundreds of others' LUNs out of the target in its time",
        lun::takes_many_away,
    ),
    more(
        "nvmet/session",
        8,
        "nvmet-*: who is admitted connects and writes; a stop with a connection open leaves nothing, and the client goes on after the next start",
        nvmet::serves,
    ),
    more(
        "nvmet/held",
        8,
        "nvmet-namespace: where a disk does not answer, a stop ends in its time with what hangs, and the other disks are served",
        nvmet::is_held,
    ),
    more(
        "nvmet/renamed",
        8,
        "nvmet-namespace: a disk whose path dangles is served and stopped, and another one under its name is told",
        nvmet::is_called_otherwise,
    ),
    more("tester/drbd", 15, "ocf-tester is content with drbd", tester::drbd),
    more("tester/drbddisk", 15, "ocf-tester is content with drbddisk", tester::drbddisk),
    core("tester/LVM", 15, "ocf-tester is content with LVM", tester::lvm),
    more("tester/lvm2", 15, "ocf-tester is content with lvm2", tester::lvm2),
    core(
        "disk/fails",
        6,
        "drbd: where the disk beneath fails, the node goes on with its peer's and its score says so",
        disk::fails,
    ),
    more(
        "disk/demote",
        6,
        "drbd: a node that has lost its disk can be demoted, and the other promoted",
        disk::demoted,
    ),
    core(
        "split/reported",
        8,
        "drbd: a split brain is reported by monitor and explain, and neither side's data are given up",
        split::is_reported,
    ),
    core(
        "peer/silent",
        8,
        "drbd: a promote ends in its time when the network falls silent in its middle",
        peer::falls_silent,
    ),
    more(
        "peer/power",
        10,
        "drbd: a promote ends in its time when the peer loses power in its middle",
        peer::loses_power,
    ),
    core(
        "peer/sync",
        8,
        "drbd: the node whose disk is being filled can be promoted and demoted meanwhile",
        peer::is_synchronised,
    ),
    core(
        "held/drbd-process",
        5,
        "drbd: a demote that fails for a process names it, and works once it is gone",
        |stand| held::demote(stand, held::PROCESS),
    ),
    core(
        "held/drbd-namespace",
        5,
        "drbd: a demote that fails for a mount in another namespace names it, and works once it is gone",
        |stand| held::demote(stand, held::NAMESPACE),
    ),
    more(
        "held/drbd-loop",
        5,
        "drbd: a demote that fails for a loop device names it, and works once it is gone",
        |stand| held::demote(stand, held::LOOP),
    ),
    more(
        "held/drbd-volume",
        5,
        "drbd: a demote that fails for a logical volume names it, and works once it is gone",
        held::demote_below_group,
    ),
    core(
        "held/LVM-process",
        5,
        "LVM: a stop that fails for a process names it, and works once it is gone",
        |stand| held::stop(stand, held::PROCESS),
    ),
    core(
        "held/LVM-namespace",
        5,
        "LVM: a stop that fails for a mount in another namespace names it, and works once it is gone",
        |stand| held::stop(stand, held::NAMESPACE),
    ),
    more(
        "held/LVM-loop",
        5,
        "LVM: a stop that fails for a loop device names it, and works once it is gone",
        |stand| held::stop(stand, held::LOOP),
    ),
    core(
        "module/broken",
        6,
        "drbd, drbddisk: a stop works where drbd.conf is broken or gone",
        module::configuration_is_broken,
    ),
    core(
        "module/absent",
        6,
        "drbd: a probe without the module says not running, and a start loads it",
        module::is_absent,
    ),
    core(
        "module/hangs",
        10,
        "drbd, drbddisk: where drbdadm hangs, monitor and stop work, and the rest fails in its time",
        module::drbdadm_hangs,
    ),
    core(
        "score/without-cluster",
        6,
        "drbd: without a cluster to take the score every action ends well and in its time",
        score::nobody_listens,
    ),
    core(
        "score/table",
        10,
        "drbd: the score that is told is the one of the table, for every state that can be brought about",
        score::table,
    ),
    core(
        "journal/jfs",
        6,
        "Filesystem: after a power cut all of a jfs is there, and a fsck.jfs that would lose it is refused",
        journal::is_replayed,
    ),
    more(
        "stacked/drbdupper",
        8,
        "drbdupper: a stacked resource comes up and goes down with the one it lies on",
        stacked::by_drbdupper,
    ),
    more(
        "stacked/drbd",
        8,
        "drbd: a stacked resource is run like any other, and keeps the one beneath promoted",
        stacked::by_drbd,
    ),
    core(
        "exports/served",
        8,
        "exportfs: clients of NFSv3 and NFSv4 are served; a stop names what they hold, and frees the file system",
        exports::are_served,
    ),
    core(
        "exports/shared",
        8,
        "exportfs: of two exports with one fsid the first that stops takes nothing from the other's clients",
        exports::are_shared,
    ),
    core(
        "exports/moved",
        8,
        "exportfs: where the file system has gone, a stop takes no locks from the one beneath",
        exports::have_moved,
    ),
    more(
        "exports/many",
        8,
        "exportfs: one among ten thousand exports starts, is watched and stops in its time",
        exports::are_many,
    ),
    more(
        "exports/dead-client",
        8,
        "exportfs, portblock: a client that is dead and holds a lock and a delegation holds up no stop, and is named",
        exports::outlive_their_client,
    ),
    more(
        "exports/fsid",
        8,
        "exportfs: with an fsid clients read on where the device has another number, and without one only by its UUID",
        exports::are_known_by_their_fsid,
    ),
    core(
        "kill/exportfs-start",
        60,
        "exportfs: a start that is killed at any moment is mended by the next stop or start",
        |stand| exports::kills(stand, "start"),
    ),
    core(
        "kill/exportfs-stop",
        60,
        "exportfs: a stop that is killed at any moment is mended by the next stop or start",
        |stand| exports::kills(stand, "stop"),
    ),
    core("group/lost", 8, "LVM: a physical volume that is lost is seen by monitor", group::is_lost),
    core(
        "group/system-id",
        6,
        "LVM: a group of another machine, by system ID, is refused and left as it is",
        group::has_another_owner,
    ),
    core(
        "group/tag",
        6,
        "LVM: a group with a foreign tag is refused and left as it is",
        group::has_a_foreign_tag,
    ),
    core(
        "group/twice",
        10,
        "LVM, lvm2: a group that LVM sees on DRBD and beneath it is activated on DRBD, and explained",
        group::is_seen_twice,
    ),
    more(
        "group/copied",
        6,
        "LVM, lvm2: a group on DRBD of which there is a copy elsewhere is refused",
        group::has_another_twin,
    ),
    core(
        "group/kinds",
        15,
        "LVM: thin, RAID, snapshot and cache volumes start, are watched and stop, together and alone",
        layers::are_of_every_kind,
    ),
    core(
        "group/encrypted",
        8,
        "LVM: a group on an encrypted disk is watched, and encryption on a volume is named by stop",
        layers::are_encrypted,
    ),
    more(
        "group/multipath",
        8,
        "LVM: a group on multipath is there as long as a path is",
        layers::have_many_paths,
    ),
    core(
        "group/renamed",
        8,
        "LVM: a group or a volume that was renamed while active is told and stopped",
        layers::are_renamed,
    ),
    more(
        "group/removed",
        6,
        "LVM: a volume that is not active is missed, and one that was removed is not",
        layers::are_removed,
    ),
    core(
        "group/without-sys",
        6,
        "LVM: without /sys a group that is active is not stopped, and stop stops it",
        layers::are_seen_without_sysfs,
    ),
    more(
        "group/elsewhere",
        6,
        "LVM: a group on a DRBD device that is not promoted here is refused, and said why",
        group::is_elsewhere,
    ),
    core(
        "nfsserver/cycle",
        10,
        "nfsserver: start and stop do what they say to kernel, daemons and state directory",
        nfsserver::comes_and_goes,
    ),
    core(
        "nfsserver/dead",
        15,
        "nfsserver: a daemon that has died is told and brought back, threads that were ended are no clean stop",
        nfsserver::daemons_die,
    ),
    core(
        "nfsserver/lock",
        10,
        "nfsserver: a client that holds a lock holds up neither stop nor unmounting",
        nfsserver::a_client_holds_a_lock,
    ),
    core(
        "nfsserver/read-only",
        10,
        "nfsserver: a state directory that cannot be written fails the start, and nothing is left of it",
        nfsserver::the_directory_is_read_only,
    ),
    core(
        "nfsserver/without-exportfs",
        10,
        "nfs-kernel-server: a stop takes back what it has exported, and nothing else, without exportfs",
        nfsserver::exportfs_is_gone,
    ),
    core(
        "nfsserver/after-exports",
        10,
        "nfsserver, exportfs: exports that are made before the server are served from its begin and outlive it",
        nfsserver::exports_come_first,
    ),
    core(
        "nfsserver/stuck",
        10,
        "nfsserver, exportfs: where the state directory's disk does not answer, monitors and stops end in time",
        nfsserver::the_directory_is_stuck,
    ),
    core(
        "nfsserver/thread",
        10,
        "nfsserver: where a thread hangs on a disk that does not answer, a stop ends in time and names it",
        nfsserver::a_thread_is_stuck,
    ),
    more(
        "nfsserver/full",
        10,
        "nfsserver: a state directory without room fails the start, and holds up no stop",
        nfsserver::the_directory_is_full,
    ),
    core(
        "nfsserver/by-hand",
        10,
        "nfsserver: what the cluster has started is taken down by hand, and the other way round",
        nfsserver::is_called_otherwise,
    ),
    core(
        "nfsserver/netlink",
        10,
        "nfsserver: another's server is left alone, and threads, times and versions are set over netlink",
        nfsserver::another_has_the_server,
    ),
    more(
        "nfsserver/kill-start",
        60,
        "nfsserver: a start that is killed at any moment is mended by the next stop or start",
        |stand| nfsserver::is_killed(stand, "start"),
    ),
    more(
        "nfsserver/kill-stop",
        60,
        "nfsserver: a stop that is killed at any moment is mended by the next stop or start",
        |stand| nfsserver::is_killed(stand, "stop"),
    ),
];
