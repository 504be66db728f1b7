//! A tier: a list of named cases, run several at a time, each on its own machine.

use super::fuse;
use super::machine::{self, Machine};
use super::runner;
use libtest_mimic::{Arguments, Trial};
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

type Run = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// One case, and the programs it cannot do without.
pub struct Case {
    name: String,
    needs: Vec<&'static str>,
    run: Run,
}

impl Case {
    /// A case on a machine of its own, by the sentence it proves.
    pub fn new(name: impl Into<String>, run: impl FnOnce(&Machine) + Send + 'static) -> Self {
        Self::free(name, || on_its_own_machine(run))
    }

    /// A case that makes the machines it wants, or none.
    pub fn free(
        name: impl Into<String>,
        run: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), needs: Vec::new(), run: Box::new(run) }
    }

    /// Names what must be installed: a program, or a file by its whole path.
    pub fn needs(mut self, programs: &[&'static str]) -> Self {
        self.needs.extend(programs);
        self
    }
}

/// The cases of a tier in the order they were added, after those that take
/// long: what begins last must not be what the others wait for.
pub struct Cases {
    long: Vec<Case>,
    cases: Vec<Case>,
    filtered: bool,
}

impl Cases {
    /// Adds a case that needs nothing but the kernel and iproute2.
    pub fn add(&mut self, name: impl Into<String>, run: impl FnOnce(&Machine) + Send + 'static) {
        self.cases.push(Case::new(name, run));
    }

    /// Whether only some of the cases were asked for.
    pub fn are_filtered(&self) -> bool {
        self.filtered
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.long.len() + self.cases.len()
    }

    /// Adds a case with needs.
    pub fn push(&mut self, case: Case) {
        self.cases.push(case);
    }

    /// Adds a case that takes long.
    pub fn push_first(&mut self, case: Case) {
        self.long.push(case);
    }

    fn has(&self, part: &str) -> bool {
        self.long.iter().chain(&self.cases).any(|case| case.name.contains(part))
    }
}

/// Runs a whole tier: the `main` of its test binary.
///
/// `list` is called in the private namespaces already, so that it may look at
/// what is installed to make its cases.
pub fn tier(name: &str, list: impl FnOnce(&mut Cases)) -> ExitCode {
    if machine::is_first_process() {
        return machine::first_process();
    }
    if fuse::is_server() {
        return fuse::serve();
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert_with(runner::at_a_time);
    if !arguments.list
        && let Err(reason) = machine::prepare()
    {
        return cannot_run(name, &reason);
    }
    let filtered = arguments.filter.is_some() || !arguments.skip.is_empty();
    let mut cases = Cases { long: Vec::new(), cases: Vec::new(), filtered };
    list(&mut cases);
    let shown = shown_in_documents(name);
    let lost: Vec<_> = shown.into_iter().filter(|shown| !cases.has(shown)).collect();
    let documents = move || match lost.is_empty() {
        true => Ok(()),
        false => Err(format!("no case has in its name: {}", lost.join(", "))),
    };
    cases.push(Case::free(format!("{name}: what the documents name is a case's"), documents));
    let trials = cases.long.into_iter().chain(cases.cases).map(trial).collect();
    std::panic::set_hook(Box::new(|panic| {
        LAST_WORDS.set(Some(panic.to_string()));
    }));
    runner::run(name, &arguments, trials)
}

/// The parts of names by which the documents show how cases of this tier are
/// run.
fn shown_in_documents(tier: &str) -> Vec<String> {
    let documents = [include_str!("../README.md"), include_str!("../../CONTRIBUTING.md")];
    let lines = documents.iter().flat_map(|text| text.lines());
    let commands = lines.filter(|line| line.starts_with("    ") && line.contains("cargo "));
    let of_tier = [format!("cargo xtask test {tier} "), format!("--test {tier} -- ")];
    let filters = commands.filter_map(|line| {
        let words = of_tier.iter().find_map(|start| Some(line.split_once(start)?.1))?;
        let words = words.split('#').next().unwrap_or_default().trim();
        Some(words.trim_matches('\'').to_owned())
    });
    filters.filter(|words| !words.starts_with('-')).collect()
}

/// A tier that cannot run says why, and is no success where nobody watches.
fn cannot_run(name: &str, reason: &str) -> ExitCode {
    eprintln!("{name}: cannot run here: {reason}");
    eprintln!("{name}: `cargo xtask test {name}` sets up what it needs");
    if in_ci() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
}

fn trial(case: Case) -> Trial {
    let lacking: Vec<_> = case.needs.iter().copied().filter(|need| !is_there(need)).collect();
    if lacking.is_empty() {
        return runner::timed(case.name, case.run);
    }
    let reason = format!("not installed: {}", lacking.join(", "));
    let trial = Trial::test(case.name, {
        let reason = reason.clone();
        move || Err(reason.into())
    });
    trial.with_ignored_flag(!in_ci()).with_kind(reason)
}

/// Whether a program (or a file, by its whole path) is on this machine.
pub fn is_there(program: &str) -> bool {
    if program.starts_with('/') {
        return std::path::Path::new(program).exists();
    }
    super::program::PATH.split(':').any(|dir| std::path::Path::new(dir).join(program).exists())
}

/// Runs something on a machine of its own, on a thread of its own: namespaces
/// belong to threads, and end with them.
pub fn on_its_own_machine<T: Send + 'static>(
    run: impl FnOnce(&Machine) -> T + Send + 'static,
) -> Result<T, String> {
    let case = std::thread::spawn(move || {
        let machine = Machine::enter().map_err(|reason| format!("no machine: {reason}"))?;
        catch_unwind(AssertUnwindSafe(|| run(&machine))).map_err(|panic| last_words(&*panic))
    });
    case.join().unwrap_or_else(|panic| Err(last_words(&*panic)))
}

thread_local! {
    static LAST_WORDS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What a panic said and where, as the hook wrote it down on this thread.
fn last_words(panic: &(dyn Any + Send)) -> String {
    LAST_WORDS.take().unwrap_or_else(|| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
    })
}
