//! What is found on the machine and how it is changed: one file for each
//! facility. Nothing here knows what a cluster is.

pub mod clock;
pub mod drbd;
pub mod file;
pub mod genl;
pub mod holders;
pub mod journal;
pub mod pidfd;
pub mod program;
pub mod system;
