//! The configuration: only to learn which minors a name stands for, where the
//! kernel tells no names, which disks are DRBD's, and what a resource is stacked
//! on.
//!
//! The grammar is DRBD's own: words, `{`, `}`, `;`, `"..."`, `#` to the end of
//! the line, and `include` with `*` and `?` in it.

use crate::host::system::View;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// The files that `drbdadm` looks for, in this order.
const FILES: [&str; 5] = [
    "/etc/drbd-84.conf",
    "/etc/drbd-83.conf",
    "/etc/drbd-82.conf",
    "/etc/drbd-08.conf",
    "/etc/drbd.conf",
];

/// No sensible configuration includes files this deep.
const DEEPEST: u32 = 8;

/// A pair of braces, and what stands before and in it.
#[derive(Debug, Default)]
pub struct Section {
    /// `resource r1`, `on node1 node2`; nothing for the whole file.
    pub title: Vec<String>,
    /// What ends with `;`.
    pub statements: Vec<Vec<String>>,
    /// The sections in it.
    pub sections: Vec<Section>,
}

/// Reads the file, or the one that DRBD would look for, and what it includes.
pub fn read(view: &View, file: Option<&Path>) -> Result<Section> {
    let file = match file {
        Some(file) => file.to_path_buf(),
        None => {
            let there = |file: &&str| view.exists(file).unwrap_or(false);
            PathBuf::from(FILES.into_iter().find(there).unwrap_or("/etc/drbd.conf"))
        }
    };
    let mut whole = Section::default();
    include(view, &file, &mut whole, 0)?;
    Ok(whole)
}

fn include(view: &View, file: &Path, into: &mut Section, depth: u32) -> Result<()> {
    ensure!(depth <= DEEPEST, "{} is included too deep", file.display());
    let text = view.read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found = parse(&text).with_context(|| format!("{} makes no sense", file.display()))?;
    into.sections.extend(found.sections);
    for statement in found.statements {
        match &statement[..] {
            [word, pattern] if word == "include" => {
                for included in matching(view, file, pattern)? {
                    include(view, &included, into, depth + 1)?;
                }
            }
            _ => into.statements.push(statement),
        }
    }
    Ok(())
}

/// The files that a pattern stands for, relative to the file it stands in.
fn matching(view: &View, file: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern);
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.contains(['*', '?']) {
        return Ok(vec![pattern]);
    }
    let directory = pattern.parent().unwrap_or(Path::new("/"));
    let names = match view.list(directory) {
        Ok(names) => names,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(err) => {
            return Err(err).with_context(|| format!("cannot list {}", directory.display()));
        }
    };
    let fits = |found: &String| !found.starts_with('.') && fits(name.as_bytes(), found.as_bytes());
    Ok(names.into_iter().filter(fits).map(|name| directory.join(name)).collect())
}

/// Whether the name is one that the pattern stands for.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits(rest, name) || name.split_first().is_some_and(|(_, name)| fits(pattern, name))
        }
        (Some((b'?', pattern)), Some((_, name))) => fits(pattern, name),
        (Some((wanted, pattern)), Some((found, name))) => wanted == found && fits(pattern, name),
        _ => false,
    }
}

/// Reads the text of one file.
pub fn parse(text: &str) -> Result<Section> {
    let mut open = vec![Section::default()];
    let mut words: Vec<String> = Vec::new();
    for token in tokens(text) {
        let inner = open.last_mut().expect("the file itself is never closed");
        match token? {
            Token::Word(word) => words.push(word),
            Token::End => {
                if !words.is_empty() {
                    inner.statements.push(std::mem::take(&mut words));
                }
            }
            Token::Open => {
                open.push(Section { title: std::mem::take(&mut words), ..Section::default() });
            }
            Token::Close => {
                ensure!(words.is_empty(), "`{}` has no `;`", words.join(" "));
                let closed = open.pop().expect("the file itself is never closed");
                let Some(outer) = open.last_mut() else { bail!("there is one `}}` too many") };
                outer.sections.push(closed);
            }
        }
    }
    ensure!(words.is_empty() && open.len() == 1, "it ends in the middle");
    Ok(open.pop().expect("the file itself is never closed"))
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> impl Iterator<Item = Result<Token>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        while rest.starts_with('#') {
            rest = rest.split_once('\n').map_or("", |(_, after)| after).trim_start();
        }
        let first = rest.chars().next()?;
        let mark = match first {
            '{' => Some(Token::Open),
            '}' => Some(Token::Close),
            ';' => Some(Token::End),
            _ => None,
        };
        if let Some(mark) = mark {
            rest = &rest[1..];
            return Some(Ok(mark));
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let Some((word, after)) = quoted.split_once('"') else {
                rest = "";
                return Some(Err(anyhow::anyhow!("a quote is not closed")));
            };
            rest = after;
            return Some(Ok(Token::Word(word.to_owned())));
        }
        let ends = |c: char| c.is_whitespace() || "{};\"#".contains(c);
        let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
        rest = after;
        Some(Ok(Token::Word(word.to_owned())))
    })
}

