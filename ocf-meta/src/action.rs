//! The actions a cluster may call, with the time it should allow for each.

/// One line of the meta-data's action list.
///
/// An agent starts from a constant of this module and changes what differs:
/// `START.timeout(60)`.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    /// As the cluster calls it.
    pub name: &'static str,
    /// The advised time limit in seconds.
    pub timeout: u32,
    /// For monitor: the advised pause between two calls, in seconds.
    pub interval: Option<u32>,
    /// For monitor: OCF_CHECK_LEVEL.
    pub depth: Option<u32>,
    /// For monitor: `Promoted` or `Unpromoted`.
    pub role: Option<&'static str>,
}

const fn action(name: &'static str, timeout: u32) -> Action {
    Action { name, timeout, interval: None, depth: None, role: None }
}

/// Brings the resource up.
pub const START: Action = action("start", 20);
/// Brings the resource down.
pub const STOP: Action = action("stop", 20);
/// Looks at the resource.
pub const MONITOR: Action = action("monitor", 20).every(10).depth(0);
/// Takes new values of reloadable parameters.
pub const RELOAD_AGENT: Action = action("reload-agent", 20);
/// Promotes a running resource.
pub const PROMOTE: Action = action("promote", 20);
/// Demotes a promoted resource.
pub const DEMOTE: Action = action("demote", 20);
/// Moves a running resource to another node, without a stop in between.
pub const MIGRATE_TO: Action = action("migrate_to", 20);
/// Takes over a resource that was moved here.
pub const MIGRATE_FROM: Action = action("migrate_from", 20);
/// Hears of what the cluster does to the resource's other instances.
pub const NOTIFY: Action = action("notify", 20);
/// Checks the parameters.
pub const VALIDATE_ALL: Action = action("validate-all", 10);
/// Prints the meta-data.
pub const META_DATA: Action = action("meta-data", 5);

impl Action {
    /// With this time limit in seconds.
    pub const fn timeout(self, seconds: u32) -> Self {
        Self { timeout: seconds, ..self }
    }

    /// With this pause between two calls, in seconds.
    pub const fn every(self, seconds: u32) -> Self {
        Self { interval: Some(seconds), ..self }
    }

    /// With this check level.
    pub const fn depth(self, level: u32) -> Self {
        Self { depth: Some(level), ..self }
    }

    /// For this role only.
    pub const fn role(self, role: &'static str) -> Self {
        Self { role: Some(role), ..self }
    }
}
