//! The text in which tgtd lists what it serves. What a line is about is told by
//! how far it is moved in, by four blanks a level.

use anyhow::{Context, Result, bail};

/// A target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Its number in this daemon.
    pub tid: u32,
    /// Its name.
    pub iqn: String,
    /// Whether it takes logins.
    pub is_ready: bool,
    /// The initiators that are logged in, with a blank and an address where
    /// tgtd tells it.
    pub initiators: Vec<String>,
    /// Its LUNs, that of number 0 among them, which is the target's own.
    pub luns: Vec<Lun>,
    /// The users whose password lets an initiator in.
    pub users: Vec<String>,
    /// The user that the target says it is.
    pub outgoing_user: Option<String>,
    /// Whom it admits: addresses, networks, names, or ALL.
    pub admitted: Vec<String>,
}

impl Target {
    /// Whether that is its name, which goes over the wire in small letters.
    pub fn is_called(&self, iqn: &str) -> bool {
        self.iqn.eq_ignore_ascii_case(iqn)
    }
}

/// A LUN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lun {
    /// Its number.
    pub number: u64,
    /// What kind of device it is: `disk`.
    pub kind: String,
    /// The identity that clients name it by.
    pub id: String,
    /// Its serial number.
    pub serial: String,
    /// Whether it answers that there is a medium.
    pub is_online: bool,
    /// Whether it refuses to be written to.
    pub is_read_only: bool,
    /// How the daemon reaches what it serves: `rdwr`, `aio`.
    pub store: String,
    /// What it serves, as the daemon was told it.
    pub path: Option<String>,
}

/// Part of a target that lines belong to.
enum Section {
    System,
    Sessions,
    Luns,
    Users,
    Admitted,
    Other,
}

/// Reads the list of all targets.
pub(super) fn targets(text: &str) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    let mut section = Section::Other;
    for line in text.lines() {
        let (depth, words) = depth(line);
        let wrong = || format!("line {line:?}");
        if depth == 0 {
            targets.push(target(words).with_context(wrong)?);
            section = Section::Other;
            continue;
        }
        let target = targets.last_mut().with_context(wrong)?;
        if depth == 1 {
            section = match words {
                "System information:" => Section::System,
                "I_T nexus information:" => Section::Sessions,
                "LUN information:" => Section::Luns,
                "Account information:" => Section::Users,
                "ACL information:" => Section::Admitted,
                _ => Section::Other,
            };
            continue;
        }
        match section {
            Section::System => {
                if let Some(state) = words.strip_prefix("State: ") {
                    target.is_ready = state == "ready";
                }
            }
            Section::Sessions => session(target, words),
            Section::Luns => lun(target, words).with_context(wrong)?,
            Section::Users => match words.strip_suffix(" (outgoing)") {
                Some(user) => target.outgoing_user = Some(user.to_owned()),
                None => target.users.push(words.to_owned()),
            },
            Section::Admitted => target.admitted.push(words.to_owned()),
            Section::Other => {}
        }
    }
    Ok(targets)
}

fn depth(line: &str) -> (usize, &str) {
    let words = line.trim_start_matches(' ');
    ((line.len() - words.len()) / 4, words)
}

/// `Target 1: NAME`.
fn target(words: &str) -> Result<Target> {
    let told = words.strip_prefix("Target ").and_then(|rest| rest.split_once(": "));
    let (tid, iqn) = told.context("is no target")?;
    Ok(Target { tid: tid.parse()?, iqn: iqn.to_owned(), ..Target::default() })
}

fn session(target: &mut Target, words: &str) {
    if let Some(initiator) = words.strip_prefix("Initiator: ") {
        let name = initiator.split(" alias: ").next().unwrap_or(initiator);
        target.initiators.push(name.to_owned());
    } else if let (Some(address), Some(initiator)) =
        (words.strip_prefix("IP Address: "), target.initiators.last_mut())
    {
        *initiator = format!("{initiator} {address}");
    }
}

fn lun(target: &mut Target, words: &str) -> Result<()> {
    let Some((name, value)) = words.split_once(':') else { bail!("is nothing of a LUN") };
    let value = value.strip_prefix(' ').unwrap_or(value);
    if name == "LUN" {
        target.luns.push(Lun { number: value.parse()?, ..Lun::default() });
        return Ok(());
    }
    let lun = target.luns.last_mut().context("is of no LUN")?;
    match name {
        "Type" => lun.kind = value.to_owned(),
        "SCSI ID" => lun.id = value.to_owned(),
        "SCSI SN" => lun.serial = value.to_owned(),
        "Online" => lun.is_online = value == "Yes",
        "Readonly" => lun.is_read_only = value == "Yes",
        "Backing store type" => lun.store = value.to_owned(),
        "Backing store path" => lun.path = (value != "None").then(|| value.to_owned()),
        _ => {}
    }
    Ok(())
}

