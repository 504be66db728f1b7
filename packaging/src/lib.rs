//! What is installed, how packages are made of it, and the machine that this
//! and the tests' programs are run on. Everything here is called by
//! `cargo xtask`.

pub mod dist;
pub mod host;
pub mod install;
pub mod payload;
pub mod quiet;
