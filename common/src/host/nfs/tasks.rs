//! What children of the agents for NFS can be told to do.

use super::exports::{change, rmtab};
use super::unlock::{self, What};
use super::{control, server, state_dir};
use anyhow::Result;
use std::ffi::OsString;

/// Does the task of this name, if it is one of these.
pub fn carry_out(task: &str, words: &[OsString]) -> Option<Result<()>> {
    Some(match task {
        "unexport" => change::take_out_in_child(words),
        "flush-exports" => change::flush_in_child(),
        "keep-rmtab" => rmtab::keep_in_child(words),
        "restore-rmtab" => rmtab::restore_in_child(words),
        "unlock-export" => unlock::release_in_child(words, What::Export),
        "unlock-file-system" => unlock::release_in_child(words, What::FileSystem),
        "lease" => unlock::lease_in_child(),
        "expire-client" => unlock::expire_in_child(words),
        "nfsd-look" => server::look_in_child(),
        "nfsd-start" => control::start_in_child(words),
        "nfsd-stop" => control::stop_in_child(),
        "nfs-hosts" => state_dir::copy_hosts_in_child(words),
        "nfs-state" => state_dir::prepare_in_child(words),
        _ => return None,
    })
}
