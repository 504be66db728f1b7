//! The promotion score: how fit this node is to have its instance promoted.
//!
//! The cluster keeps it as an attribute of the node. Writing it takes a
//! program of the cluster's, which is known to hang now and then: it gets
//! little time, is called only where something has changed, and whatever
//! becomes of it the action goes on.

use crate::frame::request::Request;
use crate::host::clock;
use crate::host::system::{System, View};
use std::time::Duration;

/// After this long a score is written again, in case the cluster has lost it.
const FRESH: Duration = Duration::from_secs(300);

/// The program's exit code for options that it does not know.
const USAGE: i32 = 64;

/// The score of one instance on this node.
#[derive(Clone, Debug)]
pub struct Promotion {
    instance: String,
    node: Option<String>,
    record: String,
    limit: Duration,
}

impl Promotion {
    /// The score of the instance that the request is about, if it is one of a
    /// clone's: nobody else is promoted by score.
    pub fn of(request: &Request) -> Option<Self> {
        request.clone?;
        // In a bundle the attribute may belong to the node around it.
        let node = match request.meta("container_attribute_target") {
            Some("host") => request.meta("physical_host"),
            _ => request.meta("on_node"),
        };
        Some(Self {
            instance: request.resource.clone(),
            node: node.map(str::to_owned),
            record: format!("promotion-{}.state", request.instance),
            limit: (request.timeout / 3).min(Duration::from_secs(3)),
        })
    }

    /// Whether the score that was written last is another one, or long past.
    pub fn is_stale(&self, view: &View, score: Option<u32>) -> bool {
        let fresh = view.record(&self.record, |text| {
            let (known, written) = text.trim().split_once(' ')?;
            let age =
                clock::since_boot().checked_sub(Duration::from_secs(written.parse().ok()?))?;
            Some(known == word(score) && age < FRESH)
        });
        // A damaged one is written anew.
        !matches!(fresh, Ok(Some(true)))
    }

    /// Writes the score, or takes it away. What goes wrong goes to the log;
    /// `why` too, where the score is another one than before.
    pub fn set(&self, system: &System<'_>, score: Option<u32>, why: &str) {
        let is_news = self.is_stale(system, score);
        // Killed between here and the end, nothing is believed of the score.
        if let Err(err) = system.remove_record(&self.record) {
            system.note(format_args!("{err:#}"));
        }
        let kept = self.write(system, score).map(|()| {
            let text = format!("{} {}\n", word(score), clock::since_boot().as_secs());
            // Without a record it is written again, which does no harm.
            if let Err(err) = system.write_record(&self.record, &text) {
                system.note(format_args!("{err:#}"));
            }
        });
        match kept {
            Ok(()) if is_news => {
                system.info(format_args!("promotion score {}: {why}", word(score)))
            }
            Ok(()) => {}
            Err(err) => {
                system.warn(format_args!("the promotion score stays as it is: {err:#}"));
            }
        }
    }

    fn write(&self, system: &System<'_>, score: Option<u32>) -> anyhow::Result<()> {
        let value = word(score);
        let change: &[&str] = match score {
            Some(_) => &["--update", &value],
            None => &["--delete"],
        };
        let promotion = format!("--promotion={}", self.instance);
        let mut words = vec![promotion.as_str(), "--lifetime=reboot"];
        words.extend(self.node.iter().flat_map(|node| ["--node", node.as_str()]));
        words.extend(change);
        let mut said = system.change_within(self.limit, &[], "crm_attribute", &words)?;
        if said.code == USAGE {
            // Pacemaker before 2.0.5.
            let change: &[&str] = if score.is_some() { &["-v", &value] } else { &["-D"] };
            let words = [&["-Q", "-l", "reboot"][..], change].concat();
            said = system.change_within(self.limit, &[], "crm_master", &words)?;
        }
        anyhow::ensure!(said.success(), "{}", said.reason());
        Ok(())
    }
}

fn word(score: Option<u32>) -> String {
    score.map_or_else(|| "none".into(), |score| score.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn promotion() -> Promotion {
        Promotion {
            instance: "p_r1".into(),
            node: Some("node1".into()),
            record: "promotion-p_r1.state".into(),
            limit: Duration::from_millis(500),
        }
    }

    fn program(root: &Path, name: &str, text: &str) {
        let path = root.join("usr/sbin").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("#!/bin/sh\necho {name} $* >> {}/called\n{text}\n", root.display());
        // Written by another process: one of ours that forks meanwhile would
        // keep the file from being run.
        let draft = path.with_extension("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(
            std::process::Command::new("cp").arg(&draft).arg(&path).status().unwrap().success()
        );
    }

    fn called(root: &Path) -> String {
        std::fs::read_to_string(root.join("called")).unwrap_or_default()
    }

    #[test]
    fn a_score_is_written_once() {
        let root = tempfile::tempdir().unwrap();
        program(root.path(), "crm_attribute", "");
        let view = View::below(root.path(), Deadline::after(Duration::from_secs(5)));
        let promotion = promotion();
        assert!(promotion.is_stale(&view, Some(10_000)));
        view.with_write_access(|system| promotion.set(system, Some(10_000), "good"));
        assert!(!promotion.is_stale(&view, Some(10_000)));
        assert!(promotion.is_stale(&view, Some(1000)) && promotion.is_stale(&view, None));
        view.with_write_access(|system| promotion.set(system, None, "gone"));
        assert!(!promotion.is_stale(&view, None));
        assert_eq!(
            called(root.path()),
            "crm_attribute --promotion=p_r1 --lifetime=reboot --node node1 --update 10000\n\
             crm_attribute --promotion=p_r1 --lifetime=reboot --node node1 --delete\n"
        );
    }

    #[test]
    fn a_hint_that_is_damaged_keeps_no_score_from_being_written() {
        let root = tempfile::tempdir().unwrap();
        program(root.path(), "crm_attribute", "");
        let view = View::below(root.path(), Deadline::after(Duration::from_secs(5)));
        let record = root.path().join("run/resource-agents/promotion-p_r1.state");
        std::fs::create_dir_all(record.join("in the way")).unwrap();
        view.with_write_access(|system| promotion().set(system, Some(10), "good"));
        assert!(called(root.path()).ends_with("--update 10\n"));
        std::fs::remove_dir_all(&record).unwrap();
        for damaged in ["", "10", "10 soon", "10 99999999999999999999", "\u{fffd}"] {
            std::fs::write(&record, damaged).unwrap();
            assert!(promotion().is_stale(&view, Some(10)), "{damaged}");
        }
    }

    #[test]
    fn a_program_that_hangs_costs_little_and_is_asked_again() {
        let root = tempfile::tempdir().unwrap();
        program(root.path(), "crm_attribute", "sleep 60");
        let view = View::below(root.path(), Deadline::after(Duration::from_secs(20)));
        let begun = std::time::Instant::now();
        view.with_write_access(|system| promotion().set(system, Some(1), "bad"));
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(promotion().is_stale(&view, Some(1)));
    }

    #[test]
    fn an_old_pacemaker_has_another_program() {
        let root = tempfile::tempdir().unwrap();
        program(root.path(), "crm_attribute", "exit 64");
        program(root.path(), "crm_master", "");
        let view = View::below(root.path(), Deadline::after(Duration::from_secs(20)));
        view.with_write_access(|system| promotion().set(system, Some(5), "old"));
        assert!(called(root.path()).ends_with("crm_master -Q -l reboot -v 5\n"));
    }
}
