//! Waiting for a resource's peers.

use common::View;
use common::host::clock::Pace;
use common::host::drbd::{self, Found};
use std::time::Duration;

/// As long as this a promotion waits for a peer, of which nobody knows that it
/// has what is missing here.
pub(crate) const REUNION: Duration = Duration::from_secs(30);

/// Waits until a resource's peers are connected, or the one of this name. One
/// that does not come is no failure.
pub(crate) fn until_connected(view: &View, resource: &str, peer: Option<&str>, limit: Duration) {
    // What comes after this has to be done in time, too.
    let deadline = view.deadline().at_most(limit.min(view.deadline().left() / 2));
    let mut pace = Pace::new();
    while !deadline.has_passed() {
        let Ok(Found::Configured(resource)) = drbd::find(view, resource) else { return };
        let meant = |known: &&drbd::Peer| peer.is_none_or(|peer| known.name == peer);
        if !resource.peers.iter().filter(meant).any(drbd::Peer::is_awaited) {
            return;
        }
        pace.rest(deadline);
    }
    view.info(format_args!("not all peers are connected after {limit:?}"));
}
