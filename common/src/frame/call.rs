//! Who calls, in which dialect, and what for.

use crate::frame::report::Report;
use crate::frame::request::Request;
use crate::frame::{command_line, refusal};
use ocf_meta::{Code, Given, Meta, action, man, usage, words, xml};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// An environment, as given; shared by all who read it.
pub type Environment = Rc<[(OsString, OsString)]>;

/// How the caller speaks, and how it wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OCF 1.1: parameters in the environment, the answer in the exit code.
    Ocf,
    /// heartbeat v1: parameters in words, `status` answered in text.
    Heartbeat,
    /// A person or a script: as heartbeat, with options besides.
    ByHand,
}

/// What an agent does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Start,
    Stop,
    Monitor,
    Promote,
    Demote,
    Notify,
    Reload,
    Validate,
    /// Stop, then start.
    Restart,
    /// Say what is there and what start and stop would do.
    Explain,
}

/// A call that has been understood.
#[derive(Debug)]
pub struct Invocation {
    /// Who is answered, and how.
    pub dialect: Dialect,
    /// What is to be done.
    pub verb: Verb,
    /// The word the caller used for it.
    pub action: String,
    /// The parameters.
    pub given: Given,
    /// What the cluster says besides.
    pub request: Request,
    /// Whether a machine reads the explanation.
    pub json: bool,
    /// The environment, for the trace and the log.
    pub env: Environment,
}

/// What a call comes down to.
#[derive(Debug)]
pub enum Call {
    /// Print this and end well.
    Print(String),
    /// It makes no sense; say so.
    Refuse(Report),
    /// Do it.
    Act(Box<Invocation>),
}

/// The environment of this process.
pub fn environment() -> Environment {
    std::env::vars_os().collect()
}

impl Call {
    /// Understands a call from what the kernel hands a process.
    pub fn read(meta: &'static Meta, args: &[OsString], env: &Environment) -> Self {
        let name = args.first().map(Path::new).unwrap_or(Path::new(meta.name));
        let words = args.get(1..).unwrap_or_default();
        let Some(first) = words.first() else {
            let usage = usage::short(meta);
            return Self::Refuse(
                refusal(Dialect::ByHand, Code::ErrArgs, "no action given").help(usage),
            );
        };
        if let Some(text) = first.to_str().and_then(|word| document(meta, word)) {
            return Self::Print(text);
        }
        match dialect(name, words, env) {
            Dialect::Ocf => ocf(meta, first, env),
            dialect => command_line::read(meta, words, env, dialect),
        }
    }
}

/// What is printed without a look at anything: no parameter, no machine.
pub(crate) fn document(meta: &Meta, word: &str) -> Option<String> {
    Some(match word {
        "meta-data" => xml::render(meta),
        "--help" | "-h" | "help" | "usage" => usage::render(meta),
        "--man" => man::render(meta),
        "--version" => format!("{} {}\n", meta.name, env!("CARGO_PKG_VERSION")),
        _ => return None,
    })
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
        None => "default",
    };
    Call::Act(Box::new(Invocation {
        dialect: Dialect::Ocf,
        verb,
        action: action.to_string_lossy().into_owned(),
        given: from_environment(env),
        request: Request::read(env, instance.into(), timeout(meta, verb).min(UNTOLD)),
        json: false,
        env: env.clone(),
    }))
}

/// A caller that speaks OCF and names no time limit may be one that runs the
/// agent in a unit of systemd's, which is killed after 90 s: drbd-reactor.
const UNTOLD: u32 = 80;

/// The refusal of an action that the agent does not have.
pub(crate) fn unknown(meta: &Meta, dialect: Dialect, action: &OsString) -> Report {
    let shown: String = action.to_string_lossy().chars().take(40).collect();
    refusal(dialect, Code::ErrUnimplemented, format!("there is no action `{shown}`"))
        .help(usage::short(meta))
}

/// The parameters that OCF_RESKEY_* carry.
pub(crate) fn from_environment(env: &Environment) -> Given {
    let mut given = Given::default();
    for (name, value) in env.iter() {
        if let Some(name) = name.to_str().and_then(|name| name.strip_prefix("OCF_RESKEY_"))
            && !name.starts_with("CRM_meta_")
            && !matches!(name, "crm_feature_set" | "OCF_CHECK_LEVEL")
        {
            given.set(name.to_owned(), value.clone());
        }
    }
    given
}

/// What the word asks for, if the agent offers it.
pub(crate) fn verb(meta: &Meta, action: &OsString) -> Option<Verb> {
    let action = action.to_str()?;
    let verb = match action {
        "start" => Verb::Start,
        "stop" => Verb::Stop,
        "monitor" | "status" => Verb::Monitor,
        "promote" => Verb::Promote,
        "demote" => Verb::Demote,
        "notify" => Verb::Notify,
        "reload-agent" => Verb::Reload,
        "validate-all" => Verb::Validate,
        "restart" | "force-reload" => Verb::Restart,
        "explain" => Verb::Explain,
        _ => return None,
    };
    let always = matches!(verb, Verb::Monitor | Verb::Restart | Verb::Explain);
    (always || meta.offers(action)).then_some(verb)
}

/// The time limit the meta-data advises, in seconds.
pub(crate) fn timeout(meta: &Meta, verb: Verb) -> u32 {
    let name = match verb {
        Verb::Start | Verb::Restart => action::START.name,
        Verb::Stop => action::STOP.name,
        Verb::Promote => action::PROMOTE.name,
        Verb::Demote => action::DEMOTE.name,
        _ => action::MONITOR.name,
    };
    meta.actions.iter().find(|offered| offered.name == name).map_or(20, |offered| offered.timeout)
}

/// The parameters that a list of words stands for.
pub(crate) fn from_words(meta: &Meta, list: &[OsString], given: &mut Given) -> Result<(), String> {
    words::read(meta, list, given)
}
