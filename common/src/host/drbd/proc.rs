//! `/proc/drbd`: all that DRBD 0.7 to 8.3 tells, by minor number and without
//! names, and the version of every DRBD.

use super::state::{DiskState, DrbdRole};

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proc {
    /// Of the module: 8, 4 for 8.4.11.
    pub(super) version: (u32, u32),
    /// The whole version, as printed.
    pub(super) release: String,
    /// The devices that are configured.
    pub(super) rows: Vec<Row>,
}

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

/// Reads the file. Something in it that is not understood makes all of it
/// worthless: nothing may be taken for absent because it was written otherwise.
pub(super) fn parse(text: &str) -> Result<Proc, String> {
    let release = text
        .lines()
        .find_map(|line| line.strip_prefix("version: "))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or("it names no version")?;
    let version = version(release).ok_or_else(|| format!("it has no version in `{release}`"))?;
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some((number, fields)) = device(line)
            && let Some(row) = row(number, fields)?
        {
            rows.push(row);
        }
    }
    Ok(Proc { version, release: release.to_owned(), rows })
}

/// 8, 4 of `8.4.11` and 9, 0 of `9.0.28-1`.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// ` 1: cs:...`; other lines begin otherwise.
fn device(line: &str) -> Option<(u32, &str)> {
    let (number, fields) = line.split_once(':')?;
    let number = number.trim_start().parse().ok()?;
    fields.trim_start().starts_with("cs:").then_some((number, fields))
}

fn row(minor: u32, fields: &str) -> Result<Option<Row>, String> {
    let field = |names: &[&str]| {
        fields.split_whitespace().find_map(|word| {
            let (name, value) = word.split_once(':')?;
            names.contains(&name).then_some(value)
        })
    };
    let strange = || format!("it has a line that makes no sense: `{minor}:{fields}`");
    let connection = field(&["cs"]).ok_or_else(strange)?;
    if connection == "Unconfigured" {
        return Ok(None);
    }
    let (role, peer) = pair(field(&["ro", "st"]), DrbdRole::parse).ok_or_else(strange)?;
    let role = role.known().ok_or_else(strange)?;
    let disks = match field(&["ds"]) {
        Some(both) => pair(Some(both), DiskState::parse),
        // 0.7 tells of the local disk only.
        None => field(&["ld"]).and_then(DiskState::parse).map(|disk| (disk, DiskState::DUnknown)),
    };
    let (disk, peer_disk) = disks.ok_or_else(strange)?;
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

    fn read(text: &str) -> Proc {
        parse(text).unwrap()
    }

    #[test]
    fn seven_has_states_and_a_local_disk() {
        let found = read(text!("proc-0.7.10"));
        assert_eq!(found.version, (0, 7));
        assert_eq!(
            found.rows,
            [Row {
                minor: 1,
                connection: "Connected".into(),
                role: DrbdRole::Secondary,
                peer: DrbdRole::Secondary,
                disk: DiskState::Consistent,
                peer_disk: DiskState::DUnknown,
            }]
        );
    }

    #[test]
    fn eight_two_says_st_and_eight_three_says_ro() {
        for text in [text!("proc-8.2.6"), text!("proc-8.3.13")] {
            let found = read(text);
            let row = &found.rows[0];
            assert_eq!(
                (row.minor, row.role, row.peer),
                (0, DrbdRole::Primary, DrbdRole::Secondary)
            );
            assert_eq!((row.disk, row.peer_disk), (DiskState::UpToDate, DiskState::UpToDate));
        }
        assert_eq!(read(text!("proc-8.2.6")).version, (8, 2));
    }

    #[test]
    fn a_lost_peer_is_unknown_and_unconfigured_devices_are_none() {
        let found = read(text!("proc-8.3.13"));
        assert_eq!(found.rows.len(), 2, "{found:?}");
        let lost = &found.rows[1];
        assert_eq!((lost.minor, lost.peer), (2, DrbdRole::Unknown));
        assert_eq!((lost.disk, lost.peer_disk), (DiskState::Inconsistent, DiskState::DUnknown));
    }

    #[test]
    fn eight_four_has_a_row_for_each_volume() {
        let found = read(text!("proc-8.4.11"));
        let disks: Vec<_> = found.rows.iter().map(|row| (row.minor, row.disk)).collect();
        assert_eq!(
            disks,
            [(1, DiskState::Diskless), (10, DiskState::UpToDate), (11, DiskState::UpToDate)]
        );
    }

    #[test]
    fn nine_tells_its_version_only() {
        let found = read(text!("proc-9.0.28"));
        assert_eq!((found.version, found.rows.len()), ((9, 0), 0));
        assert_eq!(found.release, "9.0.28-1");
    }

    #[test]
    fn what_is_not_understood_is_not_passed_over() {
        for strange in [
            "",
            "no version here\n",
            "version: x.y\n",
            "version: 8.3.13 (api:88)\n 0: cs:Connected\n",
            "version: 8.3.13 (api:88)\n 0: cs:Connected ro:Primary ds:UpToDate/UpToDate\n",
            "version: 8.3.13 (api:88)\n 0: cs:Connected ro:King/Secondary ds:UpToDate/UpToDate\n",
            "version: 8.3.13 (api:88)\n 0: cs:Connected ro:Unknown/Primary ds:UpToDate/UpToDate\n",
        ] {
            assert!(parse(strange).is_err(), "{strange:?}");
        }
    }
}
