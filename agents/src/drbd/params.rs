//! The parameters of the agent drbd, and the types of their values.

use super::name::Name;
use ocf_meta::{Kind, Value, params};
use std::path::PathBuf;

params! {
    /// What the agent is given.
    pub struct DrbdParams {
        /// DRBD resource.
        ///
        /// Its name in the DRBD configuration.
        [required, names, unique, position = 1] drbd_resource: Name,
        /// DRBD configuration file.
        ///
        /// Given to drbdadm. Unset, drbdadm looks for its own, which is /etc/drbd.conf.
        [] drbdconf: Option<PathBuf>,
        /// Promotion scores.
        ///
        /// Four numbers that do not fall: for a node whose data are consistent and may be old, for one that can only reach good data on its peer, for one with good data that does not know of its peer's, and for one with good data that is sure. Anything else is logged, and the default is used.
        [reloadable] adjust_master_score: Scores = "0 10 1000 10000",
        /// Outdate a secondary when it stops.
        ///
        /// After a stop or a loss of the connection a node marks its own data as outdated where the cluster knows another one to be promoted.
        [reloadable] stop_outdates_secondary: bool = "false",
        /// Do without notifications.
        ///
        /// Without them a promotion score may be old for the length of a monitor interval.
        [reloadable] ignore_missing_notifications: bool = "false",
        /// Wait for the peers.
        ///
        /// How many seconds a start waits for connections. Anything that is no number means not at all.
        [reloadable] wfc_timeout: Seconds = "5",
        /// Take the score away while a peer is Primary.
        ///
        /// With yes always, with `unexpected` only where the cluster knows of no promoted peer.
        [reloadable] remove_master_score_if_peer_primary: RemoveScore = "false",
        /// Give a promotion up at once while a peer is Primary.
        ///
        /// Where the cluster knows of no promoted peer and one promoted instance is all there may be. Otherwise it is tried until the time is over.
        [reloadable] fail_promote_early_if_peer_primary: bool = "false",
        /// Call the handler unfence-peer when all is well.
        ///
        /// Lifts a constraint that a lost peer has left, as soon as this node is Primary and all disks are up to date.
        [reloadable] unfence_if_all_uptodate: bool = "false",
        /// Options for the handler unfence-peer.
        ///
        /// The handler finds them in its environment as UNFENCE_EXTRA_ARGS.
        [reloadable] unfence_extra_args: String = "--quiet --flock-required --flock-timeout 0 --unfence-only-if-owner-match",
        /// Oldest DRBD module.
        ///
        /// The resource is not started with an older one.
        [] require_drbd_module_version_ge: Version = "8.4.0",
        /// Too new DRBD module.
        ///
        /// The resource is not started with this one or a newer one.
        [] require_drbd_module_version_lt: Version = "10.0.0",
        /// Connect only after promotion.
        ///
        /// A start attaches the disks and does not connect; the node that is promoted does.
        [] connect_only_after_promote: bool = "false",
    }
}

/// The four scores, and whether they are the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scores {
    /// Consistent, but perhaps old.
    pub consistent: u32,
    /// Good data only on a peer.
    pub remote: u32,
    /// Good data here, the peer's are not known.
    pub alone: u32,
    /// Good data here, for sure.
    pub best: u32,
    /// Whether what was given made no sense.
    pub is_default_for_nonsense: bool,
}

impl Value for Scores {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let numbers: Vec<u32> =
            text.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let is_whole = numbers.len() == text.split_whitespace().count();
        Ok(match numbers[..] {
            [consistent, remote, alone, best] if is_whole && numbers.is_sorted() => {
                Self { consistent, remote, alone, best, is_default_for_nonsense: false }
            }
            _ => Self {
                consistent: 0,
                remote: 10,
                alone: 1000,
                best: 10_000,
                is_default_for_nonsense: true,
            },
        })
    }
}

/// A number of seconds; what is no number is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u32);

impl Value for Seconds {
    const KIND: Kind = Kind::Integer;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.trim().parse().unwrap_or(0)))
    }
}

/// When the score is taken away although this node could be promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveScore {
    /// Never.
    No,
    /// While a peer is Primary.
    Yes,
    /// While a peer is Primary without the cluster knowing.
    Unexpected,
}

impl Value for RemoveScore {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(match bool::parse(text) {
            Ok(true) => Self::Yes,
            Ok(false) => Self::No,
            Err(_) if text == "unexpected" => Self::Unexpected,
            Err(_) => return Err("neither yes nor no nor `unexpected`".into()),
        })
    }
}

/// A version of the module: 9.1.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Value for Version {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let numbers: Vec<u32> = text.split('.').map_while(|part| part.parse().ok()).collect();
        match numbers[..] {
            [major, minor, patch] if text.split('.').count() == 3 => Ok(Self(major, minor, patch)),
            _ => Err("not a version like 9.1.4".into()),
        }
    }
}

impl Version {
    /// Of a release as the module prints it: `9.0.28-1`.
    pub fn of_release(release: &str) -> Option<Self> {
        Self::parse(release.split('-').next()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_fall_or_lack_are_the_default() {
        let scores = Scores::parse("1 2 3 4").unwrap();
        assert_eq!((scores.consistent, scores.best), (1, 4));
        assert!(!scores.is_default_for_nonsense);
        for nonsense in ["5 4 3 2", "1 2 3", "1 2 3 4 5", "a b c d", "-1 2 3 4", "1 2 3 4 x"] {
            let scores = Scores::parse(nonsense).unwrap();
            assert!(scores.is_default_for_nonsense && scores.best == 10_000, "{nonsense}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(Version::parse("9.10.0").unwrap() > Version::parse("9.9.9").unwrap());
        assert_eq!(Version::of_release("9.0.28-1"), Some(Version(9, 0, 28)));
        assert!(Version::parse("9.1").is_err() && Version::parse("9.1.x").is_err());
    }

    #[test]
    fn other_values_have_their_spellings() {
        assert_eq!(RemoveScore::parse("unexpected"), Ok(RemoveScore::Unexpected));
        assert_eq!(RemoveScore::parse("on"), Ok(RemoveScore::Yes));
        assert!(RemoveScore::parse("perhaps").is_err());
        assert_eq!(
            (Seconds::parse("7"), Seconds::parse("never")),
            (Ok(Seconds(7)), Ok(Seconds(0)))
        );
    }
}
