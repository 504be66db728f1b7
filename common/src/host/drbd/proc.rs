//! `/proc/drbd`: the version of the module, and of DRBD 8.4 the devices by minor
//! number and without names.

use super::state::{DiskState, DrbdRole};

/// One configured device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// `/dev/drbd<minor>`.
    pub(super) minor: u32,
    /// `Connected`, `WFConnection`, ...
    pub(super) connection: String,
    /// Of this node.
    pub(super) role: DrbdRole,
    /// Of the peer.
    pub(super) peer: DrbdRole,
    /// The local disk.
    pub(super) disk: DiskState,
    /// The peer's disk.
    pub(super) peer_disk: DiskState,
}

/// The module's version, as it prints it: `8.4.11`.
pub(super) fn release(text: &str) -> Result<String, String> {
    let release = text
        .lines()
        .find_map(|line| line.strip_prefix("version: "))
        .and_then(|rest| rest.split_whitespace().next());
    release.map(str::to_owned).ok_or_else(|| "it names no version".into())
}

/// The devices that are configured. Something in the file that is not understood
/// makes all of it worthless: nothing may be taken for absent because it was
/// written otherwise.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, String> {
    let devices = text.lines().filter_map(device);
    devices.filter_map(|(number, fields)| row(number, fields).transpose()).collect()
}

/// ` 1: cs:...`; other lines begin otherwise.
fn device(line: &str) -> Option<(u32, &str)> {
    let (number, fields) = line.split_once(':')?;
    let number = number.trim_start().parse().ok()?;
    fields.trim_start().starts_with("cs:").then_some((number, fields))
}

fn row(minor: u32, fields: &str) -> Result<Option<Row>, String> {
    let field = |wanted: &str| {
        fields.split_whitespace().find_map(|word| {
            let (name, value) = word.split_once(':')?;
            (name == wanted).then_some(value)
        })
    };
    let strange = || format!("it has a line that makes no sense: `{minor}:{fields}`");
    let connection = field("cs").ok_or_else(strange)?;
    if connection == "Unconfigured" {
        return Ok(None);
    }
    let (role, peer) = pair(field("ro"), DrbdRole::parse).ok_or_else(strange)?;
    let role = role.known().ok_or_else(strange)?;
    let (disk, peer_disk) = pair(field("ds"), DiskState::parse).ok_or_else(strange)?;
    let connection = connection.to_owned();
    Ok(Some(Row { minor, connection, role, peer, disk, peer_disk }))
}

fn pair<T>(text: Option<&str>, read: fn(&str) -> Option<T>) -> Option<(T, T)> {
    let (ours, theirs) = text?.split_once('/')?;
    Some((read(ours)?, read(theirs)?))
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
    fn eight_four_has_a_row_for_each_volume() {
        let found = rows(text!("proc-8.4.11")).unwrap();
        let disks: Vec<_> = found.iter().map(|row| (row.minor, row.disk)).collect();
        assert_eq!(
            disks,
            [(1, DiskState::Diskless), (10, DiskState::UpToDate), (11, DiskState::UpToDate)]
        );
        assert_eq!((found[0].role, found[0].peer), (DrbdRole::Secondary, DrbdRole::Secondary));
        assert_eq!(found[0].peer_disk, DiskState::UpToDate);
    }

    #[test]
    fn a_lost_peer_is_unknown_and_an_unconfigured_device_is_none() {
        let lost = " 0: cs:Unconfigured\n 2: cs:WFConnection ro:Secondary/Unknown \
                    ds:Inconsistent/DUnknown C r-----\n";
        let found = rows(lost).unwrap();
        let [lost] = &found[..] else { panic!("{found:?}") };
        assert_eq!((lost.minor, lost.peer), (2, DrbdRole::Unknown));
        assert_eq!((lost.disk, lost.peer_disk), (DiskState::Inconsistent, DiskState::DUnknown));
    }

    #[test]
    fn each_module_tells_its_version() {
        assert_eq!(release(text!("proc-8.4.11")).unwrap(), "8.4.11");
        assert_eq!(release(text!("proc-9.0.28")).unwrap(), "9.0.28-1");
        assert!(release("").is_err() && release("no version here\n").is_err());
        assert!(rows(text!("proc-9.0.28")).unwrap().is_empty());
    }

    #[test]
    fn what_is_not_understood_is_not_passed_over() {
        for strange in [
            " 0: cs:Connected\n",
            " 0: cs:Connected ro:Primary ds:UpToDate/UpToDate\n",
            " 0: cs:Connected ro:King/Secondary ds:UpToDate/UpToDate\n",
            " 0: cs:Connected ro:Unknown/Primary ds:UpToDate/UpToDate\n",
            " 0: cs:Connected st:Primary/Secondary ds:UpToDate/UpToDate\n",
        ] {
            assert!(rows(strange).is_err(), "{strange:?}");
        }
    }
}
