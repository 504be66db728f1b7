//! Listening TCP sockets, as the kernel lists them for each network namespace.
//!
//! The server's own tell it apart: a socket's cookie is given to no other, and
//! the server's sockets live exactly as long as the server. The kernel answers
//! this question at once, whatever holds the server up.

use crate::host::clock::Deadline;
use crate::host::netlink::{self, Message, Netlink};
use anyhow::{Context, Result};
use nix::sys::socket::SockProtocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// `SOCK_DIAG_BY_FAMILY`, and the one state that is asked for.
const BY_FAMILY: u16 = 20;
const LISTENING: u32 = 1 << 10;

/// A socket that is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// The number that no other socket is given.
    pub cookie: u64,
    /// The number that /proc/PID/fd shows of it.
    pub inode: u32,
}

/// All of this network namespace.
pub fn all() -> Result<Vec<Listener>> {
    let line = Netlink::to(SockProtocol::NetlinkSockDiag, Deadline::after(Duration::from_secs(2)))
        .context("cannot ask for sockets")?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        found.extend(line.list(|| question(family as u8), read).context("cannot list sockets")?);
    }
    Ok(found)
}

/// A `struct inet_diag_req_v2` for TCP.
fn question(family: u8) -> Message {
    let mut request = [0; 56];
    request[0] = family;
    request[1] = libc::IPPROTO_TCP as u8;
    request[4..8].copy_from_slice(&LISTENING.to_ne_bytes());
    Message::new(BY_FAMILY, libc::NLM_F_DUMP, &request)
}

/// A `struct inet_diag_msg`: four bytes, ports and addresses in the network's
/// order, an interface, a cookie in two halves, and some counts.
fn read(body: &[u8]) -> Option<Listener> {
    let port = u16::from_be_bytes(body.get(4..6)?.try_into().ok()?);
    let ip: IpAddr = match i32::from(*body.first()?) {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(body.get(8..12)?).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(body.get(8..24)?).ok()?).into(),
        _ => return None,
    };
    let half = |at| netlink::u32_at(body, at).map(u64::from);
    Some(Listener {
        address: SocketAddr::new(ip, port),
        cookie: half(44)? | half(48)? << 32,
        inode: netlink::u32_at(body, 68)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_socket_is_found_and_its_successor_is_another() {
        let made = |port| TcpListener::bind(("127.0.0.1", port)).unwrap();
        let cookie = |address| {
            let all = all().unwrap();
            all.into_iter().find(|one| one.address == address).map(|one| one.cookie)
        };
        let first = made(0);
        let address = first.local_addr().unwrap();
        let one = cookie(address).unwrap();
        assert_eq!(cookie(address), Some(one));
        drop(first);
        assert_eq!(cookie(address), None);
        let _second = made(address.port());
        assert!(cookie(address).is_some_and(|other| other != one));
    }
}
