//! Completions for the shells people work in by hand.

use crate::{Kind, Meta};
use std::fmt::Write;

/// The words that may be typed: actions, then options.
fn candidates(meta: &Meta) -> (Vec<&'static str>, Vec<String>) {
    let mut actions: Vec<&'static str> = meta.actions.iter().map(|action| action.name).collect();
    actions.dedup();
    actions.extend(["status", "explain"]);
    let options = meta
        .all_params()
        .map(|param| format!("--{}", param.name))
        .chain(["--help", "--man", "--version", "--json"].map(str::to_owned))
        .collect();
    (actions, options)
}

/// For bash, to be sourced or put into its completions directory.
pub fn bash(meta: &Meta) -> String {
    let (actions, options) = candidates(meta);
    let name = meta.name;
    let mut cases = String::new();
    for param in meta.all_params() {
        let how = match param.kind {
            Kind::Boolean => "compgen -W 'yes no'".to_owned(),
            Kind::Select(choices) => format!("compgen -W '{}'", choices.join(" ")),
            _ => "compgen -f".to_owned(),
        };
        writeln!(cases, "    --{}) COMPREPLY=($({how} -- \"$word\")); return ;;", param.name)
            .expect("a string takes whatever is written");
    }
    format!(
        "_sturdy_{name}() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}}\n  case ${{COMP_WORDS[COMP_CWORD-1]}} in\n{cases}  esac\n  case $word in\n    -*) COMPREPLY=($(compgen -W '{}' -- \"$word\")) ;;\n    *) COMPREPLY=($(compgen -W '{}' -f -- \"$word\")) ;;\n  esac\n}}\ncomplete -F _sturdy_{name} {name}\n",
        options.join(" "),
        actions.join(" "),
    )
}

/// For zsh, as a file `_NAME` on its fpath.
pub fn zsh(meta: &Meta) -> String {
    let (actions, _) = candidates(meta);
    let mut out = format!("#compdef {}\n_arguments \\\n", meta.name);
    for param in meta.all_params() {
        let what = match param.kind {
            Kind::Boolean => "(yes no)".to_owned(),
            Kind::Select(choices) => format!("({})", choices.join(" ")),
            _ => "_files".to_owned(),
        };
        let about = param.shortdesc().replace(['[', ']', '\'', ':'], " ");
        writeln!(out, "  '--{}[{about}]:{}:{what}' \\", param.name, param.name)
            .expect("a string takes whatever is written");
    }
    out + &format!("  '--json' '--man' '--help' '*:word:({})'\n", actions.join(" "))
}

/// For fish, as `NAME.fish` in its completions directory.
pub fn fish(meta: &Meta) -> String {
    let (actions, _) = candidates(meta);
    let name = meta.name;
    let mut out = format!("complete -c {name} -a '{}'\n", actions.join(" "));
    for param in meta.all_params() {
        let about = param.shortdesc().replace('\'', "");
        writeln!(out, "complete -c {name} -l {} -r -d '{about}'", param.name)
            .expect("a string takes whatever is written");
    }
    out
}
