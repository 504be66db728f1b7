//! The frames that reach a neighbour: the witness for what was announced.

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{recvfrom, setsockopt, socket, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A packet socket that has heard everything since it was opened.
pub struct Capture {
    socket: OwnedFd,
    index: usize,
}

/// A frame that says where an address lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Arp {
        at: Instant,
        /// 1 is a request, 2 a reply.
        operation: u16,
        destination: String,
        sender_mac: String,
        sender_ip: Ipv4Addr,
        target_mac: String,
        target_ip: Ipv4Addr,
    },
    Advertisement {
        at: Instant,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        target: Ipv6Addr,
        hop_limit: u8,
        solicited: bool,
        overrides: bool,
        /// The target's hardware address, if the option is there.
        target_mac: Option<String>,
    },
}

impl Capture {
    pub(super) fn open(nic: &str) -> nix::Result<Self> {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )?;
        // A burst must fit while the case is busy elsewhere.
        let _ = setsockopt(&socket, sockopt::RcvBuf, &(4 << 20));
        let index = nix::net::if_::if_nametoindex(nic)? as usize;
        Ok(Self { socket, index })
    }

    /// Everything heard up to now that says where an address lives.
    pub fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = self.receive(&mut buffer) {
            let ours = from.is_some_and(|from| from.ifindex() == self.index);
            if ours && let Some(frame) = Frame::read(&buffer[..length]) {
                frames.push(frame);
            }
        }
        frames
    }

    /// Listens for `span`, and returns what was heard before and in it.
    pub fn listen(&self, span: Duration) -> Vec<Frame> {
        self.until(span, |_| false)
    }

    /// Listens until the frames heard are enough, or `span` is over.
    pub fn until(&self, span: Duration, enough: impl Fn(&[Frame]) -> bool) -> Vec<Frame> {
        let end = Instant::now() + span;
        let mut frames = self.frames();
        while !enough(&frames) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
            frames.extend(self.frames());
        }
        frames
    }

    fn receive(&self, buffer: &mut [u8]) -> nix::Result<(usize, Option<LinkAddr>)> {
        let _ = MsgFlags::empty();
        recvfrom(self.socket.as_raw_fd(), buffer)
    }
}

impl Frame {
    fn read(frame: &[u8]) -> Option<Self> {
        let at = Instant::now();
        let body = frame.get(14..)?;
        match frame[12..14] {
            [0x08, 0x06] => Self::arp(at, &frame[..6], body),
            [0x86, 0xdd] => Self::advertisement(at, body),
            _ => None,
        }
    }

    fn arp(at: Instant, destination: &[u8], body: &[u8]) -> Option<Self> {
        let body: &[u8; 28] = body.get(..28)?.try_into().ok()?;
        let ip = |from: usize| {
            Ipv4Addr::from([body[from], body[from + 1], body[from + 2], body[from + 3]])
        };
        Some(Self::Arp {
            at,
            operation: u16::from_be_bytes([body[6], body[7]]),
            destination: mac(destination),
            sender_mac: mac(&body[8..14]),
            sender_ip: ip(14),
            target_mac: mac(&body[18..24]),
            target_ip: ip(24),
        })
    }

    fn advertisement(at: Instant, packet: &[u8]) -> Option<Self> {
        const ICMP6: u8 = 58;
        const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
        let message = packet.get(40..)?;
        if packet[6] != ICMP6 || *message.first()? != NEIGHBOUR_ADVERTISEMENT {
            return None;
        }
        let ip = |bytes: &[u8]| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?));
        let option = message.get(24..32).filter(|option| option[..2] == [2, 1]);
        Some(Self::Advertisement {
            at,
            source: ip(&packet[8..24])?,
            destination: ip(&packet[24..40])?,
            target: ip(message.get(8..24)?)?,
            hop_limit: packet[7],
            solicited: message[4] & 0x40 != 0,
            overrides: message[4] & 0x20 != 0,
            target_mac: option.map(|option| mac(&option[2..])),
        })
    }

    /// When the case saw it, which is never before it was sent.
    pub fn at(&self) -> Instant {
        match self {
            Self::Arp { at, .. } | Self::Advertisement { at, .. } => *at,
        }
    }

    /// The address it speaks about.
    pub fn about(&self) -> IpAddr {
        match self {
            Self::Arp { sender_ip, .. } => (*sender_ip).into(),
            Self::Advertisement { target, .. } => (*target).into(),
        }
    }

    /// Whether it is unasked news about `ip`: a gratuitous ARP request or
    /// reply, or an unsolicited advertisement.
    pub fn announces(&self, ip: &str) -> bool {
        let ip: IpAddr = ip.parse().expect("a case names addresses");
        self.about() == ip
            && match self {
                Self::Arp { sender_ip, target_ip, .. } => sender_ip == target_ip,
                Self::Advertisement { solicited, .. } => !solicited,
            }
    }
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
