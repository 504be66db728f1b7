//! The help that fits a screen.

use crate::{Meta, PROVIDER, text, words};
use std::fmt::Write;

/// The whole help, at most 80 columns wide.
pub fn render(meta: &Meta) -> String {
    let mut out = String::new();
    write(meta, &mut out).expect("a string takes whatever is written");
    out
}

/// The first lines only, for a call that could not be understood.
pub fn short(meta: &Meta) -> String {
    let (name, words) = (meta.name, words::form(meta, " "));
    format!(
        "Usage: {name} {words} ACTION\n       {name} --help\nActions: {}\n",
        actions(meta).join(" ")
    )
}

fn actions(meta: &Meta) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for action in meta.actions {
        if !names.contains(&action.name) {
            names.push(action.name);
        }
    }
    names.extend(["status", "explain"]);
    names
}

fn write(meta: &Meta, out: &mut String) -> std::fmt::Result {
    let name = meta.name;
    writeln!(out, "{name}: {}\n", meta.shortdesc)?;
    writeln!(out, "Usage: {name} {} ACTION [--NAME VALUE ...]", words::form(meta, " "))?;
    writeln!(out, "       {name} explain ... [--json]   what start and stop would do")?;
    writeln!(out, "\nActions:")?;
    out.push_str(&text::wrap(&actions(meta).join(" "), 2, 78));
    writeln!(out, "Parameters (* required):")?;
    let names: Vec<String> = meta
        .all_params()
        .map(|param| format!("{}{}", param.name, if param.required { "*" } else { "" }))
        .collect();
    out.push_str(&text::wrap(&names.join(" "), 2, 78));
    let examples = &meta.examples;
    let by_hand = format!("{name} {}", examples.by_hand);
    out.push('\n');
    for (use_, example) in [
        ("Pacemaker", examples.pacemaker),
        ("haresources", examples.haresources),
        ("by hand", &by_hand),
    ] {
        if use_ == "haresources" && !meta.is_for_heartbeat() {
            continue;
        }
        writeln!(out, "{use_:<12} {}", text::wrap(example, 13, 79).trim())?;
    }
    let all = format!("All of it: man 7 ocf_{PROVIDER}_{name}, or {name} --man | man -l -");
    writeln!(out, "\n{}", text::wrap(&all, 0, 79))
}
