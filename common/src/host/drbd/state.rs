//! What DRBD can be found doing, in its own words.

use crate::host::absence::Absent;
use std::fmt;

/// Whether a node may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrbdRole {
    /// A peer that is not connected.
    Unknown,
    /// May be written.
    Primary,
    /// Follows.
    Secondary,
}

impl DrbdRole {
    /// The role, if it is one that a node can have of itself. A peer's may be
    /// unknown; where this node's own is, nothing may be concluded from it.
    pub(super) fn known(self) -> Option<Self> {
        (self != Self::Unknown).then_some(self)
    }

    pub(super) fn of(number: u32) -> Self {
        match number {
            1 => Self::Primary,
            2 => Self::Secondary,
            _ => Self::Unknown,
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "Primary" => Self::Primary,
            "Secondary" => Self::Secondary,
            "Unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

impl fmt::Display for DrbdRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// How good the data on a disk is; the better, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DiskState {
    Diskless,
    Attaching,
    Detaching,
    Failed,
    Negotiating,
    Inconsistent,
    Outdated,
    /// A peer's, while it is not connected.
    DUnknown,
    Consistent,
    UpToDate,
}

impl DiskState {
    /// In the order of DRBD 9's numbers; DRBD 8 has no `Detaching`.
    const ALL: [Self; 10] = [
        Self::Diskless,
        Self::Attaching,
        Self::Detaching,
        Self::Failed,
        Self::Negotiating,
        Self::Inconsistent,
        Self::Outdated,
        Self::DUnknown,
        Self::Consistent,
        Self::UpToDate,
    ];

    pub(super) fn of(number: u32, interface: u8) -> Option<Self> {
        let skipped = u32::from(interface < 2 && number > 1);
        Self::ALL.get(usize::try_from(number + skipped).ok()?).copied()
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|disk| disk.to_string() == word)
    }

    /// Whether the disk is on its way up, so that nothing can be said yet.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Attaching | Self::Negotiating)
    }
}

impl fmt::Display for DiskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// One device of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its number in the resource.
    pub number: u32,
    /// `/dev/drbd<minor>`, where it is known.
    pub minor: Option<u32>,
    /// Of this node; before DRBD 9 each volume has its own.
    pub role: DrbdRole,
    /// The local disk.
    pub disk: DiskState,
    /// The disk below it, where the kernel tells.
    pub backing: Option<String>,
    /// Has no disk here on purpose.
    pub client: bool,
    /// Enough nodes are there to write.
    pub quorum: bool,
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// As the configuration calls it; empty before DRBD 9.
    pub name: String,
    /// Its number in the resource; 0 before DRBD 9.
    pub node: u32,
    /// `Connected`, `StandAlone`, `Connecting`, and what lies between.
    pub connection: String,
    /// Its role, as far as it is known.
    pub role: DrbdRole,
    /// Its disks, by volume.
    pub disks: Vec<(u32, DiskState)>,
}

impl Peer {
    /// Whether the two talk to each other.
    pub fn is_connected(&self) -> bool {
        const NOT_YET: [&str; 10] = [
            "StandAlone",
            "Disconnecting",
            "Unconnected",
            "Timeout",
            "BrokenPipe",
            "NetworkFailure",
            "ProtocolError",
            "TearDown",
            "WFConnection",
            "Connecting",
        ];
        !NOT_YET.contains(&self.connection.as_str())
    }

    /// Whether it may connect any moment: DRBD tries.
    pub fn is_awaited(&self) -> bool {
        !self.is_connected() && self.connection != "StandAlone"
    }

    /// Whether every disk of the peer is known to be up to date.
    pub fn is_up_to_date(&self) -> bool {
        !self.disks.is_empty() && self.disks.iter().all(|(_, disk)| *disk == DiskState::UpToDate)
    }
}

/// What DRBD does about a peer that it has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fencing {
    /// Nothing.
    DontCare,
    /// Calls the handler fence-peer.
    ResourceOnly,
    /// Calls it, and holds writes back until it has answered.
    ResourceAndStonith,
}

impl Fencing {
    pub(super) fn of(number: u32) -> Option<Self> {
        [Self::DontCare, Self::ResourceOnly, Self::ResourceAndStonith].get(number as usize).copied()
    }
}