impl Section {
    /// The section of a resource.
    pub fn resource(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.is("resource", name))
    }

    /// The section of what holds for all resources that do not say otherwise.
    pub fn common(&self) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind() == "common")
    }

    /// The names of all resources.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        let resources = self.sections.iter().filter(|section| section.kind() == "resource");
        resources.filter_map(|section| section.title.get(1).map(String::as_str))
    }

    fn is(&self, kind: &str, name: &str) -> bool {
        let mut title = self.title.iter();
        title.next().is_some_and(|word| word == kind) && title.any(|word| word == name)
    }

    fn kind(&self) -> &str {
        self.title.first().map_or("", String::as_str)
    }

    /// A resource as this node has it, if the configuration knows it.
    pub fn here<'a>(&'a self, name: &str, node: &'a str) -> Option<Here<'a>> {
        let resource = self.resource(name)?;
        let named = resource.of_node(node);
        let upon_ours = || {
            let is_ours = |stacked: &&Section| {
                let lower = stacked.title.get(1).and_then(|lower| self.resource(lower));
                stacked.kind() == "stacked-on-top-of"
                    && lower.is_some_and(|lower| lower.of_node(node).is_some())
            };
            resource.sections.iter().find(is_ours)
        };
        Some(Here { resource, place: named.or_else(upon_ours) })
    }

    /// Where a resource is described for the node, unless it is stacked there.
    fn of_node(&self, node: &str) -> Option<&Section> {
        let ours = self.sections.iter().find(|inner| inner.is("on", node));
        let ours = ours.or_else(|| self.sections.iter().find(|inner| inner.is("on", "_this_host")));
        // That kind names no node; the device is the same on all of them.
        ours.or_else(|| self.sections.iter().find(|inner| inner.kind() == "floating"))
    }

    /// `device /dev/drbd1;`, `device minor 1;`, `device /dev/drbd_www minor 1;`
    fn minor(&self) -> Option<u32> {
        let device = self.statements.iter().find(|words| words[0] == "device")?;
        let named = device.iter().position(|word| word == "minor");
        if let Some(place) = named {
            return device.get(place + 1)?.parse().ok();
        }
        device.get(1)?.strip_prefix("/dev/drbd")?.parse().ok()
    }
}

/// What the configuration says of a resource on one node.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    resource: &'a Section,
    place: Option<&'a Section>,
}

