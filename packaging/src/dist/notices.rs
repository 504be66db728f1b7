//! The copyright file: ours, and the notices of everything that is linked.

use crate::host::{self, said};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The names under which crates keep the licence that we take them by.
const TEXTS: &[&str] = &["LICENSE-MIT", "LICENSE-MIT.md", "LICENSE", "LICENSE.txt"];

/// A crate that ends up in the binaries.
struct Linked {
    name: String,
    version: String,
    authors: String,
    directory: PathBuf,
}

/// The file in Debian's machine-readable form.
pub fn copyright(libc: &str) -> Result<String> {
    let ours = Notice::of(&String::from_utf8(crate::payload::text("LICENSE-MIT")?)?);
    let mut out = String::from(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: sturdy\n",
    );
    write!(
        out,
        "Comment: The binaries are static. Linked into them are the crates and libraries below, each \
         by the\n licence named here; the source of the C library is Debian's {libc}.\n\n\
         Files: *\nCopyright: {}\nLicense: Expat or Apache-2.0\n\n",
        ours.holders.join("\n  ")
    )?;
    for linked in linked()? {
        stanza(&mut out, &linked, &ours)?;
    }
    out.push_str(LIBRARIES);
    write!(out, "\nLicense: Expat\n{}\n", indented(&ours.terms))?;
    out.push_str(COMMON_LICENSES);
    Ok(out)
}

/// What comes with the compiler.
const LIBRARIES: &str = "Files: rust/library/*
Copyright: The Rust Project Contributors
License: Expat or Apache-2.0

Files: glibc/*
Copyright: Free Software Foundation, Inc. and others
License: LGPL-2.1+

Files: gcc/libgcc/*
Copyright: Free Software Foundation, Inc.
License: GPL-3+ with GCC-exception-3.1
";

const COMMON_LICENSES: &str = "
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.

License: LGPL-2.1+
 On Debian systems the text is in /usr/share/common-licenses/LGPL-2.1. What is
 linked with it comes with its source, by which it can be linked again.

License: GPL-3+ with GCC-exception-3.1
 On Debian systems the text is in /usr/share/common-licenses/GPL-3. The
 exception permits to convey what is linked under terms of one's own choice.
";

fn stanza(out: &mut String, linked: &Linked, ours: &Notice) -> Result<()> {
    let Linked { name, version, authors, directory } = linked;
    let path = TEXTS.iter().map(|text| directory.join(text)).find(|path| path.exists());
    let path =
        path.with_context(|| format!("{name} {version} has no licence that is known here"))?;
    let notice = Notice::of(&fs::read_to_string(&path)?);
    ensure!(notice.is_mit(), "{} is not the MIT licence", path.display());
    let holders = match notice.holders.is_empty() {
        false => notice.holders.join("\n  "),
        true if authors.is_empty() => format!("the authors of {name}"),
        true => authors.clone(),
    };
    write!(out, "Files: {name}-{version}/*\nCopyright: {holders}\n")?;
    match notice.words() == ours.words() {
        true => writeln!(out, "License: Expat\n")?,
        false => writeln!(out, "License: Expat-{name}\n{}\n", indented(&notice.terms))?,
    }
    Ok(())
}

/// A licence's text, with those who hold the copyright apart.
struct Notice {
    holders: Vec<String>,
    terms: String,
}

impl Notice {
    fn of(text: &str) -> Self {
        let is_holder = |line: &&str| {
            let line = line.trim_start().to_lowercase();
            line.strip_prefix("copyright ").is_some_and(|rest| {
                rest.starts_with("(c)") || rest.starts_with(|letter: char| letter.is_ascii_digit())
            })
        };
        let is_title = |line: &&str| {
            let line = line.trim().to_lowercase();
            matches!(line.as_str(), "mit license" | "the mit license" | "the mit license (mit)")
        };
        let holders = text.lines().filter(is_holder);
        let holders = holders.map(|line| line.trim()["copyright ".len()..].to_owned()).collect();
        let terms: Vec<_> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !is_holder(line) && !is_title(line))
            .collect();
        Self { holders, terms: terms.join("\n").trim().to_owned() }
    }

    /// However the lines are broken.
    fn words(&self) -> Vec<&str> {
        self.terms.split_whitespace().collect()
    }

    fn is_mit(&self) -> bool {
        self.words().join(" ").starts_with("Permission is hereby granted, free of charge")
    }
}

/// As the field of a control file: a blank in front, a dot in an empty line.
fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.trim() {
        "" => " .".to_owned(),
        _ => format!(" {line}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The crates of the registry that the agents are linked with. What runs at
/// compile time only is not among them.
fn linked() -> Result<Vec<Linked>> {
    let tree = said(host::cargo().current_dir(host::workspace()).args([
        "tree",
        "--package",
        "agents",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--locked",
    ]))?;
    let names: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter(|line| !line.contains('/'))
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, version)| (name, version.split(' ').next().unwrap_or(version)))
        .collect();
    let metadata = said(host::cargo().current_dir(host::workspace()).args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        &host_triple()?,
    ]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    names.into_iter().map(|(name, version)| Linked::find(packages, name, version)).collect()
}

fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = said(std::process::Command::new(rustc).arg("-vV"))?;
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("rustc does not tell its host")
}

impl Linked {
    fn find(packages: &[serde_json::Value], name: &str, version: &str) -> Result<Self> {
        let package = packages
            .iter()
            .find(|package| package["name"] == name && package["version"] == version)
            .with_context(|| format!("cargo metadata has no {name} {version}"))?;
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let authors = package["authors"].as_array().into_iter().flatten();
        let authors: Vec<_> = authors.filter_map(|author| author.as_str()).collect();
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            authors: authors.join(", "),
            directory: Path::new(manifest).parent().unwrap_or(Path::new("")).to_path_buf(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_linked_crate_is_named_with_those_who_hold_its_copyright() {
        let text = copyright("glibc (= 2.36-9)").unwrap();
        let linked = linked().unwrap();
        assert!(linked.iter().any(|linked| linked.name == "libc"));
        assert!(!linked.iter().any(|linked| linked.name == "serde_derive"));
        for Linked { name, version, .. } in linked {
            let at = text.find(&format!("Files: {name}-{version}/*\nCopyright: ")).unwrap();
            let holders = text[at..].lines().nth(1).unwrap();
            assert!(holders.len() > "Copyright: ".len(), "{name}: {holders}");
        }
    }

    #[test]
    fn a_notice_is_the_same_however_its_lines_are_broken() {
        let one =
            Notice::of("MIT License\n\nCopyright (c) 2020 A\n\nPermission is\nhereby granted");
        let other =
            Notice::of("Copyright (c) 2021 B\nCopyright 2022 C\n\nPermission is hereby\ngranted");
        assert_eq!(one.words(), other.words());
        assert_eq!(other.holders, ["(c) 2021 B", "2022 C"]);
    }
}
