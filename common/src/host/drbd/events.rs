//! What `drbdsetup events2 --now` prints: the way to the state of a kernel
//! that speaks a newer language than we do.

use super::state::{DiskState, DrbdRole, Peer, Resource, Volume};
use std::collections::HashMap;

/// Reads the resources out of the program's lines.
///
/// Keys that are not known are passed over, since new ones keep coming; a
/// value that is not known is an error, and so is a text without its end mark.
pub(super) fn parse(text: &str) -> Result<Vec<Resource>, String> {
    let mut found: Vec<Resource> = Vec::new();
    let mut ended = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("exists") {
            continue;
        }
        let Some(kind) = words.next() else { continue };
        if kind == "-" {
            ended = true;
            continue;
        }
        let keys: HashMap<&str, &str> = words.filter_map(|word| word.split_once(':')).collect();
        take(&mut found, kind, &keys).ok_or_else(|| format!("`{line}` makes no sense"))?;
    }
    if !ended {
        return Err("the end is missing".into());
    }
    for resource in &mut found {
        for volume in &mut resource.volumes {
            volume.role = resource.role;
        }
    }
    Ok(found)
}

fn take(found: &mut Vec<Resource>, kind: &str, keys: &HashMap<&str, &str>) -> Option<()> {
    let name = || keys.get("name").map(|name| (*name).to_owned());
    let number = |key: &str| keys.get(key)?.parse::<u32>().ok();
    let disk = |key: &str| DiskState::parse(keys.get(key)?);
    if kind == "resource" {
        let mut resource = Resource::new(name()?);
        resource.role = DrbdRole::parse(keys.get("role")?)?.known()?;
        found.push(resource);
        return Some(());
    }
    let resource = found
        .iter_mut()
        .rfind(|resource| Some(resource.name.as_str()) == keys.get("name").copied());
    match kind {
        "device" => resource?.volumes.push(Volume {
            number: number("volume")?,
            minor: number("minor"),
            role: DrbdRole::Unknown,
            disk: disk("disk")?,
            backing: keys.get("backing_dev").map(|path| (*path).to_owned()),
            client: keys.get("client") == Some(&"yes"),
            quorum: keys.get("quorum") != Some(&"no"),
        }),
        "connection" => resource?.peers.push(Peer {
            name: keys.get("conn-name").copied().unwrap_or_default().to_owned(),
            node: number("peer-node-id").unwrap_or(0),
            connection: (*keys.get("connection")?).to_owned(),
            role: DrbdRole::parse(keys.get("role")?)?,
            disks: Vec::new(),
        }),
        "peer-device" => {
            let (node, volume) = (number("peer-node-id").unwrap_or(0), number("volume")?);
            let peer = resource?.peers.iter_mut().find(|peer| peer.node == node)?;
            peer.disks.push((volume, disk("peer-disk")?));
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! text {
        ($name:literal) => {
            include_str!(concat!("../../../../tests/data/drbd/", $name))
        };
    }

    #[test]
    fn a_resource_of_nine_with_two_volumes_and_two_peers() {
        let found = parse(text!("events2-9.2")).unwrap();
        let [resource] = &found[..] else { panic!("{found:?}") };
        assert!(resource.name == "r1" && resource.is_primary());
        assert_eq!(resource.volumes.len(), 2);
        assert!(resource.volumes.iter().all(|volume| volume.role == DrbdRole::Primary));
        assert_eq!(resource.volumes[1].minor, Some(12));
        let [near, far] = &resource.peers[..] else { panic!("{:?}", resource.peers) };
        assert!(near.is_up_to_date() && near.name == "node2");
        assert_eq!(far.connection, "Connecting");
        assert_eq!(far.disks, [(0, DiskState::DUnknown), (1, DiskState::DUnknown)]);
    }

    #[test]
    fn a_client_has_no_disk_and_a_minority_no_quorum() {
        let found = parse(text!("events2-9.0-diskless")).unwrap();
        assert!(found[0].volumes[0].client && found[0].volumes[0].disk == DiskState::Diskless);
        assert!(!found[0].volumes[0].quorum);
    }

    #[test]
    fn eight_four_prints_less_and_is_understood() {
        let found = parse(text!("events2-8.4.11-alone")).unwrap();
        assert!(found[0].is_primary() && found[0].volumes[0].disk == DiskState::UpToDate);
        assert_eq!(found[0].peers[0].disks, [(0, DiskState::DUnknown)]);
        assert_eq!(parse(text!("events2-8.4.11-torn")).unwrap()[0].volumes.len(), 2);
    }

    #[test]
    fn an_unknown_resource_is_only_the_end_mark() {
        assert_eq!(parse("exists -\n"), Ok(vec![]));
    }

    #[test]
    fn a_text_cut_short_is_no_answer() {
        let text = text!("events2-9.2");
        let lines: Vec<&str> = text.lines().collect();
        assert!(parse(&lines[..lines.len() - 1].join("\n")).is_err());
        assert!(parse("").is_err());
        for role in ["Duke", "Unknown"] {
            let text = format!("exists resource name:r1 role:{role}\nexists -\n");
            assert!(parse(&text).is_err(), "{role}");
        }
    }
}
