//! What a parameter's text may be, and what it becomes.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// The type of a parameter as the meta-data names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    String,
    /// A whole number.
    Integer,
    /// Yes or no, in the spellings that resource agents have always taken.
    Boolean,
    /// One of these words.
    Select(&'static [&'static str]),
}

/// A type that a parameter's text can be read as.
pub trait Value: Sized {
    /// How the meta-data names the type.
    const KIND: Kind;

    /// Reads the text, which is never empty; the error ends the sentence
    /// "parameter X is ...".
    fn parse(text: &str) -> Result<Self, String>;

    /// The one spelling of what the text stands for, where it has several.
    fn canonical(text: &str) -> String {
        canonical_path(text).unwrap_or_else(|| text.trim().to_owned())
    }
}

/// The path with each slash once and none at the end; none of what is no path,
/// as `//server/share`.
fn canonical_path(text: &str) -> Option<String> {
    if !text.starts_with('/') || text.starts_with("//") {
        return None;
    }
    let parts: Vec<&str> =
        text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Some(format!("/{}", parts.join("/")))
}

impl Value for String {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

/// An absolute path without `..`, its trailing slashes removed.
impl Value for PathBuf {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("not an absolute path".into());
        }
        if text.split('/').any(|part| part == "..") {
            return Err("a path with `..` in it".into());
        }
        let kept = text.trim_end_matches('/');
        Ok(PathBuf::from(if kept.is_empty() { "/" } else { kept }))
    }
}

impl Value for bool {
    const KIND: Kind = Kind::Boolean;

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "yes" | "true" | "1" | "ja" | "on" => Ok(true),
            "no" | "false" | "0" | "nein" | "off" => Ok(false),
            _ => Err("neither yes nor no".into()),
        }
    }
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl Value for $int {
            const KIND: Kind = Kind::Integer;

            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| {
                    format!("not a whole number from {} to {}", <$int>::MIN, <$int>::MAX)
                })
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i32, i64);

/// Seconds up to a day, with or without the unit `s`; milliseconds may follow
/// the point.
impl Value for Duration {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.trim().trim_end_matches('s').trim_end();
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        // Whole numbers only: to read a fraction as one costs an agent twenty
        // kilobytes.
        let number = |text: &str| -> Option<u64> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok())?
        };
        let milliseconds: String = part.chars().chain("000".chars()).take(3).collect();
        match (number(whole), number(part), number(&milliseconds)) {
            (Some(seconds), Some(_), Some(milliseconds)) if seconds <= 86_400 => {
                Ok(Duration::from_millis(seconds * 1000 + milliseconds))
            }
            _ => Err("not a number of seconds from 0 to 86400".into()),
        }
    }
}

impl Value for IpAddr {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "neither an IPv4 nor an IPv6 address".into())
    }

    fn canonical(text: &str) -> String {
        text.parse::<Self>().map_or_else(|_| text.to_owned(), |ip| ip.to_string())
    }
}

impl Value for Ipv4Addr {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "not an IPv4 address".into())
    }
}

/// Declares an enum whose variants are a parameter's choices:
/// `choices! { pub enum Check { Auto = "auto", Force = "force" } }`.
#[macro_export]
macro_rules! choices {
    ($(#[$outer:meta])* $vis:vis enum $name:ident {
        $($(#[$inner:meta])* $variant:ident = $text:literal),* $(,)?
    }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name { $($(#[$inner])* $variant),* }

        impl $crate::Value for $name {
            const KIND: $crate::Kind = $crate::Kind::Select(&[$($text),*]);

            fn parse(text: &str) -> ::std::result::Result<Self, ::std::string::String> {
                match text {
                    $($text => ::std::result::Result::Ok(Self::$variant),)*
                    _ => ::std::result::Result::Err(
                        ::std::format!("not one of {}", [$($text),*].join(", "))
                    ),
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_has_many_spellings_and_no_default() {
        for yes in ["yes", "YES", "True", "1", "ja", "on"] {
            assert_eq!(bool::parse(yes), Ok(true), "{yes}");
        }
        for no in ["no", "FALSE", "0", "nein", "off"] {
            assert_eq!(bool::parse(no), Ok(false), "{no}");
        }
        assert!(bool::parse("maybe").is_err());
    }

    #[test]
    fn a_path_is_absolute_and_stays_below_its_parents() {
        assert_eq!(PathBuf::parse("/srv/data//"), Ok("/srv/data".into()));
        assert_eq!(PathBuf::parse("/"), Ok("/".into()));
        assert!(PathBuf::parse("srv").is_err());
        assert!(PathBuf::parse("/srv/../etc").is_err());
    }

    #[test]
    fn two_spellings_of_one_thing_are_one() {
        for text in ["/srv/data", "/srv//data/", "/srv/./data"] {
            assert_eq!(PathBuf::canonical(text), "/srv/data");
            assert_eq!(String::canonical(text), "/srv/data");
        }
        assert_eq!(String::canonical("//nas/x/"), "//nas/x/");
        assert_eq!(IpAddr::canonical("fd00:0::9"), "fd00::9");
    }

    #[test]
    fn seconds_may_have_a_fraction_and_a_unit() {
        let parsed = |text: &str| Duration::parse(text).map(|time| time.as_millis());
        assert_eq!(parsed("2"), Ok(2000));
        assert_eq!(parsed("1.5s"), Ok(1500));
        assert_eq!(parsed("0.0625"), Ok(62));
        for bad in ["", "s", "-1", "1.x", "1e3", "99999", ".5", "\u{e4}", "1.\u{e4}"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_has_no_leading_zeros() {
        assert!(IpAddr::parse("10.0.0.1").is_ok());
        assert!(IpAddr::parse("010.0.0.1").is_err());
        assert!(IpAddr::parse("fe80::1").is_ok());
    }
}
