//! Which of the machine's mounts are the resource's, wherever they are.
//!
//! Names change under a mount: its source or a directory above it is renamed,
//! a link to it is turned or removed, another file system is mounted over a
//! parent. The mount stays. So what start has recorded is looked for by the
//! mount's number, and a device by its own, before anything is called stopped.

use super::identity::{Verdict, is_backed_by};
use super::record::Record;
use super::{Backing, Filesystem, State, stop};
use anyhow::{Context, Result, bail};
use common::View;
use common::host::block::{self, Number};
use common::host::fuser::{self, Targets};
use common::host::mount::table::unescaped;
use common::host::mount::{Mount, Table};
use common::host::{holders, lookup};
use std::path::{Path, PathBuf};

/// What of the mount table is ours.
#[derive(Debug, Default)]
pub(super) struct Survey<'t> {
    /// Where the parameter leads.
    pub(super) directory: PathBuf,
    /// What is mounted there, as paths lead now.
    top: Option<&'t Mount>,
    /// Ours there, seen or not.
    here: Vec<&'t Mount>,
    /// Where an unfinished stop has moved it.
    parked: Option<&'t Mount>,
    /// What start has mounted, on another directory by now.
    moved: Option<&'t Mount>,
    /// Other mounts of the device.
    elsewhere: Vec<&'t Mount>,
    /// Mounts of the same file system that are others', and whose.
    pub(super) left: Vec<(&'t Mount, String)>,
}

impl<'t> Survey<'t> {
    /// All that are ours: those on the directory last.
    pub(super) fn ours(&self) -> Vec<&'t Mount> {
        let mut ours = self.elsewhere.clone();
        ours.extend(self.moved);
        ours.extend(self.parked);
        ours.extend(&self.here);
        ours
    }
}

/// A mount that another instance has recorded.
#[derive(Debug)]
pub(super) struct RecordedMount {
    /// The mount's number in the table.
    pub(super) id: u64,
    /// Which resource.
    pub(super) resource: String,
    /// Whether it has the device itself, and not a directory of ours.
    pub(super) has_device: bool,
}

