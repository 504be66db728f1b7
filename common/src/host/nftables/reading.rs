//! What a rule says, read from its expressions: our own, those that `nft` has
//! written, and those of iptables, which speaks to nf_tables in words of its own.

use super::expression::{
    AT_LEAST, AT_MOST, DATA, DROP, EQUAL, FAMILY_KEY, NAME, NETWORK_HEADER, Of, PROTOCOL_KEY,
    TCP_FLAGS, TCP_FLAGS_MASK, TCP_SYN, TRANSPORT_HEADER, VALUE, VERDICT, VERDICT_CODE, Verdict,
};
use super::family::Family;
use crate::host::netlink::{Attributes, ip, text, u16_at, u32_at};
use crate::host::traffic::{End, Network, Ports, Protocol, Traffic};

/// What a rule says, as far as it is understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sense {
    /// `AF_*`, where the rule names one.
    family: Option<u8>,
    /// The protocol, where it names one.
    pub protocol: Option<Protocol>,
    /// Addresses of one end, where it names some.
    pub network: Option<(End, Network)>,
    /// Ports of one end, where it names some.
    pub ports: Option<(End, Vec<Ports>)>,
    /// Whether it speaks of the beginnings of connections only.
    beginnings: bool,
    /// Whether it speaks of some states of a connection only.
    pub states: bool,
    /// What becomes of what it speaks of.
    pub verdict: Option<Verdict>,
    /// Whether it says more than was understood.
    pub is_strange: bool,
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loaded {
    Nothing,
    Family,
    Protocol,
    Network { at: u32, length: u32 },
    Port(End),
    TcpFlags,
    States,
    Strange,
}

impl Sense {
    /// Whether it speaks of the protocol's beginnings or of all.
    pub fn of(&self) -> Of {
        if self.beginnings { Of::Beginnings } else { Of::All }
    }

    /// The network that it speaks of, where it may name none of a family.
    pub fn network_or_all(&self, end: End) -> Option<Network> {
        match (self.network, self.family.map(i32::from)) {
            (Some((named, network)), _) if named == end => Some(network),
            (None, Some(libc::AF_INET)) => "0.0.0.0/0".parse().ok(),
            (None, Some(libc::AF_INET6)) => "::/0".parse().ok(),
            _ => None,
        }
    }

    /// With the family that its table is of, where it names none.
    pub fn within(mut self, family: Family) -> Self {
        let of_table = Some(family as u8).filter(|_| family != Family::Inet);
        self.family = self.family.or(of_table);
        self
    }

    /// All the traffic of one list of ports that it speaks of, where it does.
    pub(crate) fn traffic(&self) -> Option<Traffic> {
        let (end, ports) = self.ports.as_ref()?;
        let [ports] = ports[..] else { return None };
        let network = self.network_or_all(*end)?;
        Some(Traffic { protocol: self.protocol?, end: *end, network, ports })
    }

    /// Whether it speaks of everything.
    pub(crate) fn is_of_all(&self) -> bool {
        let names_none = self.protocol.is_none() && self.network.is_none() && self.ports.is_none();
        names_none && !self.states && !self.beginnings && !self.is_strange
    }

    /// It is of a table for this family.
    pub(crate) fn in_family(&mut self, family: u8) {
        self.family = Some(family);
    }

    pub(super) fn read(expressions: &[u8]) -> Self {
        let mut reader =
            Reader { sense: Self::default(), loaded: [Loaded::Nothing; 24], mask: None };
        for (_, expression) in Attributes(expressions) {
            if reader.take(expression).is_none() {
                reader.sense.is_strange = true;
            }
        }
        reader.sense
    }
}

impl Sense {
    /// Takes in a match of iptables', in the kernel's own layout; nothing if it is
    /// not understood.
    pub(crate) fn matched(&mut self, name: &str, revision: u32, info: &[u8]) -> Option<()> {
        match (name, revision) {
            ("multiport", 1) => self.ports = Some(multiport(info)?),
            ("conntrack", _) => self.states = true,
            ("tcp" | "udp", _) if info.get(..8)? != ALL_PORTS => return None,
            // Says again what the protocol is.
            ("udp", _) => (*info.get(8)? == 0).then_some(())?,
            // An option of TCP's, flags that count, those of them that are set, and
            // what is inverted.
            ("tcp", _) => match *info.get(8..12)? {
                [0, 0, 0, 0] => {}
                [0, TCP_FLAGS_MASK, TCP_SYN, 0] => self.beginnings = true,
                _ => return None,
            },
            _ => return None,
        }
        Some(())
    }
}

/// Of iptables' match for a protocol: from which port to which, for both ends.
const ALL_PORTS: [u8; 8] = [0, 0, 255, 255, 0, 0, 255, 255];

struct Reader {
    sense: Sense,
    loaded: [Loaded; 24],
    /// Of what is loaded last, if only some bits are.
    mask: Option<Vec<u8>>,
}

