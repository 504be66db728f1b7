//! What the kill loop in a machine is asked for, and what it may expect.

use super::call::{Call, Minor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kill this, so often.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// What is killed.
    pub victim: Victim,
    /// How many kills.
    pub rounds: u32,
    /// Chooses their moments.
    pub seed: u64,
}

/// An action that is killed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Victim {
    /// Whose.
    pub call: Call,
    /// Which.
    pub action: String,
    /// The actions that lead to where it begins; the lists are taken in turns.
    pub before: Vec<Vec<String>>,
    /// The actions that mend what the kill has left, likewise.
    pub after: Vec<Vec<String>>,
    /// What the kernel is asked about.
    pub subject: Subject,
}

/// What an agent changes in the kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Subject {
    /// DRBD devices by number.
    Drbd(Vec<u32>),
    /// A device that lies on another one.
    Stacked {
        /// The one beneath, which stays up.
        lower: u32,
        /// The one on top.
        upper: u32,
    },
    /// Exports of the NFS server.
    Exports {
        /// The directories, to one client each.
        paths: Vec<String>,
    },
    /// The kernel's NFS server with its daemons, and the state directory that is
    /// in the place of the node's own.
    Server,
    /// The volumes of a group.
    Volumes {
        /// The group's name.
        group: String,
        /// How many there are when all are active.
        count: usize,
    },
    /// An iSCSI target.
    Target {
        /// Its name.
        iqn: String,
        /// How many LUNs it has when it serves.
        luns: usize,
        /// With which the names of their stores begin.
        stores: String,
    },
    /// A LUN of a target that stays.
    Lun {
        /// The target's name.
        iqn: String,
        /// The LUN's number.
        number: u32,
        /// The name of its store.
        store: String,
        /// The initiator that is to see it.
        initiator: String,
    },
    /// Objects that are directories, links and values of the kernel's: each a path,
    /// with a value as PATH=VALUE.
    Tree(Vec<String>),
}

/// What is true of the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Real {
    /// Nothing of it is in the kernel.
    Gone,
    /// It is there in name only: no disk, no peer.
    Bare,
    /// Some of it is, or what is there leads nowhere.
    Part,
    /// All of it, and none may be written.
    Idle,
    /// Some of it may be written.
    Torn,
    /// All of it may be written.
    Active,
}

impl Subject {
    /// What the devices listed come to.
    pub fn drbd(wanted: &[u32], found: &BTreeMap<u32, Minor>) -> Real {
        let there: Vec<&Minor> = wanted.iter().filter_map(|minor| found.get(minor)).collect();
        let primary = there.iter().filter(|minor| minor.roles.0 == "Primary").count();
        let is_bare =
            |minor: &&&Minor| minor.connection == "StandAlone" && minor.disks.0 == "Diskless";
        let bare = there.iter().filter(is_bare).count();
        match (there.len(), primary) {
            (0, _) => Real::Gone,
            (there, 0) if there == bare => Real::Bare,
            (there, 0) if there < wanted.len() || bare > 0 => Real::Part,
            (_, 0) => Real::Idle,
            (_, primary) if primary == wanted.len() => Real::Active,
            _ => Real::Torn,
        }
    }

    /// What a device and the one that it lies on come to.
    pub fn stacked(lower: u32, upper: u32, found: &BTreeMap<u32, Minor>) -> Real {
        let is_primary =
            |minor: u32| found.get(&minor).is_some_and(|minor| minor.roles.0 == "Primary");
        match (is_primary(lower), is_primary(upper), found.contains_key(&upper)) {
            (true, true, _) => Real::Active,
            (true, false, _) => Real::Torn,
            (false, _, true) => Real::Part,
            (false, _, false) => Real::Idle,
        }
    }

    /// What a target comes to: whether it is there and open, how many of its LUNs
    /// are, and how many stores.
    pub fn target(wanted: usize, is_open: Option<bool>, luns: usize, stores: usize) -> Real {
        match (is_open, stores) {
            (None, 0) => Real::Gone,
            (Some(true), stores) if luns == wanted && stores == wanted => Real::Active,
            _ => Real::Torn,
        }
    }

