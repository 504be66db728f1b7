//! Two wings: [`frame`] is what the cluster is told and when, [`host`] is what
//! is found on the machine and how it is changed. `host` knows nothing of OCF,
//! `frame` nothing of any facility; an agent is where the two meet.

pub mod frame;
pub mod host;

pub use frame::agent::{Agent, Extras, Fact, Plan, Role, Status};
pub use frame::fault::{Fault, configured, installed, not_here, unless_silent};
pub use frame::promotion::Promotion;
pub use frame::request::{Request, file_name};
pub use host::absence::Absent;
pub use host::system::{System, View};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
