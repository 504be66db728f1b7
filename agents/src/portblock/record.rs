//! What was started, written down beside the marks in the firewall: those go
//! when somebody flushes it, and what runs goes on running. It counts only where
//! there is no mark.

use super::name::{Name, Stage};
use super::params::Effect;
use anyhow::Result;
use common::host::netns::{self, Identity};
use common::host::record::Damaged;
use common::{System, View};

/// How far this action's resource had come, in this network namespace.
pub(super) fn read(view: &View, name: &Name, action: Effect) -> Result<Option<Stage>, Damaged> {
    let Some((stage, place)) = view.record(&name.record(action), parse)? else { return Ok(None) };
    Ok(netns::current(view).is_ok_and(|here| here == place).then_some(stage))
}

fn parse(text: &str) -> Option<(Stage, Identity)> {
    let mut words = text.split_whitespace();
    match (words.next()?, words.next()?, words.next()?, words.next()) {
        ("1", stage, place, None) => Some((Stage::read(stage)?, place.parse().ok()?)),
        _ => None,
    }
}

/// Writes down how far it has come. Without it a flushed firewall is taken for
/// a resource that was never started.
pub(super) fn write(system: &System<'_>, name: &Name, action: Effect, stage: Stage) {
    let written = netns::current(system).and_then(|place| {
        let text = format!("1 {} {place}\n", stage.word());
        system.write_record(&name.record(action), &text)
    });
    if let Err(err) = written {
        system.warn(format_args!("{err:#}"));
    }
}

/// Forgets it.
pub(super) fn remove(system: &System<'_>, name: &Name, action: Effect) -> Result<()> {
    system.remove_record(&name.record(action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_is_none() {
        assert_eq!(
            parse("1 started 4:4026532008:17\n").map(|(stage, _)| stage),
            Some(Stage::Started)
        );
        for torn in [
            "",
            "1",
            "1 started",
            "2 started 4:4026532008:17",
            "1 begun 4:4026532008:17",
            "1 started 4:",
        ] {
            assert!(parse(torn).is_none(), "{torn}");
        }
    }
}