    /// What a LUN comes to: whether there is one, what of it leads to a store, how
    /// many stores there are, and whether the initiator sees it.
    pub fn lun(is_there: bool, is_linked: bool, stores: usize, is_seen: bool) -> Real {
        match (is_there || is_seen, stores) {
            (false, 0) => Real::Gone,
            (_, 1) if is_linked && is_seen => Real::Active,
            _ => Real::Torn,
        }
    }

    /// What a tree comes to: of each of its objects, what is found there.
    pub fn tree(wanted: &[String], find: impl Fn(&str) -> Option<String>) -> Real {
        let mut found = wanted.iter().map(|object| match object.rsplit_once('=') {
            Some((path, value)) => find(path).map(|found| found.trim() == value),
            None => find(object).map(|_| true),
        });
        match found.clone().all(|object| object == Some(true)) {
            true => Real::Active,
            false if found.all(|object| object.is_none()) => Real::Gone,
            false => Real::Torn,
        }
    }

    /// What exports come to: those in the table, and those that the kernel has
    /// cached of them.
    pub fn exports(wanted: &[String], table: &str, cached: &str) -> Real {
        let has = |text: &str, path: &str| {
            text.lines()
                .any(|line| line.strip_prefix(path).is_some_and(|rest| rest.starts_with('\t')))
        };
        let listed = wanted.iter().filter(|path| has(table, path)).count();
        let left = wanted.iter().any(|path| has(cached, path) && !has(table, path));
        match listed {
            0 if left => Real::Torn,
            0 => Real::Gone,
            listed if listed == wanted.len() => Real::Active,
            _ => Real::Torn,
        }
    }

    /// What a server comes to: its threads, whether its state directory is in
    /// place, and the daemons that it needs.
    pub fn server(threads: u32, is_bound: bool, daemons: usize) -> Real {
        /// mountd, nfsdcld and statd.
        const NEEDED: usize = 3;
        match (threads, is_bound, daemons) {
            (0, false, 0) => Real::Gone,
            (0, false, _) => Real::Bare,
            (1.., true, NEEDED..) => Real::Active,
            _ => Real::Torn,
        }
    }

    /// What volumes of a group come to, of which so many work and so many are
    /// there at all.
    pub fn volumes(count: usize, work: usize, there: usize) -> Real {
        match (there, work) {
            (0, _) => Real::Gone,
            (there, work) if there == work && work == count => Real::Active,
            _ => Real::Torn,
        }
    }
}

