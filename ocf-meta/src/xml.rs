//! The meta-data of the OCF resource agent API 1.1.

use crate::value::Kind;
use crate::{Meta, Param, text};
use std::fmt::Write;

/// What the meta-data begins with.
///
/// No `encoding`: crmsh hands the text to lxml as a string, and lxml then
/// refuses a declared encoding. The document type is our own: it declares just
/// what we use, so that ocf-tester's demand for one that validates is met
/// while the OCF 1.1 schema, pcs and crmsh still take the document.
const HEAD: &str = r#"<?xml version="1.0"?>
<!DOCTYPE resource-agent [
<!ELEMENT resource-agent ANY>
<!ELEMENT version ANY>
<!ELEMENT longdesc ANY>
<!ELEMENT shortdesc ANY>
<!ELEMENT parameters ANY>
<!ELEMENT parameter ANY>
<!ELEMENT deprecated ANY>
<!ELEMENT replaced-with EMPTY>
<!ELEMENT content ANY>
<!ELEMENT option EMPTY>
<!ELEMENT actions ANY>
<!ELEMENT action EMPTY>
<!ATTLIST resource-agent name CDATA #REQUIRED version CDATA #IMPLIED>
<!ATTLIST longdesc lang CDATA #IMPLIED>
<!ATTLIST shortdesc lang CDATA #IMPLIED>
<!ATTLIST parameter name CDATA #REQUIRED required CDATA #IMPLIED unique CDATA #IMPLIED>
<!ATTLIST parameter unique-group CDATA #IMPLIED reloadable CDATA #IMPLIED>
<!ATTLIST replaced-with name CDATA #REQUIRED>
<!ATTLIST content type CDATA #REQUIRED default CDATA #IMPLIED>
<!ATTLIST option value CDATA #REQUIRED>
<!ATTLIST action name CDATA #REQUIRED timeout CDATA #REQUIRED interval CDATA #IMPLIED>
<!ATTLIST action depth CDATA #IMPLIED role CDATA #IMPLIED>
]>
"#;

/// The whole document.
pub fn render(meta: &Meta) -> String {
    let mut out = String::from(HEAD);
    write(meta, &mut out).expect("a string takes whatever is written");
    out
}

fn write(meta: &Meta, out: &mut String) -> std::fmt::Result {
    let release = env!("CARGO_PKG_VERSION");
    writeln!(out, r#"<resource-agent name="{}" version="{release}">"#, meta.name)?;
    writeln!(out, "<version>1.1</version>")?;
    describe(out, &long(meta), meta.shortdesc)?;
    writeln!(out, "\n<parameters>")?;
    for param in meta.all_params() {
        parameter(out, param, param.name)?;
        if let Some(older) = param.alias {
            parameter(out, param, older)?;
        }
    }
    writeln!(out, "</parameters>\n\n<actions>")?;
    for action in meta.actions {
        write!(out, r#"<action name="{}" timeout="{}s""#, action.name, action.timeout)?;
        if let Some(interval) = action.interval {
            write!(out, r#" interval="{interval}s""#)?;
        }
        if let Some(depth) = action.depth {
            write!(out, r#" depth="{depth}""#)?;
        }
        if let Some(role) = action.role {
            write!(out, r#" role="{role}""#)?;
        }
        writeln!(out, "/>")?;
    }
    writeln!(out, "</actions>\n</resource-agent>")
}

fn long(meta: &Meta) -> String {
    text::paragraphs(&[meta.longdesc]).join("\n\n")
}

/// The parameter under its name, or under its older one.
///
/// A required one with an older name is not marked as such: clients would ask
/// for it under each of them. The agent itself insists on one.
fn parameter(out: &mut String, param: &Param, name: &str) -> std::fmt::Result {
    write!(out, r#"<parameter name="{name}""#)?;
    if param.required && param.alias.is_none() {
        write!(out, r#" required="1""#)?;
    }
    if param.unique {
        // crmsh looks at the one, pcs at the other.
        write!(out, r#" unique="1" unique-group="{name}""#)?;
    }
    if param.reloadable {
        write!(out, r#" reloadable="1""#)?;
    }
    writeln!(out, ">")?;
    if name != param.name {
        let new = param.name;
        writeln!(out, r#"<deprecated><replaced-with name="{new}"/></deprecated>"#)?;
    }
    describe(out, &param.longdesc().join("\n\n"), &param.shortdesc())?;
    let default =
        param.default.map(|text| format!(r#" default="{}""#, escape(text))).unwrap_or_default();
    match param.kind {
        Kind::Select(choices) => {
            write!(out, r#"<content type="select"{default}>"#)?;
            for choice in choices {
                write!(out, r#"<option value="{}"/>"#, escape(choice))?;
            }
            writeln!(out, "</content>")?;
        }
        Kind::String => writeln!(out, r#"<content type="string"{default}/>"#)?,
        Kind::Integer => writeln!(out, r#"<content type="integer"{default}/>"#)?,
        Kind::Boolean => writeln!(out, r#"<content type="boolean"{default}/>"#)?,
    }
    writeln!(out, "</parameter>")
}

fn describe(out: &mut String, long: &str, short: &str) -> std::fmt::Result {
    writeln!(out, r#"<longdesc lang="en">{}</longdesc>"#, escape(long))?;
    writeln!(out, r#"<shortdesc lang="en">{}</shortdesc>"#, escape(short))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
