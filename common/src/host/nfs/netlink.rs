//! The kernel's netlink family `nfsd`: threads, times and scope in one message
//! (Linux 6.10).

use crate::host::clock::Deadline;
use crate::host::genl::{self, Attributes, Family, Genl};
use crate::host::netlink as line;
use crate::host::nfs::told::Told;
use crate::host::nfs::wanted::{Address, Wanted};
use anyhow::{Context, Result};
use nix::errno::Errno;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

const THREADS_SET: u8 = 2;
const THREADS_GET: u8 = 3;
const VERSION_SET: u8 = 4;
const VERSION_GET: u8 = 5;
const LISTENER_SET: u8 = 6;
const LISTENER_GET: u8 = 7;

/// Of the server.
const THREADS: u16 = 1;
const GRACE: u16 = 2;
const LEASE: u16 = 3;
const SCOPE: u16 = 4;
/// What versions and listeners are in.
const ONE: u16 = 1;
/// Of a version.
const MAJOR: u16 = 1;
const MINOR: u16 = 2;
const ENABLED: u16 = 3;
/// Of a listener.
const ADDRESS: u16 = 1;
const TRANSPORT: u16 = 2;

/// A child that is not answered is the agent's to give up.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// The family, as far as it can do what is done here.
struct Nfsd {
    genl: Genl,
    family: Family,
    threads: Vec<u8>,
}

impl Nfsd {
    fn open() -> Result<Option<Self>> {
        let mut genl = Genl::open(Deadline::after(PATIENCE))?;
        let Some(family) = genl.family("nfsd")? else { return Ok(None) };
        match genl.ask(family, THREADS_GET, &[]) {
            Ok(threads) => Ok(Some(Self { genl, family, threads })),
            // Since 6.7 the family is there, and can do one thing.
            Err(err) if line::errno(&err) == Some(Errno::EOPNOTSUPP) => Ok(None),
            Err(err) => Err(err).context("cannot ask for the server's threads"),
        }
    }

    fn ask(&mut self, command: u8) -> io::Result<Vec<u8>> {
        self.genl.ask(self.family, command, &[])
    }

    fn tell(&mut self, command: u8, payload: &Attributes) -> io::Result<()> {
        self.genl.tell(self.family, command, payload.bytes())
    }
}

/// What the kernel says; nothing where it cannot be asked this way.
pub(crate) fn told() -> Result<Option<Told>> {
    Ok(Nfsd::open()?.map(|nfsd| read_threads(&nfsd.threads)))
}

fn read_threads(answer: &[u8]) -> Told {
    // One count for each pool.
    let threads = genl::find_all(answer, THREADS).filter_map(genl::u32_of).sum();
    Told { threads, scope: genl::find(answer, SCOPE).map(genl::text_of) }
}

/// In the child: from no threads to as many as are wanted. Whether it could be
/// done this way.
pub(crate) fn start(wanted: &Wanted) -> Result<bool> {
    let Some(mut nfsd) = Nfsd::open()? else { return Ok(false) };
    let listeners = nfsd.ask(LISTENER_GET).unwrap_or_default();
    if genl::find(&listeners, ONE).is_some() {
        // What a start that was killed has left; versions cannot be set then.
        nfsd.tell(LISTENER_SET, &Attributes::new()).context("cannot end its listeners")?;
    }
    let has = nfsd.ask(VERSION_GET).context("cannot ask for its versions")?;
    if let Some(versions) = changed(&has, &wanted.versions) {
        nfsd.tell(VERSION_SET, &versions).context("cannot set its versions")?;
    }
    let mut listeners = Attributes::new();
    for Address { transport, at } in &wanted.listeners {
        let mut one = Attributes::new();
        one.bytes_of(ADDRESS, &sockaddr(at)).text(TRANSPORT, transport);
        listeners.nest(ONE, &one);
    }
    let where_to = || {
        let shown = wanted.listeners.iter().map(ToString::to_string);
        format!("cannot listen on {}", shown.collect::<Vec<_>>().join(", "))
    };
    nfsd.tell(LISTENER_SET, &listeners).with_context(where_to)?;
    let mut server = Attributes::new();
    server.number(THREADS, wanted.threads);
    for (kind, time) in [(GRACE, wanted.grace), (LEASE, wanted.lease)] {
        if let Some(time) = time {
            server.number(kind, time);
        }
    }
    if let Some(scope) = &wanted.scope {
        server.text(SCOPE, scope);
    }
    nfsd.tell(THREADS_SET, &server)
        .with_context(|| format!("cannot have {} threads", wanted.threads))?;
    Ok(true)
}

