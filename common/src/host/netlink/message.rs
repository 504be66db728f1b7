//! Netlink messages: how questions are put together, and what is in answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// A request under construction.
#[derive(Clone, Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A message of this kind with its fixed header.
    pub(crate) fn new(kind: u16, flags: i32, header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        let flags = flags as u16 | libc::NLM_F_REQUEST as u16;
        bytes.extend_from_slice(&flags.to_ne_bytes());
        // A sequence number, and a port that the kernel knows better.
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(header);
        Self(bytes).padded()
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = value.len() as u16 + 4;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.padded()
    }

    /// Adds an attribute if there is a value for it.
    pub(crate) fn with_some(self, kind: u16, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.with(kind, value),
            None => self,
        }
    }

    fn padded(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// As it is sent.
    pub(super) fn finished(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// The attributes behind a message's fixed header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & libc::NLA_TYPE_MASK as u16;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A number of the kernel's, in its own byte order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A number of the kernel's, in its own byte order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A text of the kernel's, without the zero at its end.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// An address of either family.
pub(crate) fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

/// The bytes of an address, as the kernel takes them.
pub(crate) fn octets(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The kernel's number for the address's family.
pub(crate) fn family(ip: &IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let message = Message::new(1, 0, &[7; 5]).with(3, b"lo\0").with(9, &[1, 2, 3, 4]);
        let bytes = message.finished(5);
        assert_eq!(u32_at(&bytes, 0), Some(bytes.len() as u32));
        assert_eq!(u32_at(&bytes, 8), Some(5));
        let read: Vec<_> = Attributes(&bytes[24..]).collect();
        assert_eq!(read, [(3, &b"lo\0"[..]), (9, &[1, 2, 3, 4][..])]);
        assert_eq!(text(read[0].1), "lo");
    }

    #[test]
    fn an_attribute_that_is_cut_short_is_left_out() {
        let bytes = Message::new(1, 0, &[0; 4]).with(3, &[1; 8]).finished(1);
        for end in 0..bytes.len() {
            assert_eq!(Attributes(&bytes[20.min(end)..end]).count(), 0, "{end}");
        }
        assert_eq!(Attributes(&[0, 0, 1, 0]).count(), 0);
    }
}
