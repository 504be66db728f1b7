//! The forms of the device parameter.

use anyhow::Result;
use common::host::block::{self, Number, Tag};
use common::host::lookup;
use common::{View, installed};
use ocf_meta::{Kind, Value};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// What is to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// A device node, or a directory to bind.
    Path(PathBuf),
    /// The device that carries a mark.
    Marked(Tag, String),
    /// Whatever the type takes: `server:/export`, `tmpfs`.
    Name(String),
    /// None was given, and no start has recorded one.
    Unknown,
}

/// A block device that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) number: Number,
}

impl Value for Device {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim() != text {
            return Err("a name that begins or ends with a blank".into());
        }
        if let Some((tag, value)) = marked(text) {
            if value.is_empty() {
                return Err("a mark without its value".into());
            }
            return Ok(Self::Marked(tag, value.to_owned()));
        }
        // Two slashes begin the share of a file server.
        if text.starts_with('/') && !text.starts_with("//") {
            if text.split('/').any(|part| part == "..") {
                return Err("a path with `..` in it".into());
            }
            let kept = text.trim_end_matches('/');
            return Ok(Self::Path(PathBuf::from(if kept.is_empty() { "/" } else { kept })));
        }
        // mount(8) would take it for an option.
        if text.starts_with('-') {
            return Err("not a device".into());
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl Device {
    pub(super) fn is_path(&self) -> bool {
        matches!(self, Self::Path(_))
    }

    /// Where the device node should be.
    pub(super) fn node(&self) -> Option<PathBuf> {
        match self {
            Self::Path(path) => Some(path.clone()),
            Self::Marked(tag, value) => Some(tag.link(value)),
            Self::Name(_) | Self::Unknown => None,
        }
    }

    /// The block device, if its node is there. What is not a block device is
    /// an error, and so is a way to it that nobody answers on.
    pub(super) fn find(&self, view: &View) -> Result<Option<Found>> {
        let Some(path) = self.node() else {
            return Err(installed(format!("{self} is not a block device")));
        };
        match block::number(view, &path) {
            Ok(Some(number)) => Ok(Some(Found { path, number })),
            Ok(None) => Err(installed(format!("{} is not a block device", path.display()))),
            Err(err) if lookup::is_silence(&err) => Err(err.into()),
            Err(_) => Ok(None),
        }
    }

    /// As [`find`](Self::find), and where udev has made no link, the devices
    /// themselves are searched for the mark.
    pub(super) fn search(&self, view: &View) -> Result<Option<Found>> {
        if let Some(found) = self.find(view)? {
            return Ok(Some(found));
        }
        let Self::Marked(tag, value) = self else { return Ok(None) };
        let output = view.query("findfs", &[format!("{}={value}", tag.word())])?;
        let path = Path::new(output.stdout.trim());
        let number = block::number(view, path).ok().flatten().filter(|_| output.success());
        Ok(number.map(|number| Found { path: path.to_path_buf(), number }))
    }

    /// What mount(2) and mount(8) are given.
    pub(super) fn source(&self) -> OsString {
        self.to_string().into()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Marked(tag, value) => write!(f, "{}={value}", tag.word()),
            Self::Name(name) => f.write_str(name),
            Self::Unknown => f.write_str("the device"),
        }
    }
}

/// `UUID=x`, `-U x`, `-Ux`, `--uuid=x`, `--uuid x`, and the same for labels.
fn marked(text: &str) -> Option<(Tag, &str)> {
    const FORMS: &[(&str, Tag)] = &[
        ("UUID=", Tag::Uuid),
        ("LABEL=", Tag::Label),
        ("PARTUUID=", Tag::PartUuid),
        ("PARTLABEL=", Tag::PartLabel),
        ("--uuid", Tag::Uuid),
        ("--label", Tag::Label),
        ("-U", Tag::Uuid),
        ("-L", Tag::Label),
    ];
    FORMS.iter().find_map(|(form, tag)| {
        let value = text.strip_prefix(form)?;
        let value = value.trim_start_matches([' ', '\t']);
        let value = if form.starts_with("--") { value.trim_start_matches('=') } else { value };
        Some((*tag, value.trim_matches('"')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_may_be_written_in_many_ways() {
        for text in
            ["-U ab-1", "-Uab-1", "--uuid=ab-1", "--uuid ab-1", "UUID=ab-1", "UUID=\"ab-1\""]
        {
            assert_eq!(Device::parse(text).unwrap(), Device::Marked(Tag::Uuid, "ab-1".into()));
        }
        let label = Device::parse("-Ldata1").unwrap();
        assert_eq!(label, Device::Marked(Tag::Label, "data1".into()));
        assert_eq!(label.to_string(), "LABEL=data1");
    }

    #[test]
    fn a_share_is_no_path() {
        assert_eq!(Device::parse("//nas/x").unwrap(), Device::Name("//nas/x".into()));
        assert_eq!(Device::parse("nas:/x").unwrap(), Device::Name("nas:/x".into()));
        assert_eq!(Device::parse("/srv/x/").unwrap(), Device::Path("/srv/x".into()));
    }

    #[test]
    fn what_can_be_no_device_is_refused() {
        for text in [" /dev/sda1", "/dev/sda1 ", "/dev/../etc", "-U", "LABEL=", "-o"] {
            assert!(Device::parse(text).is_err(), "{text}");
        }
    }
}
