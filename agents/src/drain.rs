//! What `drain_timeout` means: the same in every agent that serves clients.

/// The parameter's text: `[doc = crate::drain::DOC] drain_timeout: Duration = "0"`.
pub(crate) const DOC: &[&str] = &[
    " How long a stop lets clients finish.",
    "",
    " In seconds. So long a stop waits for clients and connections to end by themselves; what they",
    " still have then is taken from them by force. 0 does so at once. However long it is, the stop",
    " ends before the cluster's own time for it does.",
];
