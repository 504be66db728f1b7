//! The manual page, section 7.

use crate::value::Kind;
use crate::{Code, Meta, PROVIDER, Param, text, words};
use std::fmt::Write;

/// The page's file name: `ocf_sturdy_Filesystem.7`.
pub fn file_name(meta: &Meta) -> String {
    format!("ocf_{PROVIDER}_{}.7", meta.name)
}

/// The page as roff source.
pub fn render(meta: &Meta) -> String {
    let mut out = String::new();
    write(meta, &mut out).expect("a string takes whatever is written");
    out
}

fn write(meta: &Meta, out: &mut String) -> std::fmt::Result {
    let name = meta.name;
    let title = format!("ocf_{PROVIDER}_{name}");
    let release = env!("CARGO_PKG_VERSION");
    writeln!(
        out,
        ".TH {} 7 \"\" \"{PROVIDER} {release}\" \"Resource agents\"",
        title.to_uppercase()
    )?;
    writeln!(out, ".SH NAME\n{title} \\- {}", roff(meta.shortdesc))?;
    synopsis(meta, out)?;
    writeln!(out, ".SH DESCRIPTION")?;
    paragraphs(out, &text::paragraphs(&[meta.longdesc]))?;
    writeln!(out, ".SH PARAMETERS")?;
    for param in meta.all_params() {
        parameter(out, param)?;
    }
    actions(meta, out)?;
    writeln!(out, ".SH EXIT STATUS")?;
    for (code, words) in Code::ALL {
        writeln!(out, ".TP\n.B {}\n{}", *code as u8, roff(words))?;
    }
    writeln!(
        out,
        ".PP\nCalled with words, as heartbeat and people do, status ends with 0 (running),\n\
         3 (stopped) or 4 (unknown), and prints running or stopped."
    )?;
    if !meta.differences.is_empty() {
        writeln!(out, ".SH DIFFERENCES")?;
        writeln!(out, "From the shell agent that it takes the place of:")?;
        for difference in meta.differences {
            writeln!(out, ".IP \\(bu 2\n{}", roff(difference))?;
        }
    }
    writeln!(out, ".SH EXAMPLES")?;
    let examples = &meta.examples;
    for (label, line) in [
        ("Pacemaker, by crm configure:", examples.pacemaker.to_owned()),
        ("heartbeat, in /etc/ha.d/haresources:", format!("node1 {}", examples.haresources)),
        ("By hand:", format!("{name} {}", examples.by_hand)),
    ] {
        if label.starts_with("heartbeat") && !meta.is_for_heartbeat() {
            continue;
        }
        writeln!(out, ".PP\n{label}\n.PP\n.RS 4\n.nf\n{}\n.fi\n.RE", roff(&line))?;
    }
    Ok(())
}

fn synopsis(meta: &Meta, out: &mut String) -> std::fmt::Result {
    let name = meta.name;
    writeln!(out, ".SH SYNOPSIS")?;
    writeln!(out, ".nf")?;
    writeln!(
        out,
        "primitive \\fIid\\fR ocf:{PROVIDER}:{name} params \\fIname\\fR=\\fIvalue\\fR ..."
    )?;
    if meta.is_for_heartbeat() {
        let words = words::form(meta, "::");
        let between = if words.starts_with('[') || words.is_empty() { "" } else { "::" };
        writeln!(out, "\\fInode\\fR {name}{between}{}", roff(&words))?;
    }
    writeln!(out, "{name} {} \\fIaction\\fR", roff(&words::form(meta, " ")))?;
    writeln!(out, "{name} explain ... [\\-\\-json]\n.fi")
}

fn parameter(out: &mut String, param: &Param) -> std::fmt::Result {
    let kind = match param.kind {
        Kind::String => "string".to_owned(),
        Kind::Integer => "integer".to_owned(),
        Kind::Boolean => "boolean".to_owned(),
        Kind::Select(choices) => choices.join(" | "),
    };
    let mut notes = vec![kind];
    for (holds, note) in
        [(param.required, "required"), (param.unique, "unique"), (param.reloadable, "reloadable")]
    {
        notes.extend(holds.then(|| note.to_owned()));
    }
    notes.extend(param.default.map(|default| format!("default {default}")));
    notes.extend(param.alias.map(|alias| format!("also {alias}")));
    writeln!(out, ".TP\n.B {}\n({})", param.name, roff(&notes.join(", ")))?;
    for paragraph in param.longdesc() {
        writeln!(out, ".IP\n{}", roff(&paragraph))?;
    }
    Ok(())
}

fn actions(meta: &Meta, out: &mut String) -> std::fmt::Result {
    writeln!(out, ".SH ACTIONS")?;
    for action in meta.actions {
        let mut notes = vec![format!("timeout {}s", action.timeout)];
        notes.extend(action.interval.map(|seconds| format!("interval {seconds}s")));
        notes.extend(action.depth.map(|depth| format!("depth {depth}")));
        notes.extend(action.role.map(str::to_owned));
        writeln!(out, ".TP\n.B {}\n{}", roff(action.name), notes.join(", "))?;
    }
    Ok(())
}

fn paragraphs(out: &mut String, paragraphs: &[String]) -> std::fmt::Result {
    for paragraph in paragraphs {
        writeln!(out, ".PP\n{}", roff(paragraph))?;
    }
    Ok(())
}

/// Text that roff prints as it stands.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    match escaped.chars().next() {
        Some('.' | '\'') => format!("\\&{escaped}"),
        _ => escaped,
    }
}