/// A resource that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Of this node: Primary as soon as one volume is.
    pub role: DrbdRole,
    /// In the order of their numbers.
    pub volumes: Vec<Volume>,
    /// Whoever it is replicated with.
    pub peers: Vec<Peer>,
    /// The strictest of its fencing policies, where the kernel tells.
    pub fencing: Option<Fencing>,
}

impl Resource {
    pub(super) fn new(name: String) -> Self {
        let (volumes, peers, fencing) = (Vec::new(), Vec::new(), None);
        Self { name, role: DrbdRole::Secondary, volumes, peers, fencing }
    }

    /// Takes in a volume, and its role.
    pub(super) fn add(&mut self, volume: Volume) {
        if volume.role == DrbdRole::Primary {
            self.role = DrbdRole::Primary;
        }
        self.volumes.push(volume);
        self.volumes.sort_by_key(|volume| volume.number);
    }

    /// Whether it may be written here, at least in part.
    pub fn is_primary(&self) -> bool {
        self.role == DrbdRole::Primary
    }

    /// Proof that it may not be written here, in no part.
    pub fn demoted(&self) -> Option<Absent> {
        (!self.is_primary()).then(|| Absent::seen(format!("{} is not Primary", self.name)))
    }

    /// Whether it may be written on a peer, as far as is known.
    pub fn has_primary_peer(&self) -> bool {
        self.peers.iter().any(|peer| peer.role == DrbdRole::Primary)
    }

    /// The volumes that may not be written while others may: what is left of
    /// a change of role that was cut short, before DRBD 9.
    pub fn laggards(&self) -> Vec<u32> {
        let lags = |volume: &&Volume| self.is_primary() && volume.role != DrbdRole::Primary;
        self.volumes.iter().filter(lags).map(|volume| volume.number).collect()
    }

    /// Whether every disk here and on every peer is up to date, and all peers
    /// are connected.
    pub fn is_whole(&self) -> bool {
        !self.volumes.is_empty()
            && self.volumes.iter().all(|volume| volume.disk == DiskState::UpToDate)
            && self.peers.iter().all(|peer| peer.is_connected() && peer.is_up_to_date())
    }

    /// Whether it is there in name only: nothing attached, nobody connected.
    /// That is what is left of a start or a stop that was cut short.
    pub fn is_idle(&self) -> bool {
        let bare = |volume: &Volume| volume.disk == DiskState::Diskless && !volume.client;
        !self.is_primary()
            && self.volumes.iter().all(bare)
            && self.peers.iter().all(|peer| peer.connection == "StandAlone")
    }

    /// Proof that nothing of it is up, if it is there in name only.
    pub fn idle(&self) -> Option<Absent> {
        self.is_idle().then(|| Absent::seen(format!("{} has neither disk nor peer", self.name)))
    }

    /// Whether all is there that a start has brought about: disks, unless there
    /// is to be none, and connections where those are wanted.
    pub fn is_up(&self, connected: bool) -> bool {
        let has_disk = |volume: &Volume| volume.disk != DiskState::Diskless || volume.client;
        let reaches = !self.peers.is_empty() && self.peers.iter().all(Peer::is_connected);
        !self.volumes.is_empty() && self.volumes.iter().all(has_disk) && (reaches || !connected)
    }

    /// The local disks, in a few words: `UpToDate`, `UpToDate/Inconsistent`.
    pub fn disks(&self) -> String {
        let disks: Vec<String> =
            self.volumes.iter().map(|volume| volume.disk.to_string()).collect();
        if disks.is_empty() { "no volume".into() } else { disks.join("/") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_states_have_other_numbers_before_nine() {
        assert_eq!(DiskState::of(8, 1), Some(DiskState::UpToDate));
        assert_eq!(DiskState::of(9, 2), Some(DiskState::UpToDate));
        assert_eq!(DiskState::of(2, 1), Some(DiskState::Failed));
        assert_eq!(DiskState::of(2, 2), Some(DiskState::Detaching));
        assert_eq!(DiskState::of(1, 1), Some(DiskState::Attaching));
        assert_eq!((DiskState::of(9, 1), DiskState::of(10, 2)), (None, None));
    }

    #[test]
    fn words_read_as_they_are_written() {
        for disk in DiskState::ALL {
            assert_eq!(DiskState::parse(&disk.to_string()), Some(disk));
        }
        assert_eq!(DiskState::parse("Fine"), None);
    }
}
