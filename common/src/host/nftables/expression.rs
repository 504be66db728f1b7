//! What a rule consists of: each expression loads something of the packet,
//! compares it, or says what becomes of the packet.

use crate::host::genl::Attributes;
use crate::host::netlink::octets;
use crate::host::traffic::{End, Network, Protocol, Traffic};
use std::net::IpAddr;

/// The one register that our rules use.
const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;

pub(super) const ELEMENT: u16 = 1;
pub(super) const NAME: u16 = 1;
pub(super) const DATA: u16 = 2;

/// Of a packet's surroundings: which of IPv4 and IPv6 it is, and its protocol.
pub(super) const FAMILY_KEY: u32 = 15;
pub(super) const PROTOCOL_KEY: u32 = 16;

/// Where the bytes of a packet are counted from.
pub(super) const NETWORK_HEADER: u32 = 1;
pub(super) const TRANSPORT_HEADER: u32 = 2;

pub(super) const EQUAL: u32 = 0;
pub(super) const AT_MOST: u32 = 3;
pub(super) const AT_LEAST: u32 = 5;

pub(super) const VALUE: u16 = 1;
pub(super) const VERDICT: u16 = 2;
pub(super) const VERDICT_CODE: u16 = 1;
pub(super) const DROP: u32 = 0;
const CONTINUE: u32 = u32::MAX;

const TCP_RESET: u32 = 1;
const UNREACHABLE: u32 = 2;
const PORT_UNREACHABLE: u8 = 1;

/// Where a TCP header has its flags, those that tell what a segment is for, and
/// the one that a connection begins with.
pub(super) const TCP_FLAGS: u32 = 13;
pub(super) const TCP_FLAGS_MASK: u8 = 0x17;
pub(super) const TCP_SYN: u8 = 0x02;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the next rule says.
    Continue,
    /// Nobody hears of it again.
    Drop,
    /// Its sender hears that nobody is there: TCP by a reset, UDP by an ICMP
    /// message.
    Reject,
}

/// How much of some traffic is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// All of it.
    All,
    /// What begins a TCP connection.
    Beginnings,
}

/// The expressions of a rule.
pub(super) fn all(traffic: Option<(&Traffic, Of)>, verdict: Verdict) -> Attributes {
    let mut rule = Attributes::new();
    let mut protocol = Protocol::Udp;
    if let Some((traffic, of)) = traffic {
        protocol = traffic.protocol;
        address(&mut rule, traffic.network, traffic.end);
        meta(&mut rule, PROTOCOL_KEY);
        compare(&mut rule, EQUAL, &[protocol as u8]);
        let offset = if traffic.end == End::Source { 0 } else { 2 };
        payload(&mut rule, TRANSPORT_HEADER, offset, 2);
        let (first, last) = (traffic.ports.first.to_be_bytes(), traffic.ports.last.to_be_bytes());
        match first == last {
            true => compare(&mut rule, EQUAL, &first),
            false => {
                compare(&mut rule, AT_LEAST, &first);
                compare(&mut rule, AT_MOST, &last);
            }
        }
        if of == Of::Beginnings {
            payload(&mut rule, TRANSPORT_HEADER, TCP_FLAGS, 1);
            mask(&mut rule, &[TCP_FLAGS_MASK]);
            compare(&mut rule, EQUAL, &[TCP_SYN]);
        }
    }
    match verdict {
        Verdict::Continue => immediate(&mut rule, CONTINUE),
        Verdict::Drop => immediate(&mut rule, DROP),
        Verdict::Reject => reject(&mut rule, protocol),
    }
    rule
}

/// The network's end of the packet; all addresses of a family need none.
fn address(rule: &mut Attributes, network: Network, end: End) {
    let (family, at, length) = match network.ip {
        IpAddr::V4(_) => (libc::AF_INET, if end == End::Source { 12 } else { 16 }, 4u32),
        IpAddr::V6(_) => (libc::AF_INET6, if end == End::Source { 8 } else { 24 }, 16),
    };
    meta(rule, FAMILY_KEY);
    compare(rule, EQUAL, &[family as u8]);
    if network.prefix == 0 {
        return;
    }
    payload(rule, NETWORK_HEADER, at, length);
    if network.address().is_none() {
        let bits = u128::MAX << (128 - u32::from(network.prefix));
        mask(rule, &bits.to_be_bytes()[..length as usize]);
    }
    compare(rule, EQUAL, &octets(&network.ip));
}

fn expression(rule: &mut Attributes, name: &str, data: &Attributes) {
    let mut inside = Attributes::new();
    inside.text(NAME, name).nest(DATA, data);
    rule.nest(ELEMENT, &inside);
}

fn number(data: &mut Attributes, kind: u16, value: u32) {
    data.bytes_of(kind, &value.to_be_bytes());
}

fn value(data: &mut Attributes, kind: u16, bytes: &[u8]) {
    let mut inside = Attributes::new();
    inside.bytes_of(VALUE, bytes);
    data.nest(kind, &inside);
}

fn meta(rule: &mut Attributes, key: u32) {
    let mut data = Attributes::new();
    number(&mut data, 1, REGISTER);
    number(&mut data, 2, key);
    expression(rule, "meta", &data);
}

fn payload(rule: &mut Attributes, base: u32, offset: u32, length: u32) {
    let mut data = Attributes::new();
    for (kind, value) in [(1, REGISTER), (2, base), (3, offset), (4, length)] {
        number(&mut data, kind, value);
    }
    expression(rule, "payload", &data);
}

fn mask(rule: &mut Attributes, bits: &[u8]) {
    let mut data = Attributes::new();
    for (kind, value) in [(1, REGISTER), (2, REGISTER), (3, bits.len() as u32)] {
        number(&mut data, kind, value);
    }
    value(&mut data, 4, bits);
    value(&mut data, 5, &vec![0; bits.len()]);
    expression(rule, "bitwise", &data);
}

fn compare(rule: &mut Attributes, how: u32, with: &[u8]) {
    let mut data = Attributes::new();
    number(&mut data, 1, REGISTER);
    number(&mut data, 2, how);
    value(&mut data, 3, with);
    expression(rule, "cmp", &data);
}

fn immediate(rule: &mut Attributes, code: u32) {
    let mut verdict = Attributes::new();
    number(&mut verdict, VERDICT_CODE, code);
    let mut inside = Attributes::new();
    inside.nest(VERDICT, &verdict);
    let mut data = Attributes::new();
    number(&mut data, 1, VERDICT_REGISTER);
    data.nest(2, &inside);
    expression(rule, "immediate", &data);
}

fn reject(rule: &mut Attributes, protocol: Protocol) {
    let mut data = Attributes::new();
    match protocol {
        Protocol::Tcp => number(&mut data, 1, TCP_RESET),
        Protocol::Udp => {
            number(&mut data, 1, UNREACHABLE);
            data.bytes_of(2, &[PORT_UNREACHABLE]);
        }
    }
    expression(rule, "reject", &data);
}
