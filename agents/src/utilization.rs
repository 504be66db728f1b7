//! What a guest takes, as utilization attributes of its resource: written where it
//! has changed, since each write has the whole cluster think anew.

use anyhow::{Result, ensure};
use common::host::clock;
use common::{Request, System, View};
use std::time::Duration;

/// Pacemaker's program for the attributes of a resource.
const CRM_RESOURCE: &str = "crm_resource";

/// After this long the figures are looked at again, in seconds: whoever writes
/// them may have failed, or somebody may have changed them.
const FRESH: u64 = 300;

/// An attribute and its value; nothing where it is to be removed.
pub(crate) type Figure = (&'static str, Option<u64>);

/// Whether the figures may be others than those that were written last. `source` is
/// a number that changes with what they are read from.
pub(crate) fn are_stale(view: &View, record: &str, source: u64) -> bool {
    let written = view.record(record, |text| {
        let mut words = text.split_whitespace();
        Some((words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?))
    });
    let Ok(Some((known, at))) = written else { return true };
    // What could not be written has no source.
    known != source && (known != 0 || clock::since_boot().as_secs() >= at + FRESH)
}

/// Writes those that have changed. The record has them as they were written last:
/// `12345 600 cpu=2 hv_memory=-`, with the source and the time since the boot in
/// front; a dash for what was removed.
pub(crate) fn tell(
    system: &System<'_>,
    request: &Request,
    record: &str,
    source: u64,
    figures: &[Figure],
) -> Result<()> {
    let last = system.record_text(record).ok().flatten().unwrap_or_default();
    let mut text = String::new();
    let mut told = Ok(());
    for (name, value) in figures {
        let figure = format!(" {name}={}", value.map_or("-".into(), |value| value.to_string()));
        if !last.split_whitespace().any(|known| known == figure.trim_start()) {
            told = told.and_then(|()| tell_one(system, request, name, *value));
        }
        text.push_str(&figure);
    }
    let at = clock::since_boot().as_secs();
    let (source, text) = if told.is_ok() { (source, text) } else { (0, String::new()) };
    system.write_record(record, &format!("{source} {at}{text}\n"))?;
    told
}

fn tell_one(system: &System<'_>, request: &Request, name: &str, value: Option<u64>) -> Result<()> {
    let limit = (request.timeout / 6).min(Duration::from_secs(5));
    let head = ["--resource", &request.resource, "--utilization"];
    let text = value.map(|value| value.to_string());
    let asked = ["--quiet", "--get-parameter", name];
    let known = system.query_within(limit, CRM_RESOURCE, &[&head[..], &asked].concat())?;
    let known = Some(known.stdout.trim().to_owned()).filter(|_| known.success());
    if known == text {
        return Ok(());
    }
    let change: &[&str] = match &text {
        Some(text) => &["--set-parameter", name, "--parameter-value", text],
        None => &["--delete-parameter", name],
    };
    let said = system.change_within(limit, &[], CRM_RESOURCE, &[&head[..], change].concat())?;
    ensure!(said.success(), "{}", said.reason());
    Ok(())
}
