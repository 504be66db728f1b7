//! What was measured.

use super::measure::Row;
use serde::{Deserialize, Serialize};
use std::fs;

/// The rows that were measured on one machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sheet {
    /// The machine, in words.
    pub machine: String,
    /// What was measured.
    pub rows: Vec<Row>,
}

impl Sheet {
    /// With the rows of agents that were measured anew in the place of their
    /// older ones.
    pub fn renewed(self, new: Self) -> Self {
        let is_older = |row: &Row| new.rows.iter().all(|other| other.case.agent != row.case.agent);
        let rows = self.rows.into_iter().filter(is_older).collect::<Vec<_>>();
        Self { machine: new.machine, rows: rows.into_iter().chain(new.rows).collect() }
    }
}

/// Everything.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// On the machine that the task was started on.
    pub host: Option<Sheet>,
    /// In a machine of the lab.
    pub lab: Option<Sheet>,
}

/// The system that this process runs on.
pub fn system() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    format!("Linux {}, {}", kernel.trim(), name.unwrap_or("unknown").trim_matches('"'))
}
