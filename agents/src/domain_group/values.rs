//! Values of the parameters.

use common::host::libvirt::Hypervisor;
use ocf_meta::{Kind, Value};

/// Whose guests they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Xen's own.
    Xen,
    /// libvirt's, each of which is a process.
    Libvirt(Hypervisor),
}

impl Value for Host {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "xen" {
            return Ok(Self::Xen);
        }
        let found = Hypervisor::parse(text.trim()).filter(Hypervisor::has_processes);
        found.map(Self::Libvirt).ok_or_else(|| "neither xen nor qemu:///system".into())
    }
}

/// What becomes of guests that are none of the group's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Nothing.
    Leave,
    /// They are shut down.
    Stop,
}

impl Value for Foreign {
    const KIND: Kind = Kind::Select(&["leave", "stop"]);

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "leave" => Ok(Self::Leave),
            "stop" => Ok(Self::Stop),
            _ => Err("neither leave nor stop".into()),
        }
    }
}

/// Names of files, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNames(pub(super) Vec<String>);

impl Value for FileNames {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        let is_right = |name: &String| !name.is_empty() && !name.contains('/');
        match names.iter().all(is_right) {
            true => Ok(Self(names)),
            false => Err("not names of files with commas between them".into()),
        }
    }
}
