//! How the caller speaks, and the dialect of OCF. The others are in
//! [`command_line`].

use crate::frame::call::{Call, document, from_environment, timeout, unknown, verb};
use crate::frame::command_line;
use crate::frame::invocation::{Dialect, Environment, Invocation, Verb};
use crate::frame::report::refusal;
use crate::frame::request::Request;
use ocf_meta::{Code, Meta, usage};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Understands a call from what the kernel hands a process.
pub fn read(meta: &'static Meta, args: &[OsString], env: &Environment) -> Call {
    let name = args.first().map(Path::new).unwrap_or(Path::new(meta.name));
    let words = args.get(1..).unwrap_or_default();
    let Some(first) = words.first() else {
        let usage = usage::short(meta);
        return Call::Refuse(
            refusal(Dialect::ByHand, Code::ErrArgs, "no action given").help(usage),
        );
    };
    if let Some(text) = first.to_str().and_then(|word| document(meta, word)) {
        return Call::Print(text);
    }
    match dialect(name, words, env) {
        Dialect::Ocf => ocf(meta, first, env),
        dialect => command_line::read(meta, words, env, dialect),
    }
}

/// Which dialect it is. What the agent is called as decides first, since the
/// same binary lies where each of the callers looks for it.
///
/// One word alone is what a person types for an agent that needs no parameter,
/// and what a cluster's tools say: they call the file in its provider's
/// directory, or set one of the variables below.
fn dialect(name: &Path, words: &[OsString], env: &Environment) -> Dialect {
    let is_set = |wanted: &str| env.iter().any(|(name, _)| name == wanted);
    let home = name.parent().unwrap_or(Path::new(""));
    if home.ends_with("ha.d/resource.d") || home.ends_with("init.d") {
        return Dialect::Heartbeat;
    }
    if is_set("OCF_RESOURCE_TYPE") || is_set("OCF_RA_VERSION_MAJOR") {
        return Dialect::Ocf;
    }
    let has_option = words.iter().any(|word| word.as_bytes().starts_with(b"--"));
    if words.len() > 1 || has_option || words[0] == "explain" {
        return Dialect::ByHand;
    }
    let of_provider = home.parent().is_some_and(|directory| directory.ends_with("resource.d"));
    let given = || env.iter().any(|(name, _)| name.as_bytes().starts_with(b"OCF_RESKEY_"));
    match of_provider || is_set("OCF_ROOT") || is_set("OCF_RESOURCE_INSTANCE") || given() {
        true => Dialect::Ocf,
        false => Dialect::ByHand,
    }
}

/// The first word is the action; whatever follows is to be ignored.
fn ocf(meta: &'static Meta, action: &OsString, env: &Environment) -> Call {
    let value = |wanted: &str| {
        let found = env.iter().find(|(name, _)| name == wanted);
        found.and_then(|(_, value)| value.to_str()).filter(|value| !value.is_empty())
    };
    let refuse = |code, reason: String| Call::Refuse(refusal(Dialect::Ocf, code, reason));
    let version = value("OCF_RA_VERSION_MAJOR");
    if let Some(version) = version.filter(|version| *version != "1") {
        let reason = format!("the cluster speaks version {version} of the OCF API, this is 1.1");
        return refuse(Code::ErrGeneric, reason);
    }
    let Some(verb) = verb(meta, action) else {
        return Call::Refuse(unknown(meta, Dialect::Ocf, action));
    };
    let instance = match value("OCF_RESOURCE_INSTANCE") {
        Some(instance) => instance,
        None if version.is_some() => {
            return refuse(Code::ErrArgs, "OCF_RESOURCE_INSTANCE is not set".into());
        }
        None => Request::NAMELESS,
    };
    Call::Act(Box::new(Invocation {
        dialect: Dialect::Ocf,
        verb,
        action: action.to_string_lossy().into_owned(),
        given: from_environment(env),
        request: Request::read(env, instance.into(), untold(meta, verb)),
        json: false,
        env: env.clone(),
    }))
}

/// Seconds for a caller that speaks OCF and names no time limit: drbd-reactor runs
/// the agent in a unit of systemd's, which is killed after 90 s. What is declared
/// is what a cluster takes by default, and less than a busy node may need.
const UNTOLD: u32 = 80;

fn untold(meta: &Meta, verb: Verb) -> u32 {
    match verb {
        Verb::Monitor => timeout(meta, verb).min(UNTOLD),
        _ => UNTOLD,
    }
}
