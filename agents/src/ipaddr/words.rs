//! The one word of a haresources entry: `10.10.1.250/24/bond0:web/10.10.1.255`.

use super::values::Prefix;
use ocf_meta::Value;
use ocf_meta::words::Named;
use std::net::{IpAddr, Ipv4Addr};

/// The word as the usage shows it.
pub(super) const FORM: &str = "ip[/prefix][/nic[:label]][/broadcast]";

/// Splits the word. Each part after the address may be missing; what it is
/// shows in what it looks like. A mask comes before a broadcast address.
pub(super) fn split(word: &str) -> Result<Named, String> {
    let mut parts = word.split('/');
    let ip = address(parts.next().unwrap_or_default())?;
    let mut named = vec![("ip", ip.to_string())];
    for part in parts.filter(|part| !part.is_empty()) {
        let given = |name| named.iter().any(|(named, _)| *named == name);
        let is_address = part.parse::<Ipv4Addr>().is_ok();
        let is_prefix = Prefix::parse(part).is_ok() || part.bytes().all(|b| b.is_ascii_digit());
        let name = if is_prefix && !given("cidr_netmask") && !given("nic") && !given("broadcast") {
            "cidr_netmask"
        } else if is_address || part == "+" {
            "broadcast"
        } else {
            "nic"
        };
        if given(name) {
            return Err(format!("`{part}` in `{word}` is one part too many, expected {FORM}"));
        }
        named.push((name, part.to_owned()));
    }
    Ok(named)
}

/// heartbeat cuts every word at `::`, so an IPv6 address comes in full, or
/// with another sign for the colon.
fn address(text: &str) -> Result<IpAddr, String> {
    let signs = ['-', '_'];
    let single = text.replace(signs, ":");
    let double = text.replace(signs, "::");
    if let Some(ip) = [text, &single, &double].iter().find_map(|text| text.parse().ok()) {
        return Ok(ip);
    }
    let looks_cut = !text.contains('.') && text.chars().all(|c| c == ':' || c.is_ascii_hexdigit());
    if looks_cut && !text.is_empty() {
        return Err(format!(
            "`{text}` looks like an IPv6 address that was cut at `::`, as heartbeat does: \
             write it in full, or with - for each colon (fe80--1)"
        ));
    }
    let shown: String = text.chars().take(60).collect();
    Err(format!("`{shown}` is neither an IPv4 nor an IPv6 address, expected {FORM}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str) -> String {
        match split(word) {
            Ok(named) => {
                named.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ")
            }
            Err(err) => format!("error: {err}"),
        }
    }

    #[test]
    fn every_form_that_heartbeat_users_write_is_understood() {
        for (word, expected) in [
            ("10.10.1.250", "ip=10.10.1.250"),
            ("10.10.1.250/24", "ip=10.10.1.250 cidr_netmask=24"),
            ("10.10.1.250/24/bond0", "ip=10.10.1.250 cidr_netmask=24 nic=bond0"),
            ("10.10.1.250/24/bond0:0", "ip=10.10.1.250 cidr_netmask=24 nic=bond0:0"),
            ("10.10.1.250/24/10.10.1.255", "ip=10.10.1.250 cidr_netmask=24 broadcast=10.10.1.255"),
            (
                "10.10.1.250/24/bond0/10.10.1.255",
                "ip=10.10.1.250 cidr_netmask=24 nic=bond0 broadcast=10.10.1.255",
            ),
            (
                "10.10.1.250/255.255.255.0/eth0.100:web",
                "ip=10.10.1.250 cidr_netmask=255.255.255.0 nic=eth0.100:web",
            ),
            ("10.10.1.250/bond0", "ip=10.10.1.250 nic=bond0"),
            ("10.10.1.250/10.10.1.255", "ip=10.10.1.250 broadcast=10.10.1.255"),
            ("10.10.1.250/99", "ip=10.10.1.250 cidr_netmask=99"),
        ] {
            assert_eq!(read(word), expected, "{word}");
        }
    }

    #[test]
    fn ipv6_comes_without_double_colons() {
        for word in ["fd00:0:0:0:0:0:0:9/64/eth0", "fd00--9/64/eth0", "fd00-9/64/eth0"] {
            assert_eq!(read(word), "ip=fd00::9 cidr_netmask=64 nic=eth0", "{word}");
        }
        assert_eq!(read("fd00-1-2-3-4-5-6-9"), "ip=fd00:1:2:3:4:5:6:9");
        assert_eq!(read("fd00::9"), "ip=fd00::9");
    }

    #[test]
    fn what_heartbeat_has_cut_is_told_as_such() {
        assert!(read("fe80").contains("cut at `::`"));
        assert!(read("2001:db8").contains("cut at `::`"));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(read("eth0").contains("neither"));
        assert!(read("10.0.0.1/24/eth0/eth1").contains("too many"));
        assert!(read("10.0.0.1/24/10.0.0.255/10.0.0.254").contains("too many"));
        assert!(read("").contains("neither"));
    }
}