impl Victim {
    /// The codes that a monitor may tell of this truth.
    pub fn codes(&self, real: Real) -> &'static [i32] {
        match (self.call.agent.as_str(), real) {
            ("drbd", Real::Gone | Real::Bare) => &[7],
            // Degraded as long as it has not begun to connect.
            ("drbd", Real::Part) => &[0, 1, 190],
            ("drbd", Real::Idle) => &[0, 190],
            ("drbd", Real::Torn) => &[9],
            ("drbd", Real::Active) => &[8, 191],
            // Daemons alone serve nobody.
            ("nfsserver", Real::Bare) => &[1, 7],
            (_, Real::Active) => &[0],
            (_, Real::Torn) => &[1],
            (_, _) => &[7],
        }
    }

    /// Whether the truth is what this action promises.
    pub fn promises(&self, action: &str, real: Real) -> bool {
        match (self.call.agent.as_str(), action) {
            ("drbd", "start") => matches!(real, Real::Idle | Real::Active),
            ("drbd", "demote") => real == Real::Idle,
            ("drbddisk" | "drbdupper", "stop") => real == Real::Idle,
            (_, "stop") => real == Real::Gone,
            _ => real == Real::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::minors;
    use super::*;

    fn real(text: &str) -> Real {
        Subject::drbd(&[2, 3], &minors(text))
    }

    #[test]
    fn two_volumes_are_one_truth() {
        let row = |minor: u32, role: &str| {
            format!(" {minor}: cs:Connected ro:{role}/Secondary ds:UpToDate/UpToDate C\n")
        };
        assert_eq!(real(""), Real::Gone);
        assert_eq!(real(&row(2, "Secondary")), Real::Part);
        assert_eq!(real(&(row(2, "Secondary") + &row(3, "Secondary"))), Real::Idle);
        assert_eq!(real(&(row(2, "Primary") + &row(3, "Secondary"))), Real::Torn);
        assert_eq!(real(&(row(2, "Primary") + &row(3, "Primary"))), Real::Active);
        let bare = " 3: cs:StandAlone ro:Secondary/Unknown ds:Diskless/DUnknown\n";
        assert_eq!(real(&(row(2, "Secondary") + bare)), Real::Part);
        assert_eq!(real(bare), Real::Bare);
    }

    #[test]
    fn a_target_without_its_stores_is_torn_and_so_are_stores_without_a_target() {
        assert_eq!(Subject::target(2, Some(true), 2, 2), Real::Active);
        assert_eq!(Subject::target(2, Some(false), 2, 2), Real::Torn);
        assert_eq!(Subject::target(2, None, 0, 1), Real::Torn);
        assert_eq!(Subject::target(2, None, 0, 0), Real::Gone);
    }

    #[test]
    fn a_lun_that_nobody_sees_or_that_leads_nowhere_is_torn() {
        assert_eq!(Subject::lun(true, true, 1, true), Real::Active);
        assert_eq!(Subject::lun(true, true, 1, false), Real::Torn);
        assert_eq!(Subject::lun(true, false, 0, false), Real::Torn);
        assert_eq!(Subject::lun(false, false, 1, false), Real::Torn);
        assert_eq!(Subject::lun(false, false, 0, false), Real::Gone);
    }

    #[test]
    fn a_tree_of_which_anything_is_missing_or_otherwise_is_torn() {
        let wanted = ["/a".to_owned(), "/a/enable=1".to_owned()];
        let real = |found: &[(&str, &str)]| {
            Subject::tree(&wanted, |path| {
                let value = found.iter().find(|(known, _)| *known == path);
                value.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(real(&[("/a", ""), ("/a/enable", "1\n")]), Real::Active);
        assert_eq!(real(&[("/a", ""), ("/a/enable", "0\n")]), Real::Torn);
        assert_eq!(real(&[("/a", "")]), Real::Torn);
        assert_eq!(real(&[("/b", "")]), Real::Gone);
    }

    #[test]
    fn an_export_that_is_cached_alone_is_not_gone() {
        let wanted = ["/srv/a".to_owned(), "/srv/b".to_owned()];
        let both = "/srv/a\t*(rw)\n/srv/b\t*(rw)\n";
        assert_eq!(Subject::exports(&wanted, both, "/srv/a\t*(rw)\n"), Real::Active);
        assert_eq!(Subject::exports(&wanted, "/srv/a\t*(rw)\n", ""), Real::Torn);
        assert_eq!(Subject::exports(&wanted, "/srv/ab\t*(rw)\n", ""), Real::Gone);
        assert_eq!(Subject::exports(&wanted, "", both), Real::Torn);
    }

    #[test]
    fn a_server_without_its_daemons_or_its_state_is_torn() {
        assert_eq!(Subject::server(8, true, 3), Real::Active);
        assert_eq!(Subject::server(8, true, 2), Real::Torn);
        assert_eq!(Subject::server(8, false, 3), Real::Torn);
        assert_eq!(Subject::server(0, true, 0), Real::Torn);
        assert_eq!(Subject::server(0, false, 1), Real::Bare);
        assert_eq!(Subject::server(0, false, 0), Real::Gone);
    }

    #[test]
    fn a_volume_without_a_table_is_not_active() {
        assert_eq!(Subject::volumes(3, 3, 3), Real::Active);
        assert_eq!(Subject::volumes(3, 2, 3), Real::Torn);
        assert_eq!(Subject::volumes(3, 0, 1), Real::Torn);
        assert_eq!(Subject::volumes(3, 0, 0), Real::Gone);
    }
}
