//! The kernel's TCP sockets of this network namespace, by sock_diag: connections
//! listed whole and ended one by one, and those that are listened on.

use super::absence::Whole;
use super::clock::Deadline;
use super::netlink::{self, Message, Netlink};
use super::system::{System, View};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;

const ESTABLISHED: u32 = 1;
const FIN_WAIT: u32 = 4;
const CLOSE_WAIT: u32 = 8;
const LISTEN: u32 = 10;

/// A `struct inet_diag_sockid`: two ports, two addresses, an interface and a
/// cookie; and where it begins in a question and in an answer.
const ID: usize = 48;
const IN_QUESTION: usize = 8;
const IN_ANSWER: usize = 4;

/// A connection, from this machine's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    family: u8,
    id: [u8; ID],
}

impl Connection {
    /// Reads a `struct inet_diag_msg`.
    fn read(body: &[u8]) -> Option<Self> {
        let family = *body.first()?;
        let id: [u8; ID] = body.get(IN_ANSWER..IN_ANSWER + ID)?.try_into().ok()?;
        let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
        let address = |at: usize| match i32::from(family) {
            libc::AF_INET => netlink::ip(&id[at..at + 4]),
            // IPv4 on a socket that takes both.
            _ => netlink::ip(&id[at..at + 16]).map(|ip| ip.to_canonical()),
        };
        Some(Self {
            local: SocketAddr::new(address(4)?, port(0)),
            remote: SocketAddr::new(address(20)?, port(2)),
            family,
            id,
        })
    }
}

/// A socket that is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// The number that no other socket is given. A server's sockets live exactly
    /// as long as the server, so it tells one server from the next.
    pub cookie: u64,
    /// The number that /proc/PID/fd shows of it.
    pub inode: u32,
}

impl Listener {
    /// Reads a `struct inet_diag_msg`.
    fn read(body: &[u8]) -> Option<Self> {
        const COOKIE: usize = IN_ANSWER + 40;
        const INODE: usize = 68;
        let port = u16::from_be_bytes(body.get(4..6)?.try_into().ok()?);
        let ip = match i32::from(*body.first()?) {
            libc::AF_INET => netlink::ip(body.get(8..12)?),
            libc::AF_INET6 => netlink::ip(body.get(8..24)?),
            _ => None,
        };
        let half = |at| netlink::u32_at(body, at).map(u64::from);
        Some(Self {
            address: SocketAddr::new(ip?, port),
            cookie: half(COOKIE)? | half(COOKIE + 4)? << 32,
            inode: netlink::u32_at(body, INODE)?,
        })
    }
}

fn line(view: &View) -> std::io::Result<Netlink> {
    Netlink::to(SockProtocol::NetlinkSockDiag, view.deadline().at_least(netlink::PATIENCE))
}

/// A `struct inet_diag_req_v2` about TCP in these states.
fn question(kind: u16, flags: i32, family: u8, states: u32, id: &[u8; ID]) -> Message {
    let mut body = [0; IN_QUESTION + ID];
    body[0] = family;
    body[1] = libc::IPPROTO_TCP as u8;
    body[4..IN_QUESTION].copy_from_slice(&states.to_ne_bytes());
    body[IN_QUESTION..].copy_from_slice(id);
    Message::new(kind, flags, &body)
}

/// The TCP connections whose own end is meant: those on which something may
/// still go to and fro.
pub fn connections(
    view: &View,
    is_meant: impl Fn(&SocketAddr) -> bool,
) -> Result<Whole<Connection>> {
    const STATES: u32 = 1 << ESTABLISHED | 1 << FIN_WAIT | 1 << CLOSE_WAIT;
    listed(view, STATES, is_meant)
}

/// Those that are established on both ends.
pub fn established(
    view: &View,
    is_meant: impl Fn(&SocketAddr) -> bool,
) -> Result<Whole<Connection>> {
    listed(view, 1 << ESTABLISHED, is_meant)
}

fn listed(
    view: &View,
    states: u32,
    is_meant: impl Fn(&SocketAddr) -> bool,
) -> Result<Whole<Connection>> {
    let of_it = |body: &[u8]| Connection::read(body).filter(|of| is_meant(&of.local));
    let found = line(view)
        .and_then(|line| all(&line, states, of_it))
        .context("cannot list the TCP connections")?;
    view.note(format_args!("{} connections", found.len()));
    Ok(Whole::told("connections", found))
}

