//! What the three agents of the kernel's NVMe target have in common: the values
//! of their parameters.

use common::host::nvmet::Id;
use ocf_meta::{Kind, Value};

/// The name of a subsystem, or of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nqn(pub(crate) String);

/// As much as a command has room for.
const LONGEST: usize = 223;

/// The kernel has this one, and gives it to nobody.
const DISCOVERY: &str = "nqn.2014-08.org.nvmexpress.discovery";

fn nqn(text: &str) -> Result<String, String> {
    // It becomes the name of a directory.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    let fits = text.bytes().all(is_plain) && text.len() <= LONGEST && !text.starts_with('.');
    match fits && !text.is_empty() && text != DISCOVERY {
        true => Ok(text.to_owned()),
        false => Err("no NQN, as nqn.2014-08.com.example:storage".into()),
    }
}

impl Value for Nqn {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        nqn(text.trim()).map(Self)
    }
}

/// Several, with blanks between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nqns(pub(crate) Vec<String>);

impl Value for Nqns {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let mut names = Vec::new();
        for word in text.split_whitespace() {
            let name = nqn(word).map_err(|what| format!("a list with {what}: {word}"))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        match names.is_empty() {
            true => Err("an empty list".into()),
            false => Ok(Self(names)),
        }
    }
}

/// The number of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceId(pub(crate) u32);

impl Value for NamespaceId {
    const KIND: Kind = Kind::Integer;

    fn parse(text: &str) -> Result<Self, String> {
        let number: Option<u32> = text.trim().parse().ok();
        let number = number.filter(|number| !matches!(*number, 0 | u32::MAX));
        number.map(Self).ok_or_else(|| "not a whole number from 1 to 4294967294".into())
    }

    fn canonical(text: &str) -> String {
        Self::parse(text).map_or_else(|_| text.to_owned(), |Self(number)| number.to_string())
    }
}

/// A UUID, or an NGUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(pub(crate) Id);

impl Value for Identity {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let id = Id::parse(text).map(Self);
        id.ok_or_else(|| "no UUID, which has 32 hexadecimal digits".into())
    }

    fn canonical(text: &str) -> String {
        Id::parse(text).map_or_else(|| text.to_owned(), |id| id.to_string())
    }
}

/// What a subsystem says of itself: so many characters that every client can
/// show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label<const N: usize>(pub(crate) String);

impl<const N: usize> Value for Label<N> {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        // The field is filled up with blanks, so those at the end are none.
        let text = text.trim_end();
        let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        match is_plain && !text.is_empty() && text.len() <= N {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("not 1 to {N} characters of ASCII")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_directory_and_of_no_other() {
        assert!(Nqn::parse("nqn.2014-08.com.example:one").is_ok());
        for bad in ["a/b", "..", ".", "a b", DISCOVERY, "nqn.\u{e4}", &"x".repeat(224)] {
            assert!(Nqn::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Nqns::parse(" a  b a ").unwrap().0, ["a", "b"]);
        assert!(Nqns::parse("a ../b").is_err() && Nqns::parse(" ").is_err());
    }

    #[test]
    fn what_the_kernel_refuses_is_refused_before() {
        assert_eq!(NamespaceId::parse("7"), Ok(NamespaceId(7)));
        for bad in ["0", "4294967295", "-1", "x"] {
            assert!(NamespaceId::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Label::<20>::parse("0123 456  ").unwrap().0, "0123 456");
        assert!(Label::<20>::parse(&"x".repeat(21)).is_err());
        assert!(Label::<20>::parse("\u{e4}").is_err());
    }

    #[test]
    fn an_identity_has_one_spelling() {
        let plain = "0123456789ABCDEF0123456789abcdef";
        let usual = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(Identity::canonical(plain), usual);
        assert_eq!(Identity::parse(plain), Identity::parse(usual));
        for bad in ["", "0123", &usual[1..], "g1234567-89ab-cdef-0123-456789abcdef"] {
            assert!(Identity::parse(bad).is_err(), "{bad}");
        }
    }
}
