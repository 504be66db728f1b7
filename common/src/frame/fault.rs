//! Errors that know what the cluster is to be told.

use crate::host::program::Missing;
use ocf_meta::{Code, Invalid};
use std::fmt;

/// An error with an exit code of its own. As a context it gives the code and
/// the words to whatever lies beneath it; errors without one mean code 1.
#[derive(Debug)]
pub struct Fault {
    /// What the cluster is told.
    pub code: Code,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

/// The parameters are wrong on every node: code 6.
pub fn configured(what: impl Into<String>) -> anyhow::Error {
    Fault { code: Code::ErrConfigured, what: what.into() }.into()
}

/// A program, a device or a part of the kernel is missing here: code 5.
pub fn installed(what: impl Into<String>) -> anyhow::Error {
    Fault { code: Code::ErrInstalled, what: what.into() }.into()
}

/// A parameter names something that this node does not have: code 2.
pub fn not_here(what: impl Into<String>) -> anyhow::Error {
    Fault { code: Code::ErrArgs, what: what.into() }.into()
}

/// The agent has no such action: code 3.
pub(crate) fn unimplemented(action: &str) -> anyhow::Error {
    Fault { code: Code::ErrUnimplemented, what: format!("there is no action {action}") }.into()
}

/// The code that an error stands for.
pub(crate) fn code_of(err: &anyhow::Error) -> Code {
    if let Some(fault) = err.downcast_ref::<Fault>() {
        return fault.code;
    }
    if err.downcast_ref::<Invalid>().is_some() {
        return Code::ErrConfigured;
    }
    if err.downcast_ref::<Missing>().is_some() {
        return Code::ErrInstalled;
    }
    match err.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()) {
        Some(cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => Code::ErrPerm,
        _ => Code::ErrGeneric,
    }
}