impl<'a> Here<'a> {
    /// What the resource is stacked on here, if it is. On the nodes of its
    /// other side the same resource is not.
    pub fn lower(&self) -> Option<&'a str> {
        let stacked = self.place.filter(|place| place.kind() == "stacked-on-top-of")?;
        stacked.title.get(1).map(String::as_str)
    }

    /// The minors of its devices.
    pub fn minors(&self) -> Vec<u32> {
        let mut minors: Vec<u32> = self.volumes().filter_map(Section::minor).collect();
        minors.sort_unstable();
        minors.dedup();
        minors
    }

    /// The disks that it lies on.
    pub fn disks(&self) -> Vec<PathBuf> {
        let disk = |section: &Section| {
            let words = section.statements.iter().find(|words| words[0] == "disk")?;
            words.get(1).filter(|path| path.starts_with('/')).map(PathBuf::from)
        };
        self.volumes().filter_map(disk).collect()
    }

    /// Where its devices are described.
    fn volumes(&self) -> impl Iterator<Item = &'a Section> {
        [Some(self.resource), self.place].into_iter().flatten().flat_map(|place| {
            let volumes = place.sections.iter().filter(|inner| inner.kind() == "volume");
            [place].into_iter().chain(volumes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::time::Duration;

    /// Of a pair that replicates a volume group.
    const OLD: &str = r#"
        resource r1 {
          protocol C;
          incon-degr-cmd "echo '!DRBD! pri on incon-degr' | wall ; sleep 60 ; halt -f";
          on milo1 { device /dev/drbd1; disk /dev/sda3; address 192.168.0.1:7789; }
          on milo2 { device /dev/drbd2; disk /dev/hdd3; address 192.168.0.2:7789; }
        }
        resource aoe.target.0 { # a dot in the name
          device minor 7; on a b { disk /dev/vdc1; }
        }"#;

    #[test]
    fn a_name_stands_for_the_minor_of_this_node() {
        let found = parse(OLD).unwrap();
        let r1 = |node: &'static str| found.here("r1", node).unwrap();
        assert_eq!((r1("milo1").minors(), r1("milo2").minors()), (vec![1], vec![2]));
        assert!(r1("elsewhere").minors().is_empty());
        assert_eq!(found.here("aoe.target.0", "b").unwrap().minors(), [7]);
        assert!(found.here("r", "b").is_none());
        assert_eq!(r1("milo2").disks(), [Path::new("/dev/hdd3")]);
    }

    #[test]
    fn volumes_are_found() {
        let found = parse(
            "resource r { volume 0 { device /dev/drbd_a minor 3; } \
               on n { volume 1 { device /dev/drbd4; } } }",
        )
        .unwrap();
        assert_eq!(found.here("r", "n").unwrap().minors(), [3, 4]);
    }

    /// Two pairs, and a resource between them that lies on both.
    const STACKED: &str = "\
        resource left { on alice bob { device /dev/drbd0; disk /dev/sda1; } } \
        resource right { on charlie daisy { device /dev/drbd0; disk /dev/sda1; } } \
        resource upper { \
          stacked-on-top-of left { device /dev/drbd10; } \
          stacked-on-top-of right { device /dev/drbd11; } \
          on eve { device /dev/drbd12; disk /dev/sdb1; } }";

    #[test]
    fn a_resource_is_stacked_where_the_lower_one_is() {
        let found = parse(STACKED).unwrap();
        let upper = |node: &'static str| found.here("upper", node).unwrap();
        assert_eq!((upper("bob").lower(), upper("bob").minors()), (Some("left"), vec![10]));
        assert_eq!((upper("daisy").lower(), upper("daisy").minors()), (Some("right"), vec![11]));
        assert_eq!((upper("eve").lower(), upper("eve").minors()), (None, vec![12]));
        assert_eq!(upper("elsewhere").lower(), None);
        assert_eq!(found.here("left", "alice").unwrap().lower(), None);
    }

    #[test]
    fn a_broken_text_is_an_error() {
        for broken in ["resource r {", "}", "resource r { device x }", "a \"b", "device /dev/drbd1"]
        {
            assert!(parse(broken).is_err(), "{broken}");
        }
        assert!(parse("# nothing but a remark").unwrap().sections.is_empty());
    }

    #[test]
    fn what_is_included_belongs_to_it() {
        let root = tempfile::tempdir().unwrap();
        let parts = root.path().join("etc/drbd.d");
        std::fs::create_dir_all(&parts).unwrap();
        let main = "include \"drbd.d/*.res\";\n";
        std::fs::write(root.path().join("etc/drbd.conf"), main).unwrap();
        std::fs::write(parts.join("r1.res"), OLD).unwrap();
        std::fs::write(parts.join("r1.res.bak"), "resource {").unwrap();
        let view = View::below(root.path(), Deadline::after(Duration::from_secs(5)));
        assert!(read(&view, None).unwrap().resource("r1").is_some());
        std::fs::write(parts.join("loop.res"), "include \"../drbd.conf\";").unwrap();
        assert!(format!("{:#}", read(&view, None).unwrap_err()).contains("too deep"));
    }

    #[test]
    fn a_pattern_stands_for_names() {
        assert!(fits(b"*.res", b"r1.res") && fits(b"r?.*", b"r1.res") && fits(b"*", b""));
        assert!(!fits(b"*.res", b"r1.res.bak") && !fits(b"?", b""));
    }
}
