//! Words and options: what heartbeat passes, and what a person types.

use crate::frame::call::{Call, document, from_environment, from_words, timeout, unknown, verb};
use crate::frame::invocation::{Dialect, Environment, Invocation, Verb};
use crate::frame::report::{Report, refusal};
use crate::frame::request::Request;
use clap::{Arg, ArgAction, Command, value_parser};
use ocf_meta::{Code, Given, Kind, Meta, Param, completion, usage};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The words, and what options said.
struct Typed {
    words: Vec<OsString>,
    given: Given,
    level: Option<u32>,
    seconds: Option<u32>,
    recurring: bool,
    json: bool,
}

/// Understands a call whose parameters are words. As a part of its caller it
/// would take ten kilobytes of the stack from each monitor as well.
#[inline(never)]
pub(crate) fn read(
    meta: &'static Meta,
    args: &[OsString],
    env: &Environment,
    dialect: Dialect,
) -> Call {
    let asks = args.iter().rev().find(|word| *word == "status" || *word == "monitor");
    let misuse = |reason: String| {
        let report = refusal(dialect, Code::ErrArgs, reason).help(usage::short(meta));
        Call::Refuse(match asks {
            Some(word) => report.asked(&word.to_string_lossy()),
            None => report,
        })
    };
    let mut typed = match typed(meta, args, env, dialect) {
        Ok(typed) => typed,
        Err(Asked::Text(text)) => return Call::Print(text),
        Err(Asked::Nonsense(reason)) => return misuse(reason),
    };
    // `explain` may also come first, as a person would say it.
    if typed.words.first().is_some_and(|word| word == "explain") {
        let explain = typed.words.remove(0);
        let action = |word: &OsString| word == "start" || word == "stop" || word == "explain";
        typed.words.pop_if(|word| action(word));
        typed.words.push(explain);
    }
    let Some(action) = typed.words.pop() else {
        return misuse("no action given".into());
    };
    let Some(verb) = verb(meta, &action) else {
        return Call::Refuse(unknown(meta, dialect, &action));
    };
    if let Err(reason) = from_words(meta, &typed.words, &mut typed.given) {
        if dialect == Dialect::Heartbeat && verb == Verb::Stop {
            // Nothing can have been started with these words. heartbeat would
            // try ten times over and hold up what else is to be stopped.
            return Call::Refuse(Report::new(dialect, Code::Success).because(reason));
        }
        return misuse(reason);
    }
    let instance = instance(meta, &typed.given, env);
    let mut request = Request::read(env, instance, typed.seconds.unwrap_or(timeout(meta, verb)));
    request.level = typed.level.unwrap_or(request.level);
    request.probe &= !typed.recurring;
    request.explained = verb == Verb::Explain;
    Call::Act(Box::new(Invocation {
        dialect,
        verb,
        action: action.to_string_lossy().into_owned(),
        given: typed.given,
        request,
        json: typed.json && verb == Verb::Explain,
        env: env.clone(),
    }))
}

/// Why nothing is done.
enum Asked {
    /// A text was asked for.
    Text(String),
    /// It makes no sense, and why.
    Nonsense(String),
}

fn typed(
    meta: &'static Meta,
    args: &[OsString],
    env: &Environment,
    dialect: Dialect,
) -> Result<Typed, Asked> {
    let has_option = args.iter().any(|arg| arg.as_bytes().starts_with(b"--"));
    // heartbeat passes words only, and one that begins with a dash is a word.
    if dialect == Dialect::Heartbeat || !has_option {
        let given = match dialect {
            Dialect::Heartbeat => Given::default(),
            _ => from_environment(env),
        };
        let words = args.to_vec();
        return Ok(Typed {
            words,
            given,
            level: None,
            seconds: None,
            recurring: false,
            json: false,
        });
    }
    with_options(meta, args, from_environment(env))
}

