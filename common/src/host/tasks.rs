//! What a child of an agent's can be told to do: see [`child`](super::child).

use crate::host::nfs::{exports, unlock};
use crate::host::{configfs, io_test, lookup, mount, nfs};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;

/// Does the task that the first of the words names.
pub(crate) fn carry_out(words: &[OsString]) -> Result<()> {
    let (task, words) = words.split_first().context("no task")?;
    match task.to_str().unwrap_or_default() {
        "mount" => mount::attach::mount_in_child(words),
        "bind" => mount::attach::bind_in_child(words),
        "unmount" => mount::unmount::unmount_in_child(words),
        "unmount-hidden" => mount::reach::unmount_in_child(words),
        "move" => mount::unmount::shift_in_child(words),
        "release" => io_test::release_in_child(words),
        "read" => io_test::read_in_child(words),
        "block" => io_test::block_in_child(words),
        "look" => lookup::look_in_child(words),
        task @ ("mkdir" | "rmdir") => lookup::change_in_child(task, words),
        "answer" => io_test::answer_in_child(words),
        "write" => io_test::write_in_child(words),
        "remove" => io_test::remove_in_child(words),
        "unexport" => exports::change::take_out_in_child(words),
        "flush-exports" => exports::change::flush_in_child(),
        "keep-rmtab" => exports::rmtab::keep_in_child(words),
        "restore-rmtab" => exports::rmtab::restore_in_child(words),
        "unlock-export" => unlock::release_in_child(words, unlock::What::Export),
        "unlock-file-system" => unlock::release_in_child(words, unlock::What::FileSystem),
        "lease" => unlock::lease_in_child(),
        "expire-client" => unlock::expire_in_child(words),
        "nfsd-look" => nfs::server::look_in_child(),
        "nfsd-start" => nfs::control::start_in_child(words),
        "nfsd-stop" => nfs::control::stop_in_child(),
        "nfs-hosts" => nfs::state_dir::copy_hosts_in_child(words),
        "nfs-state" => nfs::state_dir::prepare_in_child(words),
        "configfs" => configfs::act_in_child(words),
        _ => bail!("there is no task {}", task.display()),
    }
}
