//! The families of tables.

/// Which packets a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4: where iptables has its rules.
    Ipv4 = 2,
    /// IPv6: where ip6tables has its rules.
    Ipv6 = 10,
}