impl Filesystem {
    pub(super) fn survey<'t>(
        &self,
        view: &View,
        table: &'t Table,
        record: Option<&Record>,
    ) -> Result<Survey<'t>> {
        let directory = table.resolve(view, &self.params.directory)?;
        let mut survey = Survey { top: table.uppermost(&directory), ..Survey::default() };
        let recorded = record.map(|record| record.find(view, table)).transpose()?.flatten();
        let is_ours = |mount: &Mount| -> Result<bool> {
            if recorded.is_some_and(|recorded| recorded.id == mount.id) {
                return Ok(true);
            }
            match self.judge(view, mount, Some(table), record)? {
                Verdict::Ours => Ok(true),
                Verdict::Foreign => Ok(false),
                Verdict::Doubt(why) => Err(anyhow::Error::msg(why)),
            }
        };
        for mount in table.iter().filter(|mount| mount.directory == directory) {
            if is_ours(mount)? {
                survey.here.push(mount);
            }
        }
        if let Some(parking) = stop::parking(&directory)
            && let Some(mount) = table.uppermost(&parking)
            && is_ours(mount)?
        {
            survey.parked = Some(mount);
        }
        let known: Vec<u64> = survey.ours().iter().map(|mount| mount.id).collect();
        let is_new = |mount: &&Mount| !known.contains(&mount.id);
        // What the instance has started with other parameters counts where
        // nothing else is found.
        let counts = |record: &&Record| record.is_as_asked || known.is_empty();
        survey.moved = recorded.filter(|_| record.as_ref().is_some_and(counts)).filter(is_new);
        let moved = survey.moved.map(|mount| mount.id);
        let others: Vec<&Mount> = self
            .mounts_of_device(view, table, record)
            .into_iter()
            .filter(|mount| is_new(mount) && moved != Some(mount.id))
            .collect();
        self.share_out(view, table, others, &mut survey);
        survey.directory = directory;
        Ok(survey)
    }

    /// Other mounts of the file system: those of another instance are left to
    /// it; and all of them where it is the system's own, or one of which the
    /// mounts show different parts by design.
    fn share_out<'t>(
        &self,
        view: &View,
        table: &'t Table,
        others: Vec<&'t Mount>,
        survey: &mut Survey<'t>,
    ) {
        if others.is_empty() {
            return;
        }
        let claims = self.claims(view, table);
        let is_root = others.iter().any(|mount| mount.directory == Path::new("/"));
        let listed = if is_root { Vec::new() } else { permanent(view) };
        for mount in others {
            let claim = claims.iter().find(|claim| claim.id == mount.id);
            if let Some(claim) = claim {
                survey.left.push((mount, format!("resource {}", claim.resource)));
            } else if is_root {
                survey.left.push((mount, "the system, whose root it is".into()));
            } else if mount.device.major == 0 {
                if listed.contains(&mount.directory) {
                    survey.left.push((mount, "the system, by /etc/fstab".into()));
                }
            } else {
                survey.elsewhere.push(mount);
            }
        }
    }

    /// Every mount of the device that is wanted, of those that have one.
    fn mounts_of_device<'t>(
        &self,
        view: &View,
        table: &'t Table,
        record: Option<&Record>,
    ) -> Vec<&'t Mount> {
        if self.kind.backing == Backing::Image {
            let shows =
                |mount: &&Mount| mount.device.major == LOOP && self.is_image(view, mount.device);
            return table.iter().filter(shows).collect();
        }
        let Some(number) = self.number(view, record) else { return Vec::new() };
        let on_device = |mount: &&Mount| {
            mount.device == number
                || mount.fstype == "btrfs" && is_backed_by(view, mount, number).unwrap_or(false)
        };
        table.iter().filter(on_device).collect()
    }

    /// The number of the block device, also where its node is gone.
    pub(super) fn number(&self, view: &View, record: Option<&Record>) -> Option<Number> {
        if self.kind.backing != Backing::Device {
            return None;
        }
        let found = self.device().find(view).unwrap_or(None).map(|found| found.number);
        let recorded = record.filter(|record| record.is_as_asked).map(Record::device);
        found.or(recorded.filter(|number| number.major != 0))
    }

    /// What other instances have mounted.
    pub(super) fn claims(&self, view: &View, table: &Table) -> Vec<RecordedMount> {
        let own = self.record_name();
        let mut claims = Vec::new();
        // What another resource has is not known without its record. That is no
        // reason not to stop this one.
        let names = view.records("Filesystem-", ".state").unwrap_or_else(|err| {
            view.warn(format_args!("{err:#}; which mounts are of other resources is not known"));
            Vec::new()
        });
        for name in names.into_iter().filter(|name| *name != own) {
            let record = match view.record(&name, |text| Record::parse(text, "")) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(damaged) => {
                    view.warn(format_args!(
                        "{damaged}; which mount is its resource's is not known"
                    ));
                    continue;
                }
            };
            let Ok(Some(mount)) = record.find(view, table) else { continue };
            let device = record.device_asked_for();
            let device = device.and_then(|device| device.find(view).unwrap_or(None));
            let resource = name.trim_start_matches("Filesystem-").trim_end_matches(".state");
            claims.push(RecordedMount {
                id: mount.id,
                resource: resource.to_owned(),
                has_device: device.is_some(),
            });
        }
        claims
    }

    pub(super) fn thorough(&self, view: &View, record: Option<&Record>) -> Result<State> {
        let table = Table::read(view)?;
        let survey = match self.survey(view, &table, record) {
            Ok(survey) => survey,
            Err(err) => return self.out_of_reach(view, &table, record, err),
        };
        let here = survey.directory.display();
        let failed = |mount: &Mount, why| Ok(State::Failed(Box::new(mount.clone()), why));
        if let Some(top) = survey.top
            && survey.here.iter().any(|mount| mount.id == top.id)
        {
            return Ok(match table.is_reached(view, top) {
                Ok(()) => self.condition(top.clone(), record),
                Err(silence) => State::Failed(Box::new(top.clone()), silence.to_string()),
            });
        }
        if let Some(&mount) = survey.here.last() {
            let hiding = table.hiding(mount).context("the mount table contradicts itself")?;
            let (what, place) = (hiding.what(), hiding.directory.display());
            return failed(
                mount,
                match hiding.directory == mount.directory {
                    true => format!("{what} covers it on {here}"),
                    false => format!("{what} on {place} hides {} on {here}", mount.what()),
                },
            );
        }
        if let Some(mount) = survey.parked {
            let place = mount.directory.display();
            return failed(mount, format!("an unfinished stop has left it on {place}"));
        }
        if let Some(mount) = survey.moved {
            let (what, place) = (mount.what(), mount.directory.display());
            let asked = self.params.directory.display();
            let as_asked = record.is_some_and(|record| record.is_as_asked);
            return failed(
                mount,
                match as_asked {
                    true => format!("{what} is mounted on {place}, where {asked} leads no more"),
                    false => {
                        format!("{what} is mounted on {place}, by a start with other parameters")
                    }
                },
            );
        }
        if let Some(&mount) = survey.elsewhere.first() {
            let (what, place) = (mount.what(), mount.directory.display());
            return failed(mount, format!("{what} is mounted on {place}, not on {here}"));
        }
        if let Some(why) = self.lingering(view, &table, &survey, record) {
            return Ok(State::Lingering(why));
        }
        if let Err(damaged) = self.record(view)
            && let Some(mount) = self.may_be_recorded(view, &table, &survey)
        {
            let (what, place) = (mount.what(), mount.directory.display());
            bail!("{}", damaged.doubt(format_args!("{what} on {place} may be what it names")));
        }
        let absent = table.lacks(|mount| survey.ours().iter().any(|own| own.id == mount.id));
        let absent = absent.context("the mount table contradicts itself")?;
        Ok(match survey.top {
            Some(top) => State::Foreign(Box::new(top.clone()), absent),
            None => State::Unmounted(absent),
        })
    }

    /// A mount that a record which cannot be read may have named by its number,
    /// where nothing of ours is found by other ways. All mounts of a device that
    /// is there have been found; a tmpfs is nobody's else.
    fn may_be_recorded<'t>(
        &self,
        view: &View,
        table: &'t Table,
        survey: &Survey<'_>,
    ) -> Option<&'t Mount> {
        let is_found = match self.kind.backing {
            Backing::Device => matches!(self.device().find(view), Ok(Some(_))),
            Backing::Image => true,
            Backing::Server | Backing::Bind | Backing::Name => self.kind.is(&["tmpfs", "ramfs"]),
        };
        if is_found {
            return None;
        }
        let claims = self.claims(view, table);
        let is_others = |mount: &Mount| {
            claims.iter().any(|claim| claim.id == mount.id)
                || survey.left.iter().any(|(left, _)| left.id == mount.id)
        };
        let may_be = |mount: &&Mount| {
            !is_others(mount)
                && !matches!(self.judge(view, mount, Some(table), None), Ok(Verdict::Foreign))
        };
        table.iter().find(may_be)
    }

    /// Somebody on the way to the directory does not answer. Where nothing of
    /// ours is mounted at all, there is nothing there either.
    fn out_of_reach(
        &self,
        view: &View,
        table: &Table,
        record: Option<&Record>,
        err: anyhow::Error,
    ) -> Result<State> {
        let is_silence = err.downcast_ref().is_some_and(lookup::is_silence);
        let recorded = record.map(|record| record.find(view, table)).transpose()?.flatten();
        let may_be_ours = |mount: &Mount| {
            recorded.is_some_and(|recorded| recorded.id == mount.id)
                || !matches!(self.judge(view, mount, Some(table), record), Ok(Verdict::Foreign))
        };
        if is_silence && let Some(absent) = table.lacks(may_be_ours) {
            return Ok(State::Unmounted(absent));
        }
        let directory = self.params.directory.display();
        Err(if is_silence {
            err.context(format!("cannot tell what is on {directory}"))
        } else {
            err
        })
    }

    /// Why the file system still lives, though none of our mounts shows it, as
    /// far as its driver tells.
    fn lingering(
        &self,
        view: &View,
        table: &Table,
        survey: &Survey<'_>,
        record: Option<&Record>,
    ) -> Option<String> {
        if !survey.left.is_empty() {
            return None;
        }
        let number = self.number(view, record)?;
        let fstype = block::file_system(view, &block::name(view, number)?)?;
        let who = self.remaining(view, table, number, &survey.directory);
        Some(match who.is_empty() {
            true => {
                format!("{} is not mounted, but the kernel still has its {fstype}", self.device())
            }
            false => {
                format!("the {fstype} of {} is still in use: {}", self.device(), who.join(", "))
            }
        })
    }

    /// Who still uses the file system on the device, besides our mounts.
    pub(super) fn remaining(
        &self,
        view: &View,
        table: &Table,
        number: Number,
        directory: &Path,
    ) -> Vec<String> {
        let mut who = holders::of_file_system(view, table, number, directory);
        let on_device = self.mounts_of_device(view, table, None);
        let apart = on_device.into_iter().filter(|mount| mount.device != number);
        who.extend(apart.map(|mount| format!("it is mounted on {}", mount.directory.display())));
        if let Ok(targets) = Targets::detached(view, number) {
            let found = fuser::search(view, &targets);
            who.extend(
                found.users.iter().map(|user| format!("{user}, on a mount that was detached")),
            );
        }
        who
    }

    /// Refuses where another resource's mount would go with ours.
    pub(super) fn spare_others(
        &self,
        view: &View,
        table: &Table,
        survey: &Survey<'_>,
        doomed: &[&Mount],
    ) -> Result<()> {
        let has_device = matches!(self.kind.backing, Backing::Device | Backing::Image);
        let is_doomed = |id: u64| doomed.iter().any(|mount| mount.id == id);
        // What lies on our directory by our parameters is ours, by whichever
        // name it was started: by the cluster's, or by hand.
        let is_same = |claim: &RecordedMount| survey.here.iter().any(|mount| mount.id == claim.id);
        for claim in self.claims(view, table).into_iter().filter(|claim| !is_same(claim)) {
            let Some(mount) = table.iter().find(|mount| mount.id == claim.id) else { continue };
            let shows =
                |own: &&Mount| own.device == mount.device && mount.root.starts_with(&own.root);
            let shows_ours = has_device && !claim.has_device && doomed.iter().any(shows);
            if is_doomed(mount.id) || shows_ours {
                let (what, place) = (mount.what(), mount.directory.display());
                bail!("resource {} has {what} mounted on {place}; stop it first", claim.resource);
            }
        }
        Ok(())
    }
}

/// The driver of loop devices.
const LOOP: u32 = 7;

/// Where the system itself mounts something at every boot.
fn permanent(view: &View) -> Vec<PathBuf> {
    let text = view.read("/etc/fstab").unwrap_or_default();
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    let entry = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (directory, options) = (fields.next()?, fields.nth(1).unwrap_or_default());
        (!options.split(',').any(|option| option == "noauto")).then(|| unescaped(directory))
    };
    lines.filter_map(entry).collect()
}
