//! The answer: an exit code, one line of reason, and what each dialect adds.

use crate::frame::invocation::Dialect;
use crate::frame::log;
use crate::frame::output::{complain, one_line, out};
use ocf_meta::Code;
use std::sync::atomic::{AtomicBool, Ordering};

/// What `status` prints where the state is in doubt, and where an agent ends
/// before it has one. heartbeat looks for `running`, and for `not running`
/// before that: a stop that failed must not be taken for one that worked.
pub(crate) const DOUBT: &str = "running (unknown)";

/// Whether somebody waits for a state in words, also where we cannot go on.
static STATE_IS_AWAITED: AtomicBool = AtomicBool::new(false);

/// Somebody does.
pub(crate) fn await_state() {
    STATE_IS_AWAITED.store(true, Ordering::Relaxed);
}

/// In which of its forms a call has asked for the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It has not.
    No,
    /// `status`: a text, and the codes of LSB.
    Status,
    /// `monitor`: a text, and the codes of OCF.
    Monitor,
}

/// How an action ended.
#[derive(Debug)]
pub struct Report {
    dialect: Dialect,
    code: Code,
    reason: Option<String>,
    help: Option<String>,
    asked: Asked,
    word: Option<&'static str>,
    exit: Option<u8>,
    text: Option<String>,
}

impl Report {
    /// An end with this code.
    pub fn new(dialect: Dialect, code: Code) -> Self {
        let (reason, help, word, exit, text) = (None, None, None, None, None);
        Self { dialect, code, reason, help, asked: Asked::No, word, exit, text }
    }

    /// Why, in one line; not for a resource that runs or is cleanly stopped.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(one_line(&reason.into()));
        self
    }

    /// What to print besides, for a call that made no sense.
    pub(crate) fn help(mut self, text: String) -> Self {
        self.help = Some(text);
        self
    }

    /// The word that the agent adds in brackets to the state.
    pub(crate) fn word(mut self, word: Option<&'static str>) -> Self {
        self.word = word;
        self
    }

    /// The call, in words, has asked for the state by this action.
    pub(crate) fn asked(mut self, action: &str) -> Self {
        self.asked = if action == "status" { Asked::Status } else { Asked::Monitor };
        self
    }

    /// The exit code, whatever the rest says; the state is not printed.
    pub(crate) fn exit(mut self, code: u8) -> Self {
        self.exit = Some(code);
        self
    }

    /// What goes to stdout.
    pub(crate) fn text(mut self, text: String) -> Self {
        self.text = Some(text);
        self
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    #[cfg(test)]
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    #[cfg(test)]
    pub(crate) fn printed(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Says it all and gives the exit code.
    pub(crate) fn send(self) -> u8 {
        if let Some(help) = &self.help {
            complain(help);
        }
        if let Some(text) = &self.text {
            out(text);
        }
        if self.asked != Asked::No && self.exit.is_none() {
            self.say_state();
        }
        if let Some(reason) = &self.reason {
            log::error(reason);
            // The last line on stderr, once: the cluster shows the last one.
            match self.dialect {
                Dialect::Ocf => complain(&format!("{}{reason}\n", prefix())),
                _ => complain(&format!("{reason}\n")),
            }
        }
        match (self.exit, self.dialect, self.asked) {
            (Some(code), ..) => code,
            (None, Dialect::Ocf, _) | (None, _, Asked::Monitor) => self.code as u8,
            (None, _, Asked::Status) => self.status_code(),
            (None, _, Asked::No) => self.lsb_code(),
        }
    }

    /// heartbeat looks for words in this line: it must hold nothing that came
    /// from outside. What is in doubt has to read as running, so that a stop
    /// that failed is not taken for one that worked.
    fn say_state(&self) {
        out(&format!("{}\n", self.state()));
    }

    fn state(&self) -> String {
        let state = match (self.status_code(), self.word) {
            (3, _) => "stopped",
            (0, _) | (_, Some(_)) => "running",
            _ => return DOUBT.to_owned(),
        };
        self.word.map_or_else(|| state.to_owned(), |word| format!("{state} ({word})"))
    }

    fn status_code(&self) -> u8 {
        match self.code {
            Code::Success | Code::RunningPromoted | Code::Degraded | Code::DegradedPromoted => 0,
            Code::NotRunning => 3,
            _ => 4,
        }
    }

    fn lsb_code(&self) -> u8 {
        match self.code {
            Code::Success | Code::RunningPromoted | Code::Degraded | Code::DegradedPromoted => 0,
            // To a script, 7 says that a program is not running, not that an
            // action has failed.
            Code::NotRunning | Code::FailedPromoted => 1,
            code => code as u8,
        }
    }
}

/// The end of an action that the frame itself refuses.
pub(crate) fn refusal(dialect: Dialect, code: Code, reason: impl Into<String>) -> Report {
    Report::new(dialect, code).because(reason)
}

/// What the cluster looks for in front of a reason.
fn prefix() -> String {
    let given = std::env::var("OCF_EXIT_REASON_PREFIX").unwrap_or_default();
    if given.is_empty() { "ocf-exit-reason:".into() } else { given }
}

/// Prints a document and ends well.
pub(crate) fn print(text: &str) -> u8 {
    out(text);
    Code::Success as u8
}

/// A defect of ours must still tell the cluster something: a reason and 1.
#[allow(clippy::exit)]
pub(crate) fn reason_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let reason = one_line(&format!("defect in the agent: {panic}"));
        log::error(&reason);
        if STATE_IS_AWAITED.load(Ordering::Relaxed) {
            out(&format!("{DOUBT}\n"));
        }
        complain(&format!("{}{reason}\n", prefix()));
        // Unwinding is compiled out, and an abort would say "signal" instead.
        std::process::exit(Code::ErrGeneric as i32);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubt_reads_as_running() {
        let doubt = Report::new(Dialect::Heartbeat, Code::ErrGeneric).asked("status");
        assert_eq!((doubt.status_code(), doubt.state().as_str()), (4, DOUBT));
        let in_part = doubt.word(Some("Primary"));
        assert_eq!((in_part.status_code(), in_part.state().as_str()), (4, "running (Primary)"));
        let stopped = Report::new(Dialect::Heartbeat, Code::NotRunning).asked("status");
        assert_eq!((stopped.status_code(), stopped.lsb_code()), (3, 1));
        assert_eq!(stopped.word(Some("Secondary")).state(), "stopped (Secondary)");
    }
}
