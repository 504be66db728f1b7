//! Tickle ACKs: segments that make the other ends of TCP connections look
//! whether these still are what they think.
//!
//! A client that waits for an answer of a server that has moved waits for its
//! own timers, a minute and more. A segment out of the window, in the server's
//! name, has it say at once where it is; the new server knows of no such
//! connection and resets it; and the client connects again. It is a file that
//! tells the new server of the connections, a line for each, in the layout
//! that heartbeat's `tickle_tcp` reads: `LOCAL:PORT`, a tab, `REMOTE:PORT`.

use super::clock::Deadline;
use super::system::{System, View};
use super::{child, file, sockets};
use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, sendto,
    socket,
};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How often each is said: one may be lost.
const TIMES: usize = 3;

/// No list of connections is larger.
const LARGEST: u64 = 16 << 20;

/// Both ends of a connection, the server's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// Whose address moves.
    pub local: SocketAddr,
    /// The client.
    pub remote: SocketAddr,
}

impl Ends {
    /// The same, as the other end sees it.
    fn turned(self) -> Self {
        Self { local: self.remote, remote: self.local }
    }

    fn line(self) -> String {
        let end = |end: SocketAddr| format!("{}:{}", end.ip(), end.port());
        format!("{}\t{}\n", end(self.local), end(self.remote))
    }

    fn read(line: &str) -> Option<Self> {
        let end = |text: &str| {
            let (ip, port) = text.rsplit_once(':')?;
            let ip: IpAddr = ip.trim_matches(['[', ']']).parse().ok()?;
            Some(SocketAddr::new(ip.to_canonical(), port.parse().ok()?))
        };
        let mut words = line.split_whitespace();
        let ends = Self { local: end(words.next()?)?, remote: end(words.next()?)? };
        (ends.local.is_ipv4() == ends.remote.is_ipv4()).then_some(ends)
    }
}

/// The connections of this address, in order.
pub fn connections(view: &View, ip: IpAddr) -> Result<Vec<Ends>> {
    let found = sockets::established(view, |local| local.ip() == ip)?;
    let mut ends: Vec<Ends> =
        found.iter().map(|of| Ends { local: of.local, remote: of.remote }).collect();
    ends.sort_unstable();
    Ok(ends)
}

/// Where the connections of an address are written down.
pub fn file_of(directory: &Path, ip: IpAddr) -> PathBuf {
    directory.join(ip.to_string())
}

/// Writes down the connections there are now, all of them or none, to last. It
/// is done by a child: the directory may be on a disk that does not answer.
pub fn save(system: &System<'_>, directory: &Path, ip: IpAddr, deadline: Deadline) -> Result<()> {
    let words = [directory.as_os_str(), OsStr::new(&ip.to_string())].map(OsStr::to_owned);
    child::run(system, "save-connections", &words, deadline).with_context(|| {
        format!("the connections of {ip} are not written to {}", directory.display())
    })
}

/// Tickles the clients that are written down; none where nothing is.
pub fn tickle(system: &System<'_>, directory: &Path, ip: IpAddr, deadline: Deadline) -> Result<()> {
    let file = file_of(directory, ip);
    child::run(system, "tickle", &[file.as_os_str()], deadline)
        .with_context(|| format!("the clients of {ip} are not tickled by {}", file.display()))
}

/// Has our own sockets of these connections say where they are, as if their
/// clients had asked: what they say can then be answered with a reset.
pub fn tickle_ourselves(system: &System<'_>, ends: &[Ends]) -> Result<()> {
    let turned: Vec<Ends> = ends.iter().map(|ends| ends.turned()).collect();
    system.note(format_args!("tickle {} sockets of ours", turned.len()));
    send(&turned, 1)
}

/// The tasks of this file, which a child does.
pub fn carry_out(task: &str, words: &[OsString]) -> Option<Result<()>> {
    Some(match task {
        "save-connections" => save_in_child(words),
        "tickle" => tickle_in_child(words),
        _ => return None,
    })
}

/// The child's part of [`save`].
fn save_in_child(words: &[OsString]) -> Result<()> {
    let [directory, ip] = child::take::<2>(words)?;
    let ip: IpAddr = ip.to_string_lossy().parse().context("no address")?;
    let view = View::below(Path::new("/"), Deadline::after(super::netlink::PATIENCE));
    let text: String = connections(&view, ip)?.into_iter().map(Ends::line).collect();
    replace(Path::new(directory), &ip.to_string(), text.as_bytes())
}

