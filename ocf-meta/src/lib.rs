//! What a resource agent declares about itself, once, and every text that is
//! made from the declaration: meta-data, man page, help, completions.
//!
//! This crate is pure: it reads no file, no environment and no clock.

pub mod action;
pub mod code;
pub mod completion;
pub mod man;
pub mod param;
pub mod usage;
pub mod value;
pub mod words;
pub mod xml;

mod text;

pub use action::Action;
pub use code::Code;
pub use param::{Given, Invalid, Param, Params, Reading};
pub use value::{Kind, Value};
pub use words::Words;

/// The provider our agents are installed under: `ocf:sturdy:NAME`.
pub const PROVIDER: &str = "sturdy";

/// Everything a resource agent declares about itself.
#[derive(Debug)]
pub struct Meta {
    /// The type's name: `Filesystem`.
    pub name: &'static str,
    /// One line: what the agent keeps alive.
    pub shortdesc: &'static str,
    /// Plain paragraphs, separated by empty lines.
    pub longdesc: &'static str,
    /// The parameters, made by [`params!`].
    pub params: &'static [Param],
    /// How the words of a haresources entry become parameters.
    pub words: Words,
    /// What the cluster may call, in the order of the meta-data.
    pub actions: &'static [Action],
    /// One example of each of the three uses.
    pub examples: Examples,
    /// Where the agent differs from the one it takes the place of, a sentence each.
    pub differences: &'static [&'static str],
}

/// One example of each of the three ways an agent is used.
#[derive(Debug)]
pub struct Examples {
    /// `crm configure` syntax, after `primitive`.
    pub pacemaker: &'static str,
    /// One haresources entry. None, which is an empty text, for an agent that
    /// heartbeat is not to be given: an init script has its name, and does
    /// something else.
    pub haresources: &'static str,
    /// The words after the agent's name at a prompt.
    pub by_hand: &'static str,
}

/// Parameters that every agent takes; the frame itself reads them.
pub const COMMON: &[Param] = &[
    Param {
        kind: Kind::Boolean,
        default: Some("false"),
        ..Param::new(
            "trace_ra",
            &[
                " Write a trace of each action.",
                "",
                " Each decision, system call and command with its outcome and its duration goes to a file of its own.",
            ],
        )
    },
    Param::new(
        "trace_file",
        &[
            " File for the trace.",
            "",
            " An absolute path. By default each action writes a file of its own below the trace directory.",
        ],
    ),
    Param {
        default: Some("/var/lib/heartbeat/trace_ra"),
        ..Param::new(
            "trace_dir",
            &[
                " Directory for traces.",
                "",
                " The files are TYPE/INSTANCE.ACTION.DATE below this directory.",
            ],
        )
    },
];

impl Meta {
    /// The agent's own parameters, then the common ones.
    pub fn all_params(&self) -> impl Iterator<Item = &'static Param> {
        self.params.iter().chain(COMMON)
    }

    /// The parameter of this name or alias.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.all_params().find(|param| param.answers_to(name))
    }

    /// Whether heartbeat is to find the agent under its name.
    pub fn is_for_heartbeat(&self) -> bool {
        !self.examples.haresources.is_empty()
    }

    /// Whether the cluster may call an action of this name.
    pub fn offers(&self, action: &str) -> bool {
        self.actions.iter().any(|offered| offered.name == action)
    }
}
