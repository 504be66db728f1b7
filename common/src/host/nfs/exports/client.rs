//! Who a directory is exported to: a host, a network, a netgroup, everybody.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One of the clients that exports(5) knows, as the table has it: without the
/// brackets that an IPv6 address needs in front of a colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    text: String,
    kind: Kind,
}

/// How it is found again in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Everybody.
    World,
    /// In whatever spelling of the address.
    Address(IpAddr),
    /// The table has the name that the resolver gives for it.
    Name,
    /// A network, a pattern, a group: as it is written.
    Other,
}

impl Client {
    /// Reads what a person has written; the error ends "is ...".
    pub fn parse(text: &str) -> Result<Self, String> {
        let as_written = |kind| Ok(Self { text: text.to_owned(), kind });
        if text == "*" || text == "<world>" {
            return Ok(Self { text: "*".into(), kind: Kind::World });
        }
        if let Some(group) = text.strip_prefix('@') {
            return if is_word(group, "._-") {
                as_written(Kind::Other)
            } else {
                Err(NO_CLIENT.into())
            };
        }
        if let Some(flavour) = text.strip_prefix("gss/") {
            return if is_word(flavour, "") {
                as_written(Kind::Other)
            } else {
                Err(NO_CLIENT.into())
            };
        }
        if text.contains(':') {
            return Self::v6(text);
        }
        if text.contains('/') || text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Self::v4(text);
        }
        if !is_word(text, "._-*?[]") {
            return Err(NO_CLIENT.into());
        }
        as_written(if text.contains(['*', '?', '[', ']']) { Kind::Other } else { Kind::Name })
    }

    /// An address or a network, in brackets or not.
    fn v6(text: &str) -> Result<Self, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let bare = bare.unwrap_or(address);
        let ip: Ipv6Addr = bare.parse().map_err(|_| NO_CLIENT.to_owned())?;
        let Some(length) = length else {
            return Ok(Self { text: bare.to_owned(), kind: Kind::Address(ip.into()) });
        };
        if !is_length(length, 128) {
            return Err("not a network: a prefix of IPv6 has at most 128 bits".into());
        }
        Ok(Self { text: format!("{bare}/{length}"), kind: Kind::Other })
    }

    /// An address, or a network with its length or its mask.
    fn v4(text: &str) -> Result<Self, String> {
        let Some((address, mask)) = text.split_once('/') else {
            let ip: Ipv4Addr = text.parse().map_err(|_| NO_CLIENT.to_owned())?;
            return Ok(Self { text: text.to_owned(), kind: Kind::Address(ip.into()) });
        };
        address.parse::<Ipv4Addr>().map_err(|_| NO_CLIENT.to_owned())?;
        if !is_length(mask, 32) && mask.parse::<Ipv4Addr>().is_err() {
            return Err("not a network: behind the slash is neither a length nor a mask".into());
        }
        Ok(Self { text: text.to_owned(), kind: Kind::Other })
    }

    /// Whether the table's entry is this client's. Nobody is asked for a name:
    /// the resolver may have added a domain to it.
    pub fn is_listed_as(&self, listed: &str) -> bool {
        match self.kind {
            Kind::World | Kind::Other => listed == self.text,
            Kind::Address(ip) => listed.parse() == Ok(ip),
            Kind::Name => {
                let begins = listed.get(..self.text.len());
                let rest = listed.get(self.text.len()..).unwrap_or_default();
                begins.is_some_and(|begin| begin.eq_ignore_ascii_case(&self.text))
                    && (rest.is_empty() || rest.starts_with('.') && !self.text.contains('.'))
            }
        }
    }

    /// Whether the table may have another name for it.
    pub fn is_name(&self) -> bool {
        self.kind == Kind::Name
    }

    /// As exportfs(8) takes it in front of `:/directory`.
    pub fn argument(&self) -> String {
        match self.text.split_once('/') {
            _ if !self.text.contains(':') => self.text.clone(),
            Some((address, length)) => format!("[{address}]/{length}"),
            None => format!("[{}]", self.text),
        }
    }
}

/// Whether what the table lists is a host by name.
pub fn is_name(listed: &str) -> bool {
    Client::parse(listed).is_ok_and(|client| client.is_name())
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const NO_CLIENT: &str =
    "none that exports(5) knows: a host, an address, a network, @netgroup, a pattern or *";

fn is_word(text: &str, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
}

fn is_length(text: &str, most: u8) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && text.parse::<u8>().is_ok_and(|length| length <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Client {
        Client::parse(text).unwrap()
    }

    #[test]
    fn brackets_are_for_the_command_line_alone() {
        for (given, listed, argument) in [
            ("[fd00::]/64", "fd00::/64", "[fd00::]/64"),
            ("fd00::/64", "fd00::/64", "[fd00::]/64"),
            ("[::]/0", "::/0", "[::]/0"),
            ("fd00::5", "fd00::5", "[fd00::5]"),
            ("10.0.0.0/24", "10.0.0.0/24", "10.0.0.0/24"),
            ("0.0.0.0/0.0.0.0", "0.0.0.0/0.0.0.0", "0.0.0.0/0.0.0.0"),
            ("<world>", "*", "*"),
            ("@grp", "@grp", "@grp"),
            ("*.example.org", "*.example.org", "*.example.org"),
            ("gss/krb5i", "gss/krb5i", "gss/krb5i"),
        ] {
            assert_eq!(client(given).argument(), argument);
            assert!(client(given).is_listed_as(listed), "{given}");
        }
    }

    #[test]
    fn an_address_has_one_meaning_and_a_network_one_spelling() {
        assert!(client("fd00:0::5").is_listed_as("fd00::5"));
        assert!(!client("10.0.0.0/24").is_listed_as("10.0.0.0/255.255.255.0"));
        assert!(!client("10.0.0.1").is_listed_as("10.0.0.10"));
        assert!(!client("*").is_listed_as("*.example.org"));
    }

    #[test]
    fn a_name_may_have_got_a_domain_and_is_no_pattern() {
        assert!(client("Node1").is_listed_as("node1"));
        assert!(client("node1").is_listed_as("node1.example.org"));
        assert!(!client("node1.example").is_listed_as("node1.example.org"));
        assert!(!client("node1").is_listed_as("node10"));
        assert!(!client("node.").is_listed_as("nodes"));
        assert!(is_name("node1.example.org") && !is_name("10.0.0.1") && !is_name("@grp"));
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/24",
            "010.0.0.6",
            "10.0.0.5(rw)",
            "a b",
            "a\"b",
            "[10.3.0.0]/16",
            "fd00::/129",
            "fd00::/64/2",
            "@",
            "gss/",
            "-a",
            "/srv",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "a,b",
        ] {
            assert!(Client::parse(bad).is_err(), "{bad}");
        }
    }
}
