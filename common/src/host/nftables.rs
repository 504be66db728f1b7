//! nf_tables, the kernel's firewall, by netlink: the rules of a table whole or
//! an error, and changes that are made all together or not at all.
//!
//! A rule is known by its handle, which the kernel gives once, and by its
//! comment, which `nft list ruleset` shows. What a rule says is read from what
//! the kernel has of it, also where iptables has made it.

mod expression;
mod family;
mod reading;

pub use expression::{Of, Verdict};
pub use family::Family;
pub use reading::Sense;

use super::absence::{Absent, Whole};
use super::netlink::{Attributes, Message, Netlink, errno, text, u32_at};
use super::system::{System, View};
use super::traffic::Traffic;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use std::io;

const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;

/// A `struct nfgenmsg`.
const HEADER: usize = 4;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const DORMANT: u32 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USER_DATA: u16 = 7;
const NESTED: u16 = 0x8000;

/// In a rule's user data, as `nft` lays it out: what is a comment.
const COMMENT: u8 = 0;
/// The longest that `nft` shows.
const LONGEST_COMMENT: usize = 250;

/// Where packets meet a chain: those for this machine, and those from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// What comes in for it.
    In = 1,
    /// What it sends.
    Out = 3,
}

/// A table of the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Which packets it is for.
    pub family: Family,
    /// What it is called.
    pub name: &'static str,
}

/// A rule, as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// The number by which it is deleted.
    pub handle: u64,
    /// What its maker has written on it.
    pub comment: Option<String>,
    /// What it says, as far as it is understood.
    pub sense: Sense,
}

impl Rule {
    fn read(body: &[u8]) -> Option<Self> {
        let mut rule =
            Self { chain: String::new(), handle: 0, comment: None, sense: Sense::default() };
        for (kind, value) in Attributes(body.get(HEADER..)?) {
            match kind {
                RULE_CHAIN => rule.chain = text(value),
                RULE_HANDLE => rule.handle = u64::from_be_bytes(value.try_into().ok()?),
                RULE_EXPRESSIONS => rule.sense = Sense::read(value),
                RULE_USER_DATA => rule.comment = comment(value),
                _ => {}
            }
        }
        Some(rule)
    }
}

/// The comment among a rule's user data: each part has a type, a length and
/// that many bytes.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            return Some(text(value));
        }
        data = rest;
    }
    None
}

