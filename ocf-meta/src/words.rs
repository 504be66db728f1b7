//! The words of a haresources entry, or of a command line, as parameters.

use crate::{Given, Meta};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Parameters by name, as a word gave them.
pub type Named = Vec<(&'static str, String)>;

/// How an agent's words become parameters.
#[derive(Debug)]
pub enum Words {
    /// The first word is the parameter with position 1, and so on.
    Positions,
    /// The first word has a grammar of its own.
    Own {
        /// The word as the usage shows it: `ip[/prefix[/nic]]`.
        form: &'static str,
        /// Splits the word into names and values; the error is a sentence.
        split: fn(&str) -> Result<Named, String>,
    },
}

/// Reads the words before the action.
///
/// `-` leaves its place empty, since heartbeat drops empty fields, and
/// `name=value` sets a parameter by its name in any place. The error is a
/// sentence for the user.
pub fn read(meta: &Meta, words: &[OsString], given: &mut Given) -> Result<(), String> {
    let mut place = 0;
    for word in words {
        if let Some((name, value)) = named(meta, word) {
            given.set(name, value);
            continue;
        }
        place += 1;
        if word == "-" {
            continue;
        }
        match meta.words {
            Words::Own { split, form } => {
                let text = word.to_str().ok_or("a word is not UTF-8")?;
                if place > 1 {
                    return Err(format!("one word is expected, {form}; what is `{text}`?"));
                }
                for (name, value) in split(text)? {
                    given.set(name, value);
                }
            }
            Words::Positions => {
                let param = meta
                    .params
                    .iter()
                    .find(|param| param.position == Some(place))
                    .ok_or_else(|| format!("too many words, expected {}", form(meta, " ")))?;
                given.set(param.name, word.clone());
            }
        }
    }
    Ok(())
}

/// `name=value`, where the name is one of the agent's parameters.
fn named(meta: &Meta, word: &OsStr) -> Option<(&'static str, OsString)> {
    let bytes = word.as_bytes();
    let split = bytes.iter().position(|byte| *byte == b'=')?;
    let name = std::str::from_utf8(&bytes[..split]).ok()?;
    let param = meta.param(name)?;
    Some((param.name, OsStr::from_bytes(&bytes[split + 1..]).to_owned()))
}

/// The words as a usage line shows them: `device directory [fstype [options]]`
/// with a blank between them, or `::` for haresources.
pub fn form(meta: &Meta, between: &str) -> String {
    if let Words::Own { form, .. } = meta.words {
        return form.to_owned();
    }
    let mut placed: Vec<_> = meta.params.iter().filter(|param| param.position.is_some()).collect();
    placed.sort_by_key(|param| param.position);
    let mut form = String::new();
    let mut open = 0;
    for param in placed {
        let between = if form.is_empty() { "" } else { between };
        // Once one may be missing, so may all that follow.
        if param.required && open == 0 {
            form += &format!("{between}{}", param.name);
        } else {
            form += &format!("[{between}{}", param.name);
            open += 1;
        }
    }
    form + &"]".repeat(open)
}