/// Puts the file in the place of an older one, so that it outlives a power cut.
fn replace(directory: &Path, name: &str, text: &[u8]) -> Result<()> {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    // Of one that was killed.
    let _ = std::fs::remove_file(&new);
    let mut draft = file::create(&new)?;
    let written = draft
        .write_all(text)
        .and_then(|()| draft.sync_all())
        .and_then(|()| std::fs::rename(&new, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written?;
    // The name as well.
    std::fs::File::open(directory)?.sync_all()?;
    Ok(())
}

/// The child's part of [`tickle`].
fn tickle_in_child(words: &[OsString]) -> Result<()> {
    let [path] = child::take::<1>(words)?;
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    ensure!(file.metadata()?.is_file(), "it is no regular file");
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text)?;
    let ends: Vec<Ends> = text.lines().filter_map(Ends::read).collect();
    send(&ends, TIMES)
}

/// Sends for each connection a segment from its first end to its second.
fn send(ends: &[Ends], times: usize) -> Result<()> {
    let mut failed = None;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let is_v4 = family == AddressFamily::Inet;
        let mut of_it = ends.iter().filter(|ends| ends.local.is_ipv4() == is_v4).peekable();
        if of_it.peek().is_none() {
            continue;
        }
        let socket = raw(family).context("cannot open a raw socket")?;
        for ends in of_it {
            let packet = packet(*ends);
            for _ in 0..times {
                let sent = match ends.remote {
                    SocketAddr::V4(to) => post(
                        &socket,
                        &packet,
                        &SockaddrIn::from(std::net::SocketAddrV4::new(*to.ip(), 0)),
                    ),
                    SocketAddr::V6(to) => {
                        let to = std::net::SocketAddrV6::new(*to.ip(), 0, 0, 0);
                        post(&socket, &packet, &SockaddrIn6::from(to))
                    }
                };
                // One client that cannot be reached keeps nobody else waiting.
                if let Err(err) = sent {
                    failed = Some(anyhow::Error::from(err).context(format!("{}", ends.remote)));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// A socket for whole packets, their headers included.
fn raw(family: AddressFamily) -> nix::Result<std::os::fd::OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(family, SockType::Raw, flags, nix::sys::socket::SockProtocol::Raw)
}

fn post(socket: &impl AsRawFd, packet: &[u8], to: &dyn SockaddrLike) -> nix::Result<()> {
    sendto(socket.as_raw_fd(), packet, to, MsgFlags::empty()).map(drop)
}

const TCP: u8 = 6;
const TTL: u8 = 255;
const SEGMENT: usize = 20;

/// A segment that acknowledges nothing in particular, in a packet.
fn packet(Ends { local, remote }: Ends) -> Vec<u8> {
    let mut segment = [0; SEGMENT];
    segment[..2].copy_from_slice(&local.port().to_be_bytes());
    segment[2..4].copy_from_slice(&remote.port().to_be_bytes());
    // Five words of header; ACK; any window.
    segment[12] = 5 << 4;
    segment[13] = 0x10;
    segment[14..16].copy_from_slice(&1234u16.to_be_bytes());
    let (header, pseudo) = match (local.ip(), remote.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ends = [from.octets(), to.octets()].concat();
            let length = (20 + SEGMENT) as u16;
            // The kernel adds the number and the sum.
            let mut header = vec![0x45, 0];
            header.extend(length.to_be_bytes());
            header.extend([0, 0, 0, 0, TTL, TCP, 0, 0]);
            header.extend(&ends);
            (header, [ends.as_slice(), &[0, TCP, 0, SEGMENT as u8]].concat())
        }
        (from, to) => {
            let ends = [v6(from).octets(), v6(to).octets()].concat();
            let mut header = vec![0x60, 0, 0, 0, 0, SEGMENT as u8, TCP, TTL];
            header.extend(&ends);
            (header, [ends.as_slice(), &[0, 0, 0, SEGMENT as u8, 0, 0, 0, TCP]].concat())
        }
    };
    let sum = checksum(&[pseudo.as_slice(), &segment].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    [header.as_slice(), &segment].concat()
}

fn v6(ip: IpAddr) -> std::net::Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// The internet's checksum over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: &str, remote: &str) -> Ends {
        Ends { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    #[test]
    fn a_line_is_what_the_shell_agents_write_and_read() {
        let v4 = ends("10.0.0.9:2049", "10.0.0.2:700");
        assert_eq!(v4.line(), "10.0.0.9:2049\t10.0.0.2:700\n");
        let v6 = ends("[fd00::9]:2049", "[fd00::2]:700");
        assert_eq!(v6.line(), "fd00::9:2049\tfd00::2:700\n");
        for of in [v4, v6] {
            assert_eq!(Ends::read(&of.line()), Some(of));
        }
        assert_eq!(Ends::read("[fd00::9]:2049 [fd00::2]:700"), Some(v6));
        assert_eq!(Ends::read("::ffff:10.0.0.9:2049\t::ffff:10.0.0.2:700"), Some(v4));
        for torn in ["", "10.0.0.9:2049", "10.0.0.9:2049\t10.0.0.2", "10.0.0.9:1\tfd00::2:1", "x y"]
        {
            assert_eq!(Ends::read(torn), None, "{torn}");
        }
    }

    #[test]
    fn a_segment_adds_up() {
        let packet = packet(ends("10.0.0.9:2049", "10.0.0.2:700"));
        assert_eq!((packet.len(), packet[0], packet[9]), (40, 0x45, TCP));
        let pseudo = [&packet[12..20], &[0, TCP, 0, 20], &packet[20..]].concat();
        assert_eq!(checksum(&pseudo), 0);
        let packet = super::packet(ends("[fd00::9]:2049", "[fd00::2]:700"));
        assert_eq!((packet.len(), packet[0], packet[6]), (60, 0x60, TCP));
        let pseudo = [&packet[8..40], &[0, 0, 0, 20, 0, 0, 0, TCP], &packet[40..]].concat();
        assert_eq!(checksum(&pseudo), 0);
        assert_eq!(packet[53], 0x10);
    }

    #[test]
    fn a_file_is_replaced_whole_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "untouched").unwrap();
        std::os::unix::fs::symlink(&secret, dir.path().join("10.0.0.9.new")).unwrap();
        std::os::unix::fs::symlink(&secret, dir.path().join("10.0.0.9")).unwrap();
        replace(dir.path(), "10.0.0.9", b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "untouched");
        assert_eq!(std::fs::read_to_string(dir.path().join("10.0.0.9")).unwrap(), "new");
        assert!(!dir.path().join("10.0.0.9.new").exists());
        std::fs::remove_file(dir.path().join("10.0.0.9")).unwrap();
        std::os::unix::fs::symlink(&secret, dir.path().join("10.0.0.9")).unwrap();
        assert!(tickle_in_child(&[dir.path().join("10.0.0.9").into()]).is_err());
        assert!(tickle_in_child(&[dir.path().join("none").into()]).is_ok());
    }
}
