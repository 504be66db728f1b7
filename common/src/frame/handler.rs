//! A program that someone other than the cluster calls, and that is no resource
//! agent: it has options, looks, gives a verdict, and carries it out.
//!
//! As with an agent, looking cannot change the machine, and what would be done
//! can be asked for without its being done: `--dry-run`.

use crate::frame::agent::Fact;
use crate::frame::instance_lock::{self, InstanceLock};
use crate::frame::output::{complain, one_line, out};
use crate::frame::request::file_name;
use crate::frame::{entry, invocation, log, report};
use crate::host::clock::Deadline;
use crate::host::journal::Journal;
use crate::host::system::{System, View, ViewOptions};
use anyhow::Result;
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// An option of a handler.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// `--timeout`, without the dashes.
    pub long: &'static str,
    /// `-t`, if there is one.
    pub short: Option<char>,
    /// What stands for its value in the help; nothing if it takes none.
    pub value: Option<&'static str>,
    /// What it does, in a few words.
    pub help: &'static str,
}

/// The options that were given, and the caller's environment.
#[derive(Debug)]
pub struct Given {
    options: Vec<(&'static str, String)>,
    env: invocation::Environment,
    /// The name the program was called by.
    pub called: String,
}

impl Given {
    /// The value of an option; an empty one of a flag.
    pub fn option(&self, long: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// A variable of the environment, unless it is empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(known, _)| known == name)?;
        found.1.to_str().filter(|value| !value.is_empty())
    }
}

type Act<'a> = Box<dyn FnOnce(&System<'_>) -> Result<u8> + 'a>;

/// What a handler is going to do, and why.
pub struct Verdict<'a> {
    /// What it has seen.
    pub seen: Vec<Fact>,
    /// What it does, in a sentence.
    pub what: String,
    /// Does it, and gives the exit code.
    pub act: Act<'a>,
}

impl std::fmt::Debug for Verdict<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// A handler.
pub trait Handler: Sized {
    /// Its name.
    const NAME: &'static str;
    /// What it is for, in a line.
    const ABOUT: &'static str;
    /// Its options, besides `--dry-run` and `--help`.
    const OPTIONS: &'static [Choice];
    /// A variable of the environment that holds more options.
    const MORE: &'static str;

    /// Understands the options. An error is told to the caller as it is.
    fn new(given: &Given) -> Result<Self>;

    /// What it is about: one of them runs at a time.
    fn subject(&self) -> &str;

    /// How long all of it may take.
    fn limit(&self) -> Duration;

    /// Looks, and decides.
    fn verdict<'a>(&'a self, view: &View) -> Result<Verdict<'a>>;
}

/// As [`main!`](crate::main), for a [`Handler`](crate::frame::handler::Handler).
#[macro_export]
macro_rules! handler {
    ($handler:ty) => {
        /// Where the C library hands over to us.
        ///
        /// # Safety
        ///
        /// Nobody else calls it.
        #[allow(unsafe_code, reason = "the name is the C library's")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(count: i32, words: *const *const std::ffi::c_char) -> i32 {
            // SAFETY: the C library passes the words as the kernel made them.
            let words = unsafe { $crate::frame::entry::words(count, words) };
            $crate::frame::handler::run::<$handler>(&words).into()
        }
    };
}

/// All that a handler's binary does, from its words to its exit code.
pub fn run<H: Handler>(words: &[OsString]) -> u8 {
    entry::settle();
    report::reason_on_panic();
    if words.iter().skip(1).any(|word| word == "--help" || word == "-h") {
        out(&help::<H>());
        return 0;
    }
    let (given, is_dry) = match understood::<H>(words) {
        Ok(understood) => understood,
        Err(misuse) => {
            let text = misuse.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            complain(&format!("{}: {first}; see --help\n", H::NAME));
            return 1;
        }
    };
    let done = H::new(&given).and_then(|handler| serve(&handler, &given, is_dry));
    done.unwrap_or_else(|err| {
        let reason = one_line(&format!("{err:#}"));
        log::error(&reason);
        complain(&format!("{}: {reason}\n", H::NAME));
        1
    })
}