/// Reads the connections of a target: the number of each one's session, and its
/// own.
pub(super) fn connections(text: &str) -> Result<Vec<(u64, u32)>> {
    let mut found = Vec::new();
    let mut session = None;
    for line in text.lines() {
        let (_, words) = depth(line);
        if let Some(number) = words.strip_prefix("Session: ") {
            session = Some(number.parse()?);
        } else if let Some(number) = words.strip_prefix("Connection: ") {
            let session = session.context("a connection of no session")?;
            found.push((session, number.parse()?));
        }
    }
    Ok(found)
}

/// Reads the users of discovery, which are the last of what the daemon tells of
/// itself.
pub(super) fn discovery_users(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| depth(line).1);
    let users = lines.skip_while(|words| *words != "Account information:").skip(1);
    users.map(|user| user.trim_end_matches(" (outgoing)").to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "\
Target 1: iqn.2001-04.com.example:a
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 2
            Initiator: iqn.2007-10.com.github:x alias: none
            Connection: 0
                IP Address: 10.0.0.1
    LUN information:
        LUN: 0
            Type: controller
            SCSI ID: IET     00010000
            SCSI SN: beaf10
            Size: 0 MB, Block size: 1
            Online: Yes
            Backing store path: None
        LUN: 1
            Type: disk
            SCSI ID: p_lun: 1
            SCSI SN: 1234
            Size: 8 MB, Block size: 512
            Online: No
            Readonly: Yes
            Backing store type: rdwr
            Backing store path: /dev/a: b
            Backing store flags: 
    Account information:
        joe
        target (outgoing)
    ACL information:
        ALL
        iqn.1993-08.org.debian:01:x
Target 12: iqn.2001-04.com.example:b
    System information:
        State: offline
";

    #[test]
    fn what_is_served_is_read_whole() {
        let targets = targets(TOLD).unwrap();
        let first = &targets[0];
        assert_eq!((first.tid, first.iqn.as_str()), (1, "iqn.2001-04.com.example:a"));
        assert!(first.is_ready);
        assert_eq!(first.initiators, ["iqn.2007-10.com.github:x 10.0.0.1"]);
        assert_eq!(first.users, ["joe"]);
        assert_eq!(first.outgoing_user.as_deref(), Some("target"));
        assert_eq!(first.admitted, ["ALL", "iqn.1993-08.org.debian:01:x"]);
        let lun = Lun {
            number: 1,
            kind: "disk".into(),
            id: "p_lun: 1".into(),
            serial: "1234".into(),
            is_online: false,
            is_read_only: true,
            store: "rdwr".into(),
            path: Some("/dev/a: b".into()),
        };
        assert_eq!(first.luns[1], lun);
        assert_eq!((first.luns.len(), &first.luns[0].path), (2, &None));
        assert_eq!((targets[1].tid, targets[1].is_ready), (12, false));
        assert!(targets[1].luns.is_empty() && targets.len() == 2);
    }

    #[test]
    fn what_makes_no_sense_is_no_list() {
        assert_eq!(targets("").unwrap(), []);
        for wrong in [
            "nonsense",
            "Target x: a",
            "    LUN information:",
            "Target 1: a\n    LUN information:\n        LUN: x",
            "Target 1: a\n    LUN information:\n            Type: disk",
        ] {
            assert!(targets(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn connections_are_told_with_their_session() {
        let told = "Session: 3\n    Connection: 0\n        Initiator: a\n        IP Address: x\n    Connection: 1\nSession: 9\n    Connection: 0\n";
        assert_eq!(connections(told).unwrap(), [(3, 0), (3, 1), (9, 0)]);
        assert!(connections("    Connection: 0").is_err());
        assert_eq!(connections("").unwrap(), []);
    }

    #[test]
    fn users_of_discovery_are_the_last_that_is_told() {
        let told = "System:\n    State: ready\nDevice types:\n    disk\n    Account information:\n    joe\n    me (outgoing)\n";
        assert_eq!(discovery_users(told), ["joe", "me"]);
        assert!(discovery_users("System:\n    State: ready\n").is_empty());
    }
}
