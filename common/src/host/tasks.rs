//! What a child of an agent's can be told to do: see [`child`](super::child).

use crate::host::{io_test, lookup, mount, reading};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;

/// Tasks of some agents alone, which the binaries of the others need not hold:
/// does one by its name, if it is among them.
pub type Tasks = fn(&str, &[OsString]) -> Option<Result<()>>;

/// No more than those of all agents.
pub fn none(_: &str, _: &[OsString]) -> Option<Result<()>> {
    None
}

/// Does the task that the first of the words names: one of all agents, or one
/// of those `besides`.
pub(crate) fn carry_out(words: &[OsString], besides: Tasks) -> Result<()> {
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
        "text" => io_test::text_in_child(words),
        "names" => reading::names_in_child(words),
        "write" => io_test::write_in_child(words),
        "remove" => io_test::remove_in_child(words),
        task => besides(task, words).unwrap_or_else(|| bail!("there is no task {task}")),
    }
}
