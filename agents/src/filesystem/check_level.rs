//! Monitors that try the file system out.

use super::{Backing, Filesystem, State};
use anyhow::Context;
use common::host::{clock, io_test};
use common::{Plan, View};
use std::path::PathBuf;

impl Filesystem {
    /// 10 reads, 20 also writes; a level in between is the next lower one.
    pub(super) fn try_out<'a>(&'a self, view: &View, state: &State, level: u32) -> Plan<'a> {
        let mut plan = Plan::new();
        let State::Mounted(mount) = state else { return plan };
        if level >= 10 {
            let has_device = matches!(self.kind.backing, Backing::Device | Backing::Image);
            match self.node(view, mount).filter(|_| has_device) {
                Some(node) => plan.step(format!("read from {}", node.display()), move |system| {
                    io_test::read_device(system, &node, system.deadline())
                        .with_context(|| format!("cannot read {}", node.display()))
                }),
                None => {
                    let directory = mount.directory.clone();
                    let what = format!("have the file system on {} answer", directory.display());
                    plan.step(what, move |system| {
                        io_test::answers(system, &directory, system.deadline())
                            .with_context(|| format!("no answer from {}", directory.display()))
                    })
                }
            };
        }
        if level >= 20 {
            let (directory, below) = (mount.directory.clone(), self.status_file(view));
            let file = directory.join(&below);
            plan.step(format!("write and read back {}", file.display()), move |system| {
                let shown = file.display();
                if !matches!(system.record_text(&self.status_record()), Ok(Some(_))) {
                    system.write_record(&self.status_record(), &format!("{shown}\n"))?;
                }
                let text = format!("{} {}\n", self.request.resource, clock::local_time("%F %T %z"));
                io_test::write(system, &directory, &below, &text, system.deadline())
                    .with_context(|| format!("on {shown}"))
            });
        }
        plan
    }

    /// Below the mount point, with the name that the shell agent gives it.
    fn status_file(&self, view: &View) -> PathBuf {
        let node = view.read("/proc/sys/kernel/hostname").unwrap_or_default();
        let number = self.request.clone.map(|clone| format!("_{}", clone.number));
        let name = format!(
            "{}{}{}_{}",
            self.params.statusfile_prefix.trim_start_matches('/'),
            self.request.resource.replace('/', "_"),
            number.unwrap_or_default(),
            node.trim()
        );
        PathBuf::from(name)
    }

    /// The record that there is a status file to be removed.
    pub(super) fn status_record(&self) -> String {
        format!("Filesystem-{}.status", self.request.instance)
    }
}
