//! The part of an action that goes on after it.

use crate::frame::agent::Extras;
use crate::frame::output::one_line;
use crate::frame::{invocation, log};
use crate::host::clock::Deadline;
use crate::host::journal::Journal;
use crate::host::system::{View, ViewOptions};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// No background part has anything to do for longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// Does what [`System::background`](crate::host::system::System::background)
/// was given words for; the first of them is the instance's name.
pub(crate) fn run<A: Extras>(words: &[OsString]) -> u8 {
    let words: Vec<String> =
        words.iter().filter_map(|word| word.to_str().map(str::to_owned)).collect();
    let env = invocation::environment();
    log::init(A::META.name, words.first().map_or("", String::as_str), &env);
    let run_dir = env.iter().find(|(name, _)| name == "HA_RSCTMP").map(|(_, value)| value.clone());
    let view = View::new(ViewOptions {
        deadline: Deadline::after(LONGEST),
        journal: Journal::to(log::line, false),
        owner: String::new(),
        run_dir: PathBuf::from(run_dir.unwrap_or_else(|| "/run/resource-agents".into())),
        without_programs: false,
    });
    match view.with_write_access(|system| A::background(&words, system)) {
        Ok(()) => 0,
        Err(err) => {
            log::error(&one_line(&format!("{err:#}")));
            1
        }
    }
}
