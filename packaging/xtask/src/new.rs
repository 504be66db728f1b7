//! `cargo xtask new NAME`: the skeleton of an agent, and its entry in every list
//! that there is.
//!
//! It compiles, and it knows nothing: every look is in doubt. The cases that
//! fail then are those that its author has to think about.

use anyhow::{Context, Result, bail, ensure};
use packaging::host;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const AGENT: &str = include_str!("../new/agent.rs.in");
const KERNEL: &str = include_str!("../new/kernel.rs.in");

/// A line that is added to a file of the project's.
struct Entry {
    file: &'static str,
    /// It goes before the first line that begins so, after the line that begins
    /// with the other.
    after: &'static str,
    before: &'static str,
    line: &'static str,
}

/// The lists that an agent stands in. Everything else goes through
/// `agents::ALL`.
const ENTRIES: &[Entry] = &[
    Entry {
        file: "agents/src/lib.rs",
        after: "pub mod ",
        before: "\n",
        line: "pub mod @MODULE@;\n",
    },
    Entry {
        file: "agents/src/lib.rs",
        after: "pub const ALL",
        before: "];",
        line: "    meta_of::<@MODULE@::@TYPE@>(),\n",
    },
    Entry {
        file: "agents/Cargo.toml",
        after: "name = \"agents\"",
        before: "[[bin]]\nname = \"noop\"",
        line: "[[bin]]\nname = \"@NAME@\"\npath = \"src/bin/@MODULE@.rs\"\ntest = false\n\n",
    },
    Entry {
        file: "tests/contract/sample.rs",
        after: "pub fn prepare",
        before: "        _ => panic!",
        line: "        \"@NAME@\" => one(\"@FIRST@\", \"/srv/one\"),\n",
    },
    Entry { file: "tests/kernel/main.rs", after: "mod ", before: "\n", line: "mod @MODULE@;\n" },
    Entry {
        file: "tests/kernel/main.rs",
        after: "    harness::tier(",
        before: "    })",
        line: "        @MODULE@::cases(cases);\n",
    },
    Entry {
        file: "README.md",
        after: "| agent | keeps |",
        before: "\n",
        line: "| `@NAME@` | @TEXT@: what it keeps | @TEXT@: the agent that it replaces, if any |\n",
    },
    Entry {
        file: "CHANGELOG.md",
        after: "## ",
        before: "- `cargo xtask demo`",
        line: "- `@NAME@`: @TEXT@: what it keeps.\n",
    },
];

const USAGE: &str = "Usage: cargo xtask new NAME    # as Pacemaker shall call it: Symlink";

/// What is left to its author: where, and what.
const LEFT: &[(&str, &str)] = &[
    ("agents/src/@MODULE@.rs", "parameters, State, observe, start, stop"),
    ("common/src/host/", "a facility that is new: its file with its tests, `pub mod` in"),
    ("", "host.rs, its word in the table of ARCHITECTURE.md"),
    ("tests/contract/sample.rs", "parameters that work on a machine of the tests; its name in"),
    ("", "can_run, where it can run there: six more cases then start and stop it"),
    (
        "tests/harness/state.rs",
        "a line for what a start changes, or no case sees what a stop leaves",
    ),
    ("tests/kernel/@MODULE@.rs", "the real kernel, and what is up to whoever kills it"),
    ("README.md, CHANGELOG.md", "the words for it"),
];

const AFTER: &str = "\
Texts that are to be written say `@TEXT@`, and a case fails until they are. Then:
  cargo test --package agents --lib @MODULE@
  cargo test --package agents --test contract -- @NAME@
  cargo test --package agents --test kernel -- @NAME@
";

/// The agent to be, in the spellings that the templates have.
struct Names {
    name: String,
    module: String,
    /// With a capital letter in front, as Rust has it.
    type_name: String,
}

