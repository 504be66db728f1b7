//! iptables as it was before nf_tables: a kernel's only firewall where it was
//! built without those. Its rules are read from the kernel, and changed by the
//! program that comes with it, all together.
//!
//! The layouts are those of `linux/netfilter_ipv4/ip_tables.h`,
//! `linux/netfilter_ipv6/ip6_tables.h` and `linux/netfilter/x_tables.h`, on
//! processors of 64 bits.

#![allow(unsafe_code, reason = "getsockopt has no safe wrapper for these")]

use super::absence::{Absent, Whole};
use super::netlink::{text, u16_at, u32_at};
use super::nftables::{Family, Hook, Of, Rule, Sense, Verdict};
use super::program::Missing;
use super::system::{System, View};
use super::traffic::{End, Network, Protocol, Traffic};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

/// The one table that has filters.
const TABLE: &str = "filter";
const LONGEST_NAME: usize = 32;

/// Options of raw sockets, and the same for both families.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;

/// A `struct ipt_getinfo`: the table's name, which hooks it has, where each of
/// their chains begins and what follows its last rule, how many entries there
/// are, and how many bytes they take.
const INFO: usize = 84;
const HOOKS_AT: usize = 36;
const SIZE_AT: usize = 80;

/// A `struct ipt_get_entries` up to the first entry, which is aligned to 8.
const ENTRIES_AT: usize = 40;

/// What a target says that ends a chain of a user's own: its name.
const CHAIN_HEAD: &str = "ERROR";

/// Standard targets: to drop is `-NF_DROP - 1`.
const DROP: i32 = -1;

/// How often the table is read anew where it changes in between.
const TRIES: u32 = 10;

/// Where an entry has what.
struct Layout {
    level: i32,
    domain: AddressFamily,
    /// Bytes of an address. Source and destination come first, then a mask for
    /// each.
    address: usize,
    protocol: usize,
    /// Flags, and what of all this is inverted.
    flags: usize,
    offsets: usize,
    matches: usize,
    /// Which of its tables a network namespace has.
    names: &'static str,
}

const IPV4: Layout = Layout {
    level: libc::SOL_IP,
    domain: AddressFamily::Inet,
    address: 4,
    protocol: 80,
    flags: 82,
    offsets: 88,
    matches: 112,
    names: "/proc/net/ip_tables_names",
};
const IPV6: Layout = Layout {
    level: libc::SOL_IPV6,
    domain: AddressFamily::Inet6,
    address: 16,
    protocol: 128,
    // The type of service comes between, which counts where a flag says so.
    flags: 131,
    offsets: 140,
    matches: 168,
    names: "/proc/net/ip6_tables_names",
};

/// The names of interfaces and their masks.
const INTERFACES: usize = 64;

/// In IPv6's flags: whether the protocol counts.
const WITH_PROTOCOL: u8 = 1;

/// The head of a match or a target.
const HEAD: usize = 32;

fn layout(family: Family) -> &'static Layout {
    if family == Family::Ipv6 { &IPV6 } else { &IPV4 }
}

/// The rules that packets meet first: those of the chains INPUT and OUTPUT, in
/// their order, numbered as iptables numbers them. Absent where this network
/// namespace has no such table.
pub fn rules(view: &View, family: Family) -> Result<Result<Whole<Rule>, Absent>> {
    let layout = layout(family);
    // To ask for a table makes it; the list of them does not.
    let names = match std::fs::read_to_string(view.path(layout.names)) {
        Ok(names) => names,
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            ensure!(view.exists("/proc/net/dev")?, "there is no /proc/net to look at");
            return Ok(Err(Absent::seen("no iptables in this kernel")));
        }
        Err(err) => return Err(err).with_context(|| format!("cannot read {}", layout.names)),
    };
    if !names.lines().any(|name| name == TABLE) {
        return Ok(Err(Absent::seen("no table of iptables' filters")));
    }
    let told = entries(layout).and_then(|(info, entries)| {
        read(layout, &info, &entries).ok_or_else(|| io::Error::other("an entry is cut short"))
    });
    view.note(format_args!("rules of iptables = {told:?}"));
    let rules = told.context("cannot list the rules of iptables")?;
    Ok(Ok(Whole::told("rules", rules)))
}

