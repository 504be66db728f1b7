//! Clients of NFSv3 are told that the server was restarted, and then ask for
//! their locks again.
//!
//! Who is to be told is in statd's directory, which travels with the data. From
//! the first address it is done on that list itself, so that whoever has been
//! told is taken off; from further ones on a copy of it.

use super::Nfsserver;
use anyhow::{Context, Result};
use common::host::nfs::state_dir;
use common::{System, View};
use std::path::PathBuf;

/// What stands between the name of an instance and the number of a copy.
const MARK: &str = ".notify-";

/// The copies that were left, by whichever instance.
pub(super) fn copies(view: &View) -> Result<Vec<String>> {
    let mut names = view.records("nfsserver-", "")?;
    names.retain(|name| {
        let number = name.rsplit_once(MARK).map(|(_, number)| number);
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    Ok(names)
}

impl Nfsserver {
    pub(super) fn notify(&self, system: &System<'_>) -> Result<()> {
        let addresses = match &self.params.nfs_ip {
            Some(addresses) => addresses.0.iter().map(|one| Some(one.as_str())).collect(),
            None => vec![None],
        };
        let mut copies: Vec<PathBuf> = Vec::new();
        // Before the first of them changes the list.
        for number in 1..addresses.len() {
            let name = format!("nfsserver-{}{MARK}{number}", self.request.instance);
            copies
                .push(state_dir::copy_of_hosts(system, &name).context("cannot copy statd's list")?);
        }
        for (number, address) in addresses.into_iter().enumerate() {
            let copy = number.checked_sub(1).and_then(|place| copies.get(place));
            if let Err(err) = self.notify_from(system, address, copy) {
                // The server is up; clients find out by themselves, later.
                system.warn(format_args!("clients of NFSv3 are not told of the restart: {err:#}"));
            }
        }
        Ok(())
    }

    fn notify_from(
        &self,
        system: &System<'_>,
        address: Option<&str>,
        copy: Option<&PathBuf>,
    ) -> Result<()> {
        let mut words: Vec<String> = vec!["-f".into()];
        let mut add = |option: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([option.to_owned(), value]);
            }
        };
        add("-m", self.params.nfs_smnotify_retry_time.map(|minutes| minutes.to_string()));
        add("-p", self.params.statd_outgoing_port.map(|port| port.to_string()));
        add("-v", address.map(str::to_owned));
        add("-P", copy.map(|copy| copy.display().to_string()));
        let program = self.params.nfs_notify_cmd.0.as_str();
        let program = if program.ends_with("rpc.statd") { "sm-notify" } else { program };
        if self.params.nfs_notify_foreground {
            let patience = system.deadline().left() / 2;
            let in_front = [words.as_slice(), &["-d".to_owned()]].concat();
            match system.change_within(patience, &[], program, &in_front) {
                Ok(_) => return Ok(()),
                Err(err) => system.warn(format_args!("not all clients are told yet: {err:#}")),
            }
        }
        let done = system.change(program, &words)?;
        if !done.success() {
            anyhow::bail!("{program}: {}", done.reason());
        }
        Ok(())
    }
}
