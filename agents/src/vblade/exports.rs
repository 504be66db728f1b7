//! What is to be exported: a line of the file, or the parameters.

use anyhow::Result;
use common::host::aoe::Address;
use common::host::link::LONGEST_NAME;
use ocf_meta::{Kind, Value};
use std::path::{Path, PathBuf};

/// As many masks as vblade has room for; it does not look whether there are
/// more.
const MOST_MASKS: usize = 32;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// One export, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Export {
    /// The number of its line; none of what the parameters say.
    pub(super) line: Option<usize>,
    /// The interface.
    pub(super) nic: String,
    pub(super) address: Address,
    /// The device or file.
    pub(super) path: PathBuf,
    /// Who may use it; with nobody here, everybody.
    pub(super) masks: Vec<Mac>,
}

/// The number of a shelf. The highest is everybody's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shelf(pub(super) u16);

impl Value for Shelf {
    const KIND: Kind = Kind::Integer;

    fn parse(text: &str) -> Result<Self, String> {
        number(text, 65534).map(|number| Self(number as u16))
    }
}

/// The number of a slot. The highest is everybody's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(pub(super) u8);

impl Value for Slot {
    const KIND: Kind = Kind::Integer;

    fn parse(text: &str) -> Result<Self, String> {
        number(text, 254).map(|number| Self(number as u8))
    }
}

fn number(text: &str, most: u32) -> Result<u32, String> {
    let text = text.trim();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number <= most);
    number.ok_or_else(|| format!("not a whole number from 0 to {most}"))
}

/// Hardware addresses with commas between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Masks(pub(super) Vec<Mac>);

impl Value for Masks {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let masks = words.map(mac).collect::<Result<Vec<_>, _>>()?;
        match masks.len() {
            1..=MOST_MASKS => Ok(Self(masks)),
            0 => Err("no hardware address".into()),
            _ => Err(format!("more hardware addresses than the {MOST_MASKS} that vblade takes")),
        }
    }
}

/// Twelve hexadecimal digits, with colons between pairs of them or without.
fn mac(word: &str) -> Result<Mac, String> {
    let refused = || format!("`{}` is not a hardware address", shown(word));
    let mut mac = [0; 6];
    let mut rest = word.as_bytes();
    for (place, byte) in mac.iter_mut().enumerate() {
        if let [b':', after @ ..] = rest
            && place > 0
        {
            rest = after;
        }
        let [high, low, after @ ..] = rest else { return Err(refused()) };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(refused()) };
        *byte = (high << 4 | low) as u8;
        rest = after;
    }
    if rest.is_empty() { Ok(mac) } else { Err(refused()) }
}

/// A word of somebody's, fit for a message.
fn shown(word: &str) -> String {
    word.chars().take(40).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Whether an interface can be called so.
pub(super) fn is_nic(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !matches!(name, "." | "..")
        && !name.starts_with('-')
        && !name.contains(odd)
}

/// Reads the file: `interface shelf slot path [mac[,mac...]]` on a line, as the
/// init script of 2009 took it. What begins with `#` is a comment. The error
/// names the line.
pub(super) fn read(text: &str) -> Result<Vec<Export>, String> {
    let mut exports = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let export = of_line(number, line).map_err(|err| format!("line {number}: {err}"))?;
        exports.extend(export);
    }
    unlike(&exports)?;
    Ok(exports)
}

