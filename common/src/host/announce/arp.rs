//! ARP, RFC 826 and RFC 5227.

use super::packet::{Form, Packet, bpf};
use crate::host::link::Link;
use std::net::Ipv4Addr;

const IPV4: u16 = 0x0800;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// One frame for each form, to everybody.
pub(super) fn announcements(link: &Link, ip: Ipv4Addr, form: Form) -> Vec<Packet> {
    let request = || packet(link, REQUEST, ip, &link.broadcast, ip);
    let reply = || packet(link, REPLY, ip, &link.address, ip);
    let packets = match form {
        Form::Request => vec![request()],
        Form::Reply => vec![reply()],
        Form::Both => vec![request(), reply()],
    };
    packets.into_iter().map(|bytes| Packet { to: link.broadcast.clone(), bytes }).collect()
}

/// A question that does not say who asks, and so changes nobody's memory.
pub(super) fn probe(link: &Link, ip: Ipv4Addr) -> Packet {
    let nobody = vec![0; link.address.len()];
    let bytes = packet(link, REQUEST, Ipv4Addr::UNSPECIFIED, &nobody, ip);
    Packet { to: link.broadcast.clone(), bytes }
}

fn packet(
    link: &Link,
    operation: u16,
    sender: Ipv4Addr,
    target: &[u8],
    target_ip: Ipv4Addr,
) -> Vec<u8> {
    let mut packet = Vec::with_capacity(64);
    packet.extend(link.kind.to_be_bytes());
    packet.extend(IPV4.to_be_bytes());
    packet.extend([link.address.len() as u8, 4]);
    packet.extend(operation.to_be_bytes());
    packet.extend(&link.address);
    packet.extend(sender.octets());
    packet.extend(target);
    packet.extend(target_ip.octets());
    packet
}

/// Takes what names the address as its sender's or as its target.
pub(super) fn filter(link: &Link, ip: Ipv4Addr) -> Vec<libc::sock_filter> {
    let hardware = link.address.len() as u32;
    let ip = u32::from(ip);
    vec![
        bpf::word(8 + hardware),
        bpf::if_equal(ip, 2, 0),
        bpf::word(12 + 2 * hardware),
        bpf::if_equal(ip, 0, 1),
        bpf::TAKE,
        bpf::DROP,
    ]
}

/// Whose hardware address the packet claims the IP address for. Who asks for
/// it in nobody's name is about to take it.
pub(super) fn claimant(packet: &[u8], link: &Link, ip: Ipv4Addr, probing: bool) -> Option<Vec<u8>> {
    let hardware = link.address.len();
    let ip_at = |at: usize| {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let (sender, target) = (ip_at(8 + hardware)?, ip_at(12 + 2 * hardware)?);
    let is_probe = probing && sender.is_unspecified() && target == ip;
    (sender == ip || is_probe).then(|| packet[8..8 + hardware].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet() -> Link {
        let (address, broadcast) = (vec![2, 0, 0, 0, 0, 1], vec![0xff; 6]);
        Link { kind: 1, address, broadcast, ..Link::default() }
    }

    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[test]
    fn an_announcement_says_the_same_of_sender_and_target() {
        let packets = announcements(&ethernet(), IP, Form::Both);
        assert_eq!(packets.len(), 2);
        for (packet, operation) in packets.iter().zip([1, 2]) {
            assert_eq!(packet.to, [0xff; 6]);
            assert_eq!(packet.bytes[..8], [0, 1, 8, 0, 6, 4, 0, operation]);
            assert_eq!(packet.bytes[8..14], [2, 0, 0, 0, 0, 1]);
            assert_eq!(
                (&packet.bytes[14..18], &packet.bytes[24..]),
                (&IP.octets()[..], &IP.octets()[..])
            );
        }
    }

    #[test]
    fn infiniband_has_longer_addresses() {
        let (address, broadcast) = (vec![1; 20], vec![3; 20]);
        let link = Link { kind: 32, address, broadcast, ..Link::default() };
        let packet = &announcements(&link, IP, Form::Request)[0];
        assert_eq!((packet.to.len(), packet.bytes.len()), (20, 8 + 2 * 24));
        assert_eq!(packet.bytes[..6], [0, 32, 8, 0, 20, 4]);
    }

    #[test]
    fn who_answers_and_who_probes_is_a_rival() {
        let mut rival = ethernet();
        rival.address[5] = 7;
        let claim = |packet: &[u8], probing| claimant(packet, &ethernet(), IP, probing);
        let answer = announcements(&rival, IP, Form::Reply).remove(0).bytes;
        assert_eq!(claim(&answer, false), Some(rival.address.clone()));
        let question = probe(&rival, IP).bytes;
        assert_eq!(claim(&question, false), None);
        assert_eq!(claim(&question, true), Some(rival.address.clone()));
        assert_eq!(claim(&question[..20], true), None);
    }

    #[test]
    fn a_question_by_somebody_with_an_address_is_no_claim() {
        let mut other = ethernet();
        other.address[5] = 8;
        let asks = packet(&other, REQUEST, Ipv4Addr::new(10, 0, 0, 1), &[0; 6], IP);
        assert_eq!(claimant(&asks, &ethernet(), IP, true), None);
    }
}
