//! The words of the command line.

use super::haresources::{Line, parse};
use super::output::OUTPUT;
use anyhow::{Context, Result, bail};
use packaging::host;
use std::path::{Path, PathBuf};

/// What `--help` prints.
pub const HELP: &str = "\
Usage: cargo xtask demo [--haresources FILE] [--svg FILE] [--keep] [--agents DIR]

Shows a failover of a heartbeat resource group between two nodes made of
namespaces, with a client that writes without pause, and proves in the end that
no acknowledged record is lost. Nothing of it stays on the machine.

  --haresources FILE  show the group in FILE, of IPaddr and Filesystem words,
                      instead of the one in tests/demo/haresources
  --svg FILE          draw the timeline into FILE (target/demo/failover.svg)
  --keep              keep the disk image, the list of acknowledged records and
                      what the agents said beside the drawing
  --agents DIR        take the agents from DIR instead of building them
";

/// What is shown when nothing else is asked for.
const LINE: &str = include_str!("../haresources");

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The file of the group; the built-in line without.
    pub haresources: Option<PathBuf>,
    /// Where the drawing goes.
    pub svg: PathBuf,
    /// Whether disk image and logs are kept.
    pub keep: bool,
    /// The agents, if they need not be built.
    pub agents: Option<PathBuf>,
}

impl Options {
    /// Reads the command line; none when help was asked for.
    pub fn parse(words: &[String]) -> Result<Option<Options>> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| host::workspace().join("target"), PathBuf::from);
        let svg = target.join(OUTPUT).join("failover.svg");
        let mut options = Options { svg, ..Options::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} lacks its value"));
            match word.as_str() {
                "--haresources" => options.haresources = Some(value()?.into()),
                "--svg" => options.svg = value()?.into(),
                "--agents" => options.agents = Some(value()?.into()),
                "--keep" => options.keep = true,
                "-h" | "--help" | "help" => return Ok(None),
                other => bail!("unknown option {other}; see cargo xtask demo --help"),
            }
        }
        for path in [&mut options.haresources, &mut options.agents].into_iter().flatten() {
            *path = absolute(path)?;
        }
        options.svg = absolute(&options.svg)?;
        Ok(Some(options))
    }

    /// The command line that asks for the same.
    pub fn words(&self) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut words = vec!["--svg".into(), text(&self.svg)];
        for (name, path) in [("--haresources", &self.haresources), ("--agents", &self.agents)] {
            words.extend(path.iter().flat_map(|path| [name.to_string(), text(path)]));
        }
        words.extend(self.keep.then(|| "--keep".into()));
        words
    }

    /// The group to show.
    pub fn line(&self) -> Result<Line> {
        let Some(path) = &self.haresources else { return parse(LINE) };
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        parse(&text).with_context(|| format!("{name} cannot be shown"))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("no such path: {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_was_read() {
        let words = ["--keep", "--svg", "/x.svg", "--agents", "/a"].map(String::from);
        let options = Options::parse(&words).unwrap().unwrap();
        assert_eq!(Options::parse(&options.words()).unwrap().unwrap(), options);
        assert!(Options::parse(&["--svg".into()]).is_err());
        assert!(Options::parse(&["--what".into()]).is_err());
        assert_eq!(Options::parse(&["--help".into()]).unwrap(), None);
    }

    #[test]
    fn the_built_in_line_can_be_shown() {
        let line = Options::default().line().unwrap();
        assert!(super::super::plan::plan(&line).is_ok());
    }
}
