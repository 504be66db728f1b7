//! Whether a mount on the directory is what was asked for.

use super::record::Record;
use super::{Backing, Device, Filesystem};
use anyhow::Result;
use common::View;
use common::host::block::{self, Number};
use common::host::mount::{Mount, Table};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// What a mount is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ours,
    Foreign,
    /// It cannot be told, and why.
    Doubt(String),
}

impl Filesystem {
    /// Whether it is, without any doubt.
    pub(super) fn is_ours(&self, view: &View, mount: &Mount, record: Option<&Record>) -> bool {
        matches!(self.judge(view, mount, None, record), Ok(Verdict::Ours))
    }

    pub(super) fn judge(
        &self,
        view: &View,
        mount: &Mount,
        table: Option<&Table>,
        record: Option<&Record>,
    ) -> Result<Verdict> {
        if record.is_some_and(|record| record.is_of(mount)) {
            return Ok(Verdict::Ours);
        }
        if *self.device() == Device::Unknown {
            // A start leaves a record, and none is there.
            let (what, place) = (mount.what(), mount.directory.display());
            return Ok(Verdict::Doubt(format!(
                "cannot tell whether {what} on {place} is this resource's: parameter device is not set"
            )));
        }
        let ours = match self.kind.backing {
            Backing::Device => return self.judge_device(view, mount, record),
            Backing::Image => self.is_image(view, mount.device),
            Backing::Bind => {
                let table = whole(view, table)?;
                let shown = Some((mount.device, mount.root.clone()));
                let is_shown = |path: &Path| shown_by(&table, path) == shown;
                let Some(path) = self.path() else { return Ok(Verdict::Foreign) };
                match table.resolve(view, path) {
                    Ok(source) => is_shown(&source),
                    Err(_) if is_shown(path) => true,
                    Err(silence) => return Ok(Verdict::Doubt(silence.to_string())),
                }
            }
            Backing::Server | Backing::Name => {
                let source = mount.source.as_deref();
                self.kind.fits(&mount.fstype)
                    && (self.kind.has_free_source()
                        || source.is_some_and(|source| self.is_named(source)))
            }
        };
        Ok(if ours { Verdict::Ours } else { Verdict::Foreign })
    }

    fn judge_device(&self, view: &View, mount: &Mount, record: Option<&Record>) -> Result<Verdict> {
        let record = record.filter(|record| record.is_as_asked);
        let found = match self.device().find(view) {
            Ok(None) if record.is_none() => self.device().search(view).unwrap_or(None),
            found => found.unwrap_or(None),
        };
        let Some(wanted) = found else {
            return Ok(self.judge_without_node(mount, record));
        };
        let same = mount.device == wanted.number
            || has_own_number(mount) && is_backed_by(view, mount, wanted.number)?;
        Ok(if same { Verdict::Ours } else { Verdict::Foreign })
    }

    /// The device's node has vanished, as when a path to it is lost. That does
    /// not unmount anything.
    fn judge_without_node(&self, mount: &Mount, record: Option<&Record>) -> Verdict {
        let source = mount.source.as_deref().unwrap_or_default();
        if source == self.device().to_string() {
            return Verdict::Ours;
        }
        let from_device = !has_own_number(mount) || source.starts_with("/dev/");
        if record.is_some() || !from_device || !self.kind.fits(&mount.fstype) {
            return Verdict::Foreign;
        }
        Verdict::Doubt(format!(
            "cannot tell whether {} on {} is {}, which is not there any more",
            mount.what(),
            mount.directory.display(),
            self.device()
        ))
    }

    /// Whether the loop device of a mount shows the image, by whichever of its
    /// names. Where the image cannot be looked at, its name has to do.
    pub(super) fn is_image(&self, view: &View, device: Number) -> bool {
        match self.shows_image(view, device) {
            Some(same) => same,
            None => self.has_name_of_image(view, device),
        }
    }

    /// Whether the loop device shows the file that the image is; none if that
    /// cannot be told.
    pub(super) fn shows_image(&self, view: &View, device: Number) -> Option<bool> {
        let image = block::inode(view, self.path()?).ok()?;
        Some(block::shown_by_loop(view, device)? == image)
    }

    /// A loop device is the whole machine's: in another mount namespace the
    /// same name may be another file's.
    pub(super) fn has_name_of_image(&self, view: &View, device: Number) -> bool {
        let shown = backing_file(view, device);
        shown.is_some() && shown.as_deref() == self.path()
    }

    fn path(&self) -> Option<&Path> {
        match &self.device() {
            Device::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Servers' names come with and without a slash at the end, and shares
    /// with slashes of either kind.
    fn is_named(&self, source: &str) -> bool {
        let plain = |name: &str| name.replace('\\', "/").trim_end_matches('/').to_owned();
        plain(source) == plain(&self.device().to_string())
    }
}

/// The file system that a path without links lies on, and the directory of it.
fn shown_by(table: &Table, path: &Path) -> Option<(Number, PathBuf)> {
    let below = table.holding(path)?;
    let rest = path.strip_prefix(&below.directory).ok()?;
    let root = if rest.as_os_str().is_empty() { below.root.clone() } else { below.root.join(rest) };
    Some((below.device, root))
}

fn whole<'a>(view: &View, table: Option<&'a Table>) -> Result<Cow<'a, Table>> {
    Ok(match table {
        Some(table) => Cow::Borrowed(table),
        None => Cow::Owned(Table::read(view)?),
    })
}

/// Whether the kernel has made up a number: the file system has no device, or
/// more than one.
fn has_own_number(mount: &Mount) -> bool {
    mount.device.major == 0
}

/// Whether a file system with a number of its own lies on the device.
pub(super) fn is_backed_by(view: &View, mount: &Mount, device: Number) -> Result<bool> {
    let source = match &mount.source {
        Some(source) => Cow::Borrowed(source.as_str()),
        None => {
            let table = Table::read(view)?;
            let listed = table.iter().find(|listed| listed.id == mount.id);
            Cow::Owned(listed.and_then(|listed| listed.source.clone()).unwrap_or_default())
        }
    };
    if !source.starts_with('/') {
        return Ok(false);
    }
    let Some(number) = block::number(view, source.as_ref()).ok().flatten() else {
        return Ok(false);
    };
    Ok(number == device || mount.fstype == "btrfs" && are_of_one_btrfs(view, number, device))
}

/// A btrfs shows one of its devices as the source, and may be mounted by each.
fn are_of_one_btrfs(view: &View, one: Number, other: Number) -> bool {
    const ALL: &str = "/sys/fs/btrfs";
    let (Some(one), Some(other)) = (block::name(view, one), block::name(view, other)) else {
        return false;
    };
    let file_systems = view.list(ALL).unwrap_or_default();
    file_systems.iter().any(|uuid| {
        let devices = view.list(format!("{ALL}/{uuid}/devices")).unwrap_or_default();
        devices.contains(&one) && devices.contains(&other)
    })
}

fn backing_file(view: &View, device: Number) -> Option<PathBuf> {
    let file = view.read(format!("/sys/dev/block/{device}/loop/backing_file")).ok()?;
    Some(PathBuf::from(file.trim_end()))
}
