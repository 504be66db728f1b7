//! A line of `haresources`, taken apart as heartbeat takes it apart.

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The resource group of one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The node that shall hold the group as long as it can.
    pub node: String,
    /// Started from left to right, stopped from right to left.
    pub words: Vec<Word>,
}

/// One resource: a script and what it is given before the action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Its name in `/etc/ha.d/resource.d`.
    pub script: String,
    /// Its arguments; never empty ones, heartbeat drops those.
    pub args: Vec<String>,
}

impl Word {
    /// A short name that tells it from the other words of its group: that of
    /// its script, and where that occurs twice, the address or directory.
    pub fn name(&self, group: &[Word]) -> String {
        if group.iter().filter(|word| word.script == self.script).count() == 1 {
            return self.script.clone();
        }
        let detail = match (self.script.as_str(), &self.args[..]) {
            ("Filesystem", [_, directory, ..]) => directory.rsplit('/').next(),
            (_, [first, ..]) => first.split('/').next(),
            _ => None,
        };
        let detail = detail.unwrap_or_default();
        match detail.parse::<std::net::IpAddr>() {
            Ok(address) => format!("{} {address}", self.script),
            Err(_) => format!("{} {detail}", self.script),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.script)?;
        self.args.iter().try_for_each(|arg| write!(out, "::{arg}"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.node)?;
        self.words.iter().try_for_each(|word| write!(out, " {word}"))
    }
}

/// The one group of a haresources file.
pub fn parse(text: &str) -> Result<Line> {
    let uncommented: Vec<&str> =
        text.lines().map(|line| line.split('#').next().unwrap_or("").trim_end()).collect();
    let joined = uncommented.join("\n").replace("\\\n", " ");
    let mut groups = joined.lines().filter(|line| !line.trim().is_empty());
    let Some(group) = groups.next() else { bail!("there is no resource group in it") };
    ensure!(groups.next().is_none(), "it holds several groups; one at a time can be shown");
    let mut fields = group.split_whitespace();
    let node = fields.next().unwrap_or_default().to_lowercase();
    let words: Vec<Word> = fields.map(word).collect();
    ensure!(!words.is_empty(), "no resource follows the node {node}");
    Ok(Line { node, words })
}

fn word(text: &str) -> Word {
    if is_address(text) {
        return Word { script: "IPaddr".into(), args: vec![text.into()] };
    }
    let mut parts = text.split("::").filter(|part| !part.is_empty()).map(String::from);
    Word { script: parts.next().unwrap_or_default(), args: parts.collect() }
}

/// Heartbeat's pattern `[0-9]*.[0-9]*.[0-9]*.[0-9]*`: where a digit follows
/// the begin and each of three dots, whatever lies between.
fn is_address(text: &str) -> bool {
    let digit = |text: &str| text.starts_with(|letter: char| letter.is_ascii_digit());
    let dots = text.match_indices('.').filter(|(at, _)| digit(&text[at + 1..]));
    digit(text) && dots.count() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_line_over_several_lines_is_read() {
        let text = "# the storage pair\nStorage-Server0.example.org \\\n10.10.0.10/24/eth0 \\\n\
                    drbddisk::redundantstorage \\\nlvm2  # later\n";
        let line = parse(text).unwrap();
        assert_eq!(line.node, "storage-server0.example.org");
        assert_eq!(
            line.to_string(),
            "storage-server0.example.org IPaddr::10.10.0.10/24/eth0 drbddisk::redundantstorage lvm2"
        );
    }

    #[test]
    fn empty_fields_vanish_and_colons_split_everywhere() {
        assert_eq!(word("a::b::::d").args, ["b", "d"]);
        assert_eq!(word("IPaddr::fe80::1/64").args, ["fe80", "1/64"]);
    }

    #[test]
    fn words_of_one_script_get_names_of_their_own() {
        let words = parse("n 10.0.0.1/24 10.0.0.2/24 Filesystem::/dev/a::/srv/data").unwrap().words;
        let names: Vec<String> = words.iter().map(|word| word.name(&words)).collect();
        assert_eq!(names, ["IPaddr 10.0.0.1", "IPaddr 10.0.0.2", "Filesystem"]);
    }

    #[test]
    fn only_what_heartbeat_takes_for_an_address_is_one() {
        assert!(is_address("10.0.0.1") && is_address("10.0.0.1/24/eth0"));
        assert!(!is_address("fd00:0:0:0:0:0:0:1") && !is_address("drbddisk.1.2.3"));
    }

    #[test]
    fn several_groups_or_none_are_refused() {
        assert!(parse("n1 10.0.0.1\nn2 10.0.0.2\n").is_err());
        assert!(parse("# nothing\n").is_err() && parse("node1\n").is_err());
    }
}
