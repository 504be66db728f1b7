//! Neighbour advertisements, RFC 4861.

use super::packet::{Packet, bpf};
use crate::host::link::{INFINIBAND, Link};
use std::net::Ipv6Addr;

const ICMPV6: u8 = 58;
const ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;
const TARGET_ADDRESS: u8 = 2;

/// An advertisement that nobody has asked for, to everybody.
///
/// It goes out below the kernel's IPv6, so that it needs no socket bound to an
/// address that may not be usable yet.
pub(super) fn advertisement(link: &Link, ip: Ipv6Addr, router: bool) -> Packet {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0];
    message.extend([if router { OVERRIDE | ROUTER } else { OVERRIDE }, 0, 0, 0]);
    message.extend(ip.octets());
    message.extend(option(link));
    let sum = checksum(ip, ALL_NODES, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((message.len() as u16).to_be_bytes());
    packet.extend([ICMPV6, 255]);
    packet.extend(ip.octets());
    packet.extend(ALL_NODES.octets());
    packet.extend(message);
    Packet { to: all_nodes(link), bytes: packet }
}

/// The option that carries the hardware address, in units of eight bytes.
fn option(link: &Link) -> Vec<u8> {
    let mut option = vec![TARGET_ADDRESS, 0];
    if link.kind == INFINIBAND {
        // RFC 4391 has two bytes of nothing before the address.
        option.extend([0, 0]);
    }
    option.extend(&link.address);
    option.resize(option.len().next_multiple_of(8), 0);
    option[1] = (option.len() / 8) as u8;
    option
}

/// How the hardware calls everybody who speaks IPv6.
fn all_nodes(link: &Link) -> Vec<u8> {
    if link.kind != INFINIBAND || link.broadcast.len() != 20 {
        return vec![0x33, 0x33, 0, 0, 0, 1];
    }
    // RFC 4391: the scope, the signature of IPv6, the partition, the group.
    let mut group = vec![0, 0xff, 0xff, 0xff, 0xff, 0x12, 0x60, 0x1b];
    group.extend(&link.broadcast[8..10]);
    group.extend(&ALL_NODES.octets()[6..]);
    group
}

fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let mut bytes = [source.octets(), destination.octets()].concat();
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend([0, 0, 0, ICMPV6]);
    bytes.extend(message);
    let words =
        bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Takes advertisements of the address.
pub(super) fn filter(ip: Ipv6Addr) -> Vec<libc::sock_filter> {
    let mut filter = vec![
        bpf::byte(6),
        bpf::if_equal(ICMPV6.into(), 0, 11),
        bpf::byte(40),
        bpf::if_equal(ADVERTISEMENT.into(), 0, 9),
    ];
    for (number, part) in ip.octets().chunks_exact(4).enumerate() {
        let wanted = u32::from_be_bytes([part[0], part[1], part[2], part[3]]);
        let left = 3 - number as u8;
        filter.push(bpf::word(48 + 4 * number as u32));
        filter.push(bpf::if_equal(wanted, 0, 1 + 2 * left));
    }
    filter.extend([bpf::TAKE, bpf::DROP]);
    filter
}

/// Whose hardware address the packet claims the IPv6 address for.
pub(super) fn claimant(packet: &[u8], ip: Ipv6Addr) -> Option<Vec<u8>> {
    let target: [u8; 16] = packet.get(48..64)?.try_into().ok()?;
    let is_ours =
        packet[6] == ICMPV6 && packet[40] == ADVERTISEMENT && Ipv6Addr::from(target) == ip;
    let option = packet.get(64..)?;
    match *option {
        [TARGET_ADDRESS, 1, ..] if is_ours => Some(option.get(2..8)?.to_vec()),
        [TARGET_ADDRESS, 3, ..] if is_ours => Some(option.get(4..24)?.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: u16, length: usize) -> Link {
        let (address, broadcast) = (vec![2; length], vec![0xff; length]);
        Link { kind, address, broadcast, ..Link::default() }
    }

    const IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);

    #[test]
    fn the_receiver_finds_the_sum_right_and_the_hops_untouched() {
        for link in [link(1, 6), link(INFINIBAND, 20)] {
            let packet = advertisement(&link, IP, false);
            let (header, message) = packet.bytes.split_at(40);
            assert_eq!(checksum(IP, ALL_NODES, message), 0);
            assert_eq!(header[7], 255);
            assert_eq!(usize::from(header[5]), message.len());
            assert_eq!(packet.to.len(), link.address.len());
            assert_eq!(claimant(&packet.bytes, IP), Some(link.address));
        }
    }

    #[test]
    fn a_router_stays_one_and_a_host_does_not_become_one() {
        let flags = |router| advertisement(&link(1, 6), IP, router).bytes[44];
        assert_eq!((flags(false), flags(true)), (0x20, 0xa0));
    }

    #[test]
    fn news_of_other_addresses_is_no_claim() {
        let other = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 8);
        let packet = advertisement(&link(1, 6), other, false).bytes;
        assert_eq!(claimant(&packet, IP), None);
        for end in 0..packet.len() {
            let _ = claimant(&packet[..end], other);
        }
    }
}
