//! Telling a network where an address lives, and hearing who else claims it.

mod arp;
mod ndp;
mod packet;

pub use packet::Form;

use packet::Packet;

use super::clock::Deadline;
use super::link::{Link, shown};
use super::system::{System, View};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socket};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Somebody else who says that the address is theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The hardware address, as people write it.
    pub mac: String,
}

/// A socket on one interface that speaks, and hears, of one address.
///
/// Its close takes the kernel 8 to 16 ms, so whoever is in a hurry hands it to
/// a process that is not.
#[derive(Debug)]
pub struct Line {
    socket: OwnedFd,
    ip: IpAddr,
}

impl Line {
    /// Opens a line on the link; what is heard is kept from now on.
    pub fn open(view: &View, ip: IpAddr, link: &Link) -> Result<Self> {
        let opened = open(ip, link);
        view.note(format_args!("packet socket on {} = {opened:?}", link.name));
        let socket = opened.with_context(|| format!("cannot open a socket on {}", link.name))?;
        Ok(Self { socket, ip })
    }

    /// Goes on with a line that another process has opened.
    pub fn resume(socket: OwnedFd, ip: IpAddr) -> Self {
        Self { socket, ip }
    }

    /// The socket, for another process to go on with.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Says once in each form that the address lives here. The link is to be
    /// looked up anew each time: its hardware address may change. A bond that
    /// sends through its `members` in turn sends each form through all of
    /// them.
    pub fn announce(
        &self,
        system: &System<'_>,
        link: &Link,
        form: Form,
        members: usize,
    ) -> Result<()> {
        let packets = match self.ip {
            IpAddr::V4(ip) => arp::announcements(link, ip, form),
            IpAddr::V6(ip) => vec![ndp::advertisement(link, ip, self.forwards(system, link))],
        };
        let packets = packets.iter().flat_map(|packet| std::iter::repeat_n(packet, members.max(1)));
        for packet in packets {
            self.send(link, packet)
                .with_context(|| format!("cannot announce {} on {}", self.ip, link.name))?;
        }
        system.note(format_args!("announced {} on {}", self.ip, link.name));
        Ok(())
    }

    /// Asks, in nobody's name, who has the address. IPv4 only: IPv6 has the
    /// kernel do this.
    pub fn probe(&self, system: &System<'_>, link: &Link) -> Result<()> {
        let IpAddr::V4(ip) = self.ip else { return Ok(()) };
        let sent = self.send(link, &arp::probe(link, ip));
        system.note(format_args!("probe for {ip} on {} = {sent:?}", link.name));
        sent.with_context(|| format!("cannot ask for {ip} on {}", link.name))
    }

    /// Waits until something is heard, or the deadline has passed.
    pub fn wait(&self, deadline: Deadline) -> Result<()> {
        let limit = PollTimeout::try_from(deadline.left_ms()).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], limit) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }

    /// Somebody else who has claimed the address since the last look. While
    /// `probing`, another one's probe is a claim as well.
    pub fn rival(&self, link: &Link, probing: bool) -> Option<Rival> {
        let mut packet = [0; 256];
        while let Ok(length) = recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            let claimant = match self.ip {
                IpAddr::V4(ip) => arp::claimant(&packet[..length], link, ip, probing),
                IpAddr::V6(ip) => ndp::claimant(&packet[..length], ip),
            };
            if let Some(mac) = claimant.filter(|mac| *mac != link.address) {
                return Some(Rival { mac: shown(&mac) });
            }
        }
        None
    }

    /// Whether the host passes packets on from this link: neighbours must not
    /// be told that a router has ceased to be one.
    fn forwards(&self, view: &View, link: &Link) -> bool {
        let path = format!("/proc/sys/net/ipv6/conf/{}/forwarding", link.name);
        view.read(path).is_ok_and(|text| text.trim() != "0")
    }

    #[allow(unsafe_code)]
    fn send(&self, link: &Link, packet: &Packet) -> io::Result<()> {
        let to = address(protocol(self.ip), link.index, &packet.to);
        // SAFETY: both pointers are to live slices, given with their lengths.
        // The kernel takes more hardware address than the struct has room for.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.bytes.as_ptr().cast(),
                packet.bytes.len(),
                0,
                to.as_ptr().cast(),
                to.len() as libc::socklen_t,
            )
        };
        Ok(Errno::result(sent).map(drop)?)
    }
}

fn protocol(ip: IpAddr) -> u16 {
    let number = if ip.is_ipv4() { libc::ETH_P_ARP } else { libc::ETH_P_IPV6 };
    number as u16
}

/// A `struct sockaddr_ll` with as much hardware address as is needed.
pub(super) fn address(protocol: u16, index: u32, hardware: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend((libc::AF_PACKET as u16).to_ne_bytes());
    bytes.extend(protocol.to_be_bytes());
    bytes.extend(index.to_ne_bytes());
    bytes.extend([0, 0, 0, hardware.len() as u8]);
    bytes.extend(hardware);
    bytes.resize(bytes.len().max(size_of::<libc::sockaddr_ll>()), 0);
    bytes
}

#[allow(unsafe_code)]
fn open(ip: IpAddr, link: &Link) -> io::Result<OwnedFd> {
    // The kernel makes the hardware's header: it knows the interface's address
    // of this very moment, and the layout for every kind of link.
    let flags = SockFlag::SOCK_CLOEXEC;
    let line = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
    let filter = match ip {
        IpAddr::V4(ip) => arp::filter(link, ip),
        IpAddr::V6(ip) => ndp::filter(ip),
    };
    attach(&line, &filter)?;
    let here = address(protocol(ip), link.index, &[]);
    // SAFETY: the pointer is to a live slice of the length given.
    let bound = unsafe {
        libc::bind(line.as_raw_fd(), here.as_ptr().cast(), here.len() as libc::socklen_t)
    };
    Errno::result(bound)?;
    Ok(line)
}

/// Has the kernel keep only what the filter takes. It must be in place before
/// the socket is bound, or strange packets come in first.
#[allow(unsafe_code)]
fn attach(line: &OwnedFd, filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which outlives the call, and does
    // not write to it.
    let done = unsafe {
        libc::setsockopt(
            line.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}