fn of_line(number: usize, line: &str) -> Result<Option<Export>, String> {
    let words: Vec<&str> =
        line.split_ascii_whitespace().take_while(|word| !word.starts_with('#')).collect();
    if words.is_empty() {
        return Ok(None);
    }
    if line.contains('\\') {
        return Err("a backslash; a line is one line, and no character is special".into());
    }
    if line.contains(char::REPLACEMENT_CHARACTER) || words.iter().any(|word| is_odd(word)) {
        return Err("a character that is no text".into());
    }
    const FORM: &str = "interface shelf slot path [mac[,mac...]]";
    let (nic, shelf, slot, path, masks) = match words[..] {
        [nic, shelf, slot, path] => (nic, shelf, slot, path, None),
        [nic, shelf, slot, path, masks] => (nic, shelf, slot, path, Some(masks)),
        [_, _, _, _, _, more, ..] => {
            return Err(format!("`{}` is one word too many, expected {FORM}", shown(more)));
        }
        _ => return Err(format!("{} words, expected {FORM}", words.len())),
    };
    if !is_nic(nic) {
        return Err(format!("`{}` is not the name of an interface", shown(nic)));
    }
    let of = |what: &str, word: &str, err: String| format!("{what} `{}` is {err}", shown(word));
    let shelf = Shelf::parse(shelf).map_err(|err| of("shelf", shelf, err))?;
    let slot = Slot::parse(slot).map_err(|err| of("slot", slot, err))?;
    if !path.starts_with('/') {
        return Err(format!("`{}` is not an absolute path", shown(path)));
    }
    Ok(Some(Export {
        line: Some(number),
        nic: nic.to_owned(),
        address: Address { shelf: shelf.0, slot: slot.0 },
        path: PathBuf::from(path),
        masks: masks.map(Masks::parse).transpose()?.unwrap_or_default().0,
    }))
}

fn is_odd(word: &str) -> bool {
    word.chars().any(char::is_control)
}

/// Two lines must not say different things of one address. The same device on
/// several interfaces is one target with several ways to it.
fn unlike(exports: &[Export]) -> Result<(), String> {
    for (place, export) in exports.iter().enumerate() {
        let earlier = exports[..place].iter().filter(|other| other.address == export.address);
        for other in earlier {
            let (line, address) = (export.line.unwrap_or(0), export.address);
            let before = other.line.unwrap_or(0);
            if other.nic == export.nic {
                return Err(format!(
                    "line {line}: {address} on {} is exported by line {before} already",
                    export.nic
                ));
            }
            if other.path != export.path {
                return Err(format!(
                    "line {line}: {address} is {} by line {before}, and cannot be {} too",
                    other.path.display(),
                    export.path.display()
                ));
            }
        }
    }
    Ok(())
}

impl Export {
    /// `e0.1 on eth0`.
    pub(super) fn place(&self) -> String {
        format!("{} on {}", self.address, self.nic)
    }

