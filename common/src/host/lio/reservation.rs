//! Persistent reservations that outlive the target: initiators that share a
//! disk ask for it ("activate persistence through power loss").
//!
//! The kernel writes them to a file for each serial number and never reads it:
//! whoever makes the store has to tell it what the file has, before the disk is
//! shown. The file's directory has to be there, or the initiator's request
//! fails.

use crate::host::configfs;
use crate::host::lio::{ROOT, Store};
use crate::host::system::{System, View};
use anyhow::{Context, Result};
use std::io::ErrorKind;

/// Where the kernel keeps the files. One that cannot be asked has them where all
/// had them first.
fn directory(view: &View) -> String {
    let root = configfs::read(view, &format!("{ROOT}/dbroot")).unwrap_or_default();
    let root = root.trim();
    format!("{}/pr", if root.is_empty() { "/var/target" } else { root })
}

/// The file with the reservations of the disk.
pub fn file(view: &View, serial: &str) -> String {
    format!("{}/aptpl_{serial}", directory(view))
}

/// Makes the directory, and tells the store what was reserved before: how many
/// registrations that were. The store must not be shown yet.
pub fn replay(system: &System<'_>, store: &Store, serial: &str) -> Result<usize> {
    system.make_dir(directory(system))?;
    let path = file(system, serial);
    let text = match system.read(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(0),
        Err(err) => return Err(err).with_context(|| format!("cannot read {path}")),
    };
    let known = registrations(&text);
    for registration in &known {
        configfs::set(system, &format!("{}/pr/res_aptpl_metadata", store.path()), registration)
            .with_context(|| format!("the kernel does not take what {path} has"))?;
    }
    Ok(known.len())
}

/// What lies between `PR_REG_START: 0` and `PR_REG_END: 0`, in one line each.
fn registrations(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with("PR_REG_START:") {
            open = Some(Vec::new());
        } else if line.starts_with("PR_REG_END:") {
            found.extend(open.take().filter(|lines| !lines.is_empty()).map(|all| all.join(",")));
        } else if let Some(lines) = &mut open {
            lines.push(line);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Files;

    const FILE: &str = "\
PR_REG_START: 0
initiator_fabric=iSCSI
initiator_node=iqn.1993-08.org.debian:01:one
sa_res_key=171
res_holder=1
res_type=05
res_scope=00
res_all_tg_pt=0
mapped_lun=0
target_fabric=iSCSI
target_node=iqn.2001-04.com.example:disk
tpgt=1
port_rtpi=1
target_lun=0
PR_REG_END: 0
PR_REG_START: 1
initiator_fabric=iSCSI
initiator_node=iqn.1993-08.org.debian:01:two
sa_res_key=172
";

    #[test]
    fn a_registration_that_was_not_written_to_its_end_is_none() {
        let found = registrations(FILE);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("initiator_fabric=iSCSI,initiator_node=iqn.1993"));
        assert!(found[0].ends_with(",target_lun=0") && !found[0].contains("PR_REG"));
    }

    #[test]
    fn the_kernel_is_told_what_its_file_has_and_the_directory_is_made() {
        let files = Files::new();
        let store = Store { adapter: "iblock_0".into(), name: "disk".into() };
        let metadata = format!("{}/pr/res_aptpl_metadata", store.path());
        files.file(&metadata, "");
        let view = files.view();
        let replayed = |serial: &str| view.with_write_access(|it| replay(it, &store, serial));
        assert_eq!(replayed("5ba72d17").unwrap(), 0);
        assert!(files.at("/var/target/pr").is_dir());
        files.file("/var/target/pr/aptpl_5ba72d17", FILE);
        assert_eq!(replayed("5ba72d17").unwrap(), 1);
        assert!(std::fs::read_to_string(files.at(&metadata)).unwrap().contains("sa_res_key=171"));
        files.file(&format!("{ROOT}/dbroot"), "/etc/target\n");
        assert_eq!(file(&view, "x"), "/etc/target/pr/aptpl_x");
    }
}
