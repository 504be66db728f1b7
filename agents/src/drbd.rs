//! What the agents for DRBD share.

pub mod name;
