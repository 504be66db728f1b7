//! A guest's file, as xl reads it: assignments of words, numbers and lists.
//!
//! Guests of before Xen 4.5 had files that were programs in Python. xl reads
//! none of that, and says so in words that name no line.

use crate::host::reading;
use crate::host::system::View;
use anyhow::Result;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// Reads the file that lies there, on whichever file system; nothing where none
/// does.
pub fn read(view: &View, path: &Path) -> Result<Option<Result<GuestFile, Unreadable>>> {
    let text = reading::read(view, path, |file: &mut dyn Read| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })?;
    Ok(text.map(|text| GuestFile::parse(&text)))
}

/// What is wrong with a guest's file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The line, from 1.
    pub line: usize,
    why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// What a guest's file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestFile {
    settings: Vec<(String, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    List,
}

impl GuestFile {
    /// Reads it to its end.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut reader = Reader { rest: text, line: 1 };
        let mut settings = Vec::new();
        while reader.skips_to_setting() {
            settings.push(reader.setting()?);
        }
        Ok(Self { settings })
    }

    /// A word or a number; of several the last, as xl has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.settings.iter().rfind(|(given, _)| given == name)?;
        match value {
            Value::Text(text) => Some(text),
            Value::List => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Skips what separates settings. Whether there is one.
    fn skips_to_setting(&mut self) -> bool {
        self.skip(|c| c.is_ascii_whitespace() || c == ';');
        !self.rest.is_empty()
    }

    /// Skips such characters, and comments.
    fn skip(&mut self, is_blank: impl Fn(char) -> bool) {
        loop {
            let rest = self.rest.trim_start_matches(&is_blank);
            self.advance(self.rest.len() - rest.len());
            let Some(comment) = rest.strip_prefix('#') else { return };
            self.advance(1 + comment.find('\n').unwrap_or(comment.len()));
        }
    }

    fn advance(&mut self, count: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at(count);
        self.line += passed.matches('\n').count();
        self.rest = rest;
        passed
    }

    fn setting(&mut self) -> Result<(String, Value), Unreadable> {
        let (line, whole) = (self.line, self.rest.lines().next().unwrap_or_default().trim());
        let fault = |what: &str| Unreadable {
            line,
            why: format!("{what}: `{whole}`; xl takes NAME = \"WORD\", NUMBER or [ LIST ]"),
        };
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_of_name(c)).unwrap_or(self.rest.len());
        let name = self.advance(end);
        self.skip(is_blank);
        // Of a list there may be more.
        let equals = ["+=", "="].into_iter().find(|sign| self.rest.starts_with(sign));
        let Some(sign) = equals.filter(|_| !name.is_empty() && !self.rest.starts_with("==")) else {
            let is_python =
                ["import", "from", "def", "if", "elif", "else", "for", "while", "print"];
            return Err(match is_python.contains(&name) {
                true => fault("this is Python, which Xen does not read since 4.5"),
                false => fault("this is no setting"),
            });
        };
        self.advance(sign.len());
        self.skip(is_blank);
        let python = || fault("this is computed in Python, which Xen does not do since 4.5");
        let value = self.value(0).ok_or_else(python)?;
        self.skip(is_blank);
        match self.rest.chars().next() {
            None | Some('\n' | ';') => Ok((name.to_owned(), value)),
            Some(_) => Err(python()),
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        /// No list of Xen's has more levels.
        const DEEPEST: usize = 8;
        match self.rest.chars().next()? {
            quote @ ('"' | '\'') => self.quoted(quote).map(Value::Text),
            '[' if depth < DEEPEST => {
                self.advance(1);
                loop {
                    self.skip(|c| c.is_ascii_whitespace());
                    if self.rest.starts_with(']') {
                        break;
                    }
                    self.value(depth + 1)?;
                    self.skip(|c| c.is_ascii_whitespace());
                    match self.rest.chars().next()? {
                        ',' => drop(self.advance(1)),
                        ']' => break,
                        _ => return None,
                    }
                }
                self.advance(1);
                Some(Value::List)
            }
            '0'..='9' => {
                let is_digit = |c: char| c.is_ascii_hexdigit() || c == 'x';
                let end = self.rest.find(|c| !is_digit(c)).unwrap_or(self.rest.len());
                Some(Value::Text(self.advance(end).to_owned()))
            }
            _ => None,
        }
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let (mut text, mut letters) = (String::new(), self.rest.char_indices().skip(1));
        let end = loop {
            match letters.next()? {
                (at, letter) if letter == quote => break at + 1,
                (_, '\n') => return None,
                (_, '\\') => match letters.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    other => text.push(other),
                },
                (_, letter) => text.push(letter),
            }
        };
        self.advance(end);
        Some(text)
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_file_is_read() {
        let file = GuestFile::parse(
            "# one\nname = \"web\" # that\nmemory=0x80;vcpus = 2\ndisk = [ 'phy:/dev/vg/a,xvda,w',\n\n  # two\n \
             \"phy:b,xvdb,w\" ]\nvif += [ ['mac=1'], [], ]\nname='w\\'b'",
        )
        .unwrap();
        assert_eq!((file.get("name"), file.get("memory")), (Some("w'b"), Some("0x80")));
        assert_eq!((file.get("vcpus"), file.get("disk"), file.get("x")), (Some("2"), None, None));
        assert_eq!(GuestFile::parse(" \n# none\n").unwrap(), GuestFile::default());
    }

    #[test]
    fn what_is_python_is_named_by_its_line() {
        let refused = |text: &str| GuestFile::parse(text).unwrap_err().to_string();
        for (text, line, why) in [
            ("import os\nname = \"a\"", 1, "this is Python"),
            ("\nname = \"a\"\nvif = [\n ]\nif x == 1:\n", 5, "this is Python"),
            ("name = \"vm%d\" % vmid", 1, "computed in Python"),
            ("# x\nmemory = 64 * 2", 2, "computed in Python"),
            ("a = 1\nname = os.uname()[1]", 2, "computed in Python"),
            ("disk = [ 'a' 'b' ]", 1, "computed in Python"),
            ("disk = [ 'a',", 1, "computed in Python"),
            ("name = \"a", 1, "computed in Python"),
            ("x == 1", 1, "no setting"),
            ("name", 1, "no setting"),
            ("(a) = 1", 1, "no setting"),
        ] {
            let said = refused(text);
            assert!(said.starts_with(&format!("line {line}: ")) && said.contains(why), "{said}");
        }
    }
}