fn entries(layout: &Layout) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let line = socket(layout.domain, SockType::Raw, flags, SockProtocol::Raw)?;
    for _ in 0..TRIES {
        let info = ask(&line, layout.level, GET_INFO, vec![0; INFO])?;
        let size = u32_at(&info, SIZE_AT).unwrap_or(0);
        let mut wanted = vec![0; ENTRIES_AT + size as usize];
        wanted[LONGEST_NAME..LONGEST_NAME + 4].copy_from_slice(&size.to_ne_bytes());
        match ask(&line, layout.level, GET_ENTRIES, wanted) {
            Ok(told) => return Ok((info, told[ENTRIES_AT..].to_vec())),
            // It has another size by now.
            Err(err) if err.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(err) => return Err(err),
        }
    }
    Err(io::Error::other("they change all the while"))
}

/// Fills in an answer that begins with the table's name.
fn ask(line: &OwnedFd, level: i32, option: i32, mut answer: Vec<u8>) -> io::Result<Vec<u8>> {
    answer[..TABLE.len()].copy_from_slice(TABLE.as_bytes());
    let mut length = answer.len() as libc::socklen_t;
    // SAFETY: the kernel writes no more than the length says.
    let asked = unsafe {
        let to = answer.as_mut_ptr().cast();
        libc::getsockopt(line.as_raw_fd(), level, option, to, &raw mut length)
    };
    match asked {
        0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The chain of the packets that meet this hook.
fn chain(hook: Hook) -> &'static str {
    match hook {
        Hook::In => "INPUT",
        Hook::Out => "OUTPUT",
    }
}

/// The rules of the two chains; nothing where the entries make no sense.
fn read(layout: &Layout, info: &[u8], entries: &[u8]) -> Option<Vec<Rule>> {
    let begins = |hook: usize| u32_at(info, HOOKS_AT + 4 * hook).map(|at| at as usize);
    let ends = |hook: usize| u32_at(info, HOOKS_AT + 20 + 4 * hook).map(|at| at as usize);
    let mut rules = Vec::new();
    for hook in [Hook::In, Hook::Out] {
        let (chain, hook) = (chain(hook), hook as usize);
        let (mut at, end) = (begins(hook)?, ends(hook)?);
        let mut number = 0;
        // What stands at the end is what the chain does with the rest.
        while at < end {
            let entry = entries.get(at..)?;
            let next = usize::from(u16_at(entry, layout.offsets + 2)?);
            let entry = entry.get(..next).filter(|_| next >= layout.matches + HEAD)?;
            number += 1;
            let mut rule = Rule {
                chain: chain.into(),
                handle: number,
                comment: None,
                sense: Sense::default(),
            };
            if take(layout, entry, at, &mut rule).is_none() {
                rule.sense.is_strange = true;
            }
            rules.push(rule);
            at += next;
        }
        (at == end).then_some(())?;
    }
    Some(rules)
}

/// Takes in an entry; nothing where it says more than is understood.
fn take(layout: &Layout, entry: &[u8], at: usize, rule: &mut Rule) -> Option<()> {
    let mut is_plain = Some(());
    let mut understood = |is_so: Option<()>| is_plain = is_plain.and(is_so);
    let target = usize::from(u16_at(entry, layout.offsets)?);
    let (flags, inverted) = (*entry.get(layout.flags)?, *entry.get(layout.flags + 1)?);
    let known = if layout.address == 16 { WITH_PROTOCOL } else { 0 };
    let interfaces = entry.get(4 * layout.address..4 * layout.address + INTERFACES)?;
    let is_bare = inverted == 0 && flags & !known == 0 && interfaces.iter().all(|byte| *byte == 0);
    understood(is_bare.then_some(()));
    understood(network(layout, entry, &mut rule.sense));
    match u16_at(entry, layout.protocol)? {
        0 => {}
        number => {
            rule.sense.protocol = u8::try_from(number).ok().and_then(Protocol::of);
            understood(rule.sense.protocol.map(drop));
        }
    }
    let mut matches = entry.get(layout.matches..target)?;
    while !matches.is_empty() {
        let size = usize::from(u16_at(matches, 0)?);
        let (one, rest) = matches.split_at_checked(size).filter(|_| size >= HEAD)?;
        let (name, revision, data) = (text(&one[2..31]), one[31], &one[HEAD..]);
        match name.as_str() {
            "comment" => rule.comment = Some(text(data)),
            name => understood(rule.sense.matched(name, revision.into(), data)),
        }
        matches = rest;
    }
    let target_head = entry.get(target..target + HEAD)?;
    let data = entry.get(target + HEAD..)?;
    match text(&target_head[2..31]).as_str() {
        "" => match u32_at(data, 0)?.cast_signed() {
            DROP => rule.sense.verdict = Some(Verdict::Drop),
            // To go on behind itself is to do nothing.
            to if usize::try_from(to) == Ok(at + entry.len()) => {
                rule.sense.verdict = Some(Verdict::Continue);
            }
            _ => {}
        },
        "REJECT" => rule.sense.verdict = Some(Verdict::Reject),
        CHAIN_HEAD => return None,
        _ => {}
    }
    is_plain
}

/// The addresses of one end.
fn network(layout: &Layout, entry: &[u8], sense: &mut Sense) -> Option<()> {
    let part = |at: usize| entry.get(at * layout.address..(at + 1) * layout.address);
    let family = if layout.address == 16 { libc::AF_INET6 } else { libc::AF_INET };
    sense.in_family(family as u8);
    for (end, address, mask) in
        [(End::Source, part(0)?, part(2)?), (End::Destination, part(1)?, part(3)?)]
    {
        let whole = mask.iter().take_while(|byte| **byte == u8::MAX).count();
        let part = mask.get(whole).map_or(0, |byte| byte.leading_ones());
        let ones = u32::try_from(whole).ok()? * 8 + part;
        let set: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
        if set == 0 {
            continue;
        }
        (ones == set).then_some(())?;
        let ip: IpAddr = match <[u8; 4]>::try_from(address) {
            Ok(octets) => octets.into(),
            Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).into(),
        };
        let network = Network::of(ip, u8::try_from(ones).ok()?)?;
        sense.network.replace((end, network)).is_none().then_some(())?;
    }
    Some(())
}