fn header(family: u8, resource: u16) -> [u8; HEADER] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn name(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

fn line(view: &View) -> io::Result<Netlink> {
    Netlink::to(SockProtocol::NetlinkNetFilter, view.deadline().at_least(super::netlink::PATIENCE))
}

/// Whether the error says that there is no nf_tables: no netfilter's netlink at
/// all, or nobody there who knows tables.
fn is_unknown(err: &io::Error) -> bool {
    let unknown = [Errno::EPROTONOSUPPORT, Errno::EINVAL, Errno::EOPNOTSUPP];
    errno(err).is_some_and(|errno| unknown.contains(&errno))
}

fn none() -> Absent {
    Absent::seen("no nf_tables in this kernel")
}

/// The rules of a table, in order; none where there is no such table. Absent
/// where the kernel has no nf_tables.
pub fn rules(view: &View, table: Table) -> Result<Result<Whole<Rule>, Absent>> {
    let told = line(view).and_then(|line| listed(view, &line, table));
    whole(told, table)
}

/// The same, and whether they have been put to sleep: they are listed, and hold
/// nothing.
pub fn rules_and_sleep(view: &View, table: Table) -> Result<Result<(Whole<Rule>, bool), Absent>> {
    let line = match line(view) {
        Ok(line) => line,
        Err(err) => return Ok(whole(Err(err), table)?.map(|rules| (rules, false))),
    };
    Ok(match whole(listed(view, &line, table), table)? {
        Ok(rules) => {
            let sleeps = !rules.is_empty() && sleeps(view, &line, table)?;
            Ok((rules, sleeps))
        }
        Err(absent) => Err(absent),
    })
}

fn listed(view: &View, line: &Netlink, table: Table) -> io::Result<Vec<Rule>> {
    let question = || {
        Message::new(GET_RULE, libc::NLM_F_DUMP, &header(table.family as u8, 0))
            .with(RULE_TABLE, &name(table.name))
    };
    let wanted = name(table.name);
    // Kernels before 4.14 list the rules of all tables.
    let is_of_it = |body: &[u8]| {
        let of = Attributes(body.get(HEADER..)?).find(|(kind, _)| *kind == RULE_TABLE)?.1;
        (of == wanted).then_some(())
    };
    let told = line.list(question, |body| is_of_it(body).and_then(|()| Rule::read(body)));
    view.note(format_args!("rules of table {} = {told:?}", table.name));
    told
}

fn whole(told: io::Result<Vec<Rule>>, table: Table) -> Result<Result<Whole<Rule>, Absent>> {
    match told {
        Ok(rules) => Ok(Ok(Whole::told("rules", rules))),
        Err(err) if is_unknown(&err) => Ok(Err(none())),
        Err(err) => {
            Err(err).with_context(|| format!("cannot list the rules of table {}", table.name))
        }
    }
}

fn sleeps(view: &View, line: &Netlink, table: Table) -> Result<bool> {
    let question = Message::new(GET_TABLE, 0, &header(table.family as u8, 0))
        .with(TABLE_NAME, &name(table.name));
    let flags = line.ask(question, |body| {
        let flags = Attributes(body.get(HEADER..)?).find(|(kind, _)| *kind == TABLE_FLAGS);
        Some(flags.and_then(|(_, value)| u32_at(value, 0)).map_or(0, u32::from_be))
    });
    view.note(format_args!("flags of table {} = {flags:?}", table.name));
    match flags {
        Ok(flags) => Ok(flags & DORMANT != 0),
        Err(err) if errno(&err) == Some(Errno::ENOENT) || is_unknown(&err) => Ok(false),
        Err(err) => Err(err).with_context(|| format!("cannot look at table {}", table.name)),
    }
}

/// Changes, made all together or not at all.
#[derive(Debug, Default)]
pub struct Change {
    orders: Vec<Message>,
    words: Vec<String>,
}

impl Change {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// The table, awake; one that is there is made already.
    pub fn table(&mut self, table: Table) {
        let order = order(NEW_TABLE, libc::NLM_F_CREATE, table)
            .with(TABLE_NAME, &name(table.name))
            .with(TABLE_FLAGS, &0u32.to_be_bytes());
        self.add(format!("table {}", table.name), order);
    }

    /// A chain, which packets meet at the hook; without one they never do.
    pub fn chain(&mut self, table: Table, chain: &str, hook: Option<Hook>) {
        let mut order = order(NEW_CHAIN, libc::NLM_F_CREATE, table)
            .with(CHAIN_TABLE, &name(table.name))
            .with(CHAIN_NAME, &name(chain));
        if let Some(hook) = hook {
            let mut at = super::genl::Attributes::new();
            at.bytes_of(HOOK_NUMBER, &(hook as u32).to_be_bytes());
            at.bytes_of(HOOK_PRIORITY, &0i32.to_be_bytes());
            order = order.with(CHAIN_HOOK | NESTED, at.bytes()).with(CHAIN_TYPE, &name("filter"));
        }
        self.add(format!("chain {chain}"), order);
    }

    /// A rule at the chain's beginning: what becomes of this traffic, or of all.
    pub fn rule(
        &mut self,
        table: Table,
        chain: &str,
        comment: &str,
        traffic: Option<(&Traffic, Of)>,
        verdict: Verdict,
    ) {
        let mut longest = comment.len().min(LONGEST_COMMENT);
        while !comment.is_char_boundary(longest) {
            longest -= 1;
        }
        let comment = name(&comment[..longest]);
        let data = [&[COMMENT, comment.len() as u8], comment.as_slice()].concat();
        let order = order(NEW_RULE, libc::NLM_F_CREATE, table)
            .with(RULE_TABLE, &name(table.name))
            .with(RULE_CHAIN, &name(chain))
            .with(RULE_EXPRESSIONS | NESTED, expression::all(traffic, verdict).bytes())
            .with(RULE_USER_DATA, &data);
        self.add(format!("rule {traffic:?} {verdict:?} in {chain}"), order);
    }

    /// A rule less.
    pub fn delete(&mut self, table: Table, rule: &Rule) {
        let order = order(DELETE_RULE, 0, table)
            .with(RULE_TABLE, &name(table.name))
            .with(RULE_CHAIN, &name(&rule.chain))
            .with(RULE_HANDLE, &rule.handle.to_be_bytes());
        self.add(format!("delete rule {}", rule.handle), order);
    }

    /// The table less, with all that is in it.
    pub fn delete_table(&mut self, table: Table) {
        let order = order(DELETE_TABLE, 0, table).with(TABLE_NAME, &name(table.name));
        self.add(format!("delete table {}", table.name), order);
    }

    fn add(&mut self, words: String, order: Message) {
        self.words.push(words);
        self.orders.push(order);
    }

    /// Makes them.
    pub fn make(self, system: &System<'_>) -> Result<()> {
        if self.orders.is_empty() {
            return Ok(());
        }
        let edge = |kind| Message::new(kind, 0, &header(0, SUBSYSTEM >> 8));
        let made = line(system).and_then(|line| line.tell_all(edge(BEGIN), self.orders, edge(END)));
        system.note(format_args!("nf_tables: {} = {made:?}", self.words.join("; ")));
        made.context("the kernel does not change its firewall rules")
    }
}

fn order(kind: u16, flags: i32, table: Table) -> Message {
    Message::new(kind, flags | libc::NLM_F_ACK, &header(table.family as u8, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_among_what_else_is_written_on_a_rule() {
        assert_eq!(comment(b"\x00\x03ab\0"), Some("ab".into()));
        assert_eq!(comment(b"\x05\x01x\x00\x02y\0"), Some("y".into()));
        for broken in [&b""[..], b"\x00", b"\x00\x05ab\0", b"\x07\x01x"] {
            assert_eq!(comment(broken), None, "{broken:?}");
        }
    }
}
