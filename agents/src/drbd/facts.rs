//! What was seen of a DRBD resource, in words for people.

use common::host::drbd::tool::Refusal;
use common::host::drbd::{Peer, Resource, Volume};
use common::host::holders;
use common::{Fact, View};

/// A fact for each part of the resource.
pub fn facts_of(resource: &Resource) -> Vec<Fact> {
    let name = Fact::new("resource", &resource.name);
    let mut facts = vec![name, Fact::new("role", resource.role.to_string())];
    facts.extend(resource.volumes.iter().map(|seen| Fact::new("volume", volume(seen))));
    facts.extend(resource.peers.iter().map(|seen| Fact::new("peer", peer(seen))));
    facts
}

fn volume(volume: &Volume) -> String {
    let device = volume.minor.map_or_else(String::new, |minor| format!(" (/dev/drbd{minor})"));
    let quorum = if volume.quorum { "" } else { ", no quorum" };
    let client = if volume.client { ", on purpose" } else { "" };
    let on = volume.backing.as_ref().map_or_else(String::new, |disk| format!(" on {disk}"));
    format!("{}{device}: {} {}{client}{on}{quorum}", volume.number, volume.role, volume.disk)
}

fn peer(peer: &Peer) -> String {
    let name = if peer.name.is_empty() { String::new() } else { format!("{}: ", peer.name) };
    let disks: Vec<String> = peer.disks.iter().map(|(_, disk)| disk.to_string()).collect();
    format!("{name}{} {} {}", peer.connection, peer.role, disks.join("/"))
}

/// That a peer has been given up, if one has: DRBD does not connect to it any
/// more until it is told to.
pub fn parting(resource: &Resource) -> Option<String> {
    let lost = resource.peers.iter().find(|peer| peer.connection == "StandAlone")?;
    let peer = if lost.name.is_empty() { "its peer" } else { lost.name.as_str() };
    let name = &resource.name;
    Some(format!("{name} has given up {peer} (StandAlone), as after a split brain"))
}

/// Who has one of the devices open, a clause for each.
pub fn holders_of(view: &View, resource: &Resource) -> Vec<String> {
    let minors = resource.volumes.iter().filter_map(|volume| volume.minor);
    minors.flat_map(|minor| holders::of_device(view, &format!("drbd{minor}"))).collect()
}

/// The error of a resource that could not become Secondary, with the names of
/// those that use it in the place of DRBD's number, where that is why.
pub fn in_use(view: &View, resource: &Resource, err: anyhow::Error) -> anyhow::Error {
    let is_held = err.downcast_ref::<Refusal>().is_some_and(Refusal::is_held_open);
    let holders = if is_held { holders_of(view, resource) } else { Vec::new() };
    match holders.is_empty() {
        true => err,
        false => anyhow::anyhow!(
            "{} stays Primary, its device is in use: {}",
            resource.name,
            holders.join("; ")
        ),
    }
}
