//! What LIO asks of those who only want to know which targets there are. There
//! is one such setting for the whole machine.

use crate::host::configfs;
use crate::host::credentials::Credentials;
use crate::host::lio::ROOT;
use crate::host::system::{System, View};
use anyhow::Result;

/// What clears a field: LIO takes it for no value.
pub(super) const NONE: &str = "NULL";

/// The fields that both pairs are kept in.
pub(super) const FIELDS: [&str; 4] = ["userid", "password", "userid_mutual", "password_mutual"];

impl Credentials {
    /// Why LIO cannot hold them.
    pub fn fault(&self) -> Option<&'static str> {
        /// The fields have this much room, and what is longer is cut off in
        /// silence.
        const ROOM: usize = 255;
        let fields = [&self.user, &self.secret];
        match () {
            () if fields.iter().any(|text| text.is_empty()) => Some("is empty"),
            () if fields.iter().any(|text| text.len() > ROOM) => Some("is longer than 255 bytes"),
            () if fields.iter().any(|text| text.starts_with(NONE)) => {
                Some("begins with NULL, which to LIO means that there is none")
            }
            () => None,
        }
    }
}

/// Whether discovery asks for credentials.
pub fn is_guarded(view: &View) -> Result<bool> {
    Ok(configfs::get(view, &format!("{ROOT}/iscsi/discovery_auth/enforce_discovery_auth"))? == "1")
}

/// Asks for these from now on, and answers with the others.
pub fn guard(
    system: &System<'_>,
    incoming: &Credentials,
    outgoing: Option<&Credentials>,
) -> Result<()> {
    let place = format!("{ROOT}/iscsi/discovery_auth");
    login(system, &place, incoming, outgoing)?;
    configfs::set(system, &format!("{place}/enforce_discovery_auth"), "1")
}

/// Asks for none.
pub fn open(system: &System<'_>) -> Result<()> {
    let place = format!("{ROOT}/iscsi/discovery_auth");
    configfs::set(system, &format!("{place}/enforce_discovery_auth"), "0")?;
    for field in FIELDS {
        configfs::set(system, &format!("{place}/{field}"), NONE)?;
    }
    Ok(())
}

/// Sets both pairs of credentials in a directory that has the four fields.
pub(super) fn login(
    system: &System<'_>,
    place: &str,
    incoming: &Credentials,
    outgoing: Option<&Credentials>,
) -> Result<()> {
    configfs::set(system, &format!("{place}/userid"), &incoming.user)?;
    configfs::set_secret(system, &format!("{place}/password"), &incoming.secret)?;
    let Some(outgoing) = outgoing else { return Ok(()) };
    configfs::set(system, &format!("{place}/userid_mutual"), &outgoing.user)?;
    configfs::set_secret(system, &format!("{place}/password_mutual"), &outgoing.secret)
}
