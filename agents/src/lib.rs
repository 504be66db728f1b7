//! The resource agents.
