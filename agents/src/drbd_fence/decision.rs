//! What to do about a peer that DRBD has lost: a function of what was seen, and
//! of nothing else.

use super::cib::Health;
use common::host::drbd::DiskState;

/// What DRBD's configuration asks the handler for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The peer must not be promoted; its death may be assumed.
    ResourceOnly,
    /// Writing waits until the peer is known to be down or barred.
    ResourceAndStonith,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What DRBD asks for.
    pub policy: Policy,
    /// Whether the cluster has quorum.
    pub quorum: bool,
    /// Whether the cluster fences at all.
    pub fences: bool,
    /// The worst local disk.
    pub disk: DiskState,
    /// Whether all peers are connected and their disks up to date again.
    pub is_over: bool,
    /// The worst of what the cluster thinks of the peers.
    pub peer: Health,
    /// The node whose constraint bars this one.
    pub barred_by: Option<&'a str>,
    /// Whether a consistent disk will do where the peer is gone.
    pub trusts_consistent: bool,
    /// Whether the cluster is to fence the peer in any case.
    pub obliterates: bool,
}

/// What follows. The numbers are what DRBD knows from its handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, and the exit code.
    Nothing(u8, &'static str),
    /// Bar the peer from promotion, and the exit code.
    Bar(u8, &'static str),
    /// Bar it, then wait until it is known to be down: 7; otherwise fail.
    BarAndWait(&'static str),
    /// Bar it, have the cluster fence it, wait: 7; otherwise fail.
    BarAndFence(&'static str),
}

/// The peer is outdated or barred.
pub const BARRED: u8 = 4;
/// The peer is unreachable, and assumed to be dead.
pub const UNREACHABLE: u8 = 5;
/// The peer has been fenced.
pub const FENCED: u8 = 7;
/// No answer that DRBD could act upon.
pub const FAILED: u8 = 1;

impl Decision {
    /// In a sentence.
    pub fn sentence(self) -> String {
        match self {
            Self::Nothing(code, why) => format!("do nothing, exit with {code}: {why}"),
            Self::Bar(code, why) => {
                format!("bar the peers from promotion, exit with {code}: {why}")
            }
            Self::BarAndWait(why) => {
                format!(
                    "bar the peers from promotion, wait for their fencing, exit with {FENCED}: {why}"
                )
            }
            Self::BarAndFence(why) => {
                format!("bar the peers from promotion, have them fenced, exit with {FENCED}: {why}")
            }
        }
    }
}

/// The first rule that fits decides.
pub fn decide(situation: Situation<'_>) -> Decision {
    let Situation { policy, disk, peer, .. } = situation;
    if situation.is_over {
        return Decision::Nothing(FAILED, "all peers are connected and up to date again");
    }
    if situation.barred_by.is_some() {
        return Decision::Nothing(FAILED, "another node has barred this one from promotion");
    }
    if !situation.quorum {
        return Decision::Nothing(FAILED, "the cluster has no quorum");
    }
    let has_good_data = disk == DiskState::UpToDate
        || (situation.trusts_consistent && disk == DiskState::Consistent);
    if situation.obliterates && has_good_data && peer != Health::Down {
        return match situation.fences {
            true => Decision::BarAndFence("the cluster was to fence the peer"),
            false => {
                Decision::Nothing(FAILED, "the peer was to be fenced, and stonith-enabled is false")
            }
        };
    }
    match peer {
        Health::Online if disk >= DiskState::Consistent => {
            Decision::Bar(BARRED, "the cluster still reaches the peer, so it can be barred")
        }
        Health::Online => {
            Decision::Nothing(UNREACHABLE, "the data here are not good enough to bar a peer")
        }
        _ if !has_good_data => {
            Decision::Nothing(UNREACHABLE, "a peer may have better data than this node")
        }
        Health::Down => Decision::Bar(FENCED, "the peer is known to be down"),
        Health::Unclean | Health::Unknown => match (policy, situation.fences) {
            (Policy::ResourceOnly, _) => {
                Decision::Bar(UNREACHABLE, "the peer is gone, and is taken for dead")
            }
            (Policy::ResourceAndStonith, true) => {
                Decision::BarAndWait("the peer is gone, and has to be fenced")
            }
            (Policy::ResourceAndStonith, false) => Decision::Nothing(
                FAILED,
                "the peer is gone and has to be fenced, and stonith-enabled is false",
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Situation<'_> = Situation {
        policy: Policy::ResourceOnly,
        quorum: true,
        fences: true,
        disk: DiskState::UpToDate,
        is_over: false,
        peer: Health::Online,
        barred_by: None,
        trusts_consistent: false,
        obliterates: false,
    };

    fn bars(situation: Situation<'_>) -> Option<u8> {
        match decide(situation) {
            Decision::Bar(code, _) => Some(code),
            Decision::Nothing(..) => None,
            Decision::BarAndWait(_) | Decision::BarAndFence(_) => Some(100),
        }
    }

    #[test]
    fn a_peer_that_the_cluster_reaches_is_barred() {
        for disk in [DiskState::UpToDate, DiskState::Consistent] {
            assert_eq!(bars(Situation { disk, ..CALM }), Some(BARRED));
        }
        assert_eq!(bars(Situation { disk: DiskState::Outdated, ..CALM }), None);
    }

    #[test]
    fn a_peer_that_is_gone_is_barred_by_good_data_only() {
        for (peer, code) in [(Health::Down, FENCED), (Health::Unclean, UNREACHABLE)] {
            assert_eq!(bars(Situation { peer, ..CALM }), Some(code));
            let situation = Situation { peer, disk: DiskState::Consistent, ..CALM };
            assert_eq!(
                decide(situation),
                Decision::Nothing(UNREACHABLE, "a peer may have better data than this node")
            );
            assert_eq!(bars(Situation { trusts_consistent: true, ..situation }), Some(code));
        }
    }

    #[test]
    fn nobody_is_assumed_dead_where_fencing_is_asked_for() {
        for peer in [Health::Unclean, Health::Unknown] {
            let situation = Situation { peer, policy: Policy::ResourceAndStonith, ..CALM };
            assert!(matches!(decide(situation), Decision::BarAndWait(_)));
            assert!(matches!(
                decide(Situation { fences: false, ..situation }),
                Decision::Nothing(FAILED, _)
            ));
        }
        let down = Situation { peer: Health::Down, policy: Policy::ResourceAndStonith, ..CALM };
        assert_eq!(bars(down), Some(FENCED));
    }

    #[test]
    fn a_constraint_that_bars_this_node_is_obeyed() {
        let barred = Situation { barred_by: Some("node2"), ..CALM };
        assert!(matches!(decide(barred), Decision::Nothing(FAILED, _)));
    }

    #[test]
    fn without_quorum_or_need_nothing_is_done() {
        assert!(matches!(
            decide(Situation { quorum: false, ..CALM }),
            Decision::Nothing(FAILED, _)
        ));
        assert!(matches!(
            decide(Situation { is_over: true, ..CALM }),
            Decision::Nothing(FAILED, _)
        ));
    }

    #[test]
    fn obliteration_is_asked_of_the_cluster() {
        let situation = Situation { obliterates: true, ..CALM };
        assert!(matches!(decide(situation), Decision::BarAndFence(_)));
        assert_eq!(bars(Situation { peer: Health::Down, ..situation }), Some(FENCED));
        assert_eq!(bars(Situation { fences: false, ..situation }), None);
    }
}
