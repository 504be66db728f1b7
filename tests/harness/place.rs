//! What is under test, and where it lies in a machine.

/// Where Pacemaker looks for our agents.
pub const AGENTS: &str = "/usr/lib/ocf/resource.d/sturdy";
/// Where Debian's shell agents lie.
pub const STOCK: &str = "/usr/lib/ocf/resource.d/heartbeat";
/// Where the harness puts Debian's resource scripts whose names are ours.
pub const STOCK_HARESOURCES: &str = "/etc/ha.d/stock";
/// Where heartbeat looks for resource scripts.
pub const HARESOURCES: &str = "/etc/ha.d/resource.d";
/// Where what DRBD calls lies.
pub const HANDLERS: &str = "/usr/libexec/sturdy";

/// The names of all agents, which are also the names of their binaries.
pub fn registry() -> impl Iterator<Item = &'static str> {
    agents::ALL.iter().map(|meta| meta.name)
}
