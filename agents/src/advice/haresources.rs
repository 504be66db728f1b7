//! heartbeat's list of resources, as far as `explain` looks into it: whether
//! what lies on DRBD is started before DRBD is promoted.
//!
//! A line is a node and its resources, started from left to right and stopped
//! from right to left. A word is a script and its arguments: `LVM::vg`.

use anyhow::Result;
use common::View;
use common::host::mount::Table;
use std::path::Path;

/// Where heartbeat has it.
const FILE: &str = "/etc/ha.d/haresources";

/// A word of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word<'a>(&'a str);

impl<'a> Word<'a> {
    /// The script's name.
    pub(crate) fn script(self) -> &'a str {
        self.0.split("::").next().unwrap_or_default()
    }

    /// Its first argument; empty if it has none.
    pub(crate) fn argument(self) -> &'a str {
        self.0.split("::").filter(|part| !part.is_empty()).nth(1).unwrap_or_default()
    }

    /// Whether it promotes the DRBD resource of this name.
    pub(crate) fn promotes(self, resource: &str) -> bool {
        let argument = if self.argument().is_empty() { "all" } else { self.argument() };
        matches!(self.script(), "drbddisk" | "drbd" | "drbdupper")
            && (argument == resource || argument == "all")
    }
}

/// The directory above on which heartbeat is to have mounted something, and has
/// not: clients of an empty mount point hold handles that nobody knows later.
pub(crate) fn missing_mount(view: &View, path: &Path) -> Result<Option<String>> {
    let above: Vec<String> =
        mount_points(view).into_iter().filter(|directory| path.starts_with(directory)).collect();
    if above.is_empty() {
        return Ok(None);
    }
    let table = Table::read(view)?;
    let is_missing = |directory: &String| table.uppermost(Path::new(directory)).is_none();
    Ok(above.into_iter().find(is_missing))
}

/// The directories on which the lines have file systems mounted.
fn mount_points(view: &View) -> Vec<String> {
    let text = view.read(FILE).unwrap_or_default().replace("\\\n", " ");
    let words = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace().skip(1));
    let directory = |word: &str| {
        let mut parts = word.split("::").filter(|part| !part.is_empty());
        (parts.next()? == "Filesystem").then(|| parts.nth(1).map(str::to_owned))?
    };
    words.filter_map(directory).collect()
}

/// That something which lies on DRBD stands to the left of what promotes it,
/// in the first line that has both.
pub(crate) fn misplaced(
    view: &View,
    promotes: impl Fn(Word<'_>) -> bool,
    lies_on_it: impl Fn(Word<'_>) -> bool,
) -> Option<String> {
    let text = view.read(FILE).ok()?.replace("\\\n", " ");
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<Word<'_>> = line.split_whitespace().skip(1).map(Word).collect();
        let promotion = words.iter().position(|word| promotes(*word))?;
        let early = words[..promotion].iter().find(|word| lies_on_it(**word))?;
        Some(format!(
            "{FILE} has {} before {}: it is started while DRBD is not promoted, and stopped after \
             DRBD was to be demoted",
            early.0, words[promotion].0
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drbd::fake::Fake;
    use std::time::Duration;

    fn said(list: &str) -> Option<String> {
        let fake = Fake::new("");
        fake.file(FILE, list);
        let lies_on_it = |word: Word<'_>| {
            word.script() == "lvm2" || (word.script() == "LVM" && word.argument() == "vg")
        };
        misplaced(&fake.view(Duration::from_secs(5)), |word| word.promotes("r1"), lies_on_it)
    }

    #[test]
    fn the_order_of_a_line_is_what_counts() {
        assert_eq!(said("node1 10.0.0.9 drbddisk::r1 LVM::vg Filesystem::/dev/vg/a::/a\n"), None);
        let wrong = said("node1 10.0.0.9 LVM::vg drbddisk::r1\n").unwrap();
        assert!(wrong.contains("has LVM::vg before drbddisk::r1"), "{wrong}");
        assert!(said("node1 lvm2 \\\n  drbddisk\n").is_some(), "a line may go on");
        assert!(said("node1 LVM::vg drbdupper::r1\n").is_some());
    }

    #[test]
    fn mount_points_are_the_second_word_of_a_file_system() {
        let fake = Fake::new("");
        fake.file(FILE, "node1 10.0.0.9 \\\n Filesystem::/dev/a::/srv/a::ext4 nfs-common # Filesystem::/dev/b::/b\n");
        assert_eq!(mount_points(&fake.view(Duration::from_secs(5))), ["/srv/a"]);
    }

    #[test]
    fn other_lines_groups_and_resources_do_not_count() {
        for fine in [
            "",
            "# node1 LVM::vg drbddisk::r1\n",
            "node1 LVM::vg # drbddisk::r1\n",
            "node1 LVM::vg drbddisk::r2\n",
            "node1 LVM::other drbddisk::r1\n",
            "node1 LVM::vg\nnode1 drbddisk::r1\n",
        ] {
            assert_eq!(said(fine), None, "{fine}");
        }
    }
}
