//! What was measured, kept: each run replaces its own part, and the documents
//! are made of the whole.

use super::measure::Row;
use super::{plot, table};
use anyhow::{Context, Result};
use packaging::host;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// The rows that were measured on one machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sheet {
    /// The machine, in words.
    pub machine: String,
    /// What was measured.
    pub rows: Vec<Row>,
}

/// Everything.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// On the machine that the task was started on.
    pub host: Option<Sheet>,
    /// In a machine of the lab.
    pub lab: Option<Sheet>,
}

impl Report {
    /// What earlier runs have left.
    pub fn read() -> Result<Self> {
        let path = document("json");
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("cannot make sense of {}", path.display())),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(err) => Err(err).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes the figures, the table and the plot.
    pub fn write(&self) -> Result<()> {
        let figures = serde_json::to_string_pretty(self)? + "\n";
        for (suffix, text) in
            [("json", figures), ("md", table::markdown(self)), ("svg", plot::svg(self))]
        {
            let path = document(suffix);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        println!("\nwritten: {} (and .svg, .json)", document("md").display());
        Ok(())
    }
}

fn document(suffix: &str) -> PathBuf {
    host::workspace().join("docs/benchmark").with_extension(suffix)
}

/// The system that this process runs on.
pub fn system() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    format!("Linux {}, {}", kernel.trim(), name.unwrap_or("unknown").trim_matches('"'))
}