/// Lays the skeleton, below the workspace.
pub fn run(words: &[String]) -> Result<()> {
    let asks_for_help = words.iter().any(|word| matches!(word.as_str(), "-h" | "--help"));
    let [name] = words else {
        eprintln!("{USAGE}");
        ensure!(asks_for_help, "one name is needed");
        return Ok(());
    };
    if asks_for_help {
        println!("{USAGE}");
        return Ok(());
    }
    let left = lay(&host::workspace(), name)?;
    // The lists are sorted as rustfmt has them.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let formatted = Command::new(cargo)
        .current_dir(host::workspace())
        .args(["fmt", "--all"])
        .status()
        .context("cannot run cargo fmt")?;
    ensure!(formatted.success(), "cargo fmt has failed");
    println!("{left}");
    Ok(())
}

fn lay(root: &Path, name: &str) -> Result<String> {
    let names = Names::of(name)?;
    let made = [
        (root.join(format!("agents/src/{}.rs", names.module)), names.fill(AGENT)),
        (root.join(format!("agents/src/bin/{}.rs", names.module)), names.fill(BINARY)),
        (root.join(format!("tests/kernel/{}.rs", names.module)), names.fill(KERNEL)),
    ];
    if let Some((there, _)) = made.iter().find(|(path, _)| path.exists()) {
        bail!("{} is there already", there.display());
    }
    // All of them are worked out before the first is written.
    let mut changed: Vec<(PathBuf, String)> = Vec::new();
    for entry in ENTRIES {
        let path = root.join(entry.file);
        let known = changed.iter().position(|(other, _)| *other == path);
        let text = match known {
            Some(at) => changed.remove(at).1,
            None => fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?,
        };
        let text = entry.added(&text, &names.fill(entry.line))?;
        changed.push((path, text));
    }
    for (path, text) in made.into_iter().chain(changed) {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(names.left())
}

const BINARY: &str = "\
//! The binary of [`agents::@MODULE@`].
#![no_main]

common::main!(agents::@MODULE@::@TYPE@);
";

impl Names {
    fn of(name: &str) -> Result<Self> {
        let mut words = name.split('-');
        let is_word =
            |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric());
        let fits = name.starts_with(|c: char| c.is_ascii_alphabetic()) && words.all(is_word);
        ensure!(
            fits,
            "`{name}` is no name for an agent: a letter, then letters, digits, single dashes"
        );
        let capital = |word: &str| {
            let (first, rest) = word.split_at(1);
            format!("{}{rest}", first.to_ascii_uppercase())
        };
        let type_name = name.split('-').map(capital).collect();
        Ok(Self { name: name.to_owned(), module: snake(name), type_name })
    }

    fn left(&self) -> String {
        let places: Vec<String> = LEFT.iter().map(|(place, _)| self.fill(place)).collect();
        let width = places.iter().map(String::len).max().unwrap_or(0);
        let lines =
            places.iter().zip(LEFT).map(|(place, (_, what))| format!("  {place:width$}  {what}\n"));
        format!("What is left, in this order:\n{}{}", lines.collect::<String>(), self.fill(AFTER))
    }

    fn fill(&self, template: &str) -> String {
        template
            .replace("@TEXT@", &format!("TO BE WRITTEN ({})", self.name))
            .replace("@NAME@", &self.name)
            .replace("@MODULE@", &self.module)
            .replace("@TYPE@", &self.type_name)
            .replace("@FIRST@", "target")
    }
}

/// The name as Rust's modules have it: `virtual_domain` for `VirtualDomain`. Short
/// runs of one case, as in `iSCSITarget` and `IPaddr`, stay with what follows.
fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let run = |before: usize, is: fn(&char) -> bool| {
        letters[..before].iter().rev().take_while(|letter| is(letter)).count()
    };
    let mut module = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let begins = letter.is_ascii_uppercase()
            && (run(at, char::is_ascii_lowercase) > 1
                || run(at, char::is_ascii_uppercase) > 1
                    && letters.get(at + 1).is_some_and(char::is_ascii_lowercase));
        if begins {
            module.push('_');
        }
        module.push(if *letter == '-' { '_' } else { letter.to_ascii_lowercase() });
    }
    module
}

