//! The exit codes of the OCF resource agent API 1.1.

/// An exit code, in the standard's own spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The action succeeded; for monitor: the resource runs.
    Success = 0,
    /// Anything that has no code of its own. The cluster recovers in place.
    ErrGeneric = 1,
    /// The parameters do not fit this node. The cluster tries another one.
    ErrArgs = 2,
    /// The agent has no such action.
    ErrUnimplemented = 3,
    /// The agent lacks a right on this node.
    ErrPerm = 4,
    /// A program or a part of the kernel is missing on this node.
    ErrInstalled = 5,
    /// The parameters are wrong on every node.
    ErrConfigured = 6,
    /// The resource is cleanly stopped.
    NotRunning = 7,
    /// The resource runs in the promoted role.
    RunningPromoted = 8,
    /// The resource is in the promoted role, and failed.
    FailedPromoted = 9,
    /// The resource runs, and is likely to fail soon.
    Degraded = 190,
    /// The resource runs in the promoted role, and is likely to fail soon.
    DegradedPromoted = 191,
}

impl Code {
    /// Every code with the words the man page gives it.
    pub const ALL: &[(Code, &str)] = &[
        (Code::Success, "the action succeeded; the resource is running"),
        (Code::ErrGeneric, "the action failed, or the state is in doubt"),
        (Code::ErrArgs, "a parameter names something that does not fit this node"),
        (Code::ErrUnimplemented, "the action is not one of this agent's"),
        (Code::ErrPerm, "a right is missing"),
        (Code::ErrInstalled, "a program, a device or a part of the kernel is missing"),
        (Code::ErrConfigured, "a parameter is wrong on every node"),
        (Code::NotRunning, "the resource is stopped"),
        (Code::RunningPromoted, "the resource is running, promoted"),
        (Code::FailedPromoted, "the resource is promoted, and failed"),
        (Code::Degraded, "the resource is running, with a fault that calls for a person"),
        (Code::DegradedPromoted, "the same, promoted"),
    ];
}
