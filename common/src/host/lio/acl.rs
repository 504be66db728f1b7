//! Who may log in to a target, and which of its disks they see.
//!
//! A target either takes everyone, or those for whom there is a directory. Such
//! an initiator sees the LUNs that are linked into it and no others.

use crate::host::configfs;
use crate::host::credentials::Credentials;
use crate::host::lio::discovery;
use crate::host::lio::{Lio, Target};
use crate::host::system::{System, View};
use anyhow::Result;

fn directory(iqn: &str, initiator: &str) -> String {
    format!("{}/acls/{initiator}", Target::group(iqn))
}

/// The initiators that are listed.
pub fn initiators(view: &View, iqn: &str) -> Result<Vec<String>> {
    let place = format!("{}/acls", Target::group(iqn));
    Ok(configfs::list(view, &place)?.unwrap_or_default())
}

/// Whether the initiator sees the LUN.
pub fn sees(view: &View, iqn: &str, initiator: &str, number: u64) -> Result<bool> {
    let place = directory(iqn, initiator);
    let end = format!("/lun/lun_{number}");
    // Most often as we have made it, and others may be many.
    let same = configfs::linked(view, &link_to(&place, number))?;
    Ok(same.is_some_and(|to| to.to_string_lossy().ends_with(&end))
        || !links_to(view, &place, number)?.is_empty())
}

/// Lists an initiator, which from then on may log in with these.
pub fn admit(
    system: &System<'_>,
    iqn: &str,
    initiator: &str,
    incoming: Option<&Credentials>,
    outgoing: Option<&Credentials>,
) -> Result<()> {
    let place = directory(iqn, initiator);
    configfs::make(system, &place)?;
    match incoming {
        Some(incoming) => discovery::login(system, &format!("{place}/auth"), incoming, outgoing),
        None => Ok(()),
    }
}

/// Lists an initiator for the sake of one LUN, with what the target itself asks
/// for. `maker` is left in it.
pub fn admit_as_target(system: &System<'_>, iqn: &str, initiator: &str, maker: &str) -> Result<()> {
    let place = directory(iqn, initiator);
    if configfs::list(system, &place)?.is_some() {
        return Ok(());
    }
    configfs::make(system, &place)?;
    configfs::set(system, &format!("{place}/tag"), maker)?;
    for field in discovery::FIELDS {
        let value = configfs::read(system, &format!("{}/auth/{field}", Target::group(iqn)))?;
        // The kernel ends it with a line feed, whatever it ends with itself.
        let value = value.strip_suffix('\n').unwrap_or(&value);
        if !value.is_empty() && value != discovery::NONE {
            configfs::set_secret(system, &format!("{place}/auth/{field}"), value)?;
        }
    }
    Ok(())
}

/// Shows the initiator the LUN, by the number that it has in the target.
pub fn show(system: &System<'_>, iqn: &str, initiator: &str, number: u64) -> Result<()> {
    if sees(system, iqn, initiator, number)? {
        return Ok(());
    }
    let place = directory(iqn, initiator);
    configfs::make(system, &format!("{place}/lun_{number}"))?;
    configfs::link(system, &Target::lun(iqn, number), &link_to(&place, number))
}

/// The link that we make, in an initiator's directory.
fn link_to(acl: &str, number: u64) -> String {
    format!("{acl}/lun_{number}/lun_{number}")
}

/// Hides the LUN from every initiator that is listed. What was under way comes
/// to its end first.
pub fn hide(system: &System<'_>, iqn: &str, number: u64) -> Result<()> {
    for initiator in initiators(system, iqn)? {
        for link in links_to(system, &directory(iqn, &initiator), number)? {
            configfs::unlink(system, &link)?;
            let place = link.rsplit_once('/').map_or("", |(place, _)| place);
            configfs::remove(system, place)?;
        }
        // One that was made, and not linked any more.
        let own = format!("{}/lun_{number}", directory(iqn, &initiator));
        if configfs::list(system, &own)?.is_some() && links_in(system, &own)?.is_empty() {
            configfs::remove(system, &own)?;
        }
    }
    Ok(())
}

/// The initiators that `maker` has listed and that see nothing any more.
pub fn idle(view: &View, iqn: &str, maker: &str) -> Result<Vec<String>> {
    let mut idle = initiators(view, iqn)?;
    let mut failed = None;
    idle.retain(|initiator| {
        let place = directory(iqn, initiator);
        let is_ours =
            configfs::read(view, &format!("{place}/tag")).is_ok_and(|tag| tag.trim() == maker);
        is_ours
            && match configfs::list(view, &place) {
                Ok(names) => !names.unwrap_or_default().iter().any(|name| name.starts_with("lun_")),
                Err(err) => {
                    failed = Some(err);
                    false
                }
            }
    });
    failed.map_or(Ok(idle), Err)
}

/// Takes an initiator from the list, which ends its sessions.
pub fn dismiss(system: &System<'_>, iqn: &str, initiator: &str) -> Result<()> {
    configfs::remove(system, &directory(iqn, initiator))
}

/// The links to the target's LUN of this number in an initiator's directory.
fn links_to(view: &View, acl: &str, number: u64) -> Result<Vec<String>> {
    let end = format!("/lun/lun_{number}");
    let mut found = Vec::new();
    for name in configfs::list(view, acl)?.unwrap_or_default() {
        if name.starts_with("lun_") {
            let links = links_in(view, &format!("{acl}/{name}"))?;
            found.extend(links.into_iter().filter(|(_, to)| to.ends_with(&end)));
        }
    }
    Ok(found.into_iter().map(|(link, _)| link).collect())
}

fn links_in(view: &View, place: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for name in configfs::list(view, place)?.unwrap_or_default() {
        let path = format!("{place}/{name}");
        // Everything else there is a directory or a file.
        if let Some(to) = configfs::linked(view, &path)? {
            found.push((path, to.to_string_lossy().into_owned()));
        }
    }
    Ok(found)
}

impl Lio<'_> {
    /// Whether an initiator is logged in, by what the kernel says of it.
    pub(super) fn is_logged_in(&self, iqn: &str, initiator: &str) -> Result<bool> {
        let path = format!("{}/info", directory(iqn, initiator));
        let told = configfs::find(self.view, &path)?;
        Ok(told.is_some_and(|info| !info.starts_with("No active")))
    }
}
