//! Whom a constraint spares.

use super::cib::Cib;
use common::host::drbd::Resource;
use std::collections::BTreeSet;

/// The other nodes whose data are as good as this one's, but for the lost: with
/// more than two nodes they may go on.
pub(super) fn spared(
    cib: &Cib,
    resource: &Resource,
    node: &str,
    lost: &[String],
) -> BTreeSet<String> {
    let good = resource.peers.iter().filter(|peer| peer.is_connected() && peer.is_up_to_date());
    good.filter_map(|peer| cib.node(&peer.name))
        .map(str::to_owned)
        .filter(|name| name != node && !lost.contains(name))
        .collect()
}