/// In the child. Whether it could be done this way.
pub(crate) fn stop() -> Result<bool> {
    let Some(mut nfsd) = Nfsd::open()? else { return Ok(false) };
    let mut none = Attributes::new();
    none.number(THREADS, 0);
    nfsd.tell(THREADS_SET, &none).context("cannot end its threads")?;
    if genl::find(&nfsd.ask(LISTENER_GET).unwrap_or_default(), ONE).is_some() {
        nfsd.tell(LISTENER_SET, &Attributes::new()).context("cannot end its listeners")?;
    }
    Ok(true)
}

/// All versions as they are wanted; nothing where they are so already. Those
/// that are not named stay as they are.
fn changed(has: &[u8], wanted: &[(String, bool)]) -> Option<Attributes> {
    let (mut all, mut differs) = (Attributes::new(), false);
    for one in genl::find_all(has, ONE) {
        let number = |kind| genl::find(one, kind).and_then(genl::u32_of);
        let (major, minor) = (number(MAJOR)?, number(MINOR).unwrap_or(0));
        let name = if major < 4 { major.to_string() } else { format!("{major}.{minor}") };
        let is_on = genl::find(one, ENABLED).is_some();
        let on = wanted.iter().find(|(version, _)| *version == name).map_or(is_on, |(_, on)| *on);
        differs |= on != is_on;
        let mut version = Attributes::new();
        version.number(MAJOR, major).number(MINOR, minor);
        if on {
            version.bytes_of(ENABLED, &[]);
        }
        all.nest(ONE, &version);
    }
    differs.then_some(all)
}

/// A `struct sockaddr_in` or `sockaddr_in6`.
fn sockaddr(at: &SocketAddr) -> Vec<u8> {
    let port = at.port().to_be_bytes();
    match at {
        SocketAddr::V4(at) => {
            let family = (libc::AF_INET as u16).to_ne_bytes();
            [&family[..], &port, &at.ip().octets(), &[0; 8]].concat()
        }
        SocketAddr::V6(at) => {
            let family = (libc::AF_INET6 as u16).to_ne_bytes();
            let scope = at.scope_id().to_ne_bytes();
            [&family[..], &port, &[0; 4], &at.ip().octets(), &scope].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32, on: bool) -> Attributes {
        let mut version = Attributes::new();
        version.number(MAJOR, major).number(MINOR, minor);
        if on {
            version.bytes_of(ENABLED, &[]);
        }
        version
    }

    #[test]
    fn versions_that_are_as_wanted_are_not_set() {
        let mut has = Attributes::new();
        has.nest(ONE, &version(3, 0, true)).nest(ONE, &version(4, 1, true));
        let wanted = |on| [("3".to_owned(), on), ("4.2".to_owned(), true)];
        assert!(changed(has.bytes(), &wanted(true)).is_none());
        let set = changed(has.bytes(), &wanted(false)).unwrap();
        let on = |one| genl::find(one, ENABLED).is_some();
        assert_eq!(genl::find_all(set.bytes(), ONE).map(on).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn the_threads_of_all_pools_count() {
        let mut answer = Attributes::new();
        answer.text(SCOPE, "10.0.0.9").number(THREADS, 4).number(THREADS, 4);
        let told = read_threads(answer.bytes());
        assert_eq!((told.threads, told.scope.as_deref()), (8, Some("10.0.0.9")));
    }
}
