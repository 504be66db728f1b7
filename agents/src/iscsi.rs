//! What [`iscsi_target`](crate::iscsi_target) and
//! [`iscsi_logical_unit`](crate::iscsi_logical_unit) have in common: the values
//! of their parameters.

use anyhow::Result;
use common::host::lio::name;
use common::host::lio::portal::Portal;
use common::host::tgt;
use common::{View, configured, installed};
use ocf_meta::{Kind, Value, choices};
use std::fmt;
use std::net::IpAddr;

/// The mark in the LUNs that we make.
pub(crate) const DISK: &str = "disk";

choices! {
    /// Which target.
    pub(crate) enum Implementation {
        LioT = "lio-t",
        Lio = "lio",
        Tgt = "tgt",
        Iet = "iet",
        Scst = "scst",
    }
}

impl Implementation {
    pub(crate) fn is_tgt(self) -> bool {
        self == Self::Tgt
    }

    /// Fails for one that is not offered.
    pub(crate) fn check(self) -> Result<()> {
        let instead = "set implementation=lio-t, or leave it unset, for LIO, which each kernel has";
        let why = match self {
            Self::LioT | Self::Lio | Self::Tgt => return Ok(()),
            Self::Iet => "the iSCSI Enterprise Target is in no kernel any more",
            Self::Scst => "SCST is not offered, since it is in no distribution's kernel",
        };
        Err(configured(format!("{why}: {instead}")))
    }
}

/// Whether a program of tgt's can be run here.
pub(crate) fn suits_tgt(view: &View) -> Result<()> {
    view.program(tgt::PROGRAM).map(drop).map_err(|_| {
        installed("tgtd is not installed, which implementation=tgt needs: install the package tgt (scsi-target-utils)")
    })
}

/// Fails where a value would end in the middle: tgtd takes several in one text,
/// with commas between them.
pub(crate) fn check_for_tgt<'v>(
    values: impl IntoIterator<Item = (&'static str, &'v str)>,
) -> Result<()> {
    match values.into_iter().find(|(_, value)| value.contains([',', '\n'])) {
        Some((name, _)) => Err(configured(format!(
            "parameter {name} has a comma or a line's end in it, which tgtd cannot be told"
        ))),
        None => Ok(()),
    }
}

/// The name of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iqn(pub(crate) String);

impl Value for Iqn {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        name::iscsi(text.trim()).map(Self)
    }

    fn canonical(text: &str) -> String {
        text.trim().to_ascii_lowercase()
    }
}

/// Initiators, with blanks between them: their names, and for tgt addresses and
/// networks as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Initiators {
    /// Their names, in small letters.
    pub(crate) names: Vec<String>,
    /// Addresses and networks, and ALL.
    pub(crate) addresses: Vec<String>,
}

impl Value for Initiators {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for word in text.split_whitespace() {
            let (list, one) = match is_address(word) {
                true => (&mut found.addresses, word.to_owned()),
                false => {
                    let name = name::iscsi(word).map_err(|what| format!("a list with {what}"))?;
                    (&mut found.names, name)
                }
            };
            if !list.contains(&one) {
                list.push(one);
            }
        }
        Ok(found)
    }
}

impl fmt::Display for Initiators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.names.iter().chain(&self.addresses).map(String::as_str).collect();
        f.write_str(&all.join(", "))
    }
}

impl Initiators {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.addresses.is_empty()
    }

    /// Fails for what LIO does not know initiators by.
    pub(crate) fn check_for_lio(&self) -> Result<()> {
        match self.addresses.first() {
            Some(address) => Err(configured(format!(
                "parameter allowed_initiators has {address}, and LIO knows initiators by their \
                 names alone: a firewall can tell addresses, or implementation=tgt"
            ))),
            None => Ok(()),
        }
    }
}

/// `ALL`, an address, or a network: `10.0.0.0/24`.
fn is_address(word: &str) -> bool {
    let (address, bits) = match word.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (word, None),
    };
    let longest = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return word == "ALL",
    };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= longest))
}

/// Addresses to listen at, with blanks between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Portals(pub(crate) Vec<Portal>);

impl Value for Portals {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let parsed = text.split_whitespace().map(|word| {
            Portal::parse(word).ok_or_else(|| {
                format!("no list of addresses, each with or without a port: {word} is none")
            })
        });
        let mut portals: Vec<Portal> = Vec::new();
        for portal in parsed {
            let portal = portal?;
            if let Some(other) = portals.iter().find(|other| other.is_in_the_way_of(&portal)) {
                return Err(format!("a list in which {other} and {portal} exclude each other"));
            }
            if !portals.contains(&portal) {
                portals.push(portal);
            }
        }
        Ok(Self(portals))
    }
}

/// Settings as `name=value`, with blanks between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub(crate) Vec<(String, String)>);

impl Value for Settings {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let setting = |word: &str| {
            let (name, value) = word.split_once('=')?;
            // It becomes the name of a file.
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let fits = !name.is_empty() && name.bytes().all(is_plain) && !value.is_empty();
            fits.then(|| (name.to_owned(), value.to_owned()))
        };
        let settings: Option<Vec<_>> = text.split_whitespace().map(setting).collect();
        settings.map(Self).ok_or_else(|| "no list of NAME=VALUE".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let named = Initiators::parse(" iqn.1993-08.a:X  iqn.1993-08.a:x ").unwrap();
        assert_eq!((named.names.len(), named.addresses.len()), (1, 0));
        assert!(named.check_for_lio().is_ok());
        let mixed = Initiators::parse("ALL iqn.1993-08.a:x 10.0.0.0/24 fd00::1").unwrap();
        assert_eq!(mixed.addresses, ["ALL", "10.0.0.0/24", "fd00::1"]);
        assert!(mixed.check_for_lio().unwrap_err().to_string().contains("ALL"));
        for wrong in ["iqn.1993-08.a:x host", "10.0.0.0/33", "all", "10.0.0"] {
            assert!(Initiators::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Portals::parse("10.0.0.1 fd00::1:3260").unwrap().0.len(), 2);
        assert!(Portals::parse("10.0.0.1 storage.example.com").is_err());
        assert!(Portals::parse("10.0.0.1 [::]:3260").unwrap_err().contains("exclude"));
        let settings = Settings::parse("MaxConnections=4 HeaderDigest=CRC32C,None").unwrap();
        assert_eq!(settings.0[1], ("HeaderDigest".into(), "CRC32C,None".into()));
        for bad in ["x", "=1", "a=", "../enable=1", "a/b=1", "a=1 b"] {
            assert!(Settings::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_would_end_a_value_for_tgt_is_refused_by_name() {
        assert!(check_for_tgt([("path", "/dev/drbd1"), ("scsi_sn", "a=b")]).is_ok());
        let refused = check_for_tgt([("path", "/srv/a,online=0")]).unwrap_err().to_string();
        assert!(refused.contains("parameter path"), "{refused}");
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name_and_says_what_is() {
        for offered in [Implementation::LioT, Implementation::Lio, Implementation::Tgt] {
            assert!(offered.check().is_ok());
        }
        for (other, word) in [(Implementation::Iet, "Enterprise"), (Implementation::Scst, "SCST")] {
            let refused = other.check().unwrap_err().to_string();
            assert!(refused.contains(word) && refused.contains("lio-t"), "{refused}");
        }
    }
}
