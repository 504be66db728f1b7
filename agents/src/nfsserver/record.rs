//! What a start leaves for later. A hint: what is there is the kernel's to say.
//!
//! It is written before anything is changed, and once more when the server is
//! up. What a start was about to do is in it, so that whoever finds one that
//! was cut short knows what to take down.

use common::View;
use common::host::block::Number;
use common::host::mount::table::{escaped, unescaped};
use common::host::nfs::daemon::{Daemon, Running};
use common::host::nfs::exports::Export;
use common::host::nfs::exports::client::Client;
use common::host::nfs::state_dir::Origin;
use common::host::process::Process;
use common::host::record::Damaged;
use std::fmt::{self, Write};
use std::path::PathBuf;

/// The first line, so that a later release knows what it reads.
const VERSION: &str = "nfsserver 1\n";

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The server's scope, where one was asked for.
    pub(super) scope: Option<String>,
    /// The number of a socket that the server listens on.
    pub(super) cookie: Option<u64>,
    /// What was put in the place of /var/lib/nfs.
    pub(super) origin: Option<Origin>,
    /// The number of that directory, as it was there when the server was up.
    pub(super) inode: Option<u64>,
    /// The daemons that the server works with, as they were when it was up.
    pub(super) daemons: Vec<Running>,
    /// Those that systemd did not run before.
    pub(super) ours: Vec<Daemon>,
    /// Those that ran before, and are to run afterwards.
    pub(super) again: Vec<Daemon>,
    /// What is exported for the entries of /etc/exports.
    pub(super) exports: Vec<Made>,
}

/// An entry that a start has exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// The directory, without links.
    pub(super) path: PathBuf,
    /// The client as the table has it, or, before it is there, as it was asked for.
    pub(super) client: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.path.display(), self.client)
    }
}

impl Made {
    /// Whether it is this entry of the table.
    pub(super) fn is(&self, export: &Export) -> bool {
        let is_client = || {
            let client = Client::parse(&self.client);
            client.is_ok_and(|client| client.is_listed_as(&export.client))
        };
        self.path == export.path && (self.client == export.client || is_client())
    }
}

impl Record {
    pub(super) fn of(view: &View, name: &str) -> Result<Option<Self>, Damaged> {
        view.record(name, Self::parse)
    }

    pub(super) fn text(&self) -> String {
        let mut text = VERSION.to_owned();
        // Writing to a string does not fail.
        if let Some(scope) = &self.scope {
            let _ = writeln!(text, "scope {scope}");
        }
        if let Some(cookie) = self.cookie {
            let _ = writeln!(text, "socket {cookie}");
        }
        if let Some(origin) = &self.origin {
            let _ = writeln!(text, "bound {} {}", origin.device, origin.root.display());
        }
        if let Some(inode) = self.inode {
            let _ = writeln!(text, "inode {inode}");
        }
        for Running { daemon, process, channel } in &self.daemons {
            let _ = write!(text, "daemon {daemon} {} {}", process.pid, process.started);
            let _ = match channel {
                Some(channel) => writeln!(text, " {channel}"),
                None => writeln!(text),
            };
        }
        for (word, list) in [("ours", &self.ours), ("again", &self.again)] {
            for daemon in list {
                let _ = writeln!(text, "{word} {daemon}");
            }
        }
        for Made { path, client } in &self.exports {
            let _ = writeln!(text, "export {client} {}", escaped(path));
        }
        text
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let text =
            text.strip_prefix(VERSION).filter(|text| text.is_empty() || text.ends_with('\n'))?;
        let mut record = Self::default();
        for line in text.lines() {
            let (word, value) = line.split_once(' ')?;
            match word {
                "scope" => record.scope = Some(value.to_owned()),
                "socket" => record.cookie = value.parse().ok(),
                "bound" => {
                    let (device, root) = value.split_once(' ')?;
                    let device = Number::parse(device)?;
                    record.origin = Some(Origin { device, root: PathBuf::from(root) });
                }
                "inode" => record.inode = value.parse().ok(),
                "daemon" => record.daemons.push(running(value)?),
                "ours" => record.ours.extend(Daemon::named(value)),
                "again" => record.again.extend(Daemon::named(value)),
                "export" => {
                    let (client, path) = value.split_once(' ')?;
                    let client = client.to_owned();
                    record.exports.push(Made { path: unescaped(path), client });
                }
                // A later release may know more.
                _ => {}
            }
        }
        Some(record)
    }
}

fn running(value: &str) -> Option<Running> {
    let mut words = value.split(' ');
    let daemon = Daemon::named(words.next()?)?;
    let (pid, started) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let name = daemon.program().to_owned();
    let process = Process { pid, name, parent: 1, group: pid, started, is_zombie: false };
    let channel = words.next().and_then(|word| word.parse().ok());
    Some(Running { daemon, process, channel })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let device = Number { major: 147, minor: 0 };
        let record = Record {
            scope: Some("10.0.0.9".into()),
            cookie: Some(4711),
            origin: Some(Origin { device, root: "/a b/nfs".into() }),
            inode: Some(12),
            daemons: vec![
                running("rpc.mountd 7 8 19").unwrap(),
                running("rpc.statd 9 10").unwrap(),
            ],
            ours: vec![Daemon::Mountd, Daemon::Statd],
            again: vec![Daemon::Nfsdcld],
            exports: vec![Made { path: "/srv/a\\ b\nfür".into(), client: "fd00::/64".into() }],
        };
        assert_eq!(Record::parse(&record.text()), Some(record));
    }

    #[test]
    fn a_record_that_was_cut_short_is_none() {
        let text = Record { cookie: Some(4711), ..Record::default() }.text();
        assert_eq!(Record::parse(&text[..text.len() - 1]), None);
        assert_eq!(Record::parse(&text.replace("nfsserver 1", "nfsserver 2")), None);
        assert!(Record::parse(&(text + "colour red\n")).is_some());
    }
}