    /// Where it was asked for, to begin a reason with.
    pub(super) fn origin(&self, config: &Path) -> String {
        match self.line {
            Some(line) => format!("{} line {line}", config.display()),
            None => self.place(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the article, as it was printed.
    const ARTICLE: &str = "\
# network_device shelf slot file/disk/partition mac[,mac[,mac]]
bond0 0 1 /dev/drbd1
";

    fn said(text: &str) -> String {
        read(text).unwrap_err()
    }

    #[test]
    fn the_file_of_the_article_is_one_export() {
        let exports = read(ARTICLE).unwrap();
        let [export] = &exports[..] else { panic!("{exports:?}") };
        assert_eq!((export.line, export.place().as_str()), (Some(2), "e0.1 on bond0"));
        assert_eq!((export.path.as_path(), export.masks.len()), (Path::new("/dev/drbd1"), 0));
    }

    #[test]
    fn blanks_comments_empty_lines_and_line_ends_of_windows_do_not_matter() {
        let text = "\r\n  # a\n\teth0\t1  2 /dev/a#1 \r\n#b\n\neth0 1 3 /srv/b # the second\n";
        let exports = read(text).unwrap();
        let paths: Vec<_> = exports.iter().map(|export| export.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/dev/a#1", "/srv/b"]);
        assert_eq!(exports[1].line, Some(6));
        assert!(read("").unwrap().is_empty() && read("# none\n").unwrap().is_empty());
    }

    #[test]
    fn masks_come_with_colons_and_without() {
        let exports = read("eth0 1 2 /dev/a 02:00:00:00:00:0A,0200000000ff\n").unwrap();
        assert_eq!(exports[0].masks, [[2, 0, 0, 0, 0, 10], [2, 0, 0, 0, 0, 255]]);
        for bad in ["02:00:00:00:00", "02:00:00:00:00:0g", "02:00:00:00:00:00:00", ":020000000000"]
        {
            let said = said(&format!("eth0 1 2 /dev/a {bad}\n"));
            assert!(said.starts_with("line 1: `") && said.ends_with("not a hardware address"));
        }
        let many = vec!["020000000001"; 33].join(",");
        assert!(said(&format!("eth0 1 2 /dev/a {many}\n")).contains("more hardware addresses"));
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number() {
        for (line, part) in [
            ("eth0 1 2", "3 words, expected interface shelf slot path"),
            ("eth0 65535 2 /dev/a", "shelf `65535` is not a whole number from 0 to 65534"),
            ("eth0 1 255 /dev/a", "slot `255` is not a whole number from 0 to 254"),
            ("eth0 -1 2 /dev/a", "shelf `-1`"),
            ("eth0 +1 2 /dev/a", "shelf `+1`"),
            ("eth0 0x1 2 /dev/a", "shelf `0x1`"),
            ("eth0 1 2 dev/a", "`dev/a` is not an absolute path"),
            ("eth0 1 2 \"/dev/a\"", "is not an absolute path"),
            ("eth0 1 2 /dev/a 020000000001 x", "`x` is one word too many"),
            ("-d 1 2 /dev/a", "`-d` is not the name of an interface"),
            ("a/b 1 2 /dev/a", "not the name of an interface"),
            ("interface_too_long 1 2 /dev/a", "not the name of an interface"),
            ("eth0 1 2 \\", "a backslash"),
            ("eth0 1 2 /dev/\u{7}", "a character that is no text"),
        ] {
            let said = said(&format!("# first\n{line}\n"));
            assert!(said.starts_with("line 2: ") && said.contains(part), "{line}: {said}");
        }
    }

    #[test]
    fn one_address_is_one_target() {
        let twice = said("eth0 1 2 /dev/a\neth0 1 2 /dev/a\n");
        assert_eq!(twice, "line 2: e1.2 on eth0 is exported by line 1 already");
        let other = said("eth0 1 2 /dev/a\neth1 1 2 /dev/b\n");
        assert_eq!(other, "line 2: e1.2 is /dev/a by line 1, and cannot be /dev/b too");
        assert_eq!(read("eth0 1 2 /dev/a\neth1 1 2 /dev/a\n").unwrap().len(), 2);
    }

    /// Words that were put together at random: whatever the file has, it is
    /// read or its line is named, and what was read is what vblade is given.
    #[test]
    fn no_text_is_too_strange() {
        let pieces = [
            "eth0",
            "bond0.1",
            "0",
            "1",
            "65534",
            "65535",
            "254",
            "255",
            "/dev/a",
            "/srv/b c",
            "#",
            "\\",
            "\t",
            " ",
            "\n",
            "\r\n",
            "-m",
            "02:00:00:00:00:01",
            ",",
            "\u{0}",
            "é",
            "$(x)",
            "'",
        ];
        let mut state = 1u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        let mut read_well = 0;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..next(3) {
                // Lines that are right, of which one word or two may be spoilt.
                let mut words = ["eth0", "1", "254", "/dev/a", "\n"];
                for _ in 0..next(3) {
                    words[next(5)] = pieces[next(pieces.len())];
                }
                for word in words {
                    text += word;
                    text += [" ", " ", " ", "\t", ""][next(5)];
                }
            }
            match read(&text) {
                Ok(exports) => {
                    for export in &exports {
                        read_well += 1;
                        assert!(is_nic(&export.nic) && export.path.is_absolute(), "{text:?}");
                        assert!(export.address.shelf < 65535 && export.address.slot < 255);
                        let line = text.lines().nth(export.line.unwrap() - 1).unwrap();
                        assert!(line.contains(export.path.to_str().unwrap()), "{text:?}");
                    }
                }
                Err(err) => assert!(err.starts_with("line "), "{text:?}: {err}"),
            }
        }
        assert!(read_well > 1000, "{read_well}");
    }
}