/// A number of nf_tables', which is in network order.
fn number(data: &[u8], wanted: u16) -> Option<u32> {
    find(data, wanted).and_then(|value| u32_at(value, 0)).map(u32::from_be)
}

fn find(data: &[u8], wanted: u16) -> Option<&[u8]> {
    Attributes(data).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// The kernel numbers the large registers from 1, and their quarters from 8.
fn slot(register: u32) -> Option<usize> {
    let quarters = if register < 8 { register.checked_mul(4)? } else { register - 4 };
    usize::try_from(quarters).ok().filter(|slot| *slot < 24)
}

impl Reader {
    /// Takes in one expression; nothing if it is not understood.
    fn take(&mut self, expression: &[u8]) -> Option<()> {
        let kind = text(find(expression, NAME)?);
        let data = find(expression, DATA).unwrap_or_default();
        match kind.as_str() {
            "meta" => self.load(
                data,
                1,
                match number(data, 2)? {
                    FAMILY_KEY => Loaded::Family,
                    PROTOCOL_KEY => Loaded::Protocol,
                    _ => Loaded::Strange,
                },
            ),
            "payload" => {
                let (at, length) = (number(data, 3)?, number(data, 4)?);
                self.load(
                    data,
                    1,
                    match (number(data, 2)?, at, length) {
                        (NETWORK_HEADER, 9, 1) => Loaded::Protocol,
                        (NETWORK_HEADER, ..) => Loaded::Network { at, length },
                        (TRANSPORT_HEADER, 0, 2) => Loaded::Port(End::Source),
                        (TRANSPORT_HEADER, 2, 2) => Loaded::Port(End::Destination),
                        (TRANSPORT_HEADER, TCP_FLAGS, 1) => Loaded::TcpFlags,
                        _ => Loaded::Strange,
                    },
                )
            }
            "ct" => self.load(
                data,
                1,
                match number(data, 2)? {
                    0 => Loaded::States,
                    _ => Loaded::Strange,
                },
            ),
            "bitwise" => {
                let loaded = self.loaded[slot(number(data, 1)?)?];
                self.load(data, 2, loaded)?;
                self.mask = Some(find(find(data, 4)?, VALUE)?.to_vec());
                Some(())
            }
            "cmp" => {
                let loaded = self.loaded[slot(number(data, 1)?)?];
                self.compare(loaded, number(data, 2)?, find(find(data, 3)?, VALUE)?)
            }
            // A set that the rule does not show. Of states there are only some.
            "lookup" => match self.loaded[slot(number(data, 2)?)?] {
                Loaded::States => {
                    self.sense.states = true;
                    Some(())
                }
                _ => None,
            },
            "immediate" => {
                self.verdict(match number(find(find(data, 2)?, VERDICT)?, VERDICT_CODE)? {
                    DROP => Verdict::Drop,
                    u32::MAX => Verdict::Continue,
                    _ => return None,
                })
            }
            "reject" => self.verdict(Verdict::Reject),
            "counter" => Some(()),
            "match" => self.sense.matched(&text(find(data, 1)?), number(data, 2)?, find(data, 3)?),
            "target" if text(find(data, 1)?) == "REJECT" => self.verdict(Verdict::Reject),
            _ => None,
        }
    }

    fn load(&mut self, data: &[u8], register: u16, what: Loaded) -> Option<()> {
        self.mask = None;
        self.loaded[slot(number(data, register)?)?] = what;
        Some(())
    }

    fn verdict(&mut self, verdict: Verdict) -> Option<()> {
        self.sense.verdict.replace(verdict).is_none().then_some(())
    }

    fn compare(&mut self, loaded: Loaded, how: u32, with: &[u8]) -> Option<()> {
        let mask = self.mask.take();
        match (loaded, how) {
            (Loaded::Family, EQUAL) => self.sense.family = Some(*with.first()?),
            (Loaded::Protocol, EQUAL) => {
                self.sense.protocol = Some(Protocol::of(*with.first()?)?);
            }
            (Loaded::Network { at, length }, EQUAL) => self.network(at, length, mask, with)?,
            (Loaded::Port(end), _) if mask.is_none() => {
                self.port(end, how, u16_at(with, 0)?.to_be())?;
            }
            (Loaded::TcpFlags, EQUAL) => {
                let is_beginning = mask? == [TCP_FLAGS_MASK] && with == [TCP_SYN];
                self.sense.beginnings = is_beginning.then_some(true)?;
            }
            // Any of the bits: the states meant.
            (Loaded::States, _) => self.sense.states = true,
            _ => return None,
        }
        Some(())
    }

    fn network(&mut self, at: u32, length: u32, mask: Option<Vec<u8>>, with: &[u8]) -> Option<()> {
        let (family, whole, end) = match at {
            12 if length <= 4 => (libc::AF_INET, 4, End::Source),
            16 if length <= 4 => (libc::AF_INET, 4, End::Destination),
            8 if length <= 16 => (libc::AF_INET6, 16, End::Source),
            24 if length <= 16 => (libc::AF_INET6, 16, End::Destination),
            _ => return None,
        };
        let mut bytes = with.get(..length as usize)?.to_vec();
        bytes.resize(whole, 0);
        // A prefix of whole bytes is loaded alone; of others the rest is masked.
        let prefix = match mask {
            None => length * 8,
            Some(mask) => {
                let ones: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
                let set: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
                (ones == set).then_some(ones)?
            }
        };
        let network = Network::of(ip(&bytes)?, u8::try_from(prefix).ok()?)?;
        self.sense.family = Some(family as u8);
        self.sense.network.replace((end, network)).is_none().then_some(())
    }

    fn port(&mut self, end: End, how: u32, port: u16) -> Option<()> {
        let known = self.sense.ports.take();
        let ports =
            match (how, known.as_ref().map(|(known, ports)| (*known == end, ports.as_slice()))) {
                (EQUAL, None) => Ports { first: port, last: port },
                (AT_LEAST, None) => Ports { first: port, last: u16::MAX },
                (AT_MOST, Some((true, [ports]))) if ports.last == u16::MAX => {
                    Ports { last: port, ..*ports }
                }
                _ => return None,
            };
        self.sense.ports = Some((end, vec![ports]));
        Some(())
    }
}

/// A `struct xt_multiport_v1`: which end, how many, fifteen ports, of each
/// whether it begins a range, and whether all the others are meant.
fn multiport(info: &[u8]) -> Option<(End, Vec<Ports>)> {
    let [flags, count, rest @ ..] = info else { return None };
    let (begins, inverted) = (rest.get(30..45)?, *rest.get(45)?);
    let end = match flags {
        0 => End::Source,
        1 => End::Destination,
        _ => return None,
    };
    let port = |at: usize| u16_at(rest, at * 2);
    let (mut ports, mut at, count) = (Vec::new(), 0, usize::from(*count).min(15));
    while at < count {
        let first = port(at)?;
        let is_range = begins[at] != 0 && at + 1 < count;
        at += usize::from(is_range);
        ports.push(Ports { first, last: port(at)? });
        at += 1;
    }
    ports.sort_unstable();
    ports.dedup();
    (inverted == 0 && !ports.is_empty()).then_some((end, ports))
}

#[cfg(test)]
mod tests {
    use super::super::expression;
    use super::*;

    fn traffic(network: &str, ports: (u16, u16), end: End) -> Traffic {
        let ports = Ports { first: ports.0, last: ports.1 };
        Traffic { protocol: Protocol::Tcp, end, network: network.parse().unwrap(), ports }
    }

    #[test]
    fn a_rule_of_ours_is_read_as_it_was_written() {
        let networks =
            ["10.0.0.9", "10.0.0.0/24", "10.0.0.0/22", "0.0.0.0/0", "fd00::9", "fd00::/64", "::/0"];
        for network in networks {
            for (end, ports) in [(End::Source, (2049, 2049)), (End::Destination, (8000, 8010))] {
                for of in [Of::All, Of::Beginnings] {
                    let meant = traffic(network, ports, end);
                    let written = expression::all(Some((&meant, of)), Verdict::Drop);
                    let sense = Sense::read(written.bytes());
                    assert!(!sense.is_strange, "{sense:?}");
                    assert_eq!(sense.network_or_all(end), Some(meant.network));
                    assert_eq!(sense.ports, Some((end, vec![meant.ports])));
                    assert_eq!(sense.protocol, Some(Protocol::Tcp));
                    assert_eq!((sense.of(), sense.verdict), (of, Some(Verdict::Drop)));
                }
            }
        }
    }

    #[test]
    fn what_is_not_understood_makes_a_rule_strange() {
        let mut strange = crate::host::genl::Attributes::new();
        let mut inside = crate::host::genl::Attributes::new();
        inside.text(NAME, "limit");
        strange.nest(1, &inside);
        assert!(Sense::read(strange.bytes()).is_strange);
        assert!(!Sense::read(&[]).is_strange);
    }

    #[test]
    fn ports_of_iptables_are_lists_and_ranges() {
        let mut info = vec![1, 4];
        let mut ports = [0u16; 15];
        ports[..4].copy_from_slice(&[443, 8000, 8010, 80]);
        info.extend(ports.iter().flat_map(|port| port.to_ne_bytes()));
        let mut begins = [0u8; 15];
        begins[1] = 1;
        info.extend(begins);
        info.push(0);
        let (end, ports) = multiport(&info).unwrap();
        assert_eq!(end, End::Destination);
        assert_eq!(crate::host::traffic::ports_text(&ports), "80,443,8000:8010");
        *info.last_mut().unwrap() = 1;
        assert_eq!(multiport(&info), None);
        for cut in 0..info.len() {
            assert_eq!(multiport(&info[..cut]), None, "{cut}");
        }
    }
}
