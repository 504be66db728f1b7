//! What a call comes down to, and how its parts are read whatever the dialect.

use crate::frame::invocation::{Dialect, Environment, Invocation, Verb};
use crate::frame::report::{Report, refusal};
use ocf_meta::{Code, Given, Meta, action, man, usage, words, xml};
use std::ffi::OsString;

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
        "migrate_to" => Verb::MigrateTo,
        "migrate_from" => Verb::MigrateFrom,
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
        Verb::MigrateTo => action::MIGRATE_TO.name,
        Verb::MigrateFrom => action::MIGRATE_FROM.name,
        _ => action::MONITOR.name,
    };
    meta.actions.iter().find(|offered| offered.name == name).map_or(20, |offered| offered.timeout)
}

/// The parameters that a list of words stands for.
pub(crate) fn from_words(meta: &Meta, list: &[OsString], given: &mut Given) -> Result<(), String> {
    words::read(meta, list, given)
}
