//! When a constraint goes, in whole or in part.

use super::FencePeer;
use super::cib::{CHANGE, Cib, Constraint};
use super::spared::spared;
use common::frame::handler::Verdict;
use common::host::drbd::{DiskState, Resource};
use common::{Fact, System};

impl FencePeer {
    /// What becomes of a constraint once peers are back.
    pub(super) fn unfence<'a>(
        &'a self,
        cib: &Cib,
        resource: &Resource,
        constraint: Constraint,
    ) -> Verdict<'a> {
        let placed = constraint.found(cib);
        let seen = vec![
            Fact::new("resource", format!("{} {}", resource.name, resource.disks())),
            Fact::new("constraint", Constraint::described(placed.as_ref())),
        ];
        let spared = spared(cib, resource, &constraint.owner, &[]);
        let role = self.role.clone().unwrap_or_else(|| cib.promoted().to_owned());
        let nothing = |why: &str| (format!("do nothing: {why}"), Release::None);
        let (what, release) = match placed {
            None => nothing("there is no constraint"),
            Some(placed) if self.only_ours && placed.owner != constraint.owner => {
                nothing("the constraint is another node's")
            }
            Some(placed) if resource.is_whole() => {
                (format!("lift the constraint {}", constraint.id), Release::All(placed))
            }
            Some(placed) => {
                let good = resource.volumes.iter().all(|volume| volume.disk == DiskState::UpToDate);
                let new: Vec<String> =
                    spared.into_iter().filter(|node| !placed.allows(node)).collect();
                match good && !new.is_empty() {
                    true => {
                        let what = format!("let {} be promoted again", new.join(" "));
                        let mut wider = placed.clone();
                        wider.spared.extend(new);
                        (what, Release::Some { placed, wider })
                    }
                    false => nothing("not all disks are up to date and connected"),
                }
            }
        };
        let act = move |system: &System<'_>| {
            match release {
                Release::None => {}
                Release::All(placed) => placed.lift(system, CHANGE)?,
                Release::Some { placed, wider } => {
                    wider.replace(&placed, system, &role, CHANGE)?;
                }
            }
            Ok(0)
        };
        Verdict { seen, what, act: Box::new(act) }
    }
}

/// What becomes of a constraint once a peer is back.
enum Release {
    None,
    /// It goes.
    All(Constraint),
    /// It stays, for those that are not back yet.
    Some {
        placed: Constraint,
        wider: Constraint,
    },
}
