//! Two wings: [`frame`] is what the cluster is told and when, [`host`] is what
//! is found on the machine and how it is changed. `host` knows nothing of OCF,
//! `frame` nothing of any facility; an agent is where the two meet.

pub mod frame;
pub mod host;

pub use frame::agent::{Agent, Extras, Fact, Plan, Role, Status};
pub use frame::fault::{Fault, configured, installed, not_here};
pub use frame::promotion::Promotion;
pub use frame::request::Request;
pub use host::absence::Absent;
pub use host::system::{System, View};

/// For unit tests of agents: what the frame does with a plan, without a frame.
#[cfg(feature = "testing")]
pub mod testing {
    use crate::{Plan, View};

    /// Does the steps up to the first that fails.
    pub fn carry_out(view: &View, plan: Plan<'_>) -> anyhow::Result<()> {
        plan.steps.into_iter().try_for_each(|step| view.with_write_access(step.act))
    }

    /// The DRBD resource of which the kernel told in messages that were captured
    /// from DRBD 8.4.
    pub fn drbd_resource(messages: &str, name: &str) -> crate::host::drbd::Resource {
        crate::host::drbd::replayed(messages, name)
    }

    /// What the steps would do, in words.
    pub fn words(plan: &Plan<'_>) -> Vec<String> {
        plan.steps.iter().map(|step| step.what.clone()).collect()
    }
}