/// What the program that changes rules all together is called besides.
pub const RESTORE: &str = "-restore";

/// A program of iptables', where there is one: that of the old form by its own
/// name, or by the plain one from the time when there was only that.
pub fn program(view: &View, family: Family, part: &str) -> Result<PathBuf, Missing> {
    let plain = if family == Family::Ipv6 { "ip6tables" } else { "iptables" };
    let legacy = view.program(&format!("{plain}-legacy{part}"));
    legacy.or_else(|_| view.program(&format!("{plain}{part}")))
}

/// Changes, made all together or not at all.
#[derive(Debug, Default)]
pub struct Change {
    deleted: String,
    added: String,
}

/// A rule in iptables' words, but for its chain.
fn words(comment: &str, traffic: Option<(&Traffic, Of)>, verdict: Verdict) -> String {
    let mut words = String::new();
    let mut is_v4 = true;
    let mut is_tcp = false;
    if let Some((traffic, of)) = traffic {
        let (address, ports) = match traffic.end {
            End::Source => ("-s", "--sports"),
            End::Destination => ("-d", "--dports"),
        };
        is_v4 = traffic.network.ip.is_ipv4();
        is_tcp = traffic.protocol == Protocol::Tcp;
        let (Network { ip, prefix }, protocol) = (traffic.network, traffic.protocol.word());
        let meant = &traffic.ports;
        let _ =
            write!(words, " -p {protocol} {address} {ip}/{prefix} -m multiport {ports} {meant}");
        if of == Of::Beginnings {
            words += " -m tcp --tcp-flags FIN,SYN,RST,ACK SYN";
        }
    }
    let _ = write!(words, " -m comment --comment \"{comment}\"");
    words += match verdict {
        Verdict::Continue => "",
        Verdict::Drop => " -j DROP",
        Verdict::Reject if is_tcp => " -j REJECT --reject-with tcp-reset",
        Verdict::Reject if is_v4 => " -j REJECT --reject-with icmp-port-unreachable",
        Verdict::Reject => " -j REJECT --reject-with icmp6-port-unreachable",
    };
    words
}

