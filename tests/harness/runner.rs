//! Runs the cases of a program: a selection that is empty has failed, and those
//! that took longest are named.

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How a program ends that has no case of the name asked for, so that who runs
/// several can tell.
const NO_CASE: u8 = 5;

/// How many cases are named, and how long one has to take for it.
const NAMED: usize = 5;
const LONG: Duration = Duration::from_secs(5);

/// How many cases there are at a time for each processor: most of the time of
/// most of them they wait, for a deadline or for the second that a shell agent
/// sleeps.
const FOR_EACH_PROCESSOR: usize = 3;

static TOOK: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

/// How many cases are run at a time.
pub fn at_a_time() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    FOR_EACH_PROCESSOR * processors
}

/// A case, of which it is written down how long it takes.
pub fn timed(name: String, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    let named = name.clone();
    Trial::test(name, move || {
        let since = Instant::now();
        let result = run();
        TOOK.lock().expect("nobody panics with it").push((since.elapsed(), named));
        Ok(result?)
    })
}

/// Runs those that were asked for: the end of a test program's `main`.
pub fn run(program: &str, arguments: &Arguments, cases: Vec<Trial>) -> ExitCode {
    if !arguments.list && !cases.iter().any(|case| is_chosen(arguments, case)) {
        let what = arguments.filter.as_deref().unwrap_or_default();
        eprintln!("{program}: no case has `{what}` in its name; `-- --list` shows those there are");
        return if is_meant(program) { NO_CASE.into() } else { ExitCode::SUCCESS };
    }
    let conclusion = libtest_mimic::run(arguments, cases);
    let mut took = std::mem::take(&mut *TOOK.lock().expect("nobody panics with it"));
    took.sort_unstable_by(|one, other| other.cmp(one));
    for (time, name) in took.iter().take(NAMED).filter(|(time, _)| *time >= LONG) {
        println!("slow: {:>6.1} s {name}", time.as_secs_f64());
    }
    conclusion.exit_code()
}

/// Whether the words select a case by its name, be it one that is ignored.
fn is_chosen(arguments: &Arguments, case: &Trial) -> bool {
    let by_name = Arguments { ignored: false, ..arguments.clone() };
    !by_name.is_filtered_out(case)
}

/// Whether the words were meant for this program. `cargo test WORD` hands a
/// word to every program of the workspace, most of which have no such case;
/// with `--test NAME` it is one program's.
fn is_meant(program: &str) -> bool {
    let parent = nix::unistd::getppid();
    let words = std::fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
    let mut words = words.split(|byte| *byte == 0);
    let by_cargo = words.next().is_some_and(|first| first.ends_with(b"cargo"));
    let mut words = words.take_while(|word| *word != b"--");
    let named = format!("--test={program}");
    !by_cargo || words.any(|word| word == b"--test" || word == named.as_bytes())
}
