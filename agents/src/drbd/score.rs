//! How fit a node is to be promoted, by what its kernel knows of the data.

use super::params::{RemoveScore, Scores};
use common::host::drbd::{DiskState, Peer, Resource};

/// What becomes of the score, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreChange {
    /// It is this one.
    Set(u32, &'static str),
    /// There is none: the node must not be promoted.
    Remove(&'static str),
    /// What is going on will be over soon; as it was.
    Leave,
}

impl ScoreChange {
    /// A score of nothing is none: the cluster would act on it.
    fn of(score: u32, why: &'static str) -> Self {
        if score == 0 { Self::Remove(why) } else { Self::Set(score, why) }
    }

    /// The score that it comes to, unless it is to be left alone.
    pub fn settled(self) -> Option<(Option<u32>, &'static str)> {
        match self {
            Self::Set(score, why) => Some((Some(score), why)),
            Self::Remove(why) => Some((None, why)),
            Self::Leave => None,
        }
    }
}

/// The first rule that fits decides. `is_peer_expected` says whether the
/// cluster knows that a peer is promoted.
pub fn change(
    resource: &Resource,
    scores: Scores,
    remove: RemoveScore,
    is_peer_expected: impl FnOnce() -> bool,
) -> ScoreChange {
    let volumes = &resource.volumes;
    let all = |fits: fn(DiskState) -> bool| {
        !volumes.is_empty() && volumes.iter().all(|volume| fits(volume.disk))
    };
    let good_peer = resource.peers.iter().any(Peer::is_up_to_date);
    if volumes.iter().any(|volume| !volume.quorum) {
        return ScoreChange::Remove("no quorum");
    }
    let is_barred = match remove {
        RemoveScore::No => false,
        _ => !resource.is_primary() && good_peer && resource.has_primary_peer(),
    };
    if is_barred && (remove == RemoveScore::Yes || !is_peer_expected()) {
        return ScoreChange::Remove("a peer is Primary");
    }
    if !volumes.is_empty() && volumes.iter().all(|volume| volume.client) {
        return client(resource, scores, good_peer);
    }
    if all(|disk| disk == DiskState::UpToDate) {
        return ScoreChange::of(here(resource, scores), "the data here are up to date");
    }
    if good_peer {
        return ScoreChange::of(scores.remote, "only a peer's data are up to date");
    }
    if volumes.iter().any(|volume| volume.disk.is_transient()) {
        return ScoreChange::Leave;
    }
    if all(|disk| disk >= DiskState::Consistent) {
        return ScoreChange::of(scores.consistent, "the data here may be old");
    }
    ScoreChange::Remove("no good data")
}

/// Of a node without disks: it lives on its peers'.
fn client(resource: &Resource, scores: Scores, good_peer: bool) -> ScoreChange {
    let all_good = !resource.peers.is_empty() && resource.peers.iter().all(Peer::is_up_to_date);
    match (good_peer, all_good || resource.is_primary()) {
        (true, true) => {
            ScoreChange::of(scores.best.saturating_sub(1), "all peers' data are up to date")
        }
        (true, false) => {
            ScoreChange::of(scores.alone.saturating_sub(1), "a peer's data are up to date")
        }
        (false, _) => ScoreChange::Remove("no disk, and no peer with good data"),
    }
}

fn here(resource: &Resource, scores: Scores) -> u32 {
    let mut disks = resource.peers.iter().flat_map(|peer| &peer.disks);
    let is_sure = resource.is_primary() || disks.all(|(_, disk)| *disk != DiskState::DUnknown);
    if is_sure { scores.best } else { scores.alone }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::host::drbd::{DrbdRole, Volume};
    use ocf_meta::Value;

    fn resource(role: DrbdRole, disk: DiskState, peers: &[DiskState]) -> Resource {
        let volume = Volume {
            number: 0,
            minor: Some(1),
            role,
            disk,
            backing: None,
            client: false,
            quorum: true,
        };
        let peer = |disk: &DiskState| Peer {
            name: String::new(),
            node: 0,
            connection: "Connected".into(),
            role: DrbdRole::Secondary,
            disks: vec![(0, *disk)],
        };
        let peers = peers.iter().map(peer).collect();
        Resource { name: "r".into(), role, volumes: vec![volume], peers, fencing: None }
    }

    fn score(resource: &Resource) -> Option<u32> {
        let scores = Scores::parse("0 10 1000 10000").unwrap();
        match change(resource, scores, RemoveScore::No, || false) {
            ScoreChange::Set(score, _) => Some(score),
            ScoreChange::Remove(_) => None,
            ScoreChange::Leave => Some(u32::MAX),
        }
    }

    /// The peer's disk: up to date, outdated, inconsistent, not known.
    const PEERS: [DiskState; 4] =
        [DiskState::UpToDate, DiskState::Outdated, DiskState::Inconsistent, DiskState::DUnknown];

    fn row(role: DrbdRole, disk: DiskState) -> [Option<u32>; 4] {
        PEERS.map(|peer| score(&resource(role, disk, &[peer])))
    }

    #[test]
    fn the_table_of_scores() {
        let best = Some(10_000);
        assert_eq!(row(DrbdRole::Secondary, DiskState::UpToDate), [best, best, best, Some(1000)]);
        assert_eq!(row(DrbdRole::Primary, DiskState::UpToDate), [best; 4]);
        for disk in [
            DiskState::Consistent,
            DiskState::Outdated,
            DiskState::Inconsistent,
            DiskState::Diskless,
        ] {
            assert_eq!(row(DrbdRole::Secondary, disk), [Some(10), None, None, None], "{disk}");
        }
    }

    /// What `lab drill score/table` has heard of the module in these states.
    #[test]
    fn the_real_module_has_the_scores_of_the_table() {
        /// No score is set to nothing: it is removed.
        const NONE: u32 = 0;
        macro_rules! heard {
            ($state:literal) => {
                common::testing::drbd_resource(
                    include_str!(concat!("../../../tests/data/drbd/messages-8.4.11-", $state)),
                    "r0",
                )
            };
        }
        for (resource, role, disk, wanted) in [
            (heard!("secondary-uptodate-uptodate"), DrbdRole::Secondary, "UpToDate", 10_000),
            (heard!("primary-uptodate-uptodate"), DrbdRole::Primary, "UpToDate", 10_000),
            (heard!("secondary-diskless-uptodate"), DrbdRole::Secondary, "Diskless", 10),
            (heard!("secondary-uptodate-diskless"), DrbdRole::Secondary, "UpToDate", 10_000),
            (heard!("primary-uptodate-diskless"), DrbdRole::Primary, "UpToDate", 10_000),
            (heard!("secondary-uptodate-dunknown"), DrbdRole::Secondary, "UpToDate", 1000),
            (heard!("primary-uptodate-dunknown"), DrbdRole::Primary, "UpToDate", 10_000),
            (heard!("secondary-uptodate-inconsistent"), DrbdRole::Secondary, "UpToDate", 10_000),
            (heard!("primary-uptodate-inconsistent"), DrbdRole::Primary, "UpToDate", 10_000),
            (heard!("secondary-inconsistent-uptodate"), DrbdRole::Secondary, "Inconsistent", 10),
            (heard!("secondary-inconsistent-dunknown"), DrbdRole::Secondary, "Inconsistent", NONE),
            (heard!("secondary-diskless-dunknown"), DrbdRole::Secondary, "Diskless", NONE),
            (heard!("secondary-outdated-dunknown"), DrbdRole::Secondary, "Outdated", NONE),
            (heard!("secondary-consistent-dunknown"), DrbdRole::Secondary, "Consistent", NONE),
            (heard!("secondary-negotiating-uptodate"), DrbdRole::Secondary, "Negotiating", 10),
        ] {
            assert_eq!((resource.role, resource.disks().as_str()), (role, disk));
            assert_eq!(score(&resource).unwrap_or(NONE), wanted, "{resource:?}");
        }
    }

    #[test]
    fn a_disk_on_its_way_up_leaves_the_score() {
        for disk in [DiskState::Attaching, DiskState::Negotiating] {
            let left = Some(u32::MAX);
            assert_eq!(row(DrbdRole::Secondary, disk), [Some(10), left, left, left], "{disk}");
        }
    }

    #[test]
    fn a_node_without_disks_lives_on_its_peers() {
        let client = |role, peers: &[DiskState]| {
            let mut resource = resource(role, DiskState::Diskless, peers);
            resource.volumes[0].client = true;
            score(&resource)
        };
        assert_eq!(client(DrbdRole::Secondary, &[DiskState::UpToDate]), Some(9999));
        assert_eq!(
            client(DrbdRole::Secondary, &[DiskState::UpToDate, DiskState::DUnknown]),
            Some(999)
        );
        assert_eq!(
            client(DrbdRole::Primary, &[DiskState::UpToDate, DiskState::DUnknown]),
            Some(9999)
        );
        assert_eq!(client(DrbdRole::Secondary, &[DiskState::DUnknown]), None);
        assert_eq!(client(DrbdRole::Secondary, &[]), None);
    }

    #[test]
    fn one_bad_volume_is_too_many() {
        let mut two = resource(DrbdRole::Secondary, DiskState::UpToDate, &[DiskState::Outdated]);
        let other = Volume { number: 1, disk: DiskState::Inconsistent, ..two.volumes[0].clone() };
        two.volumes.push(other);
        assert_eq!(score(&two), None);
        two.volumes[1].disk = DiskState::UpToDate;
        two.peers[0].disks.push((1, DiskState::DUnknown));
        assert_eq!(score(&two), Some(1000));
        two.volumes[1].quorum = false;
        assert_eq!(score(&two), None);
    }

    #[test]
    fn no_volume_is_no_data() {
        let mut bare = resource(DrbdRole::Secondary, DiskState::UpToDate, &[]);
        assert_eq!(score(&bare), Some(10_000));
        bare.volumes.clear();
        assert_eq!(score(&bare), None);
    }

    #[test]
    fn a_primary_peer_bars_as_asked() {
        let scores = Scores::parse("0 10 1000 10000").unwrap();
        let mut barred = resource(DrbdRole::Secondary, DiskState::UpToDate, &[DiskState::UpToDate]);
        let judged = |resource: &Resource, remove, is_expected| {
            matches!(change(resource, scores, remove, || is_expected), ScoreChange::Remove(_))
        };
        assert!(!judged(&barred, RemoveScore::Yes, false));
        barred.peers[0].role = DrbdRole::Primary;
        assert!(judged(&barred, RemoveScore::Yes, true));
        assert!(judged(&barred, RemoveScore::Unexpected, false));
        assert!(!judged(&barred, RemoveScore::Unexpected, true));
        assert!(!judged(&barred, RemoveScore::No, false));
        barred.role = DrbdRole::Primary;
        assert!(!judged(&barred, RemoveScore::Yes, false));
    }
}