impl Change {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A rule at the chain's beginning, or at its end where it does nothing.
    pub fn rule(
        &mut self,
        hook: Hook,
        comment: &str,
        traffic: Option<(&Traffic, Of)>,
        verdict: Verdict,
    ) {
        let how = if verdict == Verdict::Continue { "-A" } else { "-I" };
        let chain = chain(hook);
        let _ = writeln!(self.added, "{how} {chain}{}", words(comment, traffic, verdict));
    }

    /// A rule less, by what it says: its number may be another's by then.
    pub fn delete(&mut self, rule: &Rule) -> Result<()> {
        let comment = rule.comment.as_deref().unwrap_or_default();
        let sense = &rule.sense;
        let (chain, verdict) = (&rule.chain, sense.verdict);
        let traffic = sense.traffic();
        let is_known = !sense.is_strange && (traffic.is_some() || sense.is_of_all());
        let Some(verdict) = verdict.filter(|_| is_known) else {
            bail!(
                "rule {} of {chain} is called `{comment}`, and somebody has changed what it says: \
                 delete it",
                rule.handle
            );
        };
        let traffic = traffic.as_ref().map(|traffic| (traffic, sense.of()));
        let _ = writeln!(self.deleted, "-D {chain}{}", words(comment, traffic, verdict));
        Ok(())
    }

