//! What is found on the machine and how it is changed: one file for each
//! facility. Nothing here knows what a cluster is.

pub mod clock;
pub mod file;
pub mod journal;
pub mod pidfd;
pub mod program;
pub mod system;
