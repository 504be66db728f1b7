//! The forms of the parameters.

use common::host::mount::table::unescaped;
use common::host::nfs::exports::client::Client;
use ocf_meta::{Kind, Value};
use std::fmt;
use std::path::PathBuf;

/// Directories with blanks between them; a blank in a name is written `\040`, as
/// in fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories(pub Vec<PathBuf>);

impl Value for Directories {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let mut all: Vec<PathBuf> = Vec::new();
        for word in text.split_whitespace() {
            let path = unescaped(word);
            let path = PathBuf::parse(path.to_str().ok_or("no text")?)?;
            if path.to_string_lossy().contains(|c: char| c == '"' || c.is_control()) {
                return Err("a path with a quotation mark or a control character in it".into());
            }
            if all.contains(&path) {
                return Err(format!("a list with {} in it twice", path.display()));
            }
            all.push(path);
        }
        if all.is_empty() { Err("empty".into()) } else { Ok(Self(all)) }
    }

    fn canonical(text: &str) -> String {
        let words: Vec<String> = text.split_whitespace().map(String::canonical).collect();
        words.join(" ")
    }
}

/// Clients with blanks between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients(pub Vec<Client>);

impl Value for Clients {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let all: Vec<Client> =
            text.split_whitespace().map(Client::parse).collect::<Result<_, _>>()?;
        if all.is_empty() { Err("empty".into()) } else { Ok(Self(all)) }
    }
}

/// What the handles of a file system have in them in the place of its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fsid {
    /// The root of the tree that NFSv4 shows: the number 0.
    Root,
    Number(u32),
    Uuid(String),
}

impl Value for Fsid {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        if text == "root" {
            return Ok(Self::Root);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse();
            return number.map(Self::Number).map_err(|_| "a number above 4294967295".into());
        }
        let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
        let fits = text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b':'));
        match fits && digits == 32 {
            true => Ok(Self::Uuid(text.to_owned())),
            false => Err("neither a number nor a UUID nor root".into()),
        }
    }
}

impl Fsid {
    /// That of the directory in this place of a list that begins with this one.
    pub fn next(&self, place: usize) -> Option<Self> {
        match self {
            fsid if place == 0 => Some(fsid.clone()),
            Self::Number(first) => {
                Some(Self::Number(first.checked_add(u32::try_from(place).ok()?)?))
            }
            _ => None,
        }
    }

    /// Whether the table's word for it is the same.
    pub fn is(&self, listed: &str) -> bool {
        let digits = |text: &str| -> String {
            text.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_lowercase()).collect()
        };
        match self {
            Self::Root => listed == "0" || listed == "root",
            Self::Number(number) => {
                listed.parse() == Ok(*number) || *number == 0 && listed == "root"
            }
            Self::Uuid(uuid) => digits(uuid) == digits(listed),
        }
    }
}

impl fmt::Display for Fsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Number(number) => number.fmt(f),
            Self::Uuid(uuid) => f.write_str(uuid),
        }
    }
}

/// What exportfs(8) takes after `-o`, its fsid apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    words: Vec<String>,
    pub fsid: Option<Fsid>,
}

impl Value for Options {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let changes_meaning = |c: char| c.is_whitespace() || "()\"'\\#".contains(c);
            if word.starts_with('-') || word.contains(changes_meaning) {
                return Err("none that exports(5) has: a blank, a bracket, a quotation mark or a dash in front".into());
            }
            match word.strip_prefix("fsid=") {
                Some("") => {}
                Some(fsid) => {
                    let wrong = |what| format!("one with an fsid that is {what}");
                    options.fsid = Some(Fsid::parse(fsid).map_err(wrong)?);
                }
                None => options.words.push(word.to_owned()),
            }
        }
        Ok(options)
    }
}

impl Options {
    /// With this fsid; nothing where there is no option at all.
    pub fn text(&self, fsid: Option<&Fsid>) -> Option<String> {
        let fsid = fsid.map(|fsid| format!("fsid={fsid}"));
        let words: Vec<&str> = self.words.iter().chain(&fsid).map(String::as_str).collect();
        (!words.is_empty()).then(|| words.join(","))
    }

    /// Whether clients may write: the last word that says so; by default not.
    pub fn may_write(&self) -> bool {
        let says = |word: &String| match word.as_str() {
            "rw" => Some(true),
            "ro" => Some(false),
            _ => None,
        };
        self.words.iter().rev().find_map(says).unwrap_or(false)
    }

    pub fn has(&self, wanted: &str) -> bool {
        self.words.iter().any(|word| word == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_separated_by_blanks_and_may_have_some() {
        let parsed = Directories::parse(" /srv/a/ /srv/with\\040blank\t/srv/c").unwrap();
        let wanted = ["/srv/a", "/srv/with blank", "/srv/c"].map(PathBuf::from);
        assert_eq!(parsed.0, wanted);
        for bad in ["srv", "/srv/../etc", "/srv/a /srv/a/", " ", "/srv/\"a", "/srv/a\\012b"] {
            assert!(Directories::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Directories::canonical("/srv/a/  /srv//b"), "/srv/a /srv/b");
    }

    #[test]
    fn an_fsid_is_a_number_a_uuid_or_root() {
        let uuid = "3d2f0d64-0000-4000-8000-9b7c1b3a2d11";
        for good in [
            "0",
            "17",
            "4294967295",
            "root",
            uuid,
            "3d2f0d64000040008000 9b7c1b3a2d11".replace(' ', "").as_str(),
        ] {
            assert_eq!(Fsid::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "1,2", "-1", "4294967296", "three", "3d2f0d64", "17 18"] {
            assert!(Fsid::parse(bad).is_err(), "{bad}");
        }
        assert!(Fsid::Root.is("0") && !Fsid::Number(17).is("170") && Fsid::Number(0).is("root"));
        assert!(Fsid::parse(uuid).unwrap().is("3D2F0D64:00004000:80009b7c:1b3a2d11"));
    }

    #[test]
    fn several_directories_count_on_from_a_number() {
        assert_eq!(Fsid::Number(17).next(2), Some(Fsid::Number(19)));
        assert_eq!(Fsid::Number(u32::MAX).next(1), None);
        assert_eq!(Fsid::Root.next(1), None);
    }

    #[test]
    fn the_fsid_among_the_options_is_one_of_the_parameters_words() {
        let options = Options::parse("rw, sync,fsid=5,sec=krb5:sys").unwrap();
        assert_eq!(options.fsid, Some(Fsid::Number(5)));
        assert_eq!(options.text(Some(&Fsid::Number(6))).unwrap(), "rw,sync,sec=krb5:sys,fsid=6");
        assert!(options.may_write() && !Options::parse("rw,ro").unwrap().may_write());
        assert_eq!(Options::parse("fsid=").unwrap().text(None), None);
        for bad in ["rw,sync)", "rw sync", "rw,fsid=x", "rw,\"x\"", "-r", "refer=/a@h#x"] {
            assert!(Options::parse(bad).is_err(), "{bad}");
        }
    }
}
