//! The clients of NFSv4 that the kernel's server has, and what they hold: open
//! files, locks, delegations. Linux 5.3 and later tell of them.

use crate::host::block::Number;
use crate::host::system::View;
use std::fmt;
use std::io;

const CLIENTS: &str = "/proc/fs/nfsd/clients";

/// Something that a client holds of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The client's directory in /proc/fs/nfsd/clients.
    pub id: String,
    /// Whose it is: `10.0.0.5 (Linux NFSv4.2 node7)`.
    pub client: String,
    /// `open`, `lock`, `deleg`, `layout`.
    pub kind: String,
    /// Which file, from the root of its file system.
    pub file: String,
    /// The file system's number.
    pub device: Number,
    /// Whether it was taken away already, and the client has not heard of it.
    pub is_revoked: bool,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, file, .. } = self;
        match self.kind.as_str() {
            "open" => write!(f, "NFS client {client} has {file} open"),
            "lock" => write!(f, "NFS client {client} has locked {file}"),
            "deleg" => write!(f, "NFS client {client} has a delegation of {file}"),
            kind => write!(f, "NFS client {client} has a {kind} of {file}"),
        }
    }
}

/// What clients hold of this file system; none where the kernel does not tell.
pub fn holding(view: &View, device: Number) -> Option<Vec<Held>> {
    let mut found = all(view)?;
    found.retain(|held| held.device == device && !held.is_revoked);
    Some(found)
}

/// What clients hold of any.
pub fn all(view: &View) -> Option<Vec<Held>> {
    let mut found = Vec::new();
    for id in view.list(CLIENTS).ok()? {
        let states = match view.read(format!("{CLIENTS}/{id}/states")) {
            // It has gone meanwhile.
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            read => read.ok()?,
        };
        if states.trim().is_empty() {
            continue;
        }
        let info = view.read(format!("{CLIENTS}/{id}/info")).unwrap_or_default();
        let client = described(&info).unwrap_or_else(|| format!("number {id}"));
        found.extend(states.lines().filter_map(|line| held(line, &id, &client)));
    }
    Some(found)
}

/// Some of them, for a reason: a line has room for few.
pub fn told(held: &[Held]) -> String {
    const ENOUGH: usize = 3;
    let mut told: Vec<String> = held.iter().take(ENOUGH).map(ToString::to_string).collect();
    if held.len() > ENOUGH {
        told.push(format!("{} more", held.len() - ENOUGH));
    }
    told.join(", ")
}

/// The address, and the name that the client gives itself.
fn described(info: &str) -> Option<String> {
    let value = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
        Some(line.trim().trim_matches('"').to_owned())
    };
    let address = value("address")?;
    let address = address.rsplit_once(':').map_or(&*address, |(host, _)| host).to_owned();
    Some(match value("name") {
        Some(name) if !name.is_empty() => format!("{address} ({name})"),
        _ => address,
    })
}

/// `- 0x1: { type: open, ..., superblock: "07:00:13", filename: "/y", ... }`,
/// the numbers of the superblock in base 16.
fn held(line: &str, id: &str, client: &str) -> Option<Held> {
    let value = |name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}: "))?;
        Some(match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => rest.split([',', ' ']).next()?,
        })
    };
    let mut numbers = value("superblock")?.split(':');
    let mut number = || u32::from_str_radix(numbers.next()?, 16).ok();
    let device = Number { major: number()?, minor: number()? };
    Some(Held {
        id: id.to_owned(),
        client: client.to_owned(),
        kind: value("type")?.to_owned(),
        file: value("filename").unwrap_or("a file").to_owned(),
        device,
        is_revoked: line.contains("admin-revoked"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::time::Duration;

    /// As Linux 6.1 has written them.
    const INFO: &str = "clientid: 0xe80daa726b0ac460\naddress: \"127.0.0.1:1021\"\n\
        status: confirmed\nseconds from last renew: 1\nname: \"Linux NFSv4.2 node1\"\n\
        minor version: 2\n";
    const STATES: &str = "- 0x0000000160c40a6b72aa0de801000000: { type: open, access: -w, deny: --, \
        superblock: \"07:10:13\", filename: \"/y\", owner: \"open id:\\x00\\x00\" }\n\
        - 0x0000000160c40a6b72aa0de802000000: { type: deleg, access: r-, \
        superblock: \"07:00:12\", filename: \"/a b, c\" }\n\
        - 0x0000000160c40a6b72aa0de803000000: { type: open, access: r-, deny: --, admin-revoked, \
        superblock: \"07:00:12\", filename: \"/x\", owner: \"\" }\n";

    #[test]
    fn what_clients_hold_is_told_by_file_system() {
        let root = tempfile::tempdir().unwrap();
        let client = root.path().join("proc/fs/nfsd/clients/3");
        let view = View::below(root.path(), Deadline::after(Duration::from_secs(1)));
        assert_eq!(all(&view), None, "a kernel that does not tell proves nothing");
        std::fs::create_dir_all(&client).unwrap();
        std::fs::write(client.join("info"), INFO).unwrap();
        std::fs::write(client.join("states"), STATES).unwrap();
        let on = |minor| holding(&view, Number { major: 7, minor }).unwrap();
        assert_eq!(on(1).len(), 0);
        let words = "NFS client 127.0.0.1 (Linux NFSv4.2 node1) has /y open";
        assert_eq!(told(&on(16)), words, "its numbers are in base 16");
        let deleg = told(&on(0));
        assert!(deleg.ends_with("has a delegation of /a b, c"), "{deleg}");
    }

    #[test]
    fn a_line_has_room_for_few() {
        let one = held(STATES.lines().next().unwrap(), "3", "c").unwrap();
        let told = told(&vec![one; 5]);
        assert!(told.ends_with("open, 2 more"), "{told}");
    }
}
