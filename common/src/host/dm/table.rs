//! Mapped devices and their tables, by whichever way they were asked for.

use crate::host::device_number::Number;
use std::io;

/// A mapped device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) number: Number,
    /// Its name: `vg-lv`.
    pub(super) name: String,
    /// Its identity, as whoever made it chose: `LVM-...`. May be empty.
    pub(super) uuid: String,
}

/// What a mapped device is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// How often it is open, where that can be told.
    pub open: Option<u32>,
    /// Whether all that is written to it is being held back.
    pub suspended: bool,
    /// Whether it leads anywhere at all.
    pub live: bool,
    /// Whether each device beneath it is a way to the same disk.
    pub multipath: bool,
    /// The devices beneath it.
    pub beneath: Vec<Number>,
}

/// Whether the kernel says that there is no such device any more.
pub(super) fn is_gone(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::ENXIO | libc::ENODEV | libc::ENOENT))
}

/// Which devices are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Prefix<'a> {
    /// What the name begins with.
    pub name: &'a str,
    /// What the identity begins with.
    pub uuid: &'a str,
    /// How many devices there are, if somebody knows; it saves asking twice.
    pub expected: usize,
}

impl Prefix<'_> {
    pub(super) fn fits(&self, name: &str, uuid: &str) -> bool {
        name.starts_with(self.name) && uuid.starts_with(self.uuid)
    }
}
