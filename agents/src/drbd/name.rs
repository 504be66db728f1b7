//! The name of a DRBD resource, fit to be a word of a command line.

use ocf_meta::{Kind, Value};

/// A name that DRBD takes and that no program takes for an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

impl Value for Name {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let taken = |c: char| c.is_ascii_alphanumeric() || "-%+./:=@_".contains(c);
        if text.starts_with('-') {
            return Err("a name that begins with a dash".into());
        }
        match text.chars().find(|c| !taken(*c)) {
            Some(_) => Err("not made of letters, digits and - % + . / : = @ _ only".into()),
            None => Ok(Self(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_taken_and_options_are_not() {
        assert!(Name::parse("aoe.target.0").is_ok());
        for bad in ["-c", "--force", "a b", "a;b", "$(reboot)", "r1*", "grün"] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }
}
