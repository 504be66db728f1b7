//! LVM's settings as they stand in its files. lvm is a program to be asked, and
//! reads a hundred kilobytes to answer; what it would say can be told without
//! it where the files are plain. Where they are not, nothing is told.

use crate::host::system::View;
use std::io;

/// What lvm reads, in this order, where its environment names no other place.
const FILES: [&str; 2] = ["/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf"];

/// Names another directory, or a file with other settings.
const ELSEWHERE: [&str; 2] = ["LVM_SYSTEM_DIR", "LVM_COMMAND_PROFILE"];

/// The values of those of the names that are set, as lvm prints them. None
/// where only lvm can tell: tags of this machine lead to more files, a value
/// that is set twice may be joined, and what is not understood may be anything.
pub(super) fn told(view: &View, names: &[&str]) -> Option<Vec<(String, String)>> {
    if ELSEWHERE.iter().any(|name| std::env::var_os(name).is_some()) {
        return None;
    }
    let mut told: Vec<(String, String)> = Vec::new();
    for (place, path) in FILES.iter().enumerate() {
        let text = match view.read(path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound && place > 0 => continue,
            Err(_) => return None,
        };
        for (name, value) in settings(&text)? {
            if name.starts_with("tags/") {
                return None;
            }
            if !names.contains(&name.as_str()) {
                continue;
            }
            if told.iter().any(|(known, _)| *known == name) {
                return None;
            }
            told.push((name, value));
        }
    }
    Some(told)
}

/// A sign or a word of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'t> {
    Sign(char),
    Word(&'t str),
    /// With its quotes.
    Text(&'t str),
}

/// Everything that is set, by section and name; none if it is not understood
/// to the end.
fn settings(text: &str) -> Option<Vec<(String, String)>> {
    let tokens = tokens(text)?;
    let mut left = tokens.into_iter();
    let mut sections: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    while let Some(token) = left.next() {
        let name = match token {
            Token::Word(name) => name,
            Token::Sign('}') => {
                sections.pop()?;
                continue;
            }
            _ => return None,
        };
        match left.next()? {
            Token::Sign('{') => sections.push(name),
            Token::Sign('=') => {
                let path: Vec<&str> = sections.iter().copied().chain([name]).collect();
                found.push((path.join("/"), value(&mut left)?));
            }
            _ => return None,
        }
    }
    sections.is_empty().then_some(found)
}

/// A value as lvm prints it: a list without blanks.
fn value<'t>(left: &mut impl Iterator<Item = Token<'t>>) -> Option<String> {
    match left.next()? {
        Token::Word(value) | Token::Text(value) => Some(value.to_owned()),
        Token::Sign('[') => {
            let mut items: Vec<&str> = Vec::new();
            let mut is_due = true;
            loop {
                match left.next()? {
                    Token::Sign(']') => return Some(format!("[{}]", items.join(","))),
                    Token::Sign(',') if !is_due => is_due = true,
                    Token::Word(item) | Token::Text(item) if is_due => {
                        items.push(item);
                        is_due = false;
                    }
                    _ => return None,
                }
            }
        }
        Token::Sign(_) => None,
    }
}

fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-+./".contains(c);
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '{' | '}' | '[' | ']' | '=' | ',' => {
                tokens.push(Token::Sign(first));
                1
            }
            '"' => {
                let end = 2 + rest[1..].find(['"', '\\', '\n'])?;
                let text = &rest[..end];
                tokens.push(Token::Text(text.ends_with('"').then_some(text)?));
                end
            }
            _ => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let word = &rest[..end];
                tokens.push(Token::Word((!word.is_empty()).then_some(word)?));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use crate::host::lvm::settings::Settings;
    use std::time::Duration;

    const PLAIN: &str = r#"
# As distributions have it.
config {
	# checks = 1
	abort_on_errors = 0
}
devices {
	dir = "/dev"
	filter = [ "a|^/dev/drbd|", # a comment within
	           "r|.*|" ]
}
activation {
	volume_list = [ "rootvg", "@node1" ]
	reserved_stack = 64
}
global/use_lvmlockd=1
"#;

    fn machine(conf: &str, local: Option<&str>) -> (tempfile::TempDir, View) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/lvm")).unwrap();
        std::fs::write(dir.path().join("etc/lvm/lvm.conf"), conf).unwrap();
        if let Some(local) = local {
            std::fs::write(dir.path().join("etc/lvm/lvmlocal.conf"), local).unwrap();
        }
        let view = View::below(dir.path(), Deadline::after(Duration::from_secs(5)));
        (dir, view)
    }

    /// Without lvm: there is none on a machine of files.
    fn of_access(conf: &str, local: Option<&str>) -> Option<Settings> {
        let (_dir, view) = machine(conf, local);
        Settings::of_access(&view).ok()
    }

    #[test]
    fn plain_files_are_read_as_lvm_prints_them() {
        let found = settings(PLAIN).unwrap();
        let value = |name: &str| {
            found.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(value("devices/filter"), Some(r#"["a|^/dev/drbd|","r|.*|"]"#));
        assert_eq!(value("activation/volume_list"), Some(r#"["rootvg","@node1"]"#));
        assert_eq!(value("config/checks"), None);
    }

    #[test]
    fn what_is_not_set_is_what_lvm_takes_for_it() {
        let settings = of_access("config {\n}\n", None).unwrap();
        assert_eq!(settings.word("system_id_source"), "none");
        assert!(!settings.is_on("use_lvmlockd"));
        assert_eq!(settings.list("volume_list"), None);
        let settings = of_access(PLAIN, Some("global { system_id_source = \"uname\" }")).unwrap();
        assert_eq!(settings.word("system_id_source"), "uname");
        assert!(settings.is_on("use_lvmlockd") && settings.shuts_out("vg", &[]));
        assert_eq!(settings.list("volume_list").unwrap(), ["rootvg", "@node1"]);
    }

    #[test]
    fn where_only_lvm_can_tell_it_is_asked() {
        let local = |text| of_access(PLAIN, Some(text));
        for odd in [
            // lvm joins the two.
            "activation { volume_list = [ \"more\" ] }",
            // More files are read for a tag.
            "tags { hosttags = 1 }",
            "tags { here { host_list = [ \"node1\" ] } }",
            // What is this?
            "activation { volume_list = [ \"a\\\"b\" ] }",
            "activation { volume_list = 'a' }",
            "activation { volume_list = [ \"a\" \"b\" ] }",
            "activation { ",
            "}",
            "global { use_lvmlockd @ 1 }",
        ] {
            assert!(local(odd).is_none(), "{odd}");
        }
        assert!(local("").is_some());
    }

    #[test]
    fn a_machine_has_its_name_as_its_system_id_if_lvm_takes_it_as_it_is() {
        let settings = of_access("global { system_id_source = \"uname\" }", None).unwrap();
        assert_eq!(settings.system_id("node1").as_deref(), Some("node1"));
        for odd in ["", "localhost", "Localhost.lan", "-node", "n\u{f6}de", "no de"] {
            assert_eq!(settings.system_id(odd), None, "{odd}");
        }
        let settings = of_access("global { system_id_source = \"machineid\" }", None).unwrap();
        assert_eq!(settings.system_id("node1"), None);
    }
}
