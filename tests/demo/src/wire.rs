//! What the client sees of an address's announcements: gratuitous ARP in both
//! forms, and unsolicited neighbour advertisements.

use super::words::Frame;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use nix::time::ClockId;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc::Sender;
use std::time::Duration;
use story::timeline::now;

/// Sends every announcement of one of `addresses` that arrives on any
/// interface, until nobody receives any more.
pub fn listen(addresses: Vec<IpAddr>, to: &Sender<Frame>) -> Result<()> {
    for (protocol, wanted) in [
        (libc::ETH_P_ARP, addresses.iter().any(IpAddr::is_ipv4)),
        (libc::ETH_P_IPV6, addresses.iter().any(IpAddr::is_ipv6)),
    ] {
        if wanted {
            let socket = frames_of(protocol as u16)?;
            let (addresses, to) = (addresses.clone(), to.clone());
            std::thread::spawn(move || receive(&socket, &addresses, &to));
        }
    }
    Ok(())
}

fn receive(socket: &OwnedFd, addresses: &[IpAddr], to: &Sender<Frame>) {
    let mut bytes = [0; 1600];
    while let Ok((length, at)) = receive_one(socket, &mut bytes) {
        let announced = announcement(&bytes[..length]).filter(|(at, ..)| addresses.contains(at));
        if let Some((address, mac, form)) = announced {
            let frame = Frame { at, address, mac, form: form.into() };
            if to.send(frame).is_err() {
                return;
            }
        }
    }
}

/// A frame's length and when the kernel received it: on a busy machine this
/// process may come to it much later.
fn receive_one(socket: &OwnedFd, bytes: &mut [u8]) -> nix::Result<(usize, Duration)> {
    let mut parts = [IoSliceMut::new(bytes)];
    let mut space = nix::cmsg_space!(TimeSpec);
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let stamp = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    let ago = stamp.map_or(Duration::ZERO, |stamp| {
        let clock = ClockId::CLOCK_REALTIME.now().map(Duration::from);
        clock.unwrap_or(stamp).saturating_sub(stamp)
    });
    Ok((message.bytes, now().saturating_sub(ago)))
}

/// A socket that receives the frames of one Ethernet protocol.
fn frames_of(protocol: u16) -> Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no pointer.
    #[allow(unsafe_code)]
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol.to_be())) };
    let fd = Errno::result(fd).context("cannot open a packet socket")?;
    // SAFETY: the kernel has just handed out this descriptor, to nobody else.
    #[allow(unsafe_code)]
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    setsockopt(&socket, ReceiveTimestampns, &true).context("cannot have frames time-stamped")?;
    Ok(socket)
}

/// The address that a frame announces, where, and in which form.
fn announcement(frame: &[u8]) -> Option<(IpAddr, [u8; 6], &'static str)> {
    let (head, body) = frame.split_at_checked(14)?;
    match [head[12], head[13]] {
        [0x08, 0x06] => gratuitous_arp(body),
        [0x86, 0xdd] => advertisement(head, body),
        _ => None,
    }
}

/// ARP over Ethernet and IPv4 whose sender and target address are the same.
fn gratuitous_arp(body: &[u8]) -> Option<(IpAddr, [u8; 6], &'static str)> {
    let body = body.get(..28)?;
    let form = match body[..8] {
        [0, 1, 8, 0, 6, 4, 0, 1] => "request",
        [0, 1, 8, 0, 6, 4, 0, 2] => "reply",
        _ => return None,
    };
    let [sender, target] = [&body[14..18], &body[24..28]];
    let octets: [u8; 4] = sender.try_into().ok()?;
    (sender == target).then_some((
        Ipv4Addr::from(octets).into(),
        body[8..14].try_into().ok()?,
        form,
    ))
}

/// An ICMPv6 neighbour advertisement that nobody asked for.
fn advertisement(head: &[u8], body: &[u8]) -> Option<(IpAddr, [u8; 6], &'static str)> {
    const ICMPV6: u8 = 58;
    const ADVERTISEMENT: u8 = 136;
    const SOLICITED: u8 = 0x40;
    let icmp = body.get(40..64)?;
    let unsolicited = icmp[4] & SOLICITED == 0;
    let octets: [u8; 16] = icmp[8..24].try_into().ok()?;
    (body[6] == ICMPV6 && icmp[0] == ADVERTISEMENT && unsolicited).then_some((
        Ipv6Addr::from(octets).into(),
        head[6..12].try_into().ok()?,
        "advertisement",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = [[0xff; 6], MAC].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend([&MAC[..], &sender, &[0; 6], &target].concat());
        frame
    }

    #[test]
    fn both_forms_of_gratuitous_arp_are_told_apart() {
        let vip = [10, 10, 0, 10];
        let address = IpAddr::from(vip);
        assert_eq!(announcement(&arp(1, vip, vip)), Some((address, MAC, "request")));
        assert_eq!(announcement(&arp(2, vip, vip)), Some((address, MAC, "reply")));
        assert_eq!(announcement(&arp(1, vip, [10, 10, 0, 1])), None, "a plain question");
        assert_eq!(announcement(&arp(1, vip, vip)[..30]), None, "cut off");
    }

    #[test]
    fn an_unsolicited_advertisement_is_seen_and_an_answer_is_not() {
        let vip: Ipv6Addr = "fd00::10".parse().unwrap();
        let mut frame = [[0xff; 6], MAC].concat();
        frame.extend([0x86, 0xdd]);
        let mut packet = [0; 64];
        packet[6] = 58;
        packet[40] = 136;
        packet[44] = 0x20;
        packet[48..64].copy_from_slice(&vip.octets());
        frame.extend(packet);
        assert_eq!(announcement(&frame), Some((vip.into(), MAC, "advertisement")));
        frame[14 + 44] |= 0x40;
        assert_eq!(announcement(&frame), None);
    }
}
