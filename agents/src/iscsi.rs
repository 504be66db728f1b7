//! What [`iscsi_target`](crate::iscsi_target) and
//! [`iscsi_logical_unit`](crate::iscsi_logical_unit) have in common: the values
//! of their parameters.

use anyhow::Result;
use common::configured;
use common::host::lio::name;
use common::host::lio::portal::Portal;
use ocf_meta::{Kind, Value, choices};

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
    /// Fails for one that is not offered.
    pub(crate) fn check(self) -> Result<()> {
        let instead = "set implementation=lio-t, or leave it unset, for LIO, which each kernel has";
        let why = match self {
            Self::LioT | Self::Lio => return Ok(()),
            Self::Tgt => "tgt is not offered",
            Self::Iet => "the iSCSI Enterprise Target is in no kernel any more",
            Self::Scst => "SCST is not offered, since it is in no distribution's kernel",
        };
        Err(configured(format!("{why}: {instead}")))
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

/// Names of initiators, with blanks between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Initiators(pub(crate) Vec<String>);

impl Value for Initiators {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let mut names = Vec::new();
        for word in text.split_whitespace() {
            let name = name::iscsi(word).map_err(|what| format!("a list with {what}"))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Self(names))
    }
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
        assert_eq!(Initiators::parse(" iqn.1993-08.a:X  iqn.1993-08.a:x ").unwrap().0.len(), 1);
        assert!(Initiators::parse("iqn.1993-08.a:x host").is_err());
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
    fn what_is_not_offered_is_refused_by_name_and_says_what_is() {
        assert!(Implementation::LioT.check().is_ok() && Implementation::Lio.check().is_ok());
        for (other, word) in [
            (Implementation::Tgt, "tgt"),
            (Implementation::Iet, "Enterprise"),
            (Implementation::Scst, "SCST"),
        ] {
            let refused = other.check().unwrap_err().to_string();
            assert!(refused.contains(word) && refused.contains("lio-t"), "{refused}");
        }
    }
}
