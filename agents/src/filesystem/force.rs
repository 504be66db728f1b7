//! What a stop may do to those who use the mount.

use common::host::signal::Signal;
use ocf_meta::{Kind, Value};

/// The parameter `force_unmount`: a word and modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Force {
    /// Whether to end processes.
    pub ends_users: bool,
    /// Whether to move the mount away first.
    pub moves: bool,
}

impl Value for Force {
    const KIND: Kind = Kind::String;

    /// The modifiers that chose among programs to find processes with are
    /// taken and mean nothing.
    fn parse(text: &str) -> Result<Self, String> {
        let mut force = Self { ends_users: true, moves: false };
        let words =
            text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "safe" => force.ends_users = true,
                "move" => force.moves = true,
                "nomove" => force.moves = false,
                "xargs" | "noxargs" | "ps" | "nops" => {}
                other => {
                    force.ends_users = bool::parse(other).map_err(|_| {
                        "none of true, safe and false, with or without move".to_owned()
                    })?;
                }
            }
        }
        Ok(force)
    }
}

/// Signals in the order in which they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signals(pub Vec<Signal>);

impl Value for Signals {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let signals = text.split_whitespace().map(Signal::named).collect::<Option<Vec<_>>>();
        signals.map(Self).ok_or_else(|| "not a list of signals".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_and_its_modifiers_are_told_apart() {
        let force = |text| Force::parse(text).map(|force| (force.ends_users, force.moves));
        assert_eq!(force("true"), Ok((true, false)));
        assert_eq!(force("safe,move"), Ok((true, true)));
        assert_eq!(force("no move nomove xargs"), Ok((false, false)));
        assert!(force("perhaps").is_err());
    }

    #[test]
    fn signals_have_names_and_numbers() {
        let kill = Signals::parse("KILL").unwrap();
        assert_eq!(Signals::parse("9").unwrap(), kill);
        assert_eq!(Signals::parse("SIGKILL").unwrap(), kill);
        assert_eq!(Signals::parse("INT term").unwrap().0.len(), 2);
        assert!(Signals::parse("TERM,KILL").is_err());
        assert!(Signals::parse("0").is_err());
    }
}
