//! Errors that know what the cluster is to be told, and when it is told.

use crate::frame::invocation::Verb;
use crate::host::floor::TooOld;
use crate::host::lookup::comes_of_silence;
use crate::host::module::Lacking;
use crate::host::program::Missing;
use ocf_meta::{Code, Invalid};
use std::fmt;

/// An error with an exit code of its own. As a context it gives the code and
/// the words to whatever lies beneath it; errors without one mean code 1.
#[derive(Debug)]
pub struct Fault {
    /// What the cluster is told, where it has asked for a start.
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

/// A program, a device, an interface or a feature of the kernel is missing on this
/// node: code 5.
pub fn installed(what: impl Into<String>) -> anyhow::Error {
    Fault { code: Code::ErrInstalled, what: what.into() }.into()
}

/// The error as this kind of fault, unless it comes of somebody who does not answer:
/// that is no lack, and where another try may mend it the code is 1.
pub fn unless_silent(
    err: anyhow::Error,
    fault: impl FnOnce(String) -> anyhow::Error,
) -> anyhow::Error {
    if comes_of_silence(&err) { err } else { fault(format!("{err:#}")) }
}

/// A parameter names something within what is there and does not have it, as a
/// volume that its group lacks: code 2.
pub fn not_here(what: impl Into<String>) -> anyhow::Error {
    Fault { code: Code::ErrArgs, what: what.into() }.into()
}

/// The agent has no such action: code 3.
pub(crate) fn unimplemented(action: &str) -> anyhow::Error {
    Fault { code: Code::ErrUnimplemented, what: format!("there is no action {action}") }.into()
}

/// The caller may not do that: code 4.
pub(crate) fn denied(action: &str) -> anyhow::Error {
    Fault { code: Code::ErrPerm, what: format!("{action} needs root") }.into()
}

/// The error with more said about it, and the code that it had.
pub(crate) fn besides(err: anyhow::Error, verb: Verb, more: &str) -> anyhow::Error {
    Fault { code: code(verb, &err), what: format!("{err:#}; {more}") }.into()
}

/// The code that an error stands for, to the cluster that has asked for this.
///
/// The codes that blame the node or the configuration would have it give the
/// resource up here or everywhere. That is an answer to a start. A resource
/// that may be running is not to be given up for what an error looks like:
/// a stop, a demote, a migration or a monitor has failed, and that is all.
pub(crate) fn code(verb: Verb, err: &anyhow::Error) -> Code {
    let declared = declared(err).unwrap_or(Code::ErrGeneric);
    match verb {
        Verb::Stop
        | Verb::Demote
        | Verb::Monitor
        | Verb::Notify
        | Verb::MigrateTo
        | Verb::MigrateFrom => match declared {
            Code::ErrPerm | Code::ErrUnimplemented => declared,
            _ => Code::ErrGeneric,
        },
        _ => declared,
    }
}

/// The code that whoever made the error has given it.
fn declared(err: &anyhow::Error) -> Option<Code> {
    let fault = err.downcast_ref::<Fault>().map(|fault| fault.code);
    let invalid = || err.downcast_ref::<Invalid>().map(|_| Code::ErrConfigured);
    let missing = || err.downcast_ref::<Missing>().map(|_| Code::ErrInstalled);
    let lacking = || err.downcast_ref::<Lacking>().map(|_| Code::ErrInstalled);
    let old = || err.downcast_ref::<TooOld>().map(|_| Code::ErrInstalled);
    fault.or_else(invalid).or_else(missing).or_else(lacking).or_else(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::floor;
    use std::io;

    #[test]
    fn what_is_wrong_with_the_node_is_an_answer_to_a_start_alone() {
        for (err, told) in [
            (configured("x"), Code::ErrConfigured),
            (installed("x"), Code::ErrInstalled),
            (not_here("x"), Code::ErrArgs),
            (Missing("x".into()).into(), Code::ErrInstalled),
            (Lacking { module: "x".into(), reason: "y".into() }.into(), Code::ErrInstalled),
            (floor::check("Linux", "3.10.0", floor::LINUX).unwrap_err().into(), Code::ErrInstalled),
        ] {
            assert_eq!(code(Verb::Start, &err), told);
            let err = err.context("while it was looked for");
            assert_eq!(code(Verb::Promote, &err), told);
            for verb in [Verb::Stop, Verb::Demote, Verb::Monitor, Verb::MigrateTo] {
                assert_eq!(code(verb, &err), Code::ErrGeneric, "{verb:?}");
            }
        }
        assert_eq!(code(Verb::Stop, &denied("stop")), Code::ErrPerm);
    }

    #[test]
    fn who_does_not_answer_lacks_nothing() {
        let told = |kind: io::ErrorKind| {
            let err = anyhow::Error::new(io::Error::from(kind)).context("cannot read /srv/file");
            code(Verb::Start, &unless_silent(err, installed))
        };
        assert_eq!(told(io::ErrorKind::NotFound), Code::ErrInstalled);
        assert_eq!(told(io::ErrorKind::TimedOut), Code::ErrGeneric);
    }
}
