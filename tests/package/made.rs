//! What the distributions' own checkers say of the packages.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn packages(directory: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|is| is == kind)).collect();
    assert!(!found.is_empty(), "no .{kind} in {}", directory.display());
    found
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Silent but for one tag: letters that happen to stand together in machine
/// code are taken for misspelled words, other ones with each build, so that an
/// override would be out of use with the next.
pub fn lintian(directory: &Path) {
    let mut command = Command::new("lintian");
    command.args(["--display-info", "--allow-root", "--no-cfg", "--fail-on", "error,warning,info"]);
    command.args(["--suppress-tags", "spelling-error-in-binary"]);
    let output = command.args(packages(directory, "deb")).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", said(&output));
}

pub fn rpmlint(directory: &Path) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/rpm/rpmlint.toml");
    let mut command = Command::new("rpmlint");
    command.arg("--config").arg(config).args(packages(directory, "rpm"));
    let output = command.output().unwrap();
    assert!(said(&output).contains("0 errors, 0 warnings"), "{}", said(&output));
}
