//! A call that has been understood: who calls, in which dialect, and what for.

use crate::frame::request::Request;
use ocf_meta::Given;
use std::ffi::OsString;
use std::rc::Rc;

/// An environment, as given; shared by all who read it.
pub type Environment = Rc<[(OsString, OsString)]>;

/// How the caller speaks, and how it wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OCF 1.1: parameters in the environment, the answer in the exit code.
    Ocf,
    /// heartbeat v1: parameters in words, `status` answered in text.
    Heartbeat,
    /// A person or a script: as heartbeat, with options besides.
    ByHand,
}

/// What an agent does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Start,
    Stop,
    Monitor,
    Promote,
    Demote,
    Notify,
    Reload,
    MigrateTo,
    MigrateFrom,
    Validate,
    /// Stop, then start.
    Restart,
    /// Say what is there and what start and stop would do.
    Explain,
}

/// A call that has been understood.
#[derive(Debug)]
pub struct Invocation {
    /// Who is answered, and how.
    pub dialect: Dialect,
    /// What is to be done.
    pub verb: Verb,
    /// The word the caller used for it.
    pub action: String,
    /// The parameters.
    pub given: Given,
    /// What the cluster says besides.
    pub request: Request,
    /// Whether a machine reads the explanation.
    pub json: bool,
    /// The environment, for the trace and the log.
    pub env: Environment,
}

/// The environment of this process.
pub fn environment() -> Environment {
    std::env::vars_os().collect()
}
