//! What stays of a story: its drawing, and what is kept.

use anyhow::{Context, Result};
use std::path::Path;

/// Where the story's drawing and what is kept go, below cargo's target
/// directory.
pub const OUTPUT: &str = "demo";

/// Makes the directory that the drawing and what is kept lie in.
pub fn make_directory(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    give_to_caller(directory)
}

/// Under sudo, what was made belongs to the user who called it.
pub fn give_to_caller(path: &Path) -> Result<()> {
    let id = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID")) else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(user), Some(group))
        .with_context(|| format!("cannot give {} to its user", path.display()))
}
