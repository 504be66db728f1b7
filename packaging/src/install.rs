//! `cargo xtask install`: lays out what the packages have in them, below a
//! directory, for a machine whose package manager shall not know of it.

use crate::host;
use crate::payload::{self, Content, DROP_IN, Distribution, HARESOURCES, Item, Package};
use anyhow::{Context, Result, bail};
use ocf_meta::PROVIDER;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const USAGE: &str = "Usage: cargo xtask install --destdir DIR [--haresources]

  --destdir DIR  the root to install below; / for this machine
  --haresources  have heartbeat take the agents for the scripts of its haresources,
                 from its next start";

/// Where an earlier version put links in the place of heartbeat's scripts.
const OLD_LINKS: &str = "etc/ha.d/resource.d";

/// The task.
pub fn run(words: &[String]) -> Result<()> {
    let mut destdir = None;
    let mut packages = vec![Package::Agents];
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--destdir" => destdir = words.next().map(PathBuf::from),
            "--haresources" => packages.push(Package::Haresources),
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ => bail!("{word}?\n{USAGE}"),
        }
    }
    let root = destdir.with_context(|| format!("where to?\n{USAGE}"))?;
    let built = host::build_agents()?;
    install(&built, &root, &packages)?;
    println!("{} agents installed below {}", agents::ALL.len(), root.display());
    if packages.contains(&Package::Haresources) {
        println!(
            "heartbeat takes them from its next start, after systemctl daemon-reload; to undo it, \
             remove {}\nWhere there is no systemd, /etc/default/heartbeat needs the line\n  \
             HA_RESOURCEDIR=\"/{HARESOURCES} /{OLD_LINKS}\"",
            root.join(DROP_IN).display()
        );
    }
    for advice in old_links(&root) {
        eprintln!("{advice}");
    }
    Ok(())
}

/// Lays out the packages below `root`, with the agents that lie in `built`.
pub fn install(built: &Path, root: &Path, packages: &[Package]) -> Result<()> {
    let items = payload::list(built, Distribution::here())?;
    items
        .iter()
        .filter(|item| packages.contains(&item.package))
        .try_for_each(|item| put(root, item))
}

/// Puts it in its place under a new name first, so that what is running or
/// being looked at is never half written.
pub fn put(root: &Path, item: &Item) -> Result<()> {
    let path = root.join(&item.path);
    let dir = path.parent().expect("below the root");
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let new = dir.join(format!(".{}.new", path.file_name().unwrap_or_default().display()));
    let _ = fs::remove_file(&new);
    let made = match &item.content {
        Content::Link(target) => symlink(target, &new),
        Content::File(content) => fs::write(&new, content)
            .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(item.mode))),
    };
    made.and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// How to get rid of the links of earlier versions. dpkg takes such a link for
/// the script whose place it is in, and removes what it leads to.
fn old_links(root: &Path) -> Vec<String> {
    let home = root.join(OLD_LINKS);
    let entries = fs::read_dir(&home).into_iter().flatten().flatten();
    let mut advice: Vec<_> = entries
        .filter(|entry| {
            let ours = format!("ocf/resource.d/{PROVIDER}");
            fs::read_link(entry.path()).is_ok_and(|to| to.parent().is_some_and(|at| at.ends_with(&ours)))
        })
        .map(|entry| {
            let link = entry.path();
            let (link, kept) = (link.display(), format!("{}.before-{PROVIDER}", link.display()));
            match Path::new(&kept).exists() {
                true => format!(
                    "{link} is a link of an earlier version, and a purge of heartbeat would remove our \
                     agent through it: chmod 755 {kept} && mv -f {kept} {link}"
                ),
                false => format!("{link} is a link of an earlier version: rm {link}"),
            }
        })
        .collect();
    advice.sort_unstable();
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_an_earlier_version_is_told_of_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join(OLD_LINKS);
        fs::create_dir_all(&home).unwrap();
        symlink("../../../usr/lib/ocf/resource.d/sturdy/IPaddr", home.join("IPaddr")).unwrap();
        symlink("../../../usr/lib/ocf/resource.d/sturdy/LVM", home.join("LVM")).unwrap();
        symlink("../rc.d/other", home.join("Other")).unwrap();
        fs::write(home.join("IPaddr.before-sturdy"), "").unwrap();
        fs::write(home.join("Filesystem"), "").unwrap();
        let advice = old_links(root.path());
        assert_eq!(advice.len(), 2, "{advice:?}");
        assert!(advice[0].contains("mv -f") && advice[0].contains("IPaddr.before-sturdy"));
        assert!(advice[1].ends_with("LVM"));
        assert!(fs::symlink_metadata(home.join("IPaddr")).is_ok());
    }
}
