//! What was measured, kept in `docs`: each run replaces its own part, and the
//! documents are made of the whole.

use super::sheet::Report;
use super::{plot, table};
use anyhow::{Context, Result};
use packaging::host;
use std::fs;
use std::path::PathBuf;

/// What earlier runs have left.
pub fn read() -> Result<Report> {
    let path = document("json");
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("cannot make sense of {}", path.display())),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Report::default()),
        Err(err) => Err(err).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes the figures, the table and the plot.
pub fn write(report: &Report) -> Result<()> {
    let figures = serde_json::to_string_pretty(report)? + "\n";
    for (suffix, text) in
        [("json", figures), ("md", table::markdown(report)), ("svg", plot::svg(report))]
    {
        let path = document(suffix);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("\nwritten: {} (and .svg, .json)", document("md").display());
    Ok(())
}

fn document(suffix: &str) -> PathBuf {
    host::workspace().join("docs/benchmark").with_extension(suffix)
}
