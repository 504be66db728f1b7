//! What the kernel says of the server, on its way from the child that has asked.

use anyhow::{Result, bail};

/// Threads of the server, and its scope where the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) threads: u32,
    pub(super) scope: Option<String>,
}

impl Told {
    /// As the child writes it.
    pub(super) fn text(&self) -> String {
        let scope = self.scope.as_ref().map(|scope| format!("scope {scope}\n"));
        format!("threads {}\n{}", self.threads, scope.unwrap_or_default())
    }

    /// What a child has written.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let value = |word: &str| text.lines().find_map(|line| line.strip_prefix(word));
        let Some(threads) = value("threads ").and_then(|count| count.parse().ok()) else {
            bail!("no count of threads in `{}`", text.trim_end());
        };
        Ok(Self { threads, scope: value("scope ").map(str::to_owned) })
    }
}