fn with_options(meta: &'static Meta, args: &[OsString], mut given: Given) -> Result<Typed, Asked> {
    let nonsense = |err: clap::Error| {
        let text = err.to_string();
        let first = text.lines().next().unwrap_or("the options make no sense");
        Asked::Nonsense(first.trim_start_matches("error: ").to_owned())
    };
    let mut matches = command(meta)
        .try_get_matches_from(args.iter().map(|arg| as_declared(meta, arg)))
        .map_err(nonsense)?;
    if let Some(shell) = matches.get_one::<String>("completion") {
        return match shell.as_str() {
            "bash" => Err(Asked::Text(completion::bash(meta))),
            "zsh" => Err(Asked::Text(completion::zsh(meta))),
            "fish" => Err(Asked::Text(completion::fish(meta))),
            _ => Err(Asked::Nonsense("completions are for bash, zsh and fish".into())),
        };
    }
    for wanted in ["help", "man", "version"] {
        if matches.get_flag(wanted) {
            let text = document(meta, &format!("--{wanted}"));
            return Err(Asked::Text(text.unwrap_or_default()));
        }
    }
    for param in meta.all_params() {
        if let Some(value) = matches.remove_one::<OsString>(param.name) {
            given.set(param.name, value);
        }
    }
    Ok(Typed {
        words: matches.remove_many::<OsString>("words").map(Iterator::collect).unwrap_or_default(),
        given,
        level: matches.remove_one("check-level"),
        seconds: matches.remove_one("timeout"),
        recurring: matches.get_flag("recurring"),
        json: matches.get_flag("json"),
    })
}

/// `--run-fsck` as `--run_fsck`, which is how the table has it.
fn as_declared(meta: &Meta, arg: &OsString) -> OsString {
    let Some(option) = arg.to_str().and_then(|arg| arg.strip_prefix("--")) else {
        return arg.clone();
    };
    let (name, value) = option.split_at(option.find('=').unwrap_or(option.len()));
    let name = name.replace('-', "_");
    match meta.param(&name) {
        Some(_) => format!("--{name}{value}").into(),
        None => arg.clone(),
    }
}

/// The options: the parameters of the table, and a few of the frame's own.
fn command(meta: &'static Meta) -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let number = |name: &'static str| Arg::new(name).long(name).value_parser(value_parser!(u32));
    let mut command = Command::new(meta.name)
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(["json", "recurring", "help", "man", "version"].map(flag))
        .args(["check-level", "timeout"].map(number))
        .arg(Arg::new("completion").long("completion"))
        .arg(Arg::new("words").num_args(0..).value_parser(value_parser!(OsString)));
    for param in meta.all_params() {
        let mut arg = Arg::new(param.name)
            .long(param.name)
            .value_parser(value_parser!(OsString))
            .allow_hyphen_values(true);
        if let Some(alias) = param.alias {
            arg = arg.alias(alias);
        }
        if param.kind == Kind::Boolean {
            // `--fast_stop` alone says yes.
            arg = arg.num_args(0..=1).default_missing_value("yes").require_equals(false);
        }
        command = command.arg(arg);
    }
    command
}

/// A name that is the same each time the same resource is meant, however the
/// call is spelled: what names the resource, each value in its one spelling.
fn instance(meta: &Meta, given: &Given, env: &Environment) -> String {
    let from_env = env.iter().find(|(name, _)| name == "OCF_RESOURCE_INSTANCE");
    if let Some(name) = from_env.and_then(|(_, value)| value.to_str()).filter(|v| !v.is_empty()) {
        return name.to_owned();
    }
    let values = |names: fn(&Param) -> bool| {
        let named = meta.params.iter().filter(|param| names(param));
        let value = |param: &Param| {
            let value = given.value(param).map(|value| value.to_string_lossy().into_owned());
            value.or_else(|| param.default.map(str::to_owned)).map(|text| (param.canonical)(&text))
        };
        named.filter_map(value).collect::<Vec<_>>()
    };
    let mut name = values(|param| param.required);
    if name.is_empty() {
        name = values(|param| param.unique);
    }
    if name.is_empty() { Request::NAMELESS.into() } else { name.join("_") }
}
