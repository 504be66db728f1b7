//! Parameters that are more than a text.

use common::host::libvirt::{Hypervisor, ShutdownMode};
use ocf_meta::{Kind, Value, choices};
use std::path::PathBuf;

/// The hypervisor's URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri(pub(super) Hypervisor);

impl Value for Uri {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let found = Hypervisor::parse(text.trim()).map(Self);
        found.ok_or_else(|| "not a URI of this machine's, as qemu:///system is".into())
    }
}

/// virsh's words for how a guest is asked to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub(super) ShutdownMode);

impl Value for Mode {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = ShutdownMode::words().collect();
        let found = ShutdownMode::parse(text.trim()).map(Self);
        found.ok_or_else(|| format!("not a list of {} with commas between them", words.join(", ")))
    }
}

/// Programs, each by its whole path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scripts(pub(super) Vec<PathBuf>);

impl Value for Scripts {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.split_whitespace().map(PathBuf::from).collect()))
    }
}

choices! {
    /// What a guest is that an I/O error has paused.
    pub enum OnIoError {
        /// Failed: it is to be started anew, maybe elsewhere.
        Failed = "failed",
        /// Degraded: a person is to look.
        Degraded = "degraded",
        /// Degraded, and resumed once when its disks read again.
        Resume = "resume",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypervisor_is_one_of_this_machine() {
        assert!(Uri::parse(" qemu:///system ").is_ok());
        for elsewhere in ["qemu+ssh://node2/system", "qemu:///session", "qemu"] {
            assert!(Uri::parse(elsewhere).is_err(), "{elsewhere}");
        }
    }
}
