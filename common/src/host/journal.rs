//! What was looked at, decided and done, for whoever wants to know.

use std::fmt::Arguments;

/// Whom a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever traces an action: each decision, system call and command.
    Trace,
    /// For the log: something has changed.
    Info,
    /// For the log: something calls for a person, and was not an error.
    Warning,
}

type Sink = Box<dyn Fn(Level, &str)>;

/// Takes lines; what becomes of them is up to whoever made it.
#[derive(Default)]
pub struct Journal {
    sink: Option<Sink>,
    traced: bool,
}

impl Journal {
    /// A journal whose lines go to `sink`; lines of [`Level::Trace`] only if
    /// `traced`, and otherwise they are not even formatted.
    pub fn to(sink: impl Fn(Level, &str) + 'static, traced: bool) -> Self {
        Self { sink: Some(Box::new(sink)), traced }
    }

    /// Writes a line.
    pub fn write(&self, level: Level, line: Arguments<'_>) {
        if let Some(sink) = &self.sink
            && (self.traced || level > Level::Trace)
        {
            sink(level, &line.to_string());
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("traced", &self.traced).finish_non_exhaustive()
    }
}