/// How long the kernel is given to list the sockets that are listened on: it answers
/// at once, whatever holds a server of its own up.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The TCP sockets that are listened on.
pub fn listeners() -> Result<Vec<Listener>> {
    Netlink::to(SockProtocol::NetlinkSockDiag, Deadline::after(AT_ONCE))
        .and_then(|line| all(&line, 1 << LISTEN, Listener::read))
        .context("cannot list the TCP sockets")
}

/// Whether a TCP socket with this cookie is listened on.
pub fn is_listening(cookie: u64) -> Result<bool> {
    let look = || -> std::io::Result<bool> {
        let line = Netlink::to(SockProtocol::NetlinkSockDiag, Deadline::after(AT_ONCE))?;
        for family in FAMILIES {
            let is_there = line.insist(of_family(family, 1 << LISTEN), |found: &mut bool, body| {
                *found = Listener::read(body).is_some_and(|one| one.cookie == cookie);
                if *found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if of_known(family, is_there)?.unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    look().context("cannot list the TCP sockets")
}

const FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];

/// What the kernel tells of TCP sockets in these states, of both families.
fn all<T>(
    line: &Netlink,
    states: u32,
    read: impl Fn(&[u8]) -> Option<T>,
) -> std::io::Result<Vec<T>> {
    let mut found = Vec::new();
    for family in FAMILIES {
        let some = line.list(of_family(family, states), &read);
        found.extend(of_known(family, some)?.into_iter().flatten());
    }
    Ok(found)
}

fn of_family(family: i32, states: u32) -> impl Fn() -> Message {
    move || question(BY_FAMILY, libc::NLM_F_DUMP, family as u8, states, &[0; ID])
}

/// What was told of the sockets of a family; nothing where the kernel has no IPv6,
/// and no such sockets.
fn of_known<T>(family: i32, told: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match told {
        Err(err) if family == libc::AF_INET6 && is_foreign(&err) => Ok(None),
        told => told.map(Some),
    }
}

fn is_foreign(err: &std::io::Error) -> bool {
    let foreign = [Errno::ENOENT, Errno::EAFNOSUPPORT, Errno::EINVAL];
    netlink::errno(err).is_some_and(|errno| foreign.contains(&errno))
        && !std::fs::exists("/proc/net/if_inet6").unwrap_or(true)
}

/// What became of a connection that was to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has ended, now or by itself.
    Gone,
    /// This kernel ends none.
    Cannot,
}

/// Ends a connection on this side. The kernel tells the other side by a reset,
/// if that gets through.
pub fn end(system: &System<'_>, connection: &Connection) -> Result<Ended> {
    let order = question(DESTROY, libc::NLM_F_ACK, connection.family, u32::MAX, &connection.id);
    let done = line(system).and_then(|line| line.tell(order));
    let Connection { local, remote, .. } = connection;
    system.note(format_args!("end connection {local} {remote} = {done:?}"));
    match done {
        Ok(()) => Ok(Ended::Gone),
        Err(err) => match netlink::errno(&err) {
            Some(Errno::ENOENT | Errno::ESTALE) => Ok(Ended::Gone),
            Some(Errno::EOPNOTSUPP | Errno::EINVAL) => Ok(Ended::Cannot),
            _ => Err(err).with_context(|| format!("cannot end the connection {local} {remote}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::soon;
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;

    #[test]
    fn a_connection_is_listed_by_both_of_its_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let client = TcpStream::connect(place).unwrap();
        let _server = listener.accept().unwrap();
        let view = View::below(Path::new("/"), Deadline::after(Duration::from_secs(5)));
        let found = established(&view, |local| *local == place).unwrap();
        let remotes: Vec<_> = found.iter().map(|of| of.remote).collect();
        assert_eq!(remotes, [client.local_addr().unwrap()]);
        drop(client);
        assert!(soon(|| {
            let found = established(&view, |local| *local == place).unwrap();
            found.is_empty() && found.lacks(|_| true).is_some()
        }));
    }

    #[test]
    fn a_socket_is_found_and_its_successor_is_another() {
        let made = |port| TcpListener::bind(("127.0.0.1", port)).unwrap();
        let cookie = |address| {
            let all = listeners().unwrap();
            all.into_iter().find(|one| one.address == address).map(|one| one.cookie)
        };
        let first = made(0);
        let address = first.local_addr().unwrap();
        let one = cookie(address).unwrap();
        assert_eq!(cookie(address), Some(one));
        assert!(is_listening(one).unwrap());
        drop(first);
        assert!(soon(|| cookie(address).is_none()));
        assert!(!is_listening(one).unwrap());
        let _second = made(address.port());
        assert!(cookie(address).is_some_and(|other| other != one));
    }
}
