//! An initiator of ATA over Ethernet, as small as it can be: it finds targets,
//! reads and writes a sector.

#![allow(unsafe_code, reason = "a packet socket has no safe calls for its addresses")]

use super::net::Peer;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const PROTOCOL: u16 = 0x88a2;
const SECTOR: usize = 512;

/// On one interface, from the moment it is made.
pub struct Initiator {
    socket: OwnedFd,
    index: u32,
}

/// What somebody says of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub mac: String,
    pub shelf: u16,
    pub slot: u8,
    /// How many sectors it takes at once.
    pub sectors: u8,
}

struct Packet {
    mac: [u8; 6],
    body: Vec<u8>,
}

impl Peer<'_> {
    /// An initiator on the neighbour's side.
    pub fn initiator(&self) -> Initiator {
        self.inside(|| Initiator::open(self.nic())).expect("a packet socket")
    }
}

impl Initiator {
    /// On this machine's own interface.
    pub fn open(nic: &str) -> nix::Result<Self> {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        let index = nix::net::if_::if_nametoindex(nic)?;
        let here = address(index, [0; 6]);
        // SAFETY: the pointer is to a live struct of the size given.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const here).cast(), SIZE) };
        nix::errno::Errno::result(bound)?;
        Ok(Self { socket, index })
    }

    /// Asks everybody who serves what, and listens for `span`.
    pub fn discover(&self, span: Duration) -> Vec<Told> {
        self.send([0xff; 6], &header(0xffff, 0xff, 1, 1, &[0, 0, 0, 0, 0, 0x10, 0, 0]));
        self.told(span)
    }

    /// What is said of targets within `span`, asked for or not.
    pub fn told(&self, span: Duration) -> Vec<Told> {
        let end = Instant::now() + span;
        let mut told = Vec::new();
        while let Some(packet) = self.receive(end) {
            let body = &packet.body;
            if body.len() >= 18 && body[0] & 0x0c == 0x08 && body[5] == 1 {
                let mac: Vec<String> = packet.mac.iter().map(|b| format!("{b:02x}")).collect();
                told.push(Told {
                    mac: mac.join(":"),
                    shelf: u16::from_be_bytes([body[2], body[3]]),
                    slot: body[4],
                    sectors: body[14],
                });
            }
        }
        told
    }

    /// Who serves this, within a second. What was said before does not count.
    pub fn find(&self, shelf: u16, slot: u8) -> Option<Told> {
        self.told(Duration::ZERO);
        self.send([0xff; 6], &header(shelf, slot, 1, 1, &[0, 0, 0, 0, 0, 0x10, 0, 0]));
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            let told = self.told(Duration::from_millis(20));
            if let Some(one) = told.into_iter().find(|one| (one.shelf, one.slot) == (shelf, slot)) {
                return Some(one);
            }
        }
        None
    }

    /// A sector of the target, if it answers within a second.
    pub fn read(&self, shelf: u16, slot: u8, sector: u8) -> Option<Vec<u8>> {
        let command = [0, 0, 1, 0x20, sector, 0, 0, 0x40, 0, 0, 0, 0];
        let answer = self.command(shelf, slot, &command)?;
        answer.get(22..22 + SECTOR).map(<[u8]>::to_vec)
    }

    /// Writes a sector: whether the target says that it did.
    pub fn write(&self, shelf: u16, slot: u8, sector: u8, byte: u8) -> bool {
        let mut command = vec![1, 0, 1, 0x30, sector, 0, 0, 0x40, 0, 0, 0, 0];
        command.extend([byte; SECTOR]);
        // Without the bits of an error and of a busy drive.
        self.command(shelf, slot, &command).is_some_and(|answer| answer[13] & 0x81 == 0)
    }

    fn command(&self, shelf: u16, slot: u8, command: &[u8]) -> Option<Vec<u8>> {
        let tag = 0x7000 + u32::from(command[4]);
        self.send([0xff; 6], &header(shelf, slot, 0, tag, command));
        let end = Instant::now() + Duration::from_secs(1);
        while let Some(packet) = self.receive(end) {
            let is_it = packet.body.len() > 21
                && packet.body[0] & 0x0c == 0x08
                && packet.body[5] == 0
                && packet.body[6..10] == tag.to_be_bytes();
            if is_it {
                return Some(packet.body);
            }
        }
        None
    }

    fn send(&self, mac: [u8; 6], body: &[u8]) {
        let to = address(self.index, mac);
        // SAFETY: both pointers are to live data of the sizes given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                body.as_ptr().cast(),
                body.len(),
                0,
                (&raw const to).cast(),
                SIZE,
            )
        };
        assert_eq!(sent, body.len().cast_signed(), "{}", std::io::Error::last_os_error());
    }

    fn receive(&self, end: Instant) -> Option<Packet> {
        loop {
            let mut body = vec![0; 2048];
            // SAFETY: all-zero is a valid value of this plain struct, and both
            // buffers are given with their sizes.
            let (length, from) = unsafe {
                let mut from: libc::sockaddr_ll = std::mem::zeroed();
                let mut size = SIZE;
                let length = libc::recvfrom(
                    self.socket.as_raw_fd(),
                    body.as_mut_ptr().cast(),
                    body.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut size,
                );
                (length, from)
            };
            if let Ok(length) = usize::try_from(length) {
                // On its way to another host, past an interface that hears all.
                if from.sll_pkttype == libc::PACKET_OTHERHOST {
                    continue;
                }
                body.truncate(length);
                let mut mac = [0; 6];
                mac.copy_from_slice(&from.sll_addr[..6]);
                return Some(Packet { mac, body });
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

const SIZE: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn address(index: u32, mac: [u8; 6]) -> libc::sockaddr_ll {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = PROTOCOL.to_be();
    address.sll_ifindex = index.cast_signed();
    address.sll_halen = 6;
    address.sll_addr[..6].copy_from_slice(&mac);
    address
}

fn header(shelf: u16, slot: u8, command: u8, tag: u32, more: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x10, 0];
    packet.extend(shelf.to_be_bytes());
    packet.extend([slot, command]);
    packet.extend(tag.to_be_bytes());
    packet.extend(more);
    packet.resize(packet.len().max(46), 0);
    packet
}