impl Entry {
    fn added(&self, text: &str, line: &str) -> Result<String> {
        let lacks = || format!("{} has changed: nothing begins with {:?}", self.file, self.after);
        let from = match text.starts_with(self.after) {
            true => 0,
            false => text.find(&format!("\n{}", self.after)).with_context(lacks)? + 1,
        };
        // An empty line ends a list that has no end of its own.
        let at = text[from..].find(&format!("\n{}", self.before)).with_context(lacks)? + 1;
        let (head, tail) = text.split_at(from + at);
        Ok(format!("{head}{line}{tail}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of what the task changes.
    fn copy() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in ENTRIES.iter().map(|entry| entry.file) {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(host::workspace().join(file), path).unwrap();
        }
        for directory in ["agents/src/bin", "tests/kernel"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        root
    }

    #[test]
    fn every_list_has_the_new_agent() {
        let root = copy();
        let told = lay(root.path(), "Symlink").unwrap();
        assert!(told.contains("agents/src/symlink.rs"));
        let read = |file: &str| fs::read_to_string(root.path().join(file)).unwrap();
        assert!(read("agents/src/lib.rs").contains("\npub mod symlink;\n"));
        assert!(read("agents/src/lib.rs").contains("    meta_of::<symlink::Symlink>(),\n];"));
        assert!(read("tests/kernel/main.rs").contains("        symlink::cases(cases);\n    })"));
        assert!(read("README.md").contains("| `Symlink` | TO BE WRITTEN (Symlink): "));
        for file in ["agents/src/symlink.rs", "agents/src/bin/symlink.rs"] {
            assert!(!read(file).contains('@'), "{file}");
        }
        let again = lay(root.path(), "Symlink").unwrap_err().to_string();
        assert!(again.ends_with("is there already"), "{again}");
    }

    #[test]
    fn a_name_without_a_capital_letter_is_a_type_with_one() {
        let root = copy();
        lay(root.path(), "symlink").unwrap();
        let read = |file: &str| fs::read_to_string(root.path().join(file)).unwrap();
        assert!(read("agents/src/lib.rs").contains("    meta_of::<symlink::Symlink>(),\n];"));
        assert!(read("agents/src/symlink.rs").contains("pub struct SymlinkParams {"));
        assert!(read("agents/src/symlink.rs").contains("name: \"symlink\","));
        assert!(read("README.md").contains("| `symlink` |"));
    }

    #[test]
    fn a_module_is_called_as_rust_has_it() {
        let known = [
            ("VirtualDomain", "virtual_domain"),
            ("iSCSITarget", "iscsi_target"),
            ("iSCSILogicalUnit", "iscsi_logical_unit"),
            ("IPaddr", "ipaddr"),
            ("nfs-kernel-server", "nfs_kernel_server"),
            ("LVM", "lvm"),
            ("lvm2", "lvm2"),
        ];
        for (name, module) in known {
            assert_eq!(snake(name), module);
        }
    }

    #[test]
    fn what_is_left_stands_in_columns() {
        let told = Names::of("Wonderfully-Long-Name").unwrap().left();
        let columns: Vec<usize> = told
            .lines()
            .skip(1)
            .take(LEFT.len())
            .zip(LEFT)
            .map(|(line, (_, what))| line.find(what).unwrap())
            .collect();
        assert!(columns.iter().all(|column| *column == columns[0]), "{told}");
    }

    #[test]
    fn help_is_no_name() {
        for word in ["--help", "-h"] {
            run(&[word.to_owned()]).unwrap();
        }
        assert!(!host::workspace().join("agents/src/__help.rs").exists());
        assert!(run(&[]).is_err());
    }

    #[test]
    fn what_is_no_name_changes_nothing() {
        for bad in ["", "--help", "7z", "Sym link", "../X", "X-", "-x", "x--y"] {
            assert!(Names::of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_readme_has_a_row_for_each_agent() {
        let readme = fs::read_to_string(host::workspace().join("README.md")).unwrap();
        let rows: Vec<&str> = readme
            .lines()
            .skip_while(|line| !line.starts_with("| agent | keeps |"))
            .skip(2)
            .map_while(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let mut listed = rows.clone();
        let mut declared: Vec<&str> = agents::ALL.iter().map(|meta| meta.name).collect();
        listed.sort_unstable();
        declared.sort_unstable();
        assert_eq!(listed, declared);
    }
}
