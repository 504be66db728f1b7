//! What is sent and heard, whatever the protocol.

/// In which form an IPv4 address is announced. Some switches and hosts learn
/// from one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a question for the address itself.
    Request,
    /// As an answer that nobody has asked for.
    Reply,
    /// As the one, then the other.
    Both,
}

/// What is sent: to whom, as the hardware knows them, and the packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) to: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

/// The instructions that filters are made of.
pub(super) mod bpf {
    use libc::sock_filter;

    /// Keep the whole packet, or none of it.
    pub(in super::super) const TAKE: sock_filter = ret(u32::MAX);
    pub(in super::super) const DROP: sock_filter = ret(0);

    const fn ret(count: u32) -> sock_filter {
        sock_filter { code: 0x06, jt: 0, jf: 0, k: count }
    }

    /// Load four bytes of the packet.
    pub(in super::super) const fn word(at: u32) -> sock_filter {
        sock_filter { code: 0x20, jt: 0, jf: 0, k: at }
    }

    /// Load one byte of the packet.
    pub(in super::super) const fn byte(at: u32) -> sock_filter {
        sock_filter { code: 0x30, jt: 0, jf: 0, k: at }
    }

    /// Compare, then skip this many instructions if it is that, or is not.
    pub(in super::super) const fn if_equal(value: u32, skip: u8, otherwise: u8) -> sock_filter {
        sock_filter { code: 0x15, jt: skip, jf: otherwise, k: value }
    }
}