fn understood<H: Handler>(words: &[OsString]) -> Result<(Given, bool), clap::Error> {
    let env = invocation::environment();
    let more = env.iter().find(|(name, _)| name == H::MORE).map(|(_, value)| value.clone());
    let more = more.and_then(|more| more.into_string().ok()).unwrap_or_default();
    let all = words.iter().skip(1).cloned().chain(more.split_whitespace().map(OsString::from));
    let mut matches = command::<H>().try_get_matches_from(all)?;
    let mut options = Vec::new();
    for choice in H::OPTIONS {
        match choice.value {
            Some(_) => {
                let value = matches.remove_one::<String>(choice.long);
                options.extend(value.map(|value| (choice.long, value)));
            }
            None if matches.get_flag(choice.long) => options.push((choice.long, String::new())),
            None => {}
        }
    }
    let called = words.first().map(PathBuf::from).unwrap_or_default();
    let called = called.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((Given { options, env, called }, matches.get_flag(DRY_RUN.long)))
}

const DRY_RUN: Choice = Choice {
    long: "dry-run",
    short: None,
    value: None,
    help: "say what is seen and what would be done, and do nothing",
};

fn help<H: Handler>() -> String {
    let form = |choice: &Choice| {
        let short = choice.short.map_or("    ".into(), |short| format!("-{short}, "));
        let value = choice.value.map_or(String::new(), |value| format!(" {value}"));
        format!("{short}--{}{value}", choice.long)
    };
    let choices = || std::iter::once(&DRY_RUN).chain(H::OPTIONS);
    let width = choices().map(|choice| form(choice).len()).max().unwrap_or(0);
    let lines = choices().map(|choice| format!("  {:width$}  {}\n", form(choice), choice.help));
    format!("{}: {}\n\nUsage: {0} [OPTION...]\n\n{}", H::NAME, H::ABOUT, lines.collect::<String>())
}

fn command<H: Handler>() -> Command {
    let dry = Arg::new(DRY_RUN.long).long(DRY_RUN.long).action(ArgAction::SetTrue);
    let command = Command::new(H::NAME).no_binary_name(true).disable_help_flag(true).arg(dry);
    H::OPTIONS.iter().fold(command, |command, choice| {
        let mut arg = Arg::new(choice.long).long(choice.long);
        if let Some(short) = choice.short {
            arg = arg.short(short);
        }
        // A later one wins: the environment has its say after the configuration.
        command.arg(match choice.value {
            Some(_) => arg.num_args(1).overrides_with(choice.long),
            None => arg.action(ArgAction::SetTrue).overrides_with(choice.long),
        })
    })
}

fn serve<H: Handler>(handler: &H, given: &Given, is_dry: bool) -> Result<u8> {
    log::init(H::NAME, handler.subject(), &given.env);
    let run_dir = given.variable("HA_RSCTMP").unwrap_or("/run/resource-agents");
    let deadline = Deadline::after(handler.limit());
    let owner = instance_lock::owner(H::NAME, &file_name(handler.subject()));
    let view = View::new(ViewOptions {
        deadline,
        journal: Journal::to(log::line, false),
        owner: owner.clone(),
        run_dir: PathBuf::from(run_dir),
        without_programs: false,
    });
    let _lock = match is_dry {
        true => None,
        false => Some(InstanceLock::take(&view, &owner, deadline)?),
    };
    let verdict = handler.verdict(&view)?;
    if is_dry {
        for Fact { what, seen } in &verdict.seen {
            out(&format!("{what:12} {seen}\n"));
        }
        out(&format!("would        {}\n", verdict.what));
        return Ok(0);
    }
    view.info(format_args!("{}", verdict.what));
    let code = view.with_write_access(|system| (verdict.act)(system))?;
    view.info(format_args!("exit code {code}"));
    Ok(code)
}
