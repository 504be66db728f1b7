//! heartbeat 3 with an article's ha.cf, authkeys and haresources.

use super::article::Article;
use super::client::{Lab, Machine};
use super::setting::NODES;
use anyhow::Result;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// Puts the files in place on both nodes.
pub fn configure(lab: &Lab, article: &Article) -> Result<()> {
    for (name, text) in article.adapted()? {
        let mode = if name == "authkeys" { 0o600 } else { 0o644 };
        if !name.ends_with(".res") {
            for node in NODES {
                lab.machine(node).put(&format!("/etc/ha.d/{name}"), mode, text.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// Starts the daemon.
pub fn start(machine: &Machine) -> Result<()> {
    machine.shell("/etc/init.d/heartbeat start >/dev/null 2>&1", LIMIT)?;
    Ok(())
}

/// `hb_takeover` on the node that is to have everything.
pub fn hand_over(to: &Machine) -> Result<()> {
    to.shell("/usr/share/heartbeat/hb_takeover all", LIMIT)?;
    Ok(())
}