    /// Makes them. What the program reads lies beside the records for a moment,
    /// under this name.
    pub fn make(self, system: &System<'_>, family: Family, name: &str) -> Result<()> {
        if self.deleted.is_empty() && self.added.is_empty() {
            return Ok(());
        }
        let program = program(system, family, RESTORE)?;
        let Self { deleted, added } = self;
        system.write_record(name, &format!("*{TABLE}\n{deleted}{added}COMMIT\n"))?;
        let (program, file) = (program.to_string_lossy(), system.run_dir().join(name));
        let file = file.to_string_lossy();
        let changed = system.change(&program, &["-w", "--noflush", &*file]);
        system.remove_record(name)?;
        let changed = changed?;
        ensure!(changed.success(), "{program}: {}", changed.reason());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of IPv4 with these entries in INPUT, and what follows the last.
    fn table(entries: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
        let policy = entry([0; 4], &[], &standard(-2));
        let all: Vec<u8> = entries.iter().chain([&policy, &policy]).flatten().copied().collect();
        let (input, output) = (all.len() - 2 * policy.len(), all.len() - policy.len());
        let mut info = vec![0; INFO];
        for (hook, begin, end) in [(1, 0, input), (3, output, output)] {
            for (at, value) in [(HOOKS_AT, begin), (HOOKS_AT + 20, end)] {
                let at = at + 4 * hook;
                info[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_ne_bytes());
            }
        }
        (info, all)
    }

    /// A match or a target.
    fn part(name: &str, revision: u8, data: &[u8]) -> Vec<u8> {
        let size = (HEAD + data.len()).next_multiple_of(8);
        let mut part = vec![0; size];
        part[..2].copy_from_slice(&u16::try_from(size).unwrap().to_ne_bytes());
        part[2..2 + name.len()].copy_from_slice(name.as_bytes());
        part[31] = revision;
        part[HEAD..HEAD + data.len()].copy_from_slice(data);
        part
    }

    fn standard(verdict: i32) -> Vec<u8> {
        part("", 0, &verdict.to_ne_bytes())
    }

    /// An entry for TCP to this address, if it is one.
    fn entry(to: [u8; 4], matches: &[Vec<u8>], target: &[u8]) -> Vec<u8> {
        let mut entry = vec![0; IPV4.matches];
        entry[4..8].copy_from_slice(&to);
        if to != [0; 4] {
            entry[12..16].fill(255);
            entry[IPV4.protocol] = 6;
        }
        entry.extend(matches.iter().flatten());
        let offset = entry.len();
        entry.extend(target);
        for (at, value) in [(88, offset), (90, entry.len())] {
            entry[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap().to_ne_bytes());
        }
        entry
    }

    fn multiport(port: u16) -> Vec<u8> {
        let mut data = vec![0; 48];
        data[..2].copy_from_slice(&[1, 1]);
        data[2..4].copy_from_slice(&port.to_ne_bytes());
        part("multiport", 1, &data)
    }

    fn block() -> Vec<u8> {
        let comment = part("comment", 0, b"block tcp 2049 10.0.0.9 in\0");
        entry([10, 0, 0, 9], &[multiport(2049), comment], &standard(DROP))
    }

    #[test]
    fn a_rule_is_read_with_what_is_written_on_it() {
        let accept = entry([10, 0, 0, 8], &[part("limit", 0, &[0; 40])], &standard(-2));
        let (info, entries) = table(&[accept, block()]);
        let rules = read(&IPV4, &info, &entries).unwrap();
        let [other, ours] = &rules[..] else { panic!("{rules:?}") };
        assert!(other.sense.is_strange && other.sense.verdict.is_none());
        assert_eq!(ours.comment.as_deref(), Some("block tcp 2049 10.0.0.9 in"));
        assert_eq!((ours.handle, ours.chain.as_str()), (2, "INPUT"));
        assert_eq!(ours.sense.verdict, Some(Verdict::Drop));
        assert!(!ours.sense.is_strange);
        let traffic = ours.sense.traffic().unwrap();
        assert_eq!(traffic.network.to_string(), "10.0.0.9");
        let mut change = Change::new();
        change.delete(ours).unwrap();
        assert_eq!(
            change.deleted,
            "-D INPUT -p tcp -d 10.0.0.9/32 -m multiport --dports 2049 -m comment --comment \
             \"block tcp 2049 10.0.0.9 in\" -j DROP\n"
        );
        assert!(change.delete(other).is_err());
    }

    #[test]
    fn what_narrows_a_rule_makes_it_strange() {
        // An interface, a flag, what is inverted, and a mask with a gap.
        for at in [16, 32, IPV4.flags, IPV4.flags + 1] {
            let mut rule = block();
            rule[at] = 1;
            let (info, entries) = table(&[rule]);
            assert!(read(&IPV4, &info, &entries).unwrap()[0].sense.is_strange, "{at}");
        }
        let mut gap = block();
        gap[13] = 0;
        let (info, entries) = table(&[gap]);
        assert!(read(&IPV4, &info, &entries).unwrap()[0].sense.is_strange);
    }

    #[test]
    fn a_table_that_is_cut_short_is_an_error_and_never_a_list() {
        let (info, entries) = table(&[block()]);
        for cut in 0..block().len() {
            assert_eq!(read(&IPV4, &info, &entries[..cut]), None, "{cut}");
        }
        for at in 88..92 {
            for value in [0, 1, 255] {
                let mut damaged = entries.clone();
                damaged[at] = value;
                // Whatever it is, it is read to its end.
                let _ = read(&IPV4, &info, &damaged);
            }
        }
    }
}
